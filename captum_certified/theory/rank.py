"""Certified ranks: Definition 3.1 and its sharp form for any intervals."""

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from captum_certified.theory.shift import Floats, empirical_lower_bound, probit

__all__ = ["definition_3_1_ranks", "ranks_from_bounds", "sharp_ranks", "theorem3_rank", "top_k_ratios"]

# Number of bounds that are ranked at a time. A fixed number keeps the memory for sorting independent of the number of
# features.
_BOUNDS_AT_ONCE = 2**20


def definition_3_1_ranks(mean: Floats, *, half_width: Floats, ratio: float) -> NDArray[np.int64]:
    """Definition 3.1. Return the certified rank k of every feature i: the smallest k with L̂(ĥ_i) ≥ ĥ_[k], or n + 1.

    k counts feature i itself, so rank k guarantees that the rank of h_i(x̃) is at most k − 1.

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
    """B4. Return the sharp certified rank of every feature i from intervals: 1 + the number of j ≠ i with b_j ≥ a_i.

    a and b are the ends of the intervals, shifted by r. The condition is computed as Φ⁻¹(hi_j) ≥ Φ⁻¹(lo_i) − 2r.

    Args:
        lower: Lower ends, shape (N, n).
        upper: Upper ends, shape (N, n).
        ratio: ρ/σ ≥ 0.

    Returns:
        Shape (N, n), integers in [1, n]: h_i(x̃) has at most this rank for every x̃ within r·σ.

    Example:
        >>> mean = np.array([[0.9, 0.5, 0.1]])
        >>> sharp_ranks(mean - 0.01, mean + 0.01, ratio=0.1)
        array([[1, 2, 3]])
    """
    return ranks_from_bounds(probit(lower) - 2.0 * ratio, probit(upper))


def ranks_from_bounds(lower: Floats, upper: Floats) -> NDArray[np.int64]:
    """Return the sharp certified rank of every feature i from bounds: 1 + the number of j ≠ i with b_j ≥ a_i.

    Args:
        lower: a, lower bounds of the scores, or of one increasing function of the scores, shape (N, n).
        upper: b, upper bounds of the scores, or of the same function, shape (N, n).

    Returns:
        Shape (N, n), integers in [1, n].

    Example:
        >>> ranks_from_bounds(np.array([[0.8, 0.4, 0.1]]), np.array([[0.9, 0.8, 0.3]]))
        array([[2, 2, 3]])
    """
    # i itself always satisfies b_i ≥ a_i. So a count over all j, including i, already contains the summand 1.
    return _count_at_least(upper, lower, strictly=False)


def top_k_ratios(lower: Floats, upper: Floats, k: int) -> Floats:
    """Return the radius up to which each feature i stays in the top K: (Φ⁻¹(lo_i) − Φ⁻¹(h)) / 2.

    h is the K-th largest upper end among the other features.

    Args:
        lower: Lower ends, shape (N, n).
        upper: Upper ends, shape (N, n).
        k: Size K of the top set, 1 to n.

    Returns:
        Shape (N, n): the supremum of the certified ρ/σ, rounded down by 1 in 10⁹; 0 if none is certified, ∞ if K = n.

    Example:
        >>> mean = np.array([[0.9, 0.5, 0.1]])
        >>> top_k_ratios(mean - 0.01, mean + 0.01, 1).round(3)
        array([[0.601, 0.   , 0.   ]])
    """
    rows, n = lower.shape
    if k == n:
        return np.full((rows, n), np.inf)
    ends = probit(upper)
    descending = -np.sort(-ends, axis=1)
    # If feature i is among the K largest, the K-th largest of the other features is the (K+1)-th largest of all.
    opponent = np.where(ends >= descending[:, k - 1 : k], descending[:, k : k + 1], descending[:, k - 1 : k])
    with np.errstate(invalid="ignore"):
        ratio = (probit(lower) - opponent) / 2.0
    return np.where(ratio > 0.0, ratio, 0.0) * (1.0 - 1e-9)


def theorem3_rank(weights: ArrayLike, rank: int, *, half_width: ArrayLike, ratio: float) -> Floats:
    """Theorem 3. Bound the rank of Definition 3.1 by ⌈Σ_k w(k) / L̂(w(T)/2)⌉ for a feature of median rank at most T.

    The bound holds for maps f_i = w(rank of g_i), where g are the attributions of one draw. With the paper's w, which
    is 1 up to ⌈τn⌉ and 0 after that, the bound is ⌈⌈τn⌉ / L̂(1/2)⌉. The paper omits the outer ceiling.

    Args:
        weights: w(1), w(2), …, in [0, 1] and not rising. All weights after these are 0.
        rank: T ≥ 1.
        half_width: Hoeffding's c.
        ratio: ρ/σ ≥ 0.

    Returns:
        The bound on the rank of Definition 3.1, in the shape of ``half_width``; ∞ where L̂(w(T)/2) ≤ 0.

    Source:
        Levine, Singla and Feizi (2019), Theorem 3 and eqs. A.20–A.22.

    Example:
        >>> float(theorem3_rank([1.0], 1, half_width=1e-4, ratio=0.0))
        3.0
    """
    w = np.asarray(weights, dtype=np.float64)
    weight = w[rank - 1] if 1 <= rank <= len(w) else 0.0
    bound = empirical_lower_bound(np.full(np.shape(half_width), weight / 2.0), half_width=half_width, ratio=ratio)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(bound > 0.0, np.ceil(w.sum() / np.maximum(bound, 0.0) * (1.0 + 1e-12)), np.inf)


def _count_at_least(values: Floats, bounds: Floats, *, strictly: bool) -> NDArray[np.int64]:
    """Count for every entry of ``bounds`` the ``values`` of the same row that are ≥ this entry (> if ``strictly``)."""
    side: Literal["left", "right"] = "right" if strictly else "left"
    counts = np.empty(bounds.shape, dtype=np.int64)
    for row, bound, count in zip(values, bounds, counts, strict=True):
        ascending = np.sort(row)
        for start in range(0, len(bound), _BOUNDS_AT_ONCE):
            part = slice(start, start + _BOUNDS_AT_ONCE)
            # Many bounds are equal, and searching for bounds in sorted order is several times faster.
            distinct, inverse = np.unique(bound[part], return_inverse=True)
            count[part] = (len(row) - np.searchsorted(ascending, distinct, side=side))[inverse]
    return counts
