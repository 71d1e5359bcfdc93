"""The stopping rule of sequential runs: the interim looks, and which examples need no more draws after a look."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from captum_certified.certify.goal import Goal
from captum_certified.certify.prover import Prover
from captum_certified.certify.reference import RECORDED, reference_kind, with_reference
from captum_certified.certify.top_k import TopKCertificate, certify_top_k
from captum_certified.certify.top_k_radii import asked_overlaps
from captum_certified.maps import SmoothedMap
from captum_certified.sampling import SamplingPlan
from captum_certified.theory import look_sizes

__all__ = ["StoppingRule", "at_look"]

# To treat the sampled means as practically exact, a forecast assumes this many times the largest number of draws.
_EXACT = 100
# A forecast reduces the radius by this number times σ/√q for q draws. The reduction allows for about three standard
# errors of a score of one half.
_ALLOWANCE = 4.0


@dataclass(frozen=True)
class StoppingRule:
    """Decides at every interim look which examples are done, which means that they need no more draws.

    Attributes:
        prover: Confidence, bound and violations.
        goal: The overlap to certify, with its top set and radius.
        sizes: Numbers of draws at the interim looks.
    """

    prover: Prover
    goal: Goal
    sizes: Sequence[int]

    @classmethod
    def of(cls, prover: Prover, goal: Goal, plan: SamplingPlan) -> "StoppingRule":
        """Return the rule that looks after 1, 2, 4, … blocks of the planned draws, and after the last draw."""
        return cls(prover, goal, look_sizes(plan.block, plan.n_samples))

    def begin(self, smoothed_map: SmoothedMap) -> tuple["StoppingRule", SmoothedMap]:
        """Fix the reference set and the number of violations now, so that later draws cannot change them.

        Args:
            smoothed_map: The map of the first draws of all examples.

        Returns:
            The rule for all looks, and the map with its reference set.
        """
        if self.goal.reference is None:
            return self, smoothed_map
        k = self.goal.top_set(smoothed_map.layout.n_features)
        smoothed_map = with_reference(smoothed_map, self.goal.reference, k)
        _, _, violations = self.prover.prepared(smoothed_map, k)
        return replace(self, prover=replace(self.prover, violations=violations)), smoothed_map

    def asked_overlaps(self, smoothed_map: SmoothedMap) -> Tensor:
        """Return the overlap to certify, as a number of features of each example, shape (N,)."""
        asked = 0.0 if self.goal.overlap is None else self.goal.overlap
        return torch.from_numpy(asked_overlaps(smoothed_map, asked, self.goal.top_set(smoothed_map.layout.n_features)))

    def most_overlaps(self, smoothed_map: SmoothedMap) -> Tensor:
        """Return the largest possible overlap, min(K, L) for a reference set of L features, shape (N,)."""
        return torch.from_numpy(asked_overlaps(smoothed_map, 1.0, self.goal.top_set(smoothed_map.layout.n_features)))

    def certificate(self, smoothed_map: SmoothedMap) -> TopKCertificate:
        """Return the certificate of a map whose examples are all done."""
        asked = self.asked_overlaps(smoothed_map).tolist()
        return replace(
            self._top_k(smoothed_map, self.goal.radius),
            asked_overlap=asked[0] if len(set(asked)) == 1 else tuple(asked),
            most_draws=self.sizes[-1],
            reference=reference_kind(self.goal.reference),
        )

    def _top_k(self, smoothed_map: SmoothedMap, radius: float) -> TopKCertificate:
        recorded = None if self.goal.reference is None else RECORDED
        return certify_top_k(self.prover, smoothed_map, k=self.goal.k, radius=radius, reference=recorded)

    def done(self, smoothed_map: SmoothedMap) -> Tensor:
        """Return which examples need no more draws after this look, bool, shape (N,)."""
        if int(smoothed_map.n_samples.max()) >= self.sizes[-1]:
            return torch.ones(len(smoothed_map), dtype=torch.bool, device="cpu")
        done = self.certified(smoothed_map)
        return done if bool(done.all()) else done | self.hopeless(smoothed_map)

    def certified(self, smoothed_map: SmoothedMap) -> Tensor:
        """Return for which examples the overlap is certified at this look, bool, shape (N,)."""
        overlap = self._top_k(smoothed_map, self.goal.radius).overlap
        return overlap >= self.asked_overlaps(smoothed_map)

    def hopeless(self, smoothed_map: SmoothedMap) -> Tensor:
        """Return for which examples more draws would hardly certify the overlap, bool, shape (N,).

        The forecast is optimistic, so that few examples are given up wrongly. It assumes that the means are exact, that
        the level is the whole α, and that the radius is smaller by 4σ/√q. If the smaller radius is not positive, no
        example is hopeless. No certificate depends on the forecast.
        """
        draws = int(smoothed_map.n_samples.min())
        radius = self.goal.radius - _ALLOWANCE * smoothed_map.sigma / math.sqrt(draws)
        if radius <= 0:
            return torch.zeros(len(smoothed_map), dtype=torch.bool, device="cpu")
        at_full_confidence = replace(smoothed_map, looks=None)
        overlap = self._expected(at_full_confidence, radius, _EXACT * self.sizes[-1])
        return overlap < self.asked_overlaps(smoothed_map)

    def expected(self, smoothed_map: SmoothedMap, look: int) -> Tensor:
        """Return the overlaps to expect at a look if the present means are exact, shape (N,)."""
        return self._expected(at_look(smoothed_map, look), self.goal.radius, self.sizes[look - 1])

    def _expected(self, smoothed_map: SmoothedMap, radius: float, draws: int) -> Tensor:
        return self._top_k(smoothed_map.as_if_of(draws), radius).overlap


def at_look(smoothed_map: SmoothedMap, look: int) -> SmoothedMap:
    """Mark the map as stopped at a look, so that it is certified at the level of this look."""
    return replace(smoothed_map, looks=torch.full_like(smoothed_map.n_samples, look))
