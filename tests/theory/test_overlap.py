"""Theorem 2 and its sharp form, compared with the printed formula and with every possible ordering."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from orderings import least_overlap
from reference import hoeffding_c, theorem_2
from scipy.stats import norm

from captum_certified.theory import (
    interval_ladder,
    overlap_from_bounds,
    overlap_from_ladder,
    probit,
    ratio_from_ladder,
    theorem2_ladder,
    top_k_mask,
)


def by_theorem_2(mean, c, k, ratio):
    ladder = theorem2_ladder(mean[None], np.array([[c]]), k)
    return int(overlap_from_ladder(ladder, np.array([ratio]), closed=True, n_features=len(mean))[0, 0])


def by_intervals(lower, upper, mean, k, ratio):
    ladder = interval_ladder(lower[None], upper[None], mean[None], k)
    return int(overlap_from_ladder(ladder, np.array([ratio]), closed=False, n_features=len(mean))[0, 0])


def hoeffding(mean, c, k, ratio):
    return by_intervals(np.clip(mean - c, 0, 1), np.clip(mean + c, 0, 1), mean, k, ratio)


# Φ(1) = .8413 and Φ(−1) = .1587: features (.8413, .6, .4, .1587), c → 0, so intervals are points.
STEP = norm.cdf(1.0)
HAND = np.array([STEP, 0.6, 0.4, 1 - STEP])
TINY = 1e-12


@pytest.mark.parametrize(
    ("ratio", "printed", "sharp"),
    [
        # K = 2. Printed pairs i = 1 with rank 3, i = 2 with rank 2 (itself: never, as c > 0).
        #   i = 1: Φ⁻¹(.8413) − Φ⁻¹(.4) = 1 + .2533 ≥ 2r, so up to r = .6267.
        # Sharp pairs i = 1 with the second outsider, .1587, and i = 2 with the first, .4.
        #   i = 2: Φ⁻¹(.6) − Φ⁻¹(.4) = .5067 > 2r, below r = .2533.  i = 1: 1 − (−1) = 2 > 2r, below r = 1.
        (0.0, 1, 2),
        (0.25, 1, 2),
        (0.26, 1, 1),
        (0.62, 1, 1),
        (0.63, 0, 1),
        (0.99, 0, 1),
        (1.01, 0, 0),
    ],
)
def test_hand_case_of_four_features(ratio, printed, sharp):
    assert by_theorem_2(HAND, TINY, 2, ratio) == printed
    assert hoeffding(HAND, TINY, 2, ratio) == sharp


def test_hand_case_with_a_half_width():
    # In eighths: ĥ = (7, 5, 3, 1), c = 1, r = 0, K = 2, so L̂ = ĥ − 2c = (5, 3, …).
    #   Printed, i = 1: 5 ≥ ĥ_[3] = 3 holds; i = 2: 3 ≥ ĥ_[2] = 5 does not.
    #   Sharp, i = 2: 5 − 1 > 3 + 1 does not hold (equal); i = 1: 7 − 1 > 1 + 1 holds.
    mean, c = np.array([7, 5, 3, 1]) / 8, 1 / 8
    assert by_theorem_2(mean, c, 2, 0.0) == 1
    assert hoeffding(mean, c, 2, 0.0) == 1
    assert hoeffding(mean, c - 1e-9, 2, 0.0) == 2


def test_theorem_2_is_closed_and_the_sharp_form_is_open():
    # At r = 0 with ĥ_[1] − c = ĥ_[3] + c (K = 2) the printed ≥ holds; with ĥ_[1] − c = ĥ_[2] + c (K = 1) the
    # sharp > does not.
    mean, c = np.array([6, 4, 4, 4, 1]) / 8, 1 / 8
    assert by_theorem_2(mean, c, 2, 0.0) == 1
    assert hoeffding(np.array([6, 4]) / 8, c, 1, 0.0) == 0


@pytest.mark.parametrize("seed", range(60))
@pytest.mark.parametrize("n", range(2, 9))
def test_sharp_form_is_exactly_the_worst_ordering(n, seed):
    rng = np.random.default_rng([n, seed])
    mean = rng.random(n)
    if seed % 3 == 0:  # ties between features, and between ends
        mean = rng.integers(0, 5, n) / 4
        lower = np.maximum(mean - rng.integers(0, 3, n) / 4, 0)
        upper = np.minimum(mean + rng.integers(0, 3, n) / 4, 1)
    else:
        width = rng.choice([0.05, 0.3])
        lower, upper = np.maximum(mean - width * rng.random(n), 0), np.minimum(mean + width * rng.random(n), 1)
    ratio = 0.0 if seed % 3 == 0 else float(rng.choice([0.0, 0.1, 0.4]))
    moved_down, moved_up = probit(lower) - ratio, probit(upper) + ratio
    for k in range(1, n + 1):
        members = top_k_mask(mean[None], k)[0][0]
        assert by_intervals(lower, upper, mean, k, ratio) == least_overlap(moved_down, moved_up, members, k)


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize("n", range(2, 9))
def test_theorem_2_is_the_printed_formula_and_never_beats_the_worst_ordering(n, seed):
    rng = np.random.default_rng([n, seed, 1])
    mean = rng.random(n) if seed % 4 else rng.integers(0, 9, n) / 8
    c, ratio = float(rng.choice([0.01, 0.05, 0.2])), float(rng.choice([0.0, 0.05, 0.3, 1.0]))
    lower, upper = probit(np.clip(mean - c, 0, 1)) - ratio, probit(np.clip(mean + c, 0, 1)) + ratio
    for k in range(1, n + 1):
        certified = by_theorem_2(mean, c, k, ratio)
        assert certified == theorem_2(mean, c=c, k=k, ratio=ratio)
        worst = least_overlap(lower, upper, top_k_mask(mean[None], k)[0][0], k)
        assert certified <= worst
        assert hoeffding(mean, c, k, ratio) == worst


@pytest.mark.parametrize("k", [1, 20, 100, 150, 199, 200])
def test_both_pairings_on_many_features(k):
    rng = np.random.default_rng(k)
    mean = rng.beta(0.5, 2.0, 200)
    c = hoeffding_c(200, draws=3000, confidence=0.95)
    ranked = np.sort(mean)[::-1]
    for ratio in (0.0, 0.03, 0.2, 0.7):
        assert by_theorem_2(mean, c, k, ratio) == theorem_2(mean, c=c, k=k, ratio=ratio)
        # The authors' published code: L̂(ĥ_[i]) > ĥ_[2K−i+1], which equals the optimum for one half width.
        published = [
            i
            for i in range(1, k + 1)
            if 2 * k - i + 1 > 200
            or norm.cdf(norm.ppf(np.clip(ranked[i - 1] - c, 0, 1)) - 2 * ratio) - c > ranked[2 * k - i]
        ]
        assert hoeffding(mean, c, k, ratio) == max(published, default=0)


def test_ladder_is_vectorised_over_examples():
    rng = np.random.default_rng(3)
    mean = rng.random((5, 30))
    width = rng.random((5, 1)) / 20
    lower, upper = np.clip(mean - width, 0, 1), np.clip(mean + width, 0, 1)
    for k in (1, 7, 15, 29, 30):
        rows = [interval_ladder(lower[i : i + 1], upper[i : i + 1], mean[i : i + 1], k)[0] for i in range(5)]
        assert_array_equal(interval_ladder(lower, upper, mean, k), rows)
        rows = [theorem2_ladder(mean[i : i + 1], width[i : i + 1], k)[0] for i in range(5)]
        assert_array_equal(theorem2_ladder(mean, width, k), rows)


def test_bounds_of_several_examples_do_not_mix():
    lower = np.array([[0.1, 0.1, 0.0, 0.0], [0.9, 0.8, 0.0, 0.0]])
    upper = np.array([[1.0, 1.0, 0.9, 0.9], [1.0, 1.0, 0.2, 0.2]])
    mean = np.array([[0.9, 0.8, 0.2, 0.1]] * 2)
    assert overlap_from_bounds(lower, upper, mean, 2).tolist() == [0, 2]
    ladders = np.array([[0.1, 0.05], [0.9, 0.4]])
    assert overlap_from_ladder(ladders, np.array([0.3]), closed=False, n_features=9).tolist() == [[0], [2]]
    assert ratio_from_ladder(ladders, 2, n_features=9).round(6).tolist() == [0.05, 0.4]


def test_two_sets_share_what_does_not_fit_outside_both():
    nothing = np.array([[-np.inf, -np.inf, -np.inf, -np.inf]])
    mean = np.array([[0.9, 0.8, 0.2, 0.1]])
    assert [int(overlap_from_bounds(nothing, -nothing, mean, k)[0]) for k in (1, 2, 3, 4)] == [0, 0, 2, 4]
    ladder = np.array([[0.9, 0.5, 0.1]])
    assert [float(ratio_from_ladder(ladder, i, n_features=4)[0]) for i in (1, 2)] == [np.inf, np.inf]
    assert_allclose(ratio_from_ladder(ladder, 3, n_features=4), [0.1])
    assert_allclose(ratio_from_ladder(ladder, 2, n_features=5), [0.5])
    assert_allclose(ratio_from_ladder(ladder, 2, n_features=5, violations=1), [0.1])
    assert ratio_from_ladder(ladder, 3, n_features=5, violations=1).tolist() == [0.0]


def test_violations_cost_one_each_and_never_less_than_the_sets_share():
    ladder = np.array([[0.9, 0.7, 0.5]])
    ratios = np.array([0.1, 0.6, 0.8, 2.0])
    allowed = [
        overlap_from_ladder(ladder, ratios, closed=False, n_features=9, violations=v).tolist()[0] for v in range(4)
    ]
    assert allowed == [[3, 2, 1, 0], [2, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]
    # Two sets of 3 among 4 features share at least 2.
    assert overlap_from_ladder(ladder, ratios, closed=False, n_features=4, violations=3).tolist() == [[2, 2, 2, 2]]


@pytest.mark.parametrize("violations", [1, 2])
@pytest.mark.parametrize("seed", range(30))
def test_violated_intervals_cannot_break_the_count(seed, violations):
    """The certified overlap holds wherever in [0, 1] any v features are."""
    rng = np.random.default_rng([seed, violations])
    n, width = 6, 0.05
    mean = rng.random(n)
    lower, upper = np.clip(mean - width, 0, 1), np.clip(mean + width, 0, 1)
    for k in range(1, n + 1):
        members = top_k_mask(mean[None], k)[0][0]
        ladder = interval_ladder(lower[None], upper[None], mean[None], k)
        certified = overlap_from_ladder(ladder, np.zeros(1), closed=False, n_features=n, violations=violations)[0, 0]
        for _ in range(20):
            free = rng.choice(n, violations, replace=False)
            loose_lower, loose_upper = lower.copy(), upper.copy()
            loose_lower[free], loose_upper[free] = 0.0, 1.0
            assert certified <= least_overlap(loose_lower, loose_upper, members, k)
