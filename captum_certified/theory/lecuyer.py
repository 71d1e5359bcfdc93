"""The bound that Lecuyer et al. derive from differential privacy. The paper compares its own bound with this one."""

import numpy as np
from numpy.typing import NDArray

from captum_certified.theory.overlap import overlap_from_bounds
from captum_certified.theory.shift import Floats

__all__ = ["lecuyer_bounds", "lecuyer_overlap"]

_GRID = 400
_SMALLEST = 1e-300
_ABOVE = 1.0 + 1e-9  # so that the smallest δ, at which ε = 1, satisfies ε ≤ 1 after rounding


def lecuyer_bounds(lower: Floats, upper: Floats, *, ratio: float) -> tuple[Floats, Floats]:
    """Bound perturbed scores by the Gaussian mechanism: from below by e^{−ε}(lo − δ), and from above by e^{ε}hi + δ.

    Here ε = r·sqrt(2 ln(1.25/δ)). Every δ with ε ≤ 1 gives valid bounds. For each bound, the best δ of a grid is used.

    Args:
        lower: Lower ends, shape (N, n).
        upper: Upper ends, shape (N, n).
        ratio: ρ/σ ≥ 0.

    Returns:
        a ≤ h(x̃) and b ≥ h(x̃), clipped to [0, 1]. They are 0 and 1 if no δ in (0, 1) has ε ≤ 1 (r ≥ 1.497).

    Source:
        Lecuyer et al. (2019), Theorem 1; Levine, Singla and Feizi (2019), Appendix K.

    Example:
        >>> [bound.round(3).tolist() for bound in lecuyer_bounds(np.array([[0.9]]), np.array([[0.95]]), ratio=0.1)]
        [[[0.662]], [[1.0]]]
    """
    below, above = np.zeros_like(lower), np.ones_like(upper)
    with np.errstate(over="ignore", under="ignore", divide="ignore"):
        needed = 1.25 * np.exp(-0.5 / np.square(np.float64(ratio))) * _ABOVE
    smallest = max(needed, _SMALLEST)
    if smallest >= 1.0:
        return below, above
    for delta in np.geomspace(smallest, 1.0, _GRID, endpoint=False):
        epsilon = ratio * np.sqrt(2.0 * np.log(1.25 / delta))
        if epsilon <= 1.0:
            np.maximum(below, np.exp(-epsilon) * (lower - delta), out=below)
            np.minimum(above, np.exp(epsilon) * upper + delta, out=above)
    return below, above


def lecuyer_overlap(mean: Floats, half_width: Floats, k: int, *, ratio: float) -> NDArray[np.int64]:
    """Appendix K. Return the top-K overlap certified by the bound of Lecuyer et al., for comparison with Theorem 2.

    Args:
        mean: Empirical scores ĥ, shape (N, n).
        half_width: Hoeffding's c, shape (N, 1).
        k: Size K of the top set, 1 to n.
        ratio: ρ/σ ≥ 0.

    Returns:
        Shape (N,), integers in [0, K].

    Source:
        Levine, Singla and Feizi (2019), Appendix K.

    Example:
        >>> lecuyer_overlap(np.array([[0.9, 0.8, 0.2, 0.1]]), np.array([[0.01]]), 2, ratio=0.05)
        array([2])
    """
    lower, upper = np.clip(mean - half_width, 0.0, 1.0), np.clip(mean + half_width, 0.0, 1.0)
    return overlap_from_bounds(*lecuyer_bounds(lower, upper, ratio=ratio), mean, k)
