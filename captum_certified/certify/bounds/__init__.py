"""The bounds, and the choice of the bound for a map."""

from captum_certified.certify.bounds.intervals import Bound, Floats, Integers, half_width, members_of
from captum_certified.certify.bounds.registry import BEST, BOUNDS, bound_named, interval_bound_of
from captum_certified.certify.bounds.spectral import OUTWARD, distance_bound, norm_refusal

__all__ = [
    "BEST",
    "BOUNDS",
    "OUTWARD",
    "Bound",
    "Floats",
    "Integers",
    "bound_named",
    "distance_bound",
    "half_width",
    "interval_bound_of",
    "members_of",
    "norm_refusal",
]
