"""Certified overlap of the top-K sets: Theorem 2 and its sharp form for any intervals.

Every bound here is a *ladder*: for i = 1 … K the largest ratio r = ρ/σ at which an overlap of i is
certified. The entries never rise with i, so the certified overlap at a radius is the number of entries that reach this
radius.
"""

import numpy as np

from captum_certified.theory.counting import top_k_mask
from captum_certified.theory.exchange import Integers
from captum_certified.theory.reference_sets import (
    ladder_between,
    largest_descending,
    levels_certified,
    reference_ladder,
    reference_overlap_from_bounds,
    reference_overlap_from_ladder,
    reference_ratio_from_ladder,
)
from captum_certified.theory.shift import Floats

__all__ = [
    "interval_ladder",
    "overlap_from_bounds",
    "overlap_from_ladder",
    "ratio_from_ladder",
    "theorem2_ladder",
]


def theorem2_ladder(mean: Floats, half_width: Floats, k: int) -> Floats:
    """Theorem 2. Return the ladder of the certified top-K overlap.

    The overlap is the largest i ≤ K with L̂(ĥ_[i]) ≥ ĥ_[2K−i]. The inequality holds exactly for
    r ≤ (Φ⁻¹(ĥ_[i] − c) − Φ⁻¹(ĥ_[2K−i] + c)) / 2, and at every r if 2K − i > n.

    Args:
        mean: Empirical scores ĥ, shape (N, n).
        half_width: Hoeffding's c, shape (N, 1).
        k: Size K of the top set, 1 to n.

    Returns:
        Shape (N, K). An overlap of i is certified at all r ≤ entry [:, i − 1]. It is certified at no r if the
        entry is −∞, and at every r if the entry is +∞.

    Source:
        Levine, Singla and Feizi (2019), Theorem 2.

    Example:
        >>> ladder = theorem2_ladder(np.array([[0.9, 0.8, 0.2, 0.1]]), np.array([[0.01]]), 2)
        >>> ladder.round(3).tolist()
        [[1.016, -0.036]]
    """
    n = mean.shape[1]
    depth = min(2 * k - 1, n)
    top = largest_descending(mean, depth)
    partners = np.full((len(mean), k), -np.inf)
    first = max(2 * k - n, 1)  # the first i whose partner 2K − i is at most n
    if first <= k:
        partners[:, first - 1 :] = top[:, 2 * k - np.arange(first, k + 1) - 1]
    return ladder_between(top[:, :k] - half_width, partners + half_width)


def interval_ladder(lower: Floats, upper: Floats, mean: Floats, k: int) -> Floats:
    """B1. Return the ladder of the sharp top-K overlap from intervals.

    The overlap is the largest i with a_i > b_{K−i+1}. Here a are the shifted lower bounds of the top K features, and b
    are the shifted upper bounds of all other features, both in descending order. Suppose that fewer than i of the top K
    stay. Then one of the i features with the largest a leaves, and its score is at least a_i. At least K−i+1 others
    enter. One of these others has a score of at most b_{K−i+1} < a_i, too low to enter before the feature that left. So
    at least i stay. Intervals alone prove no larger overlap.

    Args:
        lower: Lower ends, shape (N, n).
        upper: Upper ends, shape (N, n).
        mean: Empirical scores that define the top K, shape (N, n). Among equal scores the lower index comes first.
        k: Size K of the top set, 1 to n.

    Returns:
        Shape (N, K). An overlap of i is certified at all r < entry [:, i − 1]. It is certified at no r if the
        entry is −∞, and at every r if the entry is +∞.

    Example:
        >>> mean = np.array([[0.9, 0.8, 0.2, 0.1]])
        >>> interval_ladder(mean - 0.01, mean + 0.01, mean, 2).round(3).tolist()
        [[1.227, 0.806]]
    """
    return reference_ladder(lower, upper, top_k_mask(mean, k)[0], k)


def overlap_from_bounds(lower: Floats, upper: Floats, mean: Floats, k: int) -> Integers:
    """Return the sharp top-K overlap from bounds on the perturbed scores: the largest i with a_i > b_{K−i+1}.

    Args:
        lower: a ≤ h(x̃), shape (N, n).
        upper: b ≥ h(x̃), shape (N, n).
        mean: Empirical scores that define the top K, shape (N, n). Among equal scores the lower index comes first.
        k: Size K of the top set, 1 to n.

    Returns:
        Shape (N,), integers in [max(0, 2K − n), K].

    Example:
        >>> mean = np.array([[0.9, 0.8, 0.2, 0.1]])
        >>> overlap_from_bounds(mean - 0.3, mean + 0.3, mean, 2)
        array([1])
    """
    return reference_overlap_from_bounds(lower, upper, top_k_mask(mean, k)[0], k)


def ratio_from_ladder(ladder: Floats, overlap: int, *, n_features: int, violations: int = 0) -> Floats:
    """B3. Read the largest radius at which an overlap is certified off a ladder.

    Args:
        ladder: Shape (N, K), not rising along the second axis.
        overlap: How many features must stay, 1 to K.
        n_features: n. An overlap of 2K − n or less holds at every radius.
        violations: v, the number of intervals allowed to miss. An overlap of i then needs entry i + v of the ladder.

    Returns:
        Shape (N,): the supremum of ρ/σ at which the overlap is certified, rounded down by 1 in 10⁹; 0 if there is none.

    Example:
        >>> ratio_from_ladder(np.array([[0.9, 0.4]]), 2, n_features=9).round(6)
        array([0.4])
    """
    rows, k = ladder.shape
    floor = _floor(rows, k, n_features)
    return reference_ratio_from_ladder(ladder, np.full(rows, overlap), floor=floor, violations=violations)


def overlap_from_ladder(
    ladder: Floats, ratios: Floats, *, closed: bool, n_features: int, violations: int = 0
) -> Integers:
    """B2. Read certified overlaps off a ladder, at any radii, with some intervals allowed to miss.

    Args:
        ladder: Shape (N, K), not rising along the second axis.
        ratios: Radii ρ/σ, shape (R,).
        closed: Whether an overlap is also certified *at* the ratio in the ladder (Theorem 2), or only below it.
        n_features: n. Two sets of size K share at least 2K − n features, which Theorem 2 as printed ignores.
        violations: v, the number of intervals allowed to miss, 0 for Theorem 2. An overlap of i in the ladder proves an
            overlap of i − v.

    Returns:
        Shape (N, R), integers in [0, K].

    Example:
        >>> overlap_from_ladder(np.array([[0.9, 0.4]]), np.array([0.3, 0.4, 2.0]), closed=False, n_features=9)
        array([[2, 1, 0]])
    """
    if closed:
        return levels_certified(ladder, ratios, closed=True)
    rows, k = ladder.shape
    floor = _floor(rows, k, n_features)
    return reference_overlap_from_ladder(ladder, ratios, floor=floor, violations=violations)


def _floor(rows: int, k: int, n_features: int) -> Integers:
    """Return the overlap that any two sets of size K have at least, shape (N,)."""
    return np.full(rows, max(2 * k - n_features, 0))
