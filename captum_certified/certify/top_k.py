"""The certificate of top-K overlap, the curve over several radii, and the largest radius."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from captum_certified import theory
from captum_certified.certify.bounds import Integers, interval_bound_of
from captum_certified.certify.certificate import Certificate
from captum_certified.certify.conditions import compared_with, fresh_draws_conditions
from captum_certified.certify.feature_table import feature_ranks, score_range, top_k_radii
from captum_certified.certify.prover import Prover, checked_fresh_draws
from captum_certified.certify.written_numbers import floored_percent
from captum_certified.checks import resolved_count
from captum_certified.maps import SmoothedMap
from captum_certified.storage import Json
from captum_certified.theory import ranks_from_bounds, top_k_mask

__all__ = ["TopKCertificate", "certified_curve", "certified_radius", "certify_top_k"]


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class TopKCertificate(Certificate):
    """At least ``overlap`` of the K most salient features stay among the K most salient of the exact smoothed map.

    Attributes:
        k: Size K of the top set.
        fresh_draws: As in :class:`RankCertificate`.
        overlap: Certified number of features that stay, int64, shape (N,).
        asked_overlap: The overlap that a sequential run was asked to certify, or ``None``.
        most_draws: The most draws that a sequential run was allowed, or ``None``.
    """

    kind: ClassVar[str] = "top_k"

    k: int
    overlap: Tensor
    fresh_draws: int | None = None
    asked_overlap: int | None = None
    most_draws: int | None = None

    @property
    def overlap_fraction(self) -> Tensor:
        """``overlap`` as a fraction of K, float64, shape (N,)."""
        return self.overlap.double() / self.k

    @property
    def stopped(self) -> tuple[str, ...] | None:
        """Why a sequential run ended the draws of each example: N words, or ``None`` after any other run.

        ``"certified"``: the overlap that was asked for is certified. ``"hopeless"``: by a forecast, more draws would
        hardly have certified it. ``"cap"``: the example has as many draws as allowed.
        """
        asked, most = self.asked_overlap, self.most_draws
        if asked is None or most is None:
            return None
        return tuple(
            "certified" if overlap >= asked else "hopeless" if draws < most else "cap"
            for overlap, draws in zip(self.overlap.tolist(), self.n_samples.tolist(), strict=True)
        )

    @property
    def top_k(self) -> Tensor:
        """The K most salient features of the smoothed map, bool, shape (N, n); ties by lower index."""
        return torch.from_numpy(top_k_mask(self.map.features.numpy(), self.k)[0])

    @property
    def plain_overlap(self) -> Tensor | None:
        """How many of :attr:`top_k` are among the K most salient features of the plain attribution, shape (N,).

        ``None`` if the plain attribution is unknown. This measures fidelity, which no certificate covers.
        """
        plain = self.map.plain
        if plain is None:
            return None
        salient = torch.from_numpy(top_k_mask(plain.numpy(), self.k)[0]) & (plain > 0)
        return (salient & self.top_k).sum(dim=1)

    @property
    def conditions(self) -> tuple[str, ...]:
        """Sentences that are printed below the examples; ``held_fixed`` is the last."""
        return (*fresh_draws_conditions(self.fresh_draws), self.held_fixed)

    def summaries(self) -> list[str]:
        """Return one sentence for each example."""
        plain, stopped = self.plain_overlap, self.stopped
        return [
            f"at least {int(certified)} of the top {self.k} features ({floored_percent(int(certified) / self.k)}%) "
            f"stay in the top {self.k} of {compared_with(self.fresh_draws)}, proved from {int(draws)} draws"
            + ("" if certified else self._too_few_draws(row, of_counts=True))
            + ("" if stopped is None else f" ({self.asked_overlap} asked for: {stopped[row]})")
            + ("" if plain is None else f"; {self._shared(int(plain[row]))}")
            for row, (certified, draws) in enumerate(zip(self.overlap, self.n_samples, strict=True))
        ]

    def _shared(self, count: int) -> str:
        share = floored_percent(count / self.k)
        return f"{share}% of the smoothed map's top {self.k} are in the plain map's"

    def results(self) -> dict[str, Json]:
        """Return K, the overlaps and their fractions, and how a sequential run ended."""
        plain = self.plain_overlap
        return {
            "k": self.k,
            "fresh_draws": self.fresh_draws,
            "overlap": self.overlap.tolist(),
            "overlap_fraction": self.overlap_fraction.tolist(),
            "plain_overlap": None if plain is None else plain.tolist(),
            "asked_overlap": self.asked_overlap,
            "most_draws": self.most_draws,
            "stopped": None if self.stopped is None else list(self.stopped),
        }

    def _feature_tables(self) -> dict[str, Tensor]:
        alpha = 1 - self.confidence
        lower, upper = score_range(self.map, self.bound, self.at_radius, alpha, self.fresh_draws)
        if self.fresh_draws is not None:  # no radius is known up to which a map of fresh draws keeps a feature
            ranks = ranks_from_bounds(lower.numpy(), upper.numpy())
            return {"lower": lower, "upper": upper, "rank": torch.from_numpy(ranks)}
        return {
            "lower": lower,
            "upper": upper,
            "rank": feature_ranks(self.map, self.bound, self.at_radius, alpha),
            "radius": top_k_radii(self.map, self.bound, self.k, alpha),
        }


def certify_top_k(
    prover: Prover, smoothed_map: SmoothedMap, *, k: float, radius: float, fresh_draws: int | None = None
) -> TopKCertificate:
    """Certify how much of the top K of a map survives; see :meth:`~captum_certified.Certifier.top_k`."""
    bound, count, violations = prover.prepared(smoothed_map, k)
    ratio, fresh_draws = prover.ratio(smoothed_map, radius), checked_fresh_draws(fresh_draws)
    violations = violations if fresh_draws is None else 0

    def overlaps(part: SmoothedMap, level: float) -> Integers:
        if fresh_draws is None:
            return bound.overlaps(part, count, np.array([ratio]), level, violations)[:, 0]
        ends = interval_bound_of(bound).fresh_score_range(part, ratio, level, fresh_draws)
        return theory.overlap_from_bounds(*ends, part.features.numpy(), count)

    return TopKCertificate(
        **prover.proved(smoothed_map, radius, bound.name, violations=violations),
        k=count,
        fresh_draws=fresh_draws,
        overlap=prover.by_row(smoothed_map, overlaps),
    )


def certified_curve(prover: Prover, smoothed_map: SmoothedMap, *, k: float, radii: Sequence[float] | Tensor) -> Tensor:
    """Certify overlaps at several radii; see :meth:`~captum_certified.Certifier.top_k_curve`."""
    bound, count, violations = prover.prepared(smoothed_map, k)
    ratios = np.array([prover.ratio(smoothed_map, float(radius)) for radius in radii], dtype=np.float64)
    return prover.by_row(smoothed_map, lambda part, level: bound.overlaps(part, count, ratios, level, violations))


def certified_radius(prover: Prover, smoothed_map: SmoothedMap, *, k: float, overlap: float) -> Tensor:
    """Certify the radius up to which an overlap holds; see :meth:`~captum_certified.Certifier.radius`."""
    bound, count, violations = prover.prepared(smoothed_map, k)
    wanted = resolved_count("overlap", overlap, count)
    ratio = prover.by_row(smoothed_map, lambda part, level: bound.overlap_ratio(part, count, wanted, level, violations))
    return ratio * smoothed_map.sigma
