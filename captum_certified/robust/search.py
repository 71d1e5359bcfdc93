"""The searches of attacks. Each evaluates points and keeps the best; most take steps along a gradient."""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from captum_certified.robust.attacked_explanation import AttackedExplanation
from captum_certified.robust.threat_models import Ball

__all__ = ["BestPoints", "GradientSearch", "Search"]


@dataclass(eq=False, repr=False)
class BestPoints:
    """For every example, the point with the largest D found so far. At first this is the input itself.

    Args:
        points: The inputs, shape (N, d).

    Attributes:
        values: D at the best points, shape (N,); −∞ before the first offer.
        queries: Number of points that were offered for each example, shape (N,).
    """

    points: Tensor
    values: Tensor = field(init=False)
    queries: Tensor = field(init=False)

    def __post_init__(self) -> None:
        self.points = self.points.clone()
        self.values = torch.full((len(self.points),), -torch.inf, dtype=torch.float64, device="cpu")
        self.queries = torch.zeros(len(self.points), dtype=torch.int64, device="cpu")

    def offer(self, points: Tensor, values: Tensor, rows: Tensor) -> None:
        """Keep each point that improves D for its example. Point i belongs to the example ``rows[i]``."""
        self.queries[rows] += 1
        better = values > self.values[rows]
        self.values[rows[better]] = values[better]
        self.points[rows[better].to(points.device)] = points[better.to(points.device)]

    @property
    def found(self) -> Tensor:
        """Whether a point was found for each example, shape (N,)."""
        return self.values > -torch.inf


class Search(ABC):
    """A search for the point of a ball with the largest D.

    Args:
        explanation: The explanation under attack.
        ball: The ball that points are projected to.
        keep_class: Whether the result must keep the predicted class.
    """

    def __init__(self, explanation: AttackedExplanation, ball: Ball, *, keep_class: bool) -> None:
        self.explanation = explanation
        self.ball = ball
        self.keep_class = keep_class

    @abstractmethod
    def run(self, *, step_num: int, n_restarts: int = 1, on_step: Callable[[], None] = lambda: None) -> BestPoints:
        """Search from several starts.

        Args:
            step_num: Number of steps from each start.
            n_restarts: Number of starts.
            on_step: Called after every step.

        Returns:
            For each example, the point with the largest D over all starts and steps.
        """


class GradientSearch(Search):
    """A search that takes steps along the gradient of D. A subclass defines the starts and the steps."""

    # Number of the step at which the search warns if the gradient is zero.
    first_expected_gradient = 1

    @abstractmethod
    def start(self) -> tuple[Tensor, Tensor]:
        """Return starts of shape (R, d), and the indices of the R examples that have a start."""

    @abstractmethod
    def step(self, points: Tensor, gradient: Tensor, rows: Tensor, number: int) -> tuple[Tensor, Tensor]:
        """Take one step.

        Args:
            points: The present points, shape (R, d).
            gradient: ∇D at these points, shape (R, d).
            rows: For each point, the index of its example, shape (R,).
            number: Number of the step since the start, from 1.

        Returns:
            The next points, shape (R, d), and whether each of them may be the result, shape (R,).
        """

    def run(self, *, step_num: int, n_restarts: int = 1, on_step: Callable[[], None] = lambda: None) -> BestPoints:
        """Search from several starts. :meth:`Search.run` describes the arguments and the result."""
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
    """Warn if all gradients are zero and no surrogate is used. The most common cause is a model with ReLUs."""
    if explanation.surrogate.beta is None and not bool(gradient.any()):
        way_out = (
            "Surrogates replace torch.nn.ReLU, torch.relu and their like in Python modules"
            if explanation.chooses_surrogate
            else "If the model has ReLUs, give `surrogate_beta`, for instance 'auto'"
        )
        warnings.warn(
            "The map has no gradient where the search begins, so the search is random. The gradient's surrogate is "
            f"{explanation.surrogate}. {way_out}.",
            UserWarning,
            stacklevel=5,
        )
