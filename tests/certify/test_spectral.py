"""S1 to S3 on ensembles with known Σ and h, and the spectral bound of the certifier."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from captum.attr import Saliency
from contract import counted, of_any_draws
from ensembles import aligned, graded, incoherent, least_overlap, rivals, worst_ranks
from networks import mlp
from scipy.special import ndtr, owens_t
from scipy.stats import binom, multivariate_normal
from spectral_ensembles import TwoPointLaw, covariance_matrix, farthest, layered, mixed, summarised
from torch.testing import assert_close

from captum_certified import (
    CertificationError,
    Certifier,
    CovarianceSummary,
    NormalizedSmoothGrad,
    SmoothedMap,
)
from captum_certified.certify.bounds.spectral import displacement_of
from captum_certified.theory import (
    chi,
    frobenius_upper,
    full_displacement,
    kl_upper,
    partial_sums_upper,
    short_displacement,
    spectral_overlap,
    spectral_ranks,
    top_eigenvalue_upper,
    top_k_mask,
)

ENSEMBLES = {"aligned": aligned, "incoherent": incoherent, "graded": graded, "layered": layered, "mixed": mixed}
RATIOS = (0.01, 0.1, 0.3, 0.7, 1.0, 1.5)

on_ensembles = pytest.mark.parametrize("name", list(ENSEMBLES))


def sampled_map(exact, *, rows, draws, block=512, seed=0, short=False):
    """Repetitions of one sampling as the rows of a map with covariance; s is the number of features."""
    values = exact.draws(rows, draws, np.random.default_rng(seed))
    summary = summarised(values, block=block)
    if short:
        summary = CovarianceSummary(summary.pairs, summary.top_eigenvalue)
    return dataclasses.replace(counted(values, exact.sigma), covariance=summary)


# -- the ensembles themselves ---------------------------------------------------------------------------------


@on_ensembles
def test_the_exact_covariance_follows_from_orthant_probabilities(name):
    exact = ENSEMBLES[name]()
    if exact.parts > 1:
        exact = dataclasses.replace(exact, parts=1)
    sigma = covariance_matrix(exact)
    scores = (exact.weights @ exact.x - exact.offsets) / exact.sigma
    correlation = exact.weights @ exact.weights.T
    rng = np.random.default_rng(0)
    checked = 0
    for i, j in rng.integers(0, exact.n_features, (60, 2)):
        # Owen's T divides by the scores and by 1 − ϱ².
        if abs(scores[[i, j]]).max() > 10 or abs(scores[[i, j]]).min() < 1e-9 or abs(correlation[i, j]) > 0.999:
            continue
        both = orthant(scores[i], scores[j], correlation[i, j])
        assert_close(float(sigma[i, j]), both - float(ndtr(scores[i]) * ndtr(scores[j])), rtol=0, atol=1e-12)
        law = multivariate_normal([0, 0], [[1, correlation[i, j]], [correlation[i, j], 1]])
        assert_close(float(law.cdf([scores[i], scores[j]])), both, rtol=0, atol=1e-6)
        checked += 1
    assert checked > 0 or name in ("aligned", "layered")
    p = ndtr(scores)
    assert_close(np.diag(sigma).tolist(), (p * (1 - p)).tolist(), rtol=0, atol=1e-12)
    assert np.linalg.eigvalsh(sigma)[0] > -1e-10


def orthant(h, k, correlation):
    """P(Z₁ ≤ h, Z₂ ≤ k) by Owen's T."""
    root = math.sqrt(1 - correlation**2)
    opposite = h * k < 0
    tails = owens_t(h, (k - correlation * h) / (h * root)) + owens_t(k, (h - correlation * k) / (k * root))
    return float((ndtr(h) + ndtr(k)) / 2 - tails - opposite / 2)


@on_ensembles
def test_the_exact_covariance_agrees_with_many_draws(name):
    exact = ENSEMBLES[name]()
    draws = exact.draws(1, 200_000, np.random.default_rng(1))[0]
    # Six standard errors of a product of two numbers in [0, 1].
    np.testing.assert_allclose(np.cov(draws, rowvar=False), covariance_matrix(exact), rtol=0, atol=3 / 200_000**0.5)


