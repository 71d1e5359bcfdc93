"""The sparsified map by one bound and by another: over the radius, over the draws, and image by image."""

import statistics
from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure

from captum_certified.reproduce.certificate_rows import (
    AT_RADIUS,
    at_tau,
    draw_over_radius,
    draws_of,
    finish_over_radius,
    finish_over_values,
    of_bound,
    of_map,
    peak_rows,
    reached_at,
)
from captum_certified.reproduce.certificates import PEAK_SIGMA, PEAK_TAU, RADII, RADIUS, CertificateExperiment
from captum_certified.reproduce.experiment import Row
from captum_certified.visualization.panels import BESIDE, BOUNDS

__all__ = ["DrawsNeeded", "LecuyerComparison", "SpectralRadii"]

_BOUNDS = ("spectral", "best", "clopper_pearson", "theorem2")


class _OfSparsified(CertificateExperiment):
    """Bounds of the sparsified map.

    Attributes:
        bounds: Which.
    """

    bounds: tuple[str, ...] = _BOUNDS

    def own(self, rows: Sequence[Row]) -> list[Row]:
        """Those of its map and its bounds."""
        return [row for row in of_map(rows) if row["bound"] in self.bounds]


class LecuyerComparison(_OfSparsified):
    """Figure 15. The shift of Theorem 1, in Theorem 2, beside the bound of Lecuyer et al. of Appendix K."""

    name = "lecuyer"
    title = "Figure 15: Theorem 1 beside the bound of Lecuyer et al."
    claim = "Theorem 1 certifies more than the bound of Lecuyer et al. everywhere."
    needs = ("peak", "sweep")
    bounds = ("theorem2", "lecuyer")

    def summary(self, rows: Sequence[Row]) -> dict[str, Any]:
        """Means over the radius, and in how many cases which is larger: photographs, σ, τ, draws and radii."""
        pairs = [
            (ours[f"overlap_{r:g}"], theirs[f"overlap_{r:g}"])
            for ours, theirs in zip(of_bound(rows, "theorem2"), of_bound(rows, "lecuyer"), strict=True)
            for r in RADII
        ]
        peak = {
            bound: {f"{r:g}": statistics.fmean(row[f"overlap_{r:g}"] for row in peak_rows(rows, bound)) for r in RADII}
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
        """Both curves at σ = 0.2, τ = 0.1 and the most draws."""
        figure = Figure(figsize=(6.4, 4.4), layout="constrained")
        axes = figure.subplots()
        for color, bound, label in (
            (BOUNDS["theorem2"], "theorem2", "theorem2"),
            ("#000000", "lecuyer", "Lecuyer et al."),
        ):
            draw_over_radius(axes, peak_rows(rows, bound), color, label)
        finish_over_radius(axes, f"τ = {PEAK_TAU:g}, σ = {PEAK_SIGMA:g}, {draws_of(rows)[-1]} draws")
        return figure


class DrawsNeeded(_OfSparsified):
    """Beyond the paper: how few draws certify as much as Theorem 2 does from all of them."""

    name = "draws"
    title = "Draws needed for what Theorem 2 certifies from all draws"
    claim = "Ours: sharper bounds need a fraction of the draws."
    needs = ("fewer", "peak")

    def summary(self, rows: Sequence[Row]) -> dict[str, Any]:
        """What 60 % of images reach at ρ = 0.03 over the draws, and the fewest draws that do for each image.

        Images of which Theorem 2 certifies nothing are left out.
        """
        numbers = draws_of(rows)
        goal = {row["image"]: row[AT_RADIUS] for row in peak_rows(rows, "theorem2") if row[AT_RADIUS] > 0}
        needed: dict[str, dict[str, int | None]] = {}
        for bound in _BOUNDS:
            enough: dict[str, int] = {}
            for row in sorted(of_bound(rows, bound), key=lambda row: row["draws"]):
                if row["image"] in goal and row[AT_RADIUS] >= goal[row["image"]]:
                    enough.setdefault(row["image"], row["draws"])
            needed[bound] = {image: enough.get(image) for image in goal}
        return {
            "reached": {bound: _over_draws(rows, bound) for bound in _BOUNDS},
            "images_that_need_at_most": {
                bound: {f"{n}": sum(m is not None and m <= n for m in of.values()) for n in numbers}
                for bound, of in needed.items()
            },
            "images": len(goal),
            "needed": needed,
        }

    def figure(self, rows: Sequence[Row]) -> Figure:
        """A curve over the draws for each bound, and a line at what Theorem 2 gets from all of them."""
        figure = Figure(figsize=(6.4, 4.4), layout="constrained")
        axes = figure.subplots()
        numbers = draws_of(rows)
        for bound in _BOUNDS:
            axes.plot(numbers, list(_over_draws(rows, bound).values()), "o-", color=BOUNDS[bound], label=bound)
        goal = _over_draws(rows, "theorem2")[f"{numbers[-1]}"]
        axes.axhline(goal, color=BESIDE, linewidth=1, linestyle=":", label=f"theorem2, {numbers[-1]} draws")
        title = f"ρ = {RADIUS:g}, τ = {PEAK_TAU:g}, σ = {PEAK_SIGMA:g}"
        finish_over_values(axes, numbers, "draws", title, base=2)
        axes.set_ylim(0, 1)
        axes.set_ylabel("certified overlap that 60 % of images reach")
        axes.legend(frameon=False)
        return figure


class SpectralRadii(_OfSparsified):
    """Beyond the paper: the radius at which half of the top K is certified, image by image."""

    name = "spectral"
    title = "Spectral certificates: the radius at which half of the top fifth is certified"
    claim = "Ours: at least 2.5 times the radius of Theorem 2, in the median over images."

    def summary(self, rows: Sequence[Row]) -> dict[str, Any]:
        """Both radii and their ratio for every image, and the median ratio."""
        images = {}
        for paper, spectral in zip(at_tau(rows, PEAK_TAU, "theorem2"), at_tau(rows, PEAK_TAU, "spectral"), strict=True):
            ratio = spectral["half_radius"] / paper["half_radius"] if paper["half_radius"] else None
            radii = {"theorem2": paper["half_radius"], "spectral": spectral["half_radius"], "ratio": ratio}
            images[paper["image"]] = radii
        ratios = [radii["ratio"] for radii in images.values() if radii["ratio"] is not None]
        median = statistics.median(ratios) if ratios else None
        return {"images": images, "median_ratio": median, "images_without_a_radius": len(images) - len(ratios)}

    def figure(self, rows: Sequence[Row]) -> Figure:
        """Overlap over the radius on the left; on the right both radii of every image."""
        figure = Figure(figsize=(10.0, 4.4), layout="constrained")
        left, right = figure.subplots(1, 2)
        for bound in _BOUNDS:
            draw_over_radius(left, at_tau(rows, PEAK_TAU, bound), BOUNDS[bound], bound)
        finish_over_radius(left, f"τ = {PEAK_TAU:g}, σ = {PEAK_SIGMA:g}, {rows[0]['draws']} draws")
        images = self.summary(rows)["images"]
        for place, radii in enumerate(images.values()):
            right.plot([radii["theorem2"], radii["spectral"]], [place, place], color=BESIDE, zorder=1)
        for bound in ("theorem2", "spectral"):
            values = [radii[bound] for radii in images.values()]
            right.scatter(values, range(len(values)), color=BOUNDS[bound], label=bound, zorder=2)
        right.set_yticks(range(len(images)), list(images), fontsize=8)
        right.set_xlabel("radius at which half of the top fifth is certified")
        right.set_xlim(left=0)
        right.legend(frameon=False)
        right.spines[["top", "right"]].set_visible(False)
        return figure


def _over_draws(rows: Sequence[Row], bound: str) -> dict[str, float]:
    own = of_bound(rows, bound)
    return {f"{n}": reached_at([row for row in own if row["draws"] == n]) for n in draws_of(rows)}
