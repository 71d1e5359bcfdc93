"""Sequential certification: look now and then, and end the draws of every example whose answer is known."""

import math
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from captum_certified.certify.forecast import outlook
from captum_certified.checks import resolved_count
from captum_certified.maps import SmoothedMap, select_rows
from captum_certified.theory import look_sizes

if TYPE_CHECKING:
    from captum_certified.certify.certifier import Certifier
    from captum_certified.certify.segments import Segments
    from captum_certified.certify.top_k import TopKCertificate

__all__ = ["Goal", "at_look", "certify_in_looks", "sampled_in_looks"]

# A forecast from so many times the most draws is that of exact means, as far as anyone could measure them.
_EXACT = 100
# The forecast is helped by 4/√q in probit units: three standard errors of a score of one half.
_ALLOWANCE = 4.0


class Draw(Protocol):
    """Makes the map of a range of draws of some rows; of all if none are given."""

    def __call__(self, draws: range, rows: Tensor | None = None) -> SmoothedMap:
        """The map of these draws alone."""


@dataclass(frozen=True)
class Goal:
    """What to certify, and when to look.

    Attributes:
        certifier: It decides what is certified.
        k: Size of the top set, a count or a fraction.
        radius: L2 size of the perturbation.
        overlap: What shall be certified, a count or a fraction of K.
        sizes: Numbers of draws at which to look.
    """

    certifier: "Certifier"
    k: float
    radius: float
    overlap: float
    sizes: Sequence[int]

    def asked(self, smoothed_map: SmoothedMap) -> int:
        """The overlap asked for, as a number of features."""
        count = resolved_count("k", self.k, smoothed_map.layout.n_features)
        return resolved_count("overlap", self.overlap, count)

    def certificate(self, smoothed_map: SmoothedMap) -> "TopKCertificate":
        """The certificate of a map whose rows have all been ended."""
        certificate = self.certifier.top_k(smoothed_map, k=self.k, radius=self.radius)
        return replace(certificate, asked_overlap=self.asked(smoothed_map), most_draws=self.sizes[-1])

    def done(self, smoothed_map: SmoothedMap) -> Tensor:
        """Which rows need no more draws than they have at this look, bool, shape (N,)."""
        if int(smoothed_map.n_samples.max()) >= self.sizes[-1]:
            return torch.ones(len(smoothed_map), dtype=torch.bool, device="cpu")
        done = self.certified(smoothed_map)
        return done if bool(done.all()) else done | self.hopeless(smoothed_map)

    def certified(self, smoothed_map: SmoothedMap) -> Tensor:
        """Which rows are certified at their looks, bool, shape (N,)."""
        overlap = self.certifier.top_k(smoothed_map, k=self.k, radius=self.radius).overlap
        return overlap >= self.asked(smoothed_map)

    def hopeless(self, smoothed_map: SmoothedMap) -> Tensor:
        """Which rows more draws would hardly certify, bool, shape (N,).

        The forecast is for means that are exact, at full confidence, and for a radius that is shorter by 4σ/√q, three
        standard errors of a score of one half. It decides where draws are worth their time, and guarantees nothing; no
        certificate depends on it. Where the means are not yet precise enough for the radius, no row is given up.
        """
        draws = int(smoothed_map.n_samples.min())
        radius = self.radius - _ALLOWANCE * smoothed_map.sigma / math.sqrt(draws)
        if radius <= 0:
            return torch.zeros(len(smoothed_map), dtype=torch.bool, device="cpu")
        return self._forecast(replace(smoothed_map, looks=None), radius, _EXACT * self.sizes[-1]) < self.asked(
            smoothed_map
        )

    def forecast(self, smoothed_map: SmoothedMap, look: int) -> Tensor:
        """Overlaps to expect at a look, were the present means exact, shape (N,)."""
        return self._forecast(at_look(smoothed_map, look), self.radius, self.sizes[look - 1])

    def _forecast(self, smoothed_map: SmoothedMap, radius: float, draws: int) -> Tensor:
        return self.certifier.forecast(smoothed_map, k=self.k, radius=radius, nt_samples=draws)


def certify_in_looks(
    certifier: "Certifier", segments: "Segments", *, k: float, radius: float, overlap: float
) -> "TopKCertificate":
    """Sample in looks, and certify what was sampled.

    Args:
        certifier: What certifies.
        segments: What samples.
        k: Size of the top set.
        radius: L2 size of the perturbation.
        overlap: Overlap to certify.

    Returns:
        The certificate, each row at the level of the look that ended it.
    """
    request = segments.run.request
    goal = Goal(certifier, k, radius, overlap, look_sizes(request.plan.block, request.plan.n_samples))
    return goal.certificate(sampled_in_looks(segments, goal, tell=request.show_progress))


def sampled_in_looks(draw: Draw, goal: Goal, *, tell: bool = False) -> SmoothedMap:
    """Sample until every row is certified, hopeless, or at the cap; rows that are done cost nothing more.

    Args:
        draw: Makes the maps.
        goal: What to certify, and when to look.
        tell: Say on stderr, after the first look, what is still to be expected.

    Returns:
        The map of all rows in their order; its ``looks`` say at which look each was ended.
    """
    begun = time.perf_counter()
    present = draw(range(goal.sizes[0]))
    rows, ended = torch.arange(len(present), device="cpu"), []
    for look, size in enumerate(goal.sizes, start=1):
        if look > 1:
            present = present.merge(draw(range(goal.sizes[look - 2], size), rows), assume_independent=True)
        done = goal.done(at_look(present, look))
        ended.append((rows[done], at_look(select_rows(present, torch.nonzero(done)[:, 0]), look)))
        if bool(done.all()):
            break
        remaining = torch.nonzero(~done)[:, 0]
        rows, present = rows[remaining], select_rows(present, remaining)
        if tell and look == 1:
            sys.stderr.write(f"{outlook(present, goal, seconds=time.perf_counter() - begun, rows=len(done))}\n")
    order = torch.cat([part for part, _ in ended]).argsort()
    return select_rows(SmoothedMap.stack([smoothed for part, smoothed in ended if len(part)]), order)


def at_look(smoothed_map: SmoothedMap, look: int) -> SmoothedMap:
    """The map with the note that a look ended its draws, so that it is certified at the look's level."""
    return replace(smoothed_map, looks=torch.full_like(smoothed_map.n_samples, look))
