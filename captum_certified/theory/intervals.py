"""Confidence intervals for the mean of independent draws in [0, 1], elementwise.

An interval misses on one side if the mean lies beyond its end on this side. Every interval takes ``tail``, the largest
allowed probability that it misses on one side. If ``tail`` is α/(2n), then n two-sided intervals hold together with
probability 1 − α. If ``tail`` is α(v+1)/(2n), then with probability 1 − α at most v of these intervals miss, by
Markov's inequality.

Ends are rounded outward: floating point makes an interval wider, never narrower.
"""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import betainc, betaincc, betainccinv, betaincinv, entr

from captum_certified.theory.shift import Floats, hoeffding_half_width

__all__ = [
    "clopper_pearson_interval",
    "empirical_bernstein_interval",
    "hoeffding_interval",
    "kl_interval",
    "kl_upper",
]

Interval = tuple[Floats, Floats]

# Newton's iterates approach the end of a kl interval from outside. After this many steps the error is below an ulp (the
# distance to the next float).
_NEWTON_STEPS = 50
_ROUNDING = 1e-12
_TINY = 1e-290  # p·ln p counts as 0 for smaller p
_SERIES = 1e-2
_TANGENTS = 4096
_NEAR_ZERO = 1e-18

# SciPy's incomplete beta function for q draws has a relative error that grows like sqrt(q): below 5e-14 up to 1000
# draws, and 6e-12 at 10⁸ draws. The error allowed here is more than 8 times as large.
_BETA_ERROR, _BETA_ERROR_GROWTH = 2e-12, 5e-15
_ULPS = 4.0 * np.finfo(np.float64).eps  # bounds the error of a formula of a few operations, relative to its terms


def hoeffding_interval(mean: Floats, n_samples: ArrayLike, *, tail: float) -> Interval:
    """Return Hoeffding's interval ĥ ± c, clipped to [0, 1].

    Args:
        mean: Means of the draws.
        n_samples: Number of draws q, broadcast against ``mean``.
        tail: Probability that one side may miss.

    Returns:
        Lower and upper ends.

    Source:
        Hoeffding (1963).

    Example:
        >>> [end.round(3).tolist() for end in hoeffding_interval(np.array([0.1, 0.5]), 100, tail=0.025)]
        [[0.0, 0.364], [0.236, 0.636]]
    """
    return _around(mean, hoeffding_half_width(tail, n_samples))


def clopper_pearson_interval(counts: NDArray[np.int64], n_samples: ArrayLike, *, tail: float) -> Interval:
    """Return Clopper and Pearson's exact interval for the mean of draws that are 0 or 1.

    Args:
        counts: Number of ones.
        n_samples: Number of draws q, broadcast against ``counts``.
        tail: Probability that one side may miss.

    Returns:
        Lower and upper ends. The lower end is exactly 0 if no draw is 1, the upper end exactly 1 if no draw is 0.

    Source:
        Clopper and Pearson (1934).

    Example:
        >>> [end.round(3).tolist() for end in clopper_pearson_interval(np.array([0, 10]), 100, tail=0.025)]
        [[0.0, 0.049], [0.036, 0.176]]
    """
    draws = np.broadcast_to(np.asarray(n_samples, dtype=np.int64), counts.shape)
    lower, upper = np.empty(counts.shape), np.empty(counts.shape)
    for q in np.unique(draws):
        same = draws == q
        given = counts[same]
        # The quantiles are slow. Thousands of features share a few hundred counts, so the quantiles of each count are
        # computed only once.
        if q < given.size:  # this takes far less memory than a sorted copy with the places of all features
            ones, place = np.flatnonzero(np.bincount(given)), np.zeros(int(q) + 1, dtype=np.int64)
            place[ones] = np.arange(len(ones))
            inverse = place[given]
        else:
            ones, inverse = np.unique(given, return_inverse=True)
        lower[same], upper[same] = (ends[inverse] for ends in _exact_ends(ones, int(q), tail))
    return lower, upper


def _exact_ends(ones: NDArray[np.int64], q: int, tail: float) -> Interval:
    """Return Clopper and Pearson's ends for numbers of ones among q draws, rounded outward."""
    lower, upper = np.zeros(len(ones)), np.ones(len(ones))
    some, not_all = ones[ones > 0], ones[ones < q]
    # SciPy's quantiles err by a few ulps in either direction, and by 10⁻⁹ for millions of draws. So every end is moved
    # outward until the distribution function confirms that it is far enough outside.
    error = _BETA_ERROR + _BETA_ERROR_GROWTH * math.sqrt(q)
    inner, goal = tail * (1.0 - 1.5 * error), tail * (1.0 - error)
    start = betaincinv(some, q - some + 1, inner)
    lower[ones > 0] = _moved_out(start, -1.0, lambda end, at: betainc(some[at], q - some[at] + 1, end) <= goal)
    start = betainccinv(not_all + 1, q - not_all, inner)
    upper[ones < q] = _moved_out(start, 1.0, lambda end, at: betaincc(not_all[at] + 1, q - not_all[at], end) <= goal)
    return lower, upper


