"""Figure 4: which smoothed maps of CIFAR-10 images are harder to attack."""

import functools
from collections.abc import Mapping, Sequence

import torch
from captum.attr import Saliency
from matplotlib.figure import Figure
from torch import Tensor

from captum_certified import top_k_intersection
from captum_certified._captum import as_tuple
from captum_certified.reproduce.attacks import BATCH, AttackExperiment, AttackSize, differences, means_by_radius
from captum_certified.reproduce.compared_maps import SETTINGS, K, attacked, explanations, measured_map
from captum_certified.reproduce.experiment import Row, Scale, mean
from captum_certified.reproduce.networks_and_images import Material
from captum_certified.storage import JsonObject
from captum_certified.visualization.colours import ATTACKED, BESIDE

__all__ = ["MapsUnderAttack"]

_PERTURBATIONS = ("own", "transferred", "worst", "random")


class MapsUnderAttack(AttackExperiment):
    """Figure 4. How much of each map is left by an attack on that map, and by the attack on SmoothGrad."""

    name = "robustness"
    title = "Figure 4: how much of each smoothed map is left by an attack on it, and by the attack on SmoothGrad"
    claim = (
        "Sparsified and relaxed maps keep more of their top quarter than SmoothGrad, which keeps more than gradients."
    )
    sizes: Mapping[Scale, AttackSize] = {
        "smoke": AttackSize(images=2, radii=(0.5,), steps=1, restarts=1, sign_steps=0),
        "cpu": AttackSize(images=32, radii=(0.5, 1.0), steps=10, restarts=1, sign_steps=0),
        "paper": AttackSize(images=512, radii=(0.25, 0.5, 1.0), steps=20, restarts=5, sign_steps=0),
    }

    def settings(self, scale: Scale) -> JsonObject:
        """Return the sizes of the attacks, and the settings of the maps."""
        return {**self.sizes[scale]._asdict(), **SETTINGS}

    def rows(self, material: Material, size: AttackSize, first: int, radius: float) -> list[Row]:
        """Attack every map of a batch. Measure overlaps after this attack, the attack on SmoothGrad, and noise."""
        model, images = material.small_images(first, min(BATCH, size.images - first))
        attack = functools.partial(attacked, model, radius=radius, steps=size.steps, restarts=size.restarts)
        rows: list[Row] = []
        on_smoothgrad: Tensor | None = None
        for name, explanation in explanations(Saliency(model), model(images).argmax(dim=1)).items():
            own = attack(explanation, images)
            [perturbed] = as_tuple(own.perturbed)
            on_smoothgrad = perturbed if on_smoothgrad is None else on_smoothgrad
            [noisy] = as_tuple(attack(explanation, images, objective="random").perturbed)
            clean = measured_map(explanation, images)
            left = {
                kind: top_k_intersection(clean, measured_map(explanation, points), k=K)
                for kind, points in (("own", perturbed), ("transferred", on_smoothgrad), ("random", noisy))
            }
            left["worst"] = torch.minimum(left["own"], left["transferred"])
            rows += [
                {
                    "image": first + i,
                    "radius": radius,
                    "map": name,
                    **{kind: float(left[kind][i]) for kind in _PERTURBATIONS},
                    "succeeded": bool(own.succeeded[i]),
                }
                for i in range(len(images))
            ]
        return rows

    def summary(self, rows: Sequence[Row]) -> JsonObject:
        """Return mean overlaps of each map at each radius, and how much more each map keeps than SmoothGrad.

        Overlaps are measured after the attack on the map itself, the attack on SmoothGrad, the worse of both, and
        random noise. Differences are taken on the same image. If an attack finds no point that keeps the predicted
        class, the overlap is 1.
        """
        return {
            **{kind: means_by_radius(rows, "map", kind) for kind in _PERTURBATIONS},
            "more_than_smoothgrad": differences(rows, "map", "worst", than="SmoothGrad"),
            "attacks_that_succeeded": mean(rows, "succeeded"),
        }

    def figure(self, rows: Sequence[Row]) -> Figure:
        """Plot, in a panel for each radius, the overlap after the worse of both attacks and after random noise."""
        worst, random = (means_by_radius(rows, "map", kind) for kind in ("worst", "random"))
        names, radii = list(worst), list(next(iter(worst.values())))
        figure = Figure(figsize=(4.4 * len(radii) + 0.8, 3.4), layout="constrained")
        panels = figure.subplots(1, len(radii), sharey=True, squeeze=False)[0]
        for axes, radius in zip(panels, radii, strict=True):
            for place, name in enumerate(names):
                left, noise = worst[name][radius], random[name][radius]
                axes.plot([left, noise], [place, place], color=BESIDE, linewidth=1, zorder=1)
                attack = axes.scatter(left, place, color=ATTACKED, zorder=2)
                chance = axes.scatter(noise, place, facecolor="white", edgecolor=BESIDE, zorder=2)
            axes.set_xlim(0, 1)
            axes.set_xlabel("overlap left of the top quarter, mean")
            axes.set_title(f"ρ = {radius}", fontsize=10)
            axes.spines[["top", "right"]].set_visible(False)
        panels[0].set_yticks(range(len(names)), names)
        panels[0].invert_yaxis()
        labels = ["the worse of both attacks", "random noise of the same size"]
        figure.legend([attack, chance], labels, loc="outside lower center", ncols=2, frameon=False)
        return figure
