"""Definition 3.1 and the sharp rank, compared with literal loops and with every possible ordering."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from orderings import worst_ranks
from scipy.stats import norm

from captum_certified.theory import definition_3_1_ranks, probit, sharp_ranks


def literal_definition_3_1(mean, c, ratio):
    """Smallest k with L̂(ĥ_i) ≥ ĥ_[k], n + 1 if there is none."""
    ranked = sorted(mean, reverse=True)
    ranks = []
    for value in mean:
        lower = norm.cdf(norm.ppf(value - c) - 2 * ratio) - c if value > c else -c
        ranks.append(next((k for k, other in enumerate(ranked, start=1) if lower >= other), len(mean) + 1))
    return ranks


def literal_sharp_rank(lower, upper, ratio):
    """1 + the number of j ≠ i with Φ⁻¹(hi_j) + r ≥ Φ⁻¹(lo_i) − r."""
    n = len(lower)
    reach = [[norm.ppf(upper[j]) >= norm.ppf(lower[i]) - 2 * ratio for j in range(n) if j != i] for i in range(n)]
    return [1 + sum(row) for row in reach]


def test_definition_3_1_by_hand():
    # ĥ = (7, 5, 3, 1)/8, c = 1/8, r = 0: L̂ = ĥ − 2/8 = (5, 3, 1, −1)/8 (the last: z ≤ c gives −c).
    # 5 ≥ 5 is rank 2, 3 ≥ 3 is rank 3, 1 ≥ 1 is rank 4, −1 reaches nothing: 5.
    mean = np.array([[7, 5, 3, 1]]) / 8
    # Φ(Φ⁻¹(·)) rounds, so the half width is a hair smaller than the equality.
    ranks = definition_3_1_ranks(mean, half_width=np.array([[1 / 8 - 1e-12]]), ratio=0.0)
    assert ranks.tolist() == [[2, 3, 4, 5]]


def test_sharp_rank_by_hand():
    # Same intervals [6,8] [4,6] [2,4] [0,2] over 8: neighbours touch, and touching counts (≥).
    mean = np.array([[7, 5, 3, 1]]) / 8
    assert sharp_ranks(mean - 1 / 8, mean + 1 / 8, ratio=0.0).tolist() == [[2, 3, 4, 4]]
    assert sharp_ranks(mean - 1 / 9, mean + 1 / 9, ratio=0.0).tolist() == [[1, 2, 3, 4]]


def test_example_of_theorem_3_without_its_ceiling():
    # n = 7, ⌈τn⌉ = 1, r = 0, c = 1e-4: ⌈τn⌉ / L̂(½) = 1/(.5 − 2c) = 2.0008, yet L̂(.5) ≥ ĥ_[k] first at k = 3.
    mean = np.array([[0.5, 0.5, 0, 0, 0, 0, 0]])
    assert definition_3_1_ranks(mean, half_width=np.array([[1e-4]]), ratio=0.0)[0, :2].tolist() == [3, 3]


@pytest.mark.parametrize("seed", range(40))
def test_both_ranks_are_their_literal_loops(seed):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 40))
    mean = rng.random((2, n)) if seed % 3 else rng.integers(0, 5, (2, n)) / 4
    c, ratio = float(rng.choice([0.01, 0.1])), float(rng.choice([0.0, 0.1, 1.0]))
    lower, upper = np.clip(mean - c, 0, 1), np.clip(mean + c, 0, 1)
    printed = definition_3_1_ranks(mean, half_width=np.full((2, 1), c), ratio=ratio)
    assert_array_equal(printed, [literal_definition_3_1(row, c, ratio) for row in mean])
    sharp = sharp_ranks(lower, upper, ratio=ratio)
    assert_array_equal(sharp, [literal_sharp_rank(lower[i], upper[i], ratio) for i in range(2)])
    assert (sharp <= printed).all()


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize("n", range(1, 8))
def test_sharp_rank_is_exactly_the_worst_ordering(n, seed):
    rng = np.random.default_rng([n, seed])
    mean = rng.random(n)
    lower, upper = np.maximum(mean - 0.2 * rng.random(n), 0), np.minimum(mean + 0.2 * rng.random(n), 1)
    ratio = float(rng.choice([0.0, 0.15]))
    worst = worst_ranks(probit(lower) - ratio, probit(upper) + ratio)
    assert_array_equal(sharp_ranks(lower[None], upper[None], ratio=ratio)[0], worst)


@pytest.mark.parametrize("seed", range(20))
def test_definition_3_1_guarantees_one_rank_less(seed):
    rng = np.random.default_rng(seed)
    mean, c, ratio = rng.random(6), 0.05, 0.1
    worst = worst_ranks(
        probit(np.clip(mean - c, 0, 1)) - ratio,
        probit(np.clip(mean + c, 0, 1)) + ratio,
    )
    printed = definition_3_1_ranks(mean[None], half_width=np.array([[c]]), ratio=ratio)[0]
    # Rank n + 1 certifies nothing beyond the n places there are.
    assert (worst <= printed - 1).all()


def test_features_that_never_occur_have_no_rank():
    mean = np.array([[0.9, 0.0, 0.0]])
    assert definition_3_1_ranks(mean, half_width=np.array([[0.01]]), ratio=0.0).tolist() == [[2, 4, 4]]
    assert sharp_ranks(np.clip(mean - 0.01, 0, 1), mean + 0.01, ratio=0.0).tolist() == [[1, 3, 3]]
