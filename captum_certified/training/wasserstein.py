"""The distributional objective of Chen et al.: attributions under a change of the distribution of the data."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from captum_certified.checks import checked_integer, checked_number
from captum_certified.exceptions import InvalidInputError
from captum_certified.robust.threat_models import check_bounds, check_within
from captum_certified.training.attribution_regularization import size_named
from captum_certified.training.integrated_gradients import loss_integrated_gradients
from captum_certified.training.loss import TrainingLoss, cross_entropies, evaluation_mode, with_noise

__all__ = ["IGWassersteinLoss"]

# For an L1 size, the gradient is zero at the input itself. The search starts at a random offset with this norm.
_START = 1e-3

_NORMS: dict[str, Callable[[Tensor], Tensor]] = {
    "L2": lambda offsets: torch.linalg.vector_norm(offsets, dim=1),
    "Linf": lambda offsets: offsets.abs().amax(dim=1),
}


@dataclass(kw_only=True, eq=False)
class IGWassersteinLoss(TrainingLoss):
    """The Wasserstein objective: CE(x, y) + λ max [s(IG(x, x′)) − γ c(x, x′)] over all x′, with c = ‖x′ − x‖².

    IG integrates gradients of the loss from x to x′, and s is the size of IG. The objective is the Lagrangian of

        E CE(x, y) + λ sup E s(IG(x, x′)), over all joint distributions of x and x′ with E c(x, x′) ≤ ρ,

    where x has the distribution of the data. Only the mean cost is limited, so x′ may be far from x for some examples.
    Labels do not change.

    **Relation to IG-NORM.** Write P(γ) for E max [s − γ c], and N(ε) for the mean of the largest s in the ball of
    radius ε, which is the penalty of :class:`IGNormLoss`. The pairs of this ball satisfy E c ≤ ε², hence for every γ

        N(ε) ≤ sup {E s : E c ≤ ε²} ≤ γ ε² + P(γ).

    The second inequality is an equality for the best γ. There, and if the best x′ is unique, its mean cost is ε².
    So this loss bounds IG-NORM from above, up to the constant λ γ ε². The bounds agree if all examples have the same
    largest s as a function of the radius, and if it is concave in the squared radius, as for a linear loss.
    If the cost were 0 in the ball and infinite outside of it, the loss would be IG-NORM for every γ.

    **Relation to adversarial training.** With ``size="sum"`` and λ = 1 the loss is the mean of
    max [CE(x′, y) − γ c(x, x′)], the robust surrogate of Sinha, Namkoong and Duchi (2018), because IG sums to
    CE(x′, y) − CE(x, y).

    Each step of the search maximises the linearised size minus the cost, and moves from the present point to a mean
    of this maximiser and the point. For the L2 cost this is gradient ascent. A point that is worse than x itself
    counts as x, whose term is 0. The search finds a local maximum, so its value is a lower bound of the true one.

    Args:
        cost: γ > 0, in units of the loss per squared unit of the inputs. A large γ keeps x′ near x.
        norm: The norm in the cost: ``"L2"``, over all entries of an example, or ``"Linf"``.
        weight: λ ≥ 0.
        size: The size of IG: ``"l1"`` is the L1 norm, ``"sum"`` is the sum of the entries.
        n_steps: m, the number of steps of the integral in the loss.
        search_n_steps: Number of steps of each integral in the search for x′, which computes ``step_num`` integrals.
        step_num: Number of steps of the search.
        lower_bound: Smallest value of an input.
        upper_bound: Largest value of an input.
        layer: Module to whose output the loss is attributed; ``None``: the loss is attributed to the input.
        seed: Seed of the starts; ``None`` draws a fresh one.

    Raises:
        InvalidInputError: An argument is not what was expected.

    Source:
        Chen et al. (2019), section 3.2; Sinha, Namkoong and Duchi (2018), eq. 2.

    Example:
        >>> import torch
        >>> from captum_certified.training import IGWassersteinLoss
        >>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Softplus(), torch.nn.Linear(8, 3))
        >>> inputs, targets = torch.rand(8, 4), torch.arange(8) % 3
        >>> loss = IGWassersteinLoss(cost=5.0, n_steps=10, search_n_steps=3, seed=0)
        >>> loss(model, inputs, targets).shape
        torch.Size([])
    """

    cost: float
    norm: str = "Linf"
    weight: float = 1.0
    size: str = "l1"
    n_steps: int = 50
    search_n_steps: int = 10
    step_num: int = 7
    lower_bound: float = float("-inf")
    upper_bound: float = float("inf")
    layer: nn.Module | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        checked_number("cost", self.cost, above=0)
        if self.norm not in _NORMS:
            raise InvalidInputError(f"Expected `norm` to be one of {sorted(_NORMS)}, got {self.norm!r}.")
        checked_number("weight", self.weight, at_least=0)
        size_named(self.size)
        for name in ("n_steps", "search_n_steps", "step_num"):
            checked_integer(name, getattr(self, name), at_least=1)
        check_bounds(self.lower_bound, self.upper_bound)

    def mean(self, model: nn.Module, inputs: Tensor, targets: Tensor, seed: int) -> Tensor:
        """Return the mean of CE(x) + λ max(0, s(IG) − γ c)."""
        perturbed = self.worst(model, inputs, targets, seed)
        with evaluation_mode(model):
            gains = self.gains(model, inputs, perturbed, targets, self.n_steps)
        return (cross_entropies(model, inputs, targets) + self.weight * gains.clamp_min(0)).mean()

    def worst(self, model: nn.Module, inputs: Tensor, targets: Tensor, seed: int) -> Tensor:
        """Search for x′ of every example, with ``search_n_steps`` steps in each integral.

        Returns:
            Shape (N, …), without graph, within the bounds.

        Raises:
            InvalidInputError: The inputs are not within the bounds.
        """
        check_within([inputs], self.lower_bound, self.upper_bound)
        lowest, highest = (bound - inputs.double().flatten(1) for bound in (self.lower_bound, self.upper_bound))
        offsets = self._start(inputs, seed).clamp(lowest, highest)
        with evaluation_mode(model):
            for step in range(self.step_num):
                leaf = (inputs + offsets.reshape(inputs.shape).to(inputs)).requires_grad_()
                sizes = self.sizes(model, inputs, leaf, targets, self.search_n_steps)
                [gradient] = torch.autograd.grad(sizes.sum(), leaf)
                best = self._best_offsets(gradient.double().flatten(1)).clamp(lowest, highest)
                offsets = offsets + 2 / (step + 2) * (best - offsets)
        perturbed = inputs + offsets.reshape(inputs.shape).to(inputs)
        return perturbed.clamp(self.lower_bound, self.upper_bound)

    def sizes(self, model: nn.Module, inputs: Tensor, perturbed: Tensor, targets: Tensor, n_steps: int) -> Tensor:
        """Return s(IG) of every example, shape (N,)."""
        attributions = loss_integrated_gradients(model, inputs, perturbed, targets, n_steps=n_steps, layer=self.layer)
        return size_named(self.size)(attributions)

    def costs(self, inputs: Tensor, perturbed: Tensor) -> Tensor:
        """Return c(x, x′) of every example, the squared norm of the offset, shape (N,)."""
        return _NORMS[self.norm]((perturbed - inputs).flatten(1)).square()

    def gains(self, model: nn.Module, inputs: Tensor, perturbed: Tensor, targets: Tensor, n_steps: int) -> Tensor:
        """Return s(IG) − γ c(x, x′) of every example, shape (N,)."""
        sizes = self.sizes(model, inputs, perturbed, targets, n_steps)
        return sizes - self.cost * self.costs(inputs, perturbed)

    def _best_offsets(self, gradient: Tensor) -> Tensor:
        """Return the offsets δ that maximise ⟨g, δ⟩ − γ ‖δ‖², shape (N, n)."""
        if self.norm == "L2":
            return gradient / (2 * self.cost)
        return gradient.abs().sum(dim=1, keepdim=True) / (2 * self.cost) * gradient.sign()

    def _start(self, inputs: Tensor, seed: int) -> Tensor:
        """Return a random offset for every example, with the norm that a search starts with, shape (N, n)."""
        noise = with_noise(torch.zeros_like(inputs, dtype=torch.float64), 1.0, seed).flatten(1)
        return _START * noise / _NORMS[self.norm](noise).unsqueeze(1)
