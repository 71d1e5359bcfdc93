"""Penalties on curvature: the top Hessian eigenvalue of the loss (Wang et al.) and CURE (Moosavi-Dezfooli et al.)."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from captum_certified.checks import checked_number
from captum_certified.training.loss import TrainingLoss, at_least_single, cross_entropies, evaluation_mode

__all__ = ["CurvatureLoss", "SmoothSurfaceLoss", "top_hessian_eigenvalue"]


@dataclass(kw_only=True, eq=False)
class CurvatureLoss(TrainingLoss):
    """CURE: CE(x, y) + γ ‖∇ℓ(x + hz) − ∇ℓ(x)‖₂², a penalty on the curvature of the cross-entropy ℓ.

    The direction z is the sign of ∇ℓ(x), scaled to L2 norm 1.

    Args:
        weight: γ ≥ 0.
        step: h > 0, in the units of the inputs.
        seed: Has no effect, because this loss is not random.

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
        """Return the mean over examples of the cross-entropy plus γ times the squared change of the gradient."""
        with evaluation_mode(model):
            gradients = _gradients(model, inputs, targets)
            directions = functional.normalize(gradients.detach().flatten(1).sign(), dim=1).reshape(inputs.shape)
            changes = _gradients(model, inputs + self.step * directions, targets) - gradients
        curvatures = changes.flatten(1).square().sum(dim=1)
        return (cross_entropies(model, inputs, targets) + self.weight * curvatures).mean()


@dataclass(kw_only=True, eq=False)
class SmoothSurfaceLoss(TrainingLoss):
    """CE(x, y) + β λ(x), where λ(x) is the top eigenvalue of the input Hessian of the cross-entropy.

    A perturbation of norm ρ changes the gradient by at most about λρ, so a small λ keeps explanations stable.

    Args:
        weight: β ≥ 0.
        seed: Has no effect, because this loss is not random.

    Raises:
        InvalidInputError: An argument is not what was expected.

    Source:
        Wang et al. (2020), section 4.2.

    Example:
        >>> import torch
        >>> from captum_certified.training import SmoothSurfaceLoss
        >>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
        >>> inputs, targets = torch.rand(8, 4), torch.arange(8) % 3
        >>> SmoothSurfaceLoss(weight=0.3)(model, inputs, targets).backward()
        >>> model[0].weight.grad.shape
        torch.Size([8, 4])
    """

    weight: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        checked_number("weight", self.weight, at_least=0)

    def mean(self, model: nn.Module, inputs: Tensor, targets: Tensor, seed: int) -> Tensor:  # noqa: ARG002
        """Return the mean over examples of the cross-entropy plus β λ."""
        with evaluation_mode(model):
            eigenvalues = top_hessian_eigenvalue(model, inputs)
        return (cross_entropies(model, inputs, targets) + self.weight * eigenvalues).mean()


def top_hessian_eigenvalue(model: nn.Module, inputs: Tensor) -> Tensor:
    """Return λ(x), the top eigenvalue of the Hessian of the cross-entropy with respect to the input, in closed form.

    A ReLU network is linear between its kinks. There the Hessian is W (diag(p) − ppᵀ) Wᵀ, with W = ∂logits/∂x of shape
    (d, C) and p = softmax(logits). The Hessian does not depend on the target. Let S be any matrix with SSᵀ = diag(p) −
    ppᵀ, and let B = WS. Then the Hessian has the same top eigenvalue as BᵀB, a matrix of only C × C. This function
    takes S = diag(√p) − p√pᵀ. This S is smooth in the logits, which an S from an eigendecomposition is not. For
    networks that are not piecewise linear, the result is the top eigenvalue of the Gauss–Newton part of the Hessian.

    Args:
        model: Returns logits of shape (N, C). The function runs one backward pass for every class.
        inputs: Shape (N, …).

    Returns:
        Shape (N,), with a graph to the weights.

    Source:
        Wang et al. (2020), Proposition 3 and Appendix. Their code takes a mean over channels. This function does not.

    Example:
        >>> import torch
        >>> from captum_certified.training import top_hessian_eigenvalue
        >>> model = torch.nn.Linear(2, 2, bias=False)
        >>> _ = torch.nn.init.eye_(model.weight)
        >>> round(top_hessian_eigenvalue(model, torch.zeros(1, 2)).item(), 6)  # 2p(1 − p), at p = ½
        0.5
    """
    with torch.enable_grad():
        leaf = inputs.detach().requires_grad_()
        logits = model(leaf)
        columns = [
            torch.autograd.grad(logits[:, c].sum(), leaf, create_graph=True)[0].flatten(1)
            for c in range(logits.shape[1])
        ]
        w_transposed = torch.stack(columns, dim=1)  # (N, C, d)
        log_p = logits.log_softmax(dim=1)
        roots = (log_p / 2).exp()
        root = torch.diag_embed(roots) - log_p.exp().unsqueeze(2) * roots.unsqueeze(1)
        products = root.mT @ (w_transposed @ w_transposed.mT) @ root  # BᵀB
        top: Tensor = torch.linalg.eigvalsh(at_least_single(products))[:, -1]
        return top


def _gradients(model: nn.Module, points: Tensor, targets: Tensor) -> Tensor:
    """Return the gradients of the cross-entropies with respect to the points, with a graph."""
    leaf = points.detach().requires_grad_()
    [gradients] = torch.autograd.grad(cross_entropies(model, leaf, targets).sum(), leaf, create_graph=True)
    return gradients
