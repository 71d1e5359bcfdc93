"""How far a smoothed score can move when the input moves: Lemma 1, Theorem 1, Corollary 1, and B6.

The radius of the perturbation enters as ``ratio`` = ρ/σ, in standard deviations of the noise.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr, ndtri

__all__ = ["empirical_lower_bound", "hoeffding_half_width", "lower_bound", "probit", "release_bounds", "shift"]

Floats = NDArray[np.float64]


def probit(probability: ArrayLike) -> Floats:
    """Return the normal quantile Φ⁻¹, with −∞ at 0 and +∞ at 1.

    Args:
        probability: Values in [0, 1].

    Returns:
        An array of the same shape.

    Example:
        >>> probit([0.0, 0.5, 1.0]).tolist()
        [-inf, 0.0, inf]
    """
    return np.asarray(ndtri(np.asarray(probability, dtype=np.float64)), dtype=np.float64)


def shift(probability: ArrayLike, steps: ArrayLike) -> Floats:
    """Lemma 1. Return Φ(Φ⁻¹(h) + steps), the bound on a smoothed score h after the input moves by ``steps``·σ.

    x ↦ Φ⁻¹(h(x)) is (1/σ)-Lipschitz for every map f with values in [0, 1]. If the input moves by at most r·σ, a score
    h therefore stays between ``shift(h, -r)`` and ``shift(h, r)``.

    Args:
        probability: Scores in [0, 1].
        steps: Signed distance in standard deviations of the noise.

    Returns:
        The shifted scores.

    Source:
        Levine, Singla and Feizi (2019), Lemma 1.

    Example:
        >>> shift([0.0, 0.5, 1.0], -1.0).round(4).tolist()
        [0.0, 0.1587, 1.0]
    """
    return np.asarray(ndtr(probit(probability) + np.asarray(steps, dtype=np.float64)), dtype=np.float64)


def lower_bound(probability: ArrayLike, *, ratio: float) -> Floats:
    """Theorem 1. Return L(z) = Φ(Φ⁻¹(z) − 2ρ/σ). If L(h_i(x)) ≥ h_j(x), then h_i(x̃) ≥ h_j(x̃) for ‖x̃ − x‖ ≤ ρ.

    Args:
        probability: Population scores z in [0, 1].
        ratio: ρ/σ ≥ 0.

    Returns:
        L(z), elementwise.

    Source:
        Levine, Singla and Feizi (2019), Theorem 1.

    Example:
        >>> float(lower_bound(0.8, ratio=0.25).round(4))
        0.6337
    """
    return shift(probability, -2.0 * ratio)


def hoeffding_half_width(tail: ArrayLike, n_samples: ArrayLike) -> Floats:
    """Return the half width c of Hoeffding's interval for the mean of draws in [0, 1].

    Args:
        tail: Probability that one side of one interval may miss. With α/(2n), n two-sided intervals hold together with
            probability 1 − α.
        n_samples: Number of draws q.

    Returns:
        c = sqrt(ln(1/tail) / (2q)).

    Source:
        Hoeffding (1963); Levine, Singla and Feizi (2019), Corollary 1.

    Example:
        >>> float(hoeffding_half_width(0.05 / (2 * 150528), 8192).round(4))
        0.0309
    """
    log = -np.log(np.asarray(tail, dtype=np.float64))
    return np.asarray(np.sqrt(log / (2.0 * np.asarray(n_samples, dtype=np.float64))), dtype=np.float64)


def empirical_lower_bound(mean: ArrayLike, *, half_width: ArrayLike, ratio: float) -> Floats:
    """Corollary 1. Return L̂(z) = Φ(Φ⁻¹(z − c) − 2ρ/σ) − c, which replaces L(z) of Theorem 1 for empirical scores.

    If z ≤ c, the value is −c, which guarantees nothing, because no score is negative.

    Args:
        mean: Empirical scores ĥ in [0, 1].
        half_width: c of :func:`hoeffding_half_width`, broadcast against ``mean``.
        ratio: ρ/σ ≥ 0.

    Returns:
        L̂(ĥ), elementwise.

    Source:
        Levine, Singla and Feizi (2019), Corollary 1.

    Example:
        >>> empirical_lower_bound([0.8, 0.02], half_width=0.03, ratio=0.25).round(4).tolist()
        [0.5644, -0.03]
    """
    width = np.asarray(half_width, dtype=np.float64)
    reachable = np.clip(np.asarray(mean, dtype=np.float64) - width, 0.0, 1.0)
    return lower_bound(reachable, ratio=ratio) - width


def release_bounds(
    lower: Floats, upper: Floats, *, ratio: float, tail: float, fresh_samples: ArrayLike
) -> tuple[Floats, Floats]:
    """B6. Return bounds on each score of a freshly sampled map at the perturbed input.

    A freshly sampled map is the mean of new draws at the perturbed input. Each end of a score's interval is moved
    outward by Lemma 1 for the distance r, and then by Hoeffding's half width c′ of the fresh draws. The perturbed input
    must be chosen without seeing the fresh draws.

    Args:
        lower: Lower ends of the intervals at the observed input, at level α/2, shape (N, n).
        upper: Upper ends of the intervals at the observed input, at level α/2, shape (N, n).
        ratio: ρ/σ ≥ 0.
        tail: Probability that one side of the interval of one fresh score may miss, α/(4n).
        fresh_samples: Number of fresh draws q′.

    Returns:
        a_i − c′ and b_i + c′.

    Source:
        Levine, Singla and Feizi (2019), section 2.2, made explicit.

    Example:
        >>> bounds = release_bounds(np.array([[0.7]]), np.array([[0.8]]), ratio=0.1, tail=1e-3, fresh_samples=1000)
        >>> [bound.round(3).tolist() for bound in bounds]
        [[[0.606]], [[0.886]]]
    """
    width = hoeffding_half_width(tail, fresh_samples)
    return shift(lower, -ratio) - width, shift(upper, ratio) + width
