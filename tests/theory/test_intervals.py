"""Confidence intervals, compared with SciPy and with independent versions of their formulas, and their coverage."""

import functools
import itertools
import math
from decimal import Decimal, localcontext

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import brentq
from scipy.special import betainc, betaincc, rel_entr
from scipy.stats import binom, binomtest

from captum_certified.theory import (
    clopper_pearson_interval,
    empirical_bernstein_interval,
    hoeffding_interval,
    intervals,
    kl_interval,
    kl_upper,
)

# -- the intervals of draws of shape (R, q, n), by the package and literally ------------------------------------


def by_package(kind, draws, tail):
    q, mean = draws.shape[1], draws.mean(axis=1)
    if kind == "clopper_pearson":
        return clopper_pearson_interval(draws.sum(axis=1).astype(np.int64), q, tail=tail)
    if kind == "empirical_bernstein":
        return empirical_bernstein_interval(mean, (draws**2).mean(axis=1), q, tail=tail)
    return {"kl": kl_interval, "hoeffding": hoeffding_interval}[kind](mean, q, tail=tail)


def literal_clopper_pearson(draws, tail):
    q, counts = draws.shape[1], draws.sum(axis=1).astype(int)
    lower, upper = np.zeros(q + 1), np.ones(q + 1)
    for k in range(q + 1):
        if k > 0:
            lower[k] = brentq(lambda p, k=k: binom.sf(k - 1, q, p) - tail, 0, 1, xtol=1e-13)
        if k < q:
            upper[k] = brentq(lambda p, k=k: binom.cdf(k, q, p) - tail, 0, 1, xtol=1e-13)
    return lower[counts], upper[counts]


def bernoulli_divergence(p, u):
    with np.errstate(divide="ignore"):
        return rel_entr(p, u) + rel_entr(1 - p, 1 - u)


def literal_kl(draws, tail):
    """Find the root of kl(ĥ‖u) = ln(1/tail)/q on each side of ĥ by bisection."""
    mean, budget = draws.mean(axis=1), math.log(1 / tail) / draws.shape[1]
    ends = []
    for edge in (0.0, 1.0):
        near, far = mean.copy(), np.full_like(mean, edge)
        for _ in range(100):
            middle = (near + far) / 2
            within = bernoulli_divergence(mean, middle) <= budget
            near, far = np.where(within, middle, near), np.where(within, far, middle)
        ends.append(np.where(bernoulli_divergence(mean, np.full_like(mean, edge)) <= budget, edge, near))
    return tuple(ends)


def literal_empirical_bernstein(draws, tail):
    q, mean, log = draws.shape[1], draws.mean(axis=1), math.log(2 / tail)
    width = np.sqrt(2 * draws.var(axis=1, ddof=1) * log / q) + 7 * log / (3 * (q - 1))
    return np.maximum(mean - width, 0), np.minimum(mean + width, 1)


def literal_hoeffding(draws, tail):
    q, mean = draws.shape[1], draws.mean(axis=1)
    width = math.sqrt(math.log(1 / tail) / (2 * q))
    return np.maximum(mean - width, 0), np.minimum(mean + width, 1)


LITERAL = {
    "clopper_pearson": literal_clopper_pearson,
    "kl": literal_kl,
    "empirical_bernstein": literal_empirical_bernstein,
    "hoeffding": literal_hoeffding,
}
kinds = pytest.mark.parametrize("kind", list(LITERAL))


# -- coverage and width ------------------------------------------------------------------------------------------

REPETITIONS, DRAWS = 5000, 40


def bernoulli(rng, p):
    return (rng.random((REPETITIONS, DRAWS, len(p))) < p).astype(np.float64), np.asarray(p)


def beta(rng, a, b):
    return rng.beta(a, b, (REPETITIONS, DRAWS, len(a))), np.asarray(a) / (np.asarray(a) + b)


def two_point(rng, low, high, p):
    low, high, p = np.asarray(low), np.asarray(high), np.asarray(p)
    return np.where(rng.random((REPETITIONS, DRAWS, len(p))) < p, high, low), low + p * (high - low)


