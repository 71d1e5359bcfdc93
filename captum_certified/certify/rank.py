"""The certificates of ranks: sharp ranks, and the ranks of Theorem 3."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from captum_certified import theory
from captum_certified.certify.bounds import Integers, half_width, interval_bound_of
from captum_certified.certify.certificate import Certificate
from captum_certified.certify.conditions import compared_with, fresh_draws_conditions
from captum_certified.certify.feature_table import score_range
from captum_certified.certify.prover import Prover, check_norm, checked_fresh_draws
from captum_certified.checks import resolved_count
from captum_certified.exceptions import CertificationError
from captum_certified.maps import SmoothedMap
from captum_certified.storage import Json

__all__ = ["THEOREM3", "RankCertificate", "certify_median_ranks", "certify_ranks"]

THEOREM3 = "theorem3"  # the bound of Certifier.median_rank
_AS_PRINTED = frozenset({"theorem2", THEOREM3})  # bounds whose ranks are the numbers of Definition 3.1


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class RankCertificate(Certificate):
    """The worst rank that each feature can have in the exact smoothed map.

    All ranks of one example hold together.

    Attributes:
        fresh_draws: ``None`` means that the statement is about the exact map at every perturbed input. A number means
            that it is about a map of this many fresh draws, at one perturbed input chosen without seeing these draws.
        feature_rank: Certified rank of each feature, int64, shape (N, n).
    """

    kind: ClassVar[str] = "rank"

    feature_rank: Tensor
    fresh_draws: int | None = None

    @property
    def rank(self) -> Tensor | tuple[Tensor, ...]:
        """Certified rank of every entry, structured like ``map.mean``; n + 1 means that nothing is certified.

        Under the bounds ``theorem2`` and ``theorem3`` the number is that of Definition 3.1. It is one larger than the
        guaranteed rank, because it counts the feature itself.
        """
        return self.map.layout.unflatten(self.feature_rank)

    def in_top_k(self, k: float) -> Tensor | tuple[Tensor, ...]:
        """Return which entries certifiably stay among the ``k`` most salient, bool, structured like ``map.mean``.

        Args:
            k: An int is a number of features, a float a fraction of all features.
        """
        return self.map.layout.unflatten(self.features_in_top_k(k))

    def features_in_top_k(self, k: float) -> Tensor:
        """Return which features certifiably stay among the ``k`` most salient, bool, shape (N, n)."""
        return self._guaranteed() <= resolved_count("k", k, self.map.layout.n_features)

    @property
    def conditions(self) -> tuple[str, ...]:
        """Sentences that are printed below the examples; ``held_fixed`` is the last."""
        return (*fresh_draws_conditions(self.fresh_draws), self.held_fixed)

    def summaries(self) -> list[str]:
        """Return one sentence for each example."""
        n = self.map.layout.n_features
        best = self._guaranteed().amin(dim=1)
        informative = (self._guaranteed() < n).sum(dim=1)
        return [
            f"{int(count)} of {n} features have a certified rank"
            + (f", the best of them rank at most {int(first)}" if count else "")
            + f", in {compared_with(self.fresh_draws)}, proved from {int(draws)} draws"
            + ("" if count else self._too_few_draws(row))
            for row, (count, first, draws) in enumerate(zip(informative, best, self.n_samples, strict=True))
        ]

    def results(self) -> dict[str, Json]:
        """Return the best certified rank of each example."""
        return {"fresh_draws": self.fresh_draws, "best_rank": self._guaranteed().amin(dim=1).tolist()}

    def _guaranteed(self) -> Tensor:
        """Return the proved ranks. A number of Definition 3.1 counts the feature itself, so one is subtracted."""
        return self.feature_rank - 1 if self.bound in _AS_PRINTED else self.feature_rank

    def _feature_tables(self) -> dict[str, Tensor]:
        bound = "hoeffding" if self.bound == THEOREM3 else self.bound
        lower, upper = score_range(self.map, bound, self.at_radius, 1 - self.confidence, self.fresh_draws)
        return {"lower": lower, "upper": upper, "rank": self.feature_rank}


def certify_ranks(
    prover: Prover, smoothed_map: SmoothedMap, *, radius: float, fresh_draws: int | None = None
) -> RankCertificate:
    """Certify the rank of each feature; see :meth:`~captum_certified.Certifier.rank`."""
    bound = prover.bound_for(smoothed_map)
    ratio, fresh_draws = prover.ratio(smoothed_map, radius), checked_fresh_draws(fresh_draws)

    def ranks(part: SmoothedMap, level: float) -> Integers:
        if fresh_draws is None:
            return bound.ranks(part, ratio, level)
        return theory.ranks_from_bounds(*interval_bound_of(bound).fresh_score_range(part, ratio, level, fresh_draws))

    return RankCertificate(
        fresh_draws=fresh_draws,
        **prover.proved(smoothed_map, radius, bound.name),
        feature_rank=prover.by_row(smoothed_map, ranks),
    )


def certify_median_ranks(prover: Prover, smoothed_map: SmoothedMap, *, radius: float) -> RankCertificate:
    """Certify the ranks of Theorem 3; see :meth:`~captum_certified.Certifier.median_rank`."""
    prover.check_map(smoothed_map)
    counts, most_ones = smoothed_map.feature_counts, smoothed_map.max_squared_norm
    if counts is None or most_ones is None:
        raise CertificationError(
            "Expected a sparsified map with a known number of ones in each draw, got one without counts or without "
            "`max_squared_norm`."
        )
    check_norm(smoothed_map)
    n, ratio = smoothed_map.layout.n_features, prover.ratio(smoothed_map, radius)
    weights = np.ones(int(most_ones))
    salient = prover.by_row(
        smoothed_map,
        lambda part, level: theory.theorem3_rank(
            weights, len(weights), half_width=half_width(part, level), ratio=ratio
        ),
    )
    in_half = 2 * counts >= smoothed_map.n_samples.unsqueeze(1)
    ranks = torch.where(in_half, salient.clamp_max(n + 1), n + 1).long()
    return RankCertificate(
        **prover.proved(smoothed_map, radius, THEOREM3),
        feature_rank=ranks,
    )
