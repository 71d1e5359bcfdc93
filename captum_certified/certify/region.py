"""The certificate of the fraction of the saliency that lies in a region."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from captum_certified import theory
from captum_certified.certify.certificate import Certificate
from captum_certified.certify.prover import Prover
from captum_certified.certify.row_levels import levels
from captum_certified.certify.written_numbers import floored_percent
from captum_certified.exceptions import InvalidInputError
from captum_certified.maps import SmoothedMap
from captum_certified.storage import Json

__all__ = ["RegionCertificate", "certify_region"]


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class RegionCertificate(Certificate):
    """Lower bound on the fraction of the saliency that lies in a region, on average over noisy copies.

    If the maps of all copies have the same sum, as sparsified maps do, the average equals the fraction of the smoothed
    map that lies in the region. A copy without saliency has the fraction 0.

    Attributes:
        name: Name of the region.
        mass: The lower bound, which holds at every perturbed input, float64, shape (N,).
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
        """The mean fraction over the draws at the observed input, float64, shape (N,)."""
        return self.map.regions[self.name][1].nanmean(dim=1)

    def summaries(self) -> list[str]:
        """Return one sentence for each example."""
        return [
            f"on average over noisy copies at least {floored_percent(float(mass))}% of the saliency stays in region "
            f"{self.name!r} ({float(seen):.1%} observed), proved from {int(draws)} draws"
            for mass, seen, draws in zip(self.mass, self.observed_mass, self.n_samples, strict=True)
        ]

    def results(self) -> dict[str, Json]:
        """Return the certified and the observed fraction."""
        return {"name": self.name, "mass": self.mass.tolist(), "observed_mass": self.observed_mass.tolist()}

    def _feature_tables(self) -> dict[str, Tensor]:
        return {"in_region": self.map.regions[self.name][0].expand(len(self.map), -1)}


def certify_region(prover: Prover, smoothed_map: SmoothedMap, *, name: str | None, radius: float) -> RegionCertificate:
    """Certify the fraction of the saliency in a region; see :meth:`~captum_certified.Certifier.region`."""
    prover.check_map(smoothed_map)
    known = sorted(smoothed_map.regions)
    if name is None and len(known) == 1:
        name = known[0]
    if name is None or name not in smoothed_map.regions:
        raise InvalidInputError(f"Expected `name` to be one of the map's regions {known}, got {name!r}.")
    ratio, shares = prover.ratio(smoothed_map, radius), smoothed_map.regions[name][1].numpy()
    rows = zip(shares, smoothed_map.n_samples.tolist(), levels(smoothed_map, prover.alpha), strict=True)
    mass = [theory.region_mass(share[None, :draws], ratio=ratio, alpha=level) for share, draws, level in rows]
    return RegionCertificate(
        **prover.proved(smoothed_map, radius, "region"),
        name=name,
        mass=torch.from_numpy(np.concatenate(mass)),
    )
