"""The figure of a certificate: the image, the plain map, the smoothed map, and what is certified."""

from collections.abc import Sequence

from matplotlib.figure import Figure
from torch import Tensor

from captum_certified.certify import Certificate, SelectionCertificate, TopKCertificate
from captum_certified.certify.written_numbers import written_confidence
from captum_certified.visualization.certified_features import check_kind, draw_selection, draw_top_k
from captum_certified.visualization.image_layout import ImageReading, Values
from captum_certified.visualization.panels import SCALE_NOTE, Panels, canvas, draw_heat, draw_legend
from captum_certified.visualization.titles import brief_cautions, method_named, plain_title, size_note

__all__ = ["certificate_figure", "draw_smoothed"]


def certificate_figure(
    certificate: TopKCertificate | SelectionCertificate, image: Values, *, labels: Sequence[str] | None = None
) -> tuple[Figure, Panels]:
    """Draw the image, the plain map, the smoothed map and what is certified, in one row of panels for each example.

    The last panel marks features on the faded image. For a top-K certificate it shows the top K of the smoothed map:
    vermilion for features that are each certified *individually* to stay in the top K, pale orange for the other
    features. The title of the panel states the certified overlap, which is usually larger than the number of features
    certified individually; the legend says how many of the pale ones stay at least. If nothing is certified, the set is
    grey and hatched. Both statements have the certificate's confidence. The title of the plain map states how much of
    the *plain map's* top set certifiably is in the top K of the smoothed map
    (:attr:`~captum_certified.TopKCertificate.of_plain`), and how much a top K chosen by chance would contain. If the
    certificate is about another reference set, the last panel marks this set in place of the smoothed map's own top K.
    Cautions are printed at the foot of the figure, and the radius beside familiar changes of the images if ``image``
    holds the inputs themselves.

    For a selection certificate the last panel shows features that are certified selected in vermilion, and hatches over
    undecided features. Features that are certified not selected stay unmarked.

    Thin lines show cells or regions that are features; see ``groups`` in
    :meth:`~captum_certified.SmoothedAttribution.attribute`. The legend states their number.

    If the channels of a pixel differ, vermilion covers the other colours. Heat maps show sums over channels, and each
    has its own scale.
    The figure opens no window and is not registered with :mod:`matplotlib.pyplot`.

    Args:
        certificate: A certificate of top-K overlap or of selection, for maps of images.
        image: Grey or RGB images, tensor or array of shape (N, C, H, W), (N, H, W, C) or (N, H, W). One example may be
            given without N. Values outside of [0, 1] are rescaled for display.
        labels: A title for each image.

    Returns:
        The figure and its axes, shape (N, 4).

    Raises:
        InvalidInputError: The certificate is of another kind or not for maps of images, or ``image`` or ``labels`` do
            not fit.

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
    check_kind(certificate)
    reading = ImageReading(image, certificate.map.layout, len(certificate.map))
    cautions: list[str] = []
    size: list[str] = []
    if isinstance(certificate, TopKCertificate):
        cautions, size = brief_cautions(certificate), size_note(certificate, reading)
    figure, axes = canvas(reading.images, labels, columns=4, notes=len(cautions) + len(size) + 1)
    _draw_plain(axes[:, 1], certificate, reading)
    draw_smoothed(axes[:, 2], certificate, reading)
    if isinstance(certificate, TopKCertificate):
        handles = draw_top_k(axes[:, 3], certificate, reading)
    else:
        handles = draw_selection(axes[:, 3], certificate, reading)
    title = _title(certificate, reading)
    draw_legend(figure, handles, title=title, columns=len(handles), notes=cautions, remarks=[*size, SCALE_NOTE])
    return figure, axes


def draw_smoothed(column: Panels, certificate: Certificate, reading: ImageReading) -> None:
    """Draw the smoothed map of every example, and write the number of draws and σ above the first map."""
    smoothed = certificate.map
    column[0].set_title(f"smoothed over {_draws(smoothed.n_samples)} draws\nσ = {smoothed.sigma:g}", fontsize=10)
    draw_heat(column, reading.on_pixels(smoothed.features))


def _draw_plain(column: Panels, certificate: Certificate, reading: ImageReading) -> None:
    of_plain = certificate.of_plain if isinstance(certificate, TopKCertificate) else None
    if of_plain is certificate:  # the title of the last panel already states this certificate
        of_plain = None
    for row, panel in enumerate(column):
        panel.set_title(plain_title(of_plain, row, method_named(certificate.map)), fontsize=10)
    if certificate.map.plain is not None:
        draw_heat(column, reading.on_pixels(certificate.map.plain))
        return
    for panel in column:
        panel.text(0.5, 0.5, "not recorded", ha="center", va="center", color="0.4", transform=panel.transAxes)
        panel.set_box_aspect(reading.images.shape[1] / reading.images.shape[2])


def _title(certificate: TopKCertificate | SelectionCertificate, reading: ImageReading) -> str:
    """Return what the certificate is about, with its confidence and bound."""
    features = reading.features
    if isinstance(certificate, TopKCertificate):
        features = f"top {certificate.k} of {features}"
    # An overlap that allows violations is a separate statement from the single features, which allow none.
    apart = isinstance(certificate, TopKCertificate) and certificate.violations > 0
    what = "image, separately for count and marks" if apart else "image"
    confidence = written_confidence(certificate.confidence, percent=True)
    return f"{features} · confidence {confidence} % for each {what} · bound {certificate.bound}"


def _draws(n_samples: Tensor) -> str:
    low, high = int(n_samples.min()), int(n_samples.max())
    return str(low) if low == high else f"{low}–{high}"
