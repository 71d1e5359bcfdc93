"""Certifier.radius agrees with Certifier.top_k, and curves agree with single certificates."""

import itertools

import ensembles
import numpy as np
import pytest
import torch
from contract import of_any_draws
from scipy.special import ndtri

from captum_certified import CertificationError, Certifier, InvalidInputError, SmoothedMap
from captum_certified.certify.bounds.registry import BOUNDS

RNG = np.random.default_rng(0)
COUNTS = torch.from_numpy(RNG.binomial(4000, RNG.beta(0.3, 1.0, (4, 60))))
DRAWS = torch.tensor([4000, 8000, 4000, 5000])
MAP = SmoothedMap.from_counts(COUNTS, n_samples=DRAWS, stdevs=0.25)
GRADED = SmoothedMap.from_mean(MAP.mean, n_samples=DRAWS, stdevs=0.25, second_moment=0.7 * MAP.mean + 0.3 * MAP.mean**2)
MAPS = {"counts": MAP, "means": GRADED}
# From the sharpest to the widest, for counts.
ORDERED = ("clopper_pearson", "kl", "hoeffding", "theorem2")


def applicable():
    return [(b, m) for m, smoothed_map in MAPS.items() for b in BOUNDS if BOUNDS[b].refusal(smoothed_map) is None]


each = pytest.mark.parametrize(("bound", "kind"), applicable())


@each
@pytest.mark.parametrize("violations", [0, 2, "auto"])
@pytest.mark.parametrize(("k", "overlap"), [(1, 1), (20, 1), (20, 12), (20, 20), (45, 30), (45, 31), (0.5, 0.5)])
def test_the_overlap_is_certified_at_its_radius_and_not_beyond(bound, kind, violations, k, overlap):
    smoothed_map = MAPS[kind]
    if violations == 2 and k == 1:
        violations = 1
    certifier = Certifier(bound=bound, violations=violations)
    radii = certifier.radius(smoothed_map, k=k, overlap=overlap)
    assert radii.dtype == torch.float64
    assert radii.shape == (4,)
    count, wanted = (30, 15) if k == 0.5 else (k, overlap)
    for row, radius in enumerate(radii.tolist()):

        def certified(at, row=row):
            return int(certifier.top_k(smoothed_map, k=k, radius=at).overlap[row])

        if radius == np.inf:
            assert certified(1e9) >= wanted
        elif radius > 0:
            assert certified(radius) >= wanted
            assert certified(radius * 1.001) < wanted
        else:
            assert certified(0.0) < wanted
        if bound != "theorem2":
            assert (radius == np.inf) == (wanted <= 2 * count - 60)
        else:
            assert (radius == np.inf) == (wanted < 2 * count - 60)


def test_radii_that_are_zero_finite_and_infinite_all_occur():
    radii = torch.cat([Certifier().radius(MAP, k=k, overlap=o) for k, o in ((45, 1), (20, 5), (30, 30))])
    assert bool((radii == np.inf).any())
    assert bool(((radii > 0) & (radii < 1)).any())
    assert bool((radii == 0).any())


@pytest.mark.parametrize("bound", ["hoeffding", "clopper_pearson", "kl", "empirical_bernstein"])
def test_all_features_always_stay_among_all_features(bound):
    assert Certifier(bound=bound).radius(MAP, k=60, overlap=60).tolist() == [np.inf] * 4
    assert Certifier(bound=bound, violations=60).radius(MAP, k=60, overlap=60).tolist() == [np.inf] * 4


def test_theorem_2_never_certifies_the_whole_top_set():
    assert Certifier(bound="theorem2").radius(MAP, k=20, overlap=20).tolist() == [0.0] * 4


def test_violations_raise_the_level_and_cost_features():
    for lost in (1, 5):
        loose = Certifier(violations=lost).radius(MAP, k=20, overlap=20 - lost + 1)
        assert loose.tolist() == [0.0] * 4
    # Two violations triple the level of the intervals, as a confidence of 1 − 3α does, and cost two features.
    three = Certifier(confidence=0.85, violations=0).radius(MAP, k=20, overlap=10)
    torch.testing.assert_close(
        Certifier(confidence=0.95, violations=2).radius(MAP, k=20, overlap=8), three, rtol=1e-9, atol=0
    )
    assert bool((Certifier(violations=0).radius(MAP, k=20, overlap=10) <= three).all())


