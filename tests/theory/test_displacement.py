"""S1 and S3, compared with fixed numbers of their derivation and with literal formulas, one example at a time."""

import math

import numpy as np
import pytest
from scipy.optimize import brentq
from torch.testing import assert_close

from captum_certified.theory import (
    Displacement,
    chi,
    frobenius_upper,
    full_displacement,
    kl_upper,
    partial_sums_upper,
    short_displacement,
    top_eigenvalue_upper,
)

KAPPA = 104275 / 2 + 1.5 * 61.4**2
SHORT = {"n_samples": 8192.0, "pairs": 4096.0, "trace": 10845.0, "top_eigenvalue": 61.4}
FULL = SHORT | {"frobenius_norm": 172.0, "fourth_moment": KAPPA}


def arrays(evidence):
    return {name: np.atleast_1d(np.asarray(value, dtype=np.float64)) for name, value in evidence.items()}


def full(evidence=FULL, *, s=15053.0, alpha=0.05):
    return full_displacement(squared_norm=s, **arrays(evidence), alpha=alpha)


def short(evidence=SHORT, *, s=15053.0, alpha=0.05):
    return short_displacement(squared_norm=s, **arrays(evidence), alpha=alpha)


# -- an independent version of the formulas ---------------------------------------------------------------------


def literal_kl_upper(u, c):
    def kl(v):
        return (u * math.log(u / v) if u else 0.0) + ((1 - u) * math.log((1 - u) / (1 - v)) if u < 1 else 0.0)

    if u >= 1 or kl(1 - 1e-15) < c:
        return 1.0
    return brentq(lambda v: kl(v) - c, u if u else 1e-300, 1 - 1e-15, xtol=1e-15)


def literal_sums(t, lam, u, q, log):
    first = math.sqrt((t + u * u / q) / q)
    second = math.sqrt(2 * log / q * (lam + u * u / (4 * q) * math.log(1 + q * t / u**2)))
    return first + second + math.sqrt(5) / 2 * u * log / (3 * q)


def literal_full(s, alpha, *, n_samples, pairs, trace, top_eigenvalue, frobenius_norm, fourth_moment):
    q, log, u = n_samples, math.log(5 / alpha), math.sqrt(2 * s)
    theta = min(0.85, math.sqrt(8000 * log / pairs))
    y = theta / s
    inside = log / pairs + y * top_eigenvalue + (-math.log(1 - theta) - theta) * fourth_moment / s**2
    lam = min((1 - math.exp(-inside)) / y, s)
    frobenius = frobenius_norm + math.sqrt(2 * s * lam * log / pairs)
    cross = literal_sums(frobenius**2, lam**2, math.sqrt(lam) * u, q, log)
    sums = literal_sums(s, lam, u, q, log)
    squared = trace / q + q / (q - 1) * (cross * math.sqrt(8 * log / q) + 2 * u * sums * log / (3 * q))
    return math.sqrt(squared), cross, lam


