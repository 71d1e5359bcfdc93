"""Building blocks of the figures: a grid of panels, images, heat maps, marked features and legends."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from captum_certified.exceptions import InvalidInputError
from captum_certified.visualization.colours import HEAT, NOTHING
from captum_certified.visualization.image_layout import Pixels, displayable
from captum_certified.visualization.outlines import HATCHES, draw_hatches

__all__ = [
    "SCALE_NOTE",
    "Panels",
    "canvas",
    "checked_labels",
    "draw_heat",
    "draw_image",
    "draw_legend",
    "draw_marks",
    "faded",
    "heat_limit",
    "literal",
    "nothing_patch",
]

# An array of Matplotlib's axes.
Panels: TypeAlias = NDArray[Any]

# What a figure with heat maps says about their colours.
SCALE_NOTE = "Each heat map has its own scale, from dark blue (0) to yellow (its largest values)."
# Inches. The layout is set here, because Matplotlib's constrained layout clips titles of two lines over square panels.
_PANEL = 2.3
_GAP = 0.12
_TITLE = 0.5
_FOOT = 0.62
_NOTE = 0.19  # height of a note below the legend
_OUTLIERS = 0.98  # quantile of a heat map's positive entries at which the colour scale ends


def canvas(
    images: Pixels, labels: Sequence[str] | None, *, columns: int, foot: float = _FOOT, notes: int = 0
) -> tuple[Figure, Panels]:
    """Return a figure with a grid of panels, and draw the images in its first column.

    Titles may have two lines, and the foot has room for a legend of two lines and for notes below it.

    Args:
        images: Shape (rows, height, width, channels).
        labels: A title for each image.
        columns: Panels in a row.
        foot: Inches below the panels.
        notes: Number of lines below the legend.

    Returns:
        The figure and its axes, shape (rows, columns).

    Raises:
        InvalidInputError: The number of labels is not the number of images.
    """
    rows, height, width, _ = images.shape
    titles = checked_labels(labels, rows)
    panel = _PANEL * min(max(height / width, 0.5), 2.0)
    foot += notes * _NOTE
    full_width, full_height = columns * _PANEL + (columns + 1) * _GAP, rows * (panel + _TITLE) + foot
    figure = Figure(figsize=(full_width, full_height))
    axes: Panels = figure.subplots(
        rows,
        columns,
        squeeze=False,
        gridspec_kw={
            "left": _GAP / full_width,
            "right": 1 - _GAP / full_width,
            "top": 1 - _TITLE / full_height,
            "bottom": foot / full_height,
            "wspace": _GAP / _PANEL,
            "hspace": _TITLE / panel,
        },
    )
    for one in axes.flat:
        one.set_xticks([])
        one.set_yticks([])
        one.spines[:].set(color="0.75", linewidth=0.8)
    for first, image, title in zip(axes[:, 0], images, titles, strict=True):
        draw_image(first, displayable(image))
        first.set_title(title, fontsize=10)
    return figure, axes


def literal(text: str) -> str:
    """Escape dollar signs, so that Matplotlib does not read the text as mathematics."""
    return text.replace("$", r"\$")


def checked_labels(labels: Sequence[str] | None, rows: int) -> list[str]:
    """Return a title for each image, ``"image"`` if ``labels`` is ``None``.

    Raises:
        InvalidInputError: The number of labels is not ``rows``.
    """
    if labels is not None and len(labels) != rows:
        raise InvalidInputError(f"Expected {rows} `labels`, one for each example, got {len(labels)}.")
    return ["image"] * rows if labels is None else [literal(label) for label in labels]


def draw_image(axes: Axes, image: NDArray[np.float64]) -> None:
    """Draw one image of shape (H, W, 1 or 3) in [0, 1]."""
    axes.imshow(image if image.shape[2] == 3 else image[..., 0], cmap="gray", vmin=0, vmax=1)


def draw_heat(column: Panels, maps: Pixels) -> None:
    """Draw a heat map in each panel: entries of shape (rows, H, W, C), summed over channels."""
    for panel, entries in zip(column, maps, strict=True):
        heat = entries.sum(axis=2)
        panel.imshow(heat, cmap=HEAT, vmin=0, vmax=heat_limit(heat))


def heat_limit(heat: NDArray[np.floating]) -> float:
    """Return the value at which a heat map's colour scale ends.

    It is below the few largest entries. If the scale reached up to them, all other entries would look dark.
    """
    positive = heat[heat > 0]
    return float(np.quantile(positive, _OUTLIERS)) if positive.size else 1.0


def draw_marks(axes: Axes, image: Pixels, marks: Mapping[str, NDArray[np.bool_]]) -> None:
    """Mark pixels on one faded image, by a mask of shape (H, W) for each colour. Later colours cover earlier ones.

    Pixels of the colour for what is not certified get hatches as well.
    """
    colours = faded(image)
    hatched = np.zeros(colours.shape[:2], dtype=bool)
    for colour, marked in marks.items():
        colours[marked] = to_rgb(colour)
        hatched = (hatched | marked) if colour == NOTHING else (hatched & ~marked)
    axes.imshow(colours, vmin=0, vmax=1)
    draw_hatches(axes, hatched)


def nothing_patch(label: str) -> Patch:
    """Return the entry of a legend for features about which nothing is certified."""
    return Patch(facecolor=NOTHING, label=label, **HATCHES)


def faded(image: Pixels) -> NDArray[np.float64]:
    """Return an image of shape (H, W, C) as pale greys of shape (H, W, 3), a background for marks."""
    grey = displayable(image).mean(axis=2)
    return np.repeat((0.84 + 0.16 * grey)[..., None], 3, axis=2)


def draw_legend(
    figure: Figure,
    handles: Sequence[Artist],
    *,
    title: str | None = None,
    columns: int = 1,
    place: Literal["lower center", "outside lower center"] = "lower center",
    notes: Sequence[str] = (),
    remarks: Sequence[str] = (),
) -> None:
    """Draw a legend without a frame at the foot of a figure. Each note is a line in bold type below it.

    Each remark is a line in ordinary type below the notes.
    """
    line = _NOTE / figure.get_size_inches()[1]
    lines = [*((note, "bold") for note in notes), *((remark, "normal") for remark in remarks)]
    figure.legend(
        handles=handles,
        title=title,
        title_fontsize=10,
        fontsize=10,
        loc=place,
        ncols=columns,
        frameon=False,
        bbox_to_anchor=(0, len(lines) * line, 1, 1 - len(lines) * line) if lines else None,
    )
    for number, (text, weight) in enumerate(reversed(lines)):
        figure.text(0.5, (number + 0.3) * line, literal(text), ha="center", fontsize=10, fontweight=weight)
