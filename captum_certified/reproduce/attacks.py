"""The attack figures: which attack leaves least of plain gradients, and which map gives way least, on CIFAR-10."""

import functools
import statistics
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from captum.attr import Saliency
from matplotlib.figure import Figure

from captum_certified import (
    AttackResult,
    GhorbaniAttack,
    InterpretationAttack,
    top_k_intersection,
)
from captum_certified.reproduce.experiment import Experiment, Part, Row, Scale
from captum_certified.reproduce.explanations import BETA, SETTINGS, K, attacked, explanations, measured_map
from captum_certified.reproduce.material import BOX, Material
from captum_certified.visualization.panels import BESIDE, CURVES

__all__ = ["AttacksOnGradients", "MapsUnderAttack", "mean_and_interval"]

_BATCH = 16
_LEFT = ("own", "transferred", "worst", "random")


@dataclass(frozen=True, kw_only=True)
class _Size:
    """How much is attacked.

    Attributes:
        images: Images.
        radii: L2 sizes of the perturbation.
        steps: Steps P of Algorithm 1.
        restarts: Its starts T.
        sign_steps: Steps of the attack of Ghorbani et al.
    """

    images: int
    radii: tuple[float, ...]
    steps: int
    restarts: int
    sign_steps: int


class _AttackExperiment(Experiment):
    """An attack experiment has a part for each batch of images and radius."""

    uses = ("network", "cifar")
    _sizes: Mapping[Scale, _Size]

    @abstractmethod
    def rows(self, material: Material, size: _Size, first: int, radius: float) -> list[Row]:
        """Those of the part that begins with an image."""

    def parts(self, material: Material, scale: Scale) -> Sequence[Part]:
        """One for each batch of images and radius."""
        size = self._sizes[scale]
        return [
            Part(f"{first}-{radius:g}", functools.partial(self.rows, material, size, first, radius))
            for first in range(0, size.images, _BATCH)
            for radius in size.radii
        ]


class AttacksOnGradients(_AttackExperiment):
    """Figure 6. Three ways to move the top quarter of a plain gradient map."""

    name = "attacks"
    title = "Figure 6: Algorithm 1 beside the attack of Ghorbani et al. and random noise, plain gradients"
    claim = "Algorithm 1 leaves less of the map than the attack of Ghorbani et al. in L2, and that less than noise."
    _sizes: Mapping[Scale, _Size] = {
        "smoke": _Size(images=2, radii=(0.25,), steps=2, restarts=1, sign_steps=2),
        "cpu": _Size(images=64, radii=(0.05, 0.1, 0.25, 0.5), steps=20, restarts=5, sign_steps=100),
        "paper": _Size(images=512, radii=(0.05, 0.1, 0.25, 0.5), steps=20, restarts=5, sign_steps=100),
    }

    def settings(self, scale: Scale) -> Mapping[str, Any]:
        """Sizes of the attacks."""
        return {**asdict(self._sizes[scale]), "k": K, "beta": BETA}

    def rows(self, material: Material, size: _Size, first: int, radius: float) -> list[Row]:
        """Those of one part."""
        return _gradient_rows(material, size, first, radius)

    def summary(self, rows: Sequence[Row]) -> dict[str, Any]:
        """Mean overlap that each attack leaves at each radius, and differences image by image.

        An attack that finds no point counts 1.
        """
        return {
            "left": _means(rows, "attack"),
            "more_than_random": _differences(rows, "attack", "overlap", than="random"),
            "more_than_algorithm_1": _differences(rows, "attack", "overlap", than="Algorithm 1"),
            "attacks_that_succeeded": statistics.fmean(row["succeeded"] for row in rows),
        }

    def figure(self, rows: Sequence[Row]) -> Figure:
        """A curve over the radius for each attack."""
        return _curves(_means(rows, "attack"), "overlap left of the top quarter, mean")


class MapsUnderAttack(_AttackExperiment):
    """Figure 4. Which maps are harder to attack, each by the attack on it and by that on SmoothGrad."""

    name = "robustness"
    title = "Figure 4: smoothed maps under Algorithm 1, each under its own attack and that on SmoothGrad"
    claim = "Sparsified and relaxed maps keep more of their top quarter than SmoothGrad, and that more than gradients."
    _sizes: Mapping[Scale, _Size] = {
        "smoke": _Size(images=2, radii=(0.5,), steps=1, restarts=1, sign_steps=0),
        "cpu": _Size(images=32, radii=(0.5, 1.0), steps=10, restarts=1, sign_steps=0),
        "paper": _Size(images=512, radii=(0.25, 0.5, 1.0), steps=20, restarts=5, sign_steps=0),
    }

    def settings(self, scale: Scale) -> Mapping[str, Any]:
        """Sizes of the attacks, and the maps."""
        return {**asdict(self._sizes[scale]), **SETTINGS}

    def rows(self, material: Material, size: _Size, first: int, radius: float) -> list[Row]:
        """Those of one part."""
        return _map_rows(material, size, first, radius)

    def summary(self, rows: Sequence[Row]) -> dict[str, Any]:
        """Mean overlaps of each map at each radius, and how much more it keeps than SmoothGrad, image by image.

        What is left is that of the map's own attack, of the attack on SmoothGrad, of the worse of these, and of random
        noise. An attack that finds no point counts 1.
        """
        return {
            **{kind: _means([{**row, "overlap": row[kind]} for row in rows], "map") for kind in _LEFT},
            "more_than_smoothgrad": _differences(rows, "map", "worst", than="SmoothGrad"),
            "attacks_that_succeeded": statistics.fmean(row["succeeded"] for row in rows),
        }

    def figure(self, rows: Sequence[Row]) -> Figure:
        """A panel for each radius: for each map what the worse of both attacks leaves, and what random noise leaves."""
        summary = self.summary(rows)
        worst, random = summary["worst"], summary["random"]
        names, radii = list(worst), list(next(iter(worst.values())))
        figure = Figure(figsize=(4.4 * len(radii) + 0.8, 3.4), layout="constrained")
        panels = figure.subplots(1, len(radii), sharey=True, squeeze=False)[0]
        for axes, radius in zip(panels, radii, strict=True):
            for place, name in enumerate(names):
                left, noise = worst[name][radius], random[name][radius]
                axes.plot([left, noise], [place, place], color=BESIDE, linewidth=1, zorder=1)
                attack = axes.scatter(left, place, color=CURVES[0], zorder=2)
                chance = axes.scatter(noise, place, facecolor="white", edgecolor=CURVES[1], zorder=2)
            axes.set_xlim(0, 1)
            axes.set_xlabel("overlap left of the top quarter, mean")
            axes.set_title(f"ρ = {radius}", fontsize=10)
            axes.spines[["top", "right"]].set_visible(False)
        panels[0].set_yticks(range(len(names)), names)
        panels[0].invert_yaxis()
        labels = ["the worse of both attacks", "random noise of the same size"]
        figure.legend([attack, chance], labels, loc="outside lower center", ncols=2, frameon=False)
        return figure


