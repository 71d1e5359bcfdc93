"""Figure 6: three attacks on plain gradient maps of CIFAR-10 images."""

import itertools
from collections.abc import Mapping, Sequence

from captum.attr import Saliency
from matplotlib.figure import Figure

from captum_certified import AttackResult, GhorbaniAttack, InterpretationAttack
from captum_certified.reproduce.attacks import BATCH, AttackExperiment, AttackSize, differences, means_by_radius
from captum_certified.reproduce.compared_maps import BETA, K
from captum_certified.reproduce.experiment import Row, Scale, mean
from captum_certified.reproduce.networks_and_images import PIXEL_RANGE, Material
from captum_certified.storage import JsonObject
from captum_certified.visualization.colours import ATTACKED, BESIDE

__all__ = ["AttacksOnGradients"]


class AttacksOnGradients(AttackExperiment):
    """Figure 6. Three attacks on the top quarter of a plain gradient map."""

    name = "attacks"
    title = "Figure 6: how much of plain gradient maps is left by Algorithm 1, by Ghorbani et al. and by random noise"
    claim = (
        "Within one L2 radius, Algorithm 1 leaves less of the map than the attack of Ghorbani et al., which leaves "
        "less than noise."
    )
    sizes: Mapping[Scale, AttackSize] = {
        "smoke": AttackSize(images=2, radii=(0.25,), steps=2, restarts=1, sign_steps=2),
        "cpu": AttackSize(images=64, radii=(0.05, 0.1, 0.25, 0.5), steps=20, restarts=5, sign_steps=100),
        "paper": AttackSize(images=512, radii=(0.05, 0.1, 0.25, 0.5), steps=20, restarts=5, sign_steps=100),
    }

    def settings(self, scale: Scale) -> JsonObject:
        """Return the sizes of the attacks."""
        return {**self.sizes[scale]._asdict(), "k": K, "beta": BETA}

    def rows(self, material: Material, size: AttackSize, first: int, radius: float) -> list[Row]:
        """Attack a batch with all three attacks, and return the table rows."""
        model, images = material.small_images(first, min(BATCH, size.images - first))
        method = Saliency(model)
        ascent = InterpretationAttack(model, method, surrogate_beta=BETA, **PIXEL_RANGE)
        signs = GhorbaniAttack(model, method, norm="L2", surrogate_beta=BETA, **PIXEL_RANGE)
        chance = InterpretationAttack(model, method, objective="random", **PIXEL_RANGE)
        results: dict[str, AttackResult] = {
            "Algorithm 1": ascent.attack(images, radius, step_num=size.steps, n_restarts=size.restarts, k=K, seed=0),
            "Ghorbani et al., L2": signs.attack(images, radius, step_num=size.sign_steps, k=K, seed=0),
            "random": chance.attack(images, radius, k=K, seed=0),
        }
        return [
            {"image": first + i, "radius": radius, "attack": name, "overlap": float(overlap), "succeeded": bool(found)}
            for name, result in results.items()
            for i, (overlap, found) in enumerate(zip(result.overlap_fraction, result.succeeded, strict=True))
        ]

    def summary(self, rows: Sequence[Row]) -> JsonObject:
        """Return the mean overlap that each attack leaves at each radius.

        Also return how much more it leaves than random noise, and than Algorithm 1. Differences are taken on the same
        image. If an attack finds no point that keeps the predicted class, the overlap is 1.
        """
        return {
            "left": means_by_radius(rows, "attack", "overlap"),
            "more_than_random": differences(rows, "attack", "overlap", than="random"),
            "more_than_algorithm_1": differences(rows, "attack", "overlap", than="Algorithm 1"),
            "attacks_that_succeeded": mean(rows, "succeeded"),
        }

    def figure(self, rows: Sequence[Row]) -> Figure:
        """Plot one curve over the radius for each attack."""
        figure = Figure(figsize=(6.4, 4.4), layout="constrained")
        axes = figure.subplots()
        styles = itertools.cycle(("o-", "s--"))
        for name, curve in means_by_radius(rows, "attack", "overlap").items():
            by_chance = name == "random"
            style, color = ("^:", BESIDE) if by_chance else (next(styles), ATTACKED)
            axes.plot([float(radius) for radius in curve], list(curve.values()), style, color=color, label=name)
        axes.set_xlabel("radius ρ (pixels in [0, 1])")
        axes.set_ylabel("overlap left of the top quarter, mean")
        axes.set_ylim(0, 1)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False)
        return figure
