"""The points from which a search starts: random points in a ball, or the inputs."""

from typing import Protocol

import torch
from torch import Tensor

from captum_certified.robust.attacked_explanation import AttackedExplanation
from captum_certified.robust.threat_models import Ball
from captum_certified.storage import digest

__all__ = ["CleanStarts", "RandomStarts", "Starts", "seeds_of_rows"]


class Starts(Protocol):
    """The starts of a search.

    Attributes:
        explanation: The explanation under attack.
        ball: The ball.
        keep_class: Whether a start must keep the class.
    """

    explanation: AttackedExplanation
    ball: Ball
    keep_class: bool

    def next(self) -> tuple[Tensor, Tensor]:
        """Return starts of shape (R, d), and the indices of the R examples that have a start."""


class CleanStarts:
    """The clean inputs as starts.

    Args:
        explanation: The explanation under attack.
        ball: The ball.
        keep_class: Whether a start must keep the class, which the clean inputs always do.
    """

    def __init__(self, explanation: AttackedExplanation, ball: Ball, *, keep_class: bool) -> None:
        self.explanation = explanation
        self.ball = ball
        self.keep_class = keep_class

    def next(self) -> tuple[Tensor, Tensor]:
        """Return the clean inputs of all examples, shape (N, d), and the indices of all examples."""
        return self.explanation.centers, self.explanation.all_rows


class RandomStarts:
    """Random starts in the ball that keep the class, found within a limited number of attempts for each example.

    The starts of an example depend only on the seed, on the input, and on the number of equal inputs before this one in
    the batch. So copies of one input have different starts.

    Args:
        explanation: The explanation under attack.
        ball: The ball.
        seed: Seed of the random points.
        n_draws: Q, the largest number of random points tried for each example, over all restarts.
        keep_class: Whether a start must keep the class.
    """

    def __init__(
        self, explanation: AttackedExplanation, ball: Ball, *, seed: int, n_draws: int, keep_class: bool
    ) -> None:
        self.explanation = explanation
        self.ball = ball
        self.n_draws = n_draws
        self.keep_class = keep_class
        self.used = torch.zeros(len(explanation.centers), dtype=torch.int64, device="cpu")
        self.seeds = seeds_of_rows(explanation.centers, seed)

    def next(self) -> tuple[Tensor, Tensor]:
        """Find a start for every example: try random points until one keeps the class or Q points have been tried.

        Returns:
            Starts of shape (R, d), and the indices of the R examples that have a start.
        """
        centers = self.explanation.centers
        points = centers.clone()
        missing = torch.arange(len(centers), device="cpu")
        found = torch.zeros(len(centers), dtype=torch.bool, device="cpu")
        while len(missing := missing[self.used[missing] < self.n_draws]):
            drawn = torch.stack([self._draw(row) for row in missing.tolist()])
            self.used[missing] += 1
            kept = torch.ones(len(missing), dtype=torch.bool, device="cpu")
            if self.keep_class:
                kept = self.explanation.keeps_class(drawn, missing)
            points[missing[kept].to(points.device)] = drawn[kept.to(drawn.device)]
            found[missing[kept]] = True
            missing = missing[~kept]
        rows = torch.nonzero(found).squeeze(1)
        return points[rows.to(points.device)], rows

    def _draw(self, row: int) -> Tensor:
        center = self.explanation.centers[row : row + 1]
        offset = self.ball.random_offset(self.seeds[row], int(self.used[row]), center)
        return self.ball.project(center.double() + offset, center)[0]


def seeds_of_rows(centers: Tensor, seed: int) -> list[int]:
    """Derive a 63-bit seed for each row of ``centers`` from ``seed``, the row, and the number of equal rows above."""
    seen: dict[str, int] = {}
    seeds = []
    for row in centers:
        content = digest(row)
        seen[content] = seen.get(content, -1) + 1
        seeds.append(int(digest(seed, content, seen[content])[:16], 16) >> 1)
    return seeds
