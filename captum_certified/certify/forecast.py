"""Forecasts from the first draws of a run. A forecast guarantees nothing."""

import math
from dataclasses import dataclass

import torch

from captum_certified.certify.stopping_rule import StoppingRule
from captum_certified.maps import SmoothedMap

__all__ = ["Forecast", "forecast_of_looks"]


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """The overlap to expect from all draws, and the time for the draws that are left.

    Attributes:
        draws: Draws so far.
        most_draws: The largest number of draws.
        least: Smallest fraction of the top set that any example is expected to keep at ``most_draws``.
        most: Largest fraction of the top set that any example is expected to keep at ``most_draws``.
        seconds_left: Time for the draws that are left.
        asked: The fraction that the user asked to certify; ``None`` if the number of draws is fixed.
        draws_left: Draws that all examples together still need; ``None`` if unknown.
        at_most: Whether ``seconds_left`` is an upper limit.
    """

    draws: int
    most_draws: int
    least: float
    most: float
    seconds_left: float
    asked: float | None = None
    draws_left: int | None = None
    at_most: bool = False

    def __str__(self) -> str:
        expected = f"~{self.least:.2f}" if self.least == self.most else f"~{self.least:.2f} to {self.most:.2f}"
        asked = "" if self.asked is None else f" (asked {self.asked:.2f})"
        return (
            f"forecast after {self.draws} draws: {expected} of the top set at {self.most_draws} draws{asked}; "
            f"{'at most' if self.at_most else 'about'} {_written_duration(self.seconds_left)} left"
        )


def forecast_of_looks(smoothed_map: SmoothedMap, rule: StoppingRule, *, seconds: float, rows: int) -> Forecast:
    """Forecast the rest of a sequential run after its first interim look.

    Each example is expected to stop at the first look at which its forecast reaches the overlap to certify.

    Args:
        smoothed_map: The map of the examples that are still running.
        rule: The stopping rule.
        seconds: How long the draws so far took.
        rows: How many examples were sampled so far.
    """
    draws, asked, most = rule.sizes[0], rule.asked_overlaps(smoothed_map), rule.most_overlaps(smoothed_map).double()
    needed = torch.full_like(smoothed_map.n_samples, rule.sizes[-1])
    expected = rule.expected(smoothed_map, len(rule.sizes)).double() / most
    for look in range(len(rule.sizes) - 1, 1, -1):
        needed[rule.expected(smoothed_map, look) >= asked] = rule.sizes[look - 1]
    left = int((needed - draws).sum())
    return Forecast(
        draws=draws,
        most_draws=rule.sizes[-1],
        asked=float((asked / most).max()),
        least=float(expected.min()),
        most=float(expected.max()),
        draws_left=left,
        seconds_left=seconds * left / (draws * rows),
    )


def _written_duration(seconds: float) -> str:
    """Write a duration for people: 42 s, 3 min, 1.6 h."""
    if seconds < 90:
        return f"{math.ceil(seconds)} s"
    return f"{round(seconds / 60)} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
