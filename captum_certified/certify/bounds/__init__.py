"""The bounds: what each proves of a map at every input within a radius, and which of them applies."""

from captum_certified.certify.bounds.intervals import Bound, Floats, Integers, half_width
from captum_certified.certify.bounds.registry import BEST, BOUNDS, bound_named, box_of
from captum_certified.certify.bounds.spectral import OUTWARD, distance_bound, unbounded_length

__all__ = [
    "BEST",
    "BOUNDS",
    "OUTWARD",
    "Bound",
    "Floats",
    "Integers",
    "bound_named",
    "box_of",
    "distance_bound",
    "half_width",
    "unbounded_length",
]
