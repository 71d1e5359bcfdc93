"""Lines on pixels: outlines of a marked region, of cells and of superpixels, and hatches over pixels."""

from typing import Final, TypedDict

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.patches import PathPatch
from matplotlib.path import Path
from numpy.typing import NDArray

from captum_certified.visualization.colours import NOTHING
from captum_certified.visualization.image_layout import ImageReading, Pixels

__all__ = ["HATCHES", "draw_feature_outlines", "draw_hatches", "draw_outline", "edges", "feature_edges"]

# Start and end of a line, each as x and y in pixels from the upper left corner of the picture.
Line = tuple[tuple[float, float], tuple[float, float]]


class Hatches(TypedDict):
    """Properties of a Matplotlib patch with hatches."""

    hatch: str
    edgecolor: str
    linewidth: float


# Hatches mean that nothing is certified.
HATCHES: Final[Hatches] = {"hatch": "/////", "edgecolor": "#5C5C5C", "linewidth": 0.0}

_MOST_OUTLINED = 1600  # features; outlines of more features would cover most of a panel
_QUIET, _THIN = (0.0, 0.0, 0.0, 0.35), 0.4  # black that lets the colour below through; points


def edges(values: Pixels) -> list[Line]:
    """Return the lines between neighbouring pixels with different values, each as long as it is straight.

    Args:
        values: One picture of numbers or booleans, shape (H, W, C). Pixels differ if one of their channels does.
    """
    upright = (values[:, 1:] != values[:, :-1]).any(axis=2)
    level = (values[1:] != values[:-1]).any(axis=2)
    lines: list[Line] = []
    for x, marked in enumerate(upright.T, start=1):
        lines += [((x, start), (x, stop)) for start, stop in _runs(marked)]
    for y, marked in enumerate(level, start=1):
        lines += [((start, y), (stop, y)) for start, stop in _runs(marked)]
    return lines


def _runs(marked: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Return start and stop of every run of true values."""
    changes = np.flatnonzero(np.diff(np.pad(marked, 1).astype(np.int8)))
    return [(int(start), int(stop)) for start, stop in changes.reshape(-1, 2)]


def feature_edges(reading: ImageReading, row: int) -> list[Line]:
    """Return the lines between the features of an example, none unless features are groups of pixels and few."""
    ids = reading.group_ids(row)
    height, width, _ = reading.images[row].shape
    few = reading.n_features <= min(_MOST_OUTLINED, height * width - 1)
    return [] if ids is None or not few else edges(ids)


def draw_feature_outlines(panel: Axes, reading: ImageReading, row: int) -> None:
    """Draw thin outlines of the cells or regions that are the features of an example."""
    lines = feature_edges(reading, row)
    if lines:
        _draw(panel, lines, _QUIET, _THIN)


def draw_outline(panel: Axes, mask: NDArray[np.bool_], colour: str) -> None:
    """Draw the outline of a region, shape (H, W). A wider black line below it shows on bright images."""
    lines = [((x0 - 1, y0 - 1), (x1 - 1, y1 - 1)) for (x0, y0), (x1, y1) in edges(np.pad(mask, 1)[..., np.newaxis])]
    for shade, width in (("black", 3.5), (colour, 1.8)):
        _draw(panel, lines, shade, width)


def draw_hatches(panel: Axes, mask: NDArray[np.bool_]) -> None:
    """Draw the pixels of a mask, shape (H, W), as hatched grey."""
    # One rectangle for every run of pixels in a row. Their hatches meet, because all have the same origin.
    boxes = [(start - 0.5, y - 0.5, stop - 0.5, y + 0.5) for y, row in enumerate(mask) for start, stop in _runs(row)]
    if not boxes:
        return
    corners = [[(x0, y0), (x1, y0), (x1, y1), (x0, y1), (x0, y0)] for x0, y0, x1, y1 in boxes]
    codes = [Path.MOVETO, *[Path.LINETO] * 3, Path.CLOSEPOLY]
    path = Path(np.concatenate(corners), codes * len(boxes))
    panel.add_patch(PathPatch(path, facecolor=NOTHING, **HATCHES))


def _draw(panel: Axes, lines: list[Line], colour: str | tuple[float, ...], width: float) -> None:
    # Matplotlib has the centre of a pixel at whole numbers.
    moved = [((x0 - 0.5, y0 - 0.5), (x1 - 0.5, y1 - 0.5)) for (x0, y0), (x1, y1) in lines]
    panel.add_collection(LineCollection(moved, colors=colour, linewidths=width, capstyle="round", clip_on=False))
