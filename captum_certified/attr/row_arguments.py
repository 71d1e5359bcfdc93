"""The rule that says which arguments have an entry for each example, and how they are repeated or cut.

A tensor has an entry for each example if and only if its first dimension is N, the number of examples. Such a tensor is
repeated for every draw, in the order of NoiseTunnel. When a run continues with only some of the examples, only their
entries are kept. Other tensors, tensors marked as :class:`Shared`, and reference distributions are passed unchanged.
"""

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from captum.attr import (
    DeepLiftShap,
    GradientShap,
    LayerDeepLiftShap,
    LayerGradientShap,
    NeuronDeepLiftShap,
    NeuronGradientShap,
)
from torch import Tensor

from captum_certified._captum import MethodArguments, Target, drawn_baselines
from captum_certified.attr.captum_methods import wrapped_chain
from captum_certified.exceptions import InvalidInputError

__all__ = [
    "Shared",
    "arguments_of_rows",
    "check_targets",
    "expanded_arguments",
    "has_reference_distribution",
    "has_rows",
    "masks_of_rows",
    "plain_target",
    "unshared",
]

_TAKE_A_DISTRIBUTION = (
    *(GradientShap, LayerGradientShap, NeuronGradientShap),
    *(DeepLiftShap, LayerDeepLiftShap, NeuronDeepLiftShap),
)


@dataclass(frozen=True, eq=False)
class Shared:
    """Mark for an argument that all examples share, although its first dimension is the number of examples.

    Such an argument may be the edges of a graph, an attention bias or class weights. Without the mark, a tensor whose
    first dimension is N is taken to have one entry for each example, and is repeated for every draw. In a call with one
    example, every tensor whose first dimension is 1 is repeated.

    Args:
        tensor: The argument, which the wrapped method gets unchanged.

    Raises:
        InvalidInputError: ``tensor`` is not a tensor.

    Example:
        >>> import torch
        >>> from captum.attr import Saliency
        >>> from captum_certified import ScaledSmoothGrad, Shared
        >>> def weighted(x, weights):
        ...     return (x @ weights).pow(2)
        >>> explainer = ScaledSmoothGrad(Saliency(weighted))
        >>> weights = torch.tensor([[1.0], [-2.0]])  # of shape (2, 1), and there are two examples
        >>> explainer.attribute(torch.ones(2, 2), stdevs=0.1, target=0, additional_forward_args=(Shared(weights),))
        tensor([[0.5000, 1.0000],
                [0.5000, 1.0000]])
    """

    tensor: Tensor

    def __post_init__(self) -> None:
        if not isinstance(self.tensor, Tensor):
            raise InvalidInputError(f"Expected `Shared` around a tensor, got {type(self.tensor).__name__}.")


def has_reference_distribution(method: object, arguments: MethodArguments) -> bool:
    """Return whether the baselines of a call are a reference distribution that all examples share."""
    if callable(arguments.get("baselines")):
        return True
    given = arguments.get("baselines") is not None
    return given and any(isinstance(inner, _TAKE_A_DISTRIBUTION) for inner in wrapped_chain(method))


def check_targets(target: Target, rows: int) -> None:
    """Raise an InvalidInputError if the number of targets is neither 1 nor N."""
    if (isinstance(target, list) or (isinstance(target, Tensor) and target.numel() > 1)) and len(target) != rows:
        raise InvalidInputError(
            f"Expected `target` to be one target for all examples, or one for each of {rows}, got {len(target)}."
        )


def plain_target(target: Any) -> Any:
    """Replace NumPy and PyTorch integers in a target by Python integers, because Captum refuses them in tuples."""
    if isinstance(target, tuple):
        return tuple(plain_target(item) for item in target)
    if isinstance(target, list):
        return [plain_target(item) for item in target]
    several = isinstance(target, Tensor) and target.dim() > 0
    try:
        return target if several or isinstance(target, bool) else operator.index(target)
    except TypeError:
        return target


