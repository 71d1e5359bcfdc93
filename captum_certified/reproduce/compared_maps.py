"""The explanations that the attack figures compare on CIFAR-10, the attack, and the measurement after the attack."""

from typing import NamedTuple, TypeAlias

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
from captum_certified._captum import MethodArguments
from captum_certified.attr import SmoothedAttribution
from captum_certified.reproduce.networks_and_images import PIXEL_RANGE
from captum_certified.storage import JsonObject

__all__ = ["BETA", "SETTINGS", "SIGMA", "TAU", "Explanation", "K", "attacked", "explanations", "measured_map"]

K = 0.25  # size of the top set, as a fraction of all features
BETA = 20.0  # β of the softplus that replaces ReLU in the gradients of every attack
SIGMA = 0.1
TAU = 0.3  # larger than K, so that more than K features are salient in some draw and can be ranked
_GAMMA = 0.1
_DRAWS = 16  # noise draws for each gradient of an attack
_MEASURED_DRAWS = 128  # noise draws for each map before or after an attack
_ATTACK_SEED, _MEASUREMENT_SEED = 0, 1

# The settings that are the same at every scale.
SETTINGS: JsonObject = {
    "k": K,
    "beta": BETA,
    "sigma": SIGMA,
    "tau": TAU,
    "gamma": _GAMMA,
    "draws": _DRAWS,
    "measured": _MEASURED_DRAWS,
    "seeds": [_ATTACK_SEED, _MEASUREMENT_SEED],
    "smoothgrad": "magnitude of the mean gradient",
}

Explainer: TypeAlias = Saliency | NoiseTunnel | SmoothedAttribution


class Explanation(NamedTuple):
    """An attribution method and the arguments that it is called with."""

    explainer: Explainer
    arguments: MethodArguments


def explanations(method: Saliency, targets: Tensor) -> dict[str, Explanation]:
    """Return the compared explanations by name.

    SmoothGrad is first, because the attack on SmoothGrad is also tried on all other explanations. SmoothGrad is the
    magnitude of the mean gradient, as in the SmoothGrad paper and in the paper reproduced here. Captum's NoiseTunnel
    around Saliency gives the mean magnitude by default.
    """
    smooth: MethodArguments = {"target": targets, "nt_samples": _DRAWS, "stdevs": SIGMA}
    return {
        "SmoothGrad": Explanation(NoiseTunnel(method), {**smooth, "abs": False}),
        "gradient": Explanation(method, {"target": targets}),
        "mean magnitude": Explanation(NoiseTunnel(method), smooth),
        "quadratic": Explanation(ScaledQuadraticSmoothGrad(method), smooth),
        "sparsified": Explanation(SparsifiedSmoothGrad(method, tau=TAU), smooth),
        "relaxed": Explanation(RelaxedSparsifiedSmoothGrad(method, tau=TAU, gamma=_GAMMA), smooth),
    }


def attacked(
    model: nn.Module,
    explanation: Explanation,
    images: Tensor,
    *,
    radius: float,
    steps: int,
    restarts: int,
    objective: str = "top_k",
    keep_class: bool = True,
) -> AttackResult:
    """Attack an explanation by Algorithm 1 within an L2 radius, with the top-K objective or another one."""
    attack = InterpretationAttack(model, explanation.explainer, objective=objective, surrogate_beta=BETA, **PIXEL_RANGE)
    arguments = dict(explanation.arguments)
    return attack.attack(
        images,
        radius,
        k=K,
        step_num=steps,
        n_restarts=restarts,
        target=arguments.pop("target"),
        keep_class=keep_class,
        attribution_kwargs=arguments,
        seed=_ATTACK_SEED,
    )


def measured_map(explanation: Explanation, images: Tensor) -> Tensor:
    """Compute a map from noise that no attack has seen. Every call uses the same noise, before and after an attack."""
    explainer, arguments = explanation
    if isinstance(explainer, Saliency):
        gradient: Tensor = explainer.attribute(images.clone().requires_grad_(), **arguments)
        return gradient.detach()
    arguments = {**arguments, "nt_samples": _MEASURED_DRAWS}
    if not isinstance(explainer, NoiseTunnel):
        smoothed: Tensor = explainer.attribute(images, seed=_MEASUREMENT_SEED, **arguments)
        return smoothed
    with torch.random.fork_rng(devices=[images.device] if images.is_cuda else []):
        torch.manual_seed(_MEASUREMENT_SEED)
        averaged: Tensor = explainer.attribute(images.clone().requires_grad_(), nt_samples_batch_size=4, **arguments)
        return averaged.detach()
