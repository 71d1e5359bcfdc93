"""The interface of a bound, and the bounds that rest on one confidence interval for each feature.

A *bound* is a way to prove statements about a smoothed map at every input near the observed one.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from captum_certified import theory
from captum_certified.maps import SmoothedMap

__all__ = ["INTERVAL_BOUNDS", "Bound", "IntervalBound", "Theorem2Bound", "half_width", "members_of"]

_ROUNDING = 1e-9  # rounding may make the mean square of values in [0, 1] larger than their mean by this much

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


class Bound(Protocol):
    """Proves statements about the map at every input within a radius ρ = ratio·σ, at level α for each example."""

    @property
    def name(self) -> str:
        """The name in ``Certifier(bound=name)``."""

    @property
    def allows_violations(self) -> bool:
        """Whether statements about overlap counts still hold if some intervals do not contain their scores."""

    def refusal(self, smoothed_map: SmoothedMap) -> str | None:
        """Return what was expected of the map and what was got instead, or ``None`` if the bound applies."""

    def intervals(self, smoothed_map: SmoothedMap, alpha: float) -> tuple[Floats, Floats]:
        """Return simultaneous intervals of the scores at the observed input: lower and upper ends, shape (N, n)."""

    def overlaps(self, smoothed_map: SmoothedMap, k: int, ratios: Floats, alpha: float, violations: int) -> Integers:
        """Return certified overlaps of the top k at every ratio, shape (N, R)."""

    def overlap_ratio(
        self, smoothed_map: SmoothedMap, k: int, overlap: Integers, alpha: float, violations: int
    ) -> Floats:
        """Return the largest ratio at which an overlap is certified, rounded down, shape (N,)."""

    def ranks(self, smoothed_map: SmoothedMap, ratio: float, alpha: float) -> Integers:
        """Return certified ranks, shape (N, n)."""

    def score_range(self, smoothed_map: SmoothedMap, ratio: float, alpha: float) -> tuple[Floats, Floats]:
        """Return lower and upper bounds on the exact scores at every perturbed input, shape (N, n)."""

    def top_k_ratios(self, smoothed_map: SmoothedMap, k: int, alpha: float) -> Floats:
        """Return the largest ratio at which each feature certifiably stays in the top k, rounded down, shape (N, n)."""


@dataclass(frozen=True)
class Theorem2Bound:
    """The paper's own certificates: Hoeffding's interval, Theorem 2 and Definition 3.1 as printed."""

    name: str = "theorem2"
    allows_violations: bool = False

    def refusal(self, smoothed_map: SmoothedMap) -> str | None:
        """Return a reason if the map has values outside [0, 1], else ``None``."""
        return _outside_unit_interval(smoothed_map)

    def intervals(self, smoothed_map: SmoothedMap, alpha: float) -> tuple[Floats, Floats]:
        """Return Hoeffding's intervals ĥ ± c."""
        return _hoeffding(smoothed_map, _tail(smoothed_map, alpha))

    def overlaps(self, smoothed_map: SmoothedMap, k: int, ratios: Floats, alpha: float, violations: int) -> Integers:  # noqa: ARG002
        """Apply Theorem 2 at every ratio. The theorem allows no violations."""
        ladder = self._ladder(smoothed_map, k, alpha)
        return theory.overlap_from_ladder(ladder, ratios, closed=True, n_features=smoothed_map.layout.n_features)

    def overlap_ratio(
        self,
        smoothed_map: SmoothedMap,
        k: int,
        overlap: Integers,
        alpha: float,
        violations: int,  # noqa: ARG002
    ) -> Floats:
        """Solve Theorem 2 for the ratio."""
        ladder = self._ladder(smoothed_map, k, alpha)
        # Two sets of K of the n features share at least 2K − n features. Theorem 2 as printed ignores this minimum, so
        # 2n is passed in place of n: the minimum is then 0.
        return theory.ratio_from_ladder(ladder, int(overlap[0]), n_features=2 * smoothed_map.layout.n_features)

    def ranks(self, smoothed_map: SmoothedMap, ratio: float, alpha: float) -> Integers:
        """Return the ranks of Definition 3.1."""
        width = half_width(smoothed_map, alpha)
        return theory.definition_3_1_ranks(smoothed_map.features.numpy(), half_width=width, ratio=ratio)

    def score_range(self, smoothed_map: SmoothedMap, ratio: float, alpha: float) -> tuple[Floats, Floats]:
        """Return the intervals shifted by Lemma 1."""
        return _shifted(*self.intervals(smoothed_map, alpha), ratio)

    def top_k_ratios(self, smoothed_map: SmoothedMap, k: int, alpha: float) -> Floats:
        """Return the largest ratio at which the sharp ranks keep each feature in the top k."""
        return theory.top_k_ratios(*self.intervals(smoothed_map, alpha), k)

    def _ladder(self, smoothed_map: SmoothedMap, k: int, alpha: float) -> Floats:
        return theory.theorem2_ladder(smoothed_map.features.numpy(), half_width(smoothed_map, alpha), k)


