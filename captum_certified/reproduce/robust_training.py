"""Appendix D.1, and beyond the paper: how well training with each loss protects explanations, on MNIST."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from matplotlib.figure import Figure

from captum_certified.reproduce.experiment import Experiment, Part, Row, Scale
from captum_certified.reproduce.losses_compared import (
    integrated_gradients_under_attack,
    losses_figure,
    part_name,
    summary_over_seeds,
)
from captum_certified.reproduce.mnist_networks import (
    DIGIT_RADIUS,
    accuracy,
    attack_digits,
    ddn_loss,
    fixed_settings,
    plain_loss,
    saliency_loss,
    trained_network,
)
from captum_certified.reproduce.networks_and_images import PIXEL_RANGE, Material
from captum_certified.storage import JsonObject
from captum_certified.training import (
    AdversarialLoss,
    CurvatureLoss,
    GaussianAugmentationLoss,
    IGNormLoss,
    IGSumNormLoss,
    SmoothSurfaceLoss,
    SpectralNormLoss,
    TrainingLoss,
    top_hessian_eigenvalue,
)

__all__ = ["RobustTraining"]

# The attack on integrated gradients: L∞ radius, step size, and size of the top set.
_EPSILON = 0.3
_STEP = 0.01
_TOP = 100

# The losses by name. Each entry is a function that makes the loss from a seed and the scale.
_LOSSES: dict[str, Callable[[int, Scale], TrainingLoss]] = {
    "plain": lambda seed, _: plain_loss(seed),
    "Gaussian noise": lambda seed, _: GaussianAugmentationLoss(stdev=0.3, seed=seed),
    "adversarial": lambda seed, _: AdversarialLoss(radius=1.0, norm="L2", step_num=7, **PIXEL_RANGE, seed=seed),
    "DDN": ddn_loss,
    "saliency (D.1)": lambda seed, scale: saliency_loss(0.7, seed, scale),
    "IG-NORM": lambda seed, _: IGNormLoss(
        radius=0.1, weight=1.0, n_steps=8, search_n_steps=3, step_num=4, **PIXEL_RANGE, seed=seed
    ),
    "IG-SUM-NORM": lambda seed, _: IGSumNormLoss(
        radius=0.1, weight=0.1, n_steps=8, search_n_steps=3, step_num=4, **PIXEL_RANGE, seed=seed
    ),
    "smooth surface": lambda seed, _: SmoothSurfaceLoss(weight=1.0, seed=seed),
    "curvature": lambda seed, _: CurvatureLoss(weight=4.0, step=1.5, seed=seed),
    "spectral norm": lambda seed, _: SpectralNormLoss(weight=0.01, seed=seed),
}
_MEASURES = {
    "accuracy": "accuracy",
    "overlap": f"top-K overlap, Algorithm 1, ρ = {DIGIT_RADIUS}",
    "intersection": f"IN, k = {_TOP}, L∞ attack, ε = {_EPSILON}",
    "correlation": f"CC (Kendall), L∞ attack, ε = {_EPSILON}",
    "eigenvalue": "λ, top eigenvalue of the input Hessian",
}


class _Size(NamedTuple):
    """The numbers of trained networks and of test images, and the steps of the attacks."""

    seeds: int  # networks for each loss
    tested: int  # images for the accuracy
    attacked: int  # images attacked by Algorithm 1
    steps: int  # P, the steps of Algorithm 1; T = 5 and Q = 100
    integrated: int  # images whose integrated gradients are attacked
    sign_steps: int  # steps of the attack on integrated gradients


_SIZES: Mapping[Scale, _Size] = {
    "smoke": _Size(seeds=1, tested=100, attacked=2, steps=2, integrated=2, sign_steps=2),
    "cpu": _Size(seeds=3, tested=10000, attacked=200, steps=20, integrated=64, sign_steps=200),
    "dry": _Size(seeds=1, tested=20, attacked=2, steps=1, integrated=2, sign_steps=1),
    "paper": _Size(seeds=3, tested=10000, attacked=1000, steps=20, integrated=1000, sign_steps=200),
}


class RobustTraining(Experiment):
    """Overlap under attack after plain training, adversarial training, and training for robust explanations.

    For each seed, training with every loss continues the same plainly trained network for the same number of epochs.
    """

    name = "training"
    uses = ("mnist",)
    title = "How well training with each loss protects explanations from attacks, on MNIST"
    claim = "Training against the attack on saliency raises the overlap at ρ = 3.08 from 0.573 to over 0.80."

    def settings(self, scale: Scale) -> JsonObject:
        """Return the sizes and the losses."""
        losses = {name: repr(make(0, scale)) for name, make in _LOSSES.items()}
        return {**_SIZES[scale]._asdict(), "losses": losses, **fixed_settings(scale)}

    def parts(self, material: Material, scale: Scale) -> Sequence[Part]:
        """Return a part for each loss and seed."""
        return [
            Part(part_name(name, seed), functools.partial(_rows, name, seed, scale, material))
            for seed in range(_SIZES[scale].seeds)
            for name in _LOSSES
        ]

    def summary(self, rows: Sequence[Row]) -> JsonObject:
        """Return the mean and range of every measure over the seeds, and the mean change from plain training."""
        return dict(summary_over_seeds(rows, list(_LOSSES), list(_MEASURES), plain="plain"))

    def figure(self, rows: Sequence[Row]) -> Figure:
        """Plot a panel for each measure, with a dot for each network and a line at the mean of plain training."""
        return losses_figure(rows, _MEASURES, plain="plain", highlighted="saliency")


def _rows(name: str, seed: int, scale: Scale, material: Material) -> list[Row]:
    """Train a network with a loss, and compute all measures of this network."""
    size = _SIZES[scale]
    model = trained_network(_LOSSES[name](seed, scale), seed, scale, material)
    images, classes = material.mnist(train=False)
    overlap = attack_digits(model, images[: size.attacked], steps=size.steps)
    intersection, correlation = integrated_gradients_under_attack(
        model, images[: size.integrated], radius=_EPSILON, k=_TOP, step_num=size.sign_steps, step_size=_STEP
    )
    return [
        {
            "loss": name,
            "seed": seed,
            "accuracy": accuracy(model, images[: size.tested], classes[: size.tested]),
            "overlap": overlap.mean_overlap_fraction,
            "attacks_that_succeeded": float(overlap.succeeded.double().mean()),
            "intersection": intersection,
            "correlation": correlation,
            "eigenvalue": float(top_hessian_eigenvalue(model, images[: size.attacked]).detach().mean()),
        }
    ]
