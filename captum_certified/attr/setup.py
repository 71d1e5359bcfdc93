"""The record of what was sampled and how, kept in every map."""

import json
from importlib.metadata import version
from typing import Any

import captum
import numpy as np
import torch
from torch import Tensor

from captum_certified.attr.request import SamplingRequest
from captum_certified.attr.soundness import reachable_modules, reachable_tensors, wrapped_chain
from captum_certified.smoothing import PerDrawMap, digest
from captum_certified.smoothing.noise import NOISE_VERSION

__all__ = ["input_digests", "setup_of"]

_VALUES = 64  # of each tensor of the model


def setup_of(name: str, per_draw_map: PerDrawMap, method: object, request: SamplingRequest) -> dict[str, Any]:
    """JSON values that identify the explanation and say how it was computed.

    Args:
        name: The smoothing class.
        per_draw_map: The map that is averaged.
        method: The wrapped method.
        request: The call.

    Returns:
        class, its parameters, method, target, digests of model, inputs, arguments and groups, number of values of an
        input, versions, device.
    """
    arguments = {key: value for key, value in request.arguments.items() if key != "target"}
    setup = {
        "class": name,
        **per_draw_map.settings(),
        "method": " of ".join(type(inner).__name__ for inner in wrapped_chain(method)),
        "model": _fingerprint(method),
        "target": _per_row(request.arguments.get("target"), len(request.inputs[0])),
        "inputs": input_digests(request.inputs),
        "input_values": sum(tensor[0].numel() for tensor in request.inputs),
        "arguments": _short(arguments) if arguments else None,
        "groups": request.groups if isinstance(request.groups, str | None) else _short(request.groups),
        "noise": request.plan.law,
        "noise_version": NOISE_VERSION,
        "nt_samples_batch_size": request.plan.pass_size,
        "device": str(request.inputs[0].device),
        "versions": {
            "captum_certified": version("captum-certified"),
            "captum": captum.__version__,
            "torch": torch.__version__,
            "numpy": np.__version__,
        },
    }
    return dict(json.loads(json.dumps(setup)))


def input_digests(inputs: tuple[Tensor, ...]) -> list[str]:
    """What identifies the input of every example."""
    return [_short(*(tensor[row] for tensor in inputs)) for row in range(len(inputs[0]))]


def _per_row(target: Any, rows: int) -> list[Any]:
    """The target of every example, as JSON values."""
    if isinstance(target, Tensor):
        values: list[Any] = target.reshape(-1).tolist()
        return values * rows if len(values) == 1 else values
    return list(target) if isinstance(target, list) else [target] * rows


def _fingerprint(method: object) -> str | None:
    """Identifies the model by a few values of every parameter and buffer; ``None`` if no module can be seen."""
    if not any(True for _ in reachable_modules(method)):
        return None
    tensors = reachable_tensors(method)
    samples = [t.detach().reshape(-1)[:: max(t.numel() // _VALUES, 1)] for t in tensors]
    return _short(*(tuple(t.shape) for t in tensors), *samples)


def _short(*values: Any) -> str:
    return digest(*values)[:32]