# -- S1 -------------------------------------------------------------------------------------------------------


@on_ensembles
def test_no_input_moves_the_map_farther_than_s1(name):
    exact, rng = ENSEMBLES[name](), np.random.default_rng(2)
    sigma = covariance_matrix(exact)
    top = np.linalg.eigvalsh(sigma)[-1]
    base, sharpest = exact.population(exact.x[None])[0], []
    for ratio in RATIOS:
        found = farthest(exact, ratio, rng)
        assert len(found) >= 1000
        moved = exact.population(found) - base
        bound = float(chi(ratio))
        sharpest.append(float(np.linalg.norm(moved, axis=1).max() / (bound * math.sqrt(top))))
        # S1 bounds the movement in every direction, not only its norm.
        directions = np.concatenate([rng.standard_normal((50, len(base))), np.linalg.eigh(sigma)[1].T, moved[:50]])
        spread = np.sqrt(np.maximum(np.einsum("ai,ij,aj->a", directions, sigma, directions), 0))
        assert (np.abs(directions @ moved.T).max(axis=1) <= bound * spread * (1 + 1e-9) + 1e-9).all()
    print(f"\n{name}: ‖h(x̃)−h(x)‖ / χ√λ at most {max(sharpest):.3f}", [round(v, 3) for v in sharpest])
    assert max(sharpest) <= 1 + 1e-9
    assert max(sharpest) > (0.75 if name in ("aligned", "layered") else 0.3), "inputs far from the bound test nothing"


@on_ensembles
@pytest.mark.parametrize("ratio", [0.0, *RATIOS])
def test_no_input_beats_s2_and_s5_with_the_exact_map_and_covariance(name, ratio):
    """The exact map has an error of N = 0, so the bound always holds."""
    exact, rng = ENSEMBLES[name](), np.random.default_rng(3)
    squared = float(chi(ratio)) ** 2 * np.linalg.eigvalsh(covariance_matrix(exact))[-1]
    base = exact.population(exact.x[None])
    # Scores that differ by rounding errors count as equal.
    level = np.round(base, 12)
    attacks = [farthest(exact, ratio, rng, starts=60)]
    for k in (1, 8, 12, 20, exact.n_features):
        found = np.concatenate([attacks[0], exact.adversaries(k, ratio * exact.sigma, rng)])
        population = np.round(exact.population(found), 12)
        attacked = least_overlap(population, top_k_mask(level, k)[0])
        assert spectral_overlap(level[0], k, np.array([squared]))[0] <= attacked[0]
        assert (worst_ranks(population) <= spectral_ranks(level[0], squared)).all()


# -- S2 and S3 on sampled maps --------------------------------------------------------------------------------


@on_ensembles
@pytest.mark.parametrize("short", [False, True], ids=["full", "short"])
def test_no_adversary_beats_the_certified_overlap(name, short):
    exact, rng = ENSEMBLES[name](), np.random.default_rng(4)
    smoothed_map = sampled_map(exact, rows=10, draws=4000, block=1000, seed=5, short=short)
    # A certificate that is wrong once in 10⁹ runs is right in all of 10 runs.
    certifier, informative = Certifier(bound="spectral", confidence=1 - 1e-9), 0
    for k in (8, 20):
        members = top_k_mask(smoothed_map.features.numpy(), k)[0]
        for ratio in (0.0, 0.05, 0.3, 1.5):
            radius = ratio * exact.sigma
            found = np.concatenate([exact.adversaries(k, radius, rng), farthest(exact, ratio, rng, starts=30)])
            attacked = least_overlap(exact.population(found), members)
            certified = certifier.top_k(smoothed_map, k=k, radius=radius).overlap.numpy()
            assert (certified <= attacked).all()
            informative += int((certified > max(0, 2 * k - exact.n_features)).sum())
    assert informative > 10, "a bound that certifies nothing would pass this test"