def nearly_constant(rng, centre):
    wobble = rng.uniform(-1e-4, 1e-4, (REPETITIONS, DRAWS, len(centre)))
    return np.asarray(centre) + wobble, np.asarray(centre)


# The laws include p = 0 and p = 1, at which the ends are exact.
LAWS = {
    "one fair coin": lambda rng: bernoulli(rng, [0.5]),
    "one rare coin": lambda rng: bernoulli(rng, [0.03]),
    "coins": lambda rng: bernoulli(rng, [0.0, 0.03, 0.4, 0.97, 1.0]),
    "coins with one law": lambda rng: bernoulli(rng, [0.3] * 5),
    "beta": lambda rng: beta(rng, [0.2, 1.0, 2.0, 30.0], [0.2, 1.0, 5.0, 1.0]),
    "two points": lambda rng: two_point(rng, [0.0, 0.2, 0.9], [0.01, 0.7, 1.0], [0.5, 0.1, 0.98]),
    "nearly constant": lambda rng: nearly_constant(rng, [1e-4, 0.25, 0.5, 1 - 1e-4]),
    "constant": lambda rng: two_point(rng, [0.0, 0.3, 1.0], [0.0, 0.3, 1.0], [0.5, 0.5, 0.5]),
}


@functools.cache
def sampled(law):
    return LAWS[law](np.random.default_rng(list(LAWS).index(law)))


def missed(lower, upper, mean):
    """Mark runs in which an interval misses its mean by more than the rounding of the sum of the draws."""
    return ((mean < lower - 1e-12) | (mean > upper + 1e-12)).any(axis=1)


def credible(misses, rate):
    return misses.sum() <= binom.isf(1e-6, len(misses), rate)


@kinds
@pytest.mark.parametrize("law", list(LAWS))
@pytest.mark.parametrize("alpha", [0.5, 0.05])
def test_intervals_hold_together_and_are_no_wider_than_their_formula(kind, law, alpha):
    draws, mean = sampled(law)
    if kind == "clopper_pearson" and not np.isin(draws, (0, 1)).all():
        pytest.skip("for zeros and ones only")
    tail = alpha / (2 * len(mean))
    lower, upper = by_package(kind, draws, tail)
    assert credible(missed(lower, upper, mean), alpha)
    # Each side alone must miss with half of the probability.
    for side in ((lower, np.ones_like(upper)), (np.zeros_like(lower), upper)):
        assert credible(missed(*side, mean), alpha / 2)
    expected = LITERAL[kind](draws, tail)
    assert_allclose(lower, expected[0], rtol=1e-9, atol=1e-11)
    assert_allclose(upper, expected[1], rtol=1e-9, atol=1e-11)
    assert (upper - lower).mean() <= 1.02 * (expected[1] - expected[0]).mean()


@pytest.mark.parametrize(("law", "alpha"), [("one fair coin", 0.2), ("coins with one law", 0.2)])
def test_the_repetitions_would_notice_an_interval_that_is_too_narrow(law, alpha):
    draws, mean = sampled(law)
    tail = alpha / (2 * len(mean))
    assert credible(missed(*by_package("clopper_pearson", draws, tail), mean), alpha)
    assert not credible(missed(*by_package("clopper_pearson", draws, 2 * tail), mean), alpha)


