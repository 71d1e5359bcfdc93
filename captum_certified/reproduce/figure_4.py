"""Figure 4: which smoothed maps of CIFAR-10 images are harder to attack."""

import functools
from collections.abc import Callable, Mapping, Sequence

import torch
from captum.attr import Saliency
from matplotlib.figure import Figure
from torch import Tensor

from captum_certified import top_k_intersection
from captum_certified._captum import as_tuple
from captum_certified.reproduce.attacks import (
    AttackExperiment,
    AttackSize,
    batch_size,
    differences,
    means_by_radius,
    without_failures,
)
from captum_certified.reproduce.cifar_networks import cifar_networks, in_pixels, training_settings
from captum_certified.reproduce.compared_maps import (
    Explanation,
    K,
    attacked,
    explanations,
    map_settings,
    measured_map,
)
from captum_certified.reproduce.experiment import Row, Scale, mean
from captum_certified.reproduce.networks_and_images import Material
from captum_certified.storage import JsonObject
from captum_certified.visualization.colours import ATTACKED, BESIDE

__all__ = ["MapsUnderAttack", "attacked_rows"]

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
        "dry": AttackSize(images=1, radii=(in_pixels(2.0),), steps=1, restarts=1, sign_steps=0),
        "paper": AttackSize(
            images=144, radii=tuple(map(in_pixels, (0.5, 1.0, 2.0, 4.0))), steps=20, restarts=5, sign_steps=0
        ),
    }

    def settings(self, scale: Scale) -> JsonObject:
        """Return the sizes of the attacks, and the settings of the maps and of the training."""
        return {**self.sizes[scale]._asdict(), **map_settings(scale), **training_settings(scale)}

    def rows(self, material: Material, scale: Scale, first: int, radius: float) -> list[Row]:
        """Attack every map of a batch. Measure overlaps after this attack, the attack on SmoothGrad, and noise."""
        return attacked_rows(explanations, material, scale, self.sizes[scale], first, radius)

    def summary(self, rows: Sequence[Row]) -> JsonObject:
        """Return mean overlaps of each map at each radius, and how much more each map keeps than SmoothGrad.

        Overlaps are measured after the attack on the map itself, the attack on SmoothGrad, the worse of both, and
        random noise. Differences are taken on the same image. Images on which an attack failed at a radius are left
        out at this radius.
        """
        used = without_failures(rows)
        return {
            **{kind: means_by_radius(used, "map", kind) for kind in _PERTURBATIONS},
            "more_than_smoothgrad": differences(used, "map", "worst", than=str(rows[0]["map"])),
            "attacks_that_succeeded": mean(rows, "succeeded"),
        }

    def figure(self, rows: Sequence[Row]) -> Figure:
        """Plot, in a panel for each radius, the overlap after the worse of both attacks and after random noise."""
        used = without_failures(rows)
        worst, random = (means_by_radius(used, "map", kind) for kind in ("worst", "random"))
        spread = differences(used, "map", "worst", than=None)
        names, radii = list(worst), list(next(iter(worst.values())))
        figure = Figure(figsize=(4.4 * len(radii) + 0.8, 3.4), layout="constrained")
        panels = figure.subplots(1, len(radii), sharey=True, squeeze=False)[0]
        for axes, radius in zip(panels, radii, strict=True):
            for place, name in enumerate(names):
                left, noise = worst[name][radius], random[name][radius]
                axes.plot([left, noise], [place, place], color=BESIDE, linewidth=1, zorder=1)
                axes.plot(spread[name][radius][1:], [place, place], color=ATTACKED, linewidth=3, alpha=0.4, zorder=1)
                attack = axes.scatter(left, place, color=ATTACKED, zorder=2)
                chance = axes.scatter(noise, place, facecolor="white", edgecolor=BESIDE, zorder=2)
            axes.set_xlim(0, 1)
            axes.set_xlabel(f"overlap left of the top quarter, mean of {len({row['image'] for row in used})} images")
            axes.set_title(f"ρ = {radius} in L2, for pixels in [0, 1]", fontsize=10)
            axes.spines[["top", "right"]].set_visible(False)
        panels[0].set_yticks(range(len(names)), names)
        panels[0].invert_yaxis()
        labels = ["the worse of both attacks, with the 95 % interval of its mean", "random noise of the same size"]
        figure.legend([attack, chance], labels, loc="outside lower center", ncols=2, frameon=False)
        return figure


def attacked_rows(
    compared: Callable[[Saliency, Tensor, Scale], Mapping[str, Explanation]],
    material: Material,
    scale: Scale,
    size: AttackSize,
    first: int,
    radius: float,
    *,
    noise: bool = True,
) -> list[Row]:
    """Attack every map of a batch. Measure overlaps after this attack, the attack on the first map, and maybe noise.

    An attack succeeded if it found a point at which the guide keeps its class, and the explained network keeps it too.
    """
    networks = cifar_networks(material, scale)
    pixels = material.small_pixels(first, min(batch_size(scale), size.images - first))
    images = pixels.to(next(networks.explained.parameters()))
    targets = networks.explained(images).argmax(dim=1)
    attack = functools.partial(attacked, networks, radius=radius, steps=size.steps, restarts=size.restarts)
    guided = compared(Saliency(networks.guide), targets, scale)
    rows: list[Row] = []
    on_first: Tensor | None = None
    for name, explanation in compared(Saliency(networks.explained), targets, scale).items():
        own = attack(guided[name], images)
        [perturbed] = as_tuple(own.perturbed)
        on_first = perturbed if on_first is None else on_first
        points = {"own": perturbed, "transferred": on_first}
        if noise:
            [points["random"]] = as_tuple(attack(guided[name], images, objective="random").perturbed)
        clean = measured_map(explanation, images)
        left = {
            kind: top_k_intersection(clean, measured_map(explanation, pixels), k=K) for kind, pixels in points.items()
        }
        left["worst"] = torch.minimum(left["own"], left["transferred"])
        succeeded = own.succeeded & networks.keeps_class(images, perturbed).cpu()
        rows += [
            {
                "image": first + i,
                "radius": radius,
                "map": name,
                **{kind: float(of[i]) for kind, of in left.items()},
                "succeeded": bool(succeeded[i]),
            }
            for i in range(len(images))
        ]
    return rows
