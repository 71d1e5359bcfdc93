"""Trainings whose explanations hold: Appendix D.1, beside those of Chen et al. and Wang et al., on MNIST."""

import functools
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from captum.attr import IntegratedGradients
from matplotlib.figure import Figure
from torch import Tensor, nn

from captum_certified import GhorbaniAttack, kendall_tau, top_k_intersection
from captum_certified.reproduce.digits import (
    DIGIT_RADIUS,
    accuracy,
    attacked_digits,
    fixed_settings,
    plain_loss,
    saliency_loss,
    trained_network,
)
from captum_certified.reproduce.experiment import Experiment, Part, Row, Scale
from captum_certified.reproduce.material import BOX, Material
from captum_certified.training import (
    AdversarialLoss,
    CurvatureLoss,
    DDNLoss,
    GaussianAugmentationLoss,
    IGNormLoss,
    IGSumNormLoss,
    SmoothSurfaceLoss,
    SpectralNormLoss,
    TrainingLoss,
    top_hessian_eigenvalue,
)
from captum_certified.visualization.panels import BESIDE, CURVES

__all__ = ["RobustTraining"]

_EPSILON = 0.3
_STEP = 0.01
_TOP = 100

_LOSSES: dict[str, Callable[[int], TrainingLoss]] = {
    "plain": plain_loss,
    "Gaussian noise": lambda seed: GaussianAugmentationLoss(stdev=0.3, seed=seed),
    "adversarial": lambda seed: AdversarialLoss(radius=1.0, norm="L2", step_num=7, **BOX, seed=seed),
    "DDN": lambda seed: DDNLoss(max_norm=1.0, step_num=10, **BOX, seed=seed),
    "saliency (D.1)": functools.partial(saliency_loss, 0.7),
    "IG-NORM": lambda seed: IGNormLoss(
        radius=0.1, weight=1.0, n_steps=8, search_n_steps=3, step_num=4, **BOX, seed=seed
    ),
    "IG-SUM-NORM": lambda seed: IGSumNormLoss(
        radius=0.1, weight=0.1, n_steps=8, search_n_steps=3, step_num=4, **BOX, seed=seed
    ),
    "smooth surface": lambda seed: SmoothSurfaceLoss(weight=1.0, seed=seed),
    "curvature": lambda seed: CurvatureLoss(weight=4.0, step=1.5, seed=seed),
    "spectral norm": lambda seed: SpectralNormLoss(weight=0.01, seed=seed),
}
_MEASURES = {
    "accuracy": "accuracy",
    "overlap": f"top-K overlap, Algorithm 1, ρ = {DIGIT_RADIUS}",
    "intersection": f"IN, k = {_TOP}, L∞ attack, ε = {_EPSILON}",
    "correlation": f"CC (Kendall), L∞ attack, ε = {_EPSILON}",
    "eigenvalue": "λ, top eigenvalue of the input Hessian",
}


@dataclass(frozen=True, kw_only=True)
class _Size:
    """How much is trained and measured.

    Attributes:
        seeds: Number of networks of each kind.
        tested: Test images for the accuracy.
        attacked: Test images attacked by Algorithm 1.
        steps: Its steps P; T and Q are 5 and 100.
        integrated: Test images whose integrated gradients are attacked.
        sign_steps: Steps of that attack.
    """

    seeds: int
    tested: int
    attacked: int
    steps: int
    integrated: int
    sign_steps: int


_SIZES: dict[Scale, _Size] = {
    "smoke": _Size(
        seeds=1,
        tested=100,
        attacked=2,
        steps=2,
        integrated=2,
        sign_steps=2,
    ),
    "cpu": _Size(
        seeds=3,
        tested=10000,
        attacked=200,
        steps=20,
        integrated=64,
        sign_steps=200,
    ),
    "paper": _Size(
        seeds=3,
        tested=10000,
        attacked=1000,
        steps=20,
        integrated=1000,
        sign_steps=200,
    ),
}


