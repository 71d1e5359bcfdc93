"""The fingerprint of an explanation: its declared settings, and what it does to one fixed noisy copy.

Two maps are of one explanation iff the declared settings are equal and the behaviour is: the plain map, and the map of
one probe draw, both under a seed that is the same for everybody. What a network's code does cannot be read from
its weights, nor a closure's from anything; what it does to an input can be looked at.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import captum
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from captum_certified.attr.reachable import Reachable, wrapped_chain
from captum_certified.attr.request import Explainer, SamplingRequest
from captum_certified.attr.row_arguments import Shared, unshared
from captum_certified.randomness import derived_seed
from captum_certified.sampling import NoiseLaw, SamplingPlan, noisy_inputs
from captum_certified.sampling.noise import NOISE_VERSION
from captum_certified.storage import Json, digest

__all__ = [
    "BEHAVIOUR_SEED",
    "DeclaredSettings",
    "declared_settings",
    "input_digests",
    "options_of",
    "probe_inputs",
    "setup_of",
]

# The seed of the probe draw and of methods with randomness of their own in it: the same for all runs.
BEHAVIOUR_SEED = derived_seed(0x5EED, 2**31 - 2)
# Types of attributes that are recorded as options; what others do is compared by the probe draw.
_PLAIN = (bool, int, float, str, type(None), Tensor)


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


def declared_settings(
    method: object,
    reachable: Reachable,
    *,
    options: Sequence[Sequence[Mapping[str, Any]]],
    state: frozenset[int] = frozenset(),
) -> DeclaredSettings:
    """What a method says of itself, after it was called twice.

    Args:
        method: The method, outside a call of it.
        reachable: What it can call; lazy modules must have got their weights.
        options: What :func:`options_of` gave before the first call, and after it. Attributes that a call changes are no
            options.
        state: Addresses of buffers that a call changed; they count or keep, and are no part of what is explained.
    """
    before, once = options
    return DeclaredSettings(
        method=" of ".join(type(inner).__name__ for inner in wrapped_chain(method)),
        options=[
            {name: value for name, value in now.items() if first.get(name, value) == value == then.get(name)}
            for first, then, now in zip(before, once, options_of(method), strict=True)
        ],
        layers=[_layer_name(inner) for inner in wrapped_chain(method)],
        weights=_weights(reachable, state),
    )


def options_of(method: object) -> list[dict[str, Any]]:
    """Numbers, texts, tensors and sequences of them that a method, and each that it wraps, has as attributes."""
    return [
        {name: _option(value) for name, value in sorted(getattr(inner, "__dict__", {}).items()) if _is_plain(value)}
        for inner in wrapped_chain(method)
    ]


def setup_of(explainer: Explainer, declared: DeclaredSettings, request: SamplingRequest) -> dict[str, Json]:
    """JSON values that identify the explanation and say how it was computed.

    Args:
        explainer: The smoothed attribution.
        declared: What the wrapped method says of itself.
        request: The call.

    Returns:
        class, its parameters, method, options, layers, target, digests of the model's weights, inputs, arguments and
        groups, number of values of an input, versions, device.
    """
    arguments = {key: _identified(value) for key, value in request.arguments.items() if key != "target"}
    setup = {
        "class": type(explainer).__name__,
        **explainer.per_draw_map.settings(),
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


def _weights(reachable: Reachable, state: frozenset[int]) -> str | None:
    """Digest of all parameters and persistent buffers, in whatever order the models were found."""
    each = [_short(_stored(model, state)) for model in reachable.modules]
    return _short(sorted(each)) if reachable.tensors() else None


def _stored(model: nn.Module, state: frozenset[int]) -> list[Tensor]:
    """What a model would save, without what a call changes."""
    tensors = {
        id(tensor): tensor
        for module in model.modules()
        for tensor in (
            *module.parameters(recurse=False),
            *(
                b
                for name, b in module.named_buffers(recurse=False)
                if name not in getattr(module, "_non_persistent_buffers_set", ())
            ),
        )
    }
    return [tensor for key, tensor in tensors.items() if key not in state and not is_lazy(tensor)]


def _is_plain(value: Any) -> bool:
    """Whether a value is an option; lists of hooks and other objects are none."""
    if isinstance(value, (list, tuple)):
        return all(_is_plain(item) for item in value)
    return isinstance(value, _PLAIN)


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
