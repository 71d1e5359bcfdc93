"""Beyond the paper: the radii that spectral certificates reach."""

import statistics
from collections.abc import Sequence
from typing import NamedTuple

from matplotlib.figure import Figure

from captum_certified.reproduce.certificate_rows import OneMapExperiment, draw_over_radius, finish_over_radius
from captum_certified.reproduce.certified_photographs import PEAK_SIGMA, PEAK_TAU
from captum_certified.reproduce.experiment import Row, number, where
from captum_certified.storage import JsonObject
from captum_certified.visualization.panels import BESIDE, BOUNDS

__all__ = ["SpectralRadii"]


class _Radii(NamedTuple):
    """The radii at which both bounds certify half of the top K of an image, and the ratio of the radii."""

    theorem2: float
    spectral: float
    ratio: float | None


class SpectralRadii(OneMapExperiment):
    """Beyond the paper: the radius at which half of the top K is certified, image by image."""

    name = "spectral"
    title = "Spectral certificates: the radius at which half of the top fifth is certified"
    claim = "Ours: at least 2.5 times the radius of Theorem 2, in the median over images."
    bounds = ("spectral", "best", "clopper_pearson", "theorem2")

    def summary(self, rows: Sequence[Row]) -> JsonObject:
        """Return both radii of every image and their ratio, and the median ratio."""
        images = _radii(rows)
        ratios = [radii.ratio for radii in images.values() if radii.ratio is not None]
        return {
            "images": {image: radii._asdict() for image, radii in images.items()},
            "median_ratio": statistics.median(ratios) if ratios else None,
            "images_without_a_radius": len(images) - len(ratios),
        }

    def figure(self, rows: Sequence[Row]) -> Figure:
        """Draw the overlap over the radius on the left, and both radii of every image on the right."""
        figure = Figure(figsize=(10.0, 4.4), layout="constrained")
        left, right = figure.subplots(1, 2)
        for bound in self.bounds:
            draw_over_radius(left, where(rows, bound=bound, tau=PEAK_TAU), BOUNDS[bound], bound)
        finish_over_radius(left, f"τ = {PEAK_TAU:g}, σ = {PEAK_SIGMA:g}, {rows[0]['draws']} draws")
        images = _radii(rows)
        for place, radii in enumerate(images.values()):
            right.plot([radii.theorem2, radii.spectral], [place, place], color=BESIDE, zorder=1)
        columns = {
            "theorem2": [radii.theorem2 for radii in images.values()],
            "spectral": [radii.spectral for radii in images.values()],
        }
        for bound, values in columns.items():
            right.scatter(values, range(len(values)), color=BOUNDS[bound], label=bound, zorder=2)
        right.set_yticks(range(len(images)), list(images), fontsize=8)
        right.set_xlabel("radius at which half of the top fifth is certified")
        right.set_xlim(left=0)
        right.legend(frameon=False)
        right.spines[["top", "right"]].set_visible(False)
        return figure


def _radii(rows: Sequence[Row]) -> dict[str, _Radii]:
    images = {}
    both = [where(rows, bound=bound, tau=PEAK_TAU) for bound in ("theorem2", "spectral")]
    for paper, spectral in zip(*both, strict=True):
        radius, ours = number(paper, "half_radius"), number(spectral, "half_radius")
        images[str(paper["image"])] = _Radii(radius, ours, ours / radius if radius else None)
    return images
