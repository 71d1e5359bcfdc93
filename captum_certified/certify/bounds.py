"""The bounds by name: what each of them proves from the numbers of a smoothed map."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from captum_certified import theory
from captum_certified.exceptions import CertificationError, InvalidInputError
from captum_certified.smoothing import SmoothedMap

__all__ = ["BOUNDS", "Bound", "bound_named"]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


class Bound(Protocol):
    """Proves statements about the map at every input within a radius r·σ, at level α for each example."""

    @property
    def name(self) -> str:
        """The name in ``Certifier(bound=name)``."""

    @property
    def allows_violations(self) -> bool:
        """Whether counts may allow some intervals to miss."""

    def refusal(self, smoothed_map: SmoothedMap) -> str | None:
        """Why this map cannot be bounded, or ``None``."""

    def overlaps(self, smoothed_map: SmoothedMap, k: int, ratios: Floats, alpha: float, violations: int) -> Integers:
        """Certified overlaps of the top k at every ratio, shape (N, R)."""

    def ranks(self, smoothed_map: SmoothedMap, ratio: float, alpha: float) -> Integers:
        """Certified ranks, shape (N, n)."""

    def ranks_guaranteed(self, ranks: Integers) -> Integers:
        """The ranks that the certified ones guarantee."""


@dataclass(frozen=True)
class Theorem2Bound:
    """The paper's own certificates: Hoeffding's interval, Theorem 2 and Definition 3.1 as printed."""

    name: str = "theorem2"
    allows_violations: bool = False

    def refusal(self, smoothed_map: SmoothedMap) -> str | None:
        """Only maps in [0, 1] can be bounded."""
        return _outside_unit_interval(smoothed_map)

    def overlaps(
        self,
        smoothed_map: SmoothedMap,
        k: int,
        ratios: Floats,
        alpha: float,
        violations: int,  # noqa: ARG002  the paper allows none
    ) -> Integers:
        """Theorem 2 at every ratio."""
        mean = smoothed_map.features.numpy()
        ladder = theory.theorem2_ladder(mean, self._half_width(smoothed_map, alpha), k)
        return theory.overlap_from_ladder(ladder, ratios, closed=True, n_features=mean.shape[1])

    def ranks(self, smoothed_map: SmoothedMap, ratio: float, alpha: float) -> Integers:
        """Definition 3.1."""
        width = self._half_width(smoothed_map, alpha)
        return theory.definition_3_1_ranks(smoothed_map.features.numpy(), half_width=width, ratio=ratio)

    def ranks_guaranteed(self, ranks: Integers) -> Integers:
        """Definition 3.1 counts the feature itself."""
        return ranks - 1

    def _half_width(self, smoothed_map: SmoothedMap, alpha: float) -> Floats:
        tail = alpha / (2 * smoothed_map.layout.n_features)
        return theory.hoeffding_half_width(tail, smoothed_map.n_samples.numpy()[:, None])


@dataclass(frozen=True)
class BoxBound:
    """Certificates from simultaneous intervals, one for each feature.

    Args:
        name: The interval's name.
        intervals: Lower and upper ends, each of shape (N, n), from a map and the level of one side of one
            interval.
        requires: Why a map has no such interval, or ``None``.
    """

    name: str
    intervals: Callable[[SmoothedMap, float], tuple[Floats, Floats]]
    requires: Callable[[SmoothedMap], str | None] = lambda smoothed_map: None  # noqa: ARG005
    allows_violations: bool = True

    def refusal(self, smoothed_map: SmoothedMap) -> str | None:
        """Only maps in [0, 1] can be bounded, and some intervals need more than a mean."""
        return _outside_unit_interval(smoothed_map) or self.requires(smoothed_map)

    def overlaps(self, smoothed_map: SmoothedMap, k: int, ratios: Floats, alpha: float, violations: int) -> Integers:
        """The exact optimum for interval information at every ratio."""
        ladder = self._ladder(smoothed_map, k, alpha, violations)
        n = smoothed_map.layout.n_features
        return theory.overlap_from_ladder(ladder, ratios, closed=False, n_features=n, violations=violations)

    def ranks(self, smoothed_map: SmoothedMap, ratio: float, alpha: float) -> Integers:
        """Sharp ranks."""
        lower, upper = self._ends(smoothed_map, alpha, violations=0)
        return theory.sharp_ranks(lower, upper, ratio=ratio)

    def ranks_guaranteed(self, ranks: Integers) -> Integers:
        """The sharp ranks are what they say."""
        return ranks

    def _ladder(self, smoothed_map: SmoothedMap, k: int, alpha: float, violations: int) -> Floats:
        lower, upper = self._ends(smoothed_map, alpha, violations)
        return theory.interval_ladder(lower, upper, smoothed_map.features.numpy(), k)

    def _ends(self, smoothed_map: SmoothedMap, alpha: float, violations: int) -> tuple[Floats, Floats]:
        return self.intervals(smoothed_map, alpha * (violations + 1) / (2 * smoothed_map.layout.n_features))


def _hoeffding(smoothed_map: SmoothedMap, tail: float) -> tuple[Floats, Floats]:
    mean = smoothed_map.features.numpy()
    width = theory.hoeffding_half_width(tail, smoothed_map.n_samples.numpy()[:, None])
    return np.clip(mean - width, 0.0, 1.0), np.clip(mean + width, 0.0, 1.0)


def _outside_unit_interval(smoothed_map: SmoothedMap) -> str | None:
    low, high = float(smoothed_map.features.min()), float(smoothed_map.features.max())
    return None if low >= 0 and high <= 1 else f"a map with values in [0, 1], got means from {low:g} to {high:g}"


# In order of preference: `best` takes the first that applies.
BOUNDS: dict[str, Bound] = {bound.name: bound for bound in (BoxBound("hoeffding", _hoeffding), Theorem2Bound())}


def bound_named(name: str, smoothed_map: SmoothedMap) -> Bound:
    """The bound of that name; for ``"best"`` the sharpest that exists for the map.

    Raises:
        InvalidInputError: There is no bound of that name.
        CertificationError: The bound does not apply to the map.
    """
    if name == "best":
        refusals = {bound: bound.refusal(smoothed_map) for bound in BOUNDS.values()}
        for bound, refusal in refusals.items():
            if refusal is None:
                return bound
        raise CertificationError(f"Expected {next(iter(refusals.values()))}.")
    if name not in BOUNDS:
        raise InvalidInputError(f"Expected `bound` to be one of {['best', *BOUNDS]}, got {name!r}.")
    refusal = BOUNDS[name].refusal(smoothed_map)
    if refusal is not None:
        raise CertificationError(f"Expected {refusal} for `bound`={name!r}.")
    return BOUNDS[name]
