"""Captum attributions averaged over noise, which can be certified.

A *draw* is one noisy copy of the input and the map computed from it. The *per-draw map* is the function that turns the
attributions of a draw into the values that are averaged. A *pass* is a group of draws that go through the model
together, and a *row* of a pass is one draw of one example. The *plain map* is the attribution of the clean input.
"""

from captum_certified.attr.row_arguments import Shared
from captum_certified.attr.smoothed_attribution import SmoothedAttribution, sample_many
from captum_certified.attr.smoothgrad import (
    NormalizedSmoothGrad,
    RelaxedSparsifiedSmoothGrad,
    ScaledQuadraticSmoothGrad,
    ScaledSmoothGrad,
    SparsifiedSmoothGrad,
    UniformGradient,
)
from captum_certified.attr.upsampled import Upsampled

__all__ = [
    "NormalizedSmoothGrad",
    "RelaxedSparsifiedSmoothGrad",
    "ScaledQuadraticSmoothGrad",
    "ScaledSmoothGrad",
    "Shared",
    "SmoothedAttribution",
    "SparsifiedSmoothGrad",
    "UniformGradient",
    "Upsampled",
    "sample_many",
]
