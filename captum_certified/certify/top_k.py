"""The certificate of top-K overlap, the curve over several radii, and the largest radius."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from captum_certified import theory
from captum_certified.certify.bounds import Bound, Floats, Integers, interval_bound_of, members_of
from captum_certified.certify.certificate import Certificate
from captum_certified.certify.conditions import compared_with, fresh_draws_conditions
from captum_certified.certify.feature_table import feature_ranks, score_range, top_k_radii
from captum_certified.certify.prover import Prover, checked_fresh_draws
from captum_certified.certify.reference import Reference, reference_kind, with_reference
from captum_certified.certify.written_numbers import floored_percent
from captum_certified.checks import resolved_count
from captum_certified.maps import SmoothedMap
from captum_certified.storage import Json
from captum_certified.theory import chance_overlap, ranks_from_bounds, top_k_mask

__all__ = ["TopKCertificate", "asked_overlaps", "certified_curve", "certified_radius", "certify_top_k"]


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class TopKCertificate(Certificate):
    """At least ``overlap`` of the K most salient features stay among the K most salient of the exact smoothed map.

    Attributes:
        k: Size K of the top set.
        fresh_draws: As in :class:`RankCertificate`.
        overlap: Certified number of features that stay, int64, shape (N,).
        asked_overlap: The overlap that a sequential run was asked to certify, or ``None``.
        most_draws: The most draws that a sequential run was allowed, or ``None``.
        reference: Whose stay is certified: ``"own"``, the map's own top K; ``"plain"``, the top K of the plain
            attribution at the clean input; ``"mask"``, a set that was given.
    """

    kind: ClassVar[str] = "top_k"

    k: int
    overlap: Tensor
    fresh_draws: int | None = None
    asked_overlap: int | tuple[int, ...] | None = None
    most_draws: int | None = None
    reference: str = "own"

    @property
    def members(self) -> Tensor:
        """The features whose stay is certified, bool, shape (N, n): the map's own top K, or the reference set."""
        return self.top_k if self.reference == "own" else self._reference_set

    @property
    def reference_size(self) -> Tensor:
        """How many features the reference set has, int64, shape (N,)."""
        return self.members.sum(dim=1)

    @property
    def overlap_fraction(self) -> Tensor:
        """``overlap`` as a fraction of K, or of the reference set where that is smaller, float64, shape (N,)."""
        return self.overlap.double() / self.reference_size.clamp_max(self.k)

    @property
    def chance(self) -> Tensor:
        """The overlap fraction of a top K chosen by chance, float64, shape (N,)."""
        return torch.from_numpy(chance_overlap(self.members.numpy(), self.k))

    @property
    def _reference_set(self) -> Tensor:
        assert self.map.reference is not None  # noqa: S101  for the type checker: certificates of a set have it
        return self.map.reference

    @property
    def stopped(self) -> tuple[str, ...] | None:
        """Why a sequential run ended the draws of each example: N words, or ``None`` after any other run.

        ``"certified"``: the overlap that was asked for is certified. ``"hopeless"``: by a forecast, more draws would
        hardly have certified it. ``"cap"``: the example has as many draws as allowed.
        """
        asked, most = self.asked_overlap, self.most_draws
        if asked is None or most is None:
            return None
        each = asked if isinstance(asked, tuple) else (asked,) * len(self.map)
        return tuple(
            "certified" if overlap >= least else "hopeless" if draws < most else "cap"
            for overlap, draws, least in zip(self.overlap.tolist(), self.n_samples.tolist(), each, strict=True)
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
        plain, stopped, shares = self.plain_overlap, self.stopped, self.overlap_fraction.tolist()
        return [
            self._statement(row, int(certified), shares[row])
            + f" of {compared_with(self.fresh_draws)}, proved from {int(draws)} draws"
            + ("" if certified else self._too_few_draws(row, of_counts=True))
            + ("" if stopped is None else f" ({self._asked(row)} asked for: {stopped[row]})")
            + ("" if plain is None or self.reference != "own" else f"; {self._shared(int(plain[row]))}")
            for row, (certified, draws) in enumerate(zip(self.overlap, self.n_samples, strict=True))
        ]

    def _statement(self, row: int, certified: int, share: float) -> str:
        if self.reference == "own":
            what = f"the top {self.k} features ({floored_percent(share)}%)"
            return f"at least {certified} of {what} stay in the top {self.k}"
        size = int(self.reference_size[row])
        what = f"the plain map's top {size}" if self.reference == "plain" else f"the {size} features of the reference"
        chance = f"{floored_percent(float(self.chance[row]))}% by chance"
        return f"at least {certified} of {what} ({floored_percent(share)}%; {chance}) are in the top {self.k}"

    def _asked(self, row: int) -> int | None:
        return self.asked_overlap[row] if isinstance(self.asked_overlap, tuple) else self.asked_overlap

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
            "asked_overlap": list(self.asked_overlap) if isinstance(self.asked_overlap, tuple) else self.asked_overlap,
            "most_draws": self.most_draws,
            "stopped": None if self.stopped is None else list(self.stopped),
            **({} if self.reference == "own" else self._about_reference()),
        }

    def _about_reference(self) -> dict[str, Json]:
        return {
            "reference": self.reference,
            "reference_size": self.reference_size.tolist(),
            "chance": self.chance.tolist(),
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
    prover: Prover,
    smoothed_map: SmoothedMap,
    *,
    k: float,
    radius: float,
    fresh_draws: int | None = None,
    reference: Reference = None,
) -> TopKCertificate:
    """Certify how much of the top K of a map survives; see :meth:`~captum_certified.Certifier.top_k`."""
    smoothed_map, bound, count, violations = _prepared(prover, smoothed_map, k, reference)
    ratio, fresh_draws = prover.ratio(smoothed_map, radius), checked_fresh_draws(fresh_draws)
    violations = violations if fresh_draws is None else 0

    def overlaps(part: SmoothedMap, level: float) -> Integers:
        if fresh_draws is None:
            return bound.overlaps(part, count, np.array([ratio]), level, violations)[:, 0]
        ends = interval_bound_of(bound).fresh_score_range(part, ratio, level, fresh_draws)
        return theory.reference_overlap_from_bounds(*ends, members_of(part, count), count)

    return TopKCertificate(
        **prover.proved(smoothed_map, radius, bound.name, violations=violations),
        k=count,
        fresh_draws=fresh_draws,
        reference=reference_kind(reference),
        overlap=prover.by_row(smoothed_map, overlaps),
    )


