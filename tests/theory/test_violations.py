"""Overlap when v of the n intervals miss their scores, and the level at which at most v intervals miss."""

import itertools

import numpy as np
import pytest
from orderings import least_overlap
from scipy.stats import binom

from captum_certified.theory import (
    clopper_pearson_interval,
    interval_ladder,
    overlap_from_bounds,
    overlap_from_ladder,
    probit,
    top_k_mask,
)


def unequal_intervals(rng, n, *, ties):
    mean = rng.integers(0, 5, n) / 4 if ties else rng.random(n)
    lower = mean - rng.choice([0.0, 0.02, 0.2, 1.0], n) * rng.random(n)
    upper = mean + rng.choice([0.0, 0.02, 0.2, 1.0], n) * rng.random(n)
    return mean, np.maximum(lower, 0.0), np.minimum(upper, 1.0)


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize("n", range(1, 8))
def test_the_overlap_from_unequal_intervals_is_exactly_the_worst_ordering(n, seed):
    rng = np.random.default_rng([n, seed])
    mean, lower, upper = unequal_intervals(rng, n, ties=seed % 3 == 0)
    ratio = 0.0 if seed % 3 == 0 else float(rng.choice([0.0, 0.1, 0.5]))
    a, b = probit(lower) - ratio, probit(upper) + ratio
    for k in range(1, n + 1):
        worst = least_overlap(a, b, top_k_mask(mean[None], k)[0][0], k)
        ladder = interval_ladder(lower[None], upper[None], mean[None], k)
        assert overlap_from_ladder(ladder, np.array([ratio]), closed=False, n_features=n).tolist() == [[worst]]
        assert overlap_from_bounds(a[None], b[None], mean[None], k).tolist() == [worst]


@pytest.mark.parametrize("violations", [1, 2, 3])
@pytest.mark.parametrize("seed", range(8))
def test_the_overlap_holds_if_any_v_features_leave_their_intervals(seed, violations):
    """The certified overlap holds for every choice of v features that may be anywhere in [0, 1]."""
    rng = np.random.default_rng([seed, violations])
    n = 6
    mean, lower, upper = unequal_intervals(rng, n, ties=seed % 4 == 0)
    lower, upper = np.maximum(lower, mean - 0.1), np.minimum(upper, mean + 0.1)
    ratio = 0.0 if seed % 4 == 0 else 0.05
    for k in range(1, n + 1):
        members = top_k_mask(mean[None], k)[0][0]
        ladder = interval_ladder(lower[None], upper[None], mean[None], k)
        certified = int(
            overlap_from_ladder(ladder, np.array([ratio]), closed=False, n_features=n, violations=violations)[0, 0]
        )
        worst = k
        for free in itertools.combinations(range(n), violations):
            a, b = lower.copy(), upper.copy()
            a[list(free)], b[list(free)] = 0.0, 1.0
            worst = min(worst, least_overlap(probit(a) - ratio, probit(b) + ratio, members, k))
        assert certified <= worst


@pytest.mark.parametrize(("n", "k", "violations"), [(6, 2, 1), (6, 3, 1), (6, 3, 2), (7, 3, 2), (6, 4, 1)])
def test_the_loss_of_one_overlap_for_one_violation_is_attained(n, k, violations):
    mean = np.where(np.arange(n) < k, 0.9, 0.1)
    lower, upper = mean - 0.05, mean + 0.05
    ladder = interval_ladder(lower[None], upper[None], mean[None], k)
    certified = overlap_from_ladder(ladder, np.zeros(1), closed=False, n_features=n, violations=violations)[0, 0]
    worst = k
    for free in itertools.combinations(range(n), violations):
        a, b = lower.copy(), upper.copy()
        a[list(free)], b[list(free)] = 0.0, 1.0
        worst = min(worst, least_overlap(a, b, np.arange(n) < k, k))
    # Every member whose interval misses can leave the top set, and a feature outside takes its place.
    assert certified == worst == max(k - violations, 2 * k - n)


@pytest.mark.parametrize("violations", [0, 1, 3])
def test_more_than_v_intervals_miss_no_more_often_than_promised(violations):
    """The worst case of Markov's inequality has features that miss together in groups of v + 1."""
    rng = np.random.default_rng(violations)
    n, q, alpha, repetitions = 24, 40, 0.2, 5000
    counts = np.repeat(rng.binomial(q, 0.5, (repetitions, n // (violations + 1))), violations + 1, axis=1)

    def runs_with_too_many(tail):
        lower, upper = clopper_pearson_interval(counts, q, tail=tail)
        return int((((lower > 0.5) | (upper < 0.5)).sum(axis=1) > violations).sum())

    credible = binom.isf(1e-6, repetitions, alpha)
    assert runs_with_too_many(alpha * (violations + 1) / (2 * n)) <= credible
    # The test notices a level that is four times as large.
    assert runs_with_too_many(4 * alpha * (violations + 1) / (2 * n)) > credible


def test_violations_never_cost_more_than_two_sets_must_share():
    mean = np.array([[0.9, 0.8, 0.7, 0.2]])
    ladder = interval_ladder(mean - 0.01, mean + 0.01, mean, 3)
    for violations, overlap in ((0, 3), (1, 2), (2, 2), (3, 2)):
        read = overlap_from_ladder(ladder, np.zeros(1), closed=False, n_features=4, violations=violations)
        assert read.tolist() == [[overlap]]
