"""Figure 2: certified overlap of sparsified and relaxed maps over τ and σ."""

from collections.abc import Sequence

from matplotlib.figure import Figure

from captum_certified.reproduce.certificate_rows import (
    OneMapExperiment,
    bar_at,
    draw_bars,
    finish_over_values,
    peak_rows,
    reached_at,
)
from captum_certified.reproduce.certified_photographs import PEAK_SIGMA, PEAK_TAU, RADIUS
from captum_certified.reproduce.experiment import Row, distinct, where
from captum_certified.storage import JsonObject
from captum_certified.visualization.colours import ordered

__all__ = ["OverlapOverTau", "RelaxedOverTau", "SparsifiedOverTau"]


class OverlapOverTau(OneMapExperiment):
    """Certified overlap of one kind of map over τ, for every σ."""

    def summary(self, rows: Sequence[Row]) -> JsonObject:
        """Return, for each bound, the overlap that 60 % of images reach at every σ and τ.

        The peak is at σ = 0.2 and τ = 0.1. If the experiment samples it with a separate number of draws, the result has
        one more entry.
        """
        has_peak = "peak" in self.needs
        return {
            bound: {
                **{f"σ = {sigma:g}": _over_tau(rows, sigma, bound) for sigma in distinct(rows, "sigma")},
                **(
                    {f"peak, {distinct(rows, 'draws')[-1]} draws": reached_at(peak_rows(rows, bound))}
                    if has_peak
                    else {}
                ),
            }
            for bound in self.bounds
        }

    def figure(self, rows: Sequence[Row]) -> Figure:
        """Plot a panel for each bound, with one curve over τ for each σ and bars from 72 % to 48 % of images."""
        figure = Figure(figsize=(12.0, 4.8), layout="constrained")
        panels, draws = figure.subplots(1, len(self.bounds), sharey=True), distinct(rows, "draws")
        taus = distinct(rows, "tau")
        for axes, bound in zip(panels, self.bounds, strict=True):
            sigmas = distinct(rows, "sigma")
            for color, sigma in zip(ordered(len(sigmas)), sigmas, strict=True):
                curve = _over_tau(rows, sigma, bound)
                axes.plot(taus, list(curve.values()), "o-", color=color, label=f"σ = {sigma:g}, {draws[0]} draws")
                sweep = _sweep_rows(rows, sigma, bound)
                draw_bars(axes, taus, [bar_at(where(sweep, tau=tau)) for tau in taus], color)
                if sigma == PEAK_SIGMA and "peak" in self.needs:
                    label = f"σ = {sigma:g}, {draws[-1]} draws"
                    axes.plot(
                        PEAK_TAU, reached_at(peak_rows(rows, bound)), "*", color=color, markersize=13, label=label
                    )
            title = f"bound {bound}, ρ = {RADIUS:g}"
            finish_over_values(axes, taus, "τ, the share of features salient in a draw", title)
        panels[0].set_ylabel("certified overlap that 60 % of images reach")
        panels[0].set_ylim(bottom=0)
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
        return figure


class SparsifiedOverTau(OverlapOverTau):
    """Figure 2(a). Certified overlap of the sparsified map over τ, for every σ."""

    name = kind = "sparsified"
    title = "Figure 2(a): certified overlap of the sparsified map over τ and σ"
    claim = "At ρ = 0.03, 60 % of images reach about 0.5 to 0.6 for σ = 0.2 and τ near 0.1, and less for other σ and τ."
    needs = ("sweep", "peak")
    bounds = ("theorem2", "clopper_pearson", "spectral")


class RelaxedOverTau(OverlapOverTau):
    """Figure 2(b). Certified overlap of the relaxed map over τ, for every σ."""

    name = kind = "relaxed"
    title = "Figure 2(b): certified overlap of the relaxed map over τ and σ"
    claim = "Slightly less is certified of relaxed maps than of sparsified maps."
    needs = ("sweep", "peak")
    bounds = ("theorem2", "empirical_bernstein", "spectral")


def _over_tau(rows: Sequence[Row], sigma: float, bound: str) -> dict[str, float]:
    """Return the overlap that 60 % of images reach, by τ."""
    sweep = _sweep_rows(rows, sigma, bound)
    return {f"{tau:g}": reached_at(where(sweep, tau=tau)) for tau in distinct(sweep, "tau")}


def _sweep_rows(rows: Sequence[Row], sigma: float, bound: str) -> list[Row]:
    """Return the rows of the sweep, whose maps are those with the fewest draws."""
    return where(rows, bound=bound, sigma=sigma, draws=distinct(rows, "draws")[0])
