"""The certificate of top-K overlap."""

import warnings
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from captum_certified import theory
from captum_certified.certify.bounds import Bound, Integers, interval_bound_of, members_of
from captum_certified.certify.certificate import Certificate
from captum_certified.certify.conditions import compared_with, fresh_draws_conditions
from captum_certified.certify.feature_table import feature_ranks, score_range, top_k_radii
from captum_certified.certify.prover import Prover, checked_fresh_draws
from captum_certified.certify.reference import Reference, positive_top, reference_kind, with_reference
from captum_certified.certify.worth import (
    certified_class_radius,
    class_caution,
    near_chance,
    shared_fraction,
    shared_with_each,
)
from captum_certified.certify.written_numbers import ceiled_percent, floored_percent
from captum_certified.checks import resolved_count
from captum_certified.maps import SmoothedMap
from captum_certified.storage import Json
from captum_certified.theory import chance_overlap, ranks_from_bounds, top_k_mask

__all__ = ["TopKCertificate", "certify_top_k", "prepared", "warned"]


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class TopKCertificate(Certificate):
    """At least ``overlap`` of the K most salient features are also among the K most salient of the exact map.

    Attributes:
        k: Size K of the top set.
        fresh_draws: As in :class:`RankCertificate`.
        overlap: Certified number of features that stay, int64, shape (N,).
        asked_overlap: The overlap that a sequential run was asked to certify, or ``None``.
        most_draws: The most draws that a sequential run was allowed, or ``None``.
        reference: The set whose overlap is certified. ``"own"`` is the map's own top K. ``"plain"`` is the positive
            entries among the top K of the plain (unsmoothed) attribution at the clean input. ``"mask"`` is a set that
            the user gave as a mask.
    """

    kind: ClassVar[str] = "top_k"

    k: int
    overlap: Tensor
    fresh_draws: int | None = None
    asked_overlap: int | tuple[int, ...] | None = None
    most_draws: int | None = None
    reference: str = "own"

    @cached_property
    def members(self) -> Tensor:
        """The set whose overlap with the top K is certified, bool, shape (N, n).

        It is the reference set if there is one, and otherwise the map's own top K.
        """
        return self.top_k if self.reference == "own" else self._reference_set

    @cached_property
    def reference_size(self) -> Tensor:
        """How many features the reference set has, int64, shape (N,)."""
        return self.members.sum(dim=1)

    @property
    def overlap_fraction(self) -> Tensor:
        """``overlap`` as a fraction of min(K, L) for a reference set of L features, float64, shape (N,)."""
        return self.overlap.double() / self.reference_size.clamp_max(self.k)

    @cached_property
    def chance(self) -> Tensor:
        """The mean overlap fraction of a random top K with the reference set, float64, shape (N,)."""
        return torch.from_numpy(chance_overlap(self.members.numpy(), self.k))

    @cached_property
    def brightness(self) -> Tensor | None:
        """The overlap fraction of the K features with the largest |input| (the brightest), float64, shape (N,).

        These features do not depend on the model. ``None`` if the map is not structured like the input.
        """
        return shared_fraction(self.map.brightness, self.members, self.k)

    @cached_property
    def randomised(self) -> Tensor | None:
        """The overlap fraction of the plain map under re-initialised weights, float64, shape (N,).

        The fraction is the mean over five copies of the model with new random weights (Adebayo et al., 2018). ``None``
        if the weights of the model cannot be replaced.
        """
        return shared_with_each(self.map.randomised, self.members, self.k)

    @cached_property
    def margin(self) -> Tensor:
        """``overlap_fraction`` minus the largest of ``chance``, ``brightness`` and ``randomised``, shape (N,).

        Values that are ``None`` are left out. If ``randomised`` is ``None``, even a map that ignores the model's
        weights can have a positive margin.
        """
        known = [worth for worth in (self.chance, self.brightness, self.randomised) if worth is not None]
        return self.overlap_fraction - torch.stack(known).amax(dim=0)

    @property
    def class_kept(self) -> Tensor | None:
        """Fraction of noisy copies that keep the predicted class of the clean input; see :class:`SmoothedMap`."""
        return self.map.class_kept

    @cached_property
    def class_radius(self) -> Tensor | None:
        """L2 radius within which most noisy copies keep the predicted class of the clean input, shape (N,).

        This is the certificate of Cohen et al. (2019), computed from the noisy copies of :attr:`class_kept`. It has the
        same confidence as the overlap. But the two statements have separate error probabilities, so they do not hold
        together.
        """
        return certified_class_radius(self.map, 1 - self.confidence)

    @cached_property
    def of_plain(self) -> "TopKCertificate | None":
        """The certificate of the plain map's top K, from the same map, bound and violations.

        Both certificates hold together: with the given confidence both are true. ``None`` if the plain map is unknown,
        if it is zero for an example, or if the bound is ``"theorem2"``.
        """
        if self.reference == "plain":
            return self
        plain = self.map.plain
        if plain is None or not bool((plain > 0).any(dim=1).all()) or self.bound == "theorem2":
            return None
        prover = Prover(self.confidence, self.bound, self.violations)
        return certify_top_k(
            prover,
            self.map,
            k=self.k,
            radius=self.at_radius,
            fresh_draws=self.fresh_draws,
            reference="plain",
        )

    def cautions(self, row: int) -> list[str]:
        """Return, as sentences, the reasons why a certificate of an example that holds may still mean little."""
        kept, plain = self.class_kept, self.plain_overlap
        sentences = [] if kept is None else [class_caution(float(kept[row]))]
        if plain is not None and bool(self._near_chance[row]):
            sentences.append("the smoothed map shares no more with the plain map than chance would")
        return [sentence for sentence in sentences if sentence is not None]

    @cached_property
    def _near_chance(self) -> Tensor:
        """Whether the smoothed map shares hardly more with the plain map than a random map would, bool, shape (N,)."""
        assert self.plain_overlap is not None  # noqa: S101  for the type checker: callers check this
        return near_chance(self.plain_overlap, self._plain_set, self.k)

    @cached_property
    def _plain_set(self) -> Tensor:
        """The positive entries among the top K of the plain map, bool, shape (N, n)."""
        plain = self.map.plain
        assert plain is not None  # noqa: S101  for the type checker: callers check this
        return positive_top(plain, self.k)

    @property
    def _reference_set(self) -> Tensor:
        assert self.map.reference is not None  # noqa: S101  for the type checker: the map has the set
        return self.map.reference

    @property
    def stopped(self) -> tuple[str, ...] | None:
        """Why a sequential run stopped sampling each example: one word for each example; ``None`` for other runs.

        ``"certified"``: the overlap that was asked for is certified. ``"hopeless"``: a forecast found that more draws
        would hardly certify this overlap. ``"cap"``: the example reached the largest number of draws.
        """
        asked, most = self.asked_overlap, self.most_draws
        if asked is None or most is None:
            return None
        each = asked if isinstance(asked, tuple) else (asked,) * len(self.map)
        return tuple(
            "certified" if overlap >= least else "hopeless" if draws < most else "cap"
            for overlap, draws, least in zip(self.overlap.tolist(), self.n_samples.tolist(), each, strict=True)
        )

    @cached_property
    def top_k(self) -> Tensor:
        """The K most salient features of the smoothed map, bool, shape (N, n). Of equal values the lower index wins."""
        return torch.from_numpy(top_k_mask(self.map.features.numpy(), self.k)[0])

    @cached_property
    def plain_overlap(self) -> Tensor | None:
        """How many features of :attr:`top_k` are also in the top K of the plain attribution, shape (N,).

        ``None`` if the plain attribution is unknown. The number measures how faithful the smoothed map is to the plain
        one. No certificate covers this.
        """
        return None if self.map.plain is None else (self._plain_set & self.top_k).sum(dim=1)

    @property
    def conditions(self) -> tuple[str, ...]:
        """Sentences that are printed below the examples; ``held_fixed`` is the last."""
        return (*fresh_draws_conditions(self.fresh_draws), self.held_fixed)

    def summaries(self) -> list[str]:
        """Return one sentence for each example."""
        plain, stopped, of_plain = self.plain_overlap, self.stopped, self.of_plain
        return [
            self.headline(row)
            + f" of {compared_with(self.fresh_draws)}, proved from {int(draws)} draws"
            + ("" if certified else self._too_few_draws(row, of_counts=True))
            + ("" if stopped is None else f" ({self._asked(row)} asked for: {stopped[row]})")
            + ("" if plain is None or self.reference != "own" else f"; {self._shared(int(plain[row]))}")
            + ("" if of_plain is None or self.reference == "plain" else f"; {of_plain.headline(row)} too")
            + "".join(f"; caution: {caution}" for caution in self.cautions(row))
            for row, (certified, draws) in enumerate(zip(self.overlap, self.n_samples, strict=True))
        ]

    def headline(self, row: int) -> str:
        """Return what is certified about an example, and the overlaps of maps that do not use the trained model."""
        certified, share = int(self.overlap[row]), floored_percent(float(self.overlap_fraction[row]))
        if self.reference == "own":
            return f"at least {certified} of the top {self.k} features ({share}%) stay in the top {self.k}"
        size = int(self.reference_size[row])
        what = f"the plain map's top {size}" if self.reference == "plain" else f"the {size} features of the reference"
        known = (("chance", self.chance), ("brightness", self.brightness), ("random weights", self.randomised))
        # Each value is first rounded to 12 digits, because a floating-point mean of five fractions may exceed the exact
        # mean.
        others = [f"{ceiled_percent(round(float(v[row]), 12))}% by {name}" for name, v in known if v is not None]
        if self.randomised is None and self.map.setup:  # a map made from numbers has no model
            others.append("random weights unknown")
        margin = f": margin {100 * float(self.margin[row]):+.1f} points"
        return f"at least {certified} of {what} ({share}%; {', '.join(others)}{margin}) are in the top {self.k}"

    def _asked(self, row: int) -> int | None:
        return self.asked_overlap[row] if isinstance(self.asked_overlap, tuple) else self.asked_overlap

    def _shared(self, count: int) -> str:
        share = floored_percent(count / self.k)
        return f"{share}% of the smoothed map's top {self.k} are in the plain map's"

    def results(self) -> dict[str, Json]:
        """Return K, the overlaps and their fractions, and how a sequential run ended."""
        return {
            "k": self.k,
            "fresh_draws": self.fresh_draws,
            "plain_overlap": _listed(self.plain_overlap),
            "asked_overlap": list(self.asked_overlap) if isinstance(self.asked_overlap, tuple) else self.asked_overlap,
            "most_draws": self.most_draws,
            "stopped": None if self.stopped is None else list(self.stopped),
            "class_kept": _listed(self.class_kept),
            "class_radius": _listed(self.class_radius),
            "reference": self.reference,
            **self._about_reference(),
            "of_plain": None if self.of_plain is None else self.of_plain._about_reference(),
            "cautions": [list[Json](self.cautions(row)) for row in range(len(self.map))],
        }

    def _about_reference(self) -> dict[str, Json]:
        """Return the overlap with the reference set, and the overlaps of maps that do not use the trained model."""
        return {
            "reference_size": self.reference_size.tolist(),
            "overlap": self.overlap.tolist(),
            "overlap_fraction": self.overlap_fraction.tolist(),
            "chance": self.chance.tolist(),
            "brightness": _listed(self.brightness),
            "randomised": _listed(self.randomised),
            "margin": self.margin.tolist(),
        }

    def _feature_tables(self) -> dict[str, Tensor]:
        alpha = 1 - self.confidence
        lower, upper = score_range(self.map, self.bound, self.at_radius, alpha, self.fresh_draws)
        if self.fresh_draws is not None:  # no radius is certified for fresh draws
            ranks = ranks_from_bounds(lower.numpy(), upper.numpy())
            return {"lower": lower, "upper": upper, "rank": torch.from_numpy(ranks)}
        return {
            "lower": lower,
            "upper": upper,
            "rank": feature_ranks(self.map, self.bound, self.at_radius, alpha),
            "radius": top_k_radii(self.map, self.bound, self.k, alpha),
        }


