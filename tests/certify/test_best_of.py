"""S4: the better one of an interval bound and the spectral bound, where each has half the error probability."""

import dataclasses
import functools

import numpy as np
import pytest
import torch
from contract import counted, of_any_draws
from ensembles import aligned, graded, incoherent
from spectral_ensembles import mixed, summarised

from captum_certified import CertificationError, Certifier, CovarianceSummary, SmoothedMap
from captum_certified.certify.bounds.registry import BOUNDS

INTERVAL_BOUNDS = {
    "aligned": "clopper_pearson",
    "incoherent": "clopper_pearson",
    "mixed": "clopper_pearson",
    "graded": "kl",
}
ENSEMBLES = {"aligned": aligned, "incoherent": incoherent, "mixed": mixed, "graded": graded}
RATIOS = np.array([0.0, 0.05, 0.2, 0.5, 1.0])

on_ensembles = pytest.mark.parametrize("name", list(ENSEMBLES))


@functools.cache
def map_of(name, *, draws=2500, rows=4):
    exact = ENSEMBLES[name]()
    values = exact.draws(rows, draws, np.random.default_rng(1))
    return dataclasses.replace(counted(values, exact.sigma), covariance=summarised(values, block=500))


@on_ensembles
@pytest.mark.parametrize("violations", [0, 1])
@pytest.mark.parametrize("k", [1, 8, 20])
def test_overlap_is_the_larger_of_both_at_half_the_level(name, k, violations):
    smoothed_map, alpha = map_of(name), 1 - 0.95
    best = Certifier(bound="best", violations=violations).top_k_curve(smoothed_map, k=k, radii=(RATIOS * 0.5).tolist())
    from_intervals = BOUNDS[INTERVAL_BOUNDS[name]].overlaps(smoothed_map, k, RATIOS, alpha / 2, violations)
    spectral = BOUNDS["spectral"].overlaps(smoothed_map, k, RATIOS, alpha / 2, 0)
    np.testing.assert_array_equal(best.numpy(), np.maximum(from_intervals, spectral))


def test_each_bound_wins_somewhere():
    """Intervals win for aligned features, the spectral bound for many incoherent features."""
    alpha = 1 - 0.95
    interval_wins = spectral_wins = 0
    for smoothed_map, k in ((map_of("aligned"), 8), (many_directions(), 60)):
        [bound] = {Certifier().top_k(smoothed_map, k=k, radius=0.1).bound}
        assert bound == "best"
        from_intervals = BOUNDS["clopper_pearson"].overlaps(smoothed_map, k, RATIOS, alpha / 2, 0)
        spectral = BOUNDS["spectral"].overlaps(smoothed_map, k, RATIOS, alpha / 2, 0)
        interval_wins += int((from_intervals > spectral).sum())
        spectral_wins += int((spectral > from_intervals).sum())
    assert interval_wins > 0
    assert spectral_wins > 0


@functools.cache
def many_directions():
    exact = incoherent(300)
    rng = np.random.default_rng(2)
    weights = rng.standard_normal((300, 100))
    exact = dataclasses.replace(
        exact, weights=weights / np.linalg.norm(weights, axis=1, keepdims=True), x=np.zeros(100)
    )
    values = exact.draws(1, 6000, rng)
    return dataclasses.replace(counted(values, exact.sigma), covariance=summarised(values, block=2000))


def steady():
    """A map of many draws that hardly vary. Its covariance proves more than any interval."""
    evidence = (1e5, 1e-3, 2e-3, 1e-5)
    return SmoothedMap.from_mean(
        torch.linspace(0.6, 0.4, 20, dtype=torch.float64).unsqueeze(0), n_samples=200_000, stdevs=0.5,
        trace=torch.tensor([0.01]), covariance=CovarianceSummary(*(torch.tensor([value]) for value in evidence)),
    )  # fmt: skip


def maps_where_each_wins():
    interval_bounds = BOUNDS["clopper_pearson"], BOUNDS["kl"]
    return [
        (map_of("aligned"), 8, interval_bounds[0]),
        (map_of("incoherent"), 8, interval_bounds[0]),
        (steady(), 10, interval_bounds[1]),
    ]


