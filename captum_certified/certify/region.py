"""The certificate of localisation."""

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from captum_certified.certify.certificate import Certificate
from captum_certified.certify.percent import floored_percent

__all__ = ["RegionCertificate"]


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class RegionCertificate(Certificate):
    """At least ``mass`` of the saliency stays in a region of the input.

    The saliency's share is that of one noisy copy, averaged over noisy copies; where every copy's map has the same
    sum, as with sparsified maps, it is the share of the smoothed map itself.

    Attributes:
        name: Name of the region.
        mass: Lower bound on the mean share at every perturbed input, float64, shape (N,).
    """

    kind: ClassVar[str] = "region"

    name: str
    mass: Tensor

    @property
    def mask(self) -> Tensor | tuple[Tensor, ...]:
        """The region, bool, structured like ``map.mean``."""
        return self.map.layout.unflatten(self.map.regions[self.name][0].expand(len(self.map), -1))

    @property
    def observed_mass(self) -> Tensor:
        """The mean share over the draws at the observed input, float64, shape (N,)."""
        return self.map.regions[self.name][1].nanmean(dim=1)

    def summaries(self) -> list[str]:
        """One sentence for each example."""
        return [
            f"at least {floored_percent(float(mass))}% of the saliency stays in region {self.name!r} "
            f"({float(seen):.1%} observed), proved from {int(draws)} draws"
            for mass, seen, draws in zip(self.mass, self.observed_mass, self.n_samples, strict=True)
        ]

    def results(self) -> dict[str, Any]:
        """Certified and observed share."""
        return {"name": self.name, "mass": self.mass.tolist(), "observed_mass": self.observed_mass.tolist()}

    def _feature_tables(self) -> dict[str, Tensor]:
        return {"in_region": self.map.regions[self.name][0].expand(len(self.map), -1)}
