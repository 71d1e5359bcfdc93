"""From one empirical map to another: when the perturbed map, too, is only sampled."""

from numpy.typing import ArrayLike

from captum_certified.theory.shift import Floats, hoeffding_half_width, shift

__all__ = ["release_bounds"]


def release_bounds(
    lower: Floats, upper: Floats, *, ratio: float, tail: float, fresh_samples: ArrayLike
) -> tuple[Floats, Floats]:
    """B6. Between which values each score of a freshly sampled map at the perturbed input lies.

    The shifted ends are widened by Hoeffding's c′ of the fresh draws. The perturbed input must be chosen without
    seeing them.

    Args:
        lower: Lower ends at the observed input, at half the level, shape (N, n).
        upper: Upper ends at the observed input, at half the level, shape (N, n).
        ratio: ρ/σ ≥ 0.
        tail: Probability that one side of one fresh score may miss: α/(4n).
        fresh_samples: Number of fresh draws q′.

    Returns:
        a_i − c′ and b_i + c′.

    Source:
        Levine, Singla and Feizi (2019), section 2.2, made explicit.

    Example:
        >>> import numpy as np
        >>> bounds = release_bounds(np.array([[0.7]]), np.array([[0.8]]), ratio=0.1, tail=1e-3, fresh_samples=1000)
        >>> [bound.round(3).tolist() for bound in bounds]
        [[[0.606]], [[0.886]]]
    """
    width = hoeffding_half_width(tail, fresh_samples)
    return shift(lower, -ratio) - width, shift(upper, ratio) + width