@dataclass(frozen=True)
class IntervalBound:
    """A bound that rests on simultaneous intervals, one for each feature.

    Args:
        name: Name of the interval.
        interval: Computes lower and upper ends of shape (N, n) from a map and the level of one side of one interval.
        requires: Returns what was expected of a map and what was got instead, or ``None`` if the interval can be
            computed.
    """

    name: str
    interval: Callable[[SmoothedMap, float], tuple[Floats, Floats]] = field(repr=False)
    requires: Callable[[SmoothedMap], str | None] = field(default=lambda smoothed_map: None, repr=False)  # noqa: ARG005
    allows_violations: bool = True

    def refusal(self, smoothed_map: SmoothedMap) -> str | None:
        """Return a reason if the map has values outside [0, 1] or lacks what the interval needs, else ``None``."""
        return _outside_unit_interval(smoothed_map) or self.requires(smoothed_map)

    def intervals(self, smoothed_map: SmoothedMap, alpha: float) -> tuple[Floats, Floats]:
        """Return the intervals of all features, which hold together at level α."""
        return self.interval(smoothed_map, _tail(smoothed_map, alpha))

    def overlaps(self, smoothed_map: SmoothedMap, k: int, ratios: Floats, alpha: float, violations: int) -> Integers:
        """Return the largest overlaps that intervals can prove, at every ratio."""
        ladder, floor = self._ladder(smoothed_map, k, alpha, violations)
        return theory.reference_overlap_from_ladder(ladder, ratios, floor=floor, violations=violations)

    def overlap_ratio(
        self, smoothed_map: SmoothedMap, k: int, overlap: Integers, alpha: float, violations: int
    ) -> Floats:
        """Return the largest ratio at which :meth:`overlaps` proves the overlap."""
        ladder, floor = self._ladder(smoothed_map, k, alpha, violations)
        return theory.reference_ratio_from_ladder(ladder, overlap, floor=floor, violations=violations)

    def fresh_score_range(
        self, smoothed_map: SmoothedMap, ratio: float, alpha: float, fresh_draws: int
    ) -> tuple[Floats, Floats]:
        """Return bounds on the scores of a map of fresh draws at the perturbed input, each of shape (N, n)."""
        lower, upper = self.intervals(smoothed_map, alpha / 2)
        tail = _tail(smoothed_map, alpha / 2)
        return theory.release_bounds(lower, upper, ratio=ratio, tail=tail, fresh_samples=fresh_draws)

    def ranks(self, smoothed_map: SmoothedMap, ratio: float, alpha: float) -> Integers:
        """Return the sharp ranks."""
        return theory.sharp_ranks(*self.intervals(smoothed_map, alpha), ratio=ratio)

    def score_range(self, smoothed_map: SmoothedMap, ratio: float, alpha: float) -> tuple[Floats, Floats]:
        """Return the intervals shifted by Lemma 1."""
        return _shifted(*self.intervals(smoothed_map, alpha), ratio)

    def top_k_ratios(self, smoothed_map: SmoothedMap, k: int, alpha: float) -> Floats:
        """Return the largest ratio at which the sharp ranks keep each feature in the top k."""
        return theory.top_k_ratios(*self.intervals(smoothed_map, alpha), k)

    def _ladder(self, smoothed_map: SmoothedMap, k: int, alpha: float, violations: int) -> tuple[Floats, Integers]:
        """Return the largest ratio for each overlap, and the overlap that holds at every ratio without any draws."""
        lower, upper = self.interval(smoothed_map, _tail(smoothed_map, alpha * (violations + 1)))
        members = members_of(smoothed_map, k)
        return theory.reference_ladder(lower, upper, members, k), theory.reference_floor(members, k)


