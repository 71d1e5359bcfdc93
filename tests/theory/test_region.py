"""The bounds of S6, compared with literal formulas and with the exact mass at the worst input of half-spaces."""

import itertools
import math

import numpy as np
import pytest
from ensembles import HalfSpaces
from numpy.testing import assert_allclose
from scipy.optimize import brentq
from scipy.special import ndtr, ndtri
from scipy.stats import binom

from captum_certified.theory import dkw_half_width, region_mass, region_mass_bounds

# -- an independent version --------------------------------------------------------------------------------------


def divergence(p, u):
    return sum(a * math.log(a / b) for a, b in ((p, u), (1 - p, 1 - u)) if a > 0)


def largest_mean(mean, budget):
    """Return max{v : kl(mean‖v) ≤ budget}."""
    nearly = 1 - 1e-15
    if mean >= nearly or divergence(mean, nearly) <= budget:
        return 1.0
    return brentq(lambda v: divergence(mean, v) - budget, mean, nearly, xtol=1e-15)


def literal_bounds(fractions, ratio, alpha):
    """Return S6 for one example. The integral is a sum over the steps of the survival function."""
    q, mean = len(fractions), fractions.mean()
    lower = 1 - largest_mean(1 - mean, math.log(3 / alpha) / q)
    by_mean = ndtr(ndtri(lower) - ratio)
    band = math.sqrt(math.log(3 / alpha) / (2 * q))
    steps = np.unique(np.r_[0.0, fractions, 1.0])
    by_distribution = 0.0
    for start, stop in itertools.pairwise(steps):
        above = (fractions > start).mean() - band
        by_distribution += (stop - start) * (ndtr(ndtri(above) - ratio) if above > 0 else 0.0)
    spread = math.sqrt(largest_mean(min(2 * fractions.var(ddof=1), 1.0), math.log(6 / alpha) / (q // 2)) / 2)
    lower = 1 - largest_mean(1 - mean, math.log(6 / alpha) / q)
    return by_mean, by_distribution, lower - math.sqrt(math.exp(ratio**2) - 1) * spread


LAWS = {
    "uniform": lambda rng, q: rng.random(q),
    "concentrated": lambda rng, q: 0.8 + 0.01 * rng.standard_normal(q),
    "two points": lambda rng, q: np.where(rng.random(q) < 0.7, 0.9, 0.1),
    "with zeros and ones": lambda rng, q: rng.choice([0.0, 0.4, 1.0], q),
    "constant": lambda rng, q: np.full(q, 0.6),
}


@pytest.mark.parametrize("law", list(LAWS))
@pytest.mark.parametrize("q", [2, 3, 50, 1001])
def test_the_three_bounds_are_their_formulas(law, q):
    fractions = np.stack([LAWS[law](np.random.default_rng([q, row]), q) for row in range(3)])
    for ratio in (0.0, 0.2, 1.5):
        for alpha in (0.05, 0.9, 1e-6):
            bounds = region_mass_bounds(fractions, ratio=ratio, alpha=alpha)
            expected = [literal_bounds(row, ratio, alpha) for row in fractions]
            assert_allclose(np.transpose(bounds), expected, rtol=1e-8, atol=1e-10)
            best = np.maximum(np.max(expected, axis=1), 0.0)
            assert_allclose(region_mass(fractions, ratio=ratio, alpha=alpha), best, rtol=1e-8, atol=1e-10)


def test_the_band_by_hand():
    # ln(1/e⁻²) / (2·4) = 2/8, whose root is a half.
    assert_allclose(dkw_half_width(4, math.exp(-2)), 0.5, rtol=1e-15)


def test_the_band_holds_the_survival_function_as_often_as_promised():
    """Massart's constant is attained for large q, so a band that is a fifth narrower fails."""
    rng, q, tail, repetitions = np.random.default_rng(0), 400, 0.2, 5000
    ordered = np.sort(rng.random((repetitions, q)), axis=1)
    # P̂[T > u] − P[T > u] is largest just below the next draw.
    excess = (1 - np.arange(q) / q - (1 - ordered)).max(axis=1)
    credible = binom.isf(1e-6, repetitions, tail)
    assert (excess > dkw_half_width(q, tail)).sum() <= credible
    assert (excess > 0.8 * dkw_half_width(q, tail)).sum() > credible


# -- limits ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ratio", [0.0, 0.3, 5.0, 40.0, 1e3, 1e200])
def test_an_empty_region_has_no_mass_and_bounds_are_shares(ratio):
    fractions = np.stack([np.zeros(100), np.full(100, 0.5), np.ones(100)])
    mass = region_mass(fractions, ratio=ratio, alpha=0.05)
    assert mass[0] == 0.0
    assert ((mass >= 0) & (mass < 1)).all()
    assert mass[1] <= mass[2]
    if ratio >= 40:
        assert_allclose(mass, 0.0, atol=1e-200)


@pytest.mark.parametrize("law", list(LAWS))
def test_mass_falls_with_the_radius_and_the_confidence_and_grows_with_the_draws(law):
    fractions = LAWS[law](np.random.default_rng(1), 400)[None]

    def masses(cases):
        return [float(region_mass(np.tile(fractions, (1, n)), ratio=r, alpha=a)[0]) for n, r, a in cases]

    for falling in (
        masses((1, r, 0.05) for r in (0.0, 0.01, 0.1, 0.3, 1.0, 3.0)),
        masses((1, 0.1, a) for a in (0.9, 0.1, 1e-3, 1e-9)),
        masses((n, 0.1, 0.05) for n in (64, 16, 4, 1)),
    ):
        assert falling == sorted(falling, reverse=True)
        assert falling[0] > falling[-1]
    assert max(masses([(64, 0.0, 0.05)])) <= fractions.mean()


def test_the_bound_by_distribution_is_best_for_concentrated_shares():
    fractions = 0.8 + 0.01 * np.random.default_rng(0).standard_normal((1, 4000))
    for ratio in (0.1, 0.3, 1.0):
        by_mean, by_distribution, _ = region_mass_bounds(fractions, ratio=ratio, alpha=0.05)
        # All of the mass is above .75: Φ(Φ⁻¹(.99) − r) · .75 against Φ(Φ⁻¹(.8) − r).
        assert by_distribution > by_mean + 0.02


def test_each_bound_is_the_largest_somewhere():
    rng = np.random.default_rng(0)
    coin = (rng.random(4000) < 0.3).astype(np.float64)
    concentrated = 0.8 + 0.01 * rng.standard_normal(4000)
    cases = ((coin, 1.0), (concentrated, 2.5), (concentrated, 0.3))
    winners = [int(np.argmax(region_mass_bounds(f[None], ratio=r, alpha=0.05))) for f, r in cases]
    assert winners == [0, 1, 2]


# -- soundness -----------------------------------------------------------------------------------------------------


class ExactShares:
    """The share of a region in 0/1 maps of independent features, whose half-spaces are orthogonal."""

    def __init__(self, scores, inside):
        n = len(scores)
        self.half_spaces = HalfSpaces(np.eye(n), -0.5 * np.asarray(scores), np.zeros(n), 0.5)
        self.patterns = np.array(list(itertools.product([0, 1], repeat=n)))
        self.inside = np.asarray(inside)
        self.values = self.share(self.patterns)

    def share(self, maps):
        total = maps.sum(axis=-1)
        return (maps * self.inside).sum(axis=-1) / np.maximum(total, 1)

    def mean(self, inputs):
        """Return E T at inputs of shape (m, n), by enumeration."""
        p = self.half_spaces.population(inputs)[:, None, :]
        return (np.where(self.patterns == 1, p, 1 - p).prod(axis=2) * self.values).sum(axis=1)

    def least_mean(self, ratio):
        """Return the smallest E T found within r·σ of x by descent along numerical gradients."""
        if ratio == 0:
            return float(self.mean(np.zeros((1, len(self.inside))))[0])
        rng, n, radius = np.random.default_rng(5), len(self.inside), ratio * self.half_spaces.sigma
        directions = np.concatenate([rng.standard_normal((200, n)), -self.inside[None] + 0.3, -self.inside[None] + 0.0])
        points = radius * directions / np.linalg.norm(directions, axis=1, keepdims=True)
        for _ in range(30):
            slopes = [(self.mean(points + 1e-5 * e) - self.mean(points - 1e-5 * e)) / 2e-5 for e in np.eye(n)]
            gradient = np.stack(slopes, axis=1) + 1e-12
            moved = points - 0.3 * radius * gradient / np.linalg.norm(gradient, axis=1, keepdims=True)
            points = radius * moved / np.linalg.norm(moved, axis=1, keepdims=True)
        return float(min(self.mean(points).min(), self.mean(np.zeros((1, n)))[0]))

    def sample(self, repetitions, q, rng):
        return self.share(self.half_spaces.draws(repetitions, q, rng))


ENSEMBLES = {
    "spread": ExactShares([1.5, 1.0, 0.5, 0.0, -1.0, -2.0], [1, 1, 1, 0, 0, 0]),
    "outside is loud": ExactShares([0.5, 1.0, 2.0, 2.0], [1, 1, 0, 0]),
    "one feature": ExactShares([0.8], [1]),
    "rarely anything": ExactShares([-1.5, -1.5, -2.0], [1, 0, 1]),
    "concentrated": ExactShares([4.0, 4.0, 4.0, 4.0, -3.0], [1, 1, 1, 1, 0]),
}


@pytest.mark.parametrize("ensemble", list(ENSEMBLES))
@pytest.mark.parametrize("alpha", [0.5, 0.05])
@pytest.mark.parametrize("ratio", [0.0, 0.2, 0.8])
def test_no_input_in_the_ball_has_less_mass_than_certified(ensemble, alpha, ratio):
    exact, repetitions = ENSEMBLES[ensemble], 500
    fractions = exact.sample(repetitions, 300, np.random.default_rng(2))
    least = exact.least_mean(ratio)
    for bound in region_mass_bounds(fractions, ratio=ratio, alpha=alpha):
        assert (bound > least).sum() <= binom.isf(1e-6, repetitions, alpha / 3)
    mass = region_mass(fractions, ratio=ratio, alpha=alpha)
    assert (mass > least).sum() <= binom.isf(1e-6, repetitions, alpha)
    if ensemble != "rarely anything":
        assert (mass > 0.02).all(), "certificates of nothing would pass this test"


def test_the_search_finds_the_worst_input_where_it_is_known():
    # One feature: E T = Φ(Φ⁻¹(h) − r), which the bound by the mean attains up to its interval.
    exact = ENSEMBLES["one feature"]
    assert_allclose(exact.least_mean(0.8), ndtr(0.0), rtol=1e-9)
    fractions = exact.sample(1, 10**6, np.random.default_rng(0))
    (mass,) = region_mass(fractions, ratio=0.8, alpha=0.05)
    assert 0.495 < mass < 0.5


def test_the_test_notices_a_bound_without_confidence():
    exact, alpha, repetitions = ENSEMBLES["one feature"], 0.05, 500
    fractions = exact.sample(repetitions, 300, np.random.default_rng(2))
    plug_in = ndtr(ndtri(fractions.mean(axis=1)) - 0.8)
    assert (plug_in > exact.least_mean(0.8)).sum() > binom.isf(1e-6, repetitions, alpha)
