"""The loop of all attacks, which steps from every start and keeps the best point."""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from captum_certified.robust.attacked_explanation import AttackedExplanation
from captum_certified.robust.threat_models import Ball

__all__ = ["BestPoints", "Search"]


@dataclass(eq=False, repr=False)
class BestPoints:
    """The point with the largest D so far of every example; the input itself before there is one.

    Args:
        points: The inputs, shape (N, d).
    """

    points: Tensor
    values: Tensor = field(init=False)

    def __post_init__(self) -> None:
        self.points = self.points.clone()
        self.values = torch.full((len(self.points),), -torch.inf, dtype=torch.float64, device="cpu")

    def offer(self, points: Tensor, values: Tensor, rows: Tensor) -> None:
        """Keep the points of the examples ``rows`` whose values of D are larger than the largest so far."""
        better = values > self.values[rows]
        self.values[rows[better]] = values[better]
        self.points[rows[better].to(points.device)] = points[better.to(points.device)]

    @property
    def found(self) -> Tensor:
        """Which examples have a point, shape (N,)."""
        return self.values > -torch.inf


class Search(ABC):
    """A search for the point of a ball with the largest D; a subclass says where it starts and how it steps.

    Args:
        explanation: The explanation under attack.
        ball: The ball that points are projected to.
        keep_class: Whether the predicted class must stay.
    """

    # The number of the first step at which a gradient of zero is a reason to warn.
    first_expected_gradient = 1

    def __init__(self, explanation: AttackedExplanation, ball: Ball, *, keep_class: bool) -> None:
        self.explanation = explanation
        self.ball = ball
        self.keep_class = keep_class

    @abstractmethod
    def start(self) -> tuple[Tensor, Tensor]:
        """Return points to start from, shape (R, d), and the R rows that have one."""

    @abstractmethod
    def step(self, points: Tensor, gradient: Tensor, rows: Tensor, number: int) -> tuple[Tensor, Tensor]:
        """Take one step.

        Args:
            points: Where the search is, shape (R, d).
            gradient: ∇D there, shape (R, d).
            rows: The examples that the points belong to, shape (R,).
            number: Number of the step since the start, from 1.

        Returns:
            The next points, shape (R, d), and whether each of them may be the result, shape (R,).
        """

    def run(self, *, step_num: int, n_restarts: int = 1, on_step: Callable[[], None] = lambda: None) -> BestPoints:
        """Search from several starts.

        Args:
            step_num: Steps from each start.
            n_restarts: Number of starts.
            on_step: Called after every step.

        Returns:
            The point with the largest D of all starts and steps.
        """
        best = BestPoints(self.explanation.centers)
        for restart in range(n_restarts):
            points, rows = self.start()
            if not len(rows):
                break
            best.offer(points, self.explanation.values(points, rows), rows)
            for number in range(1, step_num + 1):
                gradient = self.explanation.gradients(points, rows, step=restart * step_num + number)
                if restart == 0 and number == self.first_expected_gradient:
                    _warn_if_zero(self.explanation, gradient)
                points, allowed = self.step(points, gradient, rows, number)
                values = self.explanation.values(points, rows)
                best.offer(points, torch.where(allowed, values, torch.full_like(values, -torch.inf)), rows)
                on_step()
        return best


def _warn_if_zero(explanation: AttackedExplanation, gradient: Tensor) -> None:
    """Warn that the search has no direction, most often because ReLUs have no surrogate."""
    if explanation.surrogate.beta is None and not bool(gradient.any()):
        way_out = (
            "Surrogates replace torch.nn.ReLU, torch.relu and their like in Python modules"
            if explanation.chooses_surrogate
            else "If the model has ReLUs, give `surrogate_beta`, for instance 'auto'"
        )
        warnings.warn(
            "The map has no gradient where the search begins, so it goes at random. The gradient's surrogate is "
            f"{explanation.surrogate}. {way_out}.",
            UserWarning,
            stacklevel=5,
        )
