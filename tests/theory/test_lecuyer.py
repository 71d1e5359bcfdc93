"""Appendix K, compared with its formula, with the exact scores of half-spaces, and with the paper's Theorem 1."""

import itertools

import numpy as np
import pytest
from ensembles import aligned, incoherent, least_overlap
from numpy.testing import assert_allclose, assert_array_equal
from orderings import least_overlap as least_overlap_of_orderings
from scipy.special import ndtr, ndtri

from captum_certified.theory import (
    interval_ladder,
    lecuyer_bounds,
    lecuyer_overlap,
    overlap_from_ladder,
    shift,
    theorem2_ladder,
    top_k_mask,
)

SCORES = np.r_[0.0, 1e-6, 0.01, np.linspace(0.05, 0.95, 19), 0.99, 1 - 1e-6, 1.0][None]
# ε ≤ 1 for some δ < 1 needs r ≤ 1 / sqrt(2 ln 1.25).
LIMIT = 1 / np.sqrt(2 * np.log(1.25))


def literal(score, ratio):
    """Return the best e^{−ε}(lo − δ) and e^{ε}hi + δ over a fine grid of δ, clipped."""
    delta = np.geomspace(1.25 * np.exp(-1 / (2 * ratio**2)), 1, 200_001)[:-1]
    epsilon = ratio * np.sqrt(2 * np.log(1.25 / delta))
    delta, epsilon = delta[epsilon <= 1], epsilon[epsilon <= 1]
    if not len(delta):
        return 0.0, 1.0
    return max((np.exp(-epsilon) * (score - delta)).max(), 0.0), min((np.exp(epsilon) * score + delta).min(), 1.0)


@pytest.mark.parametrize("ratio", [0.1, 0.3, 0.8, 1.2, 1.49])
def test_the_bounds_are_the_formula_and_never_sharper(ratio):
    lower, upper = lecuyer_bounds(SCORES, SCORES, ratio=ratio)
    expected = np.array([literal(score, ratio) for score in SCORES[0]]).T
    # Every δ is valid, so a coarser grid can only give a weaker bound.
    assert (lower[0] <= expected[0] + 1e-9).all()
    assert (upper[0] >= expected[1] - 1e-9).all()
    assert_allclose(lower[0], expected[0], atol=3e-4)
    assert_allclose(upper[0], expected[1], atol=3e-4)


def test_the_two_ends_use_their_own_delta():
    # r = .1, lo = .9: δ = 1e-4 gives ε = .4344 and e^{−ε}(.9 − δ) = .5828; δ = .01 gives ε = .3108, .6523, better.
    (lower,), _ = lecuyer_bounds(np.array([[0.9]]), np.array([[0.05]]), ratio=0.1)
    _, (upper,) = lecuyer_bounds(np.array([[0.9]]), np.array([[0.05]]), ratio=0.1)
    assert lower[0] > 0.6523
    # hi = .05: δ = .01 gives .0782, δ = .1 gives .1626; the optimum of lo = .9 is at neither.
    assert upper[0] < 0.0783


@pytest.mark.parametrize("ratio", [LIMIT, 1.497, 1.5, 2.0, 1e3, 1e300])
def test_nothing_is_certified_from_ratio_1_497_on(ratio):
    lower, upper = lecuyer_bounds(SCORES, SCORES, ratio=ratio)
    assert_array_equal(lower, 0.0)
    assert_array_equal(upper, 1.0)
    assert lecuyer_overlap(np.array([[0.9, 0.1, 0.0]]), np.array([[1e-6]]), 1, ratio=ratio).tolist() == [0]
    assert lecuyer_overlap(np.array([[0.9, 0.1, 0.0]]), np.array([[1e-6]]), 2, ratio=ratio).tolist() == [1]


def test_something_is_certified_just_below_the_largest_ratio():
    lower, upper = lecuyer_bounds(np.array([[1.0]]), np.array([[0.0]]), ratio=LIMIT * 0.99)
    assert 0 < lower[0, 0] < 0.05
    assert 0.9 < upper[0, 0] < 1