class RobustTraining(Experiment):
    """Appendix D.1 and its alternatives: every loss goes on from the same plainly trained network, for as long."""

    name = "training"
    uses = ("mnist",)
    title = "Training against attacks on explanations, MNIST"
    claim = "Training against the attack on saliency raises the overlap at ρ = 3.08 from .573 to over .80."

    def settings(self, scale: Scale) -> Mapping[str, Any]:
        """Sizes and losses."""
        losses = {name: repr(make(0)) for name, make in _LOSSES.items()}
        return {**asdict(_SIZES[scale]), "losses": losses, **fixed_settings(scale)}

    def parts(self, material: Material, scale: Scale) -> Sequence[Part]:
        """One for each loss and seed."""
        size = _SIZES[scale]
        return [
            Part(f"{_slug(name)}-{seed}", functools.partial(_trained_and_measured, name, seed, scale, material))
            for seed in range(size.seeds)
            for name in _LOSSES
        ]

    def summary(self, rows: Sequence[Row]) -> dict[str, Any]:
        """Mean and spread over seeds of every measure, and of its change from the plain training."""
        plain = {row["seed"]: row for row in rows if row["loss"] == "plain"}
        summary: dict[str, Any] = {}
        for name in _LOSSES:
            own = [row for row in rows if row["loss"] == name]
            summary[name] = {
                measure: {
                    "mean": statistics.fmean(row[measure] for row in own),
                    "lowest": min(row[measure] for row in own),
                    "highest": max(row[measure] for row in own),
                    "change": statistics.fmean(row[measure] - plain[row["seed"]][measure] for row in own),
                }
                for measure in _MEASURES
            }
        return summary

    def figure(self, rows: Sequence[Row]) -> Figure:
        """A panel for each measure: a dot for each network, a line at the plain training."""
        figure = Figure(figsize=(9.0, 7.0), layout="constrained")
        panels = figure.subplots(2, 3, sharey=True).flatten()
        names = list(_LOSSES)
        for unused in panels[len(_MEASURES) :]:
            unused.set_axis_off()
        for axes, (measure, label) in zip(panels, _MEASURES.items(), strict=False):
            plain = statistics.fmean(row[measure] for row in rows if row["loss"] == "plain")
            axes.axvline(plain, color=BESIDE, linewidth=1, linestyle=":")
            for row in rows:
                ours = row["loss"].startswith("saliency")
                axes.plot(row[measure], names.index(row["loss"]), "o", color=CURVES[not ours], alpha=0.7)
            axes.set_xlabel(label.replace(", ", ",\n", 1), fontsize=9)
            axes.spines[["top", "right"]].set_visible(False)
            axes.locator_params(axis="x", nbins=4)
        panels[0].set_yticks(range(len(names)), names)
        panels[0].invert_yaxis()
        figure.suptitle("a dot for each network; dotted: mean of plain training", fontsize=10)
        return figure


def _trained_and_measured(name: str, seed: int, scale: Scale, material: Material) -> list[Row]:
    model = trained_network(_LOSSES[name](seed), seed, scale, material)
    return [{"loss": name, "seed": seed, **_measured(model, *material.mnist(train=False), _SIZES[scale])}]


def _measured(model: nn.Module, images: Tensor, classes: Tensor, size: _Size) -> Row:
    overlap = attacked_digits(model, images[: size.attacked], steps=size.steps)
    intersection, correlation = _integrated_gradients_under_attack(model, images[: size.integrated], size.sign_steps)
    return {
        "accuracy": accuracy(model, images[: size.tested], classes[: size.tested]),
        "overlap": overlap.mean_overlap_fraction,
        "attacks_that_succeeded": float(overlap.succeeded.double().mean()),
        "intersection": intersection,
        "correlation": correlation,
        "eigenvalue": float(top_hessian_eigenvalue(model, images[: size.attacked]).detach().mean()),
    }


def _integrated_gradients_under_attack(model: nn.Module, images: Tensor, step_num: int) -> tuple[float, float]:
    """IN and CC of integrated gradients under the top-k attack of Ghorbani et al., as Chen et al. measure them."""
    method: Any = IntegratedGradients(model)
    targets = model(images).argmax(dim=1)
    perturbed = GhorbaniAttack(model, method, norm="Linf", surrogate_beta=None, **BOX).perturb(
        images,
        _EPSILON,
        k=_TOP,
        step_num=step_num,
        step_size=_STEP,
        target=targets,
        attribution_kwargs={"n_steps": 10},
        seed=0,
    )
    before, after = (method.attribute(x, target=targets, n_steps=50).detach().abs() for x in (images, perturbed))
    intersections = top_k_intersection(before, after, k=_TOP)
    return float(intersections.double().mean()), float(kendall_tau(before, after).double().mean())


def _slug(name: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in name.lower()).strip("-")
