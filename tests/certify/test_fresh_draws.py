"""Certificates about a map of fresh draws at the perturbed input."""

import itertools
import math
from dataclasses import replace

import ensembles
import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from scipy.special import ndtr, ndtri
from scipy.stats import binom, binomtest

from captum_certified import Certificate, Certifier, InvalidInputError, SmoothedMap
from captum_certified.certify import agrees
from captum_certified.theory import top_k_mask

RNG = np.random.default_rng(0)
COUNTS = torch.from_numpy(RNG.binomial(3000, RNG.beta(0.4, 1.0, (2, 30))))
MAP = SmoothedMap.from_counts(COUNTS, n_samples=3000, stdevs=0.25)
INTERVAL_BOUNDS = pytest.mark.parametrize(
    "bound", ["best", "clopper_pearson", "kl", "empirical_bernstein", "hoeffding"]
)


def literal_bounds(counts, *, q, ratio, fresh, alpha):
    """B6: intervals at α/2, shifted, and widened by sqrt(ln(4n/α)/(2q′))."""
    n = len(counts)
    ends = [binomtest(c, q).proportion_ci(confidence_level=1 - alpha / 2 / n) for c in counts]
    c = math.sqrt(math.log(4 * n / alpha) / (2 * fresh))
    return ndtr(ndtri([e.low for e in ends]) - ratio) - c, ndtr(ndtri([e.high for e in ends]) + ratio) + c


@pytest.mark.parametrize("radius", [0.0, 0.01, 0.05])
@pytest.mark.parametrize("fresh", [1, 200, 3000])
@pytest.mark.parametrize("confidence", [0.5, 0.95])
def test_overlaps_and_ranks_follow_from_the_literal_bounds(radius, fresh, confidence):
    certifier = Certifier(bound="clopper_pearson", confidence=confidence)
    ranks = certifier.rank(MAP, radius=radius, fresh_draws=fresh).rank.numpy()
    for row, counts in enumerate(COUNTS.tolist()):
        a, b = literal_bounds(counts, q=3000, ratio=radius / 0.25, fresh=fresh, alpha=1 - confidence)
        assert_array_equal(ranks[row], [1 + sum(b[j] >= a[i] for j in range(30) if j != i) for i in range(30)])
        for k in (1, 8, 20, 30):
            order = sorted(range(30), key=lambda i, c=counts: (-c[i], i))
            strong, weak = sorted(a[order[:k]], reverse=True), sorted(b[order[k:]], reverse=True)
            weak += [-math.inf] * k
            expected = max((i for i in range(1, k + 1) if strong[i - 1] > weak[k - i]), default=0)
            certificate = certifier.top_k(MAP, k=k, radius=radius, fresh_draws=fresh)
            assert int(certificate.overlap[row]) == expected
            assert (certificate.fresh_draws, certificate.violations) == (fresh, 0)


@INTERVAL_BOUNDS
@pytest.mark.parametrize("violations", [0, 2, "auto"])
def test_certificates_grow_with_the_fresh_draws_and_are_weaker_than_for_the_exact_map(bound, violations):
    certifier = Certifier(bound=bound, violations=violations)
    exact = Certifier(bound=bound, violations=0)
    for radius in (0.0, 0.005, 0.03):
        for k in (2, 8, 20):
            overlaps = [
                certifier.top_k(MAP, k=k, radius=radius, fresh_draws=fresh).overlap
                for fresh in (10, 1000, 10**5, 10**12)
            ]
            overlaps.append(exact.top_k(MAP, k=k, radius=radius).overlap)
            assert all(bool((few <= many).all()) for few, many in itertools.pairwise(overlaps))
        ranks = [exact.rank(MAP, radius=radius, fresh_draws=fresh).feature_rank for fresh in (10, 1000, 10**5, 10**12)]
        ranks.append(exact.rank(MAP, radius=radius).feature_rank)
        assert all(bool((few >= many).all()) for few, many in itertools.pairwise(ranks))


def test_violations_are_not_allowed_and_not_reported():
    loose, strict = (Certifier(violations=v).top_k(MAP, k=8, radius=0.01, fresh_draws=500) for v in (2, 0))
    assert (loose.violations, strict.violations) == (0, 0)
    assert torch.equal(loose.overlap, strict.overlap)


def test_very_many_fresh_draws_equal_the_exact_map_at_half_the_level():
    halved = Certifier(bound="kl", confidence=0.975, violations=0)
    certifier = Certifier(bound="kl", confidence=0.95)
    for k in (3, 12, 20):
        fresh = certifier.top_k(MAP, k=k, radius=0.01, fresh_draws=10**15)
        assert torch.equal(fresh.overlap, halved.top_k(MAP, k=k, radius=0.01).overlap)


