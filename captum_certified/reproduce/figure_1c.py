"""Figure 1(c): certified overlap of sparsified, relaxed, scaled and quadratic maps over the radius."""

from collections.abc import Sequence

from matplotlib.figure import Figure

from captum_certified.reproduce.certificate_rows import (
    BOUND_NAMES,
    draw_over_radius,
    finish_over_radius,
    overlap_label,
    reached_at,
)
from captum_certified.reproduce.certified_photographs import PEAK_SIGMA, PEAK_TAU, CertificateExperiment
from captum_certified.reproduce.experiment import Row, number
from captum_certified.storage import JsonObject
from captum_certified.visualization.colours import KINDS

__all__ = ["AllMapsExperiment", "ScaledMaps", "maps_by_bound"]

# The bound with sharper intervals is empirical_bernstein; for maps of zeros and ones it is clopper_pearson.
_BOUNDS = {
    "theorem2": ("theorem2",),
    "sharper intervals": ("empirical_bernstein", "clopper_pearson"),
    "spectral": ("spectral",),
}


class AllMapsExperiment(CertificateExperiment):
    """An experiment on all kinds of maps. Maps with a parameter τ are shown at τ = 0.1."""

    needs = ("sweep", "unclipped")

    def own(self, rows: Sequence[Row]) -> list[Row]:
        """Select the rows of these maps and of the bounds that the figure shows."""
        bounds = {bound for some in _BOUNDS.values() for bound in some}
        return [row for row in rows if row["tau"] in (None, PEAK_TAU) and row["bound"] in bounds]


class ScaledMaps(AllMapsExperiment):
    """Figure 1(c). Certified overlap of all kinds of maps: sparsified, relaxed, scaled and quadratic."""

    name = "maps"
    title = "Figure 1(c): certified overlap of sparsified, relaxed, scaled and quadratic maps"
    claim = "Hardly anything is certified of scaled maps, of quadratic maps, and of relaxed maps with γ = 0."
    only_sigma = PEAK_SIGMA

    def summary(self, rows: Sequence[Row]) -> JsonObject:
        """Return the overlap that 60 % of images reach at ρ = 0.03, for every map, by the paper's bound and by ours."""
        return {
            bound: {name: reached_at(group) for name, group in maps.items()}
            for bound, maps in maps_by_bound(rows).items()
        }

    def figure(self, rows: Sequence[Row]) -> Figure:
        """Plot a panel for each kind of bound, with one curve over the radius for each map."""
        figure = Figure(figsize=(12.0, 5.0), layout="constrained")
        panels = figure.subplots(1, len(_BOUNDS), sharey=True)
        for axes, (bound, maps) in zip(panels, maps_by_bound(rows).items(), strict=True):
            for place, (color, (name, group)) in enumerate(zip(KINDS, maps.items(), strict=False)):
                draw_over_radius(axes, group, color, name, place=place)
            finish_over_radius(axes, BOUND_NAMES[bound])
        panels[0].set_ylabel(overlap_label(rows))
        figure.suptitle(f"σ = {PEAK_SIGMA:g}, {rows[0]['draws']} draws", fontsize=11)
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=5, frameon=False)
        return figure


def maps_by_bound(rows: Sequence[Row]) -> dict[str, dict[str, list[Row]]]:
    """Group the rows by kind of bound and by map. The name of a map contains its τ and γ."""
    groups: dict[str, dict[str, list[Row]]] = {kind: {} for kind in _BOUNDS}
    for kind, bounds in _BOUNDS.items():
        for row in rows:
            if row["bound"] in bounds:
                tau = "" if row["tau"] is None else f" τ = {number(row, 'tau'):g}"
                gamma = "" if row["gamma"] is None else f", γ = {number(row, 'gamma'):g}"
                groups[kind].setdefault(f"{row['map']}{tau}{gamma}", []).append(row)
    return groups
