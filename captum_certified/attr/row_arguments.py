"""The rule for arguments: which of them belong to the examples, and what they are for other rows.

A tensor belongs to the examples iff its first dimension is their number N. It is repeated for every draw, in the order
of NoiseTunnel, and cut where only some of the examples go on. Every other tensor, one that is :class:`Shared`, and a
reference distribution are passed as they are.
"""

import operator
from collections.abc import Mapping, Sequence
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

from captum_certified._captum import MethodArguments, drawn_baselines
from captum_certified.attr.reachable import wrapped_chain
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
    """Marks an argument that belongs to no example, although its first dimension is the number of examples.

    The edges of a graph, an attention bias or class weights serve all examples alike. A tensor whose first dimension is
    N is otherwise taken to have one row for each example, and is repeated for every draw; with one example, so is a
    tensor whose first dimension is 1.

    Args:
        tensor: The argument, which the wrapped method gets as it is.

    Raises:
        InvalidInputError: It is not a tensor.

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
    """Whether the baselines of a call are a distribution, which belongs to all examples together."""
    if callable(arguments.get("baselines")):
        return True
    given = arguments.get("baselines") is not None
    return given and any(isinstance(inner, _TAKE_A_DISTRIBUTION) for inner in wrapped_chain(method))


def check_targets(target: Any, rows: int) -> None:
    """Refuse a number of targets other than 1 or N.

    Raises:
        InvalidInputError: The number of targets is neither 1 nor N.
    """
    several = isinstance(target, list) or (isinstance(target, Tensor) and target.numel() > 1)
    if several and len(target) != rows:
        raise InvalidInputError(
            f"Expected `target` to be one target for all examples, or one for each of {rows}, got {len(target)}."
        )


def plain_target(target: Any) -> Any:
    """A target with Python's own numbers for those of NumPy and PyTorch, which Captum does not take in tuples."""
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
    """The arguments of a call on every draw of every example, all draws of example 0 first.

    Args:
        arguments: Keyword arguments of the wrapped method for N examples.
        inputs: Their inputs, each of shape (N, …).
        draws: Number of draws.
        distribution: Whether the baselines are a reference distribution.
        draw_baseline_from_distrib: Draw one of the baselines for every row, as NoiseTunnel does.

    Returns:
        Keyword arguments for N · draws rows.
    """
    rows = len(inputs[0])
    expanded = {
        name: unshared(value if name == "baselines" and distribution else _repeated(value, rows, draws))
        for name, value in arguments.items()
    }
    target = arguments.get("target")
    if isinstance(target, list):  # only of targets a list has an item for each example
        expanded["target"] = [item for item in target for _ in range(draws)]
    if draw_baseline_from_distrib and "baselines" in arguments:
        expanded["baselines"] = drawn_baselines(unshared(arguments["baselines"]), inputs, draws)
    return expanded


def has_rows(arguments: MethodArguments, rows: int) -> bool:
    """Whether a tensor among the arguments, other than targets, is taken to belong to the examples."""
    given = [value for name, value in arguments.items() if name != "target"]
    parts = [part for value in given for part in (value if isinstance(value, tuple) else (value,))]
    return any(_belongs(part, rows) for part in parts)


def arguments_of_rows(
    arguments: MethodArguments, total: int, rows: Sequence[int], *, distribution: bool = False
) -> dict[str, Any]:
    """The arguments of a call on ``rows`` of a batch of ``total`` examples.

    What belongs to no example stays so, even where its first dimension is the number of rows that are left.
    """
    chosen = {
        name: _shared(value) if name == "baselines" and distribution else _of_rows(value, total, rows)
        for name, value in arguments.items()
    }
    target = arguments.get("target")
    if isinstance(target, list) and len(target) == total:
        chosen["target"] = [target[row] for row in rows]
    return chosen


def masks_of_rows(masks: Any, total: int, rows: Sequence[int]) -> Any:
    """Groups or regions for ``rows`` of a batch of ``total`` examples; a mask of one row is for all of them."""
    if isinstance(masks, Mapping):
        return {name: masks_of_rows(mask, total, rows) for name, mask in masks.items()}
    if isinstance(masks, tuple):
        return tuple(masks_of_rows(mask, total, rows) for mask in masks)
    return masks[list(rows)] if _belongs(masks, total) and total > 1 else masks


def unshared(value: Any) -> Any:
    """A value without the mark that says it is shared."""
    if isinstance(value, tuple):
        return tuple(unshared(item) for item in value)
    return value.tensor if isinstance(value, Shared) else value


def _belongs(value: Any, total: int) -> bool:
    return isinstance(value, Tensor) and value.dim() > 0 and len(value) == total


def _repeated(value: Any, total: int, draws: int) -> Any:
    if isinstance(value, tuple):
        return tuple(_repeated(item, total, draws) if isinstance(item, Tensor) else item for item in value)
    return value.repeat_interleave(draws, dim=0) if _belongs(value, total) else value


def _of_rows(value: Any, total: int, rows: Sequence[int]) -> Any:
    if isinstance(value, tuple):
        return tuple(_of_rows(item, total, rows) if isinstance(item, Tensor) else item for item in value)
    return value[list(rows)] if _belongs(value, total) else _shared(value)


def _shared(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(_shared(item) for item in value)
    return Shared(value) if isinstance(value, Tensor) else value