# -- values ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("q", [1, 2, 3, 17, 200])
@pytest.mark.parametrize("confidence", [0.5, 0.95, 0.9999])
def test_clopper_pearson_equals_scipy_s_interval(q, confidence):
    counts = np.unique(np.r_[0, 1, q // 3, q // 2, q - 1, q])
    lower, upper = clopper_pearson_interval(counts, q, tail=(1 - confidence) / 2)
    expected = [binomtest(int(k), q).proportion_ci(confidence_level=confidence, method="exact") for k in counts]
    # SciPy searches for the ends to an absolute 2e-12.
    assert_allclose(lower, [e.low for e in expected], rtol=1e-11, atol=4e-12)
    assert_allclose(upper, [e.high for e in expected], rtol=1e-11, atol=4e-12)
    assert (lower[0], upper[-1]) == (0.0, 1.0)


@pytest.mark.parametrize(("mean", "below", "above"), [(0.1, "-.0161", "+.0178"), (0.01, "-.0047", "+.0068")])
def test_clopper_pearson_at_image_size(mean, below, above):
    tail = 0.05 / (2 * 150528)
    counts = np.array([round(8192 * mean)])
    lower, upper = clopper_pearson_interval(counts, 8192, tail=tail)
    at = counts[0] / 8192
    assert f"{lower[0] - at:+.4f}".replace("0.", ".") == below
    assert f"{upper[0] - at:+.4f}".replace("0.", ".") == above


@pytest.mark.parametrize("tail", [0.4, 1e-3, 1.7e-7, 1e-14])
@pytest.mark.parametrize("q", [300, 8192, 10**6])
def test_the_ends_are_where_the_binomial_tail_is_the_level(tail, q):
    counts = np.unique(np.r_[1, 2, q // 1000, q // 10, q // 2])
    counts = counts[(counts > 0) & (counts < q)]
    lower, upper = clopper_pearson_interval(counts, q, tail=tail)
    assert_allclose(binom.sf(counts - 1, q, lower), tail, rtol=1e-6)
    assert_allclose(binom.cdf(counts, q, upper), tail, rtol=1e-6)


@pytest.mark.parametrize("q", [3 * 10**9, 4 * 10**9, 10**10])
def test_clopper_pearson_of_very_many_draws(q):
    lower, upper = clopper_pearson_interval(np.array([[q // 2, 0, q]]), q, tail=1e-6)
    # Five standard deviations of a half, by the normal approximation.
    assert_allclose([lower[0, 0], upper[0, 0]], 0.5 + np.array([-1, 1]) * 4.7534243 / (2 * math.sqrt(q)), rtol=1e-9)
    assert (lower[0, 1], upper[0, 2]) == (0.0, 1.0)


@pytest.mark.parametrize(("mean", "budget", "printed"), [(0.1, 0.01, ".14767554"), (0.0, 0.01, ".00995017")])
def test_kl_upper_has_the_printed_values(mean, budget, printed):
    assert f"{float(kl_upper(mean, budget)):.8f}"[1:] == printed


@pytest.mark.parametrize("u", [0.0, 1e-6, 1e-3, 0.1, 0.5, 0.9, 0.999, 1 - 1e-9])
@pytest.mark.parametrize("c", [1e-5, 1e-3, 0.02, 0.5, 3.0])
def test_kl_upper_is_the_root_and_is_not_below_it(u, c):
    def divergence(distance):
        """Return kl(u‖u + distance), to full precision next to u."""
        first = -u * math.log1p(distance / u) if u > 0 else 0.0
        return first - (1 - u) * math.log1p(-distance / (1 - u))

    value = float(kl_upper(u, c))
    far = (1 - u) * (1 - 1e-15)
    root = brentq(lambda d: divergence(d) - c, 0, far, xtol=1e-300, rtol=1e-14) if divergence(far) > c else 1 - u
    assert_allclose(value - u, root, rtol=1e-7)
    assert_allclose(value, u + root, rtol=3e-12)
    assert value == 1 or divergence(value - u) >= c * (1 - 1e-12)


def test_kl_upper_at_its_edges():
    assert_array_equal(kl_upper([0.0, 0.3, 1.0], 0.0).round(11), [0.0, 0.3, 1.0])
    assert_array_equal(kl_upper([0.0, 0.3, 1.0], 1e6), [1.0, 1.0, 1.0])
    assert_array_equal(kl_upper(1.0, [0.0, 0.1, 1e-300]), [1.0, 1.0, 1.0])
    assert_allclose(kl_upper(0.0, [1e-9, 1.0, 20.0]), -np.expm1(-np.array([1e-9, 1.0, 20.0])), rtol=1e-11)
    assert kl_upper(np.full((2, 1), 0.5), np.array([0.1, 0.2, 0.3])).shape == (2, 3)


@pytest.mark.parametrize("c", [1e-14, 1e-12, 1e-10])
def test_kl_upper_of_tiny_budgets_is_not_below_the_root(c):
    # At a half kl(½‖½+d) = −½ ln(1 − 4d²) exactly.
    assert float(kl_upper(0.5, c)) >= 0.5 + math.sqrt(-math.expm1(-2 * c)) / 2


def test_empirical_bernstein_by_hand():
    # Draws 0, 1, 1, 1: mean 3/4, unbiased variance 1/4; tail 2/e: L = 1.
    lower, upper = empirical_bernstein_interval(np.array([0.75]), np.array([0.75]), 4, tail=2 / math.e)
    width = math.sqrt(2 * 0.25 / 4) + 7 / 9
    assert_allclose([lower[0], upper[0]], [max(0.75 - width, 0), min(0.75 + width, 1)], rtol=1e-14)
    wide = empirical_bernstein_interval(np.array([0.75]), np.array([0.75]), 4000, tail=2 / math.e)
    width = math.sqrt(2 * 0.1875 * 4000 / 3999 / 4000) + 7 / (3 * 3999)
    assert_allclose([wide[0][0], wide[1][0]], [0.75 - width, 0.75 + width], rtol=1e-14)


def test_empirical_bernstein_at_the_level_of_n_features_has_ln_4n_over_alpha():
    n, alpha, q = 7, 0.05, 500
    lower, upper = empirical_bernstein_interval(np.full(n, 0.5), np.full(n, 0.25), q, tail=alpha / (2 * n))
    assert_allclose(upper - 0.5, 7 * math.log(4 * n / alpha) / (3 * (q - 1)), rtol=1e-13)
    assert_allclose(0.5 - lower, 7 * math.log(4 * n / alpha) / (3 * (q - 1)), rtol=1e-13)


def test_a_rounded_second_moment_does_not_make_the_variance_negative():
    mean = np.array([0.3, 0.7])
    ends = empirical_bernstein_interval(mean, mean**2 - 1e-12, 100, tail=0.01)
    assert_array_equal(ends, empirical_bernstein_interval(mean, mean**2, 100, tail=0.01))


# -- order, rows ---------------------------------------------------------------------------------------------------


def test_for_zeros_and_ones_clopper_pearson_is_inside_kl_is_inside_hoeffding():
    for q in (2, 50, 8192):
        counts = np.unique(np.linspace(0, q, 200).astype(np.int64))
        for tail in (0.3, 0.01, 1e-7):
            exact = clopper_pearson_interval(counts, q, tail=tail)
            kl = kl_interval(counts / q, q, tail=tail)
            wide = hoeffding_interval(counts / q, q, tail=tail)
            assert (exact[0] >= kl[0] - 1e-11).all()
            assert (exact[1] <= kl[1] + 1e-11).all()
            assert (kl[0] >= wide[0] - 1e-11).all()
            assert (kl[1] <= wide[1] + 1e-11).all()


@kinds
def test_rows_have_their_own_numbers_of_draws(kind):
    counts, draws = np.array([[0, 3, 10], [0, 30, 100], [7, 7, 7]]), np.array([[10], [100], [14]])

    def interval(counts, draws):
        mean = counts / draws
        if kind == "clopper_pearson":
            return clopper_pearson_interval(counts, draws, tail=0.01)
        if kind == "empirical_bernstein":
            return empirical_bernstein_interval(mean, mean, draws, tail=0.01)
        return {"kl": kl_interval, "hoeffding": hoeffding_interval}[kind](mean, draws, tail=0.01)

    together = interval(counts, draws)
    for row in range(3):
        alone = interval(counts[row : row + 1], draws[row : row + 1])
        assert_array_equal(together[0][row], alone[0][0])
        assert_array_equal(together[1][row], alone[1][0])
        assert ((alone[0] >= 0) & (alone[0] <= counts[row] / draws[row]) & (alone[1] >= counts[row] / draws[row])).all()
        assert (alone[1] <= 1).all()


@kinds
def test_intervals_widen_with_the_level_and_narrow_with_the_draws(kind):
    draws = (np.random.default_rng(0).random((1, 200, 20)) < np.linspace(0, 1, 20)).astype(np.float64)
    ends = [by_package(kind, draws, tail) for tail in (0.4, 0.1, 1e-3, 1e-9)]
    for narrow, wide in itertools.pairwise(ends):
        assert (wide[0] <= narrow[0]).all()
        assert (wide[1] >= narrow[1]).all()
    few, many = by_package(kind, draws, 0.01), by_package(kind, np.tile(draws, (1, 9, 1)), 0.01)
    assert (many[0] >= few[0]).all()
    assert (many[1] <= few[1]).all()
    assert (many[1] - many[0]).sum() < (few[1] - few[0]).sum()


@pytest.mark.parametrize("q", [1, 64, 8192, 10**6])
@pytest.mark.parametrize("tail", [0.025, 1e-7])
def test_kl_intervals_of_many_means_are_those_of_each_mean(q, tail):
    """The tangents must be above the root everywhere: next to 0, next to 1, and between neighbouring tangents."""
    rng = np.random.default_rng(q)
    near = np.concatenate([[0.0, 1e-300, 1e-18, 1e-12], np.geomspace(1e-10, 1e-3, 200), rng.random(2000) ** 6])
    mean = np.concatenate([near, 1.0 - near, rng.random(2000), np.arange(65) / 64])
    lower, upper = kl_interval(mean, q, tail=tail)
    budget = -math.log(tail) / q
    expected = kl_upper(mean, budget)
    width = expected - (1.0 - kl_upper(1.0 - mean, budget))
    assert (upper >= expected - 4e-12 * (expected - mean) - 2.5e-16).all()
    assert (upper - expected <= 1e-3 * width).all()
    assert_allclose(lower, 1.0 - kl_interval(1.0 - mean, q, tail=tail)[1], rtol=0, atol=1e-300)


@pytest.mark.parametrize("sign", [1, -1])
def test_the_gap_of_a_logarithm_keeps_its_digits(sign):
    """Newton's method ends 2e-12 above the root. A wrong seventh term of the series would exceed this margin."""
    sizes = [0.0099999, 0.009, 0.007, 0.005, 0.001, 1e-5, 1e-9]
    with localcontext() as context:
        context.prec = 60
        for size in sizes:
            x = Decimal(sign * size)
            exact = x - (1 + x).ln()
            assert abs(Decimal(float(intervals._gap(np.array(sign * size)))) / exact - 1) < Decimal("1e-14")
        for size in (0.0100001, 0.02, 0.5, 0.99):
            x = Decimal(sign * size)
            exact = x - (1 + x).ln()
            assert abs(Decimal(float(intervals._gap(np.array(sign * size)))) / exact - 1) < Decimal("1e-13")


def test_a_budget_of_zero_gives_the_mean():
    assert kl_upper([0.0, 0.3, 1.0], 0.0).tolist() == [0.0, 0.3, 1.0]


# -- rounded outward -----------------------------------------------------------------------------------------------


def binomial_tail(count, q, p, *, at_least):
    """Return P(X ≥ count) or P(X ≤ count) for X ~ Bin(q, p), to 40 digits: the largest term times a falling sum."""
    p, k = Decimal(p), count
    term = Decimal(math.comb(q, k)) * p**k * (1 - p) ** (q - k)
    total = term
    while term > total * Decimal("1e-45"):
        if at_least:
            term, k = term * (q - k) / (k + 1) * p / (1 - p), k + 1
        else:
            term, k = term * k / (q - k + 1) * (1 - p) / p, k - 1
        total += term
    return total


def assert_just_outside(ends, level_at, level):
    """Check that the level is kept exactly at every end, and not kept 1 in 10¹⁰ farther inside."""
    for end, inward in ends:
        assert level_at(end) <= level, end
        assert level_at(end * (1 + inward * 1e-10)) > level, end


@pytest.mark.parametrize("tail", [0.4, 0.025, 1e-7, 1e-14])
@pytest.mark.parametrize("q", [1, 2, 10, 100, 1000, 8192, 100_000])
def test_clopper_pearson_is_rounded_outward(q, tail):
    counts = np.unique(np.random.default_rng(q).integers(0, q + 1, 30 if q < 1000 else 3))
    lower, upper = clopper_pearson_interval(counts, q, tail=tail)
    with localcontext() as context:
        context.prec = 60
        for k, low, high in zip(counts.tolist(), lower.tolist(), upper.tolist(), strict=True):
            down = [(low, 1)] if k > 0 else []
            up = [(high, -1)] if k < q and high < 1 else []
            assert_just_outside(down, lambda p, k=k: binomial_tail(k, q, p, at_least=True), Decimal(tail))
            assert_just_outside(up, lambda p, k=k: binomial_tail(k, q, p, at_least=False), Decimal(tail))


@pytest.mark.parametrize("q", [10**6, 10**8, 10**10])
@pytest.mark.parametrize("tail", [0.025, 1e-7])
def test_clopper_pearson_of_millions_of_draws_is_rounded_outward(q, tail):
    """SciPy's quantiles are off by up to 1 in 10⁹ here, but its incomplete beta function is not."""
    counts = np.random.default_rng(0).integers(1, q, 50)
    lower, upper = clopper_pearson_interval(counts, q, tail=tail)
    assert (betainc(counts, q - counts + 1, lower) < tail * (1 - 2e-12)).all()
    assert (betaincc(counts + 1, q - counts, upper) < tail * (1 - 2e-12)).all()
    assert (betainc(counts, q - counts + 1, lower) > tail * 0.99).all()
    assert (betaincc(counts + 1, q - counts, upper) > tail * 0.99).all()


def decimal_divergence(u, v):
    u, v = Decimal(u), Decimal(v)
    return sum((a * (a / b).ln() for a, b in ((u, v), (1 - u, 1 - v)) if a > 0), Decimal(0))


@pytest.mark.parametrize("tail", [0.4, 0.025, 1e-7, 1e-14])
@pytest.mark.parametrize("q", [1, 10, 1000, 8192, 10**6])
def test_kl_is_rounded_outward(q, tail):
    rng = np.random.default_rng(q)
    mean = np.concatenate([[0.0, 1.0, 1e-12, 1 - 1e-12], rng.random(40), rng.random(20) ** 6, 1 - rng.random(20) ** 6])
    lower, upper = kl_interval(mean, q, tail=tail)
    with localcontext() as context:
        context.prec = 60
        budget = -Decimal(tail).ln() / q
        for u, low, high in zip(mean.tolist(), lower.tolist(), upper.tolist(), strict=True):
            assert low == 0 or decimal_divergence(u, low) >= budget, u
            assert high == 1 or decimal_divergence(u, high) >= budget, u


@pytest.mark.parametrize("tail", [0.4, 0.025, 1e-14])
@pytest.mark.parametrize("q", [2, 10, 8192, 10**6])
@pytest.mark.parametrize("kind", ["hoeffding", "empirical_bernstein"])
def test_ends_from_a_formula_are_rounded_outward(kind, q, tail):
    mean = np.random.default_rng(q).random(50)
    second = mean * 0.75 + 0.25 * mean**2
    lower, upper = (
        hoeffding_interval(mean, q, tail=tail)
        if kind == "hoeffding"
        else empirical_bernstein_interval(mean, second, q, tail=tail)
    )
    with localcontext() as context:
        context.prec = 60
        for u, square, low, high in zip(mean.tolist(), second.tolist(), lower.tolist(), upper.tolist(), strict=True):
            u, square = Decimal(u), Decimal(square)
            if kind == "hoeffding":
                width = (-Decimal(tail).ln() / (2 * q)).sqrt()
            else:
                log, variance = (2 / Decimal(tail)).ln(), Decimal(q) / (q - 1) * (square - u**2)
                width = (2 * variance * log / q).sqrt() + 7 * log / (3 * (q - 1))
            assert low == 0 or Decimal(low) <= u - width
            assert high == 1 or Decimal(high) >= u + width
