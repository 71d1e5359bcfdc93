"""Bounds on how far the whole map can move, from the covariance of the draws: S1 and S3."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from captum_certified.theory.intervals import kl_upper
from captum_certified.theory.shift import Floats

__all__ = [
    "Displacement",
    "chi",
    "frobenius_upper",
    "full_displacement",
    "partial_sums_upper",
    "short_displacement",
    "top_eigenvalue_upper",
]

# θ may be any number in (0, 1) that is fixed before sampling. This choice is close to the best at usual sizes.
_THETA_MOST, _THETA_SCALE = 0.85, 8000.0


def chi(ratio: ArrayLike) -> Floats:
    """S1. Return χ = sqrt(e^{r²} − 1): |a·(h(x̃) − h(x))| ≤ χ sqrt(aᵀΣa) for every vector a and every x̃ within r·σ.

    Σ is the covariance of the draws. The bound is the Hammersley–Chapman–Robbins inequality. It uses the density ratio
    of two Gaussians at distance r, which has variance e^{r²} − 1.

    Args:
        ratio: r = ρ/σ ≥ 0.

    Returns:
        χ.

    Example:
        >>> chi([0.0, 0.3]).round(5).tolist()
        [0.0, 0.30688]
    """
    with np.errstate(over="ignore"):
        return np.sqrt(np.expm1(np.square(np.asarray(ratio, dtype=np.float64))))


@dataclass(frozen=True, repr=False)
class Displacement:
    """S3. With probability 1 − α, for all r at once: ‖h(x̃) − ĥ‖² ≤ B² = N² + 2χQ + χ²λ for every x̃ within r·σ of x.

    χ is :func:`chi` of r.

    Attributes:
        error: The bound N of the formula above on ‖ĥ − h(x)‖, for each example. In shapes, N is the number of examples.
        cross: Q, a bound on sqrt(eᵀΣe) for e = ĥ − h(x), shape (N,).
        top_eigenvalue: λ, a bound on the largest eigenvalue of Σ, shape (N,).
    """

    error: Floats
    cross: Floats
    top_eigenvalue: Floats

    def __repr__(self) -> str:
        return f"Displacement({len(self.error)} rows, error up to {float(np.max(self.error)):.4g})"

    def squared(self, ratio: ArrayLike) -> Floats:
        """Return B² at every ratio r = ρ/σ.

        Args:
            ratio: Shape (R,).

        Returns:
            Shape (N, R).
        """
        steps = chi(ratio)
        error, cross, top = (value[:, None] for value in (self.error, self.cross, self.top_eigenvalue))
        with np.errstate(invalid="ignore", over="ignore"):
            squared = error**2 + 2.0 * steps * cross + steps**2 * top
        return np.where(np.isfinite(squared), squared, np.inf)

    def ratio_below(self, squared: Floats) -> Floats:
        """Return the supremum of the ratios r at which B² is below each of the given values.

        Args:
            squared: The values, shape (N,) or (N, M). A value may be ∞, for which the supremum is ∞.

        Returns:
            The suprema, in the shape of ``squared``, rounded down by 1 in 10⁹; 0 where B² reaches the value at r = 0.
        """
        error, cross, top = (value[:, None] for value in (self.error, self.cross, self.top_eigenvalue))
        limits = squared.reshape(len(squared), -1)
        room = np.maximum(limits - error**2, 0.0)
        with np.errstate(divide="ignore", invalid="ignore"):
            # χ solves χ²λ + 2χQ = room. This form of the root avoids cancellation.
            steps = np.where(room > 0.0, room / (cross + np.sqrt(cross**2 + top * room)), 0.0)
        steps[np.isinf(limits)] = np.inf
        steps = steps.reshape(squared.shape)
        return np.asarray(np.sqrt(np.log1p(steps**2)) * (1.0 - 1e-9))


def full_displacement(
    *,
    squared_norm: float,
    n_samples: Floats,
    pairs: Floats,
    trace: Floats,
    top_eigenvalue: Floats,
    frobenius_norm: Floats,
    fourth_moment: Floats,
    alpha: float,
) -> Displacement:
    """Compute the bounds of S3 in the full form, from λ̂, F̂, κ̂ and t̂. Each of five inequalities has ℓ = ln(5/α).

    Args:
        squared_norm: s, a bound on ‖f‖² in every draw, for f ≥ 0.
        n_samples: q, shape (N,).
        pairs: W, the number of independent pairs of draws inside blocks, shape (N,).
        trace: t̂, trace of the unbiased sample covariance of all draws, shape (N,).
        top_eigenvalue: λ̂, largest eigenvalue of the sample covariance of a block, averaged over blocks, shape (N,).
        frobenius_norm: F̂, Frobenius norm of the sample covariance of a block, averaged over blocks, shape (N,).
        fourth_moment: κ̂, shape (N,). For every unit vector u, κ̂ is at least the mean of (u·(f − f′))⁴/4 over pairs f,
            f′ in a block.
        alpha: Probability that the bound is wrong, for each example.

    Returns:
        The bounds N, Q⁺ and λ⁺.

    Example:
        >>> evidence = dict(squared_norm=15053, n_samples=8192, pairs=4096, trace=10845, top_eigenvalue=61.4)
        >>> evidence |= dict(frobenius_norm=172, fourth_moment=104275 / 2 + 1.5 * 61.4**2)
        >>> arrays = {name: np.array([value]) for name, value in evidence.items() if name != "squared_norm"}
        >>> full = full_displacement(squared_norm=15053, **arrays, alpha=0.05)
        >>> [value.round(3).tolist() for value in (full.error, full.cross, full.top_eigenvalue)]
        [[1.351], [5.796], [85.832]]
    """
    log = math.log(5.0 / alpha)
    envelope = math.sqrt(2.0 * squared_norm)
    top = top_eigenvalue_upper(top_eigenvalue, fourth_moment, pairs=pairs, most=squared_norm, log=log)
    frobenius = frobenius_upper(frobenius_norm, top, pairs=pairs, most=squared_norm, log=log)
    cross = partial_sums_upper(frobenius**2, top**2, np.sqrt(top) * envelope, n_samples=n_samples, log=log)
    sums = partial_sums_upper(np.full_like(top, squared_norm), top, envelope, n_samples=n_samples, log=log)
    martingale = cross * np.sqrt(8.0 * log / n_samples) + 2.0 * envelope * sums * log / (3.0 * n_samples)
    error = np.sqrt(trace / n_samples + n_samples / (n_samples - 1.0) * martingale)
    return Displacement(error, cross, top)


def short_displacement(
    *,
    squared_norm: float,
    n_samples: Floats,
    pairs: Floats,
    trace: Floats,
    top_eigenvalue: Floats,
    alpha: float,
) -> Displacement:
    """Compute the bounds of S3 in the short form B = N + χ sqrt(λ⁺), from λ̂ and t̂ alone, with ℓ = ln(3/α).

    Args:
        squared_norm: s, a bound on ‖f‖² in every draw, for f ≥ 0.
        n_samples: q, shape (N,).
        pairs: W, the number of independent pairs of draws inside blocks, shape (N,).
        trace: t̂, trace of the unbiased sample covariance of all draws, shape (N,).
        top_eigenvalue: λ̂, largest eigenvalue of the sample covariance of a block, averaged over blocks, shape (N,).
        alpha: Probability that the bound is wrong, for each example.

    Returns:
        The bounds N, N·sqrt(λ⁺) and λ⁺.

    Example:
        >>> evidence = dict(n_samples=8192, pairs=4096, trace=10845, top_eigenvalue=61.4)
        >>> arrays = {name: np.array([value]) for name, value in evidence.items()}
        >>> short = short_displacement(squared_norm=15053, **arrays, alpha=0.05)
        >>> [value.round(3).tolist() for value in (short.error, short.top_eigenvalue, short.squared([0.15])[0] ** 0.5)]
        [[1.548], [114.746], [3.164]]
    """
    log = math.log(3.0 / alpha)
    half = np.floor(n_samples / 2.0)

    def upper(value: Floats, draws: Floats) -> Floats:
        return squared_norm * kl_upper(np.minimum(value / squared_norm, 1.0), log / draws)

    top = upper(top_eigenvalue, pairs)
    envelope = math.sqrt(2.0 * squared_norm)
    error = partial_sums_upper(upper(trace, half), top, envelope, n_samples=n_samples, log=log)
    return Displacement(error, error * np.sqrt(top), top)


def top_eigenvalue_upper(
    top_eigenvalue: Floats, fourth_moment: Floats, *, pairs: Floats, most: float, log: float
) -> Floats:
    """Return λ⁺ of the full form: [1 − exp(−(ℓ/W + yλ̂ + (−ln(1−θ) − θ)κ̂/R²))]/y with y = θ/R, at most R.

    Args:
        top_eigenvalue: λ̂, shape (N,).
        fourth_moment: κ̂, shape (N,).
        pairs: W, shape (N,).
        most: R, the largest value of (u·(f − f′))²/2 for two draws f, f′ and a unit vector u.
        log: ℓ. The bound is wrong with probability at most e^{−ℓ}.

    Returns:
        Shape (N,).
    """
    theta = np.minimum(_THETA_MOST, np.sqrt(_THETA_SCALE * log / pairs))
    y = theta / most
    exponent = log / pairs + y * top_eigenvalue + (-np.log1p(-theta) - theta) * fourth_moment / most**2
    return np.asarray(np.minimum(-np.expm1(-exponent) / y, most))


def frobenius_upper(frobenius_norm: Floats, top: Floats, *, pairs: Floats, most: float, log: float) -> Floats:
    """Return F⁺ = F̂ + sqrt(2Rλ⁺ℓ/W), a bound on the Frobenius norm of Σ.

    Args:
        frobenius_norm: F̂, shape (N,).
        top: λ⁺, shape (N,).
        pairs: W, shape (N,).
        most: R of :func:`top_eigenvalue_upper`.
        log: ℓ. The bound is wrong with probability at most e^{−ℓ}.

    Returns:
        Shape (N,).
    """
    return np.asarray(frobenius_norm + np.sqrt(2.0 * most * top * log / pairs))


def partial_sums_upper(
    trace: ArrayLike, top: ArrayLike, envelope: ArrayLike, *, n_samples: ArrayLike, log: float
) -> Floats:
    """Return 𝒩(T, λ, U; ℓ): with probability 1 − e^{−ℓ} no partial sum of q centred draws has a norm above q𝒩.

    𝒩 = sqrt((T + U²/q)/q) + sqrt((2ℓ/q)(λ + (U²/4q) ln(1 + qT/U²))) + (√5/2)Uℓ/(3q), by Freedman's inequality for
    the martingale that dominates the norm.

    Args:
        trace: T, trace of the covariance of the draws.
        top: λ, the largest eigenvalue of this covariance.
        envelope: U, the largest norm of a centred draw.
        n_samples: q.
        log: ℓ.

    Returns:
        𝒩. It grows with T, λ and U, so upper bounds on T, λ and U may be given instead.
    """
    t, lam, u, q = (np.asarray(value, dtype=np.float64) for value in (trace, top, envelope, n_samples))
    spread = lam + u**2 / (4.0 * q) * np.log1p(q * t / u**2)
    jumps = math.sqrt(5.0) / 2.0 * u * log / (3.0 * q)
    return np.asarray(np.sqrt((t + u**2 / q) / q) + np.sqrt(2.0 * log / q * spread) + jumps)
