"""The attack figures: which attack leaves least of plain gradients, and which map gives way least, on CIFAR-10."""

import functools
import statistics
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

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
from captum_certified.reproduce.explanations import (
    BETA,
    BOX,
    DRAWS,
    GAMMA,
    MEASURED,
    SIGMA,
    TAU,
    K,
    attacked_points,
    explanations,
    measured_map,
)
from captum_certified.reproduce.material import Material
from captum_certified.visualization.palette import CURVES

__all__ = ["AttacksOnGradients", "MapsUnderAttack"]

_BATCH = 16


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
        """Mean overlap that each attack leaves at each radius."""
        return _means(rows, "attack")

    def figure(self, rows: Sequence[Row]) -> Figure:
        """A curve over the radius for each attack."""
        return _curves(self.summary(rows), "overlap left of the top quarter, mean")


class MapsUnderAttack(_AttackExperiment):
    """Figure 4. Which maps are harder to attack, each by the attack on it and by that on SmoothGrad."""

    name = "robustness"
    title = "Figure 4: smoothed maps under Algorithm 1, each its own and that on SmoothGrad"
    claim = "Sparsified and relaxed maps keep more of their top quarter than SmoothGrad, and that more than gradients."
    _sizes: Mapping[Scale, _Size] = {
        "smoke": _Size(images=2, radii=(0.5,), steps=1, restarts=1, sign_steps=0),
        "cpu": _Size(images=32, radii=(0.5, 1.0), steps=10, restarts=2, sign_steps=0),
        "paper": _Size(images=512, radii=(0.25, 0.5, 1.0), steps=20, restarts=5, sign_steps=0),
    }

    def settings(self, scale: Scale) -> Mapping[str, Any]:
        """Sizes of the attacks, and the maps."""
        maps = {"k": K, "beta": BETA, "sigma": SIGMA, "tau": TAU, "gamma": GAMMA}
        return {**asdict(self._sizes[scale]), **maps, "draws": DRAWS, "measured": MEASURED}

    def rows(self, material: Material, size: _Size, first: int, radius: float) -> list[Row]:
        """Those of one part."""
        return _map_rows(material, size, first, radius)

    def summary(self, rows: Sequence[Row]) -> dict[str, Any]:
        """Mean overlap left of each map at each radius: by its own attack, by that on SmoothGrad, by the worse."""
        return {
            kind: _means([{**row, "overlap": row[kind]} for row in rows], "map")
            for kind in ("own", "transferred", "worst")
        }

    def figure(self, rows: Sequence[Row]) -> Figure:
        """A curve over the radius for each map, under the worse of both attacks."""
        return _curves(self.summary(rows)["worst"], "overlap left of the top quarter, worse of both attacks, mean")


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
    targets = model(images).argmax(dim=1)
    rows: list[Row] = []
    transferred_points = images
    for name, (explainer, arguments) in explanations(Saliency(model)).items():
        arguments["target"] = targets
        points = attacked_points(
            model, explainer, images, arguments, radius=radius, steps=size.steps, restarts=size.restarts
        )
        if name == "SmoothGrad":
            transferred_points = points
        clean, own, transferred = (measured_map(explainer, x, arguments) for x in (images, points, transferred_points))
        left = {"own": top_k_intersection(clean, own, k=K), "transferred": top_k_intersection(clean, transferred, k=K)}
        left["worst"] = torch.minimum(left["own"], left["transferred"])
        rows += [
            {"image": first + i, "radius": radius, "map": name, **{kind: float(of[i]) for kind, of in left.items()}}
            for i in range(len(images))
        ]
    return rows


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
