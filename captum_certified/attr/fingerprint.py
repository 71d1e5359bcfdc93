"""The fingerprint of an explanation: its declared settings, and its behaviour at the inputs.

Two maps count as maps of one explanation if and only if their declared settings are equal and their behaviour is equal
up to rounding. The behaviour is what the method returns for the clean input (the plain map) and for one noisy copy of
the clean input (the probe draw). Both are computed under a seed that is the same for all runs. Settings alone do not
suffice: the code of two models may compute different functions although their weights and options are equal.
"""

import json
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import captum
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from captum_certified._captum import Target
from captum_certified.attr.captum_methods import wrapped_chain
from captum_certified.attr.reachable import Reachable
from captum_certified.attr.request import Explainer, SamplingRequest
from captum_certified.attr.row_arguments import Shared, unshared
from captum_certified.randomness import derived_seed
from captum_certified.sampling import NoiseLaw, SamplingPlan, noisy_inputs
from captum_certified.sampling.noise import NOISE_VERSION
from captum_certified.storage import Json, JsonObject, digest

__all__ = [
    "BEHAVIOUR_SEED",
    "DeclaredSettings",
    "declared_settings",
    "input_digests",
    "options_of",
    "probe_inputs",
    "setup_of",
]

# This seed is the same in all runs. The noise of the probe draw is made from this seed. Random methods also get this
# seed when they explain the probe draw or the clean input.
BEHAVIOUR_SEED = derived_seed(0x5EED, 2**31 - 2)


@dataclass(frozen=True)
class DeclaredSettings:
    """Settings that can be read from a method.

    Attributes:
        method: Names of the classes of the method and of the methods inside it.
        options: Options of each of these methods.
        layers: Name of the layer that each of these methods explains, or ``None``.
        weights: Digest of all parameters and buffers of the model; ``None`` if none was found.
    """

    method: str
    options: list[JsonObject]
    layers: list[str | None]
    weights: str | None


def declared_settings(
    method: object,
    reachable: Reachable,
    *,
    options: tuple[list[JsonObject], list[JsonObject]],
    state: frozenset[int] = frozenset(),
) -> DeclaredSettings:
    """Read the settings of a method after two calls of it.

    Args:
        method: The method, which must not be running.
        reachable: Objects that the method can use. Lazy modules must be initialised.
        options: Results of :func:`options_of` before and after the first call. An attribute that a call changes is not
            an option.
        state: Ids of the buffers that a call changed. Such buffers are taken for counters or caches, and are not
            hashed.
    """
    return DeclaredSettings(
        method=" of ".join(type(inner).__name__ for inner in wrapped_chain(method)),
        options=[
            {name: value for name, value in now.items() if first.get(name, value) == value == second.get(name)}
            for first, second, now in zip(*options, options_of(method), strict=True)
        ],
        layers=[_layer_name(inner) for inner in wrapped_chain(method)],
        weights=_weights(reachable, state),
    )


def options_of(method: object) -> list[JsonObject]:
    """Return the options of a method and of each method it wraps.

    Options are the attributes that are numbers, texts or ``None``, and digests of the attributes that are tensors or
    sequences. Other attributes are not recorded, but the probe draw shows their effect.
    """
    return [
        {
            name: _short_digest(value) if isinstance(value, (list, tuple, Tensor)) else value
            for name, value in sorted(getattr(inner, "__dict__", {}).items())
            if _is_option(value)
        }
        for inner in wrapped_chain(method)
    ]


