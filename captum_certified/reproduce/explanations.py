"""Explanations of images of CIFAR-10, how they are attacked, and how what is left is measured."""

from collections.abc import Mapping
from typing import Any

import torch
from captum.attr import NoiseTunnel, Saliency
from torch import Tensor, nn

from captum_certified import (
    InterpretationAttack,
    RelaxedSparsifiedSmoothGrad,
    ScaledQuadraticSmoothGrad,
    SparsifiedSmoothGrad,
)

__all__ = [
    "BETA",
    "BOX",
    "DRAWS",
    "GAMMA",
    "MEASURED",
    "SIGMA",
    "TAU",
    "K",
    "attacked_points",
    "explanations",
    "measured_map",
]

K = 0.25
BETA = 20.0  # of the softplus surrogate, for all gradients
SIGMA = 0.1
TAU, GAMMA = 0.3, 0.1  # a quarter is measured: features that are never salient could not be ranked
DRAWS, MEASURED = 16, 64
BOX: Mapping[str, Any] = {"lower_bound": 0.0, "upper_bound": 1.0}


def explanations(method: Saliency) -> dict[str, tuple[Any, dict[str, Any]]]:
    """Every map with its arguments, SmoothGrad first: the attack on it is tried on all others.

    SmoothGrad is the magnitude of the mean gradient, as its authors and the paper have it; NoiseTunnel around Captum's
    Saliency as it comes gives the mean magnitude.
    """
    smooth = {"nt_samples": DRAWS, "stdevs": SIGMA}
    return {
        "SmoothGrad": (NoiseTunnel(method), {**smooth, "abs": False}),
        "gradient": (method, {}),
        "mean magnitude": (NoiseTunnel(method), {**smooth}),
        "quadratic": (ScaledQuadraticSmoothGrad(method), {**smooth}),
        "sparsified": (SparsifiedSmoothGrad(method, tau=TAU), {**smooth}),
        "relaxed": (RelaxedSparsifiedSmoothGrad(method, tau=TAU, gamma=GAMMA), {**smooth}),
    }


def attacked_points(
    model: nn.Module,
    explainer: Any,
    images: Tensor,
    arguments: Mapping[str, Any],
    *,
    radius: float,
    steps: int,
    restarts: int,
) -> Tensor:
    """Where Algorithm 1 ends within an L2 radius; ``arguments`` are those of the explanation, with its targets."""
    attack = InterpretationAttack(model, explainer, surrogate_beta=BETA, **BOX)
    own = {name: value for name, value in arguments.items() if name != "target"}
    points: Tensor = attack.perturb(
        images,
        radius,
        k=K,
        step_num=steps,
        n_restarts=restarts,
        target=arguments["target"],
        attribution_kwargs=own,
        seed=0,
    )
    return points


def measured_map(explainer: Any, images: Tensor, arguments: Mapping[str, Any]) -> Tensor:
    """The map over draws that the attack has not seen, the same before and after it."""
    if isinstance(explainer, Saliency):
        gradient: Tensor = explainer.attribute(images.clone().requires_grad_(), **arguments)
        return gradient.detach()
    arguments = {**arguments, "nt_samples": MEASURED}
    if not isinstance(explainer, NoiseTunnel):
        smoothed: Tensor = explainer.attribute(images, seed=1, **arguments)
        return smoothed
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        averaged: Tensor = explainer.attribute(images.clone().requires_grad_(), nt_samples_batch_size=4, **arguments)
        return averaged.detach()