def _listed(table: Tensor | None) -> Json:
    return None if table is None else table.tolist()


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
    smoothed_map, bound, count, violations = prepared(prover, smoothed_map, k, reference)
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


def prepared(
    prover: Prover, smoothed_map: SmoothedMap, k: float, reference: Reference
) -> tuple[SmoothedMap, Bound, int, int]:
    """Return the map with its reference set, the bound, K, and how many intervals may miss their scores."""
    prover.check_map(smoothed_map)
    count = resolved_count("k", k, smoothed_map.layout.n_features)
    smoothed_map = with_reference(smoothed_map, reference, count)
    return smoothed_map, *prover.prepared(smoothed_map, count)


def warned(certificate: TopKCertificate) -> TopKCertificate:
    """Warn about the examples whose certificates may mean little, and return the certificate."""
    cautions = [certificate.cautions(row) for row in range(len(certificate.map))]
    doubtful = [row for row, sentences in enumerate(cautions) if sentences]
    if doubtful:
        which = f"of example {doubtful[0]}" + (f" and {len(doubtful) - 1} others" if len(doubtful) > 1 else "")
        reasons = "; ".join(cautions[doubtful[0]])
        warnings.warn(f"The certificate {which} may mean little: {reasons}.", UserWarning, stacklevel=3)
    return certificate