def test_radius_is_the_larger_of_both():
    alpha, wins = 1 - 0.95, np.zeros(2)
    for smoothed_map, k, bound in maps_where_each_wins():
        for overlap in range(1, k + 1, 3):
            best = Certifier(violations=0).radius(smoothed_map, k=k, overlap=overlap)
            asked = np.full(len(smoothed_map), overlap)
            from_intervals = bound.overlap_ratio(smoothed_map, k, asked, alpha / 2, 0)
            spectral = BOUNDS["spectral"].overlap_ratio(smoothed_map, k, asked, alpha / 2, 0)
            np.testing.assert_array_equal(best.numpy(), np.maximum(from_intervals, spectral) * 0.5)
            wins += [(from_intervals > spectral).sum(), (spectral > from_intervals).sum()]
    assert (wins > 0).all(), "the level of a bound that never wins is not tested"


def test_rank_is_the_smaller_of_both():
    alpha, wins, level_matters = 1 - 0.95, np.zeros(2), 0
    for smoothed_map, _, bound in maps_where_each_wins():
        for ratio in np.linspace(0, 1.5, 40):
            best = Certifier().rank(smoothed_map, radius=ratio * 0.5).feature_rank.numpy()
            from_intervals = bound.ranks(smoothed_map, ratio, alpha / 2)
            spectral = BOUNDS["spectral"].ranks(smoothed_map, ratio, alpha / 2)
            np.testing.assert_array_equal(best, np.minimum(from_intervals, spectral))
            wins += [(from_intervals < spectral).sum(), (spectral < from_intervals).sum()]
            whole = BOUNDS["spectral"].ranks(smoothed_map, ratio, alpha)
            level_matters += ((whole < spectral) & (whole < from_intervals)).sum()
    assert (wins > 0).all()
    assert level_matters > 0


def test_intervals_have_half_of_the_level():
    """Selections and overlaps of one map hold together, so the intervals have the level α/2."""
    smoothed_map = map_of("incoherent")
    lower, upper = BOUNDS["clopper_pearson"].intervals(smoothed_map, (1 - 0.95) / 2)
    certificate = Certifier().selection(smoothed_map, radius=0.0)
    np.testing.assert_array_equal(certificate.feature_selected.numpy(), lower > 0.5)
    np.testing.assert_array_equal(certificate.feature_rejected.numpy(), upper < 0.5)


def test_the_interval_bound_allows_violations():
    smoothed_map = many_directions()
    certificate = Certifier(violations=2).top_k(smoothed_map, k=60, radius=0.05)
    assert certificate.violations == 2
    assert certificate.bound == "best"


def test_without_a_covariance_the_interval_bound_has_the_whole_level():
    smoothed_map = dataclasses.replace(map_of("incoherent"), covariance=None)
    certificate = Certifier().top_k(smoothed_map, k=8, radius=0.05)
    assert certificate.bound == "clopper_pearson"
    same = Certifier(bound="clopper_pearson").top_k(smoothed_map, k=8, radius=0.05)
    assert torch.equal(certificate.overlap, same.overlap)


def test_without_intervals_the_spectral_bound_has_the_whole_level():
    """Means above 1 have no interval, but a map with a bound on its norm has a spectral certificate."""
    summary = CovarianceSummary(torch.tensor([5e6]), torch.tensor([1e-4]))
    given = of_any_draws(
        torch.tensor([[3.0, 1.5]]), n_samples=10**7, stdevs=0.1, max_squared_norm=16.0,
        trace=torch.tensor([1e-4]), covariance=summary,
    )  # fmt: skip
    certificate = Certifier().top_k(given, k=1, radius=0.05)
    assert (certificate.bound, certificate.overlap.tolist()) == ("spectral", [1])


def test_a_map_to_which_no_bound_applies_is_refused():
    with pytest.raises(CertificationError, match="no bound applies"):
        Certifier().top_k(of_any_draws(torch.tensor([[3.0, 1.5]]), n_samples=100, stdevs=0.1), k=1, radius=0.1)
