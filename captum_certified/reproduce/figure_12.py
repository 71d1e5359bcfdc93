"""Figure 12: certified overlap of maps that are not clipped, over τ and over σ."""

from collections.abc import Sequence

from matplotlib.figure import Figure

from captum_certified.reproduce.certificate_rows import (
    BOUND_NAMES,
    finish_over_values,
    offsets,
    overlap_column,
    reached_at,
)
from captum_certified.reproduce.certified_photographs import RADII
from captum_certified.reproduce.experiment import Row, distinct, number, where
from captum_certified.reproduce.figure_1c import AllMapsExperiment, maps_by_bound
from captum_certified.reproduce.figure_2 import OverlapOverTau
from captum_certified.storage import JsonObject
from captum_certified.visualization.colours import BOUNDS, MARKERS

__all__ = ["ScaledMapsOverSigma", "UnclippedOverTau"]

_SHOWN = ("scaled", "quadratic")
_COLOURS = {
    "theorem2": BOUNDS["theorem2"],
    "sharper intervals": BOUNDS["empirical_bernstein"],
    "spectral": BOUNDS["spectral"],
}
_LINEAR = 0.0001  # below this the axis is linear, so that 0 is on it
_TICKS = (0, 0.0001, 0.001, 0.01, 0.1, 1)


class UnclippedOverTau(OverlapOverTau):
    """Figure 12. Certified overlap of the relaxed map with γ = 0 over τ. At τ = 1 it is scaled SmoothGrad."""

    name = kind = "unclipped"
    shown = "relaxed maps with γ = 0"
    title = "Figure 12: certified overlap of the relaxed map with γ = 0 over τ and σ; τ = 1 is scaled SmoothGrad"
    claim = "Nothing is certified of relaxed maps with γ = 0, which are not clipped, nor of scaled SmoothGrad."
    needs = ("unclipped",)
    bounds = ("theorem2", "empirical_bernstein", "spectral")

    def own(self, rows: Sequence[Row]) -> list[Row]:
        """Select the rows of the relaxed maps with γ = 0, with those of scaled SmoothGrad as the map of τ = 1."""
        scaled: Row = {"map": self.kind, "tau": 1.0, "gamma": 0.0}
        return super().own([{**row, **scaled} if row["map"] == "scaled" else row for row in rows])


class ScaledMapsOverSigma(AllMapsExperiment):
    """The text of Figure 12: certified overlap of scaled and quadratic SmoothGrad over σ, beside other maps."""

    name = "scaled"
    title = "Figure 12: certified overlap of scaled and quadratic maps over σ"
    claim = "At every σ, at most 0.00023 is certified of quadratic maps, and nothing of scaled maps."

    def summary(self, rows: Sequence[Row]) -> JsonObject:
        """Return the overlap that 60 % of images reach at ρ = 0.03 for each σ, and the largest one at any radius."""
        return {
            bound: {
                name: {
                    **_over_sigma(group),
                    "any": _largest(group),
                }
                for name, group in maps.items()
            }
            for bound, maps in maps_by_bound(rows).items()
        }

    def figure(self, rows: Sequence[Row]) -> Figure:
        """Plot, for scaled and for quadratic maps, the largest overlap of any image at any radius, over σ.

        What 60 % of the images reach is 0 for both maps, so it would be an empty figure.
        """
        groups, sigmas = maps_by_bound(rows), distinct(rows, "sigma")
        figure = Figure(figsize=(9.0, 4.6), layout="constrained")
        panels = figure.subplots(1, len(_SHOWN), sharey=True)
        for axes, name in zip(panels, _SHOWN, strict=True):
            styles = zip(_COLOURS.items(), MARKERS, offsets(len(groups), 0.09), strict=False)
            for (bound, color), marker, offset in styles:
                largest = [_largest(where(groups[bound][name], sigma=sigma)) for sigma in sigmas]
                places = [sigma * offset for sigma in sigmas]
                axes.plot(places, largest, f"{marker}-", color=color, linewidth=1, label=BOUND_NAMES[bound])
            finish_over_values(axes, sigmas, "σ (pixels in [0, 1])", f"{name} maps")
        panels[0].set_yscale("symlog", linthresh=_LINEAR)
        panels[0].set_yticks(_TICKS, [f"{tick:g}" for tick in _TICKS])
        images = len({row["image"] for row in rows})
        panels[0].set_ylim(-_LINEAR / 4, 1)
        label = f"largest certified overlap of the top fifth\nof {images} photographs, ρ from {RADII[0]:g} on"
        panels[0].set_ylabel(label)
        figure.suptitle(f"{rows[0]['draws']} draws", fontsize=11)
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
        return figure


def _largest(rows: Sequence[Row]) -> float:
    """Return the largest overlap of any row at any radius."""
    return max(number(row, overlap_column(radius)) for row in rows for radius in RADII)


def _over_sigma(rows: Sequence[Row]) -> dict[str, float]:
    return {f"{sigma:g}": reached_at(where(rows, sigma=sigma)) for sigma in distinct(rows, "sigma")}
