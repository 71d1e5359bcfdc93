"""Beyond the paper: the radii that spectral certificates reach."""

import statistics
from collections.abc import Sequence

from matplotlib.figure import Figure

from captum_certified.reproduce.certificate_rows import OneMapExperiment, draw_over_radius, finish_over_radius
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
        """Plot overlap over radius on the left, and the radii of Theorem 2 and the spectral bound on the right."""
        figure = Figure(figsize=(10.0, 4.4), layout="constrained")
        left, right = figure.subplots(1, 2)
        for bound in self.bounds:
            draw_over_radius(left, where(rows, bound=bound, tau=PEAK_TAU), BOUNDS[bound], bound)
        finish_over_radius(left, f"τ = {PEAK_TAU:g}, σ = {PEAK_SIGMA:g}, {rows[0]['draws']} draws")
        images, paper, spectral = _half_radii(rows)
        for place, ends in enumerate(zip(paper, spectral, strict=True)):
            right.plot(ends, [place, place], color=BESIDE, zorder=1)
        for bound, radii in (("theorem2", paper), ("spectral", spectral)):
            right.scatter(radii, range(len(radii)), color=BOUNDS[bound], label=bound, zorder=2)
        right.set_yticks(range(len(images)), images, fontsize=8)
        right.set_xlabel("radius at which half of the top fifth is certified")
        right.set_xlim(left=0)
        right.legend(frameon=False)
        right.spines[["top", "right"]].set_visible(False)
        return figure


def _half_radii(rows: Sequence[Row]) -> tuple[list[str], list[float], list[float]]:
    """Return image names, and the radii at which Theorem 2 and the spectral bound certify half of the top K."""
    paper, spectral = (where(rows, bound=bound, tau=PEAK_TAU) for bound in ("theorem2", "spectral"))
    return [str(row["image"]) for row in paper], numbers(paper, "half_radius"), numbers(spectral, "half_radius")
