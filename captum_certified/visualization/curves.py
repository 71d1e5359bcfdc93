"""The figure of curves: certified overlap over the radius, for several bounds, and the overlap that attacks left."""

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from captum_certified.certify import Certifier
from captum_certified.certify.written_numbers import written_confidence
from captum_certified.checks import resolved_count
from captum_certified.exceptions import InvalidInputError
from captum_certified.maps import SmoothedMap
from captum_certified.visualization.image_layout import Values, as_array
from captum_certified.visualization.panels import BOUNDS

__all__ = ["curve_figure"]

_FEW_RADII = 20  # up to so many radii are marked, also the first, whose step lies on the axis
_DASHES = ("-", "--", "-.", ":")


def curve_figure(
    smoothed_map: SmoothedMap,
    *,
    k: float,
    radii: Sequence[float] | Values,
    bounds: Sequence[str] = ("best", "theorem2"),
    confidence: float = 0.95,
    attacked: Mapping[float, float | Values] | None = None,
) -> tuple[Figure, Axes]:
    """Draw how much of the top K is certified at every radius, one curve for each bound, all from one map.

    For several examples the curve is their mean. Between two radii it shows the overlap at the larger radius, which
    holds at both. What lies between a curve and the points of attacks is neither proved nor refuted. Each curve holds
    with the confidence for each example by itself. The upper envelope of several curves does not.

    Args:
        smoothed_map: A map, for instance ``certificate.map``.
        k: Size of the top set: an int is a count, a float a fraction of the features.
        radii: L2 sizes ρ ≥ 0 of the perturbation, in the units of the input.
        bounds: Names of bounds, as in :class:`~captum_certified.Certifier`.
        confidence: Confidence of each certificate.
        attacked: Fraction of the top K that attacks left, by their radius: a number, or a number for each example.

    Returns:
        The figure and its axes.

    Raises:
        InvalidInputError: There is no radius or no bound, a bound is unknown, or ``attacked`` has something else than a
            fraction for each example.
        CertificationError: A bound does not apply to the map.

    Example:
        >>> import torch
        >>> from captum_certified import SmoothedMap
        >>> from captum_certified.visualization import curve_figure
        >>> counts = torch.tensor([[1000, 990, 980, 30, 20, 10]])
        >>> smoothed_map = SmoothedMap.from_counts(counts, n_samples=1000, stdevs=0.2)
        >>> figure, axes = curve_figure(smoothed_map, k=3, radii=[0.0, 0.1, 0.2, 0.4], attacked={0.2: 1.0})
        >>> [round(float(share), 1) for share in axes.lines[1].get_ydata()]
        [66.7, 66.7, 66.7, 0.0]
    """
    grid = np.sort(np.array([float(radius) for radius in radii]))
    if not len(grid) or not len(bounds):
        raise InvalidInputError(f"Expected a radius and a bound, got {len(grid)} `radii` and {len(bounds)} `bounds`.")
    count, rows = resolved_count("k", k, smoothed_map.layout.n_features), len(smoothed_map)
    figure = Figure(figsize=(6.4, 4.8), layout="constrained")
    axes = figure.subplots()
    for bound, dashes in zip(bounds, itertools.cycle(_DASHES)):
        overlaps = Certifier(confidence=confidence, bound=bound).top_k_curve(smoothed_map, k=count, radii=grid.tolist())
        share = 100 * overlaps.double().mean(dim=0).numpy() / count
        axes.plot(
            grid,
            share,
            color=BOUNDS[bound],
            linestyle=dashes,
            linewidth=1.8,
            drawstyle="steps-pre",
            marker="." if len(grid) <= _FEW_RADII else None,
            clip_on=False,
            label=bound,
        )
    if attacked:
        points = [(radius, 100 * _share(left, rows)) for radius, left in sorted(attacked.items())]
        axes.plot(
            *zip(*points, strict=True), "kX", markersize=7, linestyle="none", clip_on=False, label="left by an attack"
        )
    axes.set(xlim=(0, max([grid[-1], *(attacked or {})]) * 1.02 or 1.0), ylim=(0, 104))
    axes.set_xlabel("L2 radius ρ of the perturbation, in the units of the input")
    axes.set_ylabel(f"share of the top {count} that stays, %")
    axes.spines[["top", "right"]].set_visible(False)
    mean = "" if rows == 1 else f", mean of {rows} examples"
    certified = f"certified at confidence {written_confidence(confidence, percent=True)} %"
    axes.set_title(f"{certified}, each curve by itself{mean}", fontsize=10)
    # Below the axes the legend hides no curve.
    figure.legend(loc="outside lower center", ncols=3, frameon=False)
    return figure, axes


def _share(left: float | Values, rows: int) -> float:
    shares = as_array(left).astype(np.float64)
    if shares.shape not in ((), (1,), (rows,)) or not ((shares >= 0) & (shares <= 1)).all():
        raise InvalidInputError(f"Expected `attacked` to be shares in [0, 1], one or {rows} a radius, got {left}.")
    return float(shares.mean())
