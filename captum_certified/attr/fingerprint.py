"""The fingerprint of an explanation: its declared settings, and what it does to one fixed noisy copy.

Two maps are of one explanation iff the declared settings are equal and the behaviour is: the plain map, and the map of
one probe draw, both under a seed that is the same for everybody. What a network's code does cannot be read from
its weights, nor a closure's from anything; what it does to an input can be looked at.
"""

import json
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import captum
import numpy as np
import torch
from torch import Tensor

from captum_certified.attr.reachable import Reachable, wrapped_chain
from captum_certified.attr.request import SamplingRequest
from captum_certified.attr.row_arguments import Shared, unshared
from captum_certified.smoothing import NoiseLaw, PerDrawMap, SamplingPlan, derived_seed, digest, noisy_inputs
from captum_certified.smoothing.noise import NOISE_VERSION

__all__ = ["BEHAVIOUR_SEED", "DeclaredSettings", "declared_settings", "input_digests", "probe_inputs", "setup_of"]

# The seed of the probe draw and of methods with randomness of their own in it: the same for all runs.
BEHAVIOUR_SEED = derived_seed(0x5EED, 2**31 - 2)
# What a method may keep as an option; anything else shows in what the method does.
_OPTIONS = (bool, int, float, str, type(None), list, tuple, Tensor)


@dataclass(frozen=True)
class DeclaredSettings:
    """What a method says of itself, JSON values.

    Attributes:
        method: Classes of the method and of those that it wraps.
        options: Their options.
        layers: Names of the layers that they explain.
        weights: Digest of all parameters and buffers of the model; ``None`` if no module can be seen.
    """

    method: str
    options: list[dict[str, Any]]
    layers: list[str | None]
    weights: str | None


def declared_settings(method: object, reachable: Reachable, *, state: frozenset[int] = frozenset()) -> DeclaredSettings:
    """What a method says of itself.

    Args:
        method: The method, outside a call of it: methods keep notes in their attributes while they run.
        reachable: What it can call; lazy modules must have got their weights.
        state: Addresses of buffers that a call changes; they count or keep, and are no part of what is explained.
    """
    tensors = [tensor for tensor in reachable.tensors() if id(tensor) not in state]
    return DeclaredSettings(
        method=" of ".join(type(inner).__name__ for inner in wrapped_chain(method)),
        options=[_options(inner) for inner in wrapped_chain(method)],
        layers=[_layer_name(inner) for inner in wrapped_chain(method)],
        weights=_short(tensors) if tensors else None,
    )


def setup_of(
    name: str, per_draw_map: PerDrawMap, declared: DeclaredSettings, request: SamplingRequest
) -> dict[str, Any]:
    """JSON values that identify the explanation and say how it was computed.

    Args:
        name: The smoothing class.
        per_draw_map: The map that is averaged.
        declared: What the wrapped method says of itself.
        request: The call.

    Returns:
        class, its parameters, method, options, layers, target, digests of the model's weights, inputs, arguments and
        groups, number of values of an input, versions, device.
    """
    arguments = {key: _identified(value) for key, value in request.arguments.items() if key != "target"}
    setup = {
        "class": name,
        **per_draw_map.settings(),
        "method": declared.method,
        "options": declared.options,
        "layers": declared.layers,
        "model": declared.weights,
        "target": _per_row(request.arguments.get("target"), len(request.inputs[0])),
        "inputs": input_digests(request.inputs),
        "input_values": sum(tensor[0].numel() for tensor in request.inputs),
        "arguments": _short(arguments) if arguments else None,
        "draw_baseline_from_distrib": request.draw_baseline_from_distrib,
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


def probe_inputs(inputs: tuple[Tensor, ...], stdevs: tuple[float, ...], law: NoiseLaw) -> tuple[Tensor, ...]:
    """The probe draw: noisy copies that are the same for all runs, whatever their seed and device."""
    plan = SamplingPlan(
        seed=BEHAVIOUR_SEED, first_draw=0, n_samples=1, pass_size=1, block=1, stdevs=stdevs, law=law
    )  # made on the CPU, since every device has noise of its own
    made = noisy_inputs(tuple(tensor.detach().cpu() for tensor in inputs), range(1), plan)
    return tuple(noisy.to(tensor.device) for noisy, tensor in zip(made, inputs, strict=True))


def _options(method: object) -> dict[str, Any]:
    own = getattr(method, "__dict__", {})
    return {name: _option(value) for name, value in sorted(own.items()) if isinstance(value, _OPTIONS)}


def _option(value: Any) -> Any:
    return _short(value) if isinstance(value, (list, tuple, Tensor)) else value


def _layer_name(method: object) -> str | None:
    """The name of the layer that a method explains, in its model."""
    layer, model = getattr(method, "layer", None), getattr(method, "forward_func", None)
    named = getattr(model, "named_modules", None)
    if layer is None or named is None:
        return None
    return next((name for name, module in named() if module is layer), None)


def _identified(value: Any) -> Any:
    """An argument as its digest shall see it: a shared tensor is not one of the examples."""
    if isinstance(value, tuple):
        return tuple(_identified(item) for item in value)
    return ("shared", value.tensor) if isinstance(value, Shared) else value


def _per_row(target: Any, rows: int) -> list[Any]:
    """The target of every example, as JSON values."""
    target = unshared(target)
    if isinstance(target, Tensor):
        values: list[Any] = target.reshape(-1).tolist()
        return values * rows if len(values) == 1 else values
    return list(target) if isinstance(target, list) else [target] * rows


def _short(*values: Any) -> str:
    return digest(*values)[:32]
