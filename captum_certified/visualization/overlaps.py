"""The figure of many certificates: the certified overlap of each example."""

from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from captum_certified.certify.written_numbers import floored_percent, rounded_down, written_confidence
from captum_certified.exceptions import InvalidInputError
from captum_certified.visualization.image_layout import Values, as_array

__all__ = ["overlap_figure"]

# The part of the colour map that is used. Paler lines would vanish on white.
_COLOUR_MAP = "viridis_r"
_PALEST, _DARKEST = 0.25, 0.95


def overlap_figure(overlaps: Values, *, radii: Sequence[float], confidence: float) -> tuple[Figure, Axes]:
    """Draw the certified overlaps of many examples, for each radius in descending order, and their mean.

    Each overlap holds with the confidence by itself. Their mean has no confidence of its own.

    The figure belongs to no window and to no :mod:`matplotlib.pyplot` state.

    Args:
        overlaps: Certified overlaps as fractions of K, shape (examples, radii).
        radii: L2 sizes of the perturbation.
        confidence: Confidence of each certificate.

    Returns:
        The figure and its axes.

    Raises:
        InvalidInputError: There is no example, there is not one column for each radius, or an overlap is not finite.

    Example:
        >>> import torch
        >>> from captum_certified.visualization import overlap_figure
        >>> _, axes = overlap_figure(torch.tensor([[0.875, 0.5], [0.625, 0.25]]), radii=[0.1, 0.2], confidence=0.95)
        >>> [line.get_label() for line in axes.lines if not line.get_label().startswith("_")]
        ['ρ = 0.1: mean 75.0 %', 'ρ = 0.2: mean 37.5 %']
    """
    if overlaps.ndim != 2 or len(overlaps) == 0 or overlaps.shape[1] != len(radii):
        raise InvalidInputError(
            f"Expected `overlaps` of shape (examples, {len(radii)}) with an example, got {tuple(overlaps.shape)}."
        )
    shares = as_array(overlaps).astype(np.float64)
    if not np.isfinite(shares).all():
        raise InvalidInputError("Expected finite `overlaps`, got NaN or infinity.")
    figure = Figure(figsize=(6.4, 4.8), layout="constrained")
    axes = figure.subplots()
    colors = matplotlib.colormaps[_COLOUR_MAP](np.linspace(_PALEST, _DARKEST, len(radii)))
    columns = 100 * shares
    for column, radius, color in zip(columns.T, radii, colors, strict=True):
        sorted_column = np.append(np.sort(column)[::-1], column.min())
        label = f"ρ = {rounded_down(radius)}: mean {floored_percent(column.mean() / 100)} %"
        axes.step(np.arange(len(sorted_column)), sorted_column, where="post", color=color, label=label)
        axes.axhline(column.mean(), color=color, linestyle=":", linewidth=1)
    axes.set(xlim=(0, len(columns)), ylim=(0, 102))
    axes.set_xlabel(f"examples, the most robust first ({len(columns)})")
    axes.set_ylabel("certified overlap of the top K, %")
    axes.spines[["top", "right"]].set_visible(False)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    # Below the axes the legend hides no curve.
    written = written_confidence(confidence, percent=True)
    title = f"means over {len(columns)} certified, each by itself at confidence {written} %"
    figure.legend(title=title, loc="outside lower center", ncols=min(len(radii), 2), frameon=False)
    return figure, axes
