"""Forecasts: certificates of a map whose means are assumed to be exact."""

import itertools

import pytest
import torch

from captum_certified import CertificationError, Certifier, InvalidInputError, SmoothedMap

COUNTS = torch.randint(0, 101, (3, 80), generator=torch.Generator().manual_seed(0))
FEW = SmoothedMap.from_counts(COUNTS, n_samples=100, stdevs=0.25)
MEANS = SmoothedMap.from_mean(FEW.mean, n_samples=100, stdevs=0.25, second_moment=0.9 * FEW.mean + 0.1 * FEW.mean**2)
INTERVAL_BOUNDS = ("clopper_pearson", "kl", "empirical_bernstein", "hoeffding", "theorem2")
SETTINGS = {"k": 20, "radius": 0.01}


@pytest.mark.parametrize("bound", ["best", *INTERVAL_BOUNDS])
@pytest.mark.parametrize("violations", [0, "auto", 2])
@pytest.mark.parametrize("nt_samples", [2, 100, 800, 40000])
def test_a_forecast_is_the_certificate_of_the_exact_means(bound, violations, nt_samples):
    certifier = Certifier(bound=bound, violations=violations)
    planned = certifier.forecast(FEW, **SETTINGS, nt_samples=nt_samples)
    assert planned.dtype == torch.int64
    counts = (COUNTS.double() * nt_samples / 100).round().long()
    exact = SmoothedMap.from_counts(counts, n_samples=nt_samples, stdevs=0.25)
    assert torch.equal(planned, certifier.top_k(exact, **SETTINGS).overlap)


@pytest.mark.parametrize("bound", ["best", "kl", "empirical_bernstein", "hoeffding", "theorem2"])
def test_a_forecast_for_means_keeps_the_means(bound):
    certifier = Certifier(bound=bound)
    exact = SmoothedMap.from_mean(FEW.mean, n_samples=5000, stdevs=0.25, second_moment=MEANS.second_moment)
    planned = certifier.forecast(MEANS, **SETTINGS, nt_samples=5000)
    assert torch.equal(planned, certifier.top_k(exact, **SETTINGS).overlap)


@pytest.mark.parametrize("bound", ["best", *INTERVAL_BOUNDS])
def test_forecasts_grow_with_the_draws(bound):
    smoothed_map = FEW if bound == "clopper_pearson" else MEANS
    certifier = Certifier(bound=bound)
    # Multiples of 100 keep the counts whole.
    planned = [certifier.forecast(smoothed_map, **SETTINGS, nt_samples=q) for q in (100, 400, 3000, 10**5, 10**7)]
    for fewer, more in itertools.pairwise(planned):
        assert bool((more >= fewer).all())
    assert bool((planned[-1] > planned[0]).all())


def test_a_forecast_for_the_present_draws_is_the_present_certificate():
    for bound in INTERVAL_BOUNDS:
        certifier = Certifier(bound=bound)
        assert torch.equal(
            certifier.forecast(FEW, **SETTINGS, nt_samples=100), certifier.top_k(FEW, **SETTINGS).overlap
        )


def test_a_forecast_does_not_change_the_map():
    before = FEW.counts.clone()
    Certifier().forecast(FEW, **SETTINGS, nt_samples=7)
    assert torch.equal(FEW.counts, before)
    assert FEW.n_samples.tolist() == [100] * 3


@pytest.mark.parametrize("nt_samples", [0, -3, 2.5, True, "many", None])
def test_invalid_numbers_of_draws_are_refused(nt_samples):
    with pytest.raises(InvalidInputError, match=r"Expected `nt_samples` "):
        Certifier().forecast(FEW, **SETTINGS, nt_samples=nt_samples)


def test_one_draw_certifies_nothing():
    with pytest.raises(CertificationError, match=r"Expected at least 2 draws to certify, got 1\."):
        Certifier().forecast(FEW, **SETTINGS, nt_samples=1)


def test_k_and_radius_are_refused_as_in_certificates():
    with pytest.raises(InvalidInputError, match="Expected `k` to be a number of features from 1 to 80"):
        Certifier().forecast(FEW, k=81, radius=0.1, nt_samples=500)
    with pytest.raises(InvalidInputError, match="Expected `radius` to be a finite number >= 0"):
        Certifier().forecast(FEW, k=8, radius=-0.1, nt_samples=500)
