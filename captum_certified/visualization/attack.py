"""The figure of an attack: the image and its map before and after the attack, and how much of the top K stays."""

from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from torch import Tensor

from captum_certified.certify.written_numbers import floored_percent
from captum_certified.checks import resolved_count
from captum_certified.exceptions import InvalidInputError
from captum_certified.maps import FeatureLayout, Groups
from captum_certified.theory import top_k_mask
from captum_certified.visualization.colours import ATTACKED, LEFT, NEW
from captum_certified.visualization.image_layout import ImageReading, Pixels, Values, any_channel, displayable
from captum_certified.visualization.outlines import draw_feature_outlines
from captum_certified.visualization.panels import (
    SCALE_NOTE,
    Panels,
    canvas,
    draw_heat,
    draw_image,
    draw_legend,
    draw_marks,
    literal,
)

__all__ = ["attack_figure"]

_ROUNDING = 1e-12  # relative rounding error that a mean of equal numbers may have


def attack_figure(
    image: Values,
    perturbed: Values,
    before: Values,
    after: Values,
    *,
    k: float,
    certified: Sequence[float | None] | Tensor | None = None,
    labels: Sequence[str] | None = None,
    names: Sequence[str] | None = None,
    groups: Groups = None,
) -> tuple[Figure, Panels]:
    """Draw the image and its map before and after an attack, in one row of panels for each example.

    The last panel shows the top K over the faded image: blue for features that stay, purple for features that leave,
    yellow for features that enter. If the channels of a pixel differ, the pixel is blue rather than purple, and purple
    rather than yellow. Thin lines show cells or regions that are features; the legend states their number. Heat maps
    show sums of magnitudes over channels, and each has its own scale.

    Args:
        image: The clean images, grey or RGB, tensor or array of shape (N, C, H, W), (N, H, W, C) or (N, H, W). One
            example may be given without N.
        perturbed: The attacked images, of the same shape.
        before: Maps at the clean images, tensor or array of shape (N, …).
        after: Maps at the attacked images, of the same shape.
        k: Size of the top set: an int is a count, a float a fraction of the features, rounded up.
        certified: Fraction of the top K that was certified at the radius of the attack, one for each example; ``None``
            for an example without a certificate.
        labels: A title for each image.
        names: A name for each example's map.
        groups: Groups of entries that form one feature, as in
            :meth:`~captum_certified.SmoothedAttribution.attribute`: ``"channels"``, ``"patches:8"`` or integer masks.
            Each entry of a map should then hold the value of its group, as in ``certificate.map.mean``. If the entries
            of a group differ, their mean magnitude is used. ``None`` for maps whose entries are the features.

    Returns:
        The figure and its axes, shape (N, 5).

    Raises:
        InvalidInputError: Images, maps, ``certified``, ``labels``, ``names`` or ``groups`` do not fit each other, or
            ``k`` is out of range.

    Example:
        >>> import torch
        >>> from captum_certified.visualization import attack_figure
        >>> image, noise = torch.rand(1, 1, 8, 8), 0.01 * torch.randn(1, 1, 8, 8)
        >>> maps = torch.rand(2, 1, 8, 8)
        >>> figure, axes = attack_figure(image, image + noise, maps[:1], maps[1:], k=10)
        >>> axes.shape
        (1, 5)
    """
    if before.shape != after.shape:
        raise InvalidInputError(
            f"Expected `after` of the shape of `before`, {tuple(before.shape)}, got {tuple(after.shape)}."
        )
    entries, rows = [torch.as_tensor(m, device="cpu").detach() for m in (before, after)], len(before)
    layout = FeatureLayout.of(entries[:1], is_tuple=False, rows=rows, groups=groups)
    clean, attacked = (ImageReading(images, layout, rows) for images in (image, perturbed))
    notes = [None] * rows if certified is None else list(certified)
    if len(notes) != rows:
        raise InvalidInputError(f"Expected {rows} `certified`, one for each example, got {len(notes)}.")
    if names is not None and len(names) != rows:
        raise InvalidInputError(f"Expected {rows} `names`, one for each example, got {len(names)}.")
    maps = [layout.flatten([m], rows) if groups is None else _group_values(layout, m.double()) for m in entries]
    count = resolved_count("k", k, layout.n_features)
    top = [top_k_mask(features.numpy(), count)[0] for features in maps]
    figure, axes = canvas(clean.images, labels, columns=5, notes=1)
    for row in range(rows):
        draw_image(axes[row, 1], displayable(attacked.images[row]))
        axes[row, 1].set_title(f"attacked: {_change(clean.images[row], attacked.images[row])}", fontsize=10)
    for column, features, state in zip((2, 3), maps, ("", ",\nattacked"), strict=True):
        draw_heat(axes[:, column], clean.on_pixels(features))
        for row, name in enumerate(["map"] if names is None else names):
            axes[row, column].set_title(literal(f"{name}{state}"), fontsize=10)
    pixels = [any_channel(clean.on_pixels(torch.from_numpy(mask))) for mask in (*top, top[0] & top[1])]
    for row, panel in enumerate(axes[:, 4]):
        was, became, stayed = (mask[row] for mask in pixels)
        draw_marks(panel, clean.images[row], {NEW: became, LEFT: was, ATTACKED: stayed})
        draw_feature_outlines(panel, clean, row)
        panel.set_title(_statement(int((top[0] & top[1])[row].sum()), int(top[0][row].sum()), notes[row]), fontsize=10)
    marks = {ATTACKED: "stays in the top K", LEFT: "leaves the top K", NEW: "enters the top K"}
    handles = [Patch(color=colour, label=label) for colour, label in marks.items()]
    draw_legend(figure, handles, title=f"top {count} of {clean.features}", columns=3, remarks=[SCALE_NOTE])
    return figure, axes


def _group_values(layout: FeatureLayout, entries: Tensor) -> Tensor:
    """Return the mean magnitude of the entries of every group, shape (N, n)."""
    assert layout.group_ids is not None  # noqa: S101  for the type checker: the caller has groups
    means, [ids] = layout.group_means([entries]), layout.group_ids
    index = ids.reshape(len(ids), -1).expand(len(entries), -1)
    largest = torch.zeros_like(means).scatter_reduce(1, index, entries.abs().flatten(1), "amax")
    # The mean of equal entries can differ from these in the last digit. Without correction, equal groups would not tie.
    return torch.where((means - largest).abs() <= _ROUNDING * largest, largest, means)


def _change(clean: Pixels, attacked: Pixels) -> str:
    difference = attacked.astype(np.float64) - clean.astype(np.float64)
    return f"‖δ‖₂ = {np.linalg.norm(difference):.3g},\nat most {np.abs(difference).max():.2g} a pixel"


def _statement(stayed: int, k: int, certified: float | None) -> str:
    # The overlap after an attack is an upper bound on the overlap that can be guaranteed, so it is rounded up.
    text = f"{-(-100 * stayed // k)} % of the top {k} stay"
    return text if certified is None else f"{text};\n≥ {floored_percent(float(certified), digits=0)} % were certified"
