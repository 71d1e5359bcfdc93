"""Projected gradient ascent within a ball: the inner maximisation of adversarial training."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from captum_certified.checks import checked_integer, checked_number
from captum_certified.randomness import derived_seed
from captum_certified.robust.threat_models import Ball, ball_named, check_bounds, check_within
from captum_certified.training.loss import TrainingLoss

__all__ = ["AscentLoss"]

# Steps reach two and a half times as far as the ball is wide, as Madry et al. (2018) have it.
_REACH = 2.5


@dataclass(kw_only=True, eq=False)
class AscentLoss(TrainingLoss):
    """A loss at the worst point of a ball, found by steps along the gradient, or its sign, from a random point of it.

    Args:
        radius: ρ ≥ 0, in the units of the inputs.
        norm: ``"L2"``, over all entries of an example, or ``"Linf"``.
        step_num: Number of steps.
        step_size: Length of a step in the norm; ``None``: 2.5 ρ / steps.
        lower_bound: Smallest value of an input.
        upper_bound: Largest value of an input.
        seed: Seed of the starts; ``None`` draws a fresh one.

    Raises:
        InvalidInputError: An argument is not what was expected.
    """

    radius: float
    norm: str = "Linf"
    step_num: int = 10
    step_size: float | None = None
    lower_bound: float = float("-inf")
    upper_bound: float = float("inf")

    def __post_init__(self) -> None:
        super().__post_init__()
        checked_number("radius", self.radius, at_least=0)
        checked_integer("step_num", self.step_num, at_least=1)
        if self.step_size is not None:
            checked_number("step_size", self.step_size, above=0)
        ball_named(self.norm)
        check_bounds(self.lower_bound, self.upper_bound)

    def ascend(self, objective: Callable[[Tensor], Tensor], inputs: Tensor, seed: int) -> Tensor:
        """The last point of the ascent.

        Args:
            objective: For points of the shape of the inputs, shape (N,); no row depends on another.
            inputs: Shape (N, …), within the bounds.
            seed: Of the start.

        Returns:
            Shape (N, …), without graph, in the ball and in the box.

        Raises:
            InvalidInputError: The inputs are not within the bounds.
        """
        check_within([inputs], self.lower_bound, self.upper_bound)
        if self.radius == 0:
            return inputs
        centers = inputs.reshape(len(inputs), -1)
        ball = ball_named(self.norm)(self.radius, self.lower_bound, self.upper_bound)
        points = _start(ball, centers, seed)
        share = (self.step_size or _REACH * self.radius / self.step_num) / self.radius
        for _ in range(self.step_num):
            leaf = points.reshape(inputs.shape).requires_grad_()
            with torch.enable_grad():
                [slope] = torch.autograd.grad(objective(leaf).sum(), leaf)
            slope = slope.reshape(centers.shape).double()
            step = share * ball.first_step_size(slope) * ball.direction(slope)
            points = ball.project(points.double() + step, centers)
        return points.reshape(inputs.shape)


def _start(ball: Ball, centers: Tensor, seed: int) -> Tensor:
    seeds = [derived_seed(seed, row) for row in range(len(centers))]
    offsets = torch.stack([ball.random_offset(own, 0, center) for own, center in zip(seeds, centers, strict=True)])
    return ball.project(centers.double() + offsets, centers)
