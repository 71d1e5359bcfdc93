"""S2 and S5, compared with SciPy's minimiser, with every possible exchange, and with maps that attain the bound."""

import itertools
from fractions import Fraction

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from scipy.optimize import minimize_scalar
from torch.testing import assert_close

from captum_certified.theory import exchange, exchange_costs, spectral_overlap, spectral_ranks, staying_costs

EXAMPLE = np.array([0.9, 0.8, 0.6, 0.5, 0.45, 0.3, 0.1, 0.05])


def cost_at(t, leavers, newcomers):
    return (np.maximum(leavers - t, 0) ** 2).sum() + (np.maximum(t - newcomers, 0) ** 2).sum()


def minimal_cost(leavers, newcomers):
    """Return the minimum over t by scipy and over all values."""
    values = np.concatenate([leavers, newcomers])
    low, high = values.min() - 0.1, values.max() + 0.1
    found = minimize_scalar(cost_at, bounds=(low, high), args=(leavers, newcomers), options={"xatol": 1e-12})
    return min([found.fun, *(cost_at(t, leavers, newcomers) for t in values)])


def costs_by_enumeration(mean, k):
    """Return the least cost of exchanging m members for m others, over all sets, for m = 1, 2, …."""
    order = np.argsort(-mean, kind="stable")
    inside, outside = order[:k], order[k:]
    return [
        min(
            minimal_cost(mean[list(a)], mean[list(b)])
            for a in itertools.combinations(inside, m)
            for b in itertools.combinations(outside, m)
        )
        for m in range(1, min(len(inside), len(outside)) + 1)
    ]


def exact_cost(mean, k, m):
    """Return E_m in rational arithmetic. The best t is the mean of an active set."""
    ordered = sorted((Fraction(float(v)) for v in mean), reverse=True)
    leavers, newcomers = ordered[k - m : k], ordered[k : k + m]

    def cost(t):
        return sum((v - t) ** 2 for v in leavers if v > t) + sum((t - v) ** 2 for v in newcomers if v < t)

    candidates = {*leavers, *newcomers}
    for t in sorted(candidates):
        active = [v for v in leavers if v >= t] + [v for v in newcomers if v < t]
        if active:
            candidates.add(sum(active) / len(active))
        active = [v for v in leavers if v > t] + [v for v in newcomers if v <= t]
        if active:
            candidates.add(sum(active) / len(active))
    return min(cost(t) for t in candidates)


def rank_by_definition(mean, i, squared):
    """Return the rank by its formula, trying every m."""
    higher = int((mean > mean[i]).sum())
    others = np.sort(np.delete(mean, i)[np.delete(mean, i) <= mean[i]])[::-1]
    affordable = [m for m in range(len(others) + 1) if minimal_cost(mean[i : i + 1], others[:m]) <= squared]
    return higher + 1 + max(affordable)


def some_mean(rng, n):
    """Return distinct values, values with ties, or values near 1."""
    kind = rng.integers(3)
    return rng.random(n) if kind == 0 else rng.integers(0, 4, n) / 3 if kind == 1 else 1 - 1e-3 * rng.random(n)


# -- S2 -------------------------------------------------------------------------------------------------------


def test_costs_have_the_printed_values():
    assert_close(
        exchange_costs(EXAMPLE, 4, np.array([1, 2, 3])).tolist(), [0.00125, 0.046875, 0.29208333], rtol=0, atol=5e-9
    )
    # The first cost by hand: .5 and .45 meet half way.
    assert_close(float(exchange_costs(EXAMPLE, 4, np.array(1))), 0.05**2 / 2, rtol=1e-12, atol=0)


@pytest.mark.parametrize("seed", range(12))
def test_costs_are_the_cheapest_of_all_exchanges(seed):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 8))
    mean, k = some_mean(rng, n), int(rng.integers(1, n))
    found = exchange_costs(mean, k, np.arange(1, min(k, n - k) + 1))
    assert_close(found.tolist(), costs_by_enumeration(mean, k), rtol=1e-7, atol=1e-14)


@pytest.mark.parametrize("seed", range(60))
def test_costs_are_exact_to_the_slack_that_is_taken_off(seed):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 60))
    mean, k = some_mean(rng, n), int(rng.integers(1, n))
    m = np.arange(1, min(k, n - k) + 1)
    exact = [float(exact_cost(mean, k, int(value))) for value in m]
    assert_close(exchange_costs(mean, k, m).tolist(), exact, rtol=1e-9, atol=1e-18)


@pytest.mark.parametrize("seed", range(20))
def test_costs_of_large_maps_equal_scipy_s_minimum(seed):
    rng = np.random.default_rng(seed)
    n = 5000
    mean = np.sort(rng.random(n) ** 3 if seed % 2 else rng.integers(0, 300, n) / 300)[::-1].copy()
    k = int(rng.choice([3, 1000, 2500, 4900]))
    m = np.unique(rng.integers(1, min(k, n - k) + 1, 6))
    literal = [minimal_cost(mean[k - value : k], mean[k : k + value]) for value in m]
    assert_close(exchange_costs(rng.permutation(mean), k, m).tolist(), literal, rtol=1e-7, atol=1e-14)


