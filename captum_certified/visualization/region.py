"""The figure of a region: its outline, and the fraction of the saliency that certifiably stays in the region."""

from collections.abc import Sequence
from functools import partial

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke
from torch import Tensor

from captum_certified.certify import RegionCertificate
from captum_certified.certify.written_numbers import floored_percent, rounded_down, written_confidence
from captum_certified.exceptions import InvalidInputError
from captum_certified.visualization.certificate import draw_smoothed
from captum_certified.visualization.colours import FAINT, STRONG
from captum_certified.visualization.image_layout import ImageReading, Values, any_channel
from captum_certified.visualization.outlines import draw_outline
from captum_certified.visualization.panels import SCALE_NOTE, Panels, canvas, draw_legend, literal

__all__ = ["region_figure"]

_OUTLINE = "white"  # between black lines, so that it shows on every image


def region_figure(
    certificate: RegionCertificate, image: Values, *, labels: Sequence[str] | None = None
) -> tuple[Figure, Panels]:
    """Draw the outline of the region on the image and the smoothed map, and the certified fraction as a bar.

    Args:
        certificate: A certificate of a region, for maps of images.
        image: Grey or RGB images, tensor or array of shape (N, C, H, W), (N, H, W, C) or (N, H, W). One example may be
            given without N.
        labels: A title for each image.

    Returns:
        The figure and its axes, shape (N, 3).

    Raises:
        InvalidInputError: The certificate is of another kind or not for maps of images, or ``image`` or ``labels`` do
            not fit.

    Example:
        >>> import torch
        >>> from captum.attr import Saliency
        >>> from captum_certified import Certifier, SparsifiedSmoothGrad
        >>> from captum_certified.visualization import region_figure
        >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 4), torch.nn.Softplus())
        >>> region = torch.zeros(1, 1, 8, 8, dtype=torch.bool)
        >>> region[..., 2:6, 2:6] = True
        >>> certifier, image = Certifier(SparsifiedSmoothGrad(Saliency(model))), torch.rand(1, 1, 8, 8)
        >>> certificate = certifier.certify(
        ...     image, target=0, k=0.2, radius=0.1, nt_samples=64, stdevs=0.5, region=region, seed=0
        ... )
        >>> figure, axes = region_figure(certifier.region(certificate.map, radius=0.1), image)
        >>> axes.shape
        (1, 3)
    """
    if not isinstance(certificate, RegionCertificate):
        raise InvalidInputError(f"Expected `certificate` to be a RegionCertificate, got {type(certificate).__name__}.")
    reading = ImageReading(image, certificate.map.layout, len(certificate.map))
    assert isinstance(certificate.mask, Tensor)  # noqa: S101  for the type checker: the reading refused tuples
    masks = any_channel(reading.entries_on_pixels(certificate.mask))
    figure, axes = canvas(reading.images, labels, columns=3, notes=1)
    draw_smoothed(axes[:, 1], certificate, reading)
    for row, images in enumerate(reading.images):
        for panel in axes[row, :2]:
            draw_outline(panel, masks[row], _OUTLINE)
        _draw_share(axes[row, 2], certificate, row, height=images.shape[0] / images.shape[1])
    draw_legend(
        figure,
        [
            Line2D(
                [],
                [],
                color=_OUTLINE,
                linewidth=2,
                path_effects=[withStroke(linewidth=3.7, foreground="black")],
                label=literal(f"region {certificate.name!r}"),
            ),
            Patch(color=STRONG, label="certified to stay"),
            Patch(color=FAINT, label="observed, not certified"),
        ],
        title=f"confidence {written_confidence(certificate.confidence, percent=True)} % for each image",
        columns=3,
        remarks=[SCALE_NOTE],
    )
    return figure, axes


def _draw_share(panel: Axes, certificate: RegionCertificate, row: int, *, height: float) -> None:
    """Draw the certified fraction as a bar over the observed fraction, and both over a bar of the whole saliency."""
    certified, observed = floored_percent(float(certificate.mass[row]), digits=0), float(certificate.observed_mass[row])
    panel.set(xlim=(-6, 106), ylim=(-1, 1), box_aspect=height)
    draw_bar = partial(panel.barh, y=0, height=0.22)
    draw_bar(width=100, color="white", edgecolor="0.4")
    draw_bar(width=100 * observed, color=FAINT)
    panel.text(50, -0.24, f"observed: {100 * observed:.0f} %", ha="center", va="top", fontsize=10)
    draw_bar(width=float(certified), color=STRONG)
    panel.text(50, 0.24, f"certified: at least {certified} %", ha="center", va="bottom", fontsize=10)
    panel.set_title(
        f"saliency that stays in the region\nfor any ‖δ‖₂ ≤ {rounded_down(certificate.radius)}", fontsize=10
    )
