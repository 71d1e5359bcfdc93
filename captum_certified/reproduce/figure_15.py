"""Figure 15: overlap certified by Theorem 1 and by the bound of Lecuyer et al."""

from collections.abc import Sequence

from matplotlib.figure import Figure

from captum_certified.reproduce.certificate_rows import (
    BOUND_NAMES,
    OneMapExperiment,
    draw_over_radius,
    finish_over_radius,
    overlap_column,
    overlap_label,
    peak_rows,
    reached_at,
)
from captum_certified.reproduce.certified_photographs import PEAK_SIGMA, PEAK_TAU, RADII
from captum_certified.reproduce.experiment import Row, distinct, number, where
from captum_certified.storage import JsonObject
from captum_certified.visualization.colours import BOUNDS, KINDS

__all__ = ["LecuyerComparison"]


class LecuyerComparison(OneMapExperiment):
    """Figure 15. Theorem 2, which uses the shift of Theorem 1, and the bound of Lecuyer et al. from Appendix K."""

    name = "lecuyer"
    title = "Figure 15: overlap certified by Theorem 1 and by the bound of Lecuyer et al."
    claim = "Theorem 1 certifies more than the bound of Lecuyer et al. everywhere."
    needs = ("peak", "sweep")
    bounds = ("theorem2", "lecuyer")

    def summary(self, rows: Sequence[Row]) -> JsonObject:
        """Return the overlaps that the figure shows, and in how many cases each bound certifies more.

        A case is a combination of photograph, σ, τ, number of draws and radius.
        """
        pairs = [
            (number(ours, overlap_column(radius)), number(theirs, overlap_column(radius)))
            for ours, theirs in zip(where(rows, bound="theorem2"), where(rows, bound="lecuyer"), strict=True)
            for radius in RADII
        ]
        peak = {
            bound: {f"{radius:g}": reached_at(peak_rows(rows, bound), radius) for radius in RADII}
            for bound in self.bounds
        }
        return {
            **peak,
            "cases": len(pairs),
            "theorem2_larger": sum(ours > theirs for ours, theirs in pairs),
            "lecuyer_larger": sum(ours < theirs for ours, theirs in pairs),
            "both_zero": sum(ours == theirs == 0 for ours, theirs in pairs),
        }

    def figure(self, rows: Sequence[Row]) -> Figure:
        """Plot the curves of both bounds at σ = 0.2, τ = 0.1 and the largest number of draws."""
        figure = Figure(figsize=(6.4, 4.4), layout="constrained")
        axes = figure.subplots()
        draw_over_radius(axes, peak_rows(rows, "theorem2"), BOUNDS["theorem2"], "Theorem 2, by Theorem 1")
        draw_over_radius(axes, peak_rows(rows, "lecuyer"), KINDS[1], BOUND_NAMES["lecuyer"], place=1)
        title = f"sparsified maps, τ = {PEAK_TAU:g}, σ = {PEAK_SIGMA:g}, {distinct(rows, 'draws')[-1]} draws"
        finish_over_radius(axes, title, overlap_label(rows))
        axes.legend(frameon=False)
        return figure