def test_costs_have_the_shape_of_the_numbers_exchanged():
    assert exchange_costs(EXAMPLE, 4, np.array([[1, 2], [3, 4]])).shape == (2, 2)
    assert exchange_costs(EXAMPLE, 4, np.array(2)).shape == ()


@pytest.mark.parametrize("seed", range(20))
def test_costs_never_fall_with_the_number_exchanged(seed):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 200))
    mean, k = some_mean(rng, n), int(rng.integers(1, n))
    costs = exchange_costs(mean, k, np.arange(1, min(k, n - k) + 1))
    assert (np.diff(costs) >= -1e-15).all()
    assert (costs >= 0).all()


@pytest.mark.parametrize("seed", range(60))
def test_overlap_is_the_definition_and_is_attained(seed):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 30))
    mean, k = some_mean(rng, n), int(rng.integers(1, n))
    ordered = np.sort(mean)[::-1]
    costs = [minimal_cost(ordered[k - m : k], ordered[k : k + m]) for m in range(1, min(k, n - k) + 1)]
    budgets = np.concatenate([[0.0, 1e-30, np.inf], rng.random(5) * costs[-1] * 1.1, np.array(costs) * 1.0001])
    literal = [k - max([0, *(m for m, cost in enumerate(costs, start=1) if cost <= budget)]) for budget in budgets]
    assert_array_equal(spectral_overlap(mean, k, budgets), literal)


@pytest.mark.parametrize("k", [1, 3, 4, 6])
def test_some_map_at_the_cost_of_an_exchange_loses_that_many_features(k):
    """Moving the exchanged features to the best t attains E_m, so no larger overlap can be certified."""
    for m in range(1, min(k, 8 - k) + 1):
        leavers, newcomers = EXAMPLE[k - m : k], EXAMPLE[k : k + m]
        t = minimize_scalar(
            cost_at, bounds=(0, 1), args=(leavers, newcomers), method="bounded", options={"xatol": 1e-12}
        ).x
        moved = EXAMPLE.copy()
        moved[k - m : k] = np.minimum(leavers, t)
        moved[k : k + m] = np.maximum(newcomers, t)
        distance = ((moved - EXAMPLE) ** 2).sum()
        assert_close(float(exchange_costs(EXAMPLE, k, np.array(m))), float(distance), rtol=1e-6, atol=0)
        assert spectral_overlap(EXAMPLE, k, np.array([distance * 1.000001]))[0] == k - m
        assert spectral_overlap(EXAMPLE, k, np.array([distance * 0.999999]))[0] > k - m
        # Every newcomer now has at least the score of every leaver.
        assert moved[k : k + m].min() >= moved[k - m : k].max()


def test_equal_scores_at_the_boundary_are_exchanged_at_no_cost():
    mean = np.array([0.9, 0.5, 0.5, 0.5, 0.1])
    assert_array_equal(exchange_costs(mean, 2, np.array([1])), [0.0])
    assert_array_equal(exchange_costs(mean, 3, np.array([1])), [0.0])
    assert spectral_overlap(mean, 2, np.array([0.0])) == 1
    assert spectral_overlap(mean, 4, np.array([0.0])) == 4
    assert_array_equal(spectral_overlap(np.full(9, 0.3), 4, np.array([0.0, 1.0])), [0, 0])
    assert_array_equal(spectral_overlap(np.zeros(9), 7, np.array([0.0, 1.0])), [5, 5])


@pytest.mark.parametrize(("k", "n"), [(1, 1), (5, 5), (4, 5), (3, 5), (1, 2), (1, 5)])
def test_overlap_without_and_with_an_infinite_budget(k, n):
    mean = np.linspace(0.9, 0.1, n)
    assert_array_equal(spectral_overlap(mean, k, np.array([0.0, np.inf])), [k, max(0, 2 * k - n)])


def test_a_budget_that_equals_the_cost_affords_it():
    cost = float(exchange_costs(EXAMPLE, 4, np.array(2)))
    assert spectral_overlap(EXAMPLE, 4, np.array([cost])) == 2


@pytest.mark.parametrize("seed", range(6))
def test_overlap_of_many_features_agrees_with_a_scan(seed):
    """Bisection replaces listing where there are too many exchanges."""
    rng = np.random.default_rng(seed)
    n = 2000
    mean = rng.random(n) if seed % 2 else rng.integers(0, 300, n) / 300
    k = int(rng.choice([600, 1000, 1300]))
    m = np.arange(1, min(k, n - k) + 1)
    assert len(m) > exchange._AT_ONCE
    limits = np.maximum.accumulate(exchange_costs(mean, k, m)) * (1 - 1e-8)
    budgets = np.concatenate([limits[[0, 1, 17, -2, -1]], rng.random(50) * limits[-1] * 1.1, [0.0, np.inf]])
    assert_array_equal(spectral_overlap(mean, k, budgets), [k - np.count_nonzero(limits <= b) for b in budgets])


