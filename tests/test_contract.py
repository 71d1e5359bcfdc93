"""Every bound, tested on exact half-spaces: it is sound, monotone and right in its limits, and refuses false claims."""

import functools
import itertools

import numpy as np
import pytest
import torch
from contract import COARSE, ENSEMBLES, always_certified, applicable, guaranteed_ranks, map_for, most_certified
from ensembles import least_overlap, rivals, worst_ranks
from scipy.stats import binom

from captum_certified import Certifier, SmoothedMap
from captum_certified.certify.bounds.registry import BOUNDS
from captum_certified.theory import top_k_mask

REPETITIONS = 400
DRAWS = 1500
CONFIDENCE = 0.9

bounds = pytest.mark.parametrize("bound", list(BOUNDS))
on_ensembles = pytest.mark.parametrize(("bound", "ensemble"), list(applicable()))


def assert_no_more_failures_than_promised(failures: np.ndarray, allowed_rate: float) -> None:
    """Assert that the number of failures is not in the upper 1e-6 tail of the promised rate."""
    limit = binom.isf(1e-6, len(failures), allowed_rate)
    assert failures.sum() <= limit, f"{failures.sum()} failures in {len(failures)}, at most {limit:.0f} are credible"


@functools.cache
def runs(bound: str, ensemble: str) -> SmoothedMap:
    """Return independent repetitions of one sampling, as the rows of one map."""
    exact = ENSEMBLES[ensemble]()
    return map_for(bound, exact.draws(REPETITIONS, DRAWS, np.random.default_rng(7)), exact.sigma)


# -- soundness -----------------------------------------------------------------------------------------------


@on_ensembles
@pytest.mark.parametrize("violations", ["auto", 0, 2])
@pytest.mark.parametrize("k", [1, 8, 17])
def test_no_adversary_beats_the_certified_overlap(bound, ensemble, k, violations):
    exact, smoothed_map = ENSEMBLES[ensemble](), runs(bound, ensemble)
    if violations != "auto" and violations > k:
        violations = k
    certifier = Certifier(bound=bound, confidence=CONFIDENCE, violations=violations)
    members = top_k_mask(smoothed_map.features.numpy(), k)[0]
    certified_somewhere = 0
    for ratio in (0.0, 0.02, 0.1, 0.3, 0.8):
        certified = certifier.top_k(smoothed_map, k=k, radius=ratio * exact.sigma).overlap.numpy()
        found = exact.adversaries(k, ratio * exact.sigma, np.random.default_rng(11))
        worst = least_overlap(exact.population(found), members)
        assert_no_more_failures_than_promised(worst < certified, 1 - CONFIDENCE)
        certified_somewhere += int((certified > 0).sum())
    if k == 8 and violations == 0:
        assert certified_somewhere > REPETITIONS, "a bound that certifies nothing would pass this test"


@on_ensembles
@pytest.mark.parametrize("violations", ["auto", 0, 2])
@pytest.mark.parametrize(("k", "size"), [(8, 3), (8, 8), (3, 8), (17, 6), (1, 12)])
def test_no_adversary_beats_the_certified_overlap_with_a_reference_set(bound, ensemble, k, size, violations):
    if bound == "theorem2":
        pytest.skip("it pairs the ranks of one map's own top K")
    exact, smoothed_map = ENSEMBLES[ensemble](), runs(bound, ensemble)
    # A set beside the strongest features, as a plain map's or an expert's may be.
    order = np.argsort(-exact.population(exact.x[None])[0], kind="stable")
    members = np.isin(np.arange(exact.n_features), order[1 : 2 * size : 2] if size == 8 else order[:size])
    mask = torch.from_numpy(members)[None]
    violations = min(violations, k) if violations != "auto" else violations
    certifier = Certifier(bound=bound, confidence=CONFIDENCE, violations=violations)
    certified_somewhere = 0
    for ratio in (0.0, 0.02, 0.1, 0.3, 0.8):
        radius = ratio * exact.sigma
        certified = certifier.top_k(smoothed_map, k=k, radius=radius, reference=mask).overlap.numpy()
        found = exact.adversaries(k, radius, np.random.default_rng(11), members=members)
        worst = least_overlap(exact.population(found), np.repeat(mask.numpy(), REPETITIONS, axis=0), k)
        assert_no_more_failures_than_promised(worst < certified, 1 - CONFIDENCE)
        certified_somewhere += int((certified > 0).sum())
    if (k, size, violations) == (8, 8, 0):
        assert certified_somewhere > REPETITIONS, "a bound that certifies nothing would pass this test"


