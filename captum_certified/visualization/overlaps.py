"""The figure of many certificates: the certified overlap of each example."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from captum_certified.certify.written_numbers import floored_percent, rounded_down, written_confidence
from captum_certified.exceptions import InvalidInputError
from captum_certified.visualization.colours import ordered
from captum_certified.visualization.image_layout import Values, as_array

__all__ = ["overlap_figure"]


def overlap_figure(
    overlaps: Values, *, radii: Sequence[float], confidence: float, of_plain: Values | None = None
) -> tuple[Figure, Axes]:
    """Draw the certified overlaps of many examples in descending order, and their mean, for each radius.

    Each overlap by itself holds with the given confidence. Nothing is certified about the mean. Every line is sorted
    separately, so a position on the axis can mean different examples in different lines.

    The figure opens no window and is not registered with :mod:`matplotlib.pyplot`.

    Args:
        overlaps: Certified overlaps as fractions of K, shape (examples, radii).
        radii: L2 sizes of the perturbation.
        confidence: Confidence of each certificate.
        of_plain: Certified overlaps of the plain maps' top sets, drawn as dashed lines:
            ``of_plain.overlap_fraction`` of each certificate, in the shape of ``overlaps``.

    Returns:
        The figure and its axes.

    Raises:
        InvalidInputError: ``overlaps`` has no example or not one column for each radius, ``of_plain`` has another
            shape, or an overlap is not finite.

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
    shares = _finite("overlaps", overlaps)
    plain = None if of_plain is None else _finite("of_plain", of_plain)
    if plain is not None and plain.shape != shares.shape:
        raise InvalidInputError(f"Expected `of_plain` of the shape of `overlaps`, {shares.shape}, got {plain.shape}.")
    figure = Figure(figsize=(6.4, 4.8), layout="constrained")
    axes = figure.subplots()
    # The darker the line, the larger the radius.
    ranks = np.argsort(np.argsort(radii))
    colors = [ordered(len(radii))[rank] for rank in ranks]
    for column, radius, color in zip(shares.T, radii, colors, strict=True):
        _draw_sorted(axes, column, color, f"ρ = {rounded_down(radius)}")
        axes.axhline(100 * column.mean(), color=color, linestyle=":", linewidth=1)
    for column, radius, color in zip([] if plain is None else plain.T, radii, colors, strict=plain is not None):
        _draw_sorted(axes, column, color, f"ρ = {rounded_down(radius)}, plain map's top", dashes="--")
    axes.set(xlim=(0, len(shares)), ylim=(0, 102))
    each = "" if plain is None else " in each line"
    axes.set_xlabel(f"examples, the most robust first{each} ({len(shares)})")
    axes.set_ylabel("certified overlap of the top K, %")
    axes.spines[["top", "right"]].set_visible(False)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    # The legend is below the axes, where it hides no curve.
    written = written_confidence(confidence, percent=True)
    title = f"{len(shares)} examples, each certified by itself at confidence {written} %; dotted: means"
    ncols = min(len(radii), 2) if plain is None else 2
    figure.legend(title=title, loc="outside lower center", ncols=ncols, frameon=False)
    return figure, axes


def _finite(name: str, shares: Values) -> NDArray[np.float64]:
    array = as_array(shares).astype(np.float64)
    if not np.isfinite(array).all():
        raise InvalidInputError(f"Expected finite `{name}`, got NaN or infinity.")
    return array


def _draw_sorted(axes: Axes, shares: NDArray[np.float64], color: str, name: str, *, dashes: str = "-") -> None:
    """Draw the overlaps of all examples in descending order, with their mean in the label."""
    falling = 100 * np.append(np.sort(shares)[::-1], shares.min())
    label = f"{name}: mean {floored_percent(shares.mean())} %"
    axes.step(np.arange(len(falling)), falling, where="post", color=color, linestyle=dashes, label=label)
