"""The figure of curves: certified overlap against the radius for several bounds, and the overlap after attacks."""

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from captum_certified.certify import Certifier
from captum_certified.certify.reference import Reference, with_reference
from captum_certified.certify.written_numbers import written_confidence
from captum_certified.checks import resolved_count
from captum_certified.exceptions import InvalidInputError
from captum_certified.maps import SmoothedMap
from captum_certified.visualization.colours import ATTACKED, BOUNDS
from captum_certified.visualization.feature_names import counted
from captum_certified.visualization.image_layout import Values, as_array

__all__ = ["curve_figure"]

_FEW_RADII = 20  # up to this many radii get markers; without a marker the first radius would hardly show
_DASHES = ("-", "--", "-.", ":")
_WITHOUT_REFERENCE = "theorem2"  # this bound is about a map's own top K only


def curve_figure(
    smoothed_map: SmoothedMap,
    *,
    k: float,
    radii: Sequence[float] | Values,
    bounds: Sequence[str] = ("best", "theorem2"),
    confidence: float = 0.95,
    attacked: Mapping[float, float | Values] | None = None,
    reference: Reference = None,
    of_plain: bool = False,
) -> tuple[Figure, Axes]:
    """Draw how much of a map's top K is certified at every radius, one curve for each bound.

    For several examples a curve is the mean of their overlaps. Between two radii a curve shows the overlap at the
    larger radius, which also holds at smaller radii. An overlap between a curve and the points of attacks is neither
    proved nor refuted. For each example, each curve by itself holds with the given confidence. The upper envelope of
    several curves does not hold with this confidence.

    Args:
        smoothed_map: A map, for instance ``certificate.map``.
        k: Size of the top set: an int is a count, a float a fraction of the features.
        radii: L2 sizes ρ ≥ 0 of the perturbation, in the units of the input.
        bounds: Names of bounds, as in :class:`~captum_certified.Certifier`.
        confidence: Confidence of each certificate.
        attacked: For each radius of attacks, the fraction of the top K that they left: one number, or one for each
            example.
        reference: The set of features whose overlap with the top K is drawn, as in
            :meth:`~captum_certified.Certifier.top_k`. For the set of a certificate give ``"plain"``, or ``"recorded"``
            together with ``certificate.map``. Overlaps are then fractions of K, or of the set's size if it is smaller.
        of_plain: Whether to draw a dashed curve of the plain map's top K beside each curve of the map's own top K.
            ``"theorem2"`` has no dashed curve.

    Returns:
        The figure and its axes.

    Raises:
        InvalidInputError: There is no radius or no bound, a bound is unknown or does not allow the ``reference``,
            ``attacked`` holds a number outside of [0, 1] or a wrong shape, or ``of_plain`` is combined with a
            ``reference``.
        CertificationError: A bound does not apply to the map, or the plain map is needed but is unknown or zero.

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
    if of_plain and reference is not None:
        raise InvalidInputError(f"Expected no `reference` with `of_plain`, got {reference!r:.40}.")
    count, rows = resolved_count("k", k, smoothed_map.layout.n_features), len(smoothed_map)
    figure = Figure(figsize=(6.4, 4.8), layout="constrained")
    axes = figure.subplots()
    for bound, dashes in zip(bounds, itertools.cycle("-" if of_plain else _DASHES)):
        certifier = Certifier(confidence=confidence, bound=bound)
        _draw_curve(axes, grid, _shares(certifier, smoothed_map, count, grid, reference), bound, dashes)
        if of_plain and bound != _WITHOUT_REFERENCE:
            shares = _shares(certifier, smoothed_map, count, grid, "plain")
            _draw_curve(axes, grid, shares, bound, "--", label=f"{bound}: plain map's top K")
    if attacked:
        points = [(radius, 100 * _share(left, rows)) for radius, left in sorted(attacked.items())]
        axes.plot(
            *zip(*points, strict=True),
            "X",
            color=ATTACKED,
            markersize=7,
            linestyle="none",
            clip_on=False,
            label="left by an attack",
        )
    axes.set(xlim=(0, max([grid[-1], *(attacked or {})]) * 1.02 or 1.0), ylim=(0, 104))
    axes.set_xlabel("L2 radius ρ of the perturbation, in the units of the input")
    axes.set_ylabel(_what(count, reference))
    axes.spines[["top", "right"]].set_visible(False)
    mean = "" if rows == 1 else f", mean of {rows} examples"
    certified = f"certified at confidence {written_confidence(confidence, percent=True)} %"
    layout = smoothed_map.layout
    of = "" if layout.group_ids is None else f"\ntop {count} of {counted(layout)}"
    alone = ", each curve by itself" if len(bounds) > 1 or of_plain else ""
    axes.set_title(f"{certified}{alone}{mean}{of}", fontsize=10)
    # The legend is below the axes, where it hides no curve.
    figure.legend(loc="outside lower center", ncols=2 if of_plain else 3, frameon=False)
    return figure, axes


def _shares(
    certifier: Certifier, smoothed_map: SmoothedMap, k: int, grid: NDArray[np.float64], reference: Reference
) -> NDArray[np.float64]:
    """Return the mean certified overlap at every radius, in percent of K or of a smaller reference set."""
    overlaps = certifier.top_k_curve(smoothed_map, k=k, radii=grid.tolist(), reference=reference)
    members = with_reference(smoothed_map, reference, k).reference
    sizes = torch.tensor(k) if members is None else members.sum(dim=1, keepdim=True).clamp_max(k)
    return np.asarray(100 * (overlaps.double() / sizes).mean(dim=0).numpy())


def _draw_curve(
    axes: Axes,
    grid: NDArray[np.float64],
    shares: NDArray[np.float64],
    bound: str,
    dashes: str,
    *,
    label: str | None = None,
) -> None:
    axes.plot(
        grid,
        shares,
        color=BOUNDS[bound],
        linestyle=dashes,
        linewidth=1.8,
        drawstyle="steps-pre",
        marker="." if len(grid) <= _FEW_RADII else None,
        clip_on=False,
        label=bound if label is None else label,
    )


def _what(k: int, reference: Reference) -> str:
    if reference is None:
        return f"share of the top {k} that stays, %"
    return f"share of the {'plain map' if reference == 'plain' else 'reference'} in the top {k}, %"


def _share(left: float | Values, rows: int) -> float:
    shares = as_array(left).astype(np.float64)
    if shares.shape not in ((), (1,), (rows,)) or not ((shares >= 0) & (shares <= 1)).all():
        raise InvalidInputError(
            f"Expected `attacked` to be fractions in [0, 1], one or {rows} for each radius, got {left}."
        )
    return float(shares.mean())
