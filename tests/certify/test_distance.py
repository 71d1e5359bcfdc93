"""The distance of S5, with and without a covariance."""

import dataclasses
import math
from decimal import Decimal, localcontext

import numpy as np
import pytest
import torch
from contract import counted, of_any_draws
from ensembles import HalfSpaces, aligned, incoherent
from scipy.special import ndtr
from scipy.stats import binom
from spectral_ensembles import farthest, layered, mixed, summarised
from torch.testing import assert_close

from captum_certified import CertificationError, Certifier, InvalidInputError, SmoothedMap
from captum_certified.certify.bounds.spectral import displacement_of

ENSEMBLES = {"aligned": aligned, "incoherent": incoherent, "layered": layered, "mixed": mixed}


def map_of(exact, *, rows=1, draws=2000, covariance=True, seed=0, norm=None):
    values = exact.draws(rows, draws, np.random.default_rng(seed))
    made = dataclasses.replace(counted(values, exact.sigma), max_squared_norm=norm)
    return dataclasses.replace(made, covariance=summarised(values, block=500)) if covariance else made


def without_covariance(s, q, ratio, alpha):
    """√2 √s (2Φ(r/2) − 1) + √(s/q)(1 + √ln(1/α))."""
    moved = math.sqrt(2 * s) * (2 * float(ndtr(ratio / 2)) - 1)
    return moved + math.sqrt(s / q) * (1 + math.sqrt(math.log(1 / alpha)))


@pytest.mark.parametrize("confidence", [0.5, 0.95])
@pytest.mark.parametrize("ratio", [0.0, 0.1, 1.5, 40.0])
def test_without_a_covariance_the_distance_is_the_formula(confidence, ratio):
    smoothed_map = map_of(incoherent(), covariance=False, norm=20.0)
    certificate = Certifier(confidence=confidence).distance(smoothed_map, radius=ratio * 0.5)
    assert_close(float(certificate.l2), without_covariance(20.0, 2000, ratio, 1 - confidence), rtol=1e-12, atol=0)
    assert (certificate.bound, certificate.kind) == ("spectral", "distance")


def test_without_a_known_bound_the_squared_norm_is_at_most_n():
    smoothed_map = map_of(incoherent(), covariance=False)
    certificate = Certifier().distance(smoothed_map, radius=0.1)
    assert_close(float(certificate.l2), without_covariance(24.0, 2000, 0.2, 1 - 0.95), rtol=1e-12, atol=0)


@pytest.mark.parametrize("ratio", [0.0, 0.05, 0.3, 1.5, 3.0, 40.0, 1e200])
def test_with_a_covariance_the_distance_is_the_smaller_of_two_bounds(ratio):
    smoothed_map = map_of(layered())
    bound = displacement_of(smoothed_map, 1 - 0.95)
    spectral = math.sqrt(bound.squared([ratio])[0, 0])
    total_variation = bound.error[0] + math.sqrt(60.0) * (2 * float(ndtr(ratio / 2)) - 1)
    certificate = Certifier().distance(smoothed_map, radius=ratio * 0.5)
    assert_close(float(certificate.l2), float(min(spectral, total_variation)), rtol=1e-12, atol=0)


def test_each_of_the_two_bounds_wins_somewhere():
    bound = displacement_of(map_of(layered()), 0.05)
    ratios = np.array([0.05, 3.0])
    moved = bound.error[0] + math.sqrt(60.0) * (2 * ndtr(ratios / 2) - 1)
    spectral = np.sqrt(bound.squared(ratios)[0])
    assert spectral[0] < moved[0]
    assert spectral[1] > moved[1]


@pytest.mark.parametrize("ratio", [0.1, 0.7, 2.0])
def test_the_total_variation_is_sharp(ratio):
    """Two disjoint maps on the two sides of a hyperplane half way move h by exactly √2 √s (2Φ(r/2) − 1)."""
    ones, sigma = 3, 0.5
    sides = np.repeat([[1.0], [-1.0]], ones, axis=0)
    half_way = sigma * ratio / 2
    exact = HalfSpaces(sides, np.repeat([half_way, -half_way], ones), np.zeros(1), sigma)
    moved = exact.population(np.array([[sigma * ratio]]))[0] - exact.population(np.zeros((1, 1)))[0]
    smoothed_map = map_of(exact, covariance=False, norm=float(ones))
    certifier = Certifier()
    step = certifier.distance(smoothed_map, radius=sigma * ratio).l2 - certifier.distance(smoothed_map, radius=0.0).l2
    assert_close(float(step), float(np.linalg.norm(moved)), rtol=1e-9, atol=0)


@pytest.mark.parametrize("covariance", [True, False])
@pytest.mark.parametrize("name", list(ENSEMBLES))
def test_no_input_exceeds_the_certified_distance_or_cosine(name, covariance):
    exact, rows, confidence = ENSEMBLES[name](), 200, 0.8
    smoothed_map = map_of(exact, rows=rows, draws=500, covariance=covariance, seed=3)
    for ratio in (0.0, 0.1, 0.5, 1.5):
        certificate = Certifier(confidence=confidence).distance(smoothed_map, radius=ratio * exact.sigma)
        population = exact.population(farthest(exact, ratio, np.random.default_rng(4), starts=20))
        mean = smoothed_map.features.numpy()
        farthest_found = np.sqrt(np.square(population[:, None] - mean[None]).sum(axis=2).max(axis=0))
        lengths = np.linalg.norm(population, axis=1)[:, None] * np.linalg.norm(mean, axis=1)[None]
        turned = ((population @ mean.T) / lengths).min(axis=0)
        broken = (farthest_found > certificate.l2.numpy()) | (turned < certificate.cosine.numpy())
        assert broken.sum() <= binom.isf(1e-6, rows, 1 - confidence)
        if ratio <= 0.1 and covariance:
            assert (certificate.cosine > 0.2).any(), "a bound of 0 would pass this test"