@pytest.mark.parametrize("ratio", [0.0, 1e-300, 1e-12])
def test_bounds_at_ratio_zero_are_the_scores(ratio):
    lower, upper = lecuyer_bounds(SCORES, SCORES, ratio=ratio)
    assert_allclose(lower, SCORES, atol=1e-9)
    assert_allclose(upper, SCORES, atol=1e-9)
    assert (lower <= SCORES).all()
    assert (upper >= SCORES).all()


@pytest.mark.parametrize("ratio", [1e-3, 0.02, 0.1, 0.3, 0.6, 1.0, 1.3, 1.45, 1.4968])
def test_the_bounds_hold_for_half_spaces(ratio):
    """A half-space moves from h to Φ(Φ⁻¹(h) ± r), and the bounds must allow that."""
    lower, upper = lecuyer_bounds(SCORES, SCORES, ratio=ratio)
    assert (lower <= shift(SCORES, -ratio) + 1e-12).all()
    assert (upper >= shift(SCORES, ratio) - 1e-12).all()


def test_the_bounds_weaken_with_the_radius():
    ends = [lecuyer_bounds(SCORES, SCORES, ratio=r) for r in (0.0, 0.01, 0.1, 0.5, 1.0, 1.4, 1.5)]
    for near, far in itertools.pairwise(ends):
        # The grid of δ depends on r, so the optimum may vary by less than its spacing.
        assert (far[0] <= near[0] + 1e-4).all()
        assert (far[1] >= near[1] - 1e-4).all()


@pytest.mark.parametrize("make", [aligned, incoherent])
@pytest.mark.parametrize("ratio", [0.0, 0.02, 0.1, 0.3])
def test_no_adversary_beats_the_overlap(make, ratio):
    exact = make()
    mean = exact.population(exact.x[None])
    found = exact.population(exact.adversaries(8, ratio * exact.sigma, np.random.default_rng(1)))
    for k in (1, 8, 16):
        certified = lecuyer_overlap(mean, np.full((1, 1), 1e-3), k, ratio=ratio)
        assert (certified <= least_overlap(found, top_k_mask(mean, k)[0])).all()


@pytest.mark.parametrize("seed", range(20))
def test_the_overlap_is_the_worst_ordering_of_its_bounds(seed):
    rng = np.random.default_rng(seed)
    mean, c, ratio = rng.random((1, 6)), np.full((1, 1), 0.02), float(rng.choice([0.0, 0.02, 0.05]))
    ends = lecuyer_bounds(np.clip(mean - c, 0, 1), np.clip(mean + c, 0, 1), ratio=ratio)
    for k in range(1, 7):
        members = top_k_mask(mean, k)[0][0]
        worst = least_overlap_of_orderings(ends[0][0], ends[1][0], members, k)
        assert lecuyer_overlap(mean, c, k, ratio=ratio).tolist() == [worst]


@pytest.mark.parametrize("ratio", [0.0, 0.02, 0.05, 0.15, 0.5])
def test_theorem_1_certifies_at_least_as_much_on_realistic_maps(ratio):
    """The paper's Appendix K: with the same intervals and pairing never less, and somewhere far more."""
    rng = np.random.default_rng(0)
    mean = rng.beta(0.3, 2.0, (4, 3000))
    c = np.full((4, 1), 0.01)
    for k in (100, 600):
        ladder = interval_ladder(np.clip(mean - c, 0, 1), np.clip(mean + c, 0, 1), mean, k)
        ours = overlap_from_ladder(ladder, np.array([ratio]), closed=False, n_features=3000)[:, 0]
        theirs = lecuyer_overlap(mean, c, k, ratio=ratio)
        assert (ours >= theirs).all()
        if ratio in (0.05, 0.15):
            assert (ours > theirs + 0.1 * k).all()
            printed = overlap_from_ladder(theorem2_ladder(mean, c, k), np.array([ratio]), closed=True, n_features=3000)
            assert (printed[:, 0] >= theirs).all()


def test_shift_is_the_exact_move_of_a_half_space():
    # Φ(Φ⁻¹(.9) − .3) by scipy's own functions.
    assert_allclose(shift(0.9, -0.3), ndtr(ndtri(0.9) - 0.3), rtol=1e-14)
