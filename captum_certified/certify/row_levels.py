"""The level at which each row of a map is certified. Rows of a sequential run have the level of their last look."""

from collections.abc import Callable
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from captum_certified.maps import SmoothedMap, select_rows
from captum_certified.theory import look_level

__all__ = ["by_level", "levels"]

Scalar = TypeVar("Scalar", bound=np.generic)


def levels(smoothed_map: SmoothedMap, alpha: float) -> list[float]:
    """Return the level of every row: α, or α/(j(j+1)) if the draws of the row ended at look j of a sequential run."""
    if smoothed_map.looks is None:
        return [alpha] * len(smoothed_map)
    return [look_level(alpha, look) if look else alpha for look in smoothed_map.looks.tolist()]


def by_level(
    smoothed_map: SmoothedMap, alpha: float, statement: Callable[[SmoothedMap, float], NDArray[Scalar]]
) -> NDArray[Scalar]:
    """Return the array of a statement about all rows, each computed at the level of its row.

    Args:
        smoothed_map: A map of N rows.
        alpha: Probability that a statement about a row may fail.
        statement: Computes an array, whose first dimension is the rows, from a map and the level of all its rows.
    """
    each = levels(smoothed_map, alpha)
    if len(set(each)) == 1:
        return statement(smoothed_map, each[0])
    rows = [np.flatnonzero(np.array(each) == level) for level in sorted(set(each))]
    parts = [statement(select_rows(smoothed_map, torch.from_numpy(part)), each[part[0]]) for part in rows]
    return np.concatenate(parts)[np.concatenate(rows).argsort()]
