"""The arguments of a call on a batch, for some of its examples."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

__all__ = ["arguments_of_rows", "masks_of_rows", "separable"]

_PER_EXAMPLE = frozenset({"target", "additional_forward_args", "baselines", "feature_mask", "groups"})


def arguments_of_rows(arguments: Mapping[str, Any], total: int, rows: list[int]) -> dict[str, Any]:
    """A wrapped method's arguments for ``rows`` of a batch of ``total`` examples.

    Only of ``target`` a list has an item for each example; elsewhere Captum passes it on as it is.
    """
    chosen = {name: _part(value, total, rows) if name in _PER_EXAMPLE else value for name, value in arguments.items()}
    target = arguments.get("target")
    if isinstance(target, list) and len(target) == total:
        chosen["target"] = [target[row] for row in rows]
    return chosen


def masks_of_rows(masks: Any, total: int, rows: list[int]) -> Any:
    """Groups or regions for ``rows`` of a batch of ``total`` examples."""
    if isinstance(masks, Mapping):
        return {name: masks_of_rows(mask, total, rows) for name, mask in masks.items()}
    return _part(masks, total, rows)


def separable(arguments: Mapping[str, Any], total: int) -> bool:
    """Whether a call on some of the rows means the same as a call on all.

    A reference distribution does not belong to the rows; it might have as many entries as rows are left.
    """
    if arguments.get("draw_baseline_from_distrib"):
        return False
    baselines = arguments.get("baselines")
    given = baselines if isinstance(baselines, tuple) else (baselines,)
    return not callable(baselines) and all(
        not isinstance(item, Tensor) or item.dim() == 0 or len(item) in (1, total) for item in given
    )


def _part(value: Any, total: int, rows: list[int]) -> Any:
    if isinstance(value, tuple):
        return tuple(_part(item, total, rows) if isinstance(item, Tensor) else item for item in value)
    return value[rows] if isinstance(value, Tensor) and value.dim() > 0 and len(value) == total else value
