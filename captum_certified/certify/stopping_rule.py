"""The stopping rule of sequential runs: when to look, and which rows are done."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from captum_certified.certify.goal import Goal
from captum_certified.certify.prover import Prover
from captum_certified.certify.top_k import TopKCertificate, certify_top_k
from captum_certified.maps import SmoothedMap
from captum_certified.sampling import SamplingPlan
from captum_certified.theory import look_sizes

__all__ = ["StoppingRule", "at_look"]

# With this many times the largest number of draws, the means of a forecast are as good as exact.
_EXACT = 100
# The radius of the forecast is reduced by 4σ/√q: about three standard errors of a score of one half.
_ALLOWANCE = 4.0


@dataclass(frozen=True)
class StoppingRule:
    """Decides at every look which rows are done.

    Attributes:
        prover: Confidence, bound and violations.
        goal: The overlap to certify, with its top set and radius.
        sizes: Numbers of draws at which to look.
    """

    prover: Prover
    goal: Goal
    sizes: Sequence[int]

    @classmethod
    def of(cls, prover: Prover, goal: Goal, plan: SamplingPlan) -> "StoppingRule":
        """Return the rule that looks after 1, 2, 4, … blocks of the planned draws, and after the last draw."""
        return cls(prover, goal, look_sizes(plan.block, plan.n_samples))

    def asked_overlap(self, smoothed_map: SmoothedMap) -> int:
        """Return the overlap that was asked for, as a number of features."""
        return self.goal.asked_overlap(smoothed_map.layout.n_features)

    def certificate(self, smoothed_map: SmoothedMap) -> TopKCertificate:
        """Return the certificate of a map whose rows are all done."""
        certificate = certify_top_k(self.prover, smoothed_map, k=self.goal.k, radius=self.goal.radius)
        return replace(certificate, asked_overlap=self.asked_overlap(smoothed_map), most_draws=self.sizes[-1])

    def done(self, smoothed_map: SmoothedMap) -> Tensor:
        """Return which rows need no more draws than they have at this look, bool, shape (N,)."""
        if int(smoothed_map.n_samples.max()) >= self.sizes[-1]:
            return torch.ones(len(smoothed_map), dtype=torch.bool, device="cpu")
        done = self.certified(smoothed_map)
        return done if bool(done.all()) else done | self.hopeless(smoothed_map)

    def certified(self, smoothed_map: SmoothedMap) -> Tensor:
        """Return which rows are certified at their looks, bool, shape (N,)."""
        overlap = certify_top_k(self.prover, smoothed_map, k=self.goal.k, radius=self.goal.radius).overlap
        return overlap >= self.asked_overlap(smoothed_map)

    def hopeless(self, smoothed_map: SmoothedMap) -> Tensor:
        """Return which rows more draws would hardly certify, bool, shape (N,).

        The forecast favours the row: it assumes exact means, full confidence, and a radius reduced by 4σ/√q. No row is
        given up if this radius is not positive. No certificate depends on the forecast.
        """
        draws = int(smoothed_map.n_samples.min())
        radius = self.goal.radius - _ALLOWANCE * smoothed_map.sigma / math.sqrt(draws)
        if radius <= 0:
            return torch.zeros(len(smoothed_map), dtype=torch.bool, device="cpu")
        at_full_confidence = replace(smoothed_map, looks=None)
        overlap = self._expected(at_full_confidence, radius, _EXACT * self.sizes[-1])
        return overlap < self.asked_overlap(smoothed_map)

    def expected(self, smoothed_map: SmoothedMap, look: int) -> Tensor:
        """Return the overlaps to expect at a look if the present means are exact, shape (N,)."""
        return self._expected(at_look(smoothed_map, look), self.goal.radius, self.sizes[look - 1])

    def _expected(self, smoothed_map: SmoothedMap, radius: float, draws: int) -> Tensor:
        return certify_top_k(self.prover, smoothed_map.as_if_of(draws), k=self.goal.k, radius=radius).overlap


def at_look(smoothed_map: SmoothedMap, look: int) -> SmoothedMap:
    """Return the map with the look at which its draws ended, so that it is certified at the level of this look."""
    return replace(smoothed_map, looks=torch.full_like(smoothed_map.n_samples, look))
