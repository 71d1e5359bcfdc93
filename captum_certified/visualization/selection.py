"""The panel of a selection certificate: which features are decided, and about which the certificate abstains."""

from typing import Any

from matplotlib.patches import Patch
from numpy.typing import NDArray

from captum_certified.certify import SelectionCertificate
from captum_certified.certify.written_numbers import rounded_down
from captum_certified.visualization.images import ImageReading, any_channel
from captum_certified.visualization.palette import OPEN, STRONG
from captum_certified.visualization.panels import draw_marks

__all__ = ["draw_selection"]


def draw_selection(column: NDArray[Any], certificate: SelectionCertificate, reading: ImageReading) -> list[Patch]:
    """Mark selected and abstained features over every faded image, which shows where features are rejected.

    Args:
        column: One panel for each example.
        certificate: The certificate.
        reading: How its map lies over the images.

    Returns:
        What belongs in the legend.
    """
    decided = certificate.feature_selected | certificate.feature_rejected
    selected, abstained = (any_channel(reading.on_pixels(m)) for m in (certificate.feature_selected, ~decided))
    for row, panel in enumerate(column):
        draw_marks(panel, reading.images[row], {OPEN: abstained[row], STRONG: selected[row]})
        panel.set_title(_statement(certificate, row), fontsize=10)
    return [
        Patch(color=STRONG, label="certified selected"),
        Patch(color=OPEN, label="abstained: nothing certified"),
        Patch(facecolor="white", edgecolor="0.6", label="unmarked: certified not selected"),
    ]


def _statement(certificate: SelectionCertificate, row: int) -> str:
    n, size = certificate.map.layout.n_features, f"‖δ‖₂ ≤ {rounded_down(certificate.at_radius)}"
    decided = int((certificate.feature_selected | certificate.feature_rejected)[row].sum())
    if decided == 0:
        return f"no feature of {n} is\ndecided for {size}"
    return f"{100 * decided // n} % of {n} features\nare decided for any {size}"
