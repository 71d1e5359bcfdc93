"""What the certificate figures do with the rows of their tables: select rows, take percentiles, and plot curves."""

from collections.abc import Sequence

from matplotlib.axes import Axes

from captum_certified.reproduce.certified_photographs import PEAK_SIGMA, PEAK_TAU, RADII, RADIUS, CertificateExperiment
from captum_certified.reproduce.experiment import Row, distinct, numbers, where
from captum_certified.theory import fraction_to_count
from captum_certified.visualization.colours import MARKERS

__all__ = [
    "AT_RADIUS",
    "BOUND_NAMES",
    "RADIUS_LABEL",
    "OneMapExperiment",
    "bar_at",
    "draw_bars",
    "draw_over_radius",
    "finish_over_radius",
    "finish_over_values",
    "offsets",
    "overlap_column",
    "overlap_label",
    "peak_rows",
    "reached",
    "reached_at",
]


def overlap_column(radius: float) -> str:
    """Return the name of the column with the certified overlap at a radius."""
    return f"overlap_{radius:g}"


RADIUS_LABEL = "L2 radius ρ (pixels in [0, 1])"

# The names of the bounds in figures.
BOUND_NAMES = {
    "theorem2": "Theorem 2",
    "clopper_pearson": "exact intervals",
    "empirical_bernstein": "empirical Bernstein intervals",
    "spectral": "spectral bound",
    "best": "the better of both",
    "lecuyer": "bound of Lecuyer et al.",
    "sharper intervals": "sharper intervals",
}

_BAR = (0.72, 0.48)  # shares of images; the paper prints them as the percentiles 48 and 72

AT_RADIUS = overlap_column(RADIUS)


class OneMapExperiment(CertificateExperiment):
    """An experiment on certificates of one kind of map.

    Attributes:
        kind: The kind of map, a value of the column ``map``.
        bounds: The bounds that are shown.
    """

    kind: str = "sparsified"
    bounds: tuple[str, ...]

    def own(self, rows: Sequence[Row]) -> list[Row]:
        """Select the rows of this kind of map, one for each photograph, σ, τ, number of draws and shown bound."""
        columns = ("image", "sigma", "tau", "draws", "bound")
        found = {tuple(row[column] for column in columns): row for row in where(rows, map=self.kind)}
        return [row for row in found.values() if row["bound"] in self.bounds]


def reached(values: Sequence[float], share: float = 0.6) -> float:
    """Return the largest v such that at least a fraction ``share`` of the values are v or more.

    The paper plots it for ``share=0.6``.
    """
    return sorted(values, reverse=True)[fraction_to_count(share, len(values)) - 1]


def reached_at(rows: Sequence[Row], radius: float = RADIUS) -> float:
    """Return the certified overlap that 60 % of images reach at a radius."""
    return reached(numbers(rows, overlap_column(radius)))


def bar_at(rows: Sequence[Row], radius: float = RADIUS) -> tuple[float, float]:
    """Return the certified overlaps that 72 % and 48 % of images reach at a radius, the ends of the paper's bars.

    For 64 images they are a 95 % interval of the overlap that 60 % of all images reach.
    """
    values = numbers(rows, overlap_column(radius))
    low, high = (reached(values, share) for share in _BAR)
    return low, high


def draw_bars(axes: Axes, places: Sequence[float], bars: Sequence[tuple[float, float]], color: str) -> None:
    """Draw vertical bars at places on the x axis."""
    low, high = zip(*bars, strict=True)
    axes.vlines(places, low, high, colors=color, alpha=0.5, linewidth=1.5)


def peak_rows(rows: Sequence[Row], bound: str) -> list[Row]:
    """Return the rows of a bound at σ = 0.2, τ = 0.1 and the largest number of draws."""
    return where(rows, bound=bound, sigma=PEAK_SIGMA, tau=PEAK_TAU, draws=distinct(rows, "draws")[-1])


def offsets(count: int, step: float = 0.05) -> list[float]:
    """Return factors around 1, by which curves on a logarithmic axis are moved so that they do not hide each other."""
    return [(1 + step) ** (place - (count - 1) / 2) for place in range(count)]


def overlap_label(rows: Sequence[Row]) -> str:
    """Return the label of an axis of overlaps that 60 % of the images reach, with the number of images."""
    images = len({row["image"] for row in rows})
    return f"certified overlap of the top fifth\nthat 60 % of {images} photographs reach"


def draw_over_radius(axes: Axes, rows: Sequence[Row], color: str, label: str, *, place: int = 0) -> None:
    """Plot the certified overlap that 60 % of images reach, over the radius, with bars from 72 % to 48 %.

    Between two radii the curve has the overlap of the larger one, because only this is certified there.

    Args:
        axes: The axes, with a logarithmic x axis.
        rows: The rows of one curve.
        color: Its colour.
        label: Its label.
        place: The number of the curve, which chooses its marker. Marks and bars are moved to the left by a little more
            for each curve, along the step that they stand on.
    """
    overlaps = [reached_at(rows, radius) for radius in RADII]
    moved = [radius * 0.965 ** (place + 1) for radius in RADII]
    marker = MARKERS[place % len(MARKERS)]
    ends = [RADII[0] * 0.8, *RADII]  # what is certified at a radius is certified at every smaller one
    axes.plot(ends, [overlaps[0], *overlaps], "-", drawstyle="steps-pre", color=color, linewidth=1)
    axes.plot(moved, overlaps, marker, color=color, markersize=5)
    axes.plot([], [], f"{marker}-", color=color, markersize=5, linewidth=1, label=label)
    draw_bars(axes, moved, [bar_at(rows, radius) for radius in RADII], color)


def finish_over_radius(axes: Axes, title: str, label: str = "") -> None:
    """Add a tick at every radius, axis labels and the title to a plot over the radius."""
    finish_over_values(axes, RADII, RADIUS_LABEL, title)
    axes.tick_params(axis="x", rotation=60, labelsize=8)
    axes.set_ylabel(label)


def finish_over_values(axes: Axes, values: Sequence[float], label: str, title: str, *, base: int = 10) -> None:
    """Make the x axis logarithmic with a tick at every value, and add the axis label and the title."""
    axes.set_xscale("log", base=base)
    axes.set_xticks(values, [f"{value:g}" for value in values])
    axes.minorticks_off()
    axes.set_xlabel(label)
    axes.set_title(title, fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