def _gradient_rows(material: Material, size: _Size, first: int, radius: float) -> list[Row]:
    model, images = material.small_images(first, min(_BATCH, size.images - first))
    method = Saliency(model)
    shared: dict[str, Any] = {"k": K, "seed": 0}
    ascent = InterpretationAttack(model, method, surrogate_beta=BETA, **BOX)
    signs = GhorbaniAttack(model, method, norm="L2", surrogate_beta=BETA, **BOX)
    chance = InterpretationAttack(model, method, objective="random", **BOX)
    results: dict[str, AttackResult] = {
        "Algorithm 1": ascent.attack(images, radius, step_num=size.steps, n_restarts=size.restarts, **shared),
        "Ghorbani et al., L2": signs.attack(images, radius, step_num=size.sign_steps, **shared),
        "random": chance.attack(images, radius, **shared),
    }
    return [
        {"image": first + i, "radius": radius, "attack": name, "overlap": float(overlap), "succeeded": bool(succeeded)}
        for name, result in results.items()
        for i, (overlap, succeeded) in enumerate(zip(result.overlap_fraction, result.succeeded, strict=True))
    ]


def _map_rows(material: Material, size: _Size, first: int, radius: float) -> list[Row]:
    model, images = material.small_images(first, min(_BATCH, size.images - first))
    attack = functools.partial(attacked, model, radius=radius, steps=size.steps, restarts=size.restarts)
    rows: list[Row] = []
    on_smoothgrad: AttackResult | None = None
    for name, (explainer, arguments) in explanations(Saliency(model), model(images).argmax(dim=1)).items():
        own = attack(explainer, images, arguments)
        on_smoothgrad = on_smoothgrad or own
        noise = attack(explainer, images, arguments, objective="random")
        clean = measured_map(explainer, images, arguments)
        left = {
            kind: top_k_intersection(clean, measured_map(explainer, result.perturbed, arguments), k=K)
            for kind, result in (("own", own), ("transferred", on_smoothgrad), ("random", noise))
        }
        left["worst"] = torch.minimum(left["own"], left["transferred"])
        rows += [
            {
                "image": first + i,
                "radius": radius,
                "map": name,
                **{kind: float(left[kind][i]) for kind in _LEFT},
                "succeeded": bool(own.succeeded[i]),
            }
            for i in range(len(images))
        ]
    return rows


def mean_and_interval(values: Sequence[float]) -> list[float]:
    """The mean with its 95 % bootstrap interval."""
    means = np.random.default_rng(0).choice(values, (10_000, len(values))).mean(axis=1)
    return [statistics.fmean(values), *(float(bound) for bound in np.quantile(means, [0.025, 0.975]))]


def _differences(rows: Sequence[Row], by: str, measure: str, *, than: str) -> dict[str, dict[str, list[float]]]:
    """Mean of the differences image by image, with its interval, for each group and radius."""
    others = {(row["image"], row["radius"]): row[measure] for row in rows if row[by] == than}
    gains: dict[str, dict[str, list[float]]] = {}
    for row in sorted(rows, key=lambda row: row["radius"]):
        gain = row[measure] - others[row["image"], row["radius"]]
        gains.setdefault(row[by], {}).setdefault(f"{row['radius']:g}", []).append(gain)
    return {name: {radius: mean_and_interval(of[radius]) for radius in of} for name, of in gains.items()}


def _means(rows: Sequence[Row], by: str) -> dict[str, dict[str, float]]:
    groups: dict[str, dict[str, list[float]]] = {}
    for row in sorted(rows, key=lambda row: row["radius"]):
        groups.setdefault(row[by], {}).setdefault(f"{row['radius']:g}", []).append(row["overlap"])
    return {name: {radius: statistics.fmean(left) for radius, left in of.items()} for name, of in groups.items()}


def _curves(means: Mapping[str, Mapping[str, float]], label: str) -> Figure:
    figure = Figure(figsize=(6.4, 4.4), layout="constrained")
    axes = figure.subplots()
    for color, (name, curve) in zip(CURVES, means.items(), strict=False):
        axes.plot([float(radius) for radius in curve], list(curve.values()), "o-", color=color, label=name)
    axes.set_xlabel("radius ρ (pixels in [0, 1])")
    axes.set_ylabel(label)
    axes.set_ylim(0, 1)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    return figure
