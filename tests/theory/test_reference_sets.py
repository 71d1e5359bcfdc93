"""Overlap with any fixed set of features, compared with every consistent ordering and exchange, and in limit cases."""

import itertools

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from orderings import least_overlap
from scipy.optimize import minimize_scalar

from captum_certified.theory import (
    chance_overlap,
    exchange_costs,
    interval_ladder,
    overlap_from_ladder,
    probit,
    ratio_from_ladder,
    reference_costs,
    reference_floor,
    reference_ladder,
    reference_overlap_from_bounds,
    reference_overlap_from_ladder,
    reference_ratio_from_ladder,
    shift,
    spectral_overlap,
    spectral_reference_overlap,
    top_k_mask,
)


def random_case(rng, most=7, *, levels=None):
    """Intervals, a set of any size from 0 to n, and K; with few levels there are many ties."""
    n = int(rng.integers(1, most + 1))
    ends = rng.random((2, n)) if levels is None else rng.integers(levels, size=(2, n)) / levels
    members = rng.permutation(n) < rng.integers(0, n + 1)
    return ends.min(axis=0), ends.max(axis=0), members, int(rng.integers(1, n + 1))


@pytest.mark.parametrize("seed", range(60))
@pytest.mark.parametrize("levels", [None, 4])
def test_the_overlap_is_exactly_that_of_the_worst_ordering(seed, levels):
    rng = np.random.default_rng(seed)
    for _ in range(20):
        lower, upper, members, k = random_case(rng, levels=levels)
        [overlap] = reference_overlap_from_bounds(lower[None], upper[None], members[None], k)
        assert overlap == least_overlap(lower, upper, members, k)


@pytest.mark.parametrize("seed", range(40))
def test_the_ladder_agrees_with_shifted_bounds_at_every_radius(seed):
    rng = np.random.default_rng(seed)
    for _ in range(20):
        lower, upper, members, k = random_case(rng, most=12)
        ladder = reference_ladder(lower[None], upper[None], members[None], k)
        floor = reference_floor(members[None], k)
        for ratio in rng.random(4):
            [[overlap]] = reference_overlap_from_ladder(ladder, np.array([ratio]), floor=floor)
            shifted = shift(lower[None], -ratio), shift(upper[None], ratio)
            assert overlap == reference_overlap_from_bounds(*shifted, members[None], k)[0]


def test_the_own_top_set_is_the_case_of_theorem_b1_and_s2():
    rng = np.random.default_rng(0)
    mean, ratios = rng.random((6, 20)), np.linspace(0, 1, 30)
    lower, upper = np.clip(mean - 0.05, 0, 1), np.clip(mean + 0.05, 0, 1)
    for k in (1, 5, 10, 15, 20):
        members, _ = top_k_mask(mean, k)
        ladder = reference_ladder(lower, upper, members, k)
        assert_array_equal(ladder, interval_ladder(lower, upper, mean, k))
        floor = reference_floor(members, k)
        assert_array_equal(floor, np.full(6, max(2 * k - 20, 0)))
        for violations in (0, 2):
            assert_array_equal(
                reference_overlap_from_ladder(ladder, ratios, floor=floor, violations=violations),
                overlap_from_ladder(ladder, ratios, closed=False, n_features=20, violations=violations),
            )
            for overlap in (1, k):
                assert_array_equal(
                    reference_ratio_from_ladder(ladder, np.full(6, overlap), floor=floor, violations=violations),
                    ratio_from_ladder(ladder, overlap, n_features=20, violations=violations),
                )
        squared = np.linspace(0, 3, 40) ** 2
        for row, inside in zip(mean, members, strict=True):
            assert_array_equal(spectral_reference_overlap(row, inside, k, squared), spectral_overlap(row, k, squared))
            m = np.arange(1, min(k, 20 - k) + 1)
            assert_array_equal(reference_costs(row, inside, k, m), exchange_costs(row, k, m))


@pytest.mark.parametrize("seed", range(20))
def test_the_radius_of_an_overlap_is_where_the_overlap_ends(seed):
    rng = np.random.default_rng(seed)
    lower, upper, members, k = random_case(rng, most=12)
    size, floor = int(members.sum()), reference_floor(members[None], k)
    ladder = reference_ladder(lower[None], upper[None], members[None], k)
    for violations in (0, 1):
        for overlap in range(1, min(k, size) + 1):
            [radius] = reference_ratio_from_ladder(ladder, np.array([overlap]), floor=floor, violations=violations)
            at = np.array([min(radius, 50.0), radius * (1 + 1e-6) + 1e-9])
            overlaps = reference_overlap_from_ladder(ladder, at, floor=floor, violations=violations)[0]
            assert radius in (0, np.inf) or overlaps[0] >= overlap > overlaps[1]


# -- the spectral bound -------------------------------------------------------------------------------------------


def cost_at(t, leavers, newcomers):
    return (np.maximum(leavers - t, 0) ** 2).sum() + (np.maximum(t - newcomers, 0) ** 2).sum()


