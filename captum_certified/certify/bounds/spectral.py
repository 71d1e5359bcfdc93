"""The spectral bound, and the better of this bound and an interval bound.

The spectral bound uses the covariance of the draws to limit the *displacement*: how far the whole map can move.
"""

import math
from dataclasses import dataclass

import numpy as np

from captum_certified import theory
from captum_certified.certify.bounds.intervals import Floats, Integers, IntervalBound, members_of
from captum_certified.maps import SmoothedMap

__all__ = ["OUTWARD", "BestBound", "SpectralBound", "displacement_of", "distance_bound", "norm_refusal"]

# The largest relative error of the cost of an exchange; see theory.exchange.
_SLACK = 1e-8
# Bounds are multiplied by this factor. It covers the rounding errors of the few operations in a bound.
OUTWARD = 1.0 + 1e-13


@dataclass(frozen=True)
class SpectralBound:
    """S2, S3 and S5. Proves statements from a bound on the displacement of the whole map."""

    name: str = "spectral"
    allows_violations: bool = False

    def refusal(self, smoothed_map: SmoothedMap) -> str | None:
        """Return a reason if the map has no covariance, or no bound on the norm of its draws, else ``None``."""
        if smoothed_map.covariance is None or smoothed_map.trace is None:
            return "a map with `covariance` and a trace, got one without"
        return norm_refusal(smoothed_map)

    def intervals(self, smoothed_map: SmoothedMap, alpha: float) -> tuple[Floats, Floats]:
        """Return ĥ ± N. N bounds the error of the whole map, and so the error of each score."""
        mean, error = smoothed_map.features.numpy(), displacement_of(smoothed_map, alpha).error[:, None]
        return np.clip(mean - error, 0.0, 1.0), np.clip(mean + error, 0.0, 1.0)

    def overlaps(self, smoothed_map: SmoothedMap, k: int, ratios: Floats, alpha: float, violations: int) -> Integers:  # noqa: ARG002
        """Return the overlaps of S2 at every ratio. There are no intervals, so ``violations`` is not used."""
        squared = displacement_of(smoothed_map, alpha).squared(ratios)
        rows = zip(smoothed_map.features.numpy(), members_of(smoothed_map, k), squared, strict=True)
        return np.stack([theory.spectral_reference_overlap(mean, inside, k, budget) for mean, inside, budget in rows])

    def overlap_ratio(
        self,
        smoothed_map: SmoothedMap,
        k: int,
        overlap: Integers,
        alpha: float,
        violations: int,  # noqa: ARG002
    ) -> Floats:
        """Return the ratio at which the displacement is just large enough for k − overlap + 1 features to enter."""
        members = members_of(smoothed_map, k)
        costs = np.full(len(smoothed_map), np.inf)
        for row, (mean, inside) in enumerate(zip(smoothed_map.features.numpy(), members, strict=True)):
            entering = k - int(overlap[row]) + 1
            if entering <= len(mean) - int(inside.sum()):
                costs[row] = theory.reference_costs(mean, inside, k, np.array(entering)).item()
        # If there are fewer features than would have to enter the top k, the cost stays infinite. The overlap then
        # always holds.
        finite = np.where(np.isinf(costs), 0.0, costs)
        ratios = displacement_of(smoothed_map, alpha).ratio_below(finite * (1.0 - 2.0 * _SLACK))
        return np.where(np.isinf(costs), np.inf, ratios)

    def ranks(self, smoothed_map: SmoothedMap, ratio: float, alpha: float) -> Integers:
        """Return the ranks of S5."""
        squared = displacement_of(smoothed_map, alpha).squared([ratio])[:, 0]
        rows = zip(smoothed_map.features.numpy(), squared, strict=True)
        return np.stack([theory.spectral_ranks(mean, budget) for mean, budget in rows])

    def score_range(self, smoothed_map: SmoothedMap, ratio: float, alpha: float) -> tuple[Floats, Floats]:
        """Return ĥ ± B, not below 0."""
        reach = np.sqrt(displacement_of(smoothed_map, alpha).squared([ratio]))
        mean = smoothed_map.features.numpy()
        return np.maximum(mean - reach, 0.0), mean + reach

    def top_k_ratios(self, smoothed_map: SmoothedMap, k: int, alpha: float) -> Floats:
        """Return the ratios at which the displacement is large enough to push each feature out of the top k."""
        costs = np.stack([theory.staying_costs(mean, k) for mean in smoothed_map.features.numpy()])
        return displacement_of(smoothed_map, alpha).ratio_below(costs * (1.0 - 2.0 * _SLACK))


