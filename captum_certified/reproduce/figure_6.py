"""Figure 6: three attacks on gradient maps and on SmoothGrad maps of CIFAR-10 images."""

import functools
import itertools
from abc import abstractmethod
from collections.abc import Mapping, Sequence

from captum.attr import Saliency
from matplotlib.figure import Figure
from torch import Tensor, nn

from captum_certified import AttackResult, top_k_intersection
from captum_certified._captum import as_tuple
from captum_certified.reproduce.attacks import (
    AttackExperiment,
    AttackSize,
    batch_size,
    differences,
    means_by_radius,
    without_failures,
)
from captum_certified.reproduce.certificate_rows import RADIUS_LABEL
from captum_certified.reproduce.cifar_networks import BETA, cifar_networks, in_pixels, training_settings
from captum_certified.reproduce.compared_maps import (
    Explanation,
    K,
    attacked,
    measured_map,
    printed_settings,
    signed,
    smoothgrad_of_few_draws,
)
from captum_certified.reproduce.experiment import Row, Scale, mean
from captum_certified.reproduce.networks_and_images import Material
from captum_certified.storage import JsonObject
from captum_certified.visualization.colours import ATTACKED, BESIDE

__all__ = ["AttacksOnGradients", "AttacksOnSmoothGrad"]

_PRINTED_RADII = tuple(map(in_pixels, (0.2, 0.5, 1.0, 2.0)))


class _ThreeAttacks(AttackExperiment):
    """Three attacks on the top quarter of one kind of map.

    Attributes:
        explained: The name of the map in the titles of the figure.
    """

    explained: str

    def settings(self, scale: Scale) -> JsonObject:
        """Return the sizes of the attacks, and the settings of the training."""
        return {**self.sizes[scale]._asdict(), "k": K, "beta": BETA, **training_settings(scale)}

    @abstractmethod
    def explanation(self, network: nn.Module, targets: Tensor, scale: Scale) -> Explanation:
        """Return the explanation that is attacked."""

    def rows(self, material: Material, scale: Scale, first: int, radius: float) -> list[Row]:
        """Attack a batch with all three attacks, and return the table rows."""
        size, networks = self.sizes[scale], cifar_networks(material, scale)
        pixels = material.small_pixels(first, min(batch_size(scale), size.images - first))
        images = pixels.to(next(networks.explained.parameters()))
        targets = networks.explained(images).argmax(dim=1)
        guided, own = (self.explanation(network, targets, scale) for network in (networks.guide, networks.explained))
        attack = functools.partial(attacked, networks, guided, images, radius=radius)
        results: dict[str, AttackResult] = {
            "Algorithm 1": attack(steps=size.steps, restarts=size.restarts),
            "Ghorbani et al., L2": signed(networks, guided, images, radius=radius, steps=size.sign_steps),
            "random": attack(steps=0, restarts=1, objective="random"),
        }
        clean, rows = measured_map(own, images), list[Row]()
        for name, result in results.items():
            [perturbed] = as_tuple(result.perturbed)
            overlaps = top_k_intersection(clean, measured_map(own, perturbed), k=K)
            succeeded = result.succeeded & networks.keeps_class(images, perturbed).cpu()
            rows += [
                {"image": first + i, "radius": radius, "attack": name, "overlap": float(overlap), "succeeded": found}
                for i, (overlap, found) in enumerate(zip(overlaps, succeeded.tolist(), strict=True))
            ]
        return rows

    def summary(self, rows: Sequence[Row]) -> JsonObject:
        """Return the mean overlap that each attack leaves at each radius.

        Also return how much more it leaves than random noise, and than Algorithm 1. Differences are taken on the same
        image. An image counts only if no attack failed on it at this radius.
        """
        used = without_failures(rows)
        return {
            "left": means_by_radius(used, "attack", "overlap"),
            "more_than_random": differences(used, "attack", "overlap", than="random"),
            "more_than_algorithm_1": differences(used, "attack", "overlap", than="Algorithm 1"),
            "attacks_that_succeeded": mean(rows, "succeeded"),
        }

    def figure(self, rows: Sequence[Row]) -> Figure:
        """Plot one curve over the radius for each attack, with the 95 % intervals of the means."""
        figure = Figure(figsize=(6.4, 4.4), layout="constrained")
        axes = figure.subplots()
        means = differences(without_failures(rows), "attack", "overlap", than=None)
        styles = itertools.cycle(("o-", "s--"))
        for name, curve in means.items():
            style, color = ("^:", BESIDE) if name == "random" else (next(styles), ATTACKED)
            middle, low, high = zip(*curve.values(), strict=True)
            axes.plot([float(radius) for radius in curve], middle, style, color=color, label=name)
            axes.fill_between([float(radius) for radius in curve], low, high, color=color, alpha=0.2, linewidth=0)
        axes.set_xlabel(RADIUS_LABEL)
        images = len({row["image"] for row in rows})
        axes.set_ylabel(
            f"overlap left of the top quarter of {self.explained},\nmean of {images} images and its 95 % interval"
        )
        axes.set_ylim(0, 1)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False)
        return figure


