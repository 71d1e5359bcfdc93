"""The explanations that the attack figures compare on CIFAR-10, the attack, and the measurement after the attack."""

import functools
from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeAlias

import torch
from captum.attr import NoiseTunnel, Saliency
from torch import Tensor

from captum_certified import (
    AttackResult,
    GhorbaniAttack,
    InterpretationAttack,
    RelaxedSparsifiedSmoothGrad,
    ScaledQuadraticSmoothGrad,
    SparsifiedSmoothGrad,
)
from captum_certified._captum import MethodArguments
from captum_certified.attr import SmoothedAttribution
from captum_certified.reproduce.cifar_networks import BETA, CifarNetworks
from captum_certified.reproduce.experiment import Scale
from captum_certified.reproduce.networks_and_images import PIXEL_RANGE
from captum_certified.storage import JsonObject

__all__ = [
    "SIGMA",
    "TAU",
    "Explanation",
    "K",
    "attacked",
    "explanations",
    "map_settings",
    "measured_map",
    "printed_explanations",
    "printed_map_settings",
    "printed_settings",
    "signed",
    "smoothgrad_of_few_draws",
]

K = 0.25  # size of the top set, as a fraction of all features
SIGMA = 0.1
TAU = 0.3  # larger than K, so that more than K features are salient in some draw and can be ranked
_GAMMA = 0.1
_DRAWS = 16  # noise draws for each gradient of an attack
_MEASURED_DRAWS = 128  # noise draws for each map before or after an attack
_ATTACK_SEED, _MEASUREMENT_SEED = 0, 1

