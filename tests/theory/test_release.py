"""Bounds on the scores of a map of fresh draws at the perturbed input."""

import itertools
import math

import ensembles
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import ndtr, ndtri
from scipy.stats import binom

from captum_certified.theory import clopper_pearson_interval, overlap_from_bounds, release_bounds, top_k_mask


def test_bounds_by_hand():
    # ln(1/e⁻²) / (2·100) = 1/100, so c′ = .1; the ends move to Φ(±1 ∓ .5).
    lower, upper = release_bounds(
        ndtr(np.array([[1.0]])), ndtr(np.array([[1.5]])), ratio=0.5, tail=math.exp(-2), fresh_samples=100
    )
    assert_allclose(lower, [[ndtr(0.5) - 0.1]], rtol=1e-13)
    assert_allclose(upper, [[ndtr(2.0) + 0.1]], rtol=1e-13)


def test_the_half_width_is_added_after_the_shift():
    """Subtracting c′ before the shift gives another bound, which is not proved, because the shift is not linear."""
    lower = np.linspace(0.1, 0.9, 9)[None]
    a, _ = release_bounds(lower, lower, ratio=1.0, tail=0.01, fresh_samples=1000)
    c = math.sqrt(math.log(100) / 2000)
    assert_allclose(a, ndtr(ndtri(lower) - 1.0) - c, rtol=1e-12)
    assert (np.abs(a - ndtr(ndtri(lower - c) - 1.0)) > 1e-3).all()


def test_more_fresh_draws_are_closer_to_the_exact_map():
    lower, upper = np.array([[0.3, 0.8]]), np.array([[0.4, 0.9]])
    ends = [release_bounds(lower, upper, ratio=0.2, tail=0.01, fresh_samples=q) for q in (10, 1000, 10**12)]
    for few, many in itertools.pairwise(ends):
        assert (many[0] > few[0]).all()
        assert (many[1] < few[1]).all()
    assert_allclose(ends[-1], [ndtr(ndtri(lower) - 0.2), ndtr(ndtri(upper) + 0.2)], rtol=1e-5)


def test_rows_may_have_their_own_fresh_draws():
    lower = np.full((2, 3), 0.5)
    fresh = np.array([[100], [400]])
    together, _ = release_bounds(lower, lower, ratio=0.1, tail=0.01, fresh_samples=fresh)
    for row, draws in enumerate((100, 400)):
        alone, _ = release_bounds(lower[:1], lower[:1], ratio=0.1, tail=0.01, fresh_samples=draws)
        assert_array_equal(together[row], alone[0])


@pytest.mark.parametrize("make", [ensembles.aligned, ensembles.incoherent])
@pytest.mark.parametrize("alpha", [0.5, 0.05])
@pytest.mark.parametrize("ratio", [0.0, 0.1, 0.4])
def test_fresh_maps_keep_their_bounds_and_their_overlap(make, alpha, ratio):
    """Every run samples both maps anew. The adversary's perturbed input is fixed beforehand."""
    exact, repetitions, q, fresh, k = make(), 1000, 400, 300, 8
    rng = np.random.default_rng(4)
    n = exact.n_features
    counts = exact.draws(repetitions, q, rng).sum(axis=1).astype(np.int64)
    ends = clopper_pearson_interval(counts, q, tail=alpha / (4 * n))
    lower, upper = release_bounds(*ends, ratio=ratio, tail=alpha / (4 * n), fresh_samples=fresh)
    certified = overlap_from_bounds(lower, upper, counts / q, k)
    members = top_k_mask(counts / q, k)[0]
    found = exact.adversaries(k, ratio * exact.sigma, np.random.default_rng(11))
    # The input whose exact map keeps the fewest members of the exact top set.
    true_top = top_k_mask(exact.population(exact.x[None]), k)[0]
    overlaps = [int((top_k_mask(h[None], k)[0] & true_top).sum()) for h in exact.population(found)]
    moved = ensembles.HalfSpaces(exact.weights, exact.offsets, found[int(np.argmin(overlaps))], exact.sigma)
    fresh_mean = moved.draws(repetitions, fresh, rng).mean(axis=1)
    outside = ((fresh_mean < lower) | (fresh_mean > upper)).any(axis=1)
    assert outside.sum() <= binom.isf(1e-6, repetitions, alpha)
    kept = (top_k_mask(fresh_mean, k)[0] & members).sum(axis=1)
    assert (kept < certified).sum() <= binom.isf(1e-6, repetitions, alpha)
    if ratio == 0:
        assert (certified > 0).all()


def test_fresh_maps_leave_bounds_without_the_fresh_half_width():
    exact, repetitions, q, fresh, alpha = ensembles.aligned(), 500, 4000, 50, 0.05
    rng = np.random.default_rng(4)
    counts = exact.draws(repetitions, q, rng).sum(axis=1).astype(np.int64)
    lower, upper = clopper_pearson_interval(counts, q, tail=alpha / (4 * exact.n_features))
    fresh_mean = exact.draws(repetitions, fresh, rng).mean(axis=1)
    outside = ((fresh_mean < lower) | (fresh_mean > upper)).any(axis=1)
    assert outside.sum() > binom.isf(1e-6, repetitions, alpha)
