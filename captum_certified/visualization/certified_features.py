"""What top-K and selection certificates prove about single features, and the panels that mark these features."""

from matplotlib.patches import Patch
from torch import Tensor

from captum_certified.certify import Certifier, SelectionCertificate, TopKCertificate
from captum_certified.certify.feature_table import top_k_radii
from captum_certified.certify.written_numbers import rounded_down
from captum_certified.exceptions import InvalidInputError
from captum_certified.visualization.colours import FAINT, NOTHING, STRONG
from captum_certified.visualization.image_layout import ImageReading, any_channel
from captum_certified.visualization.outlines import draw_feature_outlines
from captum_certified.visualization.panels import Panels, draw_marks, nothing_patch
from captum_certified.visualization.titles import individually, others_in_set, overlap_title, set_named

__all__ = ["check_exact", "check_kind", "draw_selection", "draw_top_k", "radii_in_top_k"]


def check_kind(certificate: TopKCertificate | SelectionCertificate) -> None:
    """Raise InvalidInputError for a certificate that is neither about top-K overlap nor about selection."""
    if not isinstance(certificate, TopKCertificate | SelectionCertificate):
        raise InvalidInputError(
            "Expected `certificate` to be a TopKCertificate or a SelectionCertificate, got "
            f"{type(certificate).__name__}."
        )


def check_exact(certificate: TopKCertificate) -> None:
    """Raise InvalidInputError for a certificate about fresh draws, because radii of features concern the exact map."""
    if certificate.fresh_draws is not None:
        raise InvalidInputError(
            f"Expected a certificate about the exact map, got one with `fresh_draws`={certificate.fresh_draws}."
        )


def radii_in_top_k(certificate: TopKCertificate) -> Tensor:
    """Return the radius up to which each feature of the exact map certifiably stays in the top K, shape (N, n)."""
    check_exact(certificate)
    return top_k_radii(certificate.map, certificate.bound, certificate.k, 1 - certificate.confidence)


def draw_top_k(column: Panels, certificate: TopKCertificate, reading: ImageReading) -> list[Patch]:
    """Mark the certificate's set of features on every faded image, and state the certified overlap in the title.

    ``column`` has one panel for each example. The set is hatched where nothing is certified of it. The function returns
    the entries of the legend.
    """
    certifier = Certifier(confidence=certificate.confidence, bound=certificate.bound)
    ranks = certifier.rank(certificate.map, radius=certificate.radius, fresh_draws=certificate.fresh_draws)
    certified = ranks.features_in_top_k(certificate.k) & certificate.members
    members, named = (any_channel(reading.on_pixels(features)) for features in (certificate.members, certified))
    counts = certified.sum(dim=1)
    nothing = (certificate.overlap == 0) & (counts == 0)
    for row, panel in enumerate(column):
        draw_marks(panel, reading.images[row], {NOTHING if nothing[row] else FAINT: members[row], STRONG: named[row]})
        draw_feature_outlines(panel, reading, row)
        panel.set_title(overlap_title(certificate, row), fontsize=10)
    handles: list[Patch] = []
    if not nothing.all():
        handles = [
            Patch(color=STRONG, label=individually(counts[~nothing].tolist())),
            Patch(color=FAINT, label=others_in_set(certificate, (certificate.overlap - counts)[~nothing].tolist())),
        ]
    if nothing.any():
        handles.append(nothing_patch(f"{set_named(certificate)}: nothing is certified"))
    return handles


def draw_selection(column: Panels, certificate: SelectionCertificate, reading: ImageReading) -> list[Patch]:
    """Mark selected and undecided features on every faded image. Rejected features stay unmarked.

    ``column`` has one panel for each example. The function returns the entries of the legend.
    """
    decided = certificate.feature_selected | certificate.feature_rejected
    selected, abstained = (any_channel(reading.on_pixels(m)) for m in (certificate.feature_selected, ~decided))
    for row, panel in enumerate(column):
        draw_marks(panel, reading.images[row], {NOTHING: abstained[row], STRONG: selected[row]})
        draw_feature_outlines(panel, reading, row)
        panel.set_title(_selection_title(certificate, int(decided[row].sum())), fontsize=10)
    return [
        Patch(color=STRONG, label="certified selected"),
        nothing_patch("undecided: nothing is certified"),
        Patch(facecolor="white", edgecolor="0.6", label="unmarked: certified not selected"),
    ]


def _selection_title(certificate: SelectionCertificate, decided: int) -> str:
    n, size = certificate.map.layout.n_features, f"‖δ‖₂ ≤ {rounded_down(certificate.at_radius)}"
    if decided == 0:
        return f"no feature of {n} is\ndecided for {size}"
    return f"{100 * decided // n} % of {n} features\nare decided for any {size}"
