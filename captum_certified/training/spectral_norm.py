"""A penalty on the spectral norm of every layer's weights."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from captum_certified.checks import checked_number
from captum_certified.training.loss import TrainingLoss, at_least_single, cross_entropies

__all__ = ["SpectralNormLoss"]

_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


@dataclass(kw_only=True, eq=False)
class SpectralNormLoss(TrainingLoss):
    """CE(x, y) + (λ/2) Σ σ(W)² over the weights W of all linear and convolutional layers.

    σ(W) is the largest singular value of W. The kernel of a convolution is read as a matrix with one row for each
    output channel.

    Args:
        weight: λ ≥ 0.
        seed: Has no effect, because this loss is not random.

    Raises:
        InvalidInputError: An argument is not what was expected.

    Source:
        Yoshida and Miyato (2017), eq. 6; discussed by Wang et al. (2020).

    Example:
        >>> import torch
        >>> from captum_certified.training import SpectralNormLoss
        >>> model = torch.nn.Linear(4, 3)
        >>> inputs, targets = torch.rand(8, 4), torch.arange(8) % 3
        >>> SpectralNormLoss(weight=0.01)(model, inputs, targets).shape
        torch.Size([])
    """

    weight: float = 0.01

    def __post_init__(self) -> None:
        super().__post_init__()
        checked_number("weight", self.weight, at_least=0)

    def mean(self, model: nn.Module, inputs: Tensor, targets: Tensor, seed: int) -> Tensor:  # noqa: ARG002
        """Return the mean cross-entropy plus the penalty."""
        loss = cross_entropies(model, inputs, targets).mean()
        for module in model.modules():
            if isinstance(module, _LAYERS):
                norm = torch.linalg.matrix_norm(at_least_single(module.weight.flatten(1)), ord=2)
                loss = loss + self.weight / 2 * norm.square()
        return loss
