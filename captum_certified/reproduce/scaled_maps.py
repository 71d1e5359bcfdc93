"""Certified overlap of scaled and quadratic SmoothGrad, with all other maps beside them."""

from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure

from captum_certified.reproduce.certificate_rows import (
    draw_over_radius,
    finish_over_radius,
    finish_over_values,
    reached_at,
    sigmas_of,
)
from captum_certified.reproduce.certificates import PEAK_SIGMA, PEAK_TAU, RADII, RADIUS, CertificateExperiment
from captum_certified.reproduce.experiment import Row
from captum_certified.visualization.panels import CURVES

__all__ = ["ScaledMaps", "ScaledMapsOverSigma"]

# Bounds of maps that are not all 0/1: the sharper intervals are other ones where they are.
_OTHER_BOUNDS = {
    "theorem2": ("theorem2",),
    "sharper intervals": ("empirical_bernstein", "clopper_pearson"),
    "spectral": ("spectral",),
}


class _MapsAtPeakTau(CertificateExperiment):
    """All maps with τ = 0.1, and those that have no τ."""

    needs = ("sweep", "unclipped")

    def own(self, rows: Sequence[Row]) -> list[Row]:
        """Those of its τ and its bounds."""
        bounds = {bound for some in _OTHER_BOUNDS.values() for bound in some}
        return [row for row in rows if row["tau"] in (None, PEAK_TAU) and row["bound"] in bounds]


class ScaledMaps(_MapsAtPeakTau):
    """Figure 1(c). Certified overlap of scaled SmoothGrad and all other maps beside the sparsified one."""

    name = "maps"
    title = "Figure 1(c): certified overlap of sparsified, relaxed, scaled and quadratic maps"
    claim = "Scaled and quadratic maps, and relaxed ones with γ = 0, are hardly certified at all."
    only_sigma = PEAK_SIGMA

    def summary(self, rows: Sequence[Row]) -> dict[str, Any]:
        """What 60 % of images reach at ρ = 0.03 for every map, by the paper's bound and by ours."""
        return {
            kind: {name: reached_at(group) for name, group in _by_map(rows, bounds).items()}
            for kind, bounds in _OTHER_BOUNDS.items()
        }

    def figure(self, rows: Sequence[Row]) -> Figure:
        """One curve over the radius for each map: by Theorem 2, by sharper intervals, and by the draws' covariance."""
        figure = Figure(figsize=(12.0, 4.4), layout="constrained")
        panels = figure.subplots(1, len(_OTHER_BOUNDS), sharey=True)
        for axes, (kind, bounds) in zip(panels, _OTHER_BOUNDS.items(), strict=True):
            for color, (name, group) in zip(CURVES, _by_map(rows, bounds).items(), strict=False):
                draw_over_radius(axes, group, color, name)
            finish_over_radius(axes, f"{kind}, σ = {PEAK_SIGMA:g}, {rows[0]['draws']} draws")
            axes.label_outer()
        return figure


class ScaledMapsOverSigma(_MapsAtPeakTau):
    """Figure 14. Certified overlap of scaled and quadratic SmoothGrad over σ, with other maps beside them."""

    name = "scaled"
    title = "Figure 14: certified overlap of scaled and quadratic maps over σ"
    claim = "Quadratic maps are certified .001 at most, scaled ones nothing, at every σ."

    def summary(self, rows: Sequence[Row]) -> dict[str, Any]:
        """What 60 % of images reach at ρ = 0.03 over σ, and the most that any image reaches at any radius."""
        return {
            kind: {
                name: {
                    **_over_sigma(group),
                    "any": max(row[f"overlap_{radius:g}"] for row in group for radius in RADII),
                }
                for name, group in _by_map(rows, bounds).items()
            }
            for kind, bounds in _OTHER_BOUNDS.items()
        }

    def figure(self, rows: Sequence[Row]) -> Figure:
        """One curve over σ for each map: by Theorem 2, by sharper intervals, and by the draws' covariance."""
        figure = Figure(figsize=(12.0, 4.4), layout="constrained")
        panels, sigmas = figure.subplots(1, len(_OTHER_BOUNDS), sharey=True), sigmas_of(rows)
        for axes, (kind, bounds) in zip(panels, _OTHER_BOUNDS.items(), strict=True):
            for color, (name, group) in zip(CURVES, _by_map(rows, bounds).items(), strict=False):
                axes.plot(sigmas, list(_over_sigma(group).values()), "o-", color=color, label=name)
            finish_over_values(axes, sigmas, "σ", f"{kind}, ρ = {RADIUS:g}, {rows[0]['draws']} draws")
        panels[0].set_ylabel("certified overlap that 60 % of images reach")
        panels[0].set_ylim(-0.02, 1)
        panels[0].legend(frameon=False)
        return figure


def _over_sigma(rows: Sequence[Row]) -> dict[str, float]:
    return {f"{sigma:g}": reached_at([row for row in rows if row["sigma"] == sigma]) for sigma in sigmas_of(rows)}


def _by_map(rows: Sequence[Row], bounds: Sequence[str]) -> dict[str, list[Row]]:
    """Rows of every map under a readable name."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        if row["bound"] in bounds:
            tau = "" if row["tau"] is None else f" τ = {row['tau']:g}"
            gamma = "" if row["gamma"] is None else f", γ = {row['gamma']:g}"
            groups.setdefault(f"{row['map']}{tau}{gamma}", []).append(row)
    return groups
