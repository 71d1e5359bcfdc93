"""The guarantee of sequential certificates is tested by repeating runs."""

import dataclasses
import functools

import numpy as np
import pytest
import torch
from ensembles import HalfSpaces, incoherent, least_overlap, rivals
from scipy.special import ndtri
from scipy.stats import binom
from spectral_ensembles import summarised

from captum_certified import (
    Certifier,
    SmoothedMap,
)
from captum_certified.certify.goal import Goal
from captum_certified.certify.prover import Prover
from captum_certified.certify.sequential import sample_in_looks
from captum_certified.certify.stopping_rule import StoppingRule
from captum_certified.maps import select_rows
from captum_certified.theory import look_sizes

REPETITIONS = 2000


class Repetitions:
    """Samples many runs of one ensemble as the rows of a batch, each with its own draws."""

    def __init__(self, exact: HalfSpaces, sizes: list[int], *, covariance: bool = False, seed: int = 0):
        rng, self.exact, self.segments = np.random.default_rng(seed), exact, {}
        for start, stop in zip([0, *sizes], sizes, strict=False):
            if len(exact.offsets) > 2:
                draws = exact.draws(REPETITIONS, stop - start, rng)
                counts, summary = draws.sum(axis=1), summarised(draws, block=sizes[0]) if covariance else None
            else:  # two rivals: one is 1 whenever the other is 0
                first = rng.binomial(stop - start, exact.population(exact.x[None])[0, 0], REPETITIONS)
                counts, summary = np.stack([first, stop - start - first], axis=1), None
            self.segments[start, stop] = SmoothedMap.from_counts(
                torch.from_numpy(counts.astype(np.int64)),
                n_samples=stop - start,
                stdevs=exact.sigma,
                covariance=summary,
            )

    def __call__(self, present: SmoothedMap | None, stop: int, rows: torch.Tensor) -> SmoothedMap:
        start = 0 if present is None else int(present.n_samples[0])
        more = select_rows(self.segments[start, stop], rows)
        return more if present is None else present.merge(more, assume_independent=True)


def failures_of_rivals(alpha, *, at_full_level=False):
    """Count the runs that certify at any look that the first rival stays, which is false at this radius."""
    exact, sizes = rivals(h=0.8), look_sizes(4, 2**18)
    radius = exact.sigma * float(ndtri(0.8)) * (1 + 1e-9)
    certifier = Certifier(bound="clopper_pearson", confidence=1 - alpha)
    rule = StoppingRule(certifier.prover, Goal(k=1, radius=radius, overlap=1), sizes)

    def certified(part):
        part = dataclasses.replace(part, looks=None) if at_full_level else part
        return certifier.top_k(part, k=1, radius=radius).overlap == 1

    def decide(part):
        return certified(part) | (part.n_samples >= sizes[-1]) if at_full_level else rule.done(part)

    smoothed_map = sample_in_looks(Repetitions(exact, sizes), rule, rows=REPETITIONS, decide=decide)
    first = smoothed_map.feature_counts[:, 0] * 2 > smoothed_map.n_samples
    return int((certified(smoothed_map) & first).sum())


@pytest.mark.parametrize("alpha", [0.05, 0.2, 0.5])
def test_a_false_claim_is_certified_no_more_often_than_promised(alpha):
    assert binom.sf(failures_of_rivals(alpha) - 1, REPETITIONS, alpha) >= 1e-6


def test_looks_at_the_full_level_fail_more_often_than_promised():
    assert binom.sf(failures_of_rivals(0.2, at_full_level=True) - 1, REPETITIONS, 0.2) < 1e-6


@functools.cache
def incoherent_runs(*, block, most, covariance):
    return Repetitions(incoherent(), look_sizes(block, most), covariance=covariance)


@pytest.mark.parametrize("bound", ["best", "spectral", "clopper_pearson", "theorem2"])
@pytest.mark.parametrize("overlap", [0.3, 0.8])
def test_no_adversary_beats_a_sequential_certificate(bound, overlap):
    runs, radius, k = incoherent_runs(block=128, most=1024, covariance=bound in ("best", "spectral")), 0.05, 8
    certifier = Certifier(bound=bound, confidence=0.8, violations=0)
    rule = StoppingRule(certifier.prover, Goal(k=k, radius=radius, overlap=overlap), look_sizes(128, 1024))
    smoothed_map = sample_in_looks(runs, rule, rows=REPETITIONS)
    certificate = certifier.top_k(smoothed_map, k=k, radius=radius)
    population = runs.exact.population(runs.exact.adversaries(k, radius, np.random.default_rng(1)))
    failures = int((least_overlap(population, certificate.top_k.numpy()) < certificate.overlap.numpy()).sum())
    assert binom.sf(failures - 1, REPETITIONS, 0.2) >= 1e-6
    if overlap == 0.3:
        assert bool((certificate.overlap > 0).any())


@pytest.mark.parametrize(
    ("radius", "overlap", "covariance", "given_up"),
    [(0.1, 0.75, False, False), (0.15, 0.625, False, False), (0.2, 0.75, False, True), (0.1, 0.75, True, False)],
)
def test_rows_that_are_given_up_would_hardly_have_been_certified(radius, overlap, covariance, given_up):
    runs, sizes = incoherent_runs(block=128, most=1024, covariance=covariance), look_sizes(128, 1024)
    rule = StoppingRule(Prover(confidence=0.9), Goal(k=8, radius=radius, overlap=overlap), sizes)
    smoothed_map = sample_in_looks(runs, rule, rows=REPETITIONS)
    with_forecasts = rule.certified(smoothed_map)
    assert bool((~with_forecasts & (smoothed_map.n_samples < 1024)).any()) == given_up

    def certified_or_at_the_cap(part):
        return rule.certified(part) | (part.n_samples >= sizes[-1])

    without = rule.certified(sample_in_looks(runs, rule, rows=REPETITIONS, decide=certified_or_at_the_cap))
    assert not bool((with_forecasts & ~without).any())
    assert int((without & ~with_forecasts).sum()) <= REPETITIONS // 1000