def setup_of(explainer: Explainer, declared: DeclaredSettings, request: SamplingRequest) -> dict[str, Json]:
    """Return JSON values that identify the explanation that a call computes, and the way in which it is computed."""
    arguments = {key: _identified(value) for key, value in request.arguments.items() if key != "target"}
    setup = {
        "class": type(explainer).__name__,
        **explainer.per_draw_map.settings(),
        **({} if request.sign == "both" else {"sign": request.sign}),
        "method": declared.method,
        "options": declared.options,
        "layers": declared.layers,
        "model": declared.weights,
        "target": _target_of_each_row(request.arguments.get("target"), len(request.inputs[0])),
        "inputs": input_digests(request.inputs),
        "input_values": sum(tensor[0].numel() for tensor in request.inputs),
        "arguments": _short_digest(arguments) if arguments else None,
        "draw_baseline_from_distrib": request.draw_baseline_from_distrib,
        "groups": request.groups if isinstance(request.groups, str | None) else _short_digest(request.groups),
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
    """Return the digest of the input of every example."""
    return [_short_digest(*(tensor[row] for tensor in inputs)) for row in range(len(inputs[0]))]


def probe_inputs(inputs: tuple[Tensor, ...], stdevs: tuple[float, ...], law: NoiseLaw) -> tuple[Tensor, ...]:
    """Make the noisy inputs of the probe draw, which are the same for runs of any seed and device."""
    plan = SamplingPlan(
        seed=BEHAVIOUR_SEED, first_draw=0, n_samples=1, pass_size=1, block=1, stdevs=stdevs, law=law
    )  # made on the CPU, because one seed gives different noise on different kinds of device
    made = noisy_inputs(tuple(tensor.detach().cpu() for tensor in inputs), range(1), plan)
    return tuple(noisy.to(tensor.device) for noisy, tensor in zip(made, inputs, strict=True))


def _weights(reachable: Reachable, state: frozenset[int]) -> str | None:
    """Return a digest of all parameters and persistent buffers. The order of the models does not change the digest."""
    each = [_short_digest(_stored_tensors(model, state)) for model in reachable.modules]
    return _short_digest(sorted(each)) if reachable.tensors() else None


def _stored_tensors(model: nn.Module, state: frozenset[int]) -> list[Tensor]:
    """Return each tensor of a model's state dict once, except lazy tensors and those whose ids are in ``state``."""
    tensors: dict[int, Tensor] = {}
    for module in model.modules():
        temporary = getattr(module, "_non_persistent_buffers_set", ())
        buffers = (buffer for name, buffer in module.named_buffers(recurse=False) if name not in temporary)
        tensors |= {id(tensor): tensor for tensor in (*module.parameters(recurse=False), *buffers)}
    return [tensor for key, tensor in tensors.items() if key not in state and not is_lazy(tensor)]


def _is_option(value: object) -> bool:
    """Return whether an attribute is an option: a number, a text, ``None``, a tensor, or a list or tuple of these."""
    if isinstance(value, (list, tuple)):
        return all(_is_option(item) for item in value)
    return isinstance(value, (bool, int, float, str, type(None), Tensor))


def _layer_name(method: object) -> str | None:
    """Return the name in the model of the layer that a layer method explains; ``None`` for other methods."""
    method = getattr(method, "grad_cam", method)  # GuidedGradCam keeps its layer there
    layer, model = getattr(method, "layer", None), getattr(method, "forward_func", None)
    named = getattr(model, "named_modules", None)
    if layer is None or named is None:
        return None
    return next((name for name, module in named() if module is layer), None)


def _identified(value: Any) -> Any:
    """Return an argument in the form that is hashed.

    A tensor marked as :class:`Shared` gets another digest than the same tensor without the mark.
    """
    if isinstance(value, tuple):
        return tuple(_identified(item) for item in value)
    return ("shared", value.tensor) if isinstance(value, Shared) else value


def _target_of_each_row(target: Target | Shared, rows: int) -> list[Json]:
    """Return the target of every example as JSON values."""
    given = unshared(target)
    if isinstance(given, Tensor):
        values: list[Json] = given.reshape(-1).tolist()
        return values * rows if len(values) == 1 else values
    return list(given) if isinstance(given, list) else [given] * rows


def _short_digest(*values: object) -> str:
    return digest(*values)[:32]
