"""Certified ranks: Definition 3.1 and its sharp form for any intervals."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from captum_certified.theory.shift import Floats, empirical_lower_bound, probit

__all__ = ["definition_3_1_ranks", "sharp_ranks"]


def definition_3_1_ranks(mean: Floats, *, half_width: Floats, ratio: float) -> NDArray[np.int64]:
    """Definition 3.1. Certified rank: the smallest k with L̂(ĥ_i) ≥ ĥ_[k]; n + 1 if there is none.

    The feature i is itself counted, so the guarantee is: rank of h_i(x̃) ≤ k − 1.

    Args:
        mean: Empirical scores ĥ, shape (N, n).
        half_width: Hoeffding's c, shape (N, 1).
        ratio: ρ/σ ≥ 0.

    Returns:
        Shape (N, n), integers in [1, n + 1].

    Source:
        Levine, Singla and Feizi (2019), Definition 3.1.

    Example:
        >>> mean = np.array([[0.9, 0.5, 0.1]])
        >>> definition_3_1_ranks(mean, half_width=np.array([[0.01]]), ratio=0.1)
        array([[2, 3, 4]])
    """
    bound = empirical_lower_bound(mean, half_width=half_width, ratio=ratio)
    return _count_at_least(mean, bound, strictly=True) + 1


def sharp_ranks(lower: Floats, upper: Floats, *, ratio: float) -> NDArray[np.int64]:
    """Sharp certified rank for any intervals: 1 + the number of j ≠ i with b_j ≥ a_i.

    a and b are the intervals' ends shifted by r; they are compared as Φ⁻¹(hi_j) ≥ Φ⁻¹(lo_i) − 2r.

    Args:
        lower: Lower ends, shape (N, n).
        upper: Upper ends, shape (N, n).
        ratio: ρ/σ ≥ 0.

    Returns:
        Shape (N, n), integers in [1, n]: h_i(x̃) has at most this rank for every x̃ in the ball.

    Example:
        >>> mean = np.array([[0.9, 0.5, 0.1]])
        >>> sharp_ranks(mean - 0.01, mean + 0.01, ratio=0.1)
        array([[1, 2, 3]])
    """
    # i itself always satisfies b_i ≥ a_i, so counting all j gives the leading 1.
    return _count_at_least(probit(upper), probit(lower) - 2.0 * ratio, strictly=False)


def _count_at_least(values: Floats, bounds: Floats, *, strictly: bool) -> NDArray[np.int64]:
    """For every entry of ``bounds`` the number of ``values`` in its row that are ≥ (or >) it."""
    side: Literal["left", "right"] = "right" if strictly else "left"
    n = values.shape[1]
    counts = [n - np.searchsorted(np.sort(row), bound, side=side) for row, bound in zip(values, bounds, strict=True)]
    return np.stack(counts).astype(np.int64)
