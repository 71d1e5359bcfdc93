"""Figures and reports of certificates and attacks, in the manner of :mod:`captum.attr.visualization`.

Every figure takes arrays or tensors and returns ``(figure, axes)``. Figures belong to no window and to no
:mod:`matplotlib.pyplot` state. Their colours are cividis, viridis and the colours of Okabe and Ito.
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
