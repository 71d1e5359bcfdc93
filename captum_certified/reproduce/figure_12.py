"""Figure 12: certified overlap of maps that are not clipped, over τ and over σ."""

from collections.abc import Sequence

from matplotlib.figure import Figure

from captum_certified.reproduce.certificate_rows import finish_over_values, overlap_column, reached_at
from captum_certified.reproduce.certified_photographs import RADII, RADIUS
from captum_certified.reproduce.experiment import Row, distinct, number, where
from captum_certified.reproduce.figure_1c import AllMapsExperiment, maps_by_bound
from captum_certified.reproduce.figure_2 import OverlapOverTau
from captum_certified.storage import JsonObject
from captum_certified.visualization.colours import KINDS, MARKERS

__all__ = ["ScaledMapsOverSigma", "UnclippedOverTau"]


class UnclippedOverTau(OverlapOverTau):
    """Figure 12. Certified overlap of the relaxed map with γ = 0 over τ. At τ = 1 it is scaled SmoothGrad."""

    name = kind = "unclipped"
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
                    "any": max(number(row, overlap_column(radius)) for row in group for radius in RADII),
                }
                for name, group in maps.items()
            }
            for bound, maps in maps_by_bound(rows).items()
        }

    def figure(self, rows: Sequence[Row]) -> Figure:
        """Plot a panel for each kind of bound, with one curve over σ for each map."""
        groups, sigmas = maps_by_bound(rows), distinct(rows, "sigma")
        figure = Figure(figsize=(12.0, 4.4), layout="constrained")
        panels = figure.subplots(1, len(groups), sharey=True)
        for axes, (bound, maps) in zip(panels, groups.items(), strict=True):
            for color, marker, (name, group) in zip(KINDS, MARKERS, maps.items(), strict=False):
                axes.plot(sigmas, list(_over_sigma(group).values()), f"{marker}-", color=color, label=name)
            finish_over_values(axes, sigmas, "σ", f"{bound}, ρ = {RADIUS:g}, {rows[0]['draws']} draws")
        panels[0].set_ylabel("certified overlap that 60 % of images reach")
        panels[0].set_ylim(-0.02, 1)
        panels[0].legend(frameon=False)
        return figure


def _over_sigma(rows: Sequence[Row]) -> dict[str, float]:
    return {f"{sigma:g}": reached_at(where(rows, sigma=sigma)) for sigma in distinct(rows, "sigma")}