@on_ensembles
@pytest.mark.parametrize(("k", "size"), [(8, 3), (3, 8), (17, 20)])
def test_overlaps_with_a_reference_set_fall_with_the_radius_and_agree_with_radii(bound, ensemble, k, size):
    if bound == "theorem2":
        pytest.skip("it pairs the ranks of one map's own top K")
    exact, smoothed_map = ENSEMBLES[ensemble](), runs(bound, ensemble)
    members = np.zeros((1, exact.n_features), dtype=bool)
    members[0, np.random.default_rng(size).permutation(exact.n_features)[:size]] = True
    certifier, mask = Certifier(bound=bound), torch.from_numpy(members)
    radii = [0.0, 1e-9, 0.01, 0.05, 0.2, 0.6]
    curve = certifier.top_k_curve(smoothed_map, k=k, radii=radii, reference=mask)
    assert bool((curve.diff(dim=1) <= 0).all())
    assert bool((curve >= max(0, k + size - exact.n_features)).all())
    assert bool((curve <= min(k, size)).all())
    for overlap in (1, min(k, size)):
        reach = certifier.radius(smoothed_map, k=k, overlap=overlap, reference=mask)
        for column, radius in enumerate(radii):
            certified = curve[:, column] >= overlap
            assert bool((certified <= (reach >= radius * (1 - 1e-8))).all())
            assert bool(((reach > radius * (1 + 1e-8)) & (reach > 0) <= certified).all())


@on_ensembles
def test_no_adversary_beats_a_certified_rank(bound, ensemble):
    exact, smoothed_map = ENSEMBLES[ensemble](), runs(bound, ensemble)
    informative = 0
    for ratio in (0.0, 0.05, 0.2):
        certificate = Certifier(bound=bound, confidence=CONFIDENCE).rank(smoothed_map, radius=ratio * exact.sigma)
        guaranteed = guaranteed_ranks(certificate)
        found = exact.adversaries(8, ratio * exact.sigma, np.random.default_rng(12))
        worst = worst_ranks(exact.population(found))
        assert_no_more_failures_than_promised((worst > guaranteed).any(axis=1), 1 - CONFIDENCE)
        informative += int((guaranteed < exact.n_features).sum())
    assert informative > REPETITIONS


@bounds
@pytest.mark.parametrize("confidence", [0.5, 0.95])
def test_coverage_where_the_claim_is_false(bound, confidence):
    """The claim that the first of two rivals stays is false just beyond the distance at which they are equal."""
    exact, repetitions = rivals(h=0.8), 4000
    draws = exact.draws(repetitions, 1000, np.random.default_rng(5))
    smoothed_map = map_for(bound, draws, exact.sigma)
    crossing = exact.sigma * 0.8416212335729143  # Φ⁻¹(.8)
    certifier = Certifier(bound=bound, confidence=confidence, violations=0)
    beyond = certifier.top_k(smoothed_map, k=1, radius=crossing * 1.0001).overlap.numpy()
    assert_no_more_failures_than_promised(beyond > 0, 1 - confidence)
    guaranteed = guaranteed_ranks(certifier.rank(smoothed_map, radius=crossing * 1.0001))
    assert_no_more_failures_than_promised(guaranteed[:, 0] < 2, 1 - confidence)
    nearer = certifier.top_k(smoothed_map, k=1, radius=crossing * 0.5).overlap.numpy()
    # Well inside the distance every run certifies the largest possible overlap.
    assert bound in COARSE or (nearer == most_certified(bound, 1, 2)).all()