@INTERVAL_BOUNDS
@pytest.mark.parametrize("make", [ensembles.aligned, ensembles.incoherent])
def test_fresh_maps_at_the_adversary_s_input_keep_the_overlap_and_the_ranks(make, bound):
    exact, repetitions, q, fresh, alpha, k = make(), 400, 2000, 1000, 0.1, 8
    rng = np.random.default_rng(6)
    counts = torch.from_numpy(exact.draws(repetitions, q, rng).sum(axis=1).astype(np.int64))
    smoothed_map = SmoothedMap.from_counts(counts, n_samples=q, stdevs=exact.sigma)
    members = top_k_mask(smoothed_map.features.numpy(), k)[0]
    certifier, informative = Certifier(bound=bound, confidence=1 - alpha), 0
    for radius in (0.0, 0.05, 0.2):
        found = exact.adversaries(k, radius, np.random.default_rng(11))
        lead = exact.population(found)
        worst = found[int(np.argmin(np.where(np.arange(exact.n_features) < k, lead, -lead).sum(axis=1)))]
        moved = ensembles.HalfSpaces(exact.weights, exact.offsets, worst, exact.sigma)
        fresh_mean = moved.draws(repetitions, fresh, rng).mean(axis=1)
        certified = certifier.top_k(smoothed_map, k=k, radius=radius, fresh_draws=fresh).overlap.numpy()
        kept = (top_k_mask(fresh_mean, k)[0] & members).sum(axis=1)
        assert (kept < certified).sum() <= binom.isf(1e-6, repetitions, alpha)
        ranks = certifier.rank(smoothed_map, radius=radius, fresh_draws=fresh).feature_rank.numpy()
        seen = (fresh_mean[:, None, :] >= fresh_mean[:, :, None]).sum(axis=2)
        assert (seen > ranks).any(axis=1).sum() <= binom.isf(1e-6, repetitions, alpha)
        informative += int((certified > 0).sum())
    assert informative >= repetitions


def test_two_top_sets_share_at_least_2k_minus_n_features():
    assert Certifier().top_k(MAP, k=20, radius=1e9, fresh_draws=1).overlap.tolist() == [10, 10]
    assert Certifier().top_k(MAP, k=10, radius=1e9, fresh_draws=1).overlap.tolist() == [0, 0]
    assert bool((Certifier().rank(MAP, radius=1e9, fresh_draws=1).feature_rank == 30).all())


def test_theorem2_states_nothing_about_fresh_draws():
    for call in (
        lambda: Certifier(bound="theorem2").top_k(MAP, k=3, radius=0.1, fresh_draws=100),
        lambda: Certifier(bound="theorem2").rank(MAP, radius=0.1, fresh_draws=100),
    ):
        with pytest.raises(
            InvalidInputError, match="Expected a `bound` from intervals for `fresh_draws`, got 'theorem2'"
        ):
            call()


@pytest.mark.parametrize("fresh_draws", [0, -5, 2.5, True, "many", [100, 200]])
def test_invalid_numbers_of_draws_are_refused(fresh_draws):
    for call in (
        lambda: Certifier().top_k(MAP, k=3, radius=0.1, fresh_draws=fresh_draws),
        lambda: Certifier().rank(MAP, radius=0.1, fresh_draws=fresh_draws),
    ):
        with pytest.raises(InvalidInputError, match="Expected `fresh_draws` "):
            call()


@INTERVAL_BOUNDS
def test_the_certificate_is_stored_and_recomputed(bound, tmp_path):
    for certificate in (
        Certifier(bound=bound, violations=2).top_k(MAP, k=8, radius=0.01, fresh_draws=500),
        Certifier(bound=bound).rank(MAP, radius=0.01, fresh_draws=500),
    ):
        certificate.save(tmp_path / "c.npz")
        loaded = Certificate.load(tmp_path / "c.npz")
        assert type(loaded) is type(certificate)
        assert loaded.fresh_draws == 500
        assert agrees(loaded)
        assert not agrees(replace(loaded, fresh_draws=None))
        assert loaded.to_dict(arrays=True) == certificate.to_dict(arrays=True)


@pytest.mark.parametrize("fresh_draws", [np.int64(500), torch.tensor(500)])
def test_integers_of_any_kind_are_kept_as_int(fresh_draws, tmp_path):
    for certificate in (
        Certifier().top_k(MAP, k=8, radius=0.01, fresh_draws=fresh_draws),
        Certifier().rank(MAP, radius=0.01, fresh_draws=fresh_draws),
    ):
        assert type(certificate.fresh_draws) is int
        assert '"fresh_draws": 500' in certificate.to_json()
        certificate.save(tmp_path / "c.npz")
        assert agrees(Certificate.load(tmp_path / "c.npz"))
