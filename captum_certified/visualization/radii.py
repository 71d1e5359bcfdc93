"""The figure of radii: the radius up to which each feature is certified."""

from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from captum_certified.certify import SelectionCertificate, TopKCertificate
from captum_certified.checks import checked_number
from captum_certified.visualization.certified_features import check_kind, radii_in_top_k
from captum_certified.visualization.colours import HEAT
from captum_certified.visualization.image_layout import ImageReading, Values, any_channel
from captum_certified.visualization.outlines import draw_hatches
from captum_certified.visualization.panels import Panels, canvas, nothing_patch

__all__ = ["radius_figure"]

# In inches: the height of the figure's foot, and the height and position of the colour scales in it.
_FOOT = 0.78
_BAR = 0.12
_BASE = 0.46
_MARGIN = 0.05  # beside a colour scale, as a fraction of its panel's width


def radius_figure(
    certificate: TopKCertificate | SelectionCertificate,
    image: Values,
    *,
    labels: Sequence[str] | None = None,
    largest: float | None = None,
) -> tuple[Figure, Panels]:
    """Draw the certified radius of every feature, in the units of the input, with a colour scale for each column.

    For a top-K certificate this is the radius up to which a feature stays in the top K. If the certificate is about
    another reference set, only the features of this set are shown. For a selection certificate one panel shows the
    radius up to which features stay selected, and another panel the radius up to which features stay not selected.
    Hatched pixels are certified at no radius; white pixels are not what the column is about. All radii of an example
    hold together, with the certificate's confidence. A pixel of several channels shows the largest radius of its
    channels.

    Args:
        certificate: A certificate of top-K overlap or of selection, for maps of images.
        image: Grey or RGB images, tensor or array of shape (N, C, H, W), (N, H, W, C) or (N, H, W). One example may be
            given without N.
        labels: A title for each image.
        largest: Radius at which the colour scales end. Figures with the same value can be compared. The default is the
            largest finite radius of each column. Larger radii have the last colour, and the scale then ends in an
            arrow.

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
    figure, axes = canvas(reading.images, labels, columns=1 + len(tables), foot=_FOOT)
    colours, handles = matplotlib.colormaps[HEAT].with_extremes(bad="white"), [nothing_patch("certified at no radius")]
    end = None if largest is None else checked_number("largest", largest, above=0)
    for column, (title, (table, shown)) in zip(axes.T[1:], tables.items(), strict=True):
        column[0].set_title(title, fontsize=10)
        radii = np.asarray(reading.on_pixels(table).max(axis=3))
        limit = _largest(radii) if end is None else end
        scale = Normalize(0, limit)
        nothing = any_channel(reading.on_pixels(shown)) & (radii <= 0)
        for panel, one, hatched in zip(column, radii, nothing, strict=True):
            panel.imshow(np.ma.masked_less_equal(np.minimum(one, 2 * limit), 0.0), cmap=colours, norm=scale)
            draw_hatches(panel, hatched)
        _draw_scale(column[-1], ScalarMappable(scale, colours), pointed=bool((radii > limit).any()))
    figure.legend(handles=handles, loc="lower left", fontsize=9, frameon=False)
    return figure, axes


def _radii(certificate: TopKCertificate | SelectionCertificate) -> dict[str, tuple[Tensor, Tensor]]:
    """Return a column for each title that says what holds up to the radii.

    A column is the radii of the features, shape (N, n), and a mask of the features that it is about.
    """
    check_kind(certificate)
    if isinstance(certificate, TopKCertificate):
        radii, members = radii_in_top_k(certificate), certificate.members
        if certificate.reference == "own":
            return {f"stays in the top {certificate.k}\nup to radius": (radii.where(members, 0.0), members)}
        whose = "plain map's top" if certificate.reference == "plain" else "reference"
        title = f"{whose}: stays in\nthe top {certificate.k} up to radius"
        return {title: (radii.where(members, 0.0), members)}
    # A feature's radius, and whether the feature is selected, do not depend on the certificate's radius.
    selected = certificate.map.features > 0.5
    radii = certificate.feature_radius
    return {
        "stays selected\nup to radius": (radii * selected, selected),
        "stays not selected\nup to radius": (radii * ~selected, ~selected),
    }


def _largest(radii: NDArray[np.float64]) -> float:
    finite = radii[np.isfinite(radii) & (radii > 0)]
    return float(finite.max()) if finite.size else 1.0


def _draw_scale(panel: Axes, colours: ScalarMappable, *, pointed: bool) -> None:
    """Draw the colour scale of a column below its last panel."""
    figure, place = panel.figure, panel.get_position()
    assert isinstance(figure, Figure)  # noqa: S101  for the type checker: the figure is no part of another one
    full_height = figure.get_size_inches()[1]
    margin = _MARGIN * place.width
    bar = figure.add_axes(
        (place.x0 + margin, _BASE / full_height, place.width - 2 * margin, _BAR / full_height), label="scale"
    )
    figure.colorbar(colours, cax=bar, orientation="horizontal", extend="max" if pointed else "neither")
    bar.set_xlabel("L2 radius, in units of the input", fontsize=9)
    bar.tick_params(labelsize=9)
    bar.locator_params(nbins=4)
