"""Figure 2: certified overlap of sparsified and relaxed maps over τ and σ."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from captum_certified.reproduce.certificate_rows import (
    BOUND_NAMES,
    OneMapExperiment,
    bar_at,
    draw_bars,
    finish_over_values,
    offsets,
    overlap_label,
    peak_rows,
    reached_at,
)
from captum_certified.reproduce.certified_photographs import GAMMA, PEAK_SIGMA, PEAK_TAU, RADIUS
from captum_certified.reproduce.experiment import Row, distinct, where
from captum_certified.storage import JsonObject
from captum_certified.visualization.colours import MARKERS, ordered

__all__ = ["OverlapOverTau", "RelaxedOverTau", "SparsifiedOverTau"]

_NOTHING = 0.001  # a bound that nowhere certifies as much has no panel


class OverlapOverTau(OneMapExperiment):
    """Certified overlap of one kind of map over τ, for every σ.

    Attributes:
        shown: The name of the maps in the title of the figure.
    """

    shown: str

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
        """Plot a panel for each bound, with one curve over τ for each σ and bars from 72 % to 48 % of images.

        A bound by which 60 % of the images reach less than 0.001 everywhere has no panel, and is named in the title.
        """
        shown = [bound for bound in self.bounds if self._largest(rows, bound) >= _NOTHING] or list(self.bounds)
        figure = Figure(figsize=(1.2 + 3.6 * len(shown), 5.0), layout="constrained")
        panels = figure.subplots(1, len(shown), sharey=True, squeeze=False)[0]
        for axes, bound in zip(panels, shown, strict=True):
            self._draw(axes, rows, bound)
        panels[0].set_ylabel(overlap_label(rows))
        panels[0].set_ylim(bottom=-0.015)
        left_out = ", ".join(BOUND_NAMES[bound] for bound in self.bounds if bound not in shown)
        title = f"{self.shown}, ρ = {RADIUS:g} in L2 for pixels in [0, 1]"
        figure.suptitle(title + (f"; below {_NOTHING:g} everywhere: {left_out}" if left_out else ""), fontsize=11)
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
        return figure

    def _largest(self, rows: Sequence[Row], bound: str) -> float:
        """Return the largest overlap that 60 % of images reach at any σ and τ."""
        return max(max(_over_tau(rows, sigma, bound).values()) for sigma in distinct(rows, "sigma"))

    def _draw(self, axes: Axes, rows: Sequence[Row], bound: str) -> None:
        """Draw the curves of a bound, each with its own marker and moved a little so that bars do not merge."""
        taus, sigmas, draws = distinct(rows, "tau"), distinct(rows, "sigma"), distinct(rows, "draws")
        styles = zip(sigmas, ordered(len(sigmas)), MARKERS, offsets(len(sigmas)), strict=False)
        for sigma, color, marker, offset in styles:
            places, sweep = [tau * offset for tau in taus], _sweep_rows(rows, sigma, bound)
            label, curve = f"σ = {sigma:g}, {draws[0]} draws", list(_over_tau(rows, sigma, bound).values())
            axes.plot(places, curve, f"{marker}-", color=color, markersize=5, linewidth=1, label=label)
            draw_bars(axes, places, [bar_at(where(sweep, tau=tau)) for tau in taus], color)
            if sigma == PEAK_SIGMA and "peak" in self.needs:
                peak, label = peak_rows(rows, bound), f"σ = {sigma:g}, {draws[-1]} draws"
                axes.plot(PEAK_TAU, reached_at(peak), "*", color=color, markersize=13, label=label)
                draw_bars(axes, [PEAK_TAU], [bar_at(peak)], color)
        finish_over_values(axes, taus, "τ, the share of features salient in a draw", BOUND_NAMES[bound])


class SparsifiedOverTau(OverlapOverTau):
    """Figure 2(a). Certified overlap of the sparsified map over τ, for every σ."""

    name = kind = "sparsified"
    shown = "sparsified maps"
    title = "Figure 2(a): certified overlap of the sparsified map over τ and σ"
    claim = "At ρ = 0.03, 60 % of images reach about 0.5 to 0.6 for σ = 0.2 and τ near 0.1, and less for other σ and τ."
    needs = ("sweep", "peak")
    bounds = ("theorem2", "clopper_pearson", "spectral")


class RelaxedOverTau(OverlapOverTau):
    """Figure 2(b). Certified overlap of the relaxed map over τ, for every σ."""

    name = kind = "relaxed"
    shown = f"relaxed maps with γ = {GAMMA:g}"
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
