"""The figure of a pilot: the overlap that each setting may certify, beside the overlap of maps without training."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from captum_certified.certify.pilot import Pilot, PilotRow
from captum_certified.certify.written_numbers import rounded_down
from captum_certified.visualization.colours import BESIDE, STRONG
from captum_certified.visualization.panels import Panels, literal

__all__ = ["pilot_figure"]

_WIDTH, _ROW, _HEAD, _FOOT = 6.8, 0.3, 0.5, 1.15  # inches


def pilot_figure(pilot: Pilot) -> tuple[Figure, Panels]:
    """Draw the forecasts of a pilot, one panel for each method and one line for each setting.

    A filled mark is the forecast of the certified overlap of the plain map's top set. An open mark is the forecast for
    the smoothed map's own top set. The grey bar ends at the largest overlap of a top set chosen by chance, by
    brightness or by random weights. A filled mark within the bar has no margin. The best setting of each method is in
    bold.

    Args:
        pilot: The pilot to draw.

    Returns:
        The figure and its axes, shape (methods, 1).

    Example:
        >>> import torch
        >>> from captum.attr import Saliency
        >>> from captum_certified import SparsifiedSmoothGrad, pilot
        >>> from captum_certified.visualization import pilot_figure
        >>> model = torch.nn.Sequential(torch.nn.Linear(16, 8), torch.nn.Softplus(), torch.nn.Linear(8, 3))
        >>> table = pilot(
        ...     SparsifiedSmoothGrad(Saliency(model), tau=0.25), torch.rand(2, 16), k=4, radius=0.01, nt_samples=1024,
        ...     stdevs=[0.1, 0.2], pilot_samples=256, target=0, seed=0
        ... )  # fmt: skip
        >>> pilot_figure(table)[1].shape
        (1, 1)
    """
    methods = {row.method: [one for one in pilot.rows if one.method == row.method] for row in pilot.rows}
    heights = [len(rows) for rows in methods.values()]
    height = _HEAD * len(methods) + _ROW * sum(heights) + _FOOT
    figure = Figure(figsize=(_WIDTH, height), layout="constrained")
    axes: Panels = figure.subplots(len(methods), 1, squeeze=False, height_ratios=heights, sharex=True)
    for [panel], (method, rows) in zip(axes, methods.items(), strict=True):
        panel.set_title(literal(method), fontsize=10, loc="left")
        _draw_rows(panel, rows, best=pilot.best[method])
    axes[-1, 0].set_xlabel(
        f"forecast of the certified overlap, %\n({pilot.nt_samples} draws, L2 radius {rounded_down(pilot.radius)})"
    )
    handles = [
        Line2D([], [], marker="o", linestyle="", color=STRONG, label="of the plain map's top set"),
        Line2D(
            [], [], marker="o", linestyle="", color=STRONG, fillstyle="none", label="of the smoothed map's own top set"
        ),
        Patch(color=BESIDE, alpha=0.45, label="reached by chance, brightness or random weights"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    return figure, axes


def _draw_rows(panel: Axes, rows: list[PilotRow], *, best: PilotRow) -> None:
    places = np.arange(len(rows))
    others = [max(v for v in (r.chance, r.brightness, r.randomised) if v is not None) for r in rows]
    panel.barh(places, [100 * value for value in others], color=BESIDE, alpha=0.45, height=0.7)
    panel.plot([100 * r.forecast_own for r in rows], places, "o", color=STRONG, fillstyle="none", markersize=9)
    panel.plot([100 * r.forecast_plain for r in rows], places, "o", color=STRONG)
    panel.set_yticks(places, [_setting(row) for row in rows], fontsize=9)
    for label, row in zip(panel.get_yticklabels(), rows, strict=True):
        label.set_fontweight("bold" if row is best else "normal")
    panel.set(xlim=(0, 100), ylim=(len(rows) - 0.4, -0.6))
    panel.spines[["top", "right"]].set_visible(False)


def _setting(row: PilotRow) -> str:
    tau = "" if row.tau is None else f", τ = {row.tau:g}"
    kept = "" if row.class_kept is None else f", class kept {100 * row.class_kept:.0f} %"
    groups = "" if row.groups == "none" else f", {row.groups}"
    return f"σ = {row.sigma:g}{tau}{groups}{kept}"
