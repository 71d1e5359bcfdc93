"""The certificate of distance."""

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from captum_certified.certify.certificate import Certificate
from captum_certified.certify.written_numbers import floored, rounded_up

__all__ = ["DistanceCertificate"]


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class DistanceCertificate(Certificate):
    """How far the exact map at any perturbed input can be from the smoothed map that was computed.

    Attributes:
        l2: Upper bound on their Euclidean distance, float64, shape (N,).
        cosine: Lower bound on their cosine similarity, float64, shape (N,); 0 if nothing is certified.
    """

    kind: ClassVar[str] = "distance"

    l2: Tensor
    cosine: Tensor

    def summaries(self) -> list[str]:
        """One sentence for each example."""
        norms = self.map.features.norm(dim=1)
        return [
            f"the exact smoothed map is at most {rounded_up(l2)} from this one (whose norm is {float(norm):.4g}); "
            f"cosine similarity at least {floored(cosine, 3)}, proved from {int(draws)} draws"
            for l2, norm, cosine, draws in zip(self.l2, norms, self.cosine, self.n_samples, strict=True)
        ]

    def results(self) -> dict[str, Any]:
        """Both bounds."""
        return {"l2": self.l2.tolist(), "cosine": self.cosine.tolist()}

    def _feature_tables(self) -> dict[str, Tensor]:
        reach = self.l2.unsqueeze(1)
        return {"lower": (self.map.features - reach).clamp_min(0.0), "upper": self.map.features + reach}
