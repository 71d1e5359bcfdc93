"""Smooth surface regularization (Wang et al.): the top eigenvalue of the Hessian of the loss by the input."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from captum_certified.checks import checked_number
from captum_certified.training.loss import TrainingLoss, at_least_single, cross_entropies, evaluation_mode

__all__ = ["SmoothSurfaceLoss", "top_hessian_eigenvalue"]


@dataclass(kw_only=True, eq=False)
class SmoothSurfaceLoss(TrainingLoss):
    """CE(x, y) + β λ(x), λ the top eigenvalue of the input Hessian of the cross-entropy.

    A gradient moves by at most about λρ under a perturbation of size ρ: a smooth surface has steady explanations.

    Args:
        weight: β ≥ 0.
        seed: Of nothing; every loss has one.

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
        """The mean of CE + β λ."""
        with evaluation_mode(model):
            eigenvalues = top_hessian_eigenvalue(model, inputs)
        return (cross_entropies(model, inputs, targets) + self.weight * eigenvalues).mean()


def top_hessian_eigenvalue(model: nn.Module, inputs: Tensor) -> Tensor:
    """λ(x), the top eigenvalue of the Hessian of the cross-entropy by the input, in closed form.

    Between its kinks a network of rectifiers is linear, and the Hessian is W (diag(p) − ppᵀ) Wᵀ, for W = ∂logits/∂x of
    shape (d, C) and p = softmax(logits): no target enters. With any S such that SSᵀ = diag(p) − ppᵀ, its top
    eigenvalue is that of BᵀB, B = WS, of shape (C, C) only. S = diag(√p) − p√pᵀ is one, and unlike the one from an
    eigendecomposition it is smooth in the logits. Of other networks this is the Gauss–Newton part of the Hessian.

    Args:
        model: Returns logits of shape (N, C); one backward pass for every class.
        inputs: Shape (N, …).

    Returns:
        Shape (N,), with the graph to the weights.

    Source:
        Wang et al. (2020), Proposition 3 and Appendix, without the mean over channels of their code.

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
        slopes = torch.stack(columns, dim=1)  # Wᵀ, (N, C, d)
        log_p = logits.log_softmax(dim=1)
        roots = (log_p / 2).exp()
        root = torch.diag_embed(roots) - log_p.exp().unsqueeze(2) * roots.unsqueeze(1)
        products = root.mT @ (slopes @ slopes.mT) @ root  # BᵀB
        top: Tensor = torch.linalg.eigvalsh(at_least_single(products))[:, -1]
        return top
