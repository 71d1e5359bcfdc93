"""Explanations of images of CIFAR-10, how they are attacked, and how what is left is measured."""

from collections.abc import Mapping
from typing import Any

import torch
from captum.attr import NoiseTunnel, Saliency
from torch import Tensor, nn

from captum_certified import (
    AttackResult,
    InterpretationAttack,
    RelaxedSparsifiedSmoothGrad,
    ScaledQuadraticSmoothGrad,
    SparsifiedSmoothGrad,
)
from captum_certified.reproduce.material import BOX

__all__ = ["BETA", "SETTINGS", "SIGMA", "TAU", "K", "attacked", "explanations", "measured_map"]

K = 0.25
BETA = 20.0  # of the softplus surrogate, for all gradients
SIGMA = 0.1
TAU = 0.3  # a quarter is measured: features that are never salient could not be ranked
_GAMMA = 0.1
_DRAWS = 16  # in each gradient
_MEASURED = 128  # of the map that is measured
_ATTACK_SEED, _MEASUREMENT_SEED = 0, 1

# What is the same at every scale, as part of an experiment's settings.
SETTINGS: Mapping[str, Any] = {
    "k": K,
    "beta": BETA,
    "sigma": SIGMA,
    "tau": TAU,
    "gamma": _GAMMA,
    "draws": _DRAWS,
    "measured": _MEASURED,
    "seeds": [_ATTACK_SEED, _MEASUREMENT_SEED],
    "smoothgrad": "magnitude of the mean gradient",
}


def explanations(method: Saliency, targets: Tensor) -> dict[str, tuple[Any, dict[str, Any]]]:
    """Every map with its arguments, SmoothGrad first: the attack on it is tried on all others.

    SmoothGrad is the magnitude of the mean gradient, as its authors and the paper have it; NoiseTunnel around Captum's
    Saliency as it comes gives the mean magnitude.
    """
    smooth: dict[str, Any] = {"target": targets, "nt_samples": _DRAWS, "stdevs": SIGMA}
    return {
        "SmoothGrad": (NoiseTunnel(method), {**smooth, "abs": False}),
        "gradient": (method, {"target": targets}),
        "mean magnitude": (NoiseTunnel(method), smooth),
        "quadratic": (ScaledQuadraticSmoothGrad(method), smooth),
        "sparsified": (SparsifiedSmoothGrad(method, tau=TAU), smooth),
        "relaxed": (RelaxedSparsifiedSmoothGrad(method, tau=TAU, gamma=_GAMMA), smooth),
    }


def attacked(
    model: nn.Module,
    explainer: Any,
    images: Tensor,
    arguments: Mapping[str, Any],
    *,
    radius: float,
    steps: int,
    restarts: int,
    objective: str = "top_k",
    keep_class: bool = True,
) -> AttackResult:
    """Algorithm 1 within an L2 radius, or another objective; ``arguments`` are those of the explanation."""
    attack = InterpretationAttack(model, explainer, objective=objective, surrogate_beta=BETA, **BOX)
    return attack.attack(
        images,
        radius,
        k=K,
        step_num=steps,
        n_restarts=restarts,
        target=arguments["target"],
        keep_class=keep_class,
        attribution_kwargs={name: value for name, value in arguments.items() if name != "target"},
        seed=_ATTACK_SEED,
    )


def measured_map(explainer: Any, images: Any, arguments: Mapping[str, Any]) -> Tensor:
    """The map over draws that the attack has not seen, the same before and after it."""
    if isinstance(explainer, Saliency):
        gradient: Tensor = explainer.attribute(images.clone().requires_grad_(), **arguments)
        return gradient.detach()
    arguments = {**arguments, "nt_samples": _MEASURED}
    if not isinstance(explainer, NoiseTunnel):
        smoothed: Tensor = explainer.attribute(images, seed=_MEASUREMENT_SEED, **arguments)
        return smoothed
    with torch.random.fork_rng(devices=[images.device] if images.is_cuda else []):
        torch.manual_seed(_MEASUREMENT_SEED)
        averaged: Tensor = explainer.attribute(images.clone().requires_grad_(), nt_samples_batch_size=4, **arguments)
        return averaged.detach()