def joint_failures(exact, *, repetitions, draws, block, alpha, seed):
    """Find the repetitions that break any inequality of the full or the short form, and how sharp both forms are."""
    sigma, rng = covariance_matrix(exact), np.random.default_rng(seed)
    top, frobenius = np.linalg.eigvalsh(sigma)[-1], np.linalg.norm(sigma)
    h, s = exact.population(exact.x[None])[0], float(exact.n_features)
    moved = exact.population(farthest(exact, 0.5, rng, starts=20)[-40:]) - h
    failures, sharpness = [], []
    chunk = max(1, 12_000_000 // (draws * exact.n_features))
    for start in range(0, repetitions, chunk):
        values = exact.draws(min(chunk, repetitions - start), draws, rng)
        summary, mean = summarised(values, block=block), values.mean(axis=1)
        error = mean - h
        walk = np.sqrt(np.square(np.cumsum(values - h, axis=1)).sum(axis=2).max(axis=1))
        rows = np.ones(len(values))
        common = {
            "n_samples": draws * rows,
            "pairs": summary.pairs.numpy(),
            "trace": values.var(axis=1, ddof=1).sum(axis=1),
            "top_eigenvalue": summary.top_eigenvalue.numpy(),
        }
        fourth = summary.fourth_moment.numpy()
        full = full_displacement(
            squared_norm=s, **common, frobenius_norm=summary.frobenius_norm.numpy(), fourth_moment=fourth, alpha=alpha
        )
        short = short_displacement(squared_norm=s, **common, alpha=alpha)
        log = math.log(5 / alpha)
        upper = frobenius_upper(
            summary.frobenius_norm.numpy(), full.top_eigenvalue, pairs=common["pairs"], most=s, log=log
        )
        sums = partial_sums_upper(s * rows, full.top_eigenvalue, math.sqrt(2 * s), n_samples=draws, log=log)
        length = np.linalg.norm(error, axis=1)
        cross = np.sqrt(np.einsum("ri,ij,rj->r", error, sigma, error))
        distance = np.square(error[:, None] - moved[None]).sum(axis=2).max(axis=1)
        broken_full = (
            (top > full.top_eigenvalue) | (frobenius > upper) | (cross > full.cross) | (walk > draws * sums)
            | (length > full.error) | (distance > full.squared([0.5])[:, 0])
        )  # fmt: skip
        broken_short = (
            (top > short.top_eigenvalue) | (length > short.error) | (distance > short.squared([0.5])[:, 0])
        )  # fmt: skip
        failures.append(np.stack([broken_full, broken_short]))
        sharpness.append(
            [full.top_eigenvalue / top, full.error / length, short.top_eigenvalue / top, short.error / length]
        )
    return np.concatenate(failures, axis=1), np.median(np.concatenate(sharpness, axis=1), axis=1)


def assert_joint_inequalities(name, draws, block, *, repetitions):
    alpha = 0.2
    failures, sharpness = joint_failures(
        ENSEMBLES[name](), repetitions=repetitions, draws=draws, block=block, alpha=alpha, seed=draws + block
    )
    print(
        f"\n{name}, q={draws}, blocks of {block}, {repetitions} repetitions: failures full/short "
        f"{failures.sum(axis=1).tolist()}; full λ⁺/λ {sharpness[0]:.2f} N/‖e‖ {sharpness[1]:.2f}; "
        f"short λ⁺/λ {sharpness[2]:.2f} N/‖e‖ {sharpness[3]:.2f}"
    )
    assert (failures.sum(axis=1) <= binom.isf(1e-6, repetitions, alpha)).all()
    # In the median the bounds are not below the truth.
    assert (sharpness >= 1).all()


@on_ensembles
@pytest.mark.parametrize(("draws", "block"), [(64, 8), (255, 64), (1024, 256)])
def test_all_inequalities_hold_together(name, draws, block):
    assert_joint_inequalities(name, draws, block, repetitions=200)


@pytest.mark.slow
@on_ensembles
@pytest.mark.parametrize(
    ("draws", "block"), [(64, 8), (64, 64), (255, 51), (1024, 32), (1024, 1024), (4096, 256), (4096, 2048)]
)
def test_all_inequalities_hold_together_in_two_thousand_repetitions(name, draws, block):
    assert_joint_inequalities(name, draws, block, repetitions=2000)


# -- two-point laws: the eigenvalue comes from an event that may not be seen ----------------------------------

ALPHA, RUNS = 0.2, 200_000


def assert_rate(failures, share):
    assert failures.sum() <= binom.isf(1e-6, len(failures), share), f"{failures.mean():.4f} against {share:.4f}"


def two_point(epsilon, draws, block, *, seed):
    law = TwoPointLaw(epsilon, ones=5)
    evidence = law.evidence(RUNS, draws, block, np.random.default_rng(seed))
    error = np.abs(evidence.pop("rare") / draws - epsilon) * math.sqrt(2 * law.ones)
    return law, evidence, error


@pytest.mark.parametrize(("draws", "block"), [(64, 8), (64, 64), (510, 51), (4096, 512), (4096, 4096)])
@pytest.mark.parametrize("expected", [0.5, 1.0, 2.0, 3.0, 5.0, 20.0])
def test_rare_events_break_no_inequality_more_often_than_its_share(draws, block, expected):
    law, evidence, error = two_point(expected / draws, draws, block, seed=int(draws + 10 * expected))
    top, cross = law.top_eigenvalue, error * math.sqrt(law.top_eigenvalue)
    full = full_displacement(squared_norm=law.ones, **evidence, alpha=ALPHA)
    only = {name: evidence[name] for name in ("n_samples", "pairs", "trace", "top_eigenvalue")}
    short = short_displacement(squared_norm=law.ones, **only, alpha=ALPHA)
    assert_rate(top > full.top_eigenvalue, ALPHA / 5)
    assert_rate(top > short.top_eigenvalue, ALPHA / 3)
    trace = law.ones * kl_upper(evidence["trace"] / law.ones, math.log(3 / ALPHA) / (draws // 2))
    assert_rate(top > trace, ALPHA / 3)
    assert_rate((top > full.top_eigenvalue) | (cross > full.cross) | (error > full.error), ALPHA)
    assert_rate((top > short.top_eigenvalue) | (error > short.error), ALPHA)


@pytest.mark.parametrize("draws", [64, 512, 4096])
def test_the_eigenvalue_of_the_short_form_is_sharp(draws):
    """For the rarest event that may stay unseen, λ⁺ fails as often as allowed. A smaller λ⁺ would be wrong."""
    hidden = -np.expm1(-math.log(3 / ALPHA) / (draws // 2))  # 2ε(1 − ε) that no pair shows with probability α/3
    epsilon = (1 - math.sqrt(1 - 2 * hidden)) / 2 * (1 + 1e-9)
    law, evidence, _ = two_point(epsilon, draws, draws, seed=draws)
    only = {name: evidence[name] for name in ("n_samples", "pairs", "trace", "top_eigenvalue")}
    broken = law.top_eigenvalue > short_displacement(squared_norm=law.ones, **only, alpha=ALPHA).top_eigenvalue
    print(f"\nq={draws}: λ > λ⁺ in {broken.mean():.4f} of runs, allowed {ALPHA / 3:.4f}")
    assert_rate(broken, ALPHA / 3)
    assert broken.mean() > 0.8 * ALPHA / 3


@pytest.mark.parametrize("draws", [64, 512, 4096])
def test_the_eigenvalue_of_the_full_form_is_nearly_sharp(draws):
    nothing = np.zeros(1)
    log = math.log(5 / ALPHA)
    unseen = top_eigenvalue_upper(nothing, nothing, pairs=nothing + draws // 2, most=5.0, log=log)[0] / 5
    epsilon = (1 - math.sqrt(1 - 2 * unseen)) / 2 * (1 + 1e-9)
    law, evidence, _ = two_point(epsilon, draws, draws, seed=draws)
    full = full_displacement(squared_norm=law.ones, **evidence, alpha=ALPHA)
    broken = law.top_eigenvalue > full.top_eigenvalue
    print(f"\nq={draws}: λ > λ⁺ in {broken.mean():.4f} of runs, allowed {ALPHA / 5:.4f}")
    assert_rate(broken, ALPHA / 5)
    assert broken.mean() > 0.4 * ALPHA / 5


# -- the Certifier --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def smoothed_map():
    return sampled_map(incoherent(), rows=3, draws=2000, seed=8)


def test_the_bound_equals_s2_with_the_displacement_of_the_map(smoothed_map):
    radii = [0.0, 0.02, 0.1, 0.4]
    curve = Certifier(bound="spectral", confidence=0.9).top_k_curve(smoothed_map, k=8, radii=radii)
    squared = displacement_of(smoothed_map, 1 - 0.9).squared(np.array(radii) / 0.5)
    for row in range(3):
        literal = spectral_overlap(smoothed_map.features[row].numpy(), 8, squared[row])
        assert curve[row].tolist() == literal.tolist()
    certificate = Certifier(bound="spectral").top_k(smoothed_map, k=8, radius=0.02)
    assert (certificate.bound, certificate.violations) == ("spectral", 0)
    ranks = Certifier(bound="spectral", confidence=0.9).rank(smoothed_map, radius=0.02).feature_rank
    assert ranks[1].tolist() == spectral_ranks(smoothed_map.features[1].numpy(), squared[1, 1]).tolist()


def test_the_displacement_uses_the_statistics_of_the_map(smoothed_map):
    summary = smoothed_map.covariance
    common = {
        "squared_norm": 24.0,
        "n_samples": np.full(3, 2000.0),
        "pairs": np.full(3, 1000.0),
        "trace": smoothed_map.trace.numpy(),
        "top_eigenvalue": summary.top_eigenvalue.numpy(),
    }
    extra = {"frobenius_norm": summary.frobenius_norm.numpy(), "fourth_moment": summary.fourth_moment.numpy()}
    full, short = full_displacement(**common, **extra, alpha=0.01), short_displacement(**common, alpha=0.01)
    without = dataclasses.replace(smoothed_map, covariance=CovarianceSummary(summary.pairs, summary.top_eigenvalue))
    for made, literal in ((smoothed_map, full), (without, short)):
        got = displacement_of(made, 0.01)
        for name in ("error", "cross", "top_eigenvalue"):
            np.testing.assert_array_equal(getattr(got, name), getattr(literal, name))
    # A known bound on the number of ones is used.
    known = displacement_of(dataclasses.replace(smoothed_map, max_squared_norm=20.0), 0.01)
    assert (known.top_eigenvalue < full.top_eigenvalue).all()


def test_every_row_is_certified_by_its_own_statistics():
    maps = [
        sampled_map(exact(), rows=1, draws=q, seed=q)
        for q, exact in ((150, incoherent), (9000, incoherent), (3000, aligned))
    ]
    together, radii = SmoothedMap.stack(maps), [0.0, 0.02, 0.1, 0.4]
    for bound in ("spectral", "best"):
        certifier = Certifier(bound=bound)
        for row, alone in enumerate(maps):
            curve = certifier.top_k_curve(together, k=8, radii=radii)[row]
            assert torch.equal(curve, certifier.top_k_curve(alone, k=8, radii=radii)[0])
            ranks = certifier.rank(together, radius=0.01).feature_rank[row]
            assert torch.equal(ranks, certifier.rank(alone, radius=0.01).feature_rank[0])
            assert certifier.radius(together, k=8, overlap=3)[row] == certifier.radius(alone, k=8, overlap=3)[0]
    curves = Certifier(bound="spectral").top_k_curve(together, k=8, radii=radii)
    assert len({tuple(curve) for curve in curves.tolist()}) == 3


@pytest.mark.parametrize("bound", ["spectral", "best"])
@pytest.mark.parametrize("k", [1, 8, 15, 24])
def test_the_radius_of_an_overlap_is_where_the_overlap_ends(smoothed_map, bound, k):
    certifier, ended = Certifier(bound=bound, violations=0), 0
    for overlap in range(1, k + 1):
        radius = certifier.radius(smoothed_map, k=k, overlap=overlap)
        for row, value in enumerate(radius.tolist()):
            if overlap <= 2 * k - 24:
                assert value == math.inf
                continue
            inside = certifier.top_k_curve(smoothed_map, k=k, radii=[value * (1 - 1e-7), value * (1 + 1e-6) + 1e-7])
            assert value == 0 or inside[row, 0] >= overlap
            assert inside[row, 1] < overlap
            ended += value > 0
    assert ended > 0 or k in (1, 24)


def test_every_interval_is_as_wide_as_the_error_of_the_map(smoothed_map):
    certificate = Certifier(bound="spectral", confidence=0.9).selection(smoothed_map, radius=0.0)
    error = torch.from_numpy(displacement_of(smoothed_map, 1 - 0.9).error)[:, None]
    assert torch.equal(certificate.feature_selected, smoothed_map.features - error > 0.5)
    assert torch.equal(certificate.feature_rejected, smoothed_map.features + error < 0.5)


def test_maps_without_covariance_or_trace_and_signed_maps_are_refused(smoothed_map):
    certifier = Certifier(bound="spectral")
    with pytest.raises(CertificationError, match="Expected a map with `covariance` and a trace, got one without"):
        certifier.top_k(dataclasses.replace(smoothed_map, covariance=None), k=3, radius=0.1)
    one = CovarianceSummary(torch.tensor([4.0]), torch.tensor([1.0]))
    with pytest.raises(CertificationError, match="Expected a map with `covariance` and a trace"):
        certifier.rank(SmoothedMap.from_mean(torch.rand(1, 4), n_samples=9, stdevs=0.1, covariance=one), radius=0.1)
    signed = of_any_draws(
        torch.tensor([[0.5, -0.2]]), n_samples=9, stdevs=0.1, trace=torch.tensor([1.0]), covariance=one
    )
    with pytest.raises(CertificationError, match=r"Expected a map of draws >= 0, got means from -0\.2"):
        certifier.top_k(signed, k=1, radius=0.1)


def test_means_alone_suffice_with_a_trace_and_a_covariance():
    one = CovarianceSummary(torch.tensor([5e6]), torch.tensor([1e-4]))
    given = SmoothedMap.from_mean(
        torch.tensor([[0.9, 0.1]]), n_samples=10**7, stdevs=0.1, trace=torch.tensor([1e-4]), covariance=one
    )
    assert Certifier(bound="spectral").top_k(given, k=1, radius=0.05).overlap.tolist() == [1]


def test_the_radius_of_two_rivals_ends_before_they_cross():
    """The scores .8 and .2 are equal at .84 σ. S2 uses only the displacement, and certifies a third of this."""
    smoothed_map = sampled_map(rivals(h=0.8), rows=20, draws=4000, block=1000, seed=6)
    radius = Certifier(bound="spectral").radius(smoothed_map, k=1, overlap=1)
    assert (radius < 0.5 * 0.8416).all()
    assert (radius > 0.5 * 0.8416 / 3).all()


def test_a_forecast_for_the_present_draws_is_the_certificate(smoothed_map):
    certifier = Certifier(bound="spectral")
    few = certifier.forecast(smoothed_map, k=8, radius=0.05, nt_samples=200)
    many = certifier.forecast(smoothed_map, k=8, radius=0.05, nt_samples=200_000)
    now = certifier.top_k(smoothed_map, k=8, radius=0.05).overlap
    assert torch.equal(certifier.forecast(smoothed_map, k=8, radius=0.05, nt_samples=2000), now)
    assert (few <= now).all()
    assert (now <= many).all()
    assert (few < many).all()


def test_normalized_smooth_grad_is_certified():
    """Draws of norm 1 have small values, so all intervals are too wide, but the whole map moves little."""
    model = mlp(40)
    point = torch.rand(1, 40, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    explainer = NormalizedSmoothGrad(Saliency(model))
    smoothed_map = explainer.sample(point, nt_samples=4096, nt_samples_batch_size=1024, stdevs=0.2, seed=3, target=1)
    radii = [0.0, 0.02, 0.05]
    paper = Certifier(bound="theorem2").top_k_curve(smoothed_map, k=10, radii=radii)
    spectral = Certifier(bound="spectral").top_k_curve(smoothed_map, k=10, radii=radii)
    assert (spectral >= paper).all()
    assert spectral[0, 1] >= 5
    assert spectral[0, 1] > paper[0, 1]
