"""Figures and reports of certificates and attacks, in the manner of :mod:`captum.attr.visualization`.

Images may be arrays or tensors. Every figure function returns ``(figure, axes)``; the figure opens no window and is not
registered with :mod:`matplotlib.pyplot`. A colour has one meaning in all figures; readers with deuteranopia can tell
apart the colours that are used together.
"""

from captum_certified.visualization.attack import attack_figure
from captum_certified.visualization.bars import bar_figure
from captum_certified.visualization.certificate import certificate_figure
from captum_certified.visualization.curves import curve_figure
from captum_certified.visualization.overlaps import overlap_figure
from captum_certified.visualization.pilot import pilot_figure
from captum_certified.visualization.radii import radius_figure
from captum_certified.visualization.region import region_figure
from captum_certified.visualization.report import report

__all__ = [
    "attack_figure",
    "bar_figure",
    "certificate_figure",
    "curve_figure",
    "overlap_figure",
    "pilot_figure",
    "radius_figure",
    "region_figure",
    "report",
]
