"""The figure of radii: how far the certificate of each feature reaches."""

from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from captum_certified.certify import SelectionCertificate, TopKCertificate
from captum_certified.certify.feature_table import top_k_radii
from captum_certified.checks import checked_number
from captum_certified.exceptions import InvalidInputError
from captum_certified.visualization.images import ImageReading, checked_labels, displayable
from captum_certified.visualization.palette import HEAT
from captum_certified.visualization.panels import canvas, draw_image
from captum_certified.visualization.report_data import check_exact

__all__ = ["radius_figure"]

_FOOT = 0.78  # inches, for the scale
_BAR = 0.12
_BASE = 0.46
_WIDEST = 4.5


def radius_figure(
    certificate: TopKCertificate | SelectionCertificate,
    image: Tensor | NDArray[Any],
    *,
    labels: Sequence[str] | None = None,
    largest: float | None = None,
) -> tuple[Figure, NDArray[Any]]:
    """Draw the certified radius of every feature on one scale for all examples, in the units of the input.

    Of a top-K certificate that is how far a feature certifiably stays in the top K; of a selection certificate how far
    it certifiably stays selected, and in a panel of its own how far it certifiably stays not selected. White is
    where nothing is certified at any radius. All radii of an example hold together, with the certificate's confidence.
    A pixel of several channels shows the largest radius of its channels.

    Args:
        certificate: A certificate of images, of top-K overlap or of selection.
        image: (N, C, H, W), (N, H, W, C) or (N, H, W), tensor or array, grey or RGB; without N for one example.
        labels: A title of each image.
        largest: Radius at which the scale ends, to compare figures; by default the largest finite one. Larger ones are
            drawn like it, and the scale is then pointed.

    Returns:
        The figure and its axes, shape (N, 2), of a selection (N, 3).

    Raises:
        InvalidInputError: The certificate is of another kind or not of images, ``largest`` is not positive, or
            ``image`` or ``labels`` do not fit.

    Example:
        >>> import torch
        >>> from captum_certified import Certifier, SmoothedMap
        >>> from captum_certified.visualization import radius_figure
        >>> smoothed_map = SmoothedMap.from_counts(
        ...     torch.randint(0, 500, (1, 1, 28, 28)), n_samples=500, stdevs=0.2
        ... )
        >>> certificate = Certifier().top_k(smoothed_map, k=0.2, radius=0.05)
        >>> figure, axes = radius_figure(certificate, torch.rand(28, 28))
        >>> axes.shape
        (1, 2)
    """
    tables = _radii(certificate)
    reading = ImageReading(image, certificate.map.layout, len(certificate.map))
    titles = checked_labels(labels, len(certificate.map))
    maps = {title: np.asarray(reading.on_pixels(table).max(axis=3)) for title, table in tables.items()}
    everything = np.stack(list(maps.values()))
    limit = _largest(everything) if largest is None else checked_number("largest", largest, above=0)
    figure, axes = canvas(reading.images.shape, columns=1 + len(maps), foot=_FOOT)
    for row, images in enumerate(reading.images):
        draw_image(axes[row, 0], displayable(images))
        axes[row, 0].set_title(titles[row], fontsize=10)
    colours, scale = matplotlib.colormaps[HEAT].with_extremes(bad="white"), Normalize(0, limit)
    for column, (title, radii) in enumerate(maps.items(), start=1):
        axes[0, column].set_title(title, fontsize=10)
        for panel, one in zip(axes[:, column], radii, strict=True):
            panel.imshow(np.ma.masked_less_equal(np.minimum(one, 2 * limit), 0.0), cmap=colours, norm=scale)
    _draw_scale(figure, ScalarMappable(scale, colours), pointed=bool((everything > limit).any()))
    return figure, axes


def _radii(certificate: object) -> dict[str, Tensor]:
    """Radii of the features, shape (N, n), by what they are the radii of."""
    if isinstance(certificate, TopKCertificate):
        check_exact(certificate)
        radii = top_k_radii(certificate.map, certificate.bound, certificate.k, 1 - certificate.confidence)
        return {f"stays in the top {certificate.k}\nup to radius": radii}
    if isinstance(certificate, SelectionCertificate):
        # The radius does not depend on the one that the certificate was made at, nor does the side of the decision.
        selected = certificate.map.features > 0.5
        radii = certificate.feature_radius
        return {
            "stays selected\nup to radius": radii * selected,
            "stays not selected\nup to radius": radii * ~selected,
        }
    raise InvalidInputError(
        f"Expected `certificate` to be a TopKCertificate or a SelectionCertificate, got {type(certificate).__name__}."
    )


def _largest(radii: NDArray[np.float64]) -> float:
    finite = radii[np.isfinite(radii) & (radii > 0)]
    return float(finite.max()) if finite.size else 1.0


def _draw_scale(figure: Figure, colours: ScalarMappable, *, pointed: bool) -> None:
    breadth, length = figure.get_size_inches()
    width = min(0.84, _WIDEST / breadth)
    bar = figure.add_axes(((1 - width) / 2, _BASE / length, width, _BAR / length))
    figure.colorbar(colours, cax=bar, orientation="horizontal", extend="max" if pointed else "neither")
    bar.set_xlabel("certified L2 radius, in the units of the input · white: none", fontsize=9)
    bar.tick_params(labelsize=9)
    bar.locator_params(nbins=5)
