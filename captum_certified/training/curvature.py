"""Curvature regularization (CURE, Moosavi-Dezfooli et al.), an alternative to the top eigenvalue."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from captum_certified.checks import checked_number
from captum_certified.training.loss import TrainingLoss, cross_entropies, evaluation_mode

__all__ = ["CurvatureLoss"]


@dataclass(kw_only=True, eq=False)
class CurvatureLoss(TrainingLoss):
    """CE(x, y) + γ ‖∇ℓ(x + hz) − ∇ℓ(x)‖₂², z the sign of ∇ℓ(x) scaled to length 1.

    Args:
        weight: γ ≥ 0.
        step: h > 0, in the units of the inputs.
        seed: Of nothing; every loss has one.

    Raises:
        InvalidInputError: An argument is not what was expected.

    Source:
        Moosavi-Dezfooli et al. (2019), eq. 8; discussed by Wang et al. (2020).

    Example:
        >>> import torch
        >>> from captum_certified.training import CurvatureLoss
        >>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Softplus(), torch.nn.Linear(8, 3))
        >>> inputs, targets = torch.rand(8, 4), torch.arange(8) % 3
        >>> CurvatureLoss(weight=4.0, step=0.1)(model, inputs, targets).shape
        torch.Size([])
    """

    weight: float = 4.0
    step: float = 1.5

    def __post_init__(self) -> None:
        super().__post_init__()
        checked_number("weight", self.weight, at_least=0)
        checked_number("step", self.step, above=0)

    def mean(self, model: nn.Module, inputs: Tensor, targets: Tensor, seed: int) -> Tensor:  # noqa: ARG002
        """The mean of CE + γ times the squared change of the gradient."""
        with evaluation_mode(model):
            slopes = _gradients(model, inputs, targets)
            directions = functional.normalize(slopes.detach().flatten(1).sign(), dim=1).reshape(inputs.shape)
            changes = _gradients(model, inputs + self.step * directions, targets) - slopes
        curvatures = changes.flatten(1).square().sum(dim=1)
        return (cross_entropies(model, inputs, targets) + self.weight * curvatures).mean()


def _gradients(model: nn.Module, points: Tensor, targets: Tensor) -> Tensor:
    """Gradients of the cross-entropies by the points, with their graph."""
    leaf = points.detach().requires_grad_()
    [slopes] = torch.autograd.grad(cross_entropies(model, leaf, targets).sum(), leaf, create_graph=True)
    return slopes