def _moved_out(ends: Floats, sign: float, outside: Callable[[Floats, NDArray[np.int64]], NDArray[np.bool_]]) -> Floats:
    """Move ends down (``sign`` −1) or up (+1), in growing steps, until ``outside`` is true of each end."""
    moving, step = np.arange(len(ends)), 2.0**-52
    while len(moving):
        moving = moving[~outside(ends[moving], moving)]
        ends[moving] = np.clip(ends[moving] * (1.0 + sign * step), 0.0, 1.0)
        step = min(2.0 * step, 0.5)
    return ends


def kl_interval(mean: Floats, n_samples: ArrayLike, *, tail: float) -> Interval:
    """Return the Chernoff–Hoeffding interval {u : kl(ĥ‖u) ≤ ln(1/tail)/q}, which is never wider than Hoeffding's.

    Args:
        mean: Means of the draws.
        n_samples: Number of draws q, broadcast against ``mean``.
        tail: Probability that one side may miss.

    Returns:
        Lower and upper ends.

    Source:
        Hoeffding (1963), Theorem 1.

    Example:
        >>> [end.round(3).tolist() for end in kl_interval(np.array([0.1, 0.5]), 100, tail=0.025)]
        [[0.038, 0.367], [0.2, 0.633]]
    """
    u = np.asarray(mean, dtype=np.float64)
    draws = np.broadcast_to(np.asarray(n_samples, dtype=np.float64), u.shape)
    lower, upper = np.empty(u.shape), np.empty(u.shape)
    for q in np.unique(draws):
        same = draws == q
        ends = _KLTangents(-math.log(tail) / q)
        lower[same] = complement_down(ends.upper(1.0 - u[same]))
        upper[same] = 1.0 - complement_down(ends.upper(u[same]))  # mirrors the interval of 1 − ĥ exactly
    return lower, upper


def kl_upper(mean: ArrayLike, budget: ArrayLike) -> Floats:
    """Return kl⁺(u, c) = max{v : kl(u‖v) ≤ c}, rounded up.

    kl(u‖·) is convex and increasing above u, so Newton's iterates stay above the root if the first one is above it.

    Args:
        mean: u in [0, 1].
        budget: c ≥ 0, broadcast against ``mean``.

    Returns:
        Values in [u, 1].

    Example:
        >>> kl_upper([0.1, 0.0, 1.0], 0.01).round(8).tolist()
        [0.14767554, 0.00995017, 1.0]
    """
    u, c = np.broadcast_arrays(np.asarray(mean, dtype=np.float64), np.asarray(budget, dtype=np.float64))
    with np.errstate(divide="ignore", invalid="ignore"):
        # Upper bounds on v − u follow from kl(u‖v) ≥ (v−u)²/(2v) and from kl(u‖v) ≥ −(1−u) ln(1−v) − entropy(u).
        start = np.minimum(c + np.sqrt(c * (c + 2.0 * u)), -np.expm1(-(c + entr(u) + entr(1.0 - u)) / (1.0 - u)) - u)
    return _newton(u, c, start, _NEWTON_STEPS)


def complement_down(upper: Floats) -> Floats:
    """Return 1 − ``upper``, rounded down. The nearest float can be above the exact value if ``upper`` < ½."""
    complement = 1.0 - upper
    return np.where(1.0 - complement < upper, np.nextafter(complement, 0.0), complement)


def _newton(u: Floats, c: Floats, start: Floats, steps: int) -> Floats:
    """Return kl⁺(u, c), rounded up, by Newton's method from the upper bound u + ``start``."""
    inside = (u < 1.0) & (c > 0.0) & (start > 0.0) & (u + start < 1.0)
    p, rise = np.where(inside, u, 0.5), np.where(inside, start, 0.25)
    moving = inside
    for _ in range(steps):
        excess = _divergence(p, rise) - c
        step = np.where(moving & (excess > 0.0), excess * (p + rise) * (1.0 - p - rise) / rise, 0.0)
        rise = rise - step
        moving = step > _ROUNDING * rise  # each entry stops on its own, so that no entry depends on the others
        if not np.any(moving):
            break
    rise = np.where(inside, rise * (1.0 + 2.0 * _ROUNDING), np.maximum(start, 0.0))
    value = np.where(c > 0.0, np.nextafter(u + rise, np.inf), u)
    return np.asarray(np.where(u < 1.0, np.minimum(value, 1.0), 1.0))