def _shifted(lower: Floats, upper: Floats, ratio: float) -> tuple[Floats, Floats]:
    return theory.shift(lower, -ratio), theory.shift(upper, ratio)


def members_of(smoothed_map: SmoothedMap, k: int) -> NDArray[np.bool_]:
    """Return the set that is compared with the top K, shape (N, n): the map's reference set, or else its own top K."""
    if smoothed_map.reference is not None:
        return np.asarray(smoothed_map.reference.numpy())
    return theory.top_k_mask(smoothed_map.features.numpy(), k)[0]


def half_width(smoothed_map: SmoothedMap, alpha: float) -> Floats:
    """Return the half width c of Hoeffding's intervals, which hold for all features together, shape (N, 1)."""
    return theory.hoeffding_half_width(_tail(smoothed_map, alpha), _draws(smoothed_map))


def _tail(smoothed_map: SmoothedMap, alpha: float) -> float:
    """Return α/(2n), the level of one side of one of the n intervals."""
    return alpha / (2 * smoothed_map.layout.n_features)


def _draws(smoothed_map: SmoothedMap) -> Integers:
    draws: Integers = smoothed_map.n_samples.numpy()[:, None]
    return draws


def _hoeffding(smoothed_map: SmoothedMap, tail: float) -> tuple[Floats, Floats]:
    return theory.hoeffding_interval(smoothed_map.features.numpy(), _draws(smoothed_map), tail=tail)


def _kl(smoothed_map: SmoothedMap, tail: float) -> tuple[Floats, Floats]:
    return theory.kl_interval(smoothed_map.features.numpy(), _draws(smoothed_map), tail=tail)


def _clopper_pearson(smoothed_map: SmoothedMap, tail: float) -> tuple[Floats, Floats]:
    counts = smoothed_map.feature_counts
    assert counts is not None  # noqa: S101  for the type checker: a map without counts was refused
    return theory.clopper_pearson_interval(counts.numpy(), _draws(smoothed_map), tail=tail)


def _empirical_bernstein(smoothed_map: SmoothedMap, tail: float) -> tuple[Floats, Floats]:
    mean, second = smoothed_map.features.numpy(), smoothed_map.second_moment
    # Zeros and ones equal their squares, so the mean of a 0/1 map is also its mean square.
    square = mean if second is None else second.numpy()
    return theory.empirical_bernstein_interval(mean, square, _draws(smoothed_map), tail=tail)


def _no_counts(smoothed_map: SmoothedMap) -> str | None:
    return None if smoothed_map.binary else "a map of zeros and ones with counts, got one of means"


def _no_second_moment(smoothed_map: SmoothedMap) -> str | None:
    known = smoothed_map.binary or smoothed_map.second_moment is not None
    return None if known else "a map with `second_moment`, got one without"


def _outside_unit_interval(smoothed_map: SmoothedMap) -> str | None:
    low, high = float(smoothed_map.features.min()), float(smoothed_map.features.max())
    if low < 0 or high > 1:
        return f"a map with values in [0, 1], got means from {low:g} to {high:g}"
    square = smoothed_map.second_moment
    if square is not None and bool((square > smoothed_map.features + _ROUNDING).any()):
        return "a map with values in [0, 1], got a mean square above the mean"
    return None


# "best" takes the first of these bounds that applies to the map.
INTERVAL_BOUNDS: tuple[IntervalBound, ...] = (
    IntervalBound("clopper_pearson", _clopper_pearson, _no_counts),
    IntervalBound("kl", _kl),
    IntervalBound("empirical_bernstein", _empirical_bernstein, _no_second_moment),
    IntervalBound("hoeffding", _hoeffding),
)
