"""Robust attribution regularization of Chen et al.: IG-NORM and IG-SUM-NORM."""

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

from torch import Tensor, nn

from captum_certified.checks import checked_integer, checked_number
from captum_certified.exceptions import InvalidInputError
from captum_certified.training.adversarial import AscentLoss
from captum_certified.training.integrated_gradients import loss_integrated_gradients
from captum_certified.training.loss import cross_entropies, evaluation_mode

__all__ = ["IGNormLoss", "IGSumNormLoss", "Size", "size_named"]

Size: TypeAlias = Callable[[Tensor], Tensor]

_SIZES: dict[str, Size] = {
    "l1": lambda attributions: attributions.flatten(1).abs().sum(dim=1),
    "sum": lambda attributions: attributions.flatten(1).sum(dim=1),
}


def size_named(name: str) -> Size:
    """Return the function that measures attributions, from shape (N, …) to shape (N,).

    Raises:
        InvalidInputError: The name is neither ``"l1"`` nor ``"sum"``.
    """
    if name not in _SIZES:
        raise InvalidInputError(f"Expected `size` to be one of {sorted(_SIZES)}, got {name!r}.")
    return _SIZES[name]


@dataclass(kw_only=True, eq=False)
class _AttributionLoss(AscentLoss):
    """A penalty on the integrated gradients of the loss from x to x′, the worst point of a ball around x.

    ``size`` says how the size of these integrated gradients is measured.
    """

    step_num: int = 7
    weight: float = 1.0
    size: str = "l1"
    n_steps: int = 50
    search_n_steps: int = 10
    layer: nn.Module | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        size_named(self.size)
        checked_number("weight", self.weight, at_least=0)
        checked_integer("n_steps", self.n_steps, at_least=1)
        checked_integer("search_n_steps", self.search_n_steps, at_least=1)

    @abstractmethod
    def objective(self, model: nn.Module, perturbed: Tensor, targets: Tensor, sizes: Tensor) -> Tensor:
        """Return what the search for x′ maximises, shape (N,).

        Args:
            model: The network.
            perturbed: x′, shape (N, …).
            targets: Classes of shape (N,).
            sizes: s(IG) from x to x′, shape (N,).
        """

    def worst(self, model: nn.Module, inputs: Tensor, targets: Tensor, seed: int) -> Tensor:
        """Search for the x′ of every example, with ``search_n_steps`` steps in each integral."""

        def objective(points: Tensor) -> Tensor:
            sizes = self.sizes(model, inputs, points, targets, self.search_n_steps)
            return self.objective(model, points, targets, sizes)

        with evaluation_mode(model):
            return self.ascend(objective, inputs, seed)

    def worst_and_size(self, model: nn.Module, inputs: Tensor, targets: Tensor, seed: int) -> tuple[Tensor, Tensor]:
        """Return x′ and s(IG) of every example; s(IG) has an autograd graph."""
        perturbed = self.worst(model, inputs, targets, seed)
        with evaluation_mode(model):
            return perturbed, self.sizes(model, inputs, perturbed, targets, self.n_steps)

    def sizes(self, model: nn.Module, inputs: Tensor, perturbed: Tensor, targets: Tensor, n_steps: int) -> Tensor:
        """Return s(IG) of every example, shape (N,)."""
        attributions = loss_integrated_gradients(model, inputs, perturbed, targets, n_steps=n_steps, layer=self.layer)
        return size_named(self.size)(attributions)


@dataclass(kw_only=True, eq=False)
class IGNormLoss(_AttributionLoss):
    """IG-NORM: CE(x, y) + λ max ‖IG(x, x′)‖₁ over x′ in a ball. IG integrates gradients of the loss from x to x′.

    With ``size="sum"`` and λ = 1 this loss equals :class:`AdversarialLoss`, because the sum of IG is CE(x′, y) − CE(x,
    y).

    Args:
        radius: ρ ≥ 0, in the units of the inputs.
        norm: ``"L2"``, over all entries of an example, or ``"Linf"``.
        weight: λ ≥ 0.
        size: The size of IG: ``"l1"`` is the L1 norm, ``"sum"`` is the sum of the entries.
        n_steps: m, the number of steps of the integral in the loss.
        search_n_steps: Number of steps of each integral in the search for x′, which computes ``step_num`` integrals.
        step_num: Number of steps of the search.
        step_size: Norm of a step of the search; ``None`` means 2.5 ρ / ``step_num``.
        lower_bound: Smallest value of an input.
        upper_bound: Largest value of an input.
        layer: Module to whose output the loss is attributed; ``None`` attributes the loss to the input.
        seed: Seed of the starts; ``None`` draws a fresh one.

    Raises:
        InvalidInputError: An argument is not what was expected.

    Source:
        Chen et al. (2019), eq. 6 and section 5 (IG-NORM).

    Example:
        >>> import torch
        >>> from captum_certified.training import IGNormLoss
        >>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Softplus(), torch.nn.Linear(8, 3))
        >>> inputs, targets = torch.rand(8, 4), torch.arange(8) % 3
        >>> loss = IGNormLoss(radius=0.1, weight=1.0, n_steps=10, search_n_steps=3, seed=0)
        >>> loss(model, inputs, targets).shape
        torch.Size([])
    """

    def objective(self, model: nn.Module, perturbed: Tensor, targets: Tensor, sizes: Tensor) -> Tensor:  # noqa: ARG002
        """Return s(IG) alone, because CE(x) does not depend on x′."""
        return sizes

    def mean(self, model: nn.Module, inputs: Tensor, targets: Tensor, seed: int) -> Tensor:
        """Return the mean of CE(x) + λ s(IG)."""
        _, sizes = self.worst_and_size(model, inputs, targets, seed)
        return (cross_entropies(model, inputs, targets) + self.weight * sizes).mean()


@dataclass(kw_only=True, eq=False)
class IGSumNormLoss(_AttributionLoss):
    """IG-SUM-NORM: the maximum of [CE(x′, y) + β ‖IG(x, x′)‖₁] over x′ in a ball.

    The arguments are the same as in :class:`IGNormLoss`, and ``weight`` is β ≥ 0.

    Raises:
        InvalidInputError: An argument is not what was expected.

    Source:
        Chen et al. (2019), section 5 (IG-SUM-NORM).

    Example:
        >>> import torch
        >>> from captum_certified.training import IGSumNormLoss
        >>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Softplus(), torch.nn.Linear(8, 3))
        >>> inputs, targets = torch.rand(8, 4), torch.arange(8) % 3
        >>> loss = IGSumNormLoss(radius=0.1, weight=0.1, n_steps=10, search_n_steps=3, seed=0)
        >>> loss(model, inputs, targets).shape
        torch.Size([])
    """

    weight: float = 0.1

    def objective(self, model: nn.Module, perturbed: Tensor, targets: Tensor, sizes: Tensor) -> Tensor:
        """Return the loss itself, because both terms depend on x′."""
        return cross_entropies(model, perturbed, targets) + self.weight * sizes

    def mean(self, model: nn.Module, inputs: Tensor, targets: Tensor, seed: int) -> Tensor:
        """Return the mean of CE(x′) + β s(IG)."""
        perturbed, sizes = self.worst_and_size(model, inputs, targets, seed)
        return self.objective(model, perturbed, targets, sizes).mean()
