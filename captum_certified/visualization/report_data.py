"""The numbers of a report for several sets on a grid of radii: overlaps, and the radius of each feature."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from captum_certified.certify import Certifier, TopKCertificate
from captum_certified.certify.feature_table import top_k_radii
from captum_certified.certify.reference import Reference, recorded_reference
from captum_certified.checks import resolved_count
from captum_certified.maps import SmoothedMap

__all__ = ["TopSet", "radius_grid", "top_sets"]

_STEPS = 100
_ROUND_NUMBERS = (1.0, 2.0, 2.5, 5.0, 10.0)


@dataclass(frozen=True)
class TopSet:
    """The top K of one map, or a reference set, and what is certified about its features.

    Attributes:
        k: Size K of the top K.
        radii: Radius up to which each feature of the set certifiably is in the top K, float64, shape (n,); 0 for
            features outside of the set.
        top: Which features are in the set, bool, shape (n,).
        farthest: Supremum of the radii at which an overlap of at least one feature is certified.
        certifier: The certifier that computes the overlaps.
        reference: The reference set, as :meth:`~captum_certified.Certifier.top_k` takes it; ``None`` for the top K.
        of_plain: The certificate of the plain map's top K, if there is one; ``None`` for a reference set.
        of_set: The certificate of the reference set; ``None`` for the top K.
    """

    k: int
    radii: NDArray[np.float64] = field(repr=False)
    top: NDArray[np.bool_] = field(repr=False)
    farthest: float
    certifier: Certifier
    reference: Reference = field(default=None, repr=False)
    of_plain: TopKCertificate | None = field(default=None, repr=False)
    of_set: TopKCertificate | None = field(default=None, repr=False)

    @property
    def most(self) -> int:
        """The largest overlap that is possible: K, or the size of the reference set if that is smaller."""
        return min(self.k, int(self.top.sum()))

    def overlap(self, smoothed_map: SmoothedMap, grid: Sequence[float]) -> list[int]:
        """Return the certified overlap at every radius of the grid."""
        return self._curve(smoothed_map, grid, self.reference)

    def plain_overlap(self, smoothed_map: SmoothedMap, grid: Sequence[float]) -> list[int]:
        """Return the certified overlap of the plain map's top K at every radius, by the same certifier."""
        return self._curve(smoothed_map, grid, "plain")

    def _curve(self, smoothed_map: SmoothedMap, grid: Sequence[float], reference: Reference) -> list[int]:
        curve = self.certifier.top_k_curve(smoothed_map, k=self.k, radii=grid, reference=reference)
        overlaps: list[int] = curve[0].tolist()
        return overlaps

    def reach(self, grid: Sequence[float]) -> NDArray[np.uint8]:
        """Return 0 for a feature outside of the set, else 1 plus the number of grid radii at which it is certified."""
        reached = np.searchsorted(np.asarray(grid), self.radii, side="right")
        return np.where(self.radii > 0, 1 + reached, self.top).astype(np.uint8)


def top_sets(certificate: TopKCertificate, smoothed_map: SmoothedMap, sizes: Sequence[float]) -> list[TopSet]:
    """Return the top set of the certificate and top sets of other sizes, the smallest first.

    All sets are of the one example in ``smoothed_map``, and are certified with the confidence, bound and violations of
    ``certificate``. A size is a count, or a fraction of the features. If the certificate is about a reference set,
    ``sizes`` are ignored, and the result is this reference set alone.
    """
    n = smoothed_map.layout.n_features
    if certificate.reference != "own":
        sizes = ()
    counts = {certificate.k, *(resolved_count("sizes", size, n) for size in sizes)}
    return [_top_set(certificate, smoothed_map, count) for count in sorted(counts)]


def _top_set(certificate: TopKCertificate, smoothed_map: SmoothedMap, k: int) -> TopSet:
    certifier = Certifier(
        confidence=certificate.confidence, bound=certificate.bound, violations=min(certificate.violations, k)
    )
    reference = recorded_reference(certificate.reference)
    proved = certifier.top_k(smoothed_map, k=k, radius=certificate.radius, reference=reference)
    top, own = proved.members[0].numpy(), reference is None
    return TopSet(
        k=k,
        radii=np.where(top, top_k_radii(smoothed_map, certificate.bound, k, 1 - certificate.confidence)[0], 0.0),
        top=top,
        farthest=float(certifier.radius(smoothed_map, k=k, overlap=1, reference=reference)),
        certifier=certifier,
        reference=reference,
        of_plain=proved.of_plain if own else None,
        of_set=None if own else proved,
    )


def radius_grid(sets: Sequence[TopSet], *, radius: float, sigma: float) -> list[float]:
    """Return radii in round steps from 0 to where nothing is certified any more. Include the certificate's radius.

    Args:
        sets: The top sets.
        radius: The certificate's radius.
        sigma: Standard deviation of the noise. The grid ends there if ``radius`` is 0 and nothing is certified.
    """
    ends = np.concatenate([np.append(one.radii, one.farthest) for one in sets])
    end = max(1.1 * radius, float(ends[np.isfinite(ends)].max(initial=0.0))) or sigma
    power = 10.0 ** math.floor(math.log10(end / _STEPS))
    step = next(factor * power for factor in _ROUND_NUMBERS if factor * power * _STEPS >= end * (1 - 1e-9))
    grid = [float(f"{index * step:.9g}") for index in range(math.ceil(end / step * (1 - 1e-9)) + 1)]
    # The certificate's radius replaces a step that equals it up to rounding. A tiny radius does not replace 0.
    others = (one for one in grid if not math.isclose(one, radius, abs_tol=step * 1e-6) or one == 0.0 < radius)
    return sorted([radius, *others])