def test_the_cosine_of_a_case_computed_by_hand():
    # s = 1, q = 10⁶, ‖ĥ‖ = 1: sine = ‖displacement‖, cosine = √(1 − sine²).
    given = SmoothedMap.from_mean(
        torch.tensor([[0.6, 0.8]], dtype=torch.float64), n_samples=10**6, stdevs=0.1, max_squared_norm=1.0
    )
    certificate = Certifier().distance(given, radius=0.02)
    l2 = without_covariance(1.0, 10**6, 0.2, 1 - 0.95)
    assert_close(float(certificate.cosine), math.sqrt(1 - l2**2), rtol=1e-12, atol=0)
    assert float(Certifier().distance(given, radius=0.5).cosine) == 0.0


def test_a_map_of_zeros_has_a_distance_and_a_cosine_of_zero():
    certificate = Certifier().distance(
        SmoothedMap.from_counts(torch.zeros(1, 4, dtype=torch.int64), n_samples=100, stdevs=0.1), radius=0.01
    )
    assert float(certificate.l2) > 0
    assert float(certificate.cosine) == 0.0


def test_each_row_has_its_own_distance():
    smoothed_map = map_of(incoherent(), rows=3)
    together = Certifier().distance(smoothed_map, radius=0.05)
    for row in range(3):
        alone = map_of(incoherent(), rows=3)
        part = alone.covariance
        single = dataclasses.replace(
            SmoothedMap.from_counts(alone.feature_counts[row : row + 1], n_samples=2000, stdevs=0.5),
            covariance=type(part)(**{name: value[row : row + 1] for name, value in part.parts().items()}),
        )
        assert_close(Certifier().distance(single, radius=0.05).l2[0], together.l2[row], rtol=1e-13, atol=0)


def test_distance_grows_with_radius_and_confidence():
    smoothed_map = map_of(mixed())
    by_radius = [float(Certifier().distance(smoothed_map, radius=r).l2) for r in (0.0, 0.01, 0.1, 1.0, 10.0)]
    assert by_radius == sorted(by_radius)
    by_confidence = [float(Certifier(confidence=p).distance(smoothed_map, radius=0.1).l2) for p in (0.5, 0.9, 0.999)]
    assert by_confidence == sorted(by_confidence)


def test_the_certificate_contains_both_numbers():
    certificate = Certifier().distance(map_of(incoherent()), radius=0.05)
    assert "the exact smoothed map is at most" in repr(certificate)
    assert set(certificate.results()) == {"l2", "cosine"}
    assert certificate.results()["l2"] == certificate.l2.tolist()


def test_signed_maps_negative_radii_and_single_draws_are_refused():
    signed = of_any_draws(torch.tensor([[0.5, -0.25]]), n_samples=50, stdevs=0.1)
    with pytest.raises(CertificationError, match=r"Expected a map of draws >= 0, got means from -0\.25"):
        Certifier().distance(signed, radius=0.1)
    with pytest.raises(InvalidInputError, match="Expected `radius` to be a finite number >= 0, got -1"):
        Certifier().distance(map_of(incoherent()), radius=-1.0)
    one = SmoothedMap.from_counts(torch.tensor([[1, 0]]), n_samples=1, stdevs=0.1)
    with pytest.raises(CertificationError, match="Expected at least 2 draws"):
        Certifier().distance(one, radius=0.1)


def test_maps_of_unknown_or_impossible_norm_are_refused():
    tall = of_any_draws(torch.tensor([[5.0, 3.0]]), n_samples=1000, stdevs=0.1)
    with pytest.raises(CertificationError, match=r"values in \[0, 1\] or a `max_squared_norm`, got means up to 5"):
        Certifier().distance(tall, radius=0.01)
    long = of_any_draws(torch.tensor([[5.0, 3.0]]), n_samples=1000, stdevs=0.1, max_squared_norm=20)
    with pytest.raises(CertificationError, match="squares add up to at most `max_squared_norm`, got 34"):
        Certifier().distance(long, radius=0.01)
    known = of_any_draws(torch.tensor([[5.0, 3.0]]), n_samples=1000, stdevs=0.1, max_squared_norm=40)
    assert float(Certifier().distance(known, radius=0.01).l2) > 0


@pytest.mark.parametrize("draws", [50, 1000, 8192])
def test_a_distance_is_rounded_up_and_a_cosine_down(draws):
    """At radius 0 and without a covariance the distance is sqrt(s/q)(1 + sqrt(ln(1/α)))."""
    for s in range(1, 60):
        given = SmoothedMap.from_counts(torch.full((1, 60), draws), draws, 0.1, max_squared_norm=60.0 + s)
        certificate = Certifier(confidence=0.75).distance(given, radius=0.0)
        with localcontext() as context:
            context.prec = 40
            exact = ((60 + s) / Decimal(draws)).sqrt() * (1 + Decimal(4).ln().sqrt())
            assert exact <= Decimal(float(certificate.l2)) <= exact * (1 + Decimal("1e-12"))
            turned = max(1 - exact**2 / 60, Decimal(0)).sqrt()
            assert turned >= Decimal(float(certificate.cosine)) >= turned * (1 - Decimal("1e-9"))
