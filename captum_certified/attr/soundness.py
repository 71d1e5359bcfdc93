"""Refusals: what would make a per-draw map something else than a function of its noisy input."""

import functools
import inspect
import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from captum.attr import (
    DataLoaderAttribution,
    FeaturePermutation,
    LayerFeaturePermutation,
    LimeBase,
    LLMAttribution,
    LLMGradientAttribution,
)
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from captum_certified.attr.memory import is_out_of_memory
from captum_certified.exceptions import CertificationError, InvalidInputError

__all__ = [
    "check_evaluation_mode",
    "check_method",
    "check_scale",
    "entries_that_differ",
    "inputs_are_taken",
    "reachable_modules",
    "reachable_tensors",
    "wrapped_chain",
]

# What Captum and PyTorch raise about inputs, targets and outputs that do not fit.
_OF_CAPTUM_AND_TORCH = (RuntimeError, ValueError, IndexError, AssertionError)
# Noise is lost in inputs that spread over so many standard deviations and reach so far: nobody's [0, 1].
_LOST_IN, _LARGE = 500, 20
_RANDOM_IN_TRAINING = (nn.modules.batchnorm._BatchNorm, nn.modules.dropout._DropoutNd)
_REFUSED: dict[type, str] = {
    FeaturePermutation: "permutes features between the rows of a batch",
    LayerFeaturePermutation: "permutes features between the rows of a batch",
    DataLoaderAttribution: "explains a whole data set",
    LLMAttribution: "explains text, to which no Gaussian noise can be added",
    LLMGradientAttribution: "explains text, to which no Gaussian noise can be added",
}
_ROW_TOLERANCE = 1e-2
_ROW_EXCEPTIONS = 1e-3


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


def check_evaluation_mode(method: object) -> None:
    """Refuse models in training mode whose batch-norm or dropout would couple or randomise the rows.

    Raises:
        CertificationError: A reachable module is in training mode and has such a layer.
    """
    for model in reachable_modules(method):
        for name, module in model.named_modules():
            if module.training and isinstance(module, _RANDOM_IN_TRAINING):
                raise CertificationError(
                    f"Expected the model in evaluation mode, got {type(module).__name__} {name!r} in training mode; "
                    "call model.eval() first."
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
def inputs_are_taken(inputs: tuple[Tensor, ...]) -> Iterator[None]:
    """Say of which inputs a model's error is; that it ran out of memory, and errors of our own, say enough.

    Raises:
        CertificationError: The model does not take them, or does not have the target.
    """
    try:
        yield
    except _OF_CAPTUM_AND_TORCH as error:
        if type(error) not in _OF_CAPTUM_AND_TORCH or is_out_of_memory(error):
            raise
        shapes = ", ".join(str(tuple(tensor.shape)) for tensor in inputs)
        raise CertificationError(
            f"Expected a model that takes `inputs` of shape {shapes}, whose first dimension is the batch, and that has "
            f"the `target`, but it raised {type(error).__name__}: {error}"
        ) from error


def entries_that_differ(in_pass: Sequence[Tensor], alone: Sequence[Tensor], row: int) -> int:
    """How many entries of a row of a pass differ from the same row attributed alone.

    Args:
        in_pass: Attributions of the whole pass.
        alone: Attributions of one row of it.
        row: Which row.

    Returns:
        The entries that differ by more than 1 % of the row's maximum; 0 if they are at most .1 % of all.
    """
    one = torch.cat([m[row].detach().reshape(-1).double() for m in in_pass])
    two = torch.cat([m[0].detach().reshape(-1).double() for m in alone])
    tolerance = _ROW_TOLERANCE * float(torch.maximum(one.abs().max(), two.abs().max()))
    differing = int(((one - two).abs() > tolerance).sum())
    return differing if differing > _ROW_EXCEPTIONS * one.numel() else 0


def wrapped_chain(method: object) -> Iterator[object]:
    """The method, the method it wraps, and so on."""
    seen: set[int] = set()
    while method is not None and id(method) not in seen:
        seen.add(id(method))
        yield method
        method = getattr(method, "attribution_method", None) or getattr(method, "layer_attribution", None)


def reachable_modules(method: object) -> Iterator[nn.Module]:
    """Modules that a method's forward function can call, as far as Python lets one see."""
    pending: list[Any] = [
        getattr(inner, name, None) for inner in wrapped_chain(method) for name in ("forward_func", "model", "layer")
    ]
    seen: set[int] = set()
    while pending:
        item = pending.pop()
        if item is None or id(item) in seen:
            continue
        seen.add(id(item))
        if isinstance(item, nn.Module):
            yield item
        elif isinstance(item, functools.partial):
            pending += [item.func, *item.args, *item.keywords.values()]
        elif inspect.ismethod(item):
            pending += [item.__self__, item.__func__]
        elif inspect.isfunction(item):
            pending += _variables(item)
        elif isinstance(item, (list, tuple)):
            pending += item
        elif isinstance(item, dict):
            pending += item.values()
        elif callable(item) and hasattr(item, "__dict__") and not inspect.isclass(item):
            pending += vars(item).values()


def reachable_tensors(method: object) -> list[Tensor]:
    """Parameters and buffers of the modules that can be seen, without those that have no values yet."""
    return [t for m in reachable_modules(method) for t in (*m.parameters(), *m.buffers()) if not is_lazy(t)]


def _variables(function: Any) -> list[Any]:
    """What a function closes over, its defaults, and the globals it names."""
    closed = inspect.getclosurevars(function) if function.__closure__ or function.__code__.co_names else None
    known = [] if closed is None else [*closed.nonlocals.values(), *closed.globals.values()]
    wanted = [v for v in known if isinstance(v, nn.Module) or callable(v)]
    return [*wanted, *(function.__defaults__ or ()), getattr(function, "__wrapped__", None)]
