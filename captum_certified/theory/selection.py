"""Certify whether most noisy copies of every perturbed input select a feature, or have a given class."""

import numpy as np
from numpy.typing import NDArray

from captum_certified.theory.intervals import clopper_pearson_interval
from captum_certified.theory.shift import Floats, probit

__all__ = ["class_ratio", "selection", "selection_ratios"]


def selection(lower: Floats, upper: Floats, *, ratio: float) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """B5. Decide for every feature whether most noisy copies of every perturbed input select it, or most reject it.

    The feature is selected if Φ(Φ⁻¹(lo) − r) > ½, and rejected if Φ(Φ⁻¹(hi) + r) < ½. Otherwise there is no decision.

    Args:
        lower: Lower ends, shape (N, n).
        upper: Upper ends, shape (N, n).
        ratio: ρ/σ ≥ 0.

    Returns:
        Which features are selected and which are rejected, each of shape (N, n).

    Source:
        After Anani et al. (2025), with simultaneous intervals.

    Example:
        >>> selection(np.array([[0.8, 0.4, 0.1]]), np.array([[0.9, 0.6, 0.2]]), ratio=0.5)
        (array([[ True, False, False]]), array([[False, False,  True]]))
    """
    return probit(lower) > ratio, probit(upper) < -ratio


def selection_ratios(lower: Floats, upper: Floats) -> Floats:
    """Return the radius up to which each decision is certified: Φ⁻¹(lo) if selected, −Φ⁻¹(hi) if rejected, else 0.

    Args:
        lower: Lower ends, shape (N, n).
        upper: Upper ends, shape (N, n).

    Returns:
        Shape (N, n): the supremum of the certified ρ/σ, rounded down by 1 in 10⁹.

    Example:
        >>> selection_ratios(np.array([[0.8, 0.4, 0.1]]), np.array([[0.9, 0.6, 0.2]])).round(3)
        array([[0.842, 0.   , 0.842]])
    """
    return np.maximum(np.maximum(probit(lower), -probit(upper)), 0.0) * (1.0 - 1e-9)


def class_ratio(kept: NDArray[np.int64], copies: NDArray[np.int64], *, alpha: float) -> Floats:
    """Return the radius up to which most noisy copies provably have a class that was chosen before sampling.

    Args:
        kept: How many noisy copies of every example have the class, shape (N,).
        copies: Number of noisy copies, shape (N,).
        alpha: Probability that the statement about an example may fail.

    Returns:
        Shape (N,): the supremum of ρ/σ, rounded down by 1 in 10⁹. This is Φ⁻¹ of the lower Clopper–Pearson end, or 0
        if that end is at most ½.

    Source:
        Cohen, Rosenfeld, and Kolter (2019), Theorem 1 with p_B = 1 − p_A.

    Example:
        >>> class_ratio(np.array([250, 100]), np.array([256, 256]), alpha=0.05).round(3)
        array([1.688, 0.   ])
    """
    lower = clopper_pearson_interval(kept, copies, tail=alpha)[0]
    return np.maximum(probit(lower), 0.0) * (1.0 - 1e-9)
