"""The level at which each example of a map is certified: the probability that the statement about it may fail.

An example of a sequential run is certified at a lower level than an example with a fixed number of draws.
"""

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
    """Return the level of every example: α, or α/(j(j+1)) if a sequential run stopped it at interim look j."""
    if smoothed_map.looks is None:
        return [alpha] * len(smoothed_map)
    return [look_level(alpha, look) if look else alpha for look in smoothed_map.looks.tolist()]


def by_level(
    smoothed_map: SmoothedMap, alpha: float, statement: Callable[[SmoothedMap, float], NDArray[Scalar]]
) -> NDArray[Scalar]:
    """Compute a statement about every example at the level of the example, and return the results in one array.

    Args:
        smoothed_map: A map of N examples.
        alpha: Probability that a statement about an example may fail.
        statement: Computes an array from a map and one level for all its examples. The first dimension of the array is
            the examples.
    """
    each = levels(smoothed_map, alpha)
    if len(set(each)) == 1:
        return statement(smoothed_map, each[0])
    rows = [np.flatnonzero(np.array(each) == level) for level in sorted(set(each))]
    parts = [statement(select_rows(smoothed_map, torch.from_numpy(part)), each[part[0]]) for part in rows]
    return np.concatenate(parts)[np.concatenate(rows).argsort()]
