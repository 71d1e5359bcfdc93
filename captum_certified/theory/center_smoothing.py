"""The certificate of Center Smoothing for sets of K features, which is compared with the certificates of this package.

Center Smoothing publishes the map of one draw that lies close to half of the draws, in place of the mean map.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from captum_certified.exceptions import InvalidInputError
from captum_certified.theory.shift import Floats

__all__ = ["CenterSmoothing", "center_smoothing", "set_distances"]

# The triangle inequality is used twice, and once more because the centre is one of the draws.
_FACTOR = 3.0


@dataclass(frozen=True)
class CenterSmoothing:
    """A centre, and how far it can move.

    Attributes:
        center: Index of the draw that is the centre.
        median: Median distance of the centre to the draws from which it was chosen.
        distance: Upper bound on the distance between the centres at x and at any x̃, at least 0; infinity if nothing
            can be certified. A bound of 1 or more says nothing about sets, whose distance is never more than 1.
    """

    center: int
    median: float
    distance: float


def set_distances(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> Floats:
    """Return 1 − |A ∩ B|/K for every set A of the first array and B of the second, which is a metric on sets of size K.

    Args:
        first: Masks of shape (a, n) with K true entries in each row.
        second: Masks of shape (b, n) with as many.

    Returns:
        Shape (a, b), between 0 and 1.

    Example:
        >>> set_distances(np.array([[True, True, False]]), np.array([[True, True, False], [False, True, True]]))
        array([[0. , 0.5]])
    """
    common = first.astype(np.float32) @ second.astype(np.float32).T  # counts below 2²⁴ are exact in float32
    distances: Floats = 1.0 - common.astype(np.float64) / int(first[0].sum())
    return distances


def center_smoothing(sets: NDArray[np.bool_], *, ratio: float, alpha: float, excess: float = 0.05) -> CenterSmoothing:
    """Center Smoothing. Choose a centre among the draws and bound how far it can move.

    The first quarter of the draws gives the centre, which is the draw with the smallest median distance to the others.
    The second quarter confirms that the ball of this radius holds nearly half of all draws. The rest estimates the
    quantile Φ(Φ⁻¹(1/2 + excess) + r) of the distance to the centre. The bound is three times this quantile.

    Args:
        sets: Masks of K features, one for each draw, shape (q, n).
        ratio: ρ/σ ≥ 0.
        alpha: Probability that the statement may fail; each of its two parts takes half.
        excess: By how much the probability of the ball may exceed one half.

    Returns:
        The centre and the bound.

    Raises:
        InvalidInputError: There are fewer than 8 draws.

    Source:
        Kumar and Goldstein (2021); the factor 3, the excess of 0.05 and the three samples are those of their code.

    Example:
        >>> found = center_smoothing(np.tile([True, True, False], (8000, 1)), ratio=0.1, alpha=0.05)
        >>> found.distance
        0.0
    """
    if len(sets) < 8:
        raise InvalidInputError(f"Expected at least 8 draws, got {len(sets)}.")
    quarter = len(sets) // 4
    candidates, confirming, measured = np.split(sets, [quarter, 2 * quarter])
    medians = np.median(set_distances(candidates, candidates), axis=1)
    center = int(np.argmin(medians))
    median = float(medians[center])
    inside = float(np.mean(set_distances(candidates[center : center + 1], confirming) <= median))
    sampling = math.sqrt(math.log(2 / (alpha / 2)) / (2 * quarter))
    needed = max(sampling, 0.5 - (inside - sampling))
    level = float(norm.cdf(norm.ppf(0.5 + excess) + ratio)) + math.sqrt(math.log(2 / alpha) / (2 * len(measured)))
    if needed > excess or level > 1:
        return CenterSmoothing(center, median, math.inf)
    quantile = np.quantile(set_distances(candidates[center : center + 1], measured), level, method="higher")
    return CenterSmoothing(center, median, _FACTOR * float(quantile))
