"""Center Smoothing of sets: its distance, its steps by hand, its guarantee, and where it certifies nothing."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.stats import norm

from captum_certified.exceptions import InvalidInputError
from captum_certified.theory import center_smoothing, set_distances


def subsets(rng, rows, n=8, k=3):
    return np.argsort(rng.random((rows, n)), axis=1) < k


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=30, deadline=None)
def test_the_distance_of_sets_is_a_metric(seed):
    a, b, c = subsets(np.random.default_rng(seed), 3)
    ab, bc, ac = (float(set_distances(x[None], y[None])[0, 0]) for x, y in ((a, b), (b, c), (a, c)))
    assert ab == pytest.approx(1 - len(set(np.flatnonzero(a)) & set(np.flatnonzero(b))) / 3)
    assert ac <= ab + bc + 1e-12
    assert float(set_distances(a[None], a[None])[0, 0]) == 0


def test_the_steps_are_those_of_a_version_by_hand():
    rng = np.random.default_rng(0)
    common = np.zeros(20, dtype=bool)
    common[:5] = True
    sets = np.where(rng.random((4000, 1)) < 0.8, common, subsets(rng, 4000, n=20, k=5))
    found = center_smoothing(sets, ratio=0.2, alpha=0.1, excess=0.1)
    assert (sets[found.center] == common).all()
    assert found.median == 0
    distances = np.sort([1 - (row & common).sum() / 5 for row in sets[2000:]])
    level = norm.cdf(norm.ppf(0.6) + 0.2) + math.sqrt(math.log(20) / 4000)
    assert_allclose(found.distance, 3 * distances[math.ceil(level * 1999)])
    assert found.distance == 0
    far = center_smoothing(sets, ratio=0.9, alpha=0.1, excess=0.1)
    assert far.distance == pytest.approx(3 * distances[math.ceil((norm.cdf(norm.ppf(0.6) + 0.9) + 0.02737) * 1999)])


def test_independent_draws_of_many_features_certify_nothing():
    """Two random draws share a fifth of their features, and half of the draws are never within a third of one draw."""
    sets = subsets(np.random.default_rng(1), 6000, n=500, k=100)
    found = center_smoothing(sets, ratio=0.0, alpha=0.05, excess=0.1)
    assert found.median == pytest.approx(0.8, abs=0.02)
    assert found.distance > 1


@pytest.mark.parametrize(("draws", "ratio"), [(40, 0.0), (4000, 3.0)])
def test_too_few_draws_or_too_large_a_radius_give_no_bound(draws, ratio):
    sets = np.tile([True, False], (draws, 1))
    assert center_smoothing(sets, ratio=ratio, alpha=0.05).distance == math.inf


def test_the_bound_holds_between_the_centres_at_two_inputs():
    """A half-space ensemble with one feature of K: each draw is feature 0 left of a threshold and feature 1 right."""
    rng, failures = np.random.default_rng(2), 0
    for _ in range(60):
        shifted = [rng.standard_normal(4000) + shift > 0.6 for shift in (0.0, 0.25)]
        first, second = (np.stack([~one, one], axis=1) for one in shifted)
        here, there = (center_smoothing(one, ratio=0.25, alpha=0.05, excess=0.1) for one in (first, second))
        moved = float(set_distances(first[here.center][None], second[there.center][None])[0, 0])
        failures += moved > here.distance
        assert not math.isinf(here.distance)
    assert failures <= 3


def test_few_draws_are_refused():
    with pytest.raises(InvalidInputError, match="Expected at least 8 draws, got 7"):
        center_smoothing(np.ones((7, 2), dtype=bool), ratio=0.1, alpha=0.05)