@pytest.mark.parametrize("seed", range(20))
def test_listing_all_costs_and_bisection_agree(seed, monkeypatch):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 40))
    mean, k = rng.random(n), int(rng.integers(1, n + 1))
    budgets = np.concatenate([rng.random(20) ** 4 * n, [0.0, np.inf]])
    listed = spectral_overlap(mean, k, budgets)
    monkeypatch.setattr(exchange, "_AT_ONCE", -1)
    assert_array_equal(spectral_overlap(mean, k, budgets), listed)


# -- S5 -------------------------------------------------------------------------------------------------------


def test_ranks_by_hand():
    # The third of (.9, .5, .4, .1) is overtaken by .1 at (.4 − .1)²/2 = .045; .5 is above it in any case.
    mean = np.array([0.9, 0.5, 0.4, 0.1])
    assert_array_equal(spectral_ranks(mean, 0.0449), [1, 3, 3, 4])
    assert_array_equal(spectral_ranks(mean, 0.0451), [1, 3, 4, 4])
    # Features of equal score overtake at no cost, at any budget.
    assert_array_equal(spectral_ranks(np.array([0.5, 0.5, 0.1, 0.5]), 0.0), [3, 3, 4, 3])
    assert_array_equal(spectral_ranks(np.array([0.2]), 5.0), [1])


@pytest.mark.parametrize("seed", range(60))
def test_ranks_are_their_definition(seed):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 14))
    mean, squared = some_mean(rng, n), float(rng.choice([0.0, 1e-7, 0.01, 0.1, 0.5, 3.0]))
    assert_array_equal(spectral_ranks(mean, squared), [rank_by_definition(mean, i, squared) for i in range(n)])


@pytest.mark.parametrize("seed", range(20))
def test_ranks_change_when_the_budget_reaches_the_cost(seed):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 14))
    mean = rng.random(n)
    order = np.argsort(-mean)
    for place in range(n - 1):
        m = int(rng.integers(1, n - place))
        cost = minimal_cost(mean[order[place : place + 1]], mean[order[place + 1 : place + 1 + m]])
        assert spectral_ranks(mean, cost * 1.0001)[order[place]] >= place + 1 + m
        assert spectral_ranks(mean, cost)[order[place]] >= place + 1 + m
        assert spectral_ranks(mean, cost * 0.9999)[order[place]] < place + 1 + m


@pytest.mark.parametrize("seed", range(20))
def test_no_map_within_the_budget_gives_a_worse_rank(seed):
    """Try random maps at the distance, and maps that push a feature below the features after it."""
    rng = np.random.default_rng(seed)
    n, length = 8, float(rng.choice([0.05, 0.2, 0.5]))
    mean = some_mean(rng, n)
    ranks = spectral_ranks(mean, length**2)
    steps = rng.standard_normal((4000, n)) * (rng.random((4000, n)) < 0.5)
    for i in range(n):
        lower = mean <= mean[i]
        push = np.where(lower, 1.0, 0.0) * rng.random((500, n))
        push[:, i] = -rng.random(500) * n
        steps = np.concatenate([steps, push])
    norms = np.linalg.norm(steps, axis=1, keepdims=True)
    moved = mean + length * steps / np.where(norms > 0, norms, 1.0)
    worst = (moved[:, None, :] >= moved[:, :, None]).sum(axis=2).max(axis=0)
    assert (worst <= ranks).all()


def test_a_budget_that_equals_the_cost_less_its_slack_overtakes():
    mean = np.array([0.9, 0.5, 0.1])
    cost = float(staying_costs(mean, 1)[0]) * (1 - 1e-8)
    assert spectral_ranks(mean, cost)[0] == 2
    assert spectral_ranks(mean, np.nextafter(cost, 0))[0] == 1


def test_ranks_of_many_features_agree_with_a_scan():
    rng = np.random.default_rng(0)
    mean = np.round(rng.random(120), 2)
    for squared in (0.0, 0.001, 0.1, 2.0):
        ranks = spectral_ranks(mean, squared)
        for i in range(0, 120, 13):
            assert ranks[i] == rank_by_definition(mean, i, squared)


def test_ranks_grow_with_the_budget_up_to_n():
    mean = np.random.default_rng(1).random(50)
    ranks = [spectral_ranks(mean, squared) for squared in (0.0, 0.01, 0.1, 1.0, 100.0, np.inf)]
    assert all((wide >= narrow).all() for narrow, wide in itertools.pairwise(ranks))
    assert_array_equal(np.sort(ranks[0]), np.arange(1, 51))
    assert_array_equal(ranks[-1], np.full(50, 50))
