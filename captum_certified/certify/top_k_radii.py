"""Certify top-K overlaps at several radii, and find the largest radius at which an overlap is certified."""

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from captum_certified.certify.bounds import Floats, Integers
from captum_certified.certify.prover import Prover
from captum_certified.certify.reference import Reference
from captum_certified.certify.top_k import prepared
from captum_certified.checks import resolved_count
from captum_certified.maps import SmoothedMap

__all__ = ["asked_overlaps", "certified_curve", "certified_radius"]


def certified_curve(
    prover: Prover,
    smoothed_map: SmoothedMap,
    *,
    k: float,
    radii: Sequence[float] | Tensor,
    reference: Reference = None,
) -> Tensor:
    """Certify overlaps at several radii; see :meth:`~captum_certified.Certifier.top_k_curve`."""
    smoothed_map, bound, count, violations = prepared(prover, smoothed_map, k, reference)
    ratios = np.array([prover.ratio(smoothed_map, float(radius)) for radius in radii], dtype=np.float64)
    return prover.by_row(smoothed_map, lambda part, level: bound.overlaps(part, count, ratios, level, violations))


def certified_radius(
    prover: Prover, smoothed_map: SmoothedMap, *, k: float, overlap: float, reference: Reference = None
) -> Tensor:
    """Return the radius up to which an overlap is certified; see :meth:`~captum_certified.Certifier.radius`."""
    smoothed_map, bound, count, violations = prepared(prover, smoothed_map, k, reference)

    def ratios(part: SmoothedMap, level: float) -> Floats:
        return bound.overlap_ratio(part, count, asked_overlaps(part, overlap, count), level, violations)

    return prover.by_row(smoothed_map, ratios) * smoothed_map.sigma


def asked_overlaps(smoothed_map: SmoothedMap, overlap: float, k: int) -> Integers:
    """Convert the overlap that a user asks for to a number of features of each example, shape (N,).

    Raises:
        InvalidInputError: The overlap is larger than K or than an example's reference set.
    """
    if smoothed_map.reference is None:
        return np.full(len(smoothed_map), resolved_count("overlap", overlap, k), dtype=np.int64)
    sizes = smoothed_map.reference.sum(dim=1).clamp_max(k).tolist()
    return np.array([resolved_count("overlap", overlap, size) for size in sizes], dtype=np.int64)