# The settings of a few draws, at the scales smoke and cpu.
_FEW_DRAWS: JsonObject = {
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


class Printed(NamedTuple):
    """The settings of the maps of Figures 4 and 14."""

    sigma: float
    draws: int  # q, noise draws for each map
    attack_draws: int  # noise draws for each gradient of an attack
    few: int  # q of SmoothGrad from few draws, which is attacked through all of them
    certificate_draws: int  # noise draws for each certificate
    taus: tuple[float, ...] = (0.05, 0.1, 0.2)  # of the relaxed map
    gamma: float = 0.01


# The paper has the same σ as for Figure 11. At the smaller scales it is that of our other maps.
_PRINTED: Mapping[Scale, Printed] = {
    "smoke": Printed(sigma=SIGMA, draws=16, attack_draws=2, few=4, certificate_draws=32),
    "cpu": Printed(sigma=SIGMA, draws=256, attack_draws=32, few=64, certificate_draws=8192),
    "dry": Printed(sigma=0.2, draws=3, attack_draws=2, few=2, certificate_draws=4),
    "paper": Printed(sigma=0.2, draws=8192, attack_draws=512, few=64, certificate_draws=8192),
}
_AS_PRINTED = ("dry", "paper")


class Explanation(NamedTuple):
    """An attribution method, the arguments that it is called with in an attack, and the draws of a measurement."""

    explainer: Explainer
    arguments: MethodArguments
    measured: int = _MEASURED_DRAWS


def map_settings(scale: Scale) -> JsonObject:
    """Return the settings of the maps that are compared at a scale."""
    return printed_map_settings(scale) if scale in _AS_PRINTED else _FEW_DRAWS


def printed_map_settings(scale: Scale) -> JsonObject:
    """Return the settings of the maps of Figure 14, and at the scales of the paper of Figure 4."""
    fixed = {name: _FEW_DRAWS[name] for name in ("k", "beta", "seeds", "smoothgrad")}
    return {**fixed, **_PRINTED[scale]._asdict()}


def printed_settings(scale: Scale) -> Printed:
    """Return the same settings with their names."""
    return _PRINTED[scale]


def explanations(method: Saliency, targets: Tensor, scale: Scale) -> dict[str, Explanation]:
    """Return the compared explanations by name: those of Figure 4 at the scales of the paper, otherwise ours.

    SmoothGrad is first, because the attack on SmoothGrad is also tried on all other explanations. SmoothGrad is the
    magnitude of the mean gradient, as in the SmoothGrad paper and in the paper reproduced here. Captum's NoiseTunnel
    around Saliency gives the mean magnitude by default.
    """
    if scale in _AS_PRINTED:
        return printed_explanations(method, targets, scale)
    smooth: MethodArguments = {"target": targets, "nt_samples": _DRAWS, "stdevs": SIGMA}
    return {
        "SmoothGrad": Explanation(NoiseTunnel(method), {**smooth, "abs": False}),
        "gradient": Explanation(method, {"target": targets}),
        "mean magnitude": Explanation(NoiseTunnel(method), smooth),
        "quadratic": Explanation(ScaledQuadraticSmoothGrad(method), smooth),
        "sparsified": Explanation(SparsifiedSmoothGrad(method, tau=TAU), smooth),
        "relaxed": Explanation(RelaxedSparsifiedSmoothGrad(method, tau=TAU, gamma=_GAMMA), smooth),
    }


def printed_explanations(method: Saliency, targets: Tensor, scale: Scale) -> dict[str, Explanation]:
    """Return the explanations of Figures 4 and 14 by name. SmoothGrad from all draws is first."""
    printed = _PRINTED[scale]
    smooth: MethodArguments = {"target": targets, "nt_samples": printed.attack_draws, "stdevs": printed.sigma}
    relaxed = {
        f"relaxed, τ = {tau:g}": Explanation(
            RelaxedSparsifiedSmoothGrad(method, tau=tau, gamma=printed.gamma), smooth, printed.draws
        )
        for tau in printed.taus
    }
    return {
        f"SmoothGrad, {printed.draws} draws": Explanation(NoiseTunnel(method), {**smooth, "abs": False}, printed.draws),
        f"SmoothGrad, {printed.few} draws": smoothgrad_of_few_draws(method, targets, scale),
        "gradient": Explanation(method, {"target": targets}),
        "quadratic": Explanation(ScaledQuadraticSmoothGrad(method), smooth, printed.draws),
        **relaxed,
    }


def smoothgrad_of_few_draws(method: Saliency, targets: Tensor, scale: Scale) -> Explanation:
    """Return SmoothGrad from the few draws of Figures 4 and 6(b), through all of which it is attacked."""
    printed = _PRINTED[scale]
    arguments: MethodArguments = {"target": targets, "nt_samples": printed.few, "stdevs": printed.sigma, "abs": False}
    return Explanation(NoiseTunnel(method), arguments, printed.few)


def attacked(
    networks: CifarNetworks,
    explanation: Explanation,
    images: Tensor,
    *,
    radius: float,
    steps: int,
    restarts: int,
    objective: str = "top_k",
    keep_class: bool = True,
) -> AttackResult:
    """Attack an explanation of the guide by Algorithm 1 within an L2 radius, with the top-K objective or another."""
    attack = InterpretationAttack(
        networks.guide, explanation.explainer, objective=objective, surrogate_beta=networks.beta, **PIXEL_RANGE
    )
    search = functools.partial(attack.attack, n_restarts=restarts, keep_class=keep_class)
    return _result(search, explanation, images, radius=radius, steps=steps)


def signed(
    networks: CifarNetworks, explanation: Explanation, images: Tensor, *, radius: float, steps: int
) -> AttackResult:
    """Attack an explanation of the guide by the steps of Ghorbani et al., projected to the ball of an L2 radius."""
    attack = GhorbaniAttack(
        networks.guide, explanation.explainer, norm="L2", surrogate_beta=networks.beta, **PIXEL_RANGE
    )
    return _result(attack.attack, explanation, images, radius=radius, steps=steps)


def _result(
    attack: Callable[..., AttackResult], explanation: Explanation, images: Tensor, *, radius: float, steps: int
) -> AttackResult:
    arguments = dict(explanation.arguments)
    return attack(
        images,
        radius,
        k=K,
        step_num=steps,
        target=arguments.pop("target"),
        attribution_kwargs=arguments,
        seed=_ATTACK_SEED,
    )


def measured_map(explanation: Explanation, images: Tensor) -> Tensor:
    """Compute a map from noise that no attack has seen. Every call uses the same noise, before and after an attack."""
    explainer, arguments = explanation.explainer, explanation.arguments
    if isinstance(explainer, Saliency):
        gradient: Tensor = explainer.attribute(images.clone().requires_grad_(), **arguments)
        return gradient.detach()
    arguments = {**arguments, "nt_samples": explanation.measured}
    if not isinstance(explainer, NoiseTunnel):
        smoothed: Tensor = explainer.attribute(images, seed=_MEASUREMENT_SEED, **arguments)
        return smoothed
    with torch.random.fork_rng(devices=[images.device] if images.is_cuda else []):
        torch.manual_seed(_MEASUREMENT_SEED)
        averaged: Tensor = explainer.attribute(images.clone().requires_grad_(), nt_samples_batch_size=4, **arguments)
        return averaged.detach()
