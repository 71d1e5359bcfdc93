"""Refusals: what would make a per-draw map something else than a function of its noisy input."""

import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from captum.attr import (
    LRP,
    DataLoaderAttribution,
    Deconvolution,
    DeepLift,
    FeaturePermutation,
    GuidedBackprop,
    LayerDeepLift,
    LayerFeaturePermutation,
    LayerLRP,
    LimeBase,
    LLMAttribution,
    LLMGradientAttribution,
    NeuronDeconvolution,
    NeuronDeepLift,
    NeuronDeepLiftShap,
    NeuronGuidedBackprop,
)
from torch import Tensor, fx, nn

from captum_certified.attr.memory import is_out_of_memory
from captum_certified.attr.reachable import Reachable, wrapped_chain
from captum_certified.exceptions import CertificationError, InvalidInputError

__all__ = [
    "CALL_ERRORS",
    "check_generators",
    "check_method",
    "check_outputs",
    "check_reachable",
    "check_scale",
    "shapes_in_errors",
]

# What Captum and PyTorch raise about inputs, targets and outputs that do not fit.
CALL_ERRORS = (RuntimeError, ValueError, IndexError, AssertionError)
# Warn about inputs that span 500 standard deviations and exceed 20, as pixels up to 255 do.
_LOST_IN, _LARGE = 500, 20
_OTHERWISE_IN_TRAINING = (nn.modules.batchnorm._BatchNorm, nn.modules.dropout._DropoutNd, nn.RReLU)
# Methods that replace the gradient or relevance of a module by hooks on it.
_HOOKED = (
    *(GuidedBackprop, Deconvolution, DeepLift, LRP, LayerDeepLift, LayerLRP),
    *(NeuronGuidedBackprop, NeuronDeconvolution, NeuronDeepLift, NeuronDeepLiftShap),
)
_REFUSED: dict[type, str] = {
    FeaturePermutation: "permutes features between the rows of a batch",
    LayerFeaturePermutation: "permutes features between the rows of a batch",
    DataLoaderAttribution: "explains a whole data set",
    LLMAttribution: "explains text, to which no Gaussian noise can be added",
    LLMGradientAttribution: "explains text, to which no Gaussian noise can be added",
}


def check_method(method: object) -> None:
    """Refuse methods whose map is not a function of one noisy input.

    Raises:
        CertificationError: The method is one of them.
    """
    for inner in wrapped_chain(method):
        if type(inner) is LimeBase:
            raise CertificationError(
                "Expected a map of the input's entries, got LimeBase, which has a space of its own."
            )
        for refused, reason in _REFUSED.items():
            if isinstance(inner, refused):
                raise CertificationError(
                    f"Expected a method whose map depends on one input alone, got {type(inner).__name__}, "
                    f"which {reason}."
                )


def check_reachable(method: object, reachable: Reachable) -> None:
    """Refuse models whose modules show that a row's output depends on more than its input, or that ignore hooks.

    Raises:
        CertificationError: A module is in training mode and would couple or randomise the rows, or cannot be hooked by
            a method that needs hooks.
    """
    for name, module in reachable.named_modules():
        if module.training and _differs_in_training(module):
            raise CertificationError(
                f"Expected the model in evaluation mode, got {_kind(module)} {name!r} in training mode; "
                "call model.eval() first."
            )
    hooked = next((inner for inner in wrapped_chain(method) if isinstance(inner, _HOOKED)), None)
    for _, module in reachable.named_modules():
        if hooked is not None and _takes_no_hooks(module):
            raise CertificationError(
                f"Expected a model of ordinary modules for {type(hooked).__name__}, which sets hooks on them, got "
                f"{_kind(module)}, which is scripted, exported or compiled and ignores them."
            )


