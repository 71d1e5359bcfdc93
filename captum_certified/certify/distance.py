"""The certificate of distance and of cosine similarity."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from captum_certified.certify.bounds import OUTWARD, distance_bound
from captum_certified.certify.certificate import Certificate
from captum_certified.certify.prover import Prover, check_norm
from captum_certified.certify.written_numbers import floored, rounded_up
from captum_certified.maps import SmoothedMap
from captum_certified.storage import Json

__all__ = ["DistanceCertificate", "certify_distance"]


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class DistanceCertificate(Certificate):
    """Bounds on the distance between the sampled smoothed map and the exact map at any perturbed input.

    Attributes:
        l2: Upper bound on the Euclidean distance, float64, shape (N,).
        cosine: Lower bound on the cosine similarity, float64, shape (N,); 0 if nothing is certified.
    """

    kind: ClassVar[str] = "distance"

    l2: Tensor
    cosine: Tensor

    def summaries(self) -> list[str]:
        """Return one sentence for each example."""
        norms = self.map.features.norm(dim=1)
        return [
            f"the exact smoothed map is at most {rounded_up(l2)} from this one (whose norm is {float(norm):.4g}); "
            f"cosine similarity at least {floored(cosine, 3)}, proved from {int(draws)} draws"
            for l2, norm, cosine, draws in zip(self.l2, norms, self.cosine, self.n_samples, strict=True)
        ]

    def results(self) -> dict[str, Json]:
        """Return both bounds."""
        return {"l2": self.l2.tolist(), "cosine": self.cosine.tolist()}

    def _feature_tables(self) -> dict[str, Tensor]:
        distance = self.l2.unsqueeze(1)
        return {"lower": (self.map.features - distance).clamp_min(0.0), "upper": self.map.features + distance}


def certify_distance(prover: Prover, smoothed_map: SmoothedMap, *, radius: float) -> DistanceCertificate:
    """Certify how far the whole map can move; see :meth:`~captum_certified.Certifier.distance`."""
    prover.check_map(smoothed_map)
    check_norm(smoothed_map)
    ratio = prover.ratio(smoothed_map, radius)
    l2 = prover.by_row(smoothed_map, lambda part, level: distance_bound(part, ratio, level))
    relative = l2 / smoothed_map.features.norm(dim=1)  # infinite or NaN for a map of zeros
    return DistanceCertificate(
        **prover.proved(smoothed_map, radius, "spectral"),
        l2=l2,
        cosine=(1.0 - relative.nan_to_num(1.0).clamp_max(1.0).square()).clamp_min(0.0).sqrt() / OUTWARD,
    )
