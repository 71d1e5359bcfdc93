"""Training against the attack on saliency maps, as in Appendix D.1."""

from collections.abc import Callable
from dataclasses import dataclass

from captum.attr import Saliency
from torch import Tensor, nn
from torch.nn import functional

from captum_certified.checks import checked_integer, checked_number, resolved_count
from captum_certified.robust import InterpretationAttack, differentiable
from captum_certified.robust.surrogate import AUTO, SurrogateBeta, check_surrogate
from captum_certified.robust.threat_models import check_bounds
from captum_certified.training.loss import TrainingLoss, cross_entropies, evaluation_mode

__all__ = ["SaliencyAdversarialLoss"]


@dataclass(kw_only=True, eq=False)
class SaliencyAdversarialLoss(TrainingLoss):
    """Appendix D.1. Training against the attack on saliency: CE(x, y) + λ ‖ĝ(x) − ĝ(x̃)‖₂².

    ĝ is the saliency map of the target class, scaled to L2 norm 1. Every call searches for the attacked input x̃ anew,
    by an attack on this map (Algorithm 1). The attack and the maps use the network in evaluation mode, as explanations
    do.

    Args:
        radius: ρ ≥ 0, the L2 radius of the attack, in the units of the inputs.
        weight: λ ≥ 0. The squared distance of two maps is at most 2.
        k: K of the attack: an int is a count, a float a fraction of the features.
        step_num: P, the number of steps of the attack from each start.
        n_restarts: T, the number of starts.
        n_draws: Q, the largest number of random points that are tried to find starts that keep the class.
        lower_bound: Smallest value of an input.
        upper_bound: Largest value of an input.
        surrogate_beta: β of the softplus surrogate whose gradients guide the attack, as in
            :class:`~captum_certified.InterpretationAttack`. The attack needs it because the saliency map of a ReLU
            network is piecewise constant in the input. In the weights it is not, so the loss itself uses the original
            network.
        seed: Seed of the attack; ``None`` draws a fresh one.

    Raises:
        InvalidInputError: An argument is not what was expected.

    Source:
        Levine, Singla and Feizi (2019), Appendix D.1.

    Example:
        >>> import torch
        >>> from captum_certified.training import SaliencyAdversarialLoss
        >>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Softplus(), torch.nn.Linear(8, 3))
        >>> inputs, targets = torch.rand(8, 4), torch.arange(8) % 3
        >>> SaliencyAdversarialLoss(radius=0.5, k=2, step_num=3, seed=0)(model, inputs, targets).shape
        torch.Size([])
    """

    radius: float
    weight: float = 1.0
    k: float = 0.25
    step_num: int = 20
    n_restarts: int = 1
    n_draws: int = 100
    lower_bound: float = float("-inf")
    upper_bound: float = float("inf")
    surrogate_beta: SurrogateBeta = AUTO

    def __post_init__(self) -> None:
        super().__post_init__()
        checked_number("radius", self.radius, at_least=0)
        checked_number("weight", self.weight, at_least=0)
        resolved_count("k", self.k)
        check_bounds(self.lower_bound, self.upper_bound)
        check_surrogate(self.surrogate_beta, None)
        checked_integer("step_num", self.step_num)
        checked_integer("n_restarts", self.n_restarts, at_least=1)
        checked_integer("n_draws", self.n_draws, at_least=1)

    def mean(self, model: nn.Module, inputs: Tensor, targets: Tensor, seed: int) -> Tensor:
        """Return the mean loss at the points that the attack found."""
        return self.at(model, inputs, self.attacked(model, inputs, targets, seed), targets)

    def attacked(self, model: nn.Module, inputs: Tensor, targets: Tensor, seed: int) -> Tensor:
        """Return the attacked inputs x̃."""
        attack = InterpretationAttack(
            model,
            Saliency(model),
            lower_bound=self.lower_bound,
            upper_bound=self.upper_bound,
            surrogate_beta=self.surrogate_beta,
        )
        with evaluation_mode(model):
            perturbed: Tensor = attack.perturb(
                inputs,
                self.radius,
                k=self.k,
                step_num=self.step_num,
                n_restarts=self.n_restarts,
                n_draws=self.n_draws,
                target=targets,
                seed=seed,
            )
        return perturbed

    def at(self, model: nn.Module, inputs: Tensor, perturbed: Tensor, targets: Tensor) -> Tensor:
        """Return the mean loss for the given ``perturbed`` inputs x̃, with a graph to the weights."""
        with evaluation_mode(model), differentiable(Saliency(model)) as attribute:
            clean, attacked = (_unit_maps(attribute, points, targets) for points in (inputs, perturbed))
        distances = (clean - attacked).square().sum(dim=1)
        return (cross_entropies(model, inputs, targets) + self.weight * distances).mean()


def _unit_maps(attribute: Callable[..., Tensor], points: Tensor, targets: Tensor) -> Tensor:
    """Return the saliency maps, scaled to L2 norm 1, shape (N, n)."""
    maps = attribute(points.detach().requires_grad_(), target=targets)
    return functional.normalize(maps.flatten(1), dim=1)
