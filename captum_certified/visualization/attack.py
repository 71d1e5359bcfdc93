"""The figure of an attack: the image before and after, its map before and after, and what is left of the top K."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray
from torch import Tensor

from captum_certified.certify.written_numbers import floored_percent
from captum_certified.checks import resolved_count
from captum_certified.exceptions import InvalidInputError
from captum_certified.maps import FeatureLayout
from captum_certified.theory import top_k_mask
from captum_certified.visualization.images import ImageReading, any_channel, checked_labels, displayable, literal
from captum_certified.visualization.palette import LEFT, NEW, STAYED
from captum_certified.visualization.panels import canvas, draw_heat, draw_image, draw_marks

__all__ = ["attack_figure"]


def attack_figure(
    image: Tensor | NDArray[Any],
    perturbed: Tensor | NDArray[Any],
    before: Tensor | NDArray[Any],
    after: Tensor | NDArray[Any],
    *,
    k: float,
    certified: Sequence[float | None] | Tensor | None = None,
    labels: Sequence[str] | None = None,
    names: Sequence[str] | None = None,
) -> tuple[Figure, NDArray[Any]]:
    """Draw image and map before and after an attack, one row of panels for each example.

    The last panel shows the top K over the faded image: blue where a feature stayed, purple where it left,
    yellow where another entered; a pixel of several channels is marked by its strongest mark. Heat maps show sums of
    magnitudes over channels.

    Args:
        image: The clean images: (N, C, H, W), (N, H, W, C) or (N, H, W), tensor or array, grey or RGB; without N for
            one example.
        perturbed: The attacked images, of the same shape.
        before: Maps at the clean images, shape (N, …), tensor or array.
        after: Maps at the attacked images, of the same shape.
        k: Size of the top set: an int is a count, a float a fraction of the map's entries, rounded up.
        certified: For every example the share of the top K that was certified at the size of the attack, or ``None``
            where there is no certificate.
        labels: A title of each image.
        names: What each map is called.

    Returns:
        The figure and its axes, shape (N, 5).

    Raises:
        InvalidInputError: Images, maps, ``certified``, ``labels`` or ``names`` do not fit each
            other, or ``k`` is out of range.

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
    layout = FeatureLayout.of(entries[:1], is_tuple=False, rows=rows)
    clean, attacked = (ImageReading(images, layout, rows) for images in (image, perturbed))
    notes = [None] * rows if certified is None else list(certified)
    if len(notes) != rows:
        raise InvalidInputError(f"Expected {rows} `certified`, one for each example, got {len(notes)}.")
    if names is not None and len(names) != rows:
        raise InvalidInputError(f"Expected {rows} `names`, one for each example, got {len(names)}.")
    titles = checked_labels(labels, rows)
    maps = [layout.flatten([m], rows) for m in entries]
    top = [_marked(features, resolved_count("k", k, layout.n_features)) for features in maps]
    figure, axes = canvas(clean.images.shape, columns=5)
    for row in range(rows):
        draw_image(axes[row, 0], displayable(clean.images[row]))
        draw_image(axes[row, 1], displayable(attacked.images[row]))
        axes[row, 0].set_title(titles[row], fontsize=10)
        axes[row, 1].set_title(f"attacked: {_sizes(clean.images[row], attacked.images[row])}", fontsize=10)
    for column, features, state in zip((2, 3), maps, ("", ",\nattacked"), strict=True):
        draw_heat(axes[:, column], clean.on_pixels(features))
        for row, name in enumerate(["map"] if names is None else names):
            axes[row, column].set_title(literal(f"{name}{state}"), fontsize=10)
    pixels = [any_channel(clean.on_pixels(torch.from_numpy(mask))) for mask in (*top, top[0] & top[1])]
    for row, panel in enumerate(axes[:, 4]):
        was, became, stayed = (mask[row] for mask in pixels)
        draw_marks(panel, clean.images[row], {NEW: became, LEFT: was, STAYED: stayed})
        panel.set_title(_statement(int((top[0] & top[1])[row].sum()), int(top[0][row].sum()), notes[row]), fontsize=10)
    marks = {STAYED: "stays in the top K", LEFT: "leaves it", NEW: "enters it"}
    figure.legend(
        handles=[Patch(color=colour, label=label) for colour, label in marks.items()],
        fontsize=10,
        loc="lower center",
        ncols=3,
        frameon=False,
    )
    return figure, axes


def _marked(features: Tensor, k: int) -> NDArray[np.bool_]:
    mask, _ = top_k_mask(features.numpy(), k)
    return mask


def _sizes(clean: NDArray[Any], attacked: NDArray[Any]) -> str:
    difference = attacked.astype(np.float64) - clean.astype(np.float64)
    return f"‖δ‖₂ = {np.linalg.norm(difference):.3g},\nat most {np.abs(difference).max():.2g} a pixel"


def _statement(stayed: int, k: int, certified: float | None) -> str:
    # What an attack leaves bounds from above, so it is rounded up.
    text = f"{-(-100 * stayed // k)} % of the top {k} stay"
    return text if certified is None else f"{text};\n≥ {floored_percent(float(certified), digits=0)} % were certified"
