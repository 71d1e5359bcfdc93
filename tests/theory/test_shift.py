"""Lemma 1, Theorem 1 and Corollary 1, compared with closed forms and SciPy."""

import math

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import norm

from captum_certified.theory import empirical_lower_bound, hoeffding_half_width, lower_bound, probit, shift


@pytest.mark.parametrize(("draws", "printed"), [(50, ".395"), (8192, ".0309")])
def test_corollary_1_half_width_has_the_values_of_the_paper(draws, printed):
    half_width = float(hoeffding_half_width(0.05 / (2 * 150528), draws))
    assert f"{half_width:.{len(printed) - 1}f}"[1:] == printed


def test_half_width_by_hand():
    # ln(1/e⁻²) / (2·4) = 2/8, whose root is a half.
    assert_allclose(hoeffding_half_width(math.exp(-2), 4), 0.5, rtol=1e-15)


def test_half_width_broadcasts_over_examples():
    widths = hoeffding_half_width(0.01, np.array([[100], [400]]))
    assert widths.shape == (2, 1)
    assert_allclose(widths[0], 2 * widths[1], rtol=1e-15)


def test_probit_is_the_normal_quantile():
    p = np.linspace(1e-9, 1 - 1e-9, 1001)
    assert_allclose(probit(p), norm.ppf(p), rtol=1e-12, atol=1e-12)
    assert_array_equal(probit([0.0, 0.5, 1.0]), [-np.inf, 0.0, np.inf])


def test_shift_by_hand():
    # Φ(Φ⁻¹(.8413447) − 1) = Φ(1 − 1) = .5, and back.
    one = norm.cdf(1.0)
    assert_allclose(shift([one, 0.5], [-1.0, 1.0]), [0.5, one], rtol=1e-14)


def test_theorem_1_shifts_twice_the_ratio():
    z = np.linspace(0.01, 0.99, 99)
    assert_allclose(lower_bound(z, ratio=0.3), norm.cdf(norm.ppf(z) - 0.6), rtol=1e-12)
    assert_array_equal(lower_bound(z, ratio=0.0).round(12), z.round(12))


def test_lemma_1_is_sharp_for_a_half_space():
    # f(z) = 1[z > 0] in one dimension, x = .2, σ = .5: h = Φ(.4); moved by −ρ = −.3 it is Φ(−.2) exactly.
    assert_allclose(shift(norm.cdf(0.4), -0.3 / 0.5), norm.cdf(-0.2), rtol=1e-13)


def test_corollary_1_formula_and_its_edge():
    c = 0.1
    z = np.array([0.05, 0.1, 0.1000001, 0.6, 0.95, 1.0])
    expected = [-c, -c, *(norm.cdf(norm.ppf(v - c) - 0.5) - c for v in z[2:])]
    assert_allclose(empirical_lower_bound(z, half_width=c, ratio=0.25), expected, rtol=1e-12)


def test_corollary_1_falls_with_the_radius_and_with_the_half_width():
    z = np.linspace(0, 1, 101)
    values = [empirical_lower_bound(z, half_width=0.05, ratio=r) for r in (0.0, 0.1, 1.0, 10.0)]
    assert all((np.diff(np.stack(values), axis=0) <= 0).all(axis=1))
    values = [empirical_lower_bound(z, half_width=c, ratio=0.2) for c in (0.01, 0.05, 0.2)]
    assert all((np.diff(np.stack(values), axis=0) <= 0).all(axis=1))
