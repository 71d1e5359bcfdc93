"""Convert a fraction of the features to a number of features, and mark the features with the largest values."""

import math

import numpy as np
from numpy.typing import NDArray

__all__ = ["fraction_to_count", "top_k_mask"]


def fraction_to_count(fraction: float, total: int) -> int:
    """Return ``fraction`` of ``total`` features as a number of features, rounded up.

    The product is first rounded to nine decimals. Without this step 0.07 · 100, which is slightly more than 7 in
    floating point, would be rounded up to 8.

    Args:
        fraction: Fraction in [0, 1].
        total: Number of features.

    Returns:
        ⌈fraction · total⌉.

    Example:
        >>> fraction_to_count(0.07, 100)
        7
        >>> fraction_to_count(0.1, 150528)
        15053
    """
    return math.ceil(round(fraction * total, 9))


def top_k_mask(values: NDArray[np.floating], k: int) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Mark the ``k`` largest values of every row. Among equal values the lower index comes first.

    Args:
        values: Array of shape (rows, n) without NaN.
        k: Number of values to mark in a row, 1 to n.

    Returns:
        The mask, of shape (rows, n), and for every row the number of marked values that are equal to an unmarked value.
        These values are marked only because their index is lower.

    Example:
        >>> mask, placed_by_index = top_k_mask(np.array([[3.0, 1.0, 2.0, 2.0]]), 2)
        >>> mask.tolist(), placed_by_index.tolist()
        ([[True, False, True, False]], [1])
    """
    n = values.shape[1]
    threshold = np.partition(values, n - k, axis=1)[:, n - k, None]
    mask = values >= threshold
    placed_by_index = np.zeros(len(values), dtype=np.int64)
    # A row has more than k marks if values tie for the last mark. Usually there are no ties. So the marks of all rows
    # together are counted first, which is faster than counting row by row.
    tied_rows = np.flatnonzero(np.count_nonzero(mask, axis=1) > k) if np.count_nonzero(mask) > k * len(mask) else ()
    for row in tied_rows:
        tied = np.flatnonzero(values[row] == threshold[row])
        surplus = np.count_nonzero(mask[row]) - k
        mask[row, tied[len(tied) - surplus :]] = False
        placed_by_index[row] = len(tied) - surplus
    return mask, placed_by_index
