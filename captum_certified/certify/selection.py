"""The certificate of selection: for each feature, whether most noisy copies provably select or reject it."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from captum_certified import theory
from captum_certified.certify.certificate import Certificate
from captum_certified.certify.feature_table import score_range
from captum_certified.certify.prover import Prover
from captum_certified.certify.written_numbers import floored_percent
from captum_certified.exceptions import CertificationError
from captum_certified.maps import SmoothedMap
from captum_certified.storage import Json

__all__ = ["SelectionCertificate", "certify_selection"]

Maps = Tensor | tuple[Tensor, ...]


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class SelectionCertificate(Certificate):
    """For each feature: most noisy copies of every perturbed input select it, or reject it, or neither is proved.

    All decisions about one example hold together, each up to its own radius.

    Attributes:
        feature_selected: Whether most noisy copies of every perturbed input select the feature, bool, shape (N, n).
        feature_rejected: Whether most noisy copies of every perturbed input do not select it, bool, shape (N, n).
        feature_radius: Radius up to which the decision about each feature holds, float64, shape (N, n); 0 if undecided.
    """

    kind: ClassVar[str] = "selection"

    feature_selected: Tensor
    feature_rejected: Tensor
    feature_radius: Tensor

    @property
    def selected(self) -> Maps:
        """Entries that are certifiably selected, bool, structured like ``map.mean``."""
        return self.map.layout.unflatten(self.feature_selected)

    @property
    def rejected(self) -> Maps:
        """Entries that are certifiably not selected, bool, structured like ``map.mean``."""
        return self.map.layout.unflatten(self.feature_rejected)

    @property
    def abstained(self) -> Maps:
        """Entries about which nothing is certified, bool, structured like ``map.mean``."""
        return self.map.layout.unflatten(~(self.feature_selected | self.feature_rejected))

    @property
    def radius(self) -> Maps:
        """Radius up to which the decision about each entry holds, in the units of the input, like ``map.mean``."""
        return self.map.layout.unflatten(self.feature_radius)

    @property
    def certified_fraction(self) -> Tensor:
        """Fraction of the features with a certified decision at ``at_radius``, float64, shape (N,)."""
        return (self.feature_selected | self.feature_rejected).double().mean(dim=1)

    def summaries(self) -> list[str]:
        """Return one sentence for each example."""
        n = self.map.layout.n_features
        return [
            f"{int(selected)} of {n} features certifiably selected by most noisy copies, "
            f"{int(rejected)} certifiably not, {n - int(selected) - int(rejected)} open "
            f"({floored_percent(float(share))}% certified), from {int(draws)} draws"
            + ("" if selected or rejected else self._too_few_draws(row))
            for row, (selected, rejected, share, draws) in enumerate(
                zip(
                    self.feature_selected.sum(1),
                    self.feature_rejected.sum(1),
                    self.certified_fraction,
                    self.n_samples,
                    strict=True,
                )
            )
        ]

    def results(self) -> dict[str, Json]:
        """Return how many features are selected and rejected, and the fraction with a decision."""
        return {
            "selected": self.feature_selected.sum(1).tolist(),
            "rejected": self.feature_rejected.sum(1).tolist(),
            "certified_fraction": self.certified_fraction.tolist(),
        }

    def _feature_tables(self) -> dict[str, Tensor]:
        lower, upper = score_range(self.map, self.bound, self.at_radius, 1 - self.confidence)
        return {
            "lower": lower,
            "upper": upper,
            "selected": self.feature_selected,
            "rejected": self.feature_rejected,
            "radius": self.feature_radius,
        }


def certify_selection(prover: Prover, smoothed_map: SmoothedMap, *, radius: float) -> SelectionCertificate:
    """Certify which features most noisy copies select; see :meth:`~captum_certified.Certifier.selection`."""
    bound = prover.bound_for(smoothed_map)
    if not smoothed_map.binary:
        raise CertificationError("Expected a sparsified map, of zeros and ones, got a map of other values.")
    ends = prover.by_row(smoothed_map, lambda part, level: np.stack(bound.intervals(part, level), axis=1))
    lower, upper = ends[:, 0].numpy(), ends[:, 1].numpy()
    selected, rejected = theory.selection(lower, upper, ratio=prover.ratio(smoothed_map, radius))
    return SelectionCertificate(
        **prover.proved(smoothed_map, radius, bound.name),
        feature_selected=torch.from_numpy(selected),
        feature_rejected=torch.from_numpy(rejected),
        feature_radius=torch.from_numpy(theory.selection_ratios(lower, upper) * smoothed_map.sigma),
    )