@dataclass(frozen=True)
class BestBound:
    """S4. The better of an interval bound at level α/2 and the spectral bound at level α/2."""

    interval_bound: IntervalBound
    spectral: SpectralBound = SpectralBound()
    name: str = "best"
    allows_violations: bool = True

    def refusal(self, smoothed_map: SmoothedMap) -> str | None:
        """Return a reason if one of the two bounds does not apply to the map, else ``None``."""
        return self.interval_bound.refusal(smoothed_map) or self.spectral.refusal(smoothed_map)

    def intervals(self, smoothed_map: SmoothedMap, alpha: float) -> tuple[Floats, Floats]:
        """Return the interval bound's intervals at level α/2. They hold together with all other statements."""
        return self.interval_bound.intervals(smoothed_map, alpha / 2)

    def overlaps(self, smoothed_map: SmoothedMap, k: int, ratios: Floats, alpha: float, violations: int) -> Integers:
        """Return the larger overlap at every ratio."""
        from_intervals = self.interval_bound.overlaps(smoothed_map, k, ratios, alpha / 2, violations)
        return np.maximum(from_intervals, self.spectral.overlaps(smoothed_map, k, ratios, alpha / 2, 0))

    def overlap_ratio(
        self, smoothed_map: SmoothedMap, k: int, overlap: Integers, alpha: float, violations: int
    ) -> Floats:
        """Return the larger ratio."""
        from_intervals = self.interval_bound.overlap_ratio(smoothed_map, k, overlap, alpha / 2, violations)
        return np.maximum(from_intervals, self.spectral.overlap_ratio(smoothed_map, k, overlap, alpha / 2, 0))

    def ranks(self, smoothed_map: SmoothedMap, ratio: float, alpha: float) -> Integers:
        """Return the better rank of every feature."""
        from_intervals = self.interval_bound.ranks(smoothed_map, ratio, alpha / 2)
        return np.minimum(from_intervals, self.spectral.ranks(smoothed_map, ratio, alpha / 2))

    def score_range(self, smoothed_map: SmoothedMap, ratio: float, alpha: float) -> tuple[Floats, Floats]:
        """Return the intersection of both ranges."""
        lower, upper = self.interval_bound.score_range(smoothed_map, ratio, alpha / 2)
        spectral_lower, spectral_upper = self.spectral.score_range(smoothed_map, ratio, alpha / 2)
        return np.maximum(lower, spectral_lower), np.minimum(upper, spectral_upper)

    def top_k_ratios(self, smoothed_map: SmoothedMap, k: int, alpha: float) -> Floats:
        """Return the larger ratio of every feature."""
        from_intervals = self.interval_bound.top_k_ratios(smoothed_map, k, alpha / 2)
        return np.maximum(from_intervals, self.spectral.top_k_ratios(smoothed_map, k, alpha / 2))


def displacement_of(smoothed_map: SmoothedMap, alpha: float) -> theory.Displacement:
    """Return the displacement of a map with a covariance: the full form if F̂ and κ̂ are known, else the short form."""
    summary, trace = smoothed_map.covariance, smoothed_map.trace
    assert summary is not None  # noqa: S101  for the type checker: a map without these was refused
    assert trace is not None  # noqa: S101
    common = {
        "n_samples": smoothed_map.n_samples.double().numpy(),
        "pairs": summary.pairs.numpy(),
        "trace": trace.numpy(),
        "top_eigenvalue": summary.top_eigenvalue.numpy(),
    }
    squared_norm = _squared_norm(smoothed_map)
    if summary.frobenius_norm is None or summary.fourth_moment is None:
        return theory.short_displacement(squared_norm=squared_norm, **common, alpha=alpha)
    return theory.full_displacement(
        squared_norm=squared_norm,
        **common,
        frobenius_norm=summary.frobenius_norm.numpy(),
        fourth_moment=summary.fourth_moment.numpy(),
        alpha=alpha,
    )


def norm_refusal(smoothed_map: SmoothedMap) -> str | None:
    """Return what was expected and what was got instead, or ``None`` if every draw has values ≥ 0 and ‖f‖² ≤ s."""
    low, high = float(smoothed_map.features.min()), float(smoothed_map.features.max())
    if low < 0:
        return f"a map of draws >= 0, got means from {low:g}"
    if smoothed_map.max_squared_norm is None and high > 1:
        return f"a map with values in [0, 1] or a `max_squared_norm`, got means up to {high:g}"
    mean = smoothed_map.features
    moments = (mean.square(), mean if smoothed_map.binary else smoothed_map.second_moment)
    longest = max(float(moment.sum(dim=1).max()) for moment in moments if moment is not None)
    if longest > _squared_norm(smoothed_map) * (1 + _SLACK):
        return f"draws whose squares add up to at most `max_squared_norm`, got {longest:g} in the mean"
    return None


def distance_bound(smoothed_map: SmoothedMap, ratio: float, alpha: float) -> Floats:
    """Return the distance of S5, a bound on ‖h(x̃) − ĥ‖₂, shape (N,). A covariance is used if the map has one.

    Let every draw be ≥ 0 and have a norm of at most sqrt(s). h(x) and h(x̃) are the means of the draws under two
    Gaussians at distance r. They differ by at most sqrt(2s) times the total variation distance 2Φ(r/2) − 1 of the
    Gaussians. Without a covariance the error of ĥ is at most sqrt(s/q)(1 + sqrt(ln(1/α))), by the inequality of bounded
    differences.
    """
    squared_norm = _squared_norm(smoothed_map)
    moved = math.sqrt(2.0 * squared_norm) * (2.0 * float(theory.shift(0.5, ratio / 2)) - 1.0)
    if SpectralBound().refusal(smoothed_map) is None:
        displacement = displacement_of(smoothed_map, alpha)
        distance = np.minimum(np.sqrt(displacement.squared([ratio])[:, 0]), displacement.error + moved)
        return np.asarray(distance * OUTWARD)
    error = np.sqrt(squared_norm / smoothed_map.n_samples.double().numpy()) * (1.0 + math.sqrt(-math.log(alpha)))
    return np.asarray((error + moved) * OUTWARD)


def _squared_norm(smoothed_map: SmoothedMap) -> float:
    """Return s, or n if s is unknown: the squared norm of n values in [0, 1] is at most n."""
    return smoothed_map.max_squared_norm or float(smoothed_map.layout.n_features)
