"""Certified localisation: how much of the saliency stays in a fixed region."""

import math

import numpy as np

from captum_certified.theory.displacement import chi
from captum_certified.theory.intervals import complement_down, kl_upper
from captum_certified.theory.shift import Floats, shift

__all__ = ["dkw_half_width", "region_mass", "region_mass_bounds"]

# Bounds are lowered by this amount, which is more than the rounding error of sums over thousands of draws.
_INWARD = 1.0 - 1e-12


def region_mass(fractions: Floats, *, ratio: float, alpha: float) -> Floats:
    """S6. Return a lower bound on the mean fraction of the saliency in a region, at every input within r·σ.

    Args:
        fractions: T, the fraction of each draw's map that lies in the region, shape (N, q), q ≥ 2.
        ratio: ρ/σ ≥ 0.
        alpha: Probability that the bound is wrong, for each example.

    Returns:
        Shape (N,), in [0, 1].

    Source:
        The result is the largest of three bounds, each at level α/3. The bound from the distribution is by Kumar et al.
        (2020).

    Example:
        >>> region_mass(np.full((1, 1000), 0.8), ratio=0.5, alpha=0.05).round(3)
        array([0.722])
    """
    bounds = np.stack(region_mass_bounds(fractions, ratio=ratio, alpha=alpha))
    return np.asarray(np.maximum(bounds.max(axis=0), 0.0) * _INWARD)


def region_mass_bounds(fractions: Floats, *, ratio: float, alpha: float) -> tuple[Floats, Floats, Floats]:
    """Return the three bounds of S6, each at level α/3: from the mean, the distribution, and the variance of T.

    Args:
        fractions: T, the fraction of each draw's map that lies in the region, shape (N, q), q ≥ 2.
        ratio: ρ/σ ≥ 0.
        alpha: Probability that any of the three bounds is wrong, for each example.

    Returns:
        Φ(Φ⁻¹(lo) − r);  ∫₀¹ Φ(Φ⁻¹(P̂[T > u] − DKW) − r) du;  mean − sqrt(e^{r²} − 1)·sd. Here lo and mean are lower
        bounds on the mean of T, and sd is an upper bound on the standard deviation of T. Each of the three bounds has
        shape (N,).

    Example:
        >>> bounds = region_mass_bounds(np.full((1, 1000), 0.8), ratio=0.5, alpha=0.05)
        >>> [bound.round(2).tolist() for bound in bounds]
        [[0.58], [0.71], [0.72]]
    """
    q = fractions.shape[1]
    mean = fractions.mean(axis=1)
    by_mean = shift(_mean_lower(mean, q, alpha / 3.0), -ratio)

    ordered = np.sort(fractions, axis=1)
    widths = np.diff(ordered, axis=1, prepend=0.0)
    survival = (q - np.arange(q)) / q - dkw_half_width(q, alpha / 3.0)
    by_distribution = widths @ shift(np.maximum(survival, 0.0), -ratio)

    variance = fractions.var(axis=1, ddof=1)
    doubled = kl_upper(np.minimum(2.0 * variance, 1.0), math.log(6.0 / alpha) / (q // 2))
    by_variance = _mean_lower(mean, q, alpha / 6.0) - chi(ratio) * np.sqrt(doubled / 2.0)
    return by_mean, by_distribution, by_variance


def dkw_half_width(n_samples: int, tail: float) -> float:
    """Return the width sqrt(ln(1/tail)/(2q)) of the one-sided Dvoretzky–Kiefer–Wolfowitz confidence band.

    Args:
        n_samples: Number of draws q.
        tail: Probability that the band misses, at most 1/2.

    Returns:
        The width of the band on one side of the empirical distribution function.

    Source:
        Massart (1990).

    Example:
        >>> round(dkw_half_width(1000, 0.05 / 3), 4)
        0.0452
    """
    return math.sqrt(-math.log(tail) / (2 * n_samples))


def _mean_lower(mean: Floats, q: int, tail: float) -> Floats:
    return complement_down(kl_upper(1.0 - mean, -math.log(tail) / q))