def test_the_radius_is_measured_in_the_units_of_the_input():
    double = SmoothedMap.from_counts(COUNTS, n_samples=DRAWS, stdevs=0.5)
    one, two = (Certifier().radius(m, k=20, overlap=10) for m in (MAP, double))
    torch.testing.assert_close(two, 2 * one, rtol=1e-14, atol=0)


def test_the_radius_approaches_the_distance_at_which_two_rivals_are_equal():
    exact = ensembles.rivals(h=0.8)
    draws = 10**8
    counts = torch.tensor([[round(0.8 * draws), round(0.2 * draws)]])
    smoothed_map = SmoothedMap.from_counts(counts, n_samples=draws, stdevs=exact.sigma)
    (radius,) = Certifier().radius(smoothed_map, k=1, overlap=1).tolist()
    crossing = exact.sigma * float(ndtri(0.8))
    assert crossing * 0.999 < radius < crossing


@each
@pytest.mark.parametrize("violations", [0, 3, "auto"])
@pytest.mark.parametrize("k", [3, 20, 50, 60])
def test_the_curve_is_the_certificate_at_every_radius(bound, kind, violations, k):
    smoothed_map = MAPS[kind]
    certifier = Certifier(bound=bound, violations=violations)
    # The overlap changes at these radii.
    edges = torch.cat([certifier.radius(smoothed_map, k=k, overlap=o) for o in (1, (k + 1) // 2, k)])
    radii = [0.0, 0.003, 0.05, 0.3, 4.0, *edges[(edges > 0) & (edges < 9)].tolist()]
    curve = certifier.top_k_curve(smoothed_map, k=k, radii=radii)
    assert curve.shape == (4, len(radii))
    for column, radius in enumerate(radii):
        assert torch.equal(curve[:, column], certifier.top_k(smoothed_map, k=k, radius=radius).overlap)


def test_the_bounds_are_ordered_on_counts():
    radii = [0.0, 0.002, 0.01, 0.05, 0.2]
    for k in (1, 20, 40):
        curves = [Certifier(bound=b, violations=0).top_k_curve(MAP, k=k, radii=radii) for b in ORDERED]
        assert all(bool((sharp >= wide).all()) for sharp, wide in itertools.pairwise(curves))
        # Without a covariance the best bound is the sharpest interval bound.
        assert torch.equal(Certifier(violations=0).top_k_curve(MAP, k=k, radii=radii), curves[0])
        graded = {b: Certifier(bound=b, violations=0).top_k_curve(GRADED, k=k, radii=radii) for b in ("best", "kl")}
        assert torch.equal(graded["best"], graded["kl"])


@pytest.mark.parametrize("overlap", [0, -1, 21, True, 1.5, 0.0, float("nan"), "all", None])
def test_invalid_overlaps_are_refused(overlap):
    with pytest.raises(InvalidInputError, match=r"Expected `overlap` to be a number of features from 1 to 20, or a f"):
        Certifier().radius(MAP, k=20, overlap=overlap)


def test_bounds_that_need_more_than_the_map_holds_are_refused():
    plain = SmoothedMap.from_mean(torch.rand(1, 5), n_samples=100, stdevs=0.1)
    with pytest.raises(CertificationError, match=r"Expected a map with `second_moment`, got one without; `bound`='emp"):
        Certifier(bound="empirical_bernstein").radius(plain, k=2, overlap=1)
    with pytest.raises(CertificationError, match=r"Expected a map of zeros and ones with counts, got one of means"):
        Certifier(bound="clopper_pearson").radius(plain, k=2, overlap=1)


@pytest.mark.parametrize("second", [0.6, 5.0])
def test_draws_that_cannot_all_lie_in_the_unit_interval_are_refused(second):
    """f² ≤ f on [0, 1], so a second moment above the mean proves that some draws lie outside."""
    mean = torch.tensor([[0.5, 0.2]])
    outside = of_any_draws(
        mean, n_samples=10**6, stdevs=0.2, second_moment=torch.tensor([[second, 0.2]], dtype=torch.float64)
    )
    with pytest.raises(CertificationError, match=r"Expected a map with values in \[0, 1\]"):
        Certifier(bound="kl").top_k(outside, k=1, radius=0.0)
