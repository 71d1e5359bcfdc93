"""The figure of a certificate: what was explained, what was measured, and what is proved."""

from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray
from torch import Tensor

from captum_certified.certify import Certificate, SelectionCertificate, TopKCertificate
from captum_certified.certify.written_numbers import written_confidence
from captum_certified.exceptions import InvalidInputError
from captum_certified.visualization.images import ImageReading, checked_labels, displayable
from captum_certified.visualization.panels import canvas, draw_heat, draw_image
from captum_certified.visualization.selection import draw_selection
from captum_certified.visualization.top_k import draw_top_k

__all__ = ["certificate_figure", "draw_smoothed"]


def certificate_figure(
    certificate: TopKCertificate | SelectionCertificate,
    image: Tensor | NDArray[Any],
    *,
    labels: Sequence[str] | None = None,
) -> tuple[Figure, NDArray[Any]]:
    """Draw image, plain map, smoothed map and what is certified, one row of panels for each example.

    The last panel lies over the faded image. Of a top-K certificate it shows the top K of the smoothed map: vermillion
    where a feature is certified *by name* to stay in the top K, orange for the rest of it. The number above it is
    the certified overlap: usually more features must survive than can be named. Both statements have the
    certificate's confidence. Of a selection certificate it shows the features that are certifiably selected in
    vermillion, those about which it abstains in blue, and leaves those that are certifiably not selected unmarked.

    A pixel of several channels is marked by the strongest mark of its channels; heat maps show sums over channels.
    The figure belongs to no window and to no :mod:`matplotlib.pyplot` state.

    Args:
        certificate: A certificate of images, of top-K overlap or of selection.
        image: (N, C, H, W), (N, H, W, C) or (N, H, W), tensor or array, grey or RGB; without N for one example.
            Values outside [0, 1] are brought into it, for display only.
        labels: A title of each image.

    Returns:
        The figure and its axes, shape (N, 4).

    Raises:
        InvalidInputError: The certificate is of another kind or not of images, or ``image`` or ``labels`` do not fit.

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
    if not isinstance(certificate, TopKCertificate | SelectionCertificate):
        raise InvalidInputError(
            "Expected `certificate` to be a TopKCertificate or a SelectionCertificate, got "
            f"{type(certificate).__name__}."
        )
    reading = ImageReading(image, certificate.map.layout, len(certificate.map))
    titles = checked_labels(labels, len(certificate.map))
    figure, axes = canvas(reading.images.shape, columns=4)
    for row, images in enumerate(reading.images):
        draw_image(axes[row, 0], displayable(images))
        axes[row, 0].set_title(titles[row], fontsize=10)
    _draw_plain(axes[:, 1], certificate, reading)
    draw_smoothed(axes[:, 2], certificate, reading)
    if isinstance(certificate, TopKCertificate):
        handles = draw_top_k(axes[:, 3], certificate, reading)
    else:
        handles = draw_selection(axes[:, 3], certificate, reading)
    _draw_legend(figure, certificate, handles)
    return figure, axes


def draw_smoothed(column: NDArray[Any], certificate: Certificate, reading: ImageReading) -> None:
    """The smoothed map of every example, and above the first how it was made."""
    smoothed = certificate.map
    column[0].set_title(f"smoothed over {_draws(smoothed.n_samples)} draws\nσ = {smoothed.sigma:g}", fontsize=10)
    draw_heat(column, reading.on_pixels(smoothed.features))


def _draw_plain(column: NDArray[Any], certificate: Certificate, reading: ImageReading) -> None:
    column[0].set_title(f"plain {certificate.map.setup.get('method', 'map')}", fontsize=10)
    if certificate.map.plain is not None:
        draw_heat(column, reading.on_pixels(certificate.map.plain))
        return
    for panel in column:
        panel.text(0.5, 0.5, "not recorded", ha="center", va="center", color="0.4", transform=panel.transAxes)
        panel.set_box_aspect(reading.images.shape[1] / reading.images.shape[2])


def _draw_legend(figure: Figure, certificate: Certificate, handles: list[Patch]) -> None:
    # A share that allows violations does not hold together with the names, which allow none.
    apart = isinstance(certificate, TopKCertificate) and certificate.violations > 0
    what = "image, share and names apart" if apart else "image"
    confidence = written_confidence(certificate.confidence, percent=True)
    figure.legend(
        handles=handles,
        title=f"confidence {confidence} % for each {what} · bound {certificate.bound}",
        title_fontsize=10,
        fontsize=10,
        loc="lower center",
        ncols=len(handles),
        frameon=False,
    )


def _draws(n_samples: Tensor) -> str:
    low, high = int(n_samples.min()), int(n_samples.max())
    return str(low) if low == high else f"{low}–{high}"