@bounds
@pytest.mark.parametrize("confidence", [0.5, 0.95])
def test_coverage_of_two_groups_where_the_claim_is_false(bound, confidence):
    """Every overlap of three features is false just beyond the distance at which their three rivals are equal."""
    exact, repetitions = rivals(h=0.7), 2000
    draws = np.repeat(exact.draws(repetitions, 1500, np.random.default_rng(6)), 3, axis=2)
    smoothed_map = map_for(bound, draws, exact.sigma)
    crossing = exact.sigma * 0.5244005127080407  # Φ⁻¹(.7)
    certifier = Certifier(bound=bound, confidence=confidence, violations=0)
    beyond = certifier.top_k(smoothed_map, k=3, radius=crossing * 1.0001).overlap.numpy()
    assert_no_more_failures_than_promised(beyond > 0, 1 - confidence)
    nearer = certifier.top_k(smoothed_map, k=3, radius=crossing * 0.3).overlap.numpy()
    assert bound in COARSE or (nearer == most_certified(bound, 3, 6)).all()


@bounds
@pytest.mark.parametrize("violations", ["auto", 0, 1])
def test_equal_features_certify_nothing(bound, violations):
    same = np.zeros((1, 100, 10))
    same[:, :50] = 1.0
    smoothed_map = map_for(bound, same, 0.5)
    for radius in (0.0, 1e-9, 0.1):
        assert Certifier(bound=bound, violations=violations).top_k(smoothed_map, k=4, radius=radius).overlap == 0
        ranks = Certifier(bound=bound).rank(smoothed_map, radius=radius)
        assert not ranks.in_top_k(9).any()


# -- monotone ------------------------------------------------------------------------------------------------


@on_ensembles
@pytest.mark.parametrize("k", [1, 8, 12, 24])
def test_overlap_falls_with_the_radius(bound, ensemble, k):
    smoothed_map = SmoothedMap.stack([runs(bound, ensemble)])
    radii = np.linspace(0, 1, 60)
    curve = Certifier(bound=bound).top_k_curve(smoothed_map, k=k, radii=radii.tolist())
    assert bool((curve.diff(dim=1) <= 0).all())
    assert bool((curve >= 0).all())
    assert bool((curve <= k).all())


@on_ensembles
def test_overlap_falls_with_the_confidence(bound, ensemble):
    smoothed_map = runs(bound, ensemble)
    curves = [
        Certifier(bound=bound, confidence=p).top_k_curve(smoothed_map, k=8, radii=[0.0, 0.05, 0.1, 0.3])
        for p in (0.1, 0.5, 0.9, 0.99, 0.999999, 1 - 1e-15)
    ]
    assert all(bool((high <= low).all()) for low, high in itertools.pairwise(curves))
    assert not torch.equal(curves[0], curves[-1])


@on_ensembles
def test_overlap_grows_with_the_draws(bound, ensemble):
    exact = ENSEMBLES[ensemble]()
    draws = exact.draws(40, 200, np.random.default_rng(3))
    curves = [
        Certifier(bound=bound).top_k_curve(
            map_for(bound, np.tile(draws, (1, times, 1)), exact.sigma), k=8, radii=[0.0, 0.05, 0.1, 0.3]
        )
        for times in (1, 2, 8, 40)
    ]
    assert all(bool((more >= fewer).all()) for fewer, more in itertools.pairwise(curves))
    assert not torch.equal(curves[0], curves[-1])


@on_ensembles
def test_ranks_fall_with_draws_and_rise_with_radius_and_confidence(bound, ensemble):
    smoothed_map = runs(bound, ensemble)
    by_radius = [Certifier(bound=bound).rank(smoothed_map, radius=r).feature_rank for r in (0.0, 0.01, 0.1, 1.0)]
    assert all(bool((far >= near).all()) for near, far in itertools.pairwise(by_radius))
    by_confidence = [
        Certifier(bound=bound, confidence=p).rank(smoothed_map, radius=0.05).feature_rank for p in (0.1, 0.9, 0.999)
    ]
    assert all(bool((high >= low).all()) for low, high in itertools.pairwise(by_confidence))


# -- limits --------------------------------------------------------------------------------------------------


