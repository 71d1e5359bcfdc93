"""Adversarial training (Madry et al.), and the projected gradient ascent that it uses."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from captum_certified.checks import checked_integer, checked_number
from captum_certified.randomness import derived_seed
from captum_certified.robust.threat_models import Ball, ball_named, check_bounds, check_within
from captum_certified.training.loss import TrainingLoss, cross_entropies, evaluation_mode

__all__ = ["AdversarialLoss", "AscentLoss"]

# The default step size is _RADII · radius / step_num, as in Madry et al. (2018).
_RADII = 2.5


@dataclass(kw_only=True, eq=False)
class AscentLoss(TrainingLoss):
    """A loss at the worst point of a ball, found by projected gradient ascent from a random point.

    The arguments are those of :class:`AdversarialLoss`.
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
        """Run projected gradient ascent for every example, and return the last points.

        Args:
            objective: Maps points of the inputs' shape to values of shape (N,). The value of an example depends on this
                example only.
            inputs: Shape (N, …), within the bounds.
            seed: Seed of the start.

        Returns:
            Shape (N, …), without graph, in the ball and within the bounds.

        Raises:
            InvalidInputError: The inputs are not within the bounds.
        """
        check_within([inputs], self.lower_bound, self.upper_bound)
        if self.radius == 0:
            return inputs
        centers = inputs.reshape(len(inputs), -1)
        ball = ball_named(self.norm)(self.radius, self.lower_bound, self.upper_bound)
        points = _random_points(ball, centers, seed)
        steps_per_radius = (self.step_size or _RADII * self.radius / self.step_num) / self.radius
        for _ in range(self.step_num):
            leaf = points.reshape(inputs.shape).requires_grad_()
            with torch.enable_grad():
                [gradient] = torch.autograd.grad(objective(leaf).sum(), leaf)
            gradient = gradient.reshape(centers.shape).double()
            step = steps_per_radius * ball.first_step_size(gradient) * ball.direction(gradient)
            points = ball.project(points.double() + step, centers)
        return points.reshape(inputs.shape)


@dataclass(kw_only=True, eq=False)
class AdversarialLoss(AscentLoss):
    """Cross-entropy CE(x̃, y) at the worst point x̃ of a ball. Projected gradient ascent searches for x̃.

    Args:
        radius: ρ ≥ 0, in the units of the inputs.
        norm: ``"L2"``, over all entries of an example, or ``"Linf"``.
        step_num: Number of steps of the ascent.
        step_size: Norm of a step; ``None`` means 2.5 ρ / ``step_num``.
        lower_bound: Smallest value of an input.
        upper_bound: Largest value of an input.
        seed: Seed of the starts; ``None`` draws a fresh one.

    Raises:
        InvalidInputError: An argument is not what was expected.

    Source:
        Madry et al. (2018), eq. 2.1.

    Example:
        >>> import torch
        >>> from captum_certified.training import AdversarialLoss
        >>> model = torch.nn.Linear(4, 3)
        >>> inputs, targets = torch.rand(8, 4), torch.arange(8) % 3
        >>> loss = AdversarialLoss(radius=0.5, norm="L2", seed=0)(model, inputs, targets)
        >>> bool(loss > torch.nn.functional.cross_entropy(model(inputs), targets))
        True
    """

    def mean(self, model: nn.Module, inputs: Tensor, targets: Tensor, seed: int) -> Tensor:
        """Return the mean cross-entropy at the last point of each ascent."""
        with evaluation_mode(model):
            perturbed = self.ascend(lambda points: cross_entropies(model, points, targets), inputs, seed)
        return cross_entropies(model, perturbed, targets).mean()


def _random_points(ball: Ball, centers: Tensor, seed: int) -> Tensor:
    seeds = [derived_seed(seed, row) for row in range(len(centers))]
    offsets = torch.stack([ball.random_offset(own, 0, center) for own, center in zip(seeds, centers, strict=True)])
    return ball.project(centers.double() + offsets, centers)
