"""Captum attributions averaged over noise, which can be certified."""

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
