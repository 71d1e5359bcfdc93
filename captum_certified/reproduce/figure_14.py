"""Figure 14: Figure 4 at small radii, with the certificates of the relaxed maps drawn in."""

import functools
import itertools
from collections.abc import Mapping, Sequence

from captum.attr import Saliency
from matplotlib.figure import Figure

from captum_certified import Certifier, sample_many
from captum_certified.attr import SmoothedAttribution
from captum_certified.reproduce.attacks import (
    AttackExperiment,
    AttackSize,
    batch_size,
    means_by_radius,
    without_failures,
)
from captum_certified.reproduce.certificate_rows import BOUND_NAMES, RADIUS_LABEL
from captum_certified.reproduce.cifar_networks import cifar_networks, in_pixels, training_settings
from captum_certified.reproduce.compared_maps import K, printed_explanations, printed_map_settings, printed_settings
from captum_certified.reproduce.experiment import Part, Row, Scale, distinct, mean, number, where
from captum_certified.reproduce.figure_4 import attacked_rows
from captum_certified.reproduce.networks_and_images import Material
from captum_certified.storage import JsonObject
from captum_certified.theory import fraction_to_count
from captum_certified.visualization.colours import BESIDE, KINDS, MARKERS, ordered

__all__ = ["CertifiedAtSmallRadii"]

_BOUNDS = ("theorem2", "best")
_PASS = 64  # noisy copies in a pass of the sampling for certificates