def expanded_arguments(
    arguments: MethodArguments,
    inputs: tuple[Tensor, ...],
    draws: int,
    *,
    distribution: bool = False,
    draw_baseline_from_distrib: bool = False,
) -> dict[str, Any]:
    """Return the arguments of a call with one row for every draw of every example, all draws of example 0 first.

    Args:
        arguments: Keyword arguments of the wrapped method for N examples.
        inputs: Inputs of the examples, each of shape (N, …).
        draws: Number of draws.
        distribution: Whether the baselines are a reference distribution.
        draw_baseline_from_distrib: Whether to draw a baseline for every row, as NoiseTunnel does.

    Returns:
        Keyword arguments for N · draws rows.
    """
    rows = len(inputs[0])

    def repeated(tensor: Tensor) -> Tensor:
        return tensor.repeat_interleave(draws, dim=0) if _has_row_for_each(tensor, rows) else tensor

    expanded = {
        name: unshared(value if name == "baselines" and distribution else _with_tensors(value, repeated))
        for name, value in arguments.items()
    }
    target = arguments.get("target")
    if isinstance(target, list):  # the target is the only argument that can be a list with one item for each example
        expanded["target"] = [item for item in target for _ in range(draws)]
    if draw_baseline_from_distrib and "baselines" in arguments:
        expanded["baselines"] = drawn_baselines(unshared(arguments["baselines"]), inputs, draws)
    return expanded


def has_rows(arguments: MethodArguments, rows: int) -> bool:
    """Return whether any tensor among the arguments, except a target, has an entry for each example."""
    given = [value for name, value in arguments.items() if name != "target"]
    parts = [part for value in given for part in (value if isinstance(value, tuple) else (value,))]
    return any(isinstance(part, Tensor) and _has_row_for_each(part, rows) for part in parts)


def arguments_of_rows(
    arguments: MethodArguments, total: int, rows: Sequence[int], *, distribution: bool = False
) -> dict[str, Any]:
    """Return the arguments of a call with the examples ``rows`` of a batch of ``total`` examples.

    Tensors that belong to no example are marked as :class:`Shared`. Without the mark, such a tensor would be cut or
    repeated if its first dimension happens to be the number of chosen examples.
    """

    def cut(tensor: Tensor) -> Tensor | Shared:
        return tensor[list(rows)] if _has_row_for_each(tensor, total) else Shared(tensor)

    chosen = {
        name: _with_tensors(value, Shared if name == "baselines" and distribution else cut)
        for name, value in arguments.items()
    }
    target = arguments.get("target")
    if isinstance(target, list) and len(target) == total:
        chosen["target"] = [target[row] for row in rows]
    return chosen


def masks_of_rows(masks: Any, total: int, rows: Sequence[int]) -> Any:
    """Return groups or regions of the examples ``rows`` of a batch. Masks with first dimension 1 stay unchanged."""

    def cut(mask: Tensor) -> Tensor:
        return mask[list(rows)] if _has_row_for_each(mask, total) and total > 1 else mask

    if isinstance(masks, Mapping):
        return {name: _with_tensors(mask, cut) for name, mask in masks.items()}
    return _with_tensors(masks, cut)


def unshared(value: Any) -> Any:
    """Return a value without the marks of :class:`Shared`."""
    if isinstance(value, tuple):
        return tuple(unshared(item) for item in value)
    return value.tensor if isinstance(value, Shared) else value


def _has_row_for_each(tensor: Tensor, total: int) -> bool:
    return tensor.dim() > 0 and len(tensor) == total


def _with_tensors(value: Any, change: Callable[[Tensor], Tensor | Shared]) -> Any:
    """Apply a function to a tensor, or to each tensor in a tuple; other values stay unchanged."""
    if isinstance(value, tuple):
        return tuple(change(item) if isinstance(item, Tensor) else item for item in value)
    return change(value) if isinstance(value, Tensor) else value
