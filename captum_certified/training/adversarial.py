"""Adversarial training of the classification itself (Madry et al.)."""

from dataclasses import dataclass

from torch import Tensor, nn

from captum_certified.training.ascent import AscentLoss
from captum_certified.training.loss import cross_entropies, evaluation_mode

__all__ = ["AdversarialLoss"]


@dataclass(kw_only=True, eq=False)
class AdversarialLoss(AscentLoss):
    """Cross-entropy at the worst point of a ball: CE(x̃, y), x̃ by projected gradient ascent.

    Args:
        radius: ρ ≥ 0, in the units of the inputs.
        norm: ``"L2"``, over all entries of an example, or ``"Linf"``.
        step_num: Steps of the ascent.
        step_size: Length of a step in the norm; ``None``: 2.5 ρ / steps.
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
        """The mean cross-entropy at the ends of the ascents."""
        with evaluation_mode(model):
            perturbed = self.ascend(lambda points: cross_entropies(model, points, targets), inputs, seed)
        return cross_entropies(model, perturbed, targets).mean()
