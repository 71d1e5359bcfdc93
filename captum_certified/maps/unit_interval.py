"""Check whether draws in [0, 1] can have the given statistics. The checks detect most draws outside [0, 1]."""

import torch
from torch import Tensor

from captum_certified.exceptions import InvalidInputError

__all__ = ["check_unit_eigenvalue", "checked_unit_mean", "checked_unit_second_moment", "checked_unit_trace"]

# Tolerance for the rounding of averages of numbers in [0, 1].
_ROUNDING = 1e-9
_ADVICE = "take magnitudes of signed draws, and divide every draw by the largest value that a draw can have"


def checked_unit_mean(mean: Tensor) -> Tensor:
    """Return means clamped to [0, 1], or raise an InvalidInputError if one is outside by more than rounding."""
    low, high = float(mean.min()), float(mean.max())
    if low < -_ROUNDING or high > 1 + _ROUNDING:
        raise InvalidInputError(f"Expected `mean` of draws in [0, 1], got means from {low:g} to {high:g}; {_ADVICE}.")
    return mean.clamp(0.0, 1.0)


def checked_unit_second_moment(second_moment: Tensor, mean: Tensor) -> Tensor:
    """Return mean squares, or raise an InvalidInputError if they do not fit the means.

    Mean squares are at least the squares of the means, and at most the means, because f² ≤ f for f in [0, 1].
    """
    if second_moment.shape != mean.shape or bool((second_moment < mean.square() - _ROUNDING).any()):
        raise InvalidInputError(
            "Expected `second_moment` in the shape of `mean` and >= its square, got another shape or smaller values."
        )
    if bool((second_moment > mean + _ROUNDING).any()):
        over = int((second_moment - mean).argmax())
        raise InvalidInputError(
            "Expected `second_moment` at most `mean`, as of draws in [0, 1], got "
            f"{float(second_moment.flatten()[over]):g} beside a mean of {float(mean.flatten()[over]):g}; {_ADVICE}."
        )
    return second_moment


def checked_unit_trace(trace: object, mean: Tensor, second_moment: Tensor | None, samples: Tensor) -> Tensor:
    """Return traces of unbiased sample covariances, or raise an InvalidInputError if they do not fit the moments.

    For q draws in [0, 1] with means h, the trace is at most q/(q−1) Σ(h − h²).
    """
    traces = torch.as_tensor(trace, dtype=torch.float64, device="cpu")
    rows = len(mean)
    if traces.shape != (rows,) or not bool((torch.isfinite(traces) & (traces >= 0)).all()):
        raise InvalidInputError(f"Expected `trace` >= 0 of shape ({rows},), got {trace}.")
    known = samples > 1
    factor, slack = samples / (samples - 1).clamp_min(1), _ROUNDING * mean.shape[1]
    if second_moment is not None:
        own = factor * (second_moment - mean.square()).sum(dim=1)
        if bool((known & ((traces - own).abs() > 1e-6 * own + slack)).any()):
            raise InvalidInputError(
                f"Expected `trace` to be that of `second_moment`, {own.tolist()}, got {traces.tolist()}."
            )
    most = factor * (mean - mean.square()).sum(dim=1)
    if bool((known & (traces > most * (1 + _ROUNDING) + slack)).any()):
        raise InvalidInputError(
            f"Expected `trace` at most {most.tolist()}, as of draws in [0, 1] with these means, got "
            f"{traces.tolist()}; {_ADVICE}."
        )
    return traces


def check_unit_eigenvalue(top_eigenvalue: Tensor, n: int) -> None:
    """Raise an InvalidInputError if an eigenvalue of the covariance is above n/2.

    The distance of two draws in [0, 1] is at most √n. So the sample variance along any direction is at most n/2.
    """
    if bool((top_eigenvalue > n / 2 * (1 + _ROUNDING)).any()):
        raise InvalidInputError(
            f"Expected `covariance` with a `top_eigenvalue` of at most {n / 2:g}, as of {n} features in [0, 1], got "
            f"{top_eigenvalue.tolist()}; {_ADVICE}."
        )
