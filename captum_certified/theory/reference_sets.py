"""Certified overlap of the top K with any fixed set, such as the plain map's top K, a mask, or a bounding box.

R_Y(x̃) is the number of features of a reference set Y that are in the top K of the exact map h(x̃). Y stays the same at
every x̃, so it may be any set, of any size L. If Y is the top K of ĥ, R_Y(x̃) is the top-K overlap.

A *ladder* holds, for i = 1 … K, the largest ratio r = ρ/σ at which an overlap of i is certified.
"""

from typing import Literal

import numpy as np

from captum_certified.theory.exchange import (
    Integers,
    Mask,
    costs_of_exchange,
    exchange_sides,
    most_affordable,
)
from captum_certified.theory.shift import Floats, probit

__all__ = [
    "chance_overlap",
    "ladder_between",
    "largest_descending",
    "levels_certified",
    "reference_costs",
    "reference_floor",
    "reference_ladder",
    "reference_overlap_from_bounds",
    "reference_overlap_from_ladder",
    "reference_ratio_from_ladder",
    "spectral_reference_overlap",
]


def reference_ladder(lower: Floats, upper: Floats, members: Mask, k: int) -> Floats:
    """R1. Return the ladder of the overlap with a reference set from intervals.

    The overlap is the largest i with a_i > b_{K−i+1}. Here a are the shifted lower bounds of the set's features, and b
    are the shifted upper bounds of all other features, both in descending order. Suppose that fewer than i of the set
    are in the top K. Then one of the i features of the set with the largest a is missing there, and its score is at
    least a_i. At least K − i + 1 others are there. One of these others has a score of at most b_{K−i+1} < a_i, too low
    to be ahead of the missing feature. So at least i of the set are in the top K. Intervals alone prove no larger
    overlap.

    Args:
        lower: Lower ends, shape (N, n).
        upper: Upper ends, shape (N, n).
        members: The reference set of every example, shape (N, n).
        k: Size K of the top set, 1 to n.

    Returns:
        Shape (N, K). An overlap of i is certified at all r < entry [:, i − 1]. It is certified at no r if the
        entry is −∞, and at every r if the entry is +∞.

    Example:
        >>> mean = np.array([[0.9, 0.8, 0.2, 0.1]])
        >>> members = np.array([[True, False, True, False]])
        >>> reference_ladder(mean - 0.01, mean + 0.01, members, 2).round(3).tolist()
        [[1.227, -0.878]]
    """
    return ladder_between(*_opponents(lower, upper, members, k))


def reference_overlap_from_bounds(lower: Floats, upper: Floats, members: Mask, k: int) -> Integers:
    """Return the overlap of R1 from bounds on the scores at the perturbed input.

    Args:
        lower: a ≤ h(x̃), shape (N, n).
        upper: b ≥ h(x̃), shape (N, n).
        members: The reference set of every example, shape (N, n).
        k: Size K of the top set, 1 to n.

    Returns:
        Shape (N,), integers in [max(0, K + L − n), min(K, L)].

    Example:
        >>> mean, members = np.array([[0.9, 0.8, 0.2, 0.1]]), np.array([[True, False, True, False]])
        >>> reference_overlap_from_bounds(mean - 0.3, mean + 0.3, members, 2)
        array([1])
    """
    strongest, others = _opponents(lower, upper, members, k)
    holds = np.logical_and.accumulate(strongest > others, axis=1)
    return np.asarray(np.maximum(holds.sum(axis=1), reference_floor(members, k)), dtype=np.int64)


def reference_overlap_from_ladder(ladder: Floats, ratios: Floats, *, floor: Integers, violations: int = 0) -> Integers:
    """Read certified overlaps with a reference set off a ladder, at any radii, with some intervals allowed to miss.

    Args:
        ladder: Shape (N, K), not rising along the second axis.
        ratios: Radii ρ/σ, shape (R,).
        floor: max(K + L − n, 0), shape (N,).
        violations: v, the number of intervals allowed to miss. An overlap of i in the ladder then proves only i − v.

    Returns:
        Shape (N, R), integers.

    Example:
        >>> ladder = np.array([[0.9, 0.4]])
        >>> reference_overlap_from_ladder(ladder, np.array([0.3, 0.4, 2.0]), floor=np.array([0]))
        array([[2, 1, 0]])
    """
    return np.maximum(levels_certified(ladder, ratios) - violations, floor[:, None])


def reference_ratio_from_ladder(ladder: Floats, overlap: Integers, *, floor: Integers, violations: int = 0) -> Floats:
    """Read the largest radius at which an overlap with a reference set is certified off a ladder.

    Args:
        ladder: Shape (N, K), not rising along the second axis.
        overlap: The overlap to certify in every example, at least 1, shape (N,).
        floor: max(K + L − n, 0), shape (N,). An overlap of this size holds at every radius.
        violations: v, the number of intervals allowed to miss. An overlap of i then needs entry i + v of the ladder.

    Returns:
        Shape (N,): the supremum of ρ/σ at which the overlap is certified, rounded down by 1 in 10⁹; 0 if there is none.

    Example:
        >>> reference_ratio_from_ladder(np.array([[0.9, 0.4]]), np.array([2]), floor=np.array([0])).round(6)
        array([0.4])
    """
    k = ladder.shape[1]
    level = overlap + violations
    falling = np.minimum.accumulate(ladder, axis=1)
    supremum = np.take_along_axis(falling, np.clip(level, 1, k)[:, None] - 1, axis=1)[:, 0]
    certified = np.where(level > k, 0.0, np.maximum(supremum, 0.0) * (1.0 - 1e-9))
    return np.where(overlap <= floor, np.inf, certified)


