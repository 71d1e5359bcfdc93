"""Training under Gaussian noise, for networks whose predictions or explanations are smoothed."""

from dataclasses import dataclass

from torch import Tensor, nn

from captum_certified.checks import checked_integer, checked_number
from captum_certified.training.loss import TrainingLoss, cross_entropies, with_noise

__all__ = ["GaussianAugmentationLoss"]


@dataclass(kw_only=True, eq=False)
class GaussianAugmentationLoss(TrainingLoss):
    """Cross-entropy at noisy copies of the inputs: E CE(x + σε, y).

    A smoothed explanation evaluates the network at noisy inputs. This loss trains the network to classify such inputs.

    Args:
        stdev: σ ≥ 0, in the units of the inputs.
        nt_samples: Number of noisy copies of every example in a call.
        seed: Seed of the noise; ``None`` draws a fresh one.

    Raises:
        InvalidInputError: An argument is not what was expected.

    Source:
        Cohen, Rosenfeld and Kolter (2019), section 3.3.

    Example:
        >>> import torch
        >>> from captum_certified.training import GaussianAugmentationLoss
        >>> model = torch.nn.Linear(4, 3)
        >>> inputs, targets = torch.rand(8, 4), torch.arange(8) % 3
        >>> GaussianAugmentationLoss(stdev=0.25, seed=0)(model, inputs, targets).backward()
        >>> model.weight.grad.shape
        torch.Size([3, 4])
    """

    stdev: float
    nt_samples: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        checked_number("stdev", self.stdev, at_least=0)
        checked_integer("nt_samples", self.nt_samples, at_least=1)

    def mean(self, model: nn.Module, inputs: Tensor, targets: Tensor, seed: int) -> Tensor:
        """Return the mean cross-entropy over all copies. Each copy has its own noise."""
        noisy = with_noise(inputs.repeat_interleave(self.nt_samples, dim=0), self.stdev, seed)
        return cross_entropies(model, noisy, targets.repeat_interleave(self.nt_samples)).mean()
