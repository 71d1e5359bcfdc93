"""Beyond the paper: the radii that spectral certificates reach."""

import statistics
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from captum_certified.reproduce.certificate_rows import (
    BOUND_NAMES,
    RADIUS_LABEL,
    OneMapExperiment,
    draw_over_radius,
    finish_over_radius,
    overlap_label,
)
from captum_certified.reproduce.certified_photographs import PEAK_SIGMA, PEAK_TAU
from captum_certified.reproduce.experiment import Row, numbers, where
from captum_certified.storage import JsonObject
from captum_certified.visualization.colours import BESIDE, BOUNDS

__all__ = ["SpectralRadii"]


class SpectralRadii(OneMapExperiment):
    """Beyond the paper: for each image, the largest radius at which half of the top K is certified."""

    name = "spectral"
    title = "Radius up to which spectral certificates certify half of the top fifth"
    claim = "Ours: in the median over images, spectral certificates reach at least 2.5 times the radius of Theorem 2."
    bounds = ("spectral", "best", "clopper_pearson", "theorem2")

    def summary(self, rows: Sequence[Row]) -> JsonObject:
        """Return the radii of Theorem 2 and the spectral bound for every image, their ratio, and the median ratio."""
        images, paper, spectral = _half_radii(rows)
        ratios = [ours / theirs if theirs else None for theirs, ours in zip(paper, spectral, strict=True)]
        known = [ratio for ratio in ratios if ratio is not None]
        return {
            "images": {
                image: {"theorem2": theirs, "spectral": ours, "ratio": ratio}
                for image, theirs, ours, ratio in zip(images, paper, spectral, ratios, strict=True)
            },
            "median_ratio": statistics.median(known) if known else None,
            "images_without_a_radius": len(images) - len(known),
        }

    def figure(self, rows: Sequence[Row]) -> Figure:
        """Plot overlap over radius, the radii of two bounds for each image, and their ratios with the median."""
        figure = Figure(figsize=(13.0, 5.2), layout="constrained")
        left, middle, right = figure.subplots(1, 3, width_ratios=(1.15, 1, 0.8))
        for place, bound in enumerate(self.bounds):
            group = where(rows, bound=bound, tau=PEAK_TAU)
            draw_over_radius(left, group, BOUNDS[bound], BOUND_NAMES[bound], place=place)
        title = f"sparsified maps, τ = {PEAK_TAU:g}, σ = {PEAK_SIGMA:g}, {rows[0]['draws']} draws"
        finish_over_radius(left, title, overlap_label(rows))
        left.legend(frameon=False)
        known = [found for found in zip(*_half_radii(rows), strict=True) if found[1] > 0]
        found = sorted(known, key=lambda each: each[2] / each[1])
        _draw_radii(middle, found)
        _draw_ratios(right, found)
        return figure


def _draw_radii(axes: Axes, found: Sequence[tuple[str, float, float]]) -> None:
    """Draw the radii of both bounds, one line an image."""
    for place, (_, *ends) in enumerate(found):
        axes.plot(ends, [place, place], color=BESIDE, zorder=1)
    for column, bound, marker in ((1, "theorem2", "s"), (2, "spectral", "o")):
        radii = [each[column] for each in found]
        axes.scatter(radii, range(len(radii)), color=BOUNDS[bound], marker=marker, label=BOUND_NAMES[bound], zorder=2)
    axes.set_yticks(range(len(found)), [image.partition("_")[0] for image, *_ in found], fontsize=8)
    axes.set_ylabel("photograph (its ImageNet class), by ratio")
    axes.set_xlabel(RADIUS_LABEL)
    axes.set_xlim(left=0)
    axes.set_title("radius at which half of the top fifth is certified", fontsize=10)
    axes.set_ylim(-0.6, len(found) + 0.6)
    axes.legend(frameon=False, loc="upper right")
    axes.spines[["top", "right"]].set_visible(False)


def _draw_ratios(axes: Axes, found: Sequence[tuple[str, float, float]]) -> None:
    """Draw the ratio of the radii of each image, and a line at their median."""
    ratios = [spectral / paper for _, paper, spectral in found]
    axes.scatter(ratios, range(len(ratios)), color=BOUNDS["spectral"], zorder=2)
    if ratios:
        median = statistics.median(ratios)
        axes.axvline(median, color=BESIDE, linestyle="--", zorder=1)
        axes.text(median, len(ratios) - 0.4, f" median {median:.2f}", va="bottom")
    axes.set_yticks(range(len(found)), [])
    axes.set_xlim(left=0)
    axes.set_ylim(-0.6, len(found) + 0.6)
    axes.set_xlabel("spectral radius divided by that of Theorem 2")
    axes.set_title("ratio", fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)


def _half_radii(rows: Sequence[Row]) -> tuple[list[str], list[float], list[float]]:
    """Return image names, and the radii at which Theorem 2 and the spectral bound certify half of the top K."""
    paper, spectral = (where(rows, bound=bound, tau=PEAK_TAU) for bound in ("theorem2", "spectral"))
    return [str(row["image"]) for row in paper], numbers(paper, "half_radius"), numbers(spectral, "half_radius")
