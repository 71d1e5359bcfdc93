"""A figure of margins: one row for each photograph, with a mark for each model, and their means."""

import statistics
from collections.abc import Mapping

from matplotlib.figure import Figure

from captum_certified.benchmark.columns import half_width
from captum_certified.exceptions import InvalidInputError
from captum_certified.visualization.colours import BESIDE, KINDS

__all__ = ["margin_figure"]

_MODELS = ((KINDS[0], "o"), (KINDS[4], "s"), (KINDS[1], "D"))
_SHAM = (KINDS[3], "^")


def margin_figure(
    margins: Mapping[str, Mapping[str, float]], *, sham: Mapping[str, Mapping[str, float]], radius: float
) -> Figure:
    """Plot the margins of the same images for several models, and the mean of each model with its 95 % interval.

    The images are in the order of the margins of the first model. A line joins the marks of the models. The
    intervals are those of Student's t.

    Args:
        margins: For the name of each of at most three models, the margin of every image by name.
        sham: The same for a map that looks at no model, or empty.
        radius: ρ, the L2 radius at which the margins are certified.

    Returns:
        The figure.

    Raises:
        InvalidInputError: There are no models, fewer than two images, or the models have different images.

    Example:
        >>> margins = {"alone": {"cat": -0.1, "dog": 0.05}, "behind the denoiser": {"cat": 0.1, "dog": 0.15}}
        >>> [text.get_text() for text in margin_figure(margins, sham={}, radius=0.05).axes[0].get_yticklabels()]
        ['mean', 'cat', 'dog']
    """
    shown = {**margins, **sham}
    images = set.intersection(*map(set, shown.values())) if shown else set()
    if len(images) < 2 or any(set(of) != images for of in shown.values()):
        raise InvalidInputError(
            "Expected `margins` to have the same two or more images for every model, got "
            f"{[len(of) for of in shown.values()]} images, of which {len(images)} are shared."
        )
    first = next(iter(margins.values()))
    order = sorted(images, key=lambda image: (first[image], image))
    figure = Figure(figsize=(8.0, 1.6 + 0.26 * len(order)), layout="constrained")
    axes = figure.subplots()
    for place, image in enumerate(order, start=1):
        ends = [of[image] for of in margins.values()]
        axes.plot(ends, [place] * len(ends), color=BESIDE, linewidth=0.8, zorder=1)
    styles = [*_MODELS[: len(margins)], *[_SHAM] * len(sham)]
    for number, ((name, of), (color, marker)) in enumerate(zip(shown.items(), styles, strict=True)):
        values = [of[image] for image in order]
        axes.scatter(values, range(1, len(order) + 1), color=color, marker=marker, label=name, zorder=2)
        mean, half = statistics.fmean(values), half_width(values)
        height = -0.3 * number
        axes.plot([mean - half, mean + half], [height, height], color=color, linewidth=2, zorder=1)
        axes.scatter([mean], [height], color=color, marker=marker, edgecolor="black", zorder=2)
    axes.axvline(0, color=BESIDE, linewidth=1, zorder=0)
    axes.axhline(0.5, color=BESIDE, linewidth=0.5, zorder=0)
    axes.set_yticks([-0.15 * (len(shown) - 1), *range(1, len(order) + 1)], ["mean", *order], fontsize=8)
    axes.set_xlabel(
        f"margin at ρ = {radius:g} (L2, pixels in [0, 1]): certified of the plain map's top fifth,\n"
        "minus the largest of chance, brightness and random weights"
    )
    axes.set_ylabel("photograph (its ImageNet class)")
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside upper center", ncols=len(shown), frameon=False)
    return figure
