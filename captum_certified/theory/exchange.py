"""How far a map must move before its top K or its ranks change: S2 and S5.

The cost of a change of order is the least ‖h(x̃) − ĥ‖² at which the change can happen. S3 bounds ‖h(x̃) − ĥ‖² by B², so
no change of order with a cost above B² can happen.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from captum_certified.theory.counting import top_k_mask
from captum_certified.theory.shift import Floats

__all__ = [
    "costs_of_exchange",
    "exchange_costs",
    "exchange_sides",
    "most_affordable",
    "spectral_overlap",
    "spectral_ranks",
    "staying_costs",
]

# Before costs are compared with B², they are lowered by this fraction: the rounding error of sums over 10⁵ features.
_SLACK = 1e-8
_BISECTIONS = 60
_AT_ONCE = 512  # up to this many exchanges, computing all costs at once is faster than bisection

Integers = NDArray[np.int64]
Mask = NDArray[np.bool_]
Extended = NDArray[np.longdouble]


def exchange_costs(mean: Floats, k: int, exchanged: Integers) -> Floats:
    """Return E_m = min_t Σ_{j≤m} (ĥ_[K−j+1] − t)₊² + (t − ĥ_[K+j])₊².

    E_m is the least ‖h(x̃) − ĥ‖² at which m of the top K features are replaced.

    Args:
        mean: Empirical scores of one example, shape (n,).
        k: Size K of the top set.
        exchanged: Numbers m, from 1 to min(K, n − K), any shape.

    Returns:
        E_m in the shape of ``exchanged``. It never decreases as m grows.

    Example:
        >>> mean = np.array([0.9, 0.8, 0.6, 0.5, 0.45, 0.3, 0.1, 0.05])
        >>> exchange_costs(mean, 4, np.array([1, 2, 3])).round(8).tolist()
        [0.00125, 0.046875, 0.29208333]
    """
    leavers, newcomers = exchange_sides(mean, top_k_mask(mean[None], k)[0][0], k)
    m = np.asarray(exchanged, dtype=np.int64)
    return costs_of_exchange(leavers, newcomers, m, m)


def spectral_overlap(mean: Floats, k: int, squared: Floats) -> Integers:
    """S2. Return the certified top-K overlap: K − max{m ≤ min(K, n − K) : E_m ≤ B²}.

    If m features leave the top K and m others enter, some number t separates the two groups at x̃. The features that
    left have scores of at most t. The features that entered have scores of at least t. Then ‖h(x̃) − ĥ‖² ≥ E_m. E_m
    never decreases as m grows, so the largest m is found by bisection.

    Args:
        mean: Empirical scores of one example, shape (n,).
        k: Size K of the top set.
        squared: B² ≥ ‖h(x̃) − ĥ‖², shape (R,).

    Returns:
        Shape (R,), integers in [max(0, 2K − n), K].

    Example:
        >>> mean = np.array([0.9, 0.8, 0.6, 0.5, 0.45, 0.3, 0.1, 0.05])
        >>> spectral_overlap(mean, 4, np.array([0.001, 0.04, 0.2, 9.0]))
        array([4, 3, 2, 0])
    """
    leavers, newcomers = exchange_sides(mean, top_k_mask(mean[None], k)[0][0], k)

    def costs(exchanged: Integers) -> Floats:
        return costs_of_exchange(leavers, newcomers, exchanged, exchanged)

    return k - most_affordable(costs, squared, least=0, most=len(newcomers))


def most_affordable(costs: Callable[[Integers], Floats], squared: Floats, *, least: int, most: int) -> Integers:
    """Return the largest m in (least, most] with a cost E_m of at most B², or ``least`` if there is no such m.

    Args:
        costs: Computes E_m for several m. E_m never decreases as m grows.
        squared: B², shape (R,).
        least: A number m with a cost of 0.
        most: The largest possible m.

    Returns:
        Shape (R,).
    """
    if most - least <= _AT_ONCE:
        each = costs(np.arange(least + 1, most + 1))
        # Rounding may make E_m decrease somewhere. So the cost of each m is lowered to the least cost of this and all
        # larger m.
        cheapest = np.minimum.accumulate(each[::-1])[::-1] * (1.0 - _SLACK)
        return least + np.searchsorted(cheapest, squared, side="right").astype(np.int64)
    possible = np.full(len(squared), least, dtype=np.int64)  # the largest m known to be affordable
    impossible = np.full(len(squared), most + 1, dtype=np.int64)  # the smallest m known not to be affordable
    while np.any(impossible - possible > 1):
        middle = np.maximum((possible + impossible) // 2, least + 1)
        affordable = costs(middle) * (1.0 - _SLACK) <= squared
        open_ = impossible - possible > 1
        possible = np.where(open_ & affordable, middle, possible)
        impossible = np.where(open_ & ~affordable, middle, impossible)
    return possible


def spectral_ranks(mean: Floats, squared: float) -> Integers:
    """S5. Return the certified rank of every feature: 1 + how many others are above it + how many more can overtake it.

    rank_i ≤ #{ĥ_j > ĥ_i} + 1 + max{m : min_t (ĥ_i − t)₊² + Σ_{j≤m} (t − ĥ_(j))₊² ≤ B²}, where ĥ_(j) are the scores of
    the other features with ĥ_j ≤ ĥ_i, in descending order.

    Args:
        mean: Empirical scores of one example, shape (n,).
        squared: B² ≥ ‖h(x̃) − ĥ‖².

    Returns:
        Shape (n,), integers in [1, n].

    Example:
        >>> spectral_ranks(np.array([0.9, 0.5, 0.5, 0.1]), 0.05)
        array([1, 3, 3, 4])
    """
    ordered = -np.sort(-mean)
    values, inverse = np.unique(-mean, return_inverse=True)
    first = np.searchsorted(-ordered, values, side="left")  # position of the first feature of each value
    sums, squares = _running_sums(ordered)
    n = len(ordered)
    # Features of equal value overtake each other at no cost.
    possible = np.searchsorted(-ordered, values, side="right") - first - 1
    impossible = n - first
    while np.any(impossible - possible > 1):
        open_ = impossible - possible > 1
        middle = np.where(open_, (possible + impossible) // 2, possible)
        costs = _overtaking_costs(ordered, sums, squares, first, middle)
        affordable = costs * (1.0 - _SLACK) <= squared
        possible = np.where(open_ & affordable, middle, possible)
        impossible = np.where(open_ & ~affordable, middle, impossible)
    return (first + 1 + possible)[inverse].astype(np.int64)


def staying_costs(mean: Floats, k: int) -> Floats:
    """Return for every feature the least ‖h(x̃) − ĥ‖² at which other features can push it out of the top K.

    Args:
        mean: Empirical scores of one example, shape (n,).
        k: Size K of the top set.

    Returns:
        Shape (n,): 0 for features with K others above them, ∞ for all features if K = n.

    Example:
        >>> staying_costs(np.array([0.9, 0.5, 0.1]), 1).round(4)
        array([0.08, 0.  , 0.  ])
    """
    n = len(mean)
    if k == n:
        return np.full(n, np.inf)
    ordered = -np.sort(-mean)
    values, inverse = np.unique(-mean, return_inverse=True)
    first = np.searchsorted(-ordered, values, side="left")
    inside = np.minimum(first, k - 1)
    sums, squares = _running_sums(ordered)
    costs = _overtaking_costs(ordered, sums, squares, inside, k - inside)
    return np.where(first < k, costs, 0.0)[inverse]


def exchange_sides(mean: Floats, members: Mask, k: int) -> tuple[Floats, Floats]:
    """Return the scores of a set in ascending order and all other scores in descending order, all minus ĥ_[K].

    Only scores that an exchange can involve are returned. The set has L features, so at most m = min(K, n − L) features
    outside the set can be in the top K. In that case L − K + m features of the set are outside the top K.
    """
    inside, outside = mean[members], mean[~members]
    entering = min(k, len(outside))
    # Costs depend only on differences of scores. Subtracting ĥ_[K] first keeps the rounding error of sums small.
    pivot = np.partition(mean, len(mean) - k)[len(mean) - k]
    return _smallest(inside, entering + len(inside) - k) - pivot, -_smallest(-outside, entering) - pivot


def _smallest(values: Floats, depth: int) -> Floats:
    """Return the ``depth`` smallest values, in ascending order."""
    return np.sort(np.partition(values, depth - 1)[:depth]) if depth else values[:0]


def costs_of_exchange(leavers: Floats, newcomers: Floats, leaving: Integers, entering: Integers) -> Floats:
    """Return min_t Σ (y_j − t)₊² + Σ (t − z_j)₊² for the first ``leaving`` numbers y and the first ``entering`` z.

    Args:
        leavers: y, in ascending order.
        newcomers: z, in descending order.
        leaving: Numbers of y in the sum, any shape.
        entering: Numbers of z in the sum, in the shape of ``leaving``.

    Returns:
        The costs in the shape of ``leaving``; 0 where a sum is empty, or where every y is at most every z.
    """
    sums = [np.concatenate([[0.0], np.cumsum(side)]) for side in (leavers, newcomers)]
    squares = [np.concatenate([[0.0], np.cumsum(side**2)]) for side in (leavers, newcomers)]
    falling = -newcomers
    low = np.append(newcomers, np.inf)[entering - 1]
    high = np.append(leavers, -np.inf)[leaving - 1]
    crossing = low >= high
    low, high = np.where(crossing, 0.0, low), np.where(crossing, 0.0, high)

    def active(t: Floats) -> tuple[Integers, Integers, Integers, Floats]:
        """Return where the leavers above t and the newcomers below t begin, their total number, and their sum."""
        above = np.minimum(np.searchsorted(leavers, t, side="right"), leaving)
        below = np.minimum(np.searchsorted(falling, -t, side="right"), entering)
        total = sums[0][leaving] - sums[0][above] + sums[1][entering] - sums[1][below]
        return above, below, leaving + entering - above - below, total

    # The objective is convex in t with the derivative 2(count·t − total). Newton's method is kept within [low, high].
    t = (low + high) / 2.0
    for _ in range(_BISECTIONS):
        above, below, count, total = active(t)
        rising = count * t >= total
        low, high = np.where(rising, low, t), np.where(rising, t, high)
        newton = total / np.maximum(count, 1)
        following = np.where((newton >= low) & (newton <= high), newton, (low + high) / 2.0)
        if np.array_equal(following, t):
            break
        t = following
    above, below, count, total = active(t)
    square = squares[0][leaving] - squares[0][above] + squares[1][entering] - squares[1][below]
    with np.errstate(invalid="ignore", divide="ignore"):
        costs = np.where(~crossing & (count > 0), square - total**2 / np.maximum(count, 1), 0.0)
    return np.maximum(costs, 0.0)


def _running_sums(ordered: Floats) -> tuple[Extended, Extended]:
    """Return the sums of the first i entries and of their squares, precise enough for small differences of sums."""
    wide = ordered.astype(np.longdouble)
    return np.concatenate([[0.0], np.cumsum(wide)]), np.concatenate([[0.0], np.cumsum(wide**2)])


def _overtaking_costs(
    ordered: Floats, sums: Extended, squares: Extended, first: Integers, overtaking: Integers
) -> Floats:
    """Return min_t (v − t)₊² + Σ_j (t − v_j)₊² for v at ``first`` and the ``overtaking`` entries v_j that follow."""
    stop = first + overtaking + 1
    value = ordered[first]
    # Among the entries that follow, only those below the best t add to the cost. Bisection finds the first such entry.
    begin, end = first + 1, stop
    while np.any(begin < end):
        middle = np.minimum((begin + end) // 2, len(ordered) - 1)
        rest = (value + sums[stop] - sums[middle + 1]) / np.maximum(stop - middle, 1)
        moved = ordered[middle] < rest
        open_ = begin < end
        end = np.where(open_ & moved, middle, end)
        begin = np.where(open_ & ~moved, middle + 1, begin)
    count = stop - begin + 1
    total = value + sums[stop] - sums[begin]
    square = value**2 + squares[stop] - squares[begin]
    return np.asarray(np.maximum(square - total**2 / count, 0.0), dtype=np.float64)
