"""Theorem 3 and its general form, compared with Definition 3.1 for sparsified and weighted maps."""

import math

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import norm

from captum_certified.theory import definition_3_1_ranks, theorem3_rank


def lower_bound(z, c, ratio):
    return norm.cdf(norm.ppf(z - c) - 2 * ratio) - c if z > c else -c


def sparsified_counts(rng, *, n, ones, draws):
    """Return how often each feature is among the first ``ones`` of random rankings, shape (n,)."""
    scores = rng.standard_normal(n) * rng.choice([0.5, 2.0]) + rng.standard_normal((draws, n))
    return (np.argsort(np.argsort(-scores, axis=1), axis=1) < ones).sum(axis=0)


def test_the_paper_s_bound_fails_without_its_ceiling():
    # n = 7, ⌈τn⌉ = 1, ρ = 0, c = 1e-4, ĥ = (.5, .5, 0, …): 1/L̂(½) = 1/(.5 − 2c) = 2.0008, yet the rank is 3.
    mean, c = np.array([[0.5, 0.5, 0, 0, 0, 0, 0]]), np.array([[1e-4]])
    assert f"{1 / lower_bound(0.5, 1e-4, 0.0):.4f}" == "2.0008"
    assert definition_3_1_ranks(mean, half_width=c, ratio=0.0)[0, :2].tolist() == [3, 3]
    assert theorem3_rank([1.0], 1, half_width=c, ratio=0.0).tolist() == [[3.0]]


@pytest.mark.parametrize(("ones", "c", "ratio"), [(1, 1e-3, 0.0), (3, 0.02, 0.1), (40, 0.05, 0.3), (7, 0.01, 0.9)])
def test_the_general_form_is_the_paper_s_for_step_weights(ones, c, ratio):
    expected = math.ceil(ones / lower_bound(0.5, c, ratio))
    assert theorem3_rank(np.ones(ones), ones, half_width=c, ratio=ratio) == expected
    # Zero weights add nothing, and every median rank within the step gives the same bound.
    assert theorem3_rank(np.r_[np.ones(ones), 0.0, 0.0], 1, half_width=c, ratio=ratio) == expected


@pytest.mark.parametrize(("c", "ratio"), [(0.25, 0.0), (0.3, 0.0), (0.5, 0.0), (0.7, 0.0), (0.05, 1.0), (1e-3, 50.0)])
def test_nothing_is_proved_if_the_bound_on_one_half_is_not_positive(c, ratio):
    assert lower_bound(0.5, c, ratio) <= 1e-17
    assert theorem3_rank(np.ones(3), 3, half_width=c, ratio=ratio) == np.inf


def test_ranks_beyond_the_weights_prove_nothing():
    assert theorem3_rank([1.0, 1.0], 3, half_width=1e-3, ratio=0.0) == np.inf
    assert theorem3_rank([1.0, 0.0], 2, half_width=1e-3, ratio=0.0) == np.inf


def test_every_example_has_its_own_half_width():
    widths = np.array([[0.01], [0.1], [0.3]])
    ranks = theorem3_rank(np.ones(5), 5, half_width=widths, ratio=0.05)
    assert ranks.shape == (3, 1)
    assert_array_equal(ranks[:, 0], [theorem3_rank(np.ones(5), 5, half_width=w, ratio=0.05) for w in widths[:, 0]])
    assert ranks[0, 0] < ranks[1, 0]
    assert ranks[2, 0] == np.inf


@pytest.mark.parametrize("seed", range(60))
def test_features_that_are_on_in_half_of_the_draws_keep_definition_3_1(seed):
    rng = np.random.default_rng(seed)
    n, ones, draws = int(rng.integers(1, 30)), int(rng.integers(1, 6)), int(rng.integers(1, 60))
    ones = min(ones, n)
    mean = sparsified_counts(rng, n=n, ones=ones, draws=draws)[None] / draws
    reached = 0
    for c, ratio in ((1e-4, 0.0), (0.01, 0.0), (0.05, 0.1), (0.02, 0.3)):
        printed = definition_3_1_ranks(mean, half_width=np.array([[c]]), ratio=ratio)[0]
        bound = float(theorem3_rank(np.ones(ones), ones, half_width=c, ratio=ratio))
        in_half = 2 * mean[0] >= 1
        assert (printed[in_half] <= min(bound, n + 1)).all()
        reached += int(in_half.sum())
    if ones == n:
        assert reached == 4 * n


WEIGHTS = {
    "sparsified": np.r_[np.ones(3), np.zeros(9)],
    "linear": np.r_[np.linspace(1, 0, 5), np.zeros(7)],
    "geometric": 0.7 ** np.arange(12),
    "low": np.full(12, 0.3),
}


@pytest.mark.parametrize("weights", list(WEIGHTS))
@pytest.mark.parametrize("seed", range(10))
def test_the_general_form_bounds_definition_3_1_by_the_median_rank(weights, seed):
    """A.20–A.22: for f_i = w(rank of g_i), a median rank of at most T gives the bound of T."""
    rng, n, draws, w = np.random.default_rng(seed), 12, 51, WEIGHTS[weights]
    scores = 2 * rng.standard_normal(n) + rng.standard_normal((draws, n))
    places = np.argsort(np.argsort(-scores, axis=1), axis=1)
    mean, median = w[places].mean(axis=0)[None], np.median(places + 1, axis=0)
    informative = 0
    for c, ratio in ((1e-4, 0.0), (0.01, 0.05), (0.02, 0.2)):
        printed = definition_3_1_ranks(mean, half_width=np.array([[c]]), ratio=ratio)[0]
        for i in range(n):
            rank = math.ceil(median[i])
            bound = float(theorem3_rank(w, rank, half_width=c, ratio=ratio))
            expected = lower_bound(w[rank - 1] / 2, c, ratio)
            assert bound == (np.inf if expected <= 0 else math.ceil(w.sum() / expected))
            assert printed[i] <= bound
            informative += bound <= n
    assert informative > 0 or weights == "low"


def test_the_bound_is_tight_for_a_flat_map():
    # Two features share each draw's single one: ĥ = (½, ½), and nothing can be ahead of both.
    mean = np.array([[0.5, 0.5]])
    printed = definition_3_1_ranks(mean, half_width=np.array([[1e-6]]), ratio=0.0)
    assert printed.tolist() == [[3, 3]]
    assert_allclose(theorem3_rank([1.0], 1, half_width=1e-6, ratio=0.0), 3.0)
