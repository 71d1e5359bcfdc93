"""Panels that figures are made of: a grid of them, images, heat maps, and marked features over a faded image."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from numpy.typing import NDArray

from captum_certified.visualization.images import displayable
from captum_certified.visualization.palette import HEAT

__all__ = ["canvas", "draw_heat", "draw_image", "draw_marks", "faded", "heat_limit"]

# Inches: laid out by hand, because Matplotlib's constrained layout clips titles of two lines over square panels.
_PANEL = 2.3
_GAP = 0.12
_TITLE = 0.5
_FOOT = 0.62
_OUTLIERS = 0.98  # share of the heat map's positive entries that its scale spans


def canvas(shape: tuple[int, ...], *, columns: int, foot: float = _FOOT) -> tuple[Figure, NDArray[Any]]:
    """An empty grid of panels with room for titles of two lines and for a legend of two at the foot.

    Args:
        shape: Shape (rows, height, width, channels) of the images.
        columns: Panels in a row.
        foot: Inches below the panels.

    Returns:
        The figure and its axes, shape (rows, columns).
    """
    rows, height, width, _ = shape
    panel = _PANEL * min(max(height / width, 0.5), 2.0)
    breadth, length = columns * _PANEL + (columns + 1) * _GAP, rows * (panel + _TITLE) + foot
    figure = Figure(figsize=(breadth, length))
    axes: NDArray[Any] = figure.subplots(
        rows,
        columns,
        squeeze=False,
        gridspec_kw={
            "left": _GAP / breadth,
            "right": 1 - _GAP / breadth,
            "top": 1 - _TITLE / length,
            "bottom": foot / length,
            "wspace": _GAP / _PANEL,
            "hspace": _TITLE / panel,
        },
    )
    for one in axes.flat:
        one.set_xticks([])
        one.set_yticks([])
        one.spines[:].set(color="0.75", linewidth=0.8)
    return figure, axes


def draw_image(axes: Axes, image: NDArray[np.float64]) -> None:
    """One image of shape (H, W, 1 or 3) in [0, 1]."""
    axes.imshow(image if image.shape[2] == 3 else image[..., 0], cmap="gray", vmin=0, vmax=1)


def draw_heat(column: NDArray[Any], maps: NDArray[np.float64]) -> None:
    """Heat maps of entries of shape (rows, H, W, C), summed over channels, one in each panel."""
    for panel, entries in zip(column, maps, strict=True):
        heat = entries.sum(axis=2)
        panel.imshow(heat, cmap=HEAT, vmin=0, vmax=heat_limit(heat))


def heat_limit(heat: NDArray[np.float64]) -> float:
    """Where the scale of a heat map ends: a few outliers would leave the rest of it dark."""
    positive = heat[heat > 0]
    return float(np.quantile(positive, _OUTLIERS)) if positive.size else 1.0


def draw_marks(axes: Axes, image: NDArray[Any], marks: Mapping[str, NDArray[np.bool_]]) -> None:
    """Marked pixels over one faded image.

    Args:
        axes: The panel.
        image: Shape (H, W, C).
        marks: Pixels of shape (H, W) by colour; later ones cover earlier ones.
    """
    colours = faded(image)
    for colour, marked in marks.items():
        colours[marked] = to_rgb(colour)
    axes.imshow(colours, vmin=0, vmax=1)


def faded(image: NDArray[Any]) -> NDArray[np.float64]:
    """An image of shape (H, W, C) as pale greys of shape (H, W, 3), for what is drawn over it."""
    grey = displayable(image).mean(axis=2)
    return np.repeat((0.84 + 0.16 * grey)[..., None], 3, axis=2)
