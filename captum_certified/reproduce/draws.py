"""Beyond the paper: how many draws each bound needs."""

from collections.abc import Sequence

from matplotlib.figure import Figure

from captum_certified.reproduce.certificate_rows import (
    AT_RADIUS,
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
from captum_certified.reproduce.certified_photographs import PEAK_SIGMA, PEAK_TAU, RADIUS
from captum_certified.reproduce.experiment import Row, distinct, number, where
from captum_certified.storage import JsonObject
from captum_certified.visualization.colours import BESIDE, BOUNDS, MARKERS

__all__ = ["DrawsNeeded"]


class DrawsNeeded(OneMapExperiment):
    """Beyond the paper: how few draws each bound needs to certify what Theorem 2 certifies from all draws."""

    name = "draws"
    title = "Number of draws from which each bound certifies what Theorem 2 certifies from all draws"
    claim = "Ours: sharper bounds need a fraction of the draws that Theorem 2 needs."
    needs = ("fewer", "peak")
    bounds = ("spectral", "best", "clopper_pearson", "theorem2")

    def summary(self, rows: Sequence[Row]) -> JsonObject:
        """Return, for each bound, the overlap that 60 % of images reach at ρ = 0.03, and the draws that images need.

        The overlap is given for every number of draws. The draws that an image needs are the smallest number from which
        the bound certifies at least what Theorem 2 certifies from all draws. Images for which Theorem 2 certifies
        nothing are left out.
        """
        at_all_draws = {str(row["image"]): number(row, AT_RADIUS) for row in peak_rows(rows, "theorem2")}
        goal = {image: overlap for image, overlap in at_all_draws.items() if overlap > 0}
        needed: dict[str, dict[str, float | None]] = {}
        for bound in self.bounds:
            enough: dict[str, float] = {}
            for row in sorted(where(rows, bound=bound), key=lambda row: number(row, "draws")):
                image = str(row["image"])
                if image in goal and number(row, AT_RADIUS) >= goal[image]:
                    enough.setdefault(image, number(row, "draws"))
            needed[bound] = {image: enough.get(image) for image in goal}
        return {
            "reached": {bound: _over_draws(rows, bound) for bound in self.bounds},
            "images_that_need_at_most": {
                bound: {
                    f"{draws}": sum(fewest is not None and fewest <= draws for fewest in by_image.values())
                    for draws in distinct(rows, "draws")
                }
                for bound, by_image in needed.items()
            },
            "images": len(goal),
            "needed": needed,
        }

    def figure(self, rows: Sequence[Row]) -> Figure:
        """Plot overlap over number of draws for each bound, and a line at what Theorem 2 certifies from all draws."""
        figure = Figure(figsize=(6.8, 4.8), layout="constrained")
        axes = figure.subplots()
        draws = distinct(rows, "draws")
        for bound, marker, offset in zip(self.bounds, MARKERS, offsets(len(self.bounds)), strict=False):
            places, curve = [number * offset for number in draws], list(_over_draws(rows, bound).values())
            axes.plot(places, curve, f"{marker}-", color=BOUNDS[bound], linewidth=1, label=BOUND_NAMES[bound])
            bars = [bar_at(where(rows, bound=bound, draws=number)) for number in draws]
            draw_bars(axes, places, bars, BOUNDS[bound])
        goal = _over_draws(rows, "theorem2")[f"{draws[-1]}"]
        label = f"{BOUND_NAMES['theorem2']} from {draws[-1]} draws"
        axes.axhline(goal, color=BESIDE, linewidth=1, linestyle=":", label=label)
        title = f"sparsified maps, ρ = {RADIUS:g}, τ = {PEAK_TAU:g}, σ = {PEAK_SIGMA:g}"
        finish_over_values(axes, draws, "draws", title, base=2)
        axes.set_ylim(bottom=-0.015)
        axes.set_ylabel(overlap_label(rows))
        axes.legend(frameon=False)
        return figure


def _over_draws(rows: Sequence[Row], bound: str) -> dict[str, float]:
    return {f"{draws}": reached_at(where(rows, bound=bound, draws=draws)) for draws in distinct(rows, "draws")}
