"""Certified overlap of a map over τ and σ."""

from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure

from captum_certified.reproduce.certificate_rows import (
    draws_of,
    finish_over_values,
    of_bound,
    of_map,
    peak_rows,
    reached_at,
    sigmas_of,
)
from captum_certified.reproduce.certificates import PEAK_SIGMA, PEAK_TAU, RADIUS, TAUS, CertificateExperiment
from captum_certified.reproduce.experiment import Row
from captum_certified.visualization.panels import CURVES

__all__ = ["RelaxedOverTau", "SparsifiedOverTau", "UnclippedOverTau"]


class _OverTau(CertificateExperiment):
    """Certified overlap of one map, by whose name the experiment goes, over τ, for every σ.

    Attributes:
        bounds: What certifies it: the paper's bound, sharper intervals, and the covariance of the draws.
    """

    bounds: tuple[str, ...]

    def own(self, rows: Sequence[Row]) -> list[Row]:
        """Those of its map and its bounds."""
        return [row for row in of_map(rows, self.name) if row["bound"] in self.bounds]

    def summary(self, rows: Sequence[Row]) -> dict[str, Any]:
        """What 60 % of images reach at every σ and τ, by each bound.

        The sweep is sampled less often than its peak, which is given apart where there is one.
        """
        has_peak = "peak" in self.needs
        return {
            bound: {
                **{f"σ = {sigma:g}": _over_tau(rows, sigma, bound) for sigma in sigmas_of(rows)},
                **({f"peak, {draws_of(rows)[-1]} draws": _at_peak(rows, bound)} if has_peak else {}),
            }
            for bound in self.bounds
        }

    def figure(self, rows: Sequence[Row]) -> Figure:
        """A panel for each bound, with one curve for each σ."""
        figure = Figure(figsize=(12.0, 4.8), layout="constrained")
        panels, draws = figure.subplots(1, len(self.bounds), sharey=True), draws_of(rows)
        for axes, bound in zip(panels, self.bounds, strict=True):
            for color, sigma in zip(CURVES, sigmas_of(rows), strict=False):
                curve = _over_tau(rows, sigma, bound)
                axes.plot(TAUS, list(curve.values()), "o-", color=color, label=f"σ = {sigma:g}, {draws[0]} draws")
                if sigma == PEAK_SIGMA and "peak" in self.needs:
                    label = f"σ = {sigma:g}, {draws[-1]} draws"
                    axes.plot(PEAK_TAU, _at_peak(rows, bound), "*", color=color, markersize=13, label=label)
            title = f"bound {bound}, ρ = {RADIUS:g}"
            finish_over_values(axes, TAUS, "τ, the share of features salient in a draw", title)
        panels[0].set_ylabel("certified overlap that 60 % of images reach")
        panels[0].set_ylim(bottom=0)
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
        return figure


class SparsifiedOverTau(_OverTau):
    """Figure 2(a). Certified overlap of the sparsified map over τ, for every σ."""

    name = "sparsified"
    title = "Figure 2(a): certified overlap of the sparsified map over τ and σ"
    claim = "At ρ = 0.03 and σ = 0.2, 60 % of images reach about .5 to .6 near τ = 0.1, and less at other τ and σ."
    needs = ("sweep", "peak")
    bounds = ("theorem2", "clopper_pearson", "spectral")


class RelaxedOverTau(_OverTau):
    """Figure 2(b). Certified overlap of the relaxed map over τ, for every σ."""

    name = "relaxed"
    title = "Figure 2(b): certified overlap of the relaxed map over τ and σ"
    claim = "Relaxed maps are certified slightly less than sparsified ones."
    needs = ("sweep", "peak")
    bounds = ("theorem2", "empirical_bernstein", "spectral")


class UnclippedOverTau(_OverTau):
    """Figure 12. Certified overlap of the relaxed map with γ = 0 over τ, for every σ."""

    name = "unclipped"
    title = "Figure 12: certified overlap of the relaxed map with γ = 0 over τ and σ"
    claim = "Without clipping, γ = 0, nothing is certified."
    needs = ("unclipped",)
    bounds = ("theorem2", "empirical_bernstein", "spectral")


def _over_tau(rows: Sequence[Row], sigma: float, bound: str) -> dict[str, float]:
    """Of the sweep, whose maps have the fewest draws."""
    fewest = draws_of(rows)[0]
    own = [row for row in of_bound(rows, bound) if row["sigma"] == sigma and row["draws"] == fewest]
    return {f"{tau:g}": reached_at([row for row in own if row["tau"] == tau]) for tau in TAUS}


def _at_peak(rows: Sequence[Row], bound: str) -> float:
    return reached_at(peak_rows(rows, bound))
