"""The figure of a top-K certificate: what was explained, what was measured, and what is proved."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray
from torch import Tensor

from captum_certified.certify import Certifier, TopKCertificate
from captum_certified.exceptions import InvalidInputError
from captum_certified.visualization.images import ImageReading, displayable

__all__ = ["certificate_figure"]

# Inches: laid out by hand, because Matplotlib's constrained layout clips titles of two lines over square panels.
_PANEL = 2.3
_GAP = 0.12
_TITLE = 0.5
_FOOT = 0.62
_HEAT = "Blues"
# Orange of two strengths: apart in lightness, so also for the colour-blind, in grey print, and from the blue maps.
_CERTIFIED = "#a63603"
_UNCERTIFIED = "#fd8d3c"
_OUTLIERS = 0.98  # share of the heat map's positive entries that its scale spans


def certificate_figure(
    certificate: TopKCertificate, image: Tensor | NDArray[Any], *, labels: Sequence[str] | None = None
) -> tuple[Figure, NDArray[Any]]:
    """Draw image, plain map, smoothed map and certified top K, one row of panels for each example.

    In the last panel the top K of the smoothed map lies over the faded image: dark where a feature is certified
    *by name* to stay in the top K, pale for the rest of the top K. The number above it is the certified overlap:
    usually more features must survive than can be named. Both statements have the certificate's confidence. A
    pixel of several channels is marked if one of its channels is; heat maps show sums over channels.

    The figure belongs to no window and to no :mod:`matplotlib.pyplot` state.

    Args:
        certificate: A certificate of images.
        image: (N, C, H, W), (N, H, W, C) or (N, H, W), tensor or array, grey or RGB; without N for one example.
            Values outside [0, 1] are brought into it, for display only.
        labels: A title of each image.

    Returns:
        The figure and its axes, shape (N, 4).

    Raises:
        InvalidInputError: The certificate is not of images, or ``image`` or ``labels`` do not fit it.

    Example:
        >>> import torch
        >>> from captum_certified import Certifier, SmoothedMap
        >>> from captum_certified.visualization import certificate_figure
        >>> smoothed_map = SmoothedMap.from_counts(
        ...     torch.randint(0, 500, (1, 1, 28, 28)), n_samples=500, stdevs=0.2
        ... )
        >>> certificate = Certifier().top_k(smoothed_map, k=0.2, radius=0.05)
        >>> figure, axes = certificate_figure(certificate, torch.rand(1, 1, 28, 28))
        >>> axes.shape
        (1, 4)
    """
    if not isinstance(certificate, TopKCertificate):
        raise InvalidInputError(f"Expected `certificate` to be a TopKCertificate, got {type(certificate).__name__}.")
    rows = len(certificate.map)
    reading = ImageReading(image, certificate.map.layout, rows)
    if labels is not None and len(labels) != rows:
        raise InvalidInputError(f"Expected {rows} `labels`, one for each example, got {len(labels)}.")
    figure, axes = _canvas(reading.images.shape)
    for row, images in enumerate(reading.images):
        _draw_image(axes[row, 0], displayable(images))
        axes[row, 0].set_title("image" if labels is None else labels[row], fontsize=10)
    _draw_maps(axes, certificate, reading)
    _draw_certified(axes[:, 3], certificate, reading)
    _draw_legend(figure, certificate)
    return figure, axes


def _canvas(shape: tuple[int, ...]) -> tuple[Figure, NDArray[Any]]:
    rows, height, width, _ = shape
    panel = _PANEL * min(max(height / width, 0.5), 2.0)
    breadth, length = 4 * _PANEL + 5 * _GAP, rows * (panel + _TITLE) + _FOOT
    figure = Figure(figsize=(breadth, length))
    axes: NDArray[Any] = figure.subplots(
        rows,
        4,
        squeeze=False,
        gridspec_kw={
            "left": _GAP / breadth,
            "right": 1 - _GAP / breadth,
            "top": 1 - _TITLE / length,
            "bottom": _FOOT / length,
            "wspace": _GAP / _PANEL,
            "hspace": _TITLE / panel,
        },
    )
    for one in axes.flat:
        one.set_xticks([])
        one.set_yticks([])
        one.spines[:].set(color="0.75", linewidth=0.8)
    return figure, axes


def _draw_image(axes: Axes, image: NDArray[np.float64]) -> None:
    axes.imshow(image if image.shape[2] == 3 else image[..., 0], cmap="gray", vmin=0, vmax=1)


def _draw_maps(axes: NDArray[Any], certificate: TopKCertificate, reading: ImageReading) -> None:
    smoothed = certificate.map
    method = str(smoothed.setup.get("method", "map"))
    axes[0, 1].set_title(f"plain {method}", fontsize=10)
    axes[0, 2].set_title(f"smoothed over {_draws(smoothed.n_samples)} draws\nσ = {smoothed.sigma:g}", fontsize=10)
    _draw_heat(axes[:, 2], reading.on_pixels(_unflattened(certificate, smoothed.features)))
    if smoothed.plain is not None:
        _draw_heat(axes[:, 1], reading.on_pixels(_unflattened(certificate, smoothed.plain)))
        return
    for panel in axes[:, 1]:
        panel.text(0.5, 0.5, "not recorded", ha="center", va="center", color="0.4", transform=panel.transAxes)
        panel.set_box_aspect(reading.images.shape[1] / reading.images.shape[2])


def _draw_heat(column: NDArray[Any], maps: NDArray[np.float64]) -> None:
    for panel, entries in zip(column, maps, strict=True):
        heat = entries.sum(axis=2)
        positive = heat[heat > 0]
        panel.imshow(heat, cmap=_HEAT, vmin=0, vmax=np.quantile(positive, _OUTLIERS) if positive.size else 1)


def _draw_certified(column: NDArray[Any], certificate: TopKCertificate, reading: ImageReading) -> None:
    top = _any_channel(reading, _unflattened(certificate, certificate.top_k))
    certifier = Certifier(confidence=certificate.confidence, bound=certificate.bound)
    named = certifier.rank(certificate.map, radius=certificate.radius).in_top_k(certificate.k)
    assert isinstance(named, Tensor)  # noqa: S101  for the type checker: the reading refused tuples
    certified = _any_channel(reading, named)
    for row, panel in enumerate(column):
        grey = displayable(reading.images[row]).mean(axis=2)
        canvas = np.repeat((0.84 + 0.16 * grey)[..., None], 3, axis=2)
        canvas[top[row]] = to_rgb(_UNCERTIFIED)
        canvas[certified[row]] = to_rgb(_CERTIFIED)
        panel.imshow(canvas, vmin=0, vmax=1)
        panel.set_title(_statement(certificate, int(certificate.overlap[row])), fontsize=10)


def _any_channel(reading: ImageReading, entries: Tensor) -> NDArray[np.bool_]:
    return np.asarray(reading.on_pixels(entries).any(axis=3))


def _statement(certificate: TopKCertificate, overlap: int) -> str:
    size = f"‖δ‖₂ ≤ {certificate.radius:g}"
    if overlap == 0:
        return f"nothing is certified of the\ntop {certificate.k} for {size}"
    percent = 100 * overlap // certificate.k  # rounded down: it is a guarantee
    return f"≥ {percent} % of the top {certificate.k}\nsurvive any {size}"


def _draw_legend(figure: Figure, certificate: TopKCertificate) -> None:
    figure.legend(
        handles=[
            Patch(color=_CERTIFIED, label="certified by name to stay in the top K"),
            Patch(color=_UNCERTIFIED, label="in the top K, not certified by name"),
        ],
        title=f"confidence {100 * certificate.confidence:g} % for each image · bound {certificate.bound}",
        title_fontsize=10,
        fontsize=10,
        loc="lower center",
        ncols=2,
        frameon=False,
    )


def _unflattened(certificate: TopKCertificate, features: Tensor) -> Tensor:
    entries = certificate.map.layout.unflatten(features)
    assert isinstance(entries, Tensor)  # noqa: S101  for the type checker: the reading refused tuples
    return entries


def _draws(n_samples: Tensor) -> str:
    low, high = int(n_samples.min()), int(n_samples.max())
    return str(low) if low == high else f"{low}–{high}"
