"""What the first look of a sequential run says of the rest."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from captum_certified.checks import resolved_count
from captum_certified.maps import SmoothedMap

if TYPE_CHECKING:
    from captum_certified.certify.sequential import Goal

__all__ = ["Outlook", "outlook", "spoken_duration"]


@dataclass(frozen=True, kw_only=True)
class Outlook:
    """What the first look says of the rest: expectations, not guarantees.

    Attributes:
        draws: Draws so far.
        most_draws: The cap.
        asked: Overlap asked for, as a fraction of the top set.
        least: Smallest fraction of any remaining example that the cap promises.
        most: Largest.
        draws_left: Draws that all remaining examples together still need.
        seconds_left: Time for them.
    """

    draws: int
    most_draws: int
    asked: float
    least: float
    most: float
    draws_left: int
    seconds_left: float

    def __str__(self) -> str:
        promised = f"~{self.least:.2f}" if self.least == self.most else f"~{self.least:.2f} to {self.most:.2f}"
        return (
            f"forecast after {self.draws} draws: {promised} of the top set at {self.most_draws} draws "
            f"(asked {self.asked:.2f}); about {spoken_duration(self.seconds_left)} left"
        )


def outlook(smoothed_map: SmoothedMap, goal: "Goal", *, seconds: float, rows: int) -> Outlook:
    """What is still to be expected after the first look.

    Args:
        smoothed_map: The rows that are not done.
        goal: What to certify, and when to look.
        seconds: How long the draws so far took.
        rows: How many rows they were of.

    Returns:
        The forecasts, with the draws that each row needs until the first look that promises the overlap.
    """
    draws, asked = goal.sizes[0], goal.asked(smoothed_map)
    count = resolved_count("k", goal.k, smoothed_map.layout.n_features)
    needed = torch.full_like(smoothed_map.n_samples, goal.sizes[-1])
    promised = goal.forecast(smoothed_map, len(goal.sizes)).double() / count
    for look in range(len(goal.sizes) - 1, 1, -1):
        needed[goal.forecast(smoothed_map, look) >= asked] = goal.sizes[look - 1]
    left = int((needed - draws).sum())
    return Outlook(
        draws=draws,
        most_draws=goal.sizes[-1],
        asked=asked / count,
        least=float(promised.min()),
        most=float(promised.max()),
        draws_left=left,
        seconds_left=seconds * left / (draws * rows),
    )


def spoken_duration(seconds: float) -> str:
    """Seconds as people say them: 42 s, 3 min, 1.6 h."""
    if seconds < 90:
        return f"{math.ceil(seconds)} s"
    return f"{round(seconds / 60)} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