class CertifiedAtSmallRadii(AttackExperiment):
    """Figure 14. Overlap that attacks leave at small radii, and the certificates of the relaxed maps.

    The certificates are about the exact smoothed map. The maps under attack are measured from finitely many draws.
    """

    name = "small-radii"
    title = "Figure 14: overlap that attacks leave at small radii, and the certificates of relaxed maps"
    claim = "The certificates are below what attacks leave, and far below at large radii."
    sizes: Mapping[Scale, AttackSize] = {
        "smoke": AttackSize(images=2, radii=(0.01, 0.02), steps=1, restarts=1, sign_steps=0),
        "cpu": AttackSize(images=2, radii=(0.01, 0.05), steps=5, restarts=1, sign_steps=0),
        "dry": AttackSize(images=1, radii=(in_pixels(0.1),), steps=1, restarts=1, sign_steps=0),
        "paper": AttackSize(
            images=144, radii=tuple(map(in_pixels, (0.02, 0.05, 0.1, 0.2, 0.4))), steps=20, restarts=5, sign_steps=0
        ),
    }

    def settings(self, scale: Scale) -> JsonObject:
        """Return the sizes of the attacks, and the settings of maps, certificates and training."""
        maps = printed_map_settings(scale)
        return {**self.sizes[scale]._asdict(), **maps, **training_settings(scale), "bounds": _BOUNDS}

    def parts(self, material: Material, scale: Scale) -> Sequence[Part]:
        """Return a part for each batch of images and each radius, and one for the certificates of each batch."""
        attacks = super().parts(material, scale)
        firsts = range(0, self.sizes[scale].images, batch_size(scale))
        certificates = [
            Part(f"{first}-certificates", functools.partial(self._certified, material, scale, first))
            for first in firsts
        ]
        return [*attacks, *certificates]

    def rows(self, material: Material, scale: Scale, first: int, radius: float) -> list[Row]:
        """Attack every map of a batch of images."""
        found = attacked_rows(printed_explanations, material, scale, self.sizes[scale], first, radius, noise=False)
        return [{**row, "kind": "attack"} for row in found]

    def summary(self, rows: Sequence[Row]) -> JsonObject:
        """Return means by map and radius: the overlap after the worse of both attacks, and what is certified.

        ``above`` counts the maps, images and radii at which more is certified than the attack leaves.
        """
        attacks, certificates = (where(rows, kind=kind) for kind in ("attack", "certificate"))
        left = {(row["map"], row["image"], row["radius"]): number(row, "worst") for row in attacks}
        pairs = [(row, left[row["map"], row["image"], row["radius"]]) for row in certificates]
        return {
            "attacked": means_by_radius(without_failures(attacks), "map", "worst"),
            "certified": {bound: means_by_radius(certificates, "map", bound) for bound in _BOUNDS},
            "above": {bound: sum(number(row, bound) > kept for row, kept in pairs) for bound in _BOUNDS},
            "cases": len(pairs),
            "attacks_that_succeeded": mean(attacks, "succeeded"),
        }

    def figure(self, rows: Sequence[Row]) -> Figure:
        """Plot the overlap left by attacks over the radius, and the certificates as dashed lines of the same colour."""
        attacks, certificates = (where(rows, kind=kind) for kind in ("attack", "certificate"))
        left = means_by_radius(without_failures(attacks), "map", "worst")
        figure = Figure(figsize=(11.0, 4.4), layout="constrained")
        panels = figure.subplots(1, len(_BOUNDS), sharey=True)
        colors = _colors(list(dict.fromkeys(str(row["map"]) for row in attacks)))
        for axes, bound in zip(panels, _BOUNDS, strict=True):
            for (name, curve), marker in zip(left.items(), itertools.cycle((*MARKERS, "P", "X"))):
                axes.plot(list(map(float, curve)), list(curve.values()), f"{marker}-", color=colors[name], label=name)
            for name, curve in means_by_radius(certificates, "map", bound).items():
                axes.plot(
                    list(map(float, curve)), list(curve.values()), "s--", drawstyle="steps-pre", color=colors[name]
                )
            axes.set_xlabel(RADIUS_LABEL)
            axes.set_xticks(distinct(rows, "radius"))
            axes.set_title(f"dashed: certified, {BOUND_NAMES[bound]}", fontsize=10)
            axes.set_ylim(-0.02, 1)
            axes.spines[["top", "right"]].set_visible(False)
        panels[0].set_ylabel(f"overlap of the top quarter, mean of {len({row['image'] for row in attacks})} images")
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right upper", frameon=False)
        return figure

    def _certified(self, material: Material, scale: Scale, first: int) -> list[Row]:
        """Certify the relaxed maps of a batch at all radii, from the same draws."""
        size, printed = self.sizes[scale], printed_settings(scale)
        network = cifar_networks(material, scale).explained
        pixels = material.small_pixels(first, min(batch_size(scale), size.images - first))
        images = pixels.to(next(network.parameters()))
        targets = network(images).argmax(dim=1)
        relaxed = {
            name: explanation.explainer
            for name, explanation in printed_explanations(Saliency(network), targets, scale).items()
            if name.startswith("relaxed") and isinstance(explanation.explainer, SmoothedAttribution)
        }
        smoothed_maps = sample_many(
            list(relaxed.values()),
            images,
            target=targets,
            nt_samples=printed.certificate_draws,
            nt_samples_batch_size=max(1, _PASS // len(images)),
            stdevs=printed.sigma,
            seed=2,
        )
        rows: list[Row] = []
        for name, smoothed_map in zip(relaxed, smoothed_maps, strict=True):
            k = fraction_to_count(K, smoothed_map.layout.n_features)
            curves = {
                bound: Certifier(bound=bound).top_k_curve(smoothed_map, k=K, radii=size.radii).double() / k
                for bound in _BOUNDS
            }
            rows += [
                {
                    "image": first + i,
                    "radius": radius,
                    "map": name,
                    **{bound: float(curve[i, place]) for bound, curve in curves.items()},
                    "kind": "certificate",
                }
                for i in range(len(images))
                for place, radius in enumerate(size.radii)
            ]
        return rows


def _colors(names: Sequence[str]) -> dict[str, str]:
    """Return the colours of the maps: grey for the gradient, darker ones for relaxed maps with a larger τ."""
    relaxed = [name for name in names if name.startswith("relaxed")]
    others = [name for name in names if name not in (*relaxed, "gradient")]
    kinds = dict(zip(others, KINDS[1:], strict=False))
    return {"gradient": BESIDE, **kinds, **dict(zip(relaxed, ordered(len(relaxed)), strict=True))}