def certified_curve(
    prover: Prover,
    smoothed_map: SmoothedMap,
    *,
    k: float,
    radii: Sequence[float] | Tensor,
    reference: Reference = None,
) -> Tensor:
    """Certify overlaps at several radii; see :meth:`~captum_certified.Certifier.top_k_curve`."""
    smoothed_map, bound, count, violations = _prepared(prover, smoothed_map, k, reference)
    ratios = np.array([prover.ratio(smoothed_map, float(radius)) for radius in radii], dtype=np.float64)
    return prover.by_row(smoothed_map, lambda part, level: bound.overlaps(part, count, ratios, level, violations))


def certified_radius(
    prover: Prover, smoothed_map: SmoothedMap, *, k: float, overlap: float, reference: Reference = None
) -> Tensor:
    """Certify how far an overlap holds; see :meth:`~captum_certified.Certifier.radius`."""
    smoothed_map, bound, count, violations = _prepared(prover, smoothed_map, k, reference)

    def ratios(part: SmoothedMap, level: float) -> Floats:
        return bound.overlap_ratio(part, count, asked_overlaps(part, overlap, count), level, violations)

    return prover.by_row(smoothed_map, ratios) * smoothed_map.sigma


def asked_overlaps(smoothed_map: SmoothedMap, overlap: float, k: int) -> Integers:
    """Return an overlap that is asked for, as a number of features of each example, shape (N,).

    Raises:
        InvalidInputError: An example's reference set, or K, is smaller.
    """
    if smoothed_map.reference is None:
        return np.full(len(smoothed_map), resolved_count("overlap", overlap, k), dtype=np.int64)
    sizes = smoothed_map.reference.sum(dim=1).clamp_max(k).tolist()
    return np.array([resolved_count("overlap", overlap, size) for size in sizes], dtype=np.int64)


def _prepared(
    prover: Prover, smoothed_map: SmoothedMap, k: float, reference: Reference
) -> tuple[SmoothedMap, Bound, int, int]:
    """Return the map with its reference set, the bound, K, and how many intervals may miss."""
    prover.check_map(smoothed_map)
    count = resolved_count("k", k, smoothed_map.layout.n_features)
    smoothed_map = with_reference(smoothed_map, reference, count)
    return smoothed_map, *prover.prepared(smoothed_map, count)