def sharply_known(bound: str, n: int) -> SmoothedMap:
    """Return a map of distinct means with so many draws that the intervals have almost no width."""
    draws = 10**10
    counts = torch.linspace(0.98, 0.02, n, dtype=torch.float64).mul(draws).round().long().unsqueeze(0)
    return SmoothedMap.from_counts(counts, n_samples=draws, stdevs=0.5)


@bounds
@pytest.mark.parametrize(("k", "n"), [(1, 2), (3, 10), (5, 10), (7, 10), (10, 10), (1, 1), (300, 1000), (700, 1000)])
@pytest.mark.parametrize("violations", [0, 1, "auto"])
def test_limits_of_the_radius(bound, k, n, violations):
    smoothed_map = sharply_known(bound, n)
    if BOUNDS[bound].refusal(smoothed_map) is not None:
        pytest.skip("needs more than counts")
    certifier = Certifier(bound=bound, violations=violations)
    lost = certifier.top_k(smoothed_map, k=k, radius=0.0).violations
    least = always_certified(bound, k, n)
    assert int(certifier.top_k(smoothed_map, k=k, radius=0.0).overlap) == max(most_certified(bound, k, n) - lost, least)
    assert int(certifier.top_k(smoothed_map, k=k, radius=1e6).overlap) == least
    assert int(certifier.top_k(smoothed_map, k=k, radius=1e300).overlap) == least


@bounds
def test_limits_of_the_ranks(bound):
    smoothed_map = sharply_known(bound, 10)
    if BOUNDS[bound].refusal(smoothed_map) is not None:
        pytest.skip("needs more than counts")
    certifier = Certifier(bound=bound)
    at_the_input = guaranteed_ranks(certifier.rank(smoothed_map, radius=0.0))
    assert at_the_input.tolist() == [list(range(1, 11))]
    assert (guaranteed_ranks(certifier.rank(smoothed_map, radius=1e6)) >= 10).all()


# -- one sample, every radius --------------------------------------------------------------------------------


@on_ensembles
@pytest.mark.parametrize("violations", ["auto", 0, 1])
@pytest.mark.parametrize("k", [1, 8, 20, 24, 0.5])
def test_the_curve_equals_the_certificate_at_every_radius(bound, ensemble, k, violations):
    smoothed_map = runs(bound, ensemble)
    certifier = Certifier(bound=bound, violations=violations)
    radii = [*np.random.default_rng(2).uniform(0, 0.6, 8).round(4).tolist(), 0.0, 1e-12, 5.0]
    curve = certifier.top_k_curve(smoothed_map, k=k, radii=radii)
    for column, radius in enumerate(radii):
        assert torch.equal(curve[:, column], certifier.top_k(smoothed_map, k=k, radius=radius).overlap)


@on_ensembles
def test_a_row_is_certified_equally_alone_and_in_a_batch(bound, ensemble):
    exact = ENSEMBLES[ensemble]()
    draws = exact.draws(3, 300, np.random.default_rng(9))
    together = map_for(bound, draws, exact.sigma)
    certifier = Certifier(bound=bound)
    radii = [0.0, 0.05, 0.2]
    for row in range(3):
        alone = map_for(bound, draws[row : row + 1], exact.sigma)
        assert torch.equal(
            certifier.top_k_curve(alone, k=8, radii=radii)[0], certifier.top_k_curve(together, k=8, radii=radii)[row]
        )
        assert torch.equal(
            certifier.rank(alone, radius=0.05).feature_rank[0], certifier.rank(together, radius=0.05).feature_rank[row]
        )


def test_the_sharp_pairing_never_certifies_less_than_the_paper():
    for ensemble in ENSEMBLES:
        smoothed_map = runs("hoeffding", ensemble)
        radii = np.linspace(0, 0.5, 20).tolist()
        for k in (1, 8, 20):
            printed = Certifier(bound="theorem2").top_k_curve(smoothed_map, k=k, radii=radii)
            sharp = Certifier(bound="hoeffding", violations=0).top_k_curve(smoothed_map, k=k, radii=radii)
            assert bool((sharp >= printed).all())