def least_cost(mean, members, k, entering):
    """The least cost over all sets of leavers and newcomers, by scipy started at every score as well."""
    inside, outside = np.flatnonzero(members), np.flatnonzero(~members)
    leaving = len(inside) - k + entering
    costs = []
    for a in itertools.combinations(inside, leaving):
        for b in itertools.combinations(outside, entering):
            leavers, newcomers = mean[list(a)], mean[list(b)]
            found = minimize_scalar(cost_at, bounds=(-0.1, 1.1), args=(leavers, newcomers), method="bounded")
            costs.append(min([found.fun, *(cost_at(t, leavers, newcomers) for t in mean)]))
    return min(costs)


@pytest.mark.parametrize("seed", range(30))
def test_costs_are_the_least_of_every_exchange(seed):
    rng = np.random.default_rng(seed)
    _, _, members, k = random_case(rng, most=6)
    n, size = len(members), int(members.sum())
    mean = rng.random(n) if seed % 2 else rng.integers(4, size=n) / 4
    entering = np.arange(max(0, k - size), min(k, n - size) + 1)
    costs = reference_costs(mean, members, k, entering)
    assert_allclose(costs, [least_cost(mean, members, k, int(m)) for m in entering], atol=1e-7)
    assert np.all(np.diff(costs) >= -1e-12)
    assert costs[0] == 0 or k - entering[0] <= int(members[np.argsort(-mean, kind="stable")[:k]].sum())


@pytest.mark.parametrize("seed", range(30))
def test_no_map_within_the_distance_has_a_smaller_overlap(seed):
    rng = np.random.default_rng(seed)
    n = 12
    mean, members, k = rng.random(n), rng.permutation(n) < rng.integers(1, n), int(rng.integers(1, n))
    squared = np.linspace(0, 1.5, 12) ** 2
    certified = spectral_reference_overlap(mean, members, k, squared)
    size = int(members.sum())
    for budget, overlap in zip(squared, certified, strict=True):
        assert max(0, k + size - n) <= overlap <= min(k, size)
        for _ in range(100):
            step = rng.normal(size=n) * (1 - 2 * members * (rng.random() < 0.7))
            moved = mean + np.sqrt(budget) * step / np.linalg.norm(step)
            assert members[np.argsort(-moved, kind="stable")[:k]].sum() >= overlap


@pytest.mark.parametrize("seed", range(10))
def test_the_spectral_overlap_is_attained(seed):
    """Just beyond the cost of one more exchange, the map that pays for it has one feature less."""
    rng = np.random.default_rng(seed)
    n = 10
    mean, members, k = rng.random(n), rng.permutation(n) < 5, 4
    for m in range(1, 5):
        cost = float(reference_costs(mean, members, k, np.array(m)))
        if cost == 0:
            continue
        leavers = np.flatnonzero(members)[np.argsort(mean[members])][: 5 - k + m]
        newcomers = np.flatnonzero(~members)[np.argsort(-mean[~members])][:m]
        found = minimize_scalar(cost_at, bounds=(0, 1), args=(mean[leavers], mean[newcomers]), method="bounded")
        moved = mean.copy()
        moved[leavers] = np.minimum(mean[leavers], found.x - 1e-5)
        moved[newcomers] = np.maximum(mean[newcomers], found.x + 1e-5)
        assert members[np.argsort(-moved, kind="stable")[:k]].sum() == k - m
        squared = np.array([cost * (1 - 1e-6), cost * (1 + 1e-6)])
        assert spectral_reference_overlap(mean, members, k, squared).tolist() == [k - m + 1, k - m]


def test_large_sets_are_bisected_to_the_same_overlap(monkeypatch):
    from captum_certified.theory import exchange

    rng = np.random.default_rng(3)
    mean, members = rng.random(400), rng.random(400) < 0.3
    squared = np.linspace(0, 4, 60) ** 2
    at_once = spectral_reference_overlap(mean, members, 90, squared)
    monkeypatch.setattr(exchange, "_AT_ONCE", -1)
    assert_array_equal(spectral_reference_overlap(mean, members, 90, squared), at_once)


# -- limit cases --------------------------------------------------------------------------------------------------


def test_empty_and_whole_sets():
    mean = np.array([[0.9, 0.5, 0.1]])
    for members, overlap in (([False] * 3, 0), ([True] * 3, 2)):
        mask = np.array([members])
        assert reference_overlap_from_bounds(mean - 9, mean + 9, mask, 2).tolist() == [overlap]
        assert spectral_reference_overlap(mean[0], mask[0], 2, np.array([0.0, 99.0])).tolist() == [overlap] * 2


def test_a_set_smaller_than_k_cannot_overlap_in_more_than_its_size():
    mean = np.array([[0.9, 0.8, 0.7, 0.1, 0.05]])
    members = np.array([[True, False, False, False, False]])
    ladder = reference_ladder(mean - 0.001, mean + 0.001, members, 3)
    assert ladder[0, 1:].tolist() == [-np.inf, -np.inf]
    # The one feature stays in the top 3 until the third of the others passes it.
    expected = (probit(mean[0, 0] - 0.001) - probit(mean[0, 3] + 0.001)) / 2
    assert_allclose(ladder[0, 0], expected)


def test_chance_is_what_random_top_sets_share():
    rng = np.random.default_rng(0)
    members = np.zeros((1, 30), dtype=bool)
    members[0, :12] = True
    for k in (6, 12, 20):
        shared = np.mean([members[0, rng.permutation(30)[:k]].sum() for _ in range(20000)]) / min(k, 12)
        assert_allclose(chance_overlap(members, k)[0], shared, atol=0.01)
