"""Selection of single features with abstention, compared with half-spaces and with its own radii."""

import ensembles
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import binom, norm

from captum_certified.theory import clopper_pearson_interval, selection, selection_ratios, shift


def test_decisions_by_hand():
    # r = 1: selected above Φ(1) = .8413, rejected below Φ(−1) = .1587; both are strict.
    lower = np.array([[0.85, 0.83, 0.1, 0.1, 0.0]])
    upper = np.array([[0.95, 0.95, 0.15, 0.17, 1.0]])
    selected, rejected = selection(lower, upper, ratio=1.0)
    assert selected.tolist() == [[True, False, False, False, False]]
    assert rejected.tolist() == [[False, False, True, False, False]]


def test_a_half_is_neither_selected_nor_rejected():
    half = np.array([[0.5]])
    selected, rejected = selection(half, half, ratio=0.0)
    assert not selected.any()
    assert not rejected.any()
    assert selection_ratios(half, half).tolist() == [[0.0]]


def test_ratios_by_hand():
    lower, upper = norm.cdf([[1.5, -0.2, -3.0, 0.0]]), norm.cdf([[2.0, 0.3, -0.7, 0.4]])
    assert_allclose(selection_ratios(lower, upper), [[1.5, 0.0, 0.7, 0.0]], rtol=1.1e-9, atol=1e-12)


def test_ends_at_zero_and_one():
    lower, upper = np.array([[0.0, 0.0, 0.99]]), np.array([[1.0, 0.01, 1.0]])
    assert_allclose(selection_ratios(lower, upper), [[0.0, 2.3263478740408408, 2.3263478740408408]], rtol=1.1e-9)
    for ratio in (0.0, 3.0, 1e300):
        selected, rejected = selection(lower, upper, ratio=ratio)
        assert not (selected[0, 0] | rejected[0, 0])


@pytest.mark.parametrize("seed", range(10))
def test_decisions_hold_up_to_their_radius_and_not_beyond(seed):
    rng = np.random.default_rng(seed)
    ends = np.sort(rng.random((2, 4, 30)), axis=0)
    ends[0] = np.maximum(ends[0], ends[1] - rng.choice([0.02, 0.3]))
    lower, upper = ends
    ratios = selection_ratios(lower, upper)
    for factor in (1 - 1e-6, 1 + 1e-6):
        for row, i in np.ndindex(*ratios.shape):
            selected, rejected = selection(lower[row, i], upper[row, i], ratio=max(ratios[row, i], 1e-12) * factor)
            assert bool(selected | rejected) == (ratios[row, i] > 0 and factor < 1)
    selected, rejected = selection(lower, upper, ratio=0.3)
    assert_array_equal(selected, shift(lower, -0.3) > 0.5)
    assert_array_equal(rejected, shift(upper, 0.3) < 0.5)
    assert not (selected & rejected).any()


@pytest.mark.parametrize("make", [ensembles.aligned, ensembles.incoherent])
@pytest.mark.parametrize("alpha", [0.5, 0.05])
def test_no_perturbation_turns_a_decision(make, alpha):
    """Each feature is pushed along its normal, which is its worst direction."""
    exact, repetitions, draws = make(), 1000, 300
    rng = np.random.default_rng(3)
    population = exact.population(exact.x[None])[0]
    counts = rng.binomial(draws, population, (repetitions, exact.n_features))
    lower, upper = clopper_pearson_interval(counts, draws, tail=alpha / (2 * exact.n_features))
    decided = 0
    for ratio in (0.0, 0.1, 0.6):
        selected, rejected = selection(lower, upper, ratio=ratio)
        worst = exact.population(exact.x - ratio * exact.sigma * exact.weights).diagonal()
        best = exact.population(exact.x + ratio * exact.sigma * exact.weights).diagonal()
        wrong = (selected & (worst <= 0.5)) | (rejected & (best >= 0.5))
        assert wrong.any(axis=1).sum() <= binom.isf(1e-6, repetitions, alpha)
        decided += int((selected | rejected).sum())
    assert decided > repetitions
    # Nothing is decided at a radius that reaches one half from every score.
    selected, rejected = selection(lower, upper, ratio=3.0)
    assert not (selected | rejected).any()


def test_false_decisions_are_as_rare_as_promised():
    """Both decisions are false at the radius where h is one half, so errors are nearly as frequent as the level."""
    rng = np.random.default_rng(8)
    ratio, draws, repetitions, n, alpha = 0.6, 400, 5000, 4, 0.3
    counts = rng.binomial(draws, norm.cdf([ratio, -ratio] * (n // 2)), (repetitions, n))

    def wrong(tail):
        selected, rejected = selection(*clopper_pearson_interval(counts, draws, tail=tail), ratio=ratio)
        return int((selected | rejected).any(axis=1).sum())

    credible = binom.isf(1e-6, repetitions, alpha)
    assert wrong(alpha / (2 * n)) <= credible
    # Only one side of each interval decides here, so the test notices three times the level.
    assert wrong(3 * alpha / (2 * n)) > credible
