"""At which level each row of a map is certified: rows of a sequential run spend that of the look that ended them."""

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
    """The level of every row: α, or α/(j(j+1)) where look j of a sequential run ended the draws.

    Args:
        smoothed_map: A map.
        alpha: Probability that a statement about a row may fail.

    Returns:
        N levels.
    """
    if smoothed_map.looks is None:
        return [alpha] * len(smoothed_map)
    return [look_level(alpha, look) if look else alpha for look in smoothed_map.looks.tolist()]


def by_level(
    smoothed_map: SmoothedMap, alpha: float, statement: Callable[[SmoothedMap, float], NDArray[Scalar]]
) -> NDArray[Scalar]:
    """A statement about every row, at the row's level.

    Args:
        smoothed_map: A map of N rows.
        alpha: Probability that a statement about a row may fail.
        statement: From a map whose rows have one level, and the level, to an array whose first dimension is the rows.

    Returns:
        The statement's array for all N rows.
    """
    each = levels(smoothed_map, alpha)
    if len(set(each)) == 1:
        return statement(smoothed_map, each[0])
    found: NDArray[Scalar] | None = None
    for level in sorted(set(each)):
        rows = np.flatnonzero(np.array(each) == level)
        part = statement(select_rows(smoothed_map, torch.from_numpy(rows)), level)
        if found is None:
            found = np.empty((len(each), *part.shape[1:]), dtype=part.dtype)
        found[rows] = part
    assert found is not None  # noqa: S101  for the type checker: a map has rows
    return found
