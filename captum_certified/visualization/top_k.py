"""The panel of a top-K certificate: which features are certified by name to stay in the top K."""

from typing import Any

from matplotlib.patches import Patch
from numpy.typing import NDArray
from torch import Tensor

from captum_certified.certify import Certifier, TopKCertificate
from captum_certified.certify.written_numbers import rounded_down
from captum_certified.visualization.images import ImageReading, any_channel
from captum_certified.visualization.palette import FAINT, STRONG
from captum_certified.visualization.panels import draw_marks

__all__ = ["draw_top_k"]


def draw_top_k(column: NDArray[Any], certificate: TopKCertificate, reading: ImageReading) -> list[Patch]:
    """Mark the top K over every faded image, and state the overlap above it.

    Args:
        column: One panel for each example.
        certificate: The certificate.
        reading: How its map lies over the images.

    Returns:
        What belongs in the legend.
    """
    certifier = Certifier(confidence=certificate.confidence, bound=certificate.bound)
    ranks = certifier.rank(certificate.map, radius=certificate.radius, fresh_draws=certificate.fresh_draws)
    counts, entries = ranks.features_in_top_k(certificate.k).sum(dim=1), ranks.in_top_k(certificate.k)
    assert isinstance(entries, Tensor)  # noqa: S101  for the type checker: the reading refused tuples
    named = any_channel(reading.entries_on_pixels(entries))
    top = any_channel(reading.on_pixels(certificate.top_k))
    for row, panel in enumerate(column):
        draw_marks(panel, reading.images[row], {FAINT: top[row], STRONG: named[row]})
        panel.set_title(_statement(certificate, int(certificate.overlap[row]), int(counts[row])), fontsize=10)
    return [
        Patch(color=STRONG, label="certified by name to stay in the top K"),
        Patch(color=FAINT, label="in the top K, not certified by name"),
    ]


def _statement(certificate: TopKCertificate, overlap: int, named: int) -> str:
    size = f"‖δ‖₂ ≤ {rounded_down(certificate.radius)}"
    if overlap == 0:
        return f"nothing is certified of the\ntop {certificate.k} for {size}"
    percent = 100 * overlap // certificate.k  # rounded down: it is a guarantee
    return f"≥ {percent} % of the top {certificate.k} survive\nany {size}, {named} by name"