class AttacksOnGradients(_ThreeAttacks):
    """Figure 6(a). Three attacks on the top quarter of a plain gradient map."""

    name = "attacks"
    explained = "the gradient"
    title = "Figure 6(a): how much of gradient maps is left by Algorithm 1, by Ghorbani et al. and by random noise"
    claim = (
        "Within one L2 radius, Algorithm 1 leaves less of the map than the attack of Ghorbani et al., which leaves "
        "less than noise."
    )
    sizes: Mapping[Scale, AttackSize] = {
        "smoke": AttackSize(images=2, radii=(0.25,), steps=2, restarts=1, sign_steps=2),
        "cpu": AttackSize(images=64, radii=(0.05, 0.1, 0.25, 0.5), steps=20, restarts=5, sign_steps=100),
        "dry": AttackSize(images=1, radii=(in_pixels(1.0),), steps=1, restarts=1, sign_steps=1),
        "paper": AttackSize(images=144, radii=_PRINTED_RADII, steps=20, restarts=5, sign_steps=100),
    }

    def explanation(self, network: nn.Module, targets: Tensor, scale: Scale) -> Explanation:  # noqa: ARG002
        """Return the plain gradient map."""
        return Explanation(Saliency(network), {"target": targets})


class AttacksOnSmoothGrad(_ThreeAttacks):
    """Figure 6(b). Three attacks on the top quarter of SmoothGrad from 64 draws."""

    name = "attacks-on-smoothgrad"
    explained = "SmoothGrad"
    title = "Figure 6(b): how much of SmoothGrad maps is left by Algorithm 1, by Ghorbani et al. and by random noise"
    claim = AttacksOnGradients.claim
    sizes: Mapping[Scale, AttackSize] = {
        "smoke": AttackSize(images=2, radii=(0.5,), steps=2, restarts=1, sign_steps=2),
        "cpu": AttackSize(images=6, radii=(0.5,), steps=10, restarts=1, sign_steps=15),
        "dry": AttackSize(images=1, radii=(in_pixels(1.0),), steps=1, restarts=1, sign_steps=1),
        "paper": AttackSize(images=144, radii=_PRINTED_RADII, steps=20, restarts=5, sign_steps=100),
    }

    def settings(self, scale: Scale) -> JsonObject:
        """Return the sizes of the attacks, and the settings of the map and of the training."""
        printed = printed_settings(scale)
        return {**super().settings(scale), "sigma": printed.sigma, "draws": printed.few}

    def explanation(self, network: nn.Module, targets: Tensor, scale: Scale) -> Explanation:
        """Return SmoothGrad from few draws."""
        return smoothgrad_of_few_draws(Saliency(network), targets, scale)