def reference_costs(mean: Floats, members: Mask, k: int, entering: Integers) -> Floats:
    """Return E_m, the least ‖h(x̃) − ĥ‖² at which m features outside the reference set are in the top K.

    E_m = min_t Σ_{j≤L−K+m} (y_j − t)₊² + Σ_{j≤m} (t − z_j)₊², where y are the scores of the set in ascending order and
    z the scores of all other features in descending order. If m of these other features are in the top K, then
    L − K + m features of the set are not.

    Args:
        mean: Empirical scores of one example, shape (n,).
        members: The reference set, shape (n,).
        k: Size K of the top set.
        entering: Numbers m, from max(0, K − L) to min(K, n − L), any shape.

    Returns:
        E_m in the shape of ``entering``. E_m never decreases as m grows. It is 0 if every y in the first sum is at most
        every z in the second.

    Example:
        >>> mean = np.array([0.9, 0.8, 0.6, 0.5])
        >>> reference_costs(mean, np.array([True, False, True, False]), 2, np.array([1, 2])).round(4).tolist()
        [0.0, 0.08]
    """
    leavers, newcomers = exchange_sides(mean, members, k)
    m = np.asarray(entering, dtype=np.int64)
    return costs_of_exchange(leavers, newcomers, m + int(members.sum()) - k, m)


def spectral_reference_overlap(mean: Floats, members: Mask, k: int, squared: Floats) -> Integers:
    """R2. Return the certified overlap with a reference set: K − max{m : E_m ≤ B²}.

    E_m is the cost that :func:`reference_costs` returns.

    Args:
        mean: Empirical scores of one example, shape (n,).
        members: The reference set, shape (n,), of size L.
        k: Size K of the top set.
        squared: B² ≥ ‖h(x̃) − ĥ‖², shape (R,).

    Returns:
        Shape (R,), integers in [max(0, K + L − n), min(K, L)].

    Example:
        >>> mean = np.array([0.9, 0.8, 0.6, 0.5])
        >>> spectral_reference_overlap(mean, np.array([True, False, True, False]), 2, np.array([0.0, 0.1]))
        array([1, 0])
    """
    size = int(members.sum())
    leavers, newcomers = exchange_sides(mean, members, k)

    def costs(entering: Integers) -> Floats:
        return costs_of_exchange(leavers, newcomers, entering + size - k, entering)

    return k - most_affordable(costs, squared, least=max(0, k - size), most=min(k, len(mean) - size))


def reference_floor(members: Mask, k: int) -> Integers:
    """Return the smallest overlap of any top K with a reference set: max(K + L − n, 0), shape (N,)."""
    return np.asarray(np.maximum(k + members.sum(axis=1) - members.shape[1], 0), dtype=np.int64)


def chance_overlap(members: Mask, k: int) -> Floats:
    """Return the mean overlap of a random top K with a reference set, as a fraction of min(K, L): K/n · L/min(K, L).

    Args:
        members: The reference set of every example, shape (N, n); not empty.
        k: Size K of the top set.

    Returns:
        Shape (N,).

    Example:
        >>> chance_overlap(np.array([[True, True, False, False, False]]), 1)
        array([0.4])
    """
    size = members.sum(axis=1)
    return np.asarray(k / members.shape[1] * size / np.minimum(size, k), dtype=np.float64)


def _opponents(lower: Floats, upper: Floats, members: Mask, k: int) -> tuple[Floats, Floats]:
    """Return a_1 … a_K, with −∞ beyond the size of the set, and the opponent b_{K−i+1} of each a_i."""
    rows, n = lower.shape
    strongest = np.full((rows, k), -np.inf)
    others = np.full((rows, k), -np.inf)
    for row, inside in enumerate(members):
        size = int(inside.sum())
        depth = min(k, size)
        if depth:
            strongest[row, :depth] = largest_descending(lower[row][None, inside], depth)[0]
        depth = min(k, n - size)
        if depth:
            others[row, k - depth :] = largest_descending(upper[row][None, ~inside], depth)[0, ::-1]
        others[row, size:] = np.inf  # an overlap cannot exceed the size of the set
    return strongest, others


def levels_certified(ladder: Floats, ratios: Floats, *, closed: bool = False) -> Integers:
    """Count the ladder's entries above each ratio (or equal to it, if ``closed``), shape (N, R)."""
    # Rounding may break the order of entries by an ulp (the distance to the next float). An entry counts only if all
    # entries before it count.
    falling = np.minimum.accumulate(ladder, axis=1)
    side: Literal["left", "right"] = "left" if closed else "right"
    levels = [ladder.shape[1] - np.searchsorted(row[::-1], ratios, side=side) for row in falling]
    return np.stack(levels).astype(np.int64)


def ladder_between(strong: Floats, weak: Floats) -> Floats:
    """Return (Φ⁻¹(strong) − Φ⁻¹(weak)) / 2: −∞ if ``strong`` ≤ 0 or ``weak`` ≥ 1, +∞ if ``weak`` = −∞ (no opponent)."""
    with np.errstate(invalid="ignore"):
        ladder = (probit(np.clip(strong, 0.0, 1.0)) - probit(np.clip(weak, 0.0, 1.0))) / 2.0
    ladder[np.isnan(ladder)] = -np.inf
    ladder[np.isneginf(weak)] = np.inf
    return ladder


def largest_descending(values: Floats, depth: int) -> Floats:
    """Return the ``depth`` largest entries of every row, in descending order."""
    cut = values.shape[1] - depth
    return np.asarray(-np.sort(-np.partition(values, cut, axis=1)[:, cut:], axis=1))