def literal_short(s, alpha, *, n_samples, pairs, trace, top_eigenvalue):
    log = math.log(3 / alpha)
    lam = s * literal_kl_upper(min(top_eigenvalue / s, 1.0), log / pairs)
    t = s * literal_kl_upper(min(trace / s, 1.0), log / (n_samples // 2))
    error = literal_sums(t, lam, math.sqrt(2 * s), n_samples, log)
    return error, error * math.sqrt(lam), lam


def random_evidence(rng, rows):
    """Return consistent evidence: W below q/2, odd q, and F̂ and κ̂ not below what λ̂ implies."""
    s = float(rng.integers(1, 2000))
    q = np.maximum(2, 10 ** rng.uniform(0, 6, rows)).astype(int)  # enough draws for θ to fall below its largest value
    top = s * rng.random(rows) ** 4
    evidence = {
        "n_samples": q.astype(float),
        "pairs": np.maximum(1, (q // 2 * rng.uniform(0.2, 1, rows)).astype(int)).astype(float),
        "trace": np.minimum(top * rng.uniform(1, 50, rows), s),
        "top_eigenvalue": top,
        "frobenius_norm": top * rng.uniform(1, 5, rows),
        "fourth_moment": top**2 * rng.uniform(1.5, 4, rows) + rng.random(rows) * top * s,
    }
    return s, evidence


# -- fixed numbers --------------------------------------------------------------------------------------------


def test_full_form_has_the_printed_values():
    bound = full()
    assert_close(float(bound.top_eigenvalue[0]), 85.8, rtol=0, atol=0.05)
    assert_close(float(bound.cross[0]), 5.80, rtol=0, atol=0.005)
    assert_close(float(bound.error[0]), 1.351, rtol=0, atol=0.0005)
    assert_close(float(bound.squared([0.3])[0, 0]) ** 0.5, 3.669, rtol=0, atol=0.0005)


def test_terms_of_the_full_form_have_the_printed_values():
    log, pairs = math.log(5 / 0.05), np.array([4096.0])
    lam = top_eigenvalue_upper(np.array([61.4]), np.array([KAPPA]), pairs=pairs, most=15053.0, log=log)
    assert_close(float(lam[0]), 85.8, rtol=0, atol=0.05)
    assert_close(
        float(frobenius_upper(np.array([172.0]), lam, pairs=pairs, most=15053.0, log=log)[0]), 226.0, rtol=0, atol=0.5
    )
    sums = partial_sums_upper(15053.0, lam, math.sqrt(2 * 15053), n_samples=8192, log=log)
    assert_close(float(sums[0]), 1.716, rtol=0, atol=0.0005)


def test_short_form_has_the_printed_values():
    bound = short()
    assert_close(float(bound.top_eigenvalue[0]), 114.7, rtol=0, atol=0.05)
    assert_close(float(bound.error[0]), 1.548, rtol=0, atol=0.0005)
    assert_close(float(bound.squared([0.15])[0, 0]) ** 0.5, 3.164, rtol=0, atol=0.0005)


def test_kl_has_the_printed_values():
    assert_close(kl_upper([0.1, 0.0], 0.01).tolist(), [0.14767554, 0.00995017], rtol=0, atol=5e-9)


def test_chi_has_the_printed_values():
    # e^{.09} − 1 = .0941743 and e^{2.25} − 1 = 8.4877358; a χ without the −1 would be near 1 at ratio 0.
    assert chi(0.0) == 0.0
    assert_close(chi([0.3, 1.5]).tolist(), [0.306878, 2.913372], rtol=0, atol=5e-7)
    assert_close(float(chi(1e-9)), 1e-9, rtol=1e-12, atol=0)


# -- against the literal formulas -----------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(30))
def test_full_form_is_its_formula_row_by_row(seed):
    rng = np.random.default_rng(seed)
    s, evidence = random_evidence(rng, 5)
    alpha = float(rng.choice([1e-9, 0.01, 0.05, 0.5, 0.99]))
    bound = full(evidence, s=s, alpha=alpha)
    for row in range(5):
        literal = literal_full(s, alpha, **{name: float(value[row]) for name, value in evidence.items()})
        got = [float(value[row]) for value in (bound.error, bound.cross, bound.top_eigenvalue)]
        assert_close(got, list(literal), rtol=1e-9, atol=0)


@pytest.mark.parametrize("seed", range(30))
def test_short_form_is_its_formula_row_by_row(seed):
    rng = np.random.default_rng(seed)
    s, evidence = random_evidence(rng, 5)
    evidence = {name: evidence[name] for name in SHORT}
    alpha = float(rng.choice([1e-9, 0.01, 0.05, 0.5, 0.99]))
    bound = short(evidence, s=s, alpha=alpha)
    for row in range(5):
        literal = literal_short(s, alpha, **{name: float(value[row]) for name, value in evidence.items()})
        got = [float(value[row]) for value in (bound.error, bound.cross, bound.top_eigenvalue)]
        assert_close(got, list(literal), rtol=1e-9, atol=0)


def test_the_short_form_uses_all_pairs_for_the_trace_and_block_pairs_for_the_eigenvalue():
    # 101 draws in blocks of 3: W = 33 + 1 pairs (33 blocks of 3 and one of 2), but 50 pairs of all draws.
    bound = short({"n_samples": 101.0, "pairs": 34.0, "trace": 4.0, "top_eigenvalue": 1.0}, s=10.0)
    literal = literal_short(10.0, 0.05, n_samples=101.0, pairs=34.0, trace=4.0, top_eigenvalue=1.0)
    other = literal_short(10.0, 0.05, n_samples=68.0, pairs=34.0, trace=4.0, top_eigenvalue=1.0)
    assert_close(float(bound.error[0]), literal[0], rtol=1e-9, atol=0)
    assert abs(literal[0] - other[0]) > 0.01


@pytest.mark.parametrize("make", [full, short])
def test_squared_is_the_sum_of_its_formula(make):
    bound, ratios = make(), np.array([0.0, 0.1, 0.7, 2.0])
    x = np.sqrt(np.exp(ratios**2) - 1)
    literal = bound.error[0] ** 2 + 2 * x * bound.cross[0] + x**2 * bound.top_eigenvalue[0]
    assert_close(bound.squared(ratios)[0].tolist(), literal.tolist(), rtol=1e-12, atol=0)


def test_the_short_form_adds_two_norms():
    bound = short()
    b = bound.error[0] + float(chi(0.4)) * math.sqrt(bound.top_eigenvalue[0])
    assert_close(float(bound.squared([0.4])[0, 0]), b**2, rtol=1e-12, atol=0)


# -- monotone, in its limits, inverted ------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["trace", "top_eigenvalue", "frobenius_norm", "fourth_moment"])
def test_displacements_grow_with_the_spread(name):
    for make, base in ((full, FULL), (short, SHORT)):
        if name not in base:
            continue
        values = [make(base | {name: base[name] * factor}).squared([0.0, 0.3])[0] for factor in (0.5, 1, 1.5, 3)]
        assert (np.diff(values, axis=0) >= 0).all()
        assert values[-1][1] > values[0][1]


@pytest.mark.parametrize("name", ["n_samples", "pairs"])
def test_displacements_shrink_with_the_draws(name):
    for make, base in ((full, FULL), (short, SHORT)):
        values = [make(base | {name: base[name] * factor}).squared([0.0, 0.3])[0] for factor in (0.5, 1, 4, 1000)]
        assert (np.diff(values, axis=0) < 0).all()


@pytest.mark.parametrize("make", [full, short])
def test_displacements_grow_with_the_confidence_and_the_norm(make):
    assert (np.diff([make(alpha=a).squared([0.3])[0, 0] for a in (0.9, 0.5, 0.05, 1e-6, 1e-15)]) > 0).all()
    assert (np.diff([make(s=s).squared([0.3])[0, 0] for s in (12000.0, 15053.0, 40000.0, 150528.0)]) > 0).all()


def test_many_draws_leave_only_the_eigenvalue():
    # θ falls with W, so the second-order term of the full form vanishes too.
    exact = {"n_samples": 1e16, "pairs": 5e15}
    assert_close(full(FULL | exact).top_eigenvalue.tolist(), [61.4], rtol=1e-4, atol=0)
    assert_close(short(SHORT | exact).top_eigenvalue.tolist(), [61.4], rtol=1e-4, atol=0)
    assert full(FULL | exact).error[0] < 1e-3
    assert short(SHORT | exact).error[0] < 1e-3


@pytest.mark.parametrize("draws", [2, 3, 4, 5])
def test_a_handful_of_draws_proves_no_more_than_the_largest_value(draws):
    evidence = {"n_samples": float(draws), "pairs": 1.0, "trace": 7.0, "top_eigenvalue": 7.0}
    for bound in (short(evidence, s=10.0), full(evidence | {"frobenius_norm": 7.0, "fourth_moment": 99.0}, s=10.0)):
        assert 7.0 <= bound.top_eigenvalue[0] <= 10.0
        # Two maps of norm √s without negative entries are never farther apart than √(2s).
        assert np.isfinite(bound.error[0])
        assert bound.error[0] > 1.0


def test_maps_that_never_changed_have_a_positive_displacement():
    nothing = dict.fromkeys(FULL, 0.0) | {"n_samples": 100.0, "pairs": 50.0}
    for bound in (full(nothing, s=10.0), short({name: nothing[name] for name in SHORT}, s=10.0)):
        # 50 pairs without a difference exclude no eigenvalue below s(1 − (α/5)^(1/50)).
        assert bound.top_eigenvalue[0] >= 10.0 * (1 - (0.05 / 3) ** (1 / 50))
        assert bound.error[0] > 0
        assert np.isfinite(bound.squared([0.0, 1.0])).all()


def test_displacements_at_enormous_radii_are_infinite_and_not_nan():
    for ratio in (30.0, 1e3, 1e300):
        assert full().squared([ratio])[0, 0] == np.inf


def test_a_row_alone_has_the_displacement_of_its_batch():
    s, evidence = random_evidence(np.random.default_rng(9), 6)
    together = full(evidence, s=s).squared([0.0, 0.5])
    for row in range(6):
        alone = full({name: value[row] for name, value in evidence.items()}, s=s).squared([0.0, 0.5])
        np.testing.assert_array_equal(alone[0], together[row])


@pytest.mark.parametrize("make", [full, short])
def test_the_radius_inverts_the_displacement_from_below(make):
    bound = make()
    nothing = float(bound.error[0]) ** 2
    assert bound.ratio_below(np.array([nothing * 0.999])) == 0.0
    assert bound.ratio_below(np.array([nothing])) == 0.0
    for ratio in (1e-6, 0.01, 0.3, 1.5, 5.0):
        target = bound.squared([ratio])[0]
        found = bound.ratio_below(target)
        assert_close(found.tolist(), [ratio], rtol=3e-9 if ratio > 1e-3 else 1e-6, atol=0)
        assert bound.squared(found)[0, 0] < target[0]


def test_limits_that_are_exceeded_at_once_have_radius_zero():
    still = Displacement(np.array([0.5]), np.array([0.0]), np.array([1.0]))
    assert still.ratio_below(np.array([[0.0, 0.25]])).tolist() == [[0.0, 0.0]]


def test_rows_have_their_own_radii():
    bound = Displacement(np.array([1.0, 2.0, 0.5]), np.array([0.1, 0.2, 0.3]), np.array([4.0, 5.0, 6.0]))
    target = bound.squared([0.2])[:, 0]
    assert_close(bound.ratio_below(target).tolist(), [0.2] * 3, rtol=3e-9, atol=0)
    assert bound.ratio_below(np.array([9.0, 1.0, 9.0]))[1] == 0.0
