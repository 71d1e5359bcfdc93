"""The figure of named features: each mean score as a bar, the range of the exact score, and what is certified."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from numpy.typing import NDArray
from torch import Tensor

from captum_certified.certify import SelectionCertificate, TopKCertificate
from captum_certified.certify.feature_table import feature_names_of, score_range
from captum_certified.certify.written_numbers import rounded_down, written_confidence
from captum_certified.exceptions import InvalidInputError
from captum_certified.visualization.certified_features import check_kind, radii_in_top_k
from captum_certified.visualization.colours import FAINT, NOTHING, OUTSIDE, STRONG
from captum_certified.visualization.feature_names import counted
from captum_certified.visualization.outlines import HATCHES
from captum_certified.visualization.panels import Panels, checked_labels, draw_legend, literal, nothing_patch
from captum_certified.visualization.titles import bar_headline, reference_named

__all__ = ["bar_figure"]

# Sizes in inches.
_BAR = 0.26
_AROUND_BARS = 1.2
_FOOT = 0.9

_LONGEST_NAME = 32


def bar_figure(
    certificate: TopKCertificate | SelectionCertificate,
    *,
    feature_names: Sequence[str] | None = None,
    labels: Sequence[str] | None = None,
    most: int = 20,
) -> tuple[Figure, Panels]:
    """Draw a bar for each named feature, the most salient first, in one panel for each example.

    A bar is the mean of the feature over the draws. A whisker is the range in which the exact score certifiably stays
    under every perturbation within the certificate's radius. The title states what is certified of the example: the
    overlap, or how many features are decided. The colour says what is certified *about this feature*. For a top-K
    certificate: whether the feature stays in the top K. For a selection certificate: whether the feature stays
    selected, stays not selected, or is undecided. Hatches mean that nothing is certified. If a top-K certificate is
    about a reference set other than the map's own top K, only the features of this set are coloured.

    Args:
        certificate: A certificate of top-K overlap or of selection, for any features: columns of a table, tokens,
            segments.
        feature_names: Names of the n features. By default a feature is named by its position in the map.
        labels: A title for each example.
        most: Largest number of features to show for each example, at least 1.

    Returns:
        The figure and its axes, shape (N,).

    Raises:
        InvalidInputError: The certificate is of another kind, ``most`` is not a positive integer, or the number of
            names or labels does not fit.

    Example:
        >>> import torch
        >>> from captum_certified import Certifier, SmoothedMap
        >>> from captum_certified.visualization import bar_figure
        >>> counts = torch.tensor([[1000, 980, 30, 10]])
        >>> smoothed_map = SmoothedMap.from_counts(counts, n_samples=1000, stdevs=0.2)
        >>> certificate = Certifier().top_k(smoothed_map, k=2, radius=0.1)
        >>> figure, axes = bar_figure(certificate, feature_names=["age", "weight", "height", "sex"])
        >>> [label.get_text() for label in axes[0].get_yticklabels()]
        ['age', 'weight', 'height', 'sex']
    """
    colours, legend = _colours(certificate)
    smoothed = certificate.map
    rows, n = smoothed.features.shape
    names = feature_names_of(smoothed.layout) if feature_names is None else [str(name) for name in feature_names]
    if len(names) != n:
        raise InvalidInputError(f"Expected {n} `feature_names`, got {len(names)}.")
    titles, shown = checked_labels(labels, rows) if labels is not None else None, _shown(most, n)
    names = [literal(name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…") for name in names]
    lower, upper = score_range(smoothed, certificate.bound, certificate.at_radius, 1 - certificate.confidence)
    figure = Figure(figsize=(6.4, rows * (shown * _BAR + _AROUND_BARS) + _FOOT), layout="constrained")
    axes: Panels = figure.subplots(rows, 1, sharex=True, squeeze=False)[:, 0]
    for row, panel in enumerate(axes):
        order = smoothed.features[row].argsort(descending=True, stable=True)[:shown].tolist()
        ends = np.clip(np.stack([lower[row, order].numpy(), upper[row, order].numpy()]), 0.0, None)
        _draw_bars(panel, smoothed.features[row, order].numpy(), ends, [colours[row][i] for i in order])
        panel.set_yticks(range(shown), [names[i] for i in order], fontsize=9)
        headline = bar_headline(certificate, row)
        headline = headline if titles is None else f"{titles[row]}: {headline}"
        panel.set_title(f"{headline}\n{_title(certificate, shown, n)}", fontsize=10)
        if isinstance(certificate, SelectionCertificate):
            panel.axvline(0.5, color="0.3", linestyle=":", linewidth=1)
    axes[-1].set_xlim(0, 1.03 * max(float(smoothed.features.max()), float(upper.max())))
    axes[-1].set_xlabel("mean over the draws", fontsize=10)
    radius = rounded_down(certificate.at_radius)
    confidence = written_confidence(certificate.confidence, percent=True)
    draw_legend(
        figure,
        [
            *(
                nothing_patch(label) if colour == NOTHING else Patch(facecolor=colour, label=label)
                for colour, label in legend.items()
                if any(colour in row for row in colours)
            ),
            Line2D([], [], color="black", linewidth=1.2, label=f"exact score for any ‖δ‖₂ ≤ {radius}"),
        ],
        title=f"confidence {confidence} % for each example · bound {certificate.bound}",
        columns=2,
        place="outside lower center",
    )
    return figure, axes


def _colours(certificate: TopKCertificate | SelectionCertificate) -> tuple[list[list[str]], dict[str, str]]:
    """Return a colour for each feature of each example, and the meaning of each colour."""
    check_kind(certificate)
    if isinstance(certificate, TopKCertificate):
        radii, members = radii_in_top_k(certificate), certificate.members
        named = (radii > 0) & (radii >= certificate.at_radius) & members
        nothing = (certificate.overlap == 0) & ~named.any(dim=1)
        what = reference_named(certificate)
        legend = {
            STRONG: "certified individually",
            FAINT: f"{what}, not certified individually",
            OUTSIDE: f"not {what}",
        }
        if nothing.any():
            legend[NOTHING] = f"{what}: nothing is certified"
        choices = {STRONG: named, NOTHING: members & nothing.unsqueeze(1), FAINT: members}
        return _coloured(choices, OUTSIDE), legend
    decided = certificate.feature_selected | certificate.feature_rejected
    legend = {
        STRONG: "certified selected",
        NOTHING: "undecided: nothing is certified",
        OUTSIDE: "certified not selected",
    }
    return _coloured({STRONG: certificate.feature_selected, NOTHING: ~decided}, OUTSIDE), legend


def _coloured(choices: Mapping[str, Tensor], other: str) -> list[list[str]]:
    """Return the colour of each feature: the first whose mask, shape (N, n), holds it, else ``other``."""
    masks = [mask.numpy() for mask in choices.values()]
    colours: list[list[str]] = np.select(masks, list(choices), other).tolist()
    return colours


def _shown(most: int, n: int) -> int:
    if isinstance(most, bool) or not isinstance(most, int) or most < 1:
        raise InvalidInputError(f"Expected `most` to be an integer from 1, got {most!r}.")
    return min(most, n)


def _draw_bars(panel: Axes, means: NDArray[np.floating], ends: NDArray[np.floating], colours: list[str]) -> None:
    places = np.arange(len(means))
    for bar, colour in zip(panel.barh(places, means, color=colours, height=0.72), colours, strict=True):
        if colour == NOTHING:
            bar.set(**HATCHES)
    panel.hlines(places, *ends, color="black", linewidth=1.2)
    for end in ends:
        panel.plot(end, places, "k|", markersize=6)
    panel.set_ylim(len(means) - 0.5, -0.5)
    panel.spines[["top", "right"]].set_visible(False)


def _title(certificate: TopKCertificate | SelectionCertificate, shown: int, n: int) -> str:
    features = counted(certificate.map.layout) if certificate.map.layout.group_ids else f"{n} features"
    which = f"the {shown} most salient of {features}" if shown < n else f"all {features}"
    if not isinstance(certificate, TopKCertificate):
        return which
    return f"{which}, K = {certificate.k}"
