"""Largest radii in closed form agree with the overlaps, ranks and selections that they certify."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import norm

from captum_certified.theory import (
    interval_ladder,
    overlap_from_ladder,
    probit,
    ratio_from_ladder,
    sharp_ranks,
    theorem2_ladder,
    top_k_ratios,
)


def intervals(seed, *, rows=3, n=12):
    rng = np.random.default_rng(seed)
    mean = rng.beta(0.5, 1.0, (rows, n)) if seed % 3 else rng.integers(0, 5, (rows, n)) / 4
    width = rng.choice([0.01, 0.1]) * rng.random((rows, n)) + 1e-3
    return np.clip(mean - width, 0, 1), np.clip(mean + width, 0, 1), mean


@pytest.mark.parametrize("violations", [0, 1, 4])
@pytest.mark.parametrize("seed", range(20))
def test_the_overlap_holds_at_its_radius_and_not_beyond(seed, violations):
    lower, upper, mean = intervals(seed)
    n = mean.shape[1]
    for k in (1, 5, 9, n):
        ladder = interval_ladder(lower, upper, mean, k)
        for overlap in range(1, k + 1):
            ratios = ratio_from_ladder(ladder, overlap, n_features=n, violations=violations)
            for row, ratio in enumerate(ratios):
                one = ladder[row : row + 1]

                def certified(r, one=one):
                    read = overlap_from_ladder(one, np.array([r]), closed=False, n_features=n, violations=violations)
                    return int(read[0, 0])

                if overlap <= 2 * k - n:
                    assert ratio == np.inf
                elif ratio > 0:
                    assert certified(ratio) >= overlap
                    assert certified(ratio * 1.001) < overlap or ratio == np.inf
                else:
                    assert certified(0.0) < overlap
                if ratio == np.inf:
                    assert certified(1e9) >= overlap


def test_radii_by_hand():
    # (Φ⁻¹(lo) − Φ⁻¹(hi)) / 2 with lo = Φ(1), Φ(.5) over the top two and hi = Φ(−1), Φ(−2) over the rest:
    # overlap 2 needs .5 against −1: .75; overlap 1 needs 1 against the second newcomer, −2: 1.5.
    scores = norm.cdf([[1.0, 0.5, -1.0, -2.0]])
    ladder = interval_ladder(scores, scores, scores, 2)
    assert_allclose(ladder, [[1.5, 0.75]], rtol=1e-12)
    assert_allclose(ratio_from_ladder(ladder, 1, n_features=4), [1.5 * (1 - 1e-9)], rtol=1e-12)
    assert_allclose(ratio_from_ladder(ladder, 1, n_features=4, violations=1), [0.75 * (1 - 1e-9)], rtol=1e-12)
    assert_array_equal(ratio_from_ladder(ladder, 2, n_features=4, violations=1), [0.0])
    # Two sets of two among three features share one: overlap 1 at every radius.
    assert_array_equal(ratio_from_ladder(ladder, 1, n_features=3), [np.inf])


def test_the_radius_is_rounded_down_by_one_in_a_billion():
    ladder = np.array([[0.7]])
    (ratio,) = ratio_from_ladder(ladder, 1, n_features=9)
    assert 0.7 * (1 - 2e-9) < ratio < 0.7
    (never,) = ratio_from_ladder(np.array([[-0.1]]), 1, n_features=9)
    assert never == 0.0


def test_the_radius_of_theorem_2_is_attained():
    mean = np.array([[0.9, 0.7, 0.3, 0.1]])
    ladder = theorem2_ladder(mean, np.array([[0.05]]), 2)
    assert overlap_from_ladder(ladder, ladder[0, :1], closed=True, n_features=4).tolist() == [[1]]
    assert overlap_from_ladder(ladder, ladder[0, :1] * (1 + 1e-12), closed=True, n_features=4).tolist() == [[0]]


@pytest.mark.parametrize("seed", range(20))
def test_a_feature_stays_in_the_top_k_up_to_its_radius(seed):
    lower, upper, _ = intervals(seed)
    for k in (1, 3, 11, 12):
        ratios = top_k_ratios(lower, upper, k)
        for row in range(len(lower)):
            for i in range(12):
                others = np.sort(np.delete(probit(upper[row]), i))[::-1]
                with np.errstate(invalid="ignore"):
                    literal = np.inf if k == 12 else (probit(lower[row, i]) - others[k - 1]) / 2
                assert_allclose(ratios[row, i], max(np.nan_to_num(literal, nan=0.0, posinf=np.inf), 0.0), rtol=2e-9)


@pytest.mark.parametrize("seed", range(20))
def test_the_radius_of_a_feature_agrees_with_its_rank(seed):
    lower, upper, _ = intervals(seed)
    for k in (1, 3, 6, 11, 12):
        ratios = top_k_ratios(lower, upper, k)
        for row, i in np.ndindex(*ratios.shape):
            ratio = ratios[row, i]
            one = slice(row, row + 1)
            if ratio == np.inf:
                assert sharp_ranks(lower[one], upper[one], ratio=1e9)[0, i] <= k
            elif ratio > 0:
                assert sharp_ranks(lower[one], upper[one], ratio=ratio * (1 - 1e-6))[0, i] <= k
                assert sharp_ranks(lower[one], upper[one], ratio=ratio * (1 + 1e-6))[0, i] > k
            else:
                assert sharp_ranks(lower[one], upper[one], ratio=1e-9)[0, i] > k


def test_radii_of_features_by_hand():
    scores = norm.cdf([[1.0, 0.0, -0.5]])
    assert_allclose(top_k_ratios(scores, scores, 1), [[0.5 * (1 - 1e-9), 0.0, 0.0]], atol=1e-12)
    assert_allclose(top_k_ratios(scores, scores, 2), [[0.75 * (1 - 1e-9), 0.25 * (1 - 1e-9), 0.0]], atol=1e-12)
    assert_array_equal(top_k_ratios(scores, scores, 3), [[np.inf] * 3])
    # Equal features: neither stays ahead of the other, both stay ahead of the third.
    tied = norm.cdf([[1.0, 1.0, 0.0]])
    assert_allclose(top_k_ratios(tied, tied, 1), [[0.0, 0.0, 0.0]])
    assert_allclose(top_k_ratios(tied, tied, 2), [[0.5 * (1 - 1e-9), 0.5 * (1 - 1e-9), 0.0]])


def test_intervals_that_touch_at_the_radius_are_no_longer_apart():
    # lo = ¾ and hi = ¼: at r = −Φ⁻¹(¼), a quantile that rounds symmetrically, both ends are at a half.
    lower, upper = np.array([[0.75, 0.0]]), np.array([[1.0, 0.25]])
    ratio = float(-probit(0.25))
    assert sharp_ranks(lower, upper, ratio=ratio)[0, 0] == 2
    assert sharp_ranks(lower, upper, ratio=ratio * (1 - 1e-9))[0, 0] == 1


def test_features_that_are_never_or_always_on():
    lower, upper = np.array([[0.0, 0.0, 0.5]]), np.array([[1.0, 0.1, 1.0]])
    assert_array_equal(top_k_ratios(lower, upper, 1), [[0.0, 0.0, 0.0]])
    # The third is certainly ahead of the second only.
    assert_allclose(top_k_ratios(lower, upper, 2), [[0.0, 0.0, -probit(0.1) / 2]], rtol=2e-9)
    assert_array_equal(top_k_ratios(np.array([[0.3]]), np.array([[0.4]]), 1), [[np.inf]])
