"""Captum attributions averaged over hashed noise, made to be certified."""

from captum_certified.attr.base import SmoothedAttribution, sample_many
from captum_certified.attr.smoothgrad import ScaledSmoothGrad, SparsifiedSmoothGrad

__all__ = ["ScaledSmoothGrad", "SmoothedAttribution", "SparsifiedSmoothGrad", "sample_many"]
