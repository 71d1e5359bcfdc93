"""Adversarial training with the attack DDN, decoupled direction and norm (Rony et al.)."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from captum_certified.checks import checked_integer, checked_number
from captum_certified.exceptions import InvalidInputError
from captum_certified.randomness import derived_seed
from captum_certified.robust.threat_models import ball_named, check_bounds, check_within
from captum_certified.sampling import make_noise
from captum_certified.training.loss import TrainingLoss, cross_entropies, evaluation_mode

__all__ = ["DDNLoss"]

_LAST_STEP = 0.01


@dataclass(kw_only=True, eq=False)
class DDNLoss(TrainingLoss):
    """Cross-entropy at the nearest adversarial example, projected to an L2 ball of radius ``max_norm``.

    Every step of the search moves the point along the gradient, and then scales the perturbation to a norm that changes
    from step to step. After an adversarial point the norm is multiplied by 1 − γ, and after any other point by 1 + γ.

    Args:
        max_norm: The largest L2 norm of a perturbation, > 0, in the units of the inputs.
        step_num: Number of steps of the search.
        init_norm: Norm of the perturbation with which the search begins, > 0.
        gamma: γ, 0 < γ < 1.
        lower_bound: Smallest value of an input.
        upper_bound: Largest value of an input.
        seed: Seed of the random directions that replace zero gradients; ``None`` draws a fresh one.

    Raises:
        InvalidInputError: An argument is not what was expected.

    Source:
        Rony et al. (2019), Algorithm 1 and section 5; one of the baselines of Wang et al. (2020).

    Example:
        >>> import torch
        >>> from captum_certified.training import DDNLoss
        >>> model = torch.nn.Linear(4, 3)
        >>> inputs, targets = torch.rand(8, 4), torch.arange(8) % 3
        >>> DDNLoss(max_norm=0.5, step_num=10)(model, inputs, targets).shape
        torch.Size([])
    """

    max_norm: float
    step_num: int = 100
    init_norm: float = 1.0
    gamma: float = 0.05
    lower_bound: float = float("-inf")
    upper_bound: float = float("inf")

    def __post_init__(self) -> None:
        super().__post_init__()
        checked_number("max_norm", self.max_norm, above=0)
        checked_number("init_norm", self.init_norm, above=0)
        checked_integer("step_num", self.step_num, at_least=1)
        if not 0 < checked_number("gamma", self.gamma) < 1:
            raise InvalidInputError(f"Expected `gamma` in (0, 1), got {self.gamma!r}.")
        check_bounds(self.lower_bound, self.upper_bound)

    def mean(self, model: nn.Module, inputs: Tensor, targets: Tensor, seed: int) -> Tensor:
        """Return the mean cross-entropy at the points that the searches found."""
        check_within([inputs], self.lower_bound, self.upper_bound)
        with evaluation_mode(model):
            nearest = self.nearest(model, inputs, targets, seed)
        ball = ball_named("L2")(self.max_norm, self.lower_bound, self.upper_bound)
        centers = inputs.flatten(1)
        perturbed = ball.project(nearest.flatten(1), centers).reshape(inputs.shape)
        return cross_entropies(model, perturbed, targets).mean()

    def nearest(self, model: nn.Module, inputs: Tensor, targets: Tensor, seed: int) -> Tensor:
        """Return the nearest adversarial point found, or the last point if no point was adversarial; shape (N, …)."""
        points, best = inputs, inputs
        offsets = torch.zeros_like(inputs)
        norms = torch.full((len(inputs),), self.init_norm, dtype=inputs.dtype, device=inputs.device)
        smallest = torch.full_like(norms, torch.inf)
        for step in range(self.step_num + 1):
            leaf = points.detach().requires_grad_()
            logits = model(leaf)
            adversarial = logits.argmax(dim=1) != targets
            distances = (leaf - inputs).detach().flatten(1).norm(dim=1)
            nearer = adversarial & (distances < smallest)
            smallest = torch.where(nearer, distances, smallest)
            best = torch.where(_broadcast(nearer | smallest.isinf(), inputs), leaf.detach(), best)
            if step == self.step_num:
                break
            [gradients] = torch.autograd.grad(nn.functional.cross_entropy(logits, targets, reduction="sum"), leaf)
            random = _noise_like(inputs, derived_seed(seed, step))
            norms = norms * torch.where(adversarial, 1 - self.gamma, 1 + self.gamma).to(norms.dtype)
            # If the gradient is zero, every step tries a new random direction, until the gradient is not zero.
            has_gradient = _broadcast(_norms(gradients) > 0, inputs)
            offsets = torch.where(has_gradient, offsets + self._step_size(step) * _unit(gradients, random), random)
            points = (inputs + _broadcast(norms, inputs) * _unit(offsets, random)).clamp(
                self.lower_bound, self.upper_bound
            )
            offsets = points - inputs
        return best

    def _step_size(self, step: int) -> float:
        """Return the size of a step, which falls from 1 to 0.01 along half a cosine."""
        return _LAST_STEP + (1 - _LAST_STEP) / 2 * (1 + math.cos(math.pi * step / self.step_num))


def _unit(values: Tensor, fallback: Tensor) -> Tensor:
    """Scale every example to L2 norm 1. Examples of ``fallback`` replace all-zero examples first."""
    values = torch.where(_broadcast(_norms(values) > 0, values), values, fallback)
    return values / _broadcast(_norms(values).to(values.dtype), values)


def _norms(values: Tensor) -> Tensor:
    norms: Tensor = torch.linalg.vector_norm(values.double().flatten(1), dim=1)
    return norms


def _noise_like(inputs: Tensor, seed: int) -> Tensor:
    noise = make_noise(
        tuple(inputs.shape[1:]),
        seed=seed,
        draws=range(len(inputs)),
        tensor=0,
        dtype=torch.float32,
        device=inputs.device,
    )
    return noise.to(inputs.dtype)


def _broadcast(values: Tensor, like: Tensor) -> Tensor:
    return values.reshape(-1, *[1] * (like.dim() - 1))