class _KLTangents:
    """Compute kl⁺(·, c), rounded up, for one budget and many means, by one step of Newton's method for each mean.

    kl is jointly convex, so kl⁺(·, c) is concave and lies below all its tangents. The tangents touch the curve at sin²
    of equally spaced angles, so that there are more of them where the curve bends more. For each mean, Newton's step
    starts from the lower of the two neighbouring tangents. The tangent at 0 is vertical, so the first tangent touches
    just beside 0.

    Args:
        budget: c > 0.
    """

    def __init__(self, budget: float) -> None:
        self.budget = budget
        self.nodes = np.sin(np.linspace(0.0, np.pi / 2, _TANGENTS + 1)[:-1]) ** 2
        self.nodes[0] = _NEAR_ZERO
        ends = kl_upper(self.nodes, budget)
        self.rises = ends - self.nodes
        with np.errstate(divide="ignore", invalid="ignore"):
            log_odds = np.log1p(self.rises / self.nodes) - np.log1p(-self.rises / (1.0 - self.nodes))
            slopes = log_odds * ends * (1.0 - ends) / self.rises
        self.slopes = np.where((ends < 1.0) & (self.rises > 0.0), slopes, 0.0)

    def upper(self, mean: Floats) -> Floats:
        """Return kl⁺(u, c), rounded up, for means u in [0, 1]."""
        place = np.arcsin(np.sqrt(mean)) * (_TANGENTS / (np.pi / 2))
        below = np.minimum(place.astype(np.int64), _TANGENTS - 2)
        start = np.minimum(self._tangent(mean, below), self._tangent(mean, below + 1))
        # The end of Hoeffding's interval is an upper bound too. One Newton step squares the error of the tangents.
        start = np.minimum(start, math.sqrt(self.budget / 2.0))
        return _newton(mean, np.broadcast_to(self.budget, mean.shape), start, steps=1)

    def _tangent(self, mean: Floats, node: NDArray[np.int64]) -> Floats:
        """Return how far the tangents at the given nodes lie above the means."""
        rise: Floats = self.rises[node] + (self.slopes[node] - 1.0) * (mean - self.nodes[node])
        return rise


def _divergence(p: Floats, rise: Floats) -> Floats:
    """Return kl(p‖p + rise) = p·g(rise/p) + (1−p)·g(−rise/(1−p)). With g of :func:`_gap`, nothing cancels."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        above = np.where(p > _TINY, p * _gap(rise / np.maximum(p, _TINY)), rise)
        return above + (1.0 - p) * _gap(-rise / (1.0 - p))


def _gap(x: Floats) -> Floats:
    """Return g(x) = x − ln(1 + x), computed by its series if x is small."""
    entries = np.atleast_1d(x)
    gap = entries - np.log1p(entries)
    small = np.abs(entries) < _SERIES
    y = entries[small]
    gap[small] = y**2 * (1 / 2 - y * (1 / 3 - y * (1 / 4 - y * (1 / 5 - y * (1 / 6 - y * (1 / 7 - y / 8))))))
    return gap.reshape(np.shape(x))


def empirical_bernstein_interval(mean: Floats, second_moment: Floats, n_samples: ArrayLike, *, tail: float) -> Interval:
    """Return Maurer and Pontil's interval ĥ ± [sqrt(2VL/q) + 7L/(3(q−1))], clipped to [0, 1], with L = ln(2/tail).

    Args:
        mean: Means of the draws.
        second_moment: Mean squares of the draws.
        n_samples: Number of draws q ≥ 2, broadcast against ``mean``.
        tail: Probability that one side may miss.

    Returns:
        Lower and upper ends.

    Source:
        Maurer and Pontil (2009), Theorem 4.

    Example:
        >>> ends = empirical_bernstein_interval(np.array([0.1]), np.array([0.0101]), 1000, tail=0.025)
        >>> [end.round(4).tolist() for end in ends]
        [[0.0888], [0.1112]]
    """
    q = np.asarray(n_samples, dtype=np.float64)
    variance = np.maximum(q / (q - 1.0) * (second_moment - mean**2), 0.0)
    log = np.log(2.0 / tail)
    return _around(mean, np.sqrt(2.0 * variance * log / q) + 7.0 * log / (3.0 * (q - 1.0)))


def _around(mean: Floats, width: Floats) -> Interval:
    """Return mean ± width, rounded outward and clipped to [0, 1]."""
    reach = width + _ULPS * (mean + width)
    return np.clip(mean - reach, 0.0, 1.0), np.clip(mean + reach, 0.0, 1.0)
