"""The figure of radii: the radius up to which each feature is certified."""

from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from captum_certified.certify import SelectionCertificate, TopKCertificate
from captum_certified.checks import checked_number
from captum_certified.visualization.certified_features import check_kind, radii_in_top_k
from captum_certified.visualization.image_layout import ImageReading, Values
from captum_certified.visualization.panels import HEAT, Panels, canvas

__all__ = ["radius_figure"]

# In inches: the height of the figure's foot, and the height, position and largest width of the colour scale in it.
_FOOT = 0.78
_BAR = 0.12
_BASE = 0.46
_WIDEST = 4.5


def radius_figure(
    certificate: TopKCertificate | SelectionCertificate,
    image: Values,
    *,
    labels: Sequence[str] | None = None,
    largest: float | None = None,
) -> tuple[Figure, Panels]:
    """Draw the certified radius of every feature, in the units of the input, on one colour scale for all examples.

    For a top-K certificate this is the radius up to which a feature stays in the top K. If the certificate is about
    another reference set, only the features of this set are shown. For a selection certificate one panel shows the
    radius up to which features stay selected, and another panel the radius up to which features stay not selected.
    White pixels are certified at no radius. All radii of an example hold together, with the certificate's confidence. A
    pixel of several channels shows the largest radius of its channels.

    Args:
        certificate: A certificate of top-K overlap or of selection, for maps of images.
        image: Grey or RGB images, tensor or array of shape (N, C, H, W), (N, H, W, C) or (N, H, W). One example may be
            given without N.
        labels: A title for each image.
        largest: Radius at which the colour scale ends. Figures with the same value can be compared. The default is the
            largest finite radius. Larger radii have the last colour, and the scale then ends in an arrow.

    Returns:
        The figure and its axes, shape (N, 2), or (N, 3) for a selection certificate.

    Raises:
        InvalidInputError: The certificate is of another kind or not for maps of images, ``largest`` is not positive, or
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
    maps = {title: np.asarray(reading.on_pixels(table).max(axis=3)) for title, table in tables.items()}
    everything = np.stack(list(maps.values()))
    limit = _largest(everything) if largest is None else checked_number("largest", largest, above=0)
    figure, axes = canvas(reading.images, labels, columns=1 + len(maps), foot=_FOOT)
    colours, scale = matplotlib.colormaps[HEAT].with_extremes(bad="white"), Normalize(0, limit)
    for column, (title, radii) in enumerate(maps.items(), start=1):
        axes[0, column].set_title(title, fontsize=10)
        for panel, one in zip(axes[:, column], radii, strict=True):
            panel.imshow(np.ma.masked_less_equal(np.minimum(one, 2 * limit), 0.0), cmap=colours, norm=scale)
    _draw_scale(figure, ScalarMappable(scale, colours), pointed=bool((everything > limit).any()))
    return figure, axes


def _radii(certificate: TopKCertificate | SelectionCertificate) -> dict[str, Tensor]:
    """Return the radii of the features, shape (N, n). The keys are titles that say what holds up to these radii."""
    check_kind(certificate)
    if isinstance(certificate, TopKCertificate):
        radii = radii_in_top_k(certificate)
        if certificate.reference == "own":
            return {f"stays in the top {certificate.k}\nup to radius": radii}
        whose = "plain map's top" if certificate.reference == "plain" else "reference"
        return {f"{whose}: stays in\nthe top {certificate.k} up to radius": radii.where(certificate.members, 0.0)}
    # A feature's radius, and whether the feature is selected, do not depend on the certificate's radius.
    selected = certificate.map.features > 0.5
    radii = certificate.feature_radius
    return {
        "stays selected\nup to radius": radii * selected,
        "stays not selected\nup to radius": radii * ~selected,
    }


def _largest(radii: NDArray[np.float64]) -> float:
    finite = radii[np.isfinite(radii) & (radii > 0)]
    return float(finite.max()) if finite.size else 1.0


def _draw_scale(figure: Figure, colours: ScalarMappable, *, pointed: bool) -> None:
    full_width, full_height = figure.get_size_inches()
    width = min(0.84, _WIDEST / full_width)
    bar = figure.add_axes(((1 - width) / 2, _BASE / full_height, width, _BAR / full_height))
    figure.colorbar(colours, cax=bar, orientation="horizontal", extend="max" if pointed else "neither")
    bar.set_xlabel("certified L2 radius, in the units of the input · white: not certified", fontsize=9)
    bar.tick_params(labelsize=9)
    bar.locator_params(nbins=5)