def check_generators(before: Sequence[tuple[object, str, str]], reachable: Reachable) -> None:
    """Refuse models that draw from a generator of their own.

    Args:
        before: What :meth:`Reachable.states` was before the model was called.
        reachable: What it can call.

    Raises:
        CertificationError: The state of a generator has changed since.
    """
    known = {id(generator): state for generator, _, state in before}
    for generator, holder, state in reachable.states():
        if known.get(id(generator), state) != state:
            raise CertificationError(
                "Expected random numbers from the global generators, which are seeded for every draw, got some from a "
                f"{type(generator).__name__} that {holder} keeps for itself."
            )


def check_scale(inputs: tuple[Tensor, ...], stdevs: tuple[float, ...]) -> None:
    """Refuse inputs that are not finite, and warn of noise that is lost in them: pixels up to 255, as a rule.

    Raises:
        InvalidInputError: They are not finite.
    """
    for tensor, stdev in zip(inputs, stdevs, strict=True):
        if stdev == 0:
            continue
        low, high = float(tensor.min()), float(tensor.max())
        if not (math.isfinite(low) and math.isfinite(high)):
            raise InvalidInputError("Expected finite `inputs`, got NaN or infinity.")
        if high - low > _LOST_IN * stdev and max(abs(low), abs(high)) > _LARGE:
            warnings.warn(
                f"Inputs from {low:g} to {high:g} under noise of standard deviation {stdev:g}: `stdevs` and radius are "
                "in the units of the inputs. Pixels are usually brought into [0, 1] first.",
                UserWarning,
                stacklevel=2,
            )


@contextmanager
def shapes_in_errors(inputs: tuple[Tensor, ...], *, hint: str = "") -> Iterator[None]:
    """Add the shapes of the inputs to errors of the model. Out-of-memory errors and our own pass unchanged.

    Args:
        inputs: What the model is called with.
        hint: A sentence to end the message.

    Raises:
        CertificationError: The model does not take them, or does not have the target.
    """
    try:
        yield
    except CALL_ERRORS as error:
        if type(error) not in CALL_ERRORS or is_out_of_memory(error):
            raise
        shapes = ", ".join(str(tuple(tensor.shape)) for tensor in inputs)
        raise CertificationError(
            f"Expected a model that takes `inputs` of shape {shapes}, whose first dimension is the batch, and that has "
            f"the `target`, but it raised {type(error).__name__}: {error}{hint}"
        ) from error


def check_outputs(outputs: object) -> None:
    """Refuse what a model returns if it is no tensor: no method can differentiate it or select a target of it.

    Raises:
        CertificationError: It is something else.
    """
    if isinstance(outputs, Tensor):
        return
    parts = dict(outputs) if isinstance(outputs, Mapping) else getattr(outputs, "__dict__", {})
    name = next((name for name, value in parts.items() if isinstance(value, Tensor)), None)
    if isinstance(outputs, Mapping):
        way = f"model(x)[{name!r}]"
    elif isinstance(outputs, (tuple, list)):
        way = "model(x)[0]"
    else:
        way = f"model(x).{name}" if name is not None else "model(x).logits"
    raise CertificationError(
        f"Expected a model that returns a tensor, got {type(outputs).__name__}. Explain a function of the model that "
        f"does, such as `lambda x: {way}`."
    )


def _differs_in_training(module: nn.Module) -> bool:
    if isinstance(module, (nn.RNNBase, nn.MultiheadAttention)):
        return module.dropout > 0
    if isinstance(module, nn.modules.instancenorm._InstanceNorm):
        return module.track_running_stats
    # Within a scripted model every module has the same class.
    kind = getattr(nn, _kind(module), type(module)) if isinstance(module, torch.jit.ScriptModule) else type(module)
    return issubclass(kind, _OTHERWISE_IN_TRAINING)


def _takes_no_hooks(module: nn.Module) -> bool:
    if isinstance(module, fx.GraphModule):  # traced with its modules, or exported as operators
        return any(isinstance(node.target, torch._ops.OpOverload) for node in module.graph.nodes)
    return isinstance(module, torch.jit.ScriptModule) or hasattr(module, "_orig_mod")


def _kind(module: nn.Module) -> str:
    return str(getattr(module, "original_name", type(module).__name__))
