"""Summaries of rows made by hand: rows are compared only at the same image, radius and number of draws."""

import numpy as np
import pytest
import torch

from captum_certified import FileFormatError
from captum_certified.reproduce import EXPERIMENTS
from captum_certified.reproduce.attacks import mean_and_interval
from captum_certified.reproduce.certified_and_attacked import shared_top
from captum_certified.reproduce.certified_photographs import RADII, TAUS
from captum_certified.reproduce.experiment import number


def certified(image, bound, at_03, *, sigma=0.2, tau=0.1, draws=8192, kind="sparsified", gamma=None, **others):
    """A row of the certificate experiments whose overlaps are 0, except at the radius of the figures."""
    overlaps = {f"overlap_{radius:g}": 0.0 for radius in RADII} | {"overlap_0.03": at_03} | others
    of = {"image": image, "sigma": sigma, "draws": draws, "map": kind, "tau": tau, "gamma": gamma, "bound": bound}
    return {**of, **overlaps}


def summary_of(name, rows):
    """The summary of an experiment from all rows of its parts."""
    return EXPERIMENTS[name].summary(EXPERIMENTS[name].own(rows))


def test_images_without_a_radius_are_counted_separately():
    bounds = [("theorem2", 0.0, 0.1), ("spectral", 0.0, 0.4)]
    rows = [
        certified(image, bound, 0.0, half_radius=radius)
        for bound, *radii in bounds
        for image, radius in zip("ab", radii, strict=True)
    ]
    summary = summary_of("spectral", rows)
    assert summary["median_ratio"] == pytest.approx(4.0)
    assert summary["images_without_a_radius"] == 1


@pytest.mark.parametrize("draws", [2048, 8192])
@pytest.mark.parametrize("kind", ["sparsified", "relaxed"])
def test_the_sweep_is_not_mixed_with_its_peak_or_another_map(kind, draws):
    """At the paper's scale both have 8192 draws, and the peak is a point of the sweep."""
    other = {"sparsified": "relaxed", "relaxed": "sparsified"}[kind]
    bounds = ("theorem2", "clopper_pearson", "empirical_bernstein", "spectral")
    rows = [
        certified(image, bound, value if of == kind else 0.3, sigma=sigma, tau=tau, draws=draws, kind=of)
        for of in (kind, other)
        for bound in bounds
        for sigma in (0.05, 0.2)
        for tau in TAUS
        for image, value in (("a", tau + sigma), ("b", 0.9))
    ]
    rows += [certified(i, bound, v, kind=of) for bound in bounds for i in "ab" for of, v in ((kind, 0.7), (other, 0.1))]
    summary = summary_of(kind, rows)
    assert set(summary) == {"theorem2", "spectral", {"sparsified": "clopper_pearson"}.get(kind, "empirical_bernstein")}
    for of in summary.values():
        assert of["σ = 0.05"] == pytest.approx({f"{tau:g}": tau + 0.05 for tau in TAUS})
        peak = 0.3 if draws == 2048 else 0.7
        assert of["σ = 0.2"] == pytest.approx({f"{tau:g}": peak if tau == 0.1 else tau + 0.2 for tau in TAUS})
        assert of["peak, 8192 draws"] == 0.7


def test_maps_are_named_by_their_parameters_and_maps_of_zeros_and_ones_have_other_intervals():
    rows = [
        certified("a", "theorem2", 0.1),
        certified("a", "clopper_pearson", 0.2),
        certified("a", "theorem2", 0.3, kind="relaxed", gamma=0.01),
        certified("a", "empirical_bernstein", 0.4, kind="relaxed", gamma=0.01),
        certified("a", "theorem2", 0.5, kind="unclipped", gamma=0.0),
        certified("a", "theorem2", 0.6, kind="scaled", tau=None),
    ]
    summary = summary_of("maps", rows)
    assert summary["theorem2"] == {
        "sparsified τ = 0.1": 0.1, "relaxed τ = 0.1, γ = 0.01": 0.3, "unclipped τ = 0.1, γ = 0": 0.5, "scaled": 0.6
    }  # fmt: skip
    assert summary["sharper intervals"] == {"sparsified τ = 0.1": 0.2, "relaxed τ = 0.1, γ = 0.01": 0.4}


def test_overlaps_over_sigma_and_the_largest_overlap_of_any_image():
    """Two images must both reach an overlap to be 60 %; the largest overlap may be at another radius."""
    rows = [
        certified("a", "theorem2", 0.001, kind="quadratic", tau=None, sigma=0.1),
        certified("b", "theorem2", 0.002, kind="quadratic", tau=None, sigma=0.1, **{"overlap_0.01": 0.004}),
        certified("a", "theorem2", 0.0, kind="quadratic", tau=None, sigma=0.5),
        certified("b", "theorem2", 0.003, kind="quadratic", tau=None, sigma=0.5),
        certified("a", "empirical_bernstein", 0.2, kind="scaled", tau=None, sigma=0.5),
        certified("a", "theorem2", 0.9, tau=0.2, sigma=0.5),
    ]
    summary = summary_of("scaled", rows)
    assert summary["theorem2"] == {"quadratic": {"0.1": 0.001, "0.5": 0.0, "any": 0.004}}
    assert summary["sharper intervals"] == {"scaled": {"0.5": 0.2, "any": 0.2}}


def test_a_sweep_without_a_peak_has_no_entry_for_it():
    bounds = ("theorem2", "empirical_bernstein", "spectral")
    rows = [
        certified("a", bound, tau, kind="unclipped", tau=tau, gamma=0.0, draws=2048) for bound in bounds for tau in TAUS
    ]
    summary = summary_of("unclipped", rows)
    assert summary == {bound: {"σ = 0.2": {f"{tau:g}": tau for tau in TAUS}} for bound in bounds}


def test_scaled_smoothgrad_is_the_map_of_figure_12_with_tau_1():
    bounds = ("theorem2", "empirical_bernstein", "spectral")
    rows = [certified("a", bound, 0.2, kind="scaled", tau=None, draws=2048) for bound in bounds]
    rows += [certified("a", bound, 0.3, kind="unclipped", tau=0.5, gamma=0.0, draws=2048) for bound in bounds]
    rows += [certified("a", bound, 0.9, kind="quadratic", tau=None, draws=2048) for bound in bounds]
    assert summary_of("unclipped", rows)["theorem2"] == {"σ = 0.2": {"0.5": 0.3, "1": 0.2}}


def test_cases_are_counted_by_the_larger_bound():
    rows = [
        certified("a", "theorem2", 0.5, **{"overlap_0.01": 0.6}),
        certified("a", "lecuyer", 0.2, **{"overlap_0.01": 0.7}),
        certified("a", "theorem2", 0.1, kind="relaxed"),
    ]
    summary = summary_of("lecuyer", rows)
    assert summary["theorem2"]["0.03"] == 0.5
    assert (summary["cases"], summary["theorem2_larger"], summary["lecuyer_larger"]) == (len(RADII), 1, 1)
    assert summary["both_zero"] == len(RADII) - 2


def test_the_fewest_draws_are_found_image_by_image():
    """Image b has no certificate by Theorem 2, so it has no goal to reach."""
    goals, values = (
        {"a": 0.5, "b": 0.0},
        {512: {"a": 0.4, "b": 0.9}, 1024: {"a": 0.6, "b": 0.9}, 8192: {"a": 1, "b": 1}},
    )
    bounds = ("spectral", "best", "clopper_pearson")
    rows = [certified(i, b, v, draws=n) for b in bounds for n, of in values.items() for i, v in of.items()]
    rows += [certified(i, "theorem2", goals[i] * n / 8192, draws=n) for n in values for i in goals]
    summary = summary_of("draws", rows)
    assert summary["images"] == 1
    assert summary["needed"]["spectral"] == {"a": 1024}
    assert summary["needed"]["theorem2"] == {"a": 8192}
    assert summary["images_that_need_at_most"]["best"] == {"512": 0, "1024": 1, "8192": 1}
    assert summary["reached"]["theorem2"] == {"512": 0.0, "1024": 0.0, "8192": 0.0}


def test_maps_are_compared_image_by_image_without_images_on_which_an_attack_failed():
    kept = {("SmoothGrad", 0): 0.5, ("SmoothGrad", 1): 0.7, ("relaxed", 0): 0.8, ("relaxed", 1): 0.6}
    kept |= {("SmoothGrad", 2): 0.0, ("relaxed", 2): 1.0}
    rows = [
        {"image": i, "radius": 0.5, "map": name, "own": 0.9, "transferred": worst, "worst": worst, "random": 1.0,
         "succeeded": (name, i) != ("relaxed", 2)}
        for (name, i), worst in kept.items()
    ]  # fmt: skip
    summary = EXPERIMENTS["robustness"].summary(rows)
    assert summary["worst"]["relaxed"] == {"0.5": pytest.approx(0.7)}
    assert summary["more_than_smoothgrad"]["SmoothGrad"]["0.5"] == [0, 0, 0]
    assert summary["more_than_smoothgrad"]["relaxed"]["0.5"][0] == pytest.approx(0.1)
    assert summary["attacks_that_succeeded"] == pytest.approx(5 / 6)


def test_the_bootstrap_interval_of_a_mean_is_the_normal_interval_for_many_values():
    values = np.random.default_rng(1).normal(3.0, 1.0, 400).tolist()
    mean, low, high = mean_and_interval(values)
    assert mean == pytest.approx(np.mean(values))
    assert (low, high) == pytest.approx((mean - 1.96 / 20, mean + 1.96 / 20), abs=0.02)


def test_attacks_are_compared_at_every_radius():
    rows = [
        {"image": i, "radius": radius, "attack": name, "overlap": radius + 0.1 * i, "succeeded": True}
        for i in range(2)
        for radius in (0.5, 0.1)
        for name in ("Algorithm 1", "random")
    ]
    summary = EXPERIMENTS["attacks"].summary(rows)
    assert summary["left"]["random"] == pytest.approx({"0.1": 0.15, "0.5": 0.55})
    assert summary["more_than_random"]["Algorithm 1"] == {"0.1": [0, 0, 0], "0.5": [0, 0, 0]}
    assert summary["attacks_that_succeeded"] == 1


def test_a_certificate_is_refuted_by_the_largest_possible_overlap_not_by_the_measured_one():
    bounds = {"theorem2": 0.1, "clopper_pearson": 0.2, "best": 0.5, "spectral": 0.7}
    attacks = {"own": 0.5, "transferred": 0.4, "attacked": 0.4, "possible": 0.6, "remeasured": 0.9}
    rows = [{"image": i, "radius": 0.1, **attacks, **bounds} for i in range(2)]
    summary = EXPERIMENTS["headroom"].summary(rows)
    assert summary["refuted"] == {"theorem2": 0, "clopper_pearson": 0, "best": 0, "spectral": 2}
    assert summary["certified_of_attacked"]["clopper_pearson"] == {"0.1": pytest.approx(0.5)}


def test_certificates_at_small_radii_are_compared_with_the_attack_on_the_same_map_image_and_radius():
    """Image 1 has a failed attack: it is left out of the mean, and its certificates still count."""
    shared = {"map": "relaxed", "radius": 0.01}
    rows = [
        {**shared, "kind": "attack", "image": 0, "worst": 0.5, "succeeded": True},
        {**shared, "kind": "attack", "image": 1, "worst": 1.0, "succeeded": False},
        {**shared, "kind": "certificate", "image": 0, "theorem2": 0.4, "best": 0.6},
        {**shared, "kind": "certificate", "image": 1, "theorem2": 0.2, "best": 0.8},
    ]
    summary = EXPERIMENTS["small-radii"].summary(rows)
    assert summary["attacked"] == {"relaxed": {"0.01": 0.5}}
    assert summary["certified"]["theorem2"]["relaxed"] == {"0.01": pytest.approx(0.3)}
    assert (summary["above"], summary["cases"]) == ({"theorem2": 0, "best": 1}, 2)
    assert summary["attacks_that_succeeded"] == 0.5


def test_the_overlap_of_figure_5_is_over_the_images_whose_attack_succeeded():
    rows = [
        {"explanation": name, "image": i, "overlap": overlap, "succeeded": i < 2, "correct": i == 0}
        for name, overlaps in (("baseline", (0.4, 0.6, 1.0)), ("DDN", (0.5, 0.9, 1.0)))
        for i, overlap in enumerate(overlaps)
    ]
    summary = EXPERIMENTS["ddn"].summary(rows)
    assert summary["baseline"] == {"overlap": pytest.approx(0.5), "images": 2, "accuracy": pytest.approx(1 / 3)}
    assert summary["DDN"]["overlap"] == pytest.approx(0.7)


def test_a_gallery_without_an_attack_compares_maps_with_smoothgrad():
    rows = [
        {"explanation": name, "image": i, "with_smoothgrad": share + 0.1 * i}
        for name, share in (("SmoothGrad", 0.95), ("quadratic", 0.4), ("relaxed", 0.5))
        for i in range(2)
    ]
    shares = {"SmoothGrad": 1.0, "quadratic": 0.45, "relaxed": 0.55}
    assert EXPERIMENTS["small-images"].summary(rows) == pytest.approx(shares)


def test_the_transfer_of_attacks_is_a_table_of_means():
    rows = [
        {"attacked": a, "explained": e, "image": i, "overlap": {"x": 0.2, "y": 0.4}[e] + 0.2 * i, "norm": 1.0 + i}
        for a in ("x", "noise")
        for e in ("x", "y")
        for i in range(2)
    ]
    summary = EXPERIMENTS["transfer"].summary(rows)
    assert summary["overlap"]["noise"] == pytest.approx({"x": 0.3, "y": 0.5})
    assert summary["norm"] == {"x": 1.5, "noise": 1.5}
    assert summary["images"] == 2


def test_smooth_surfaces_are_compared_over_seeds_and_by_the_rank_of_their_eigenvalues():
    """Four networks whose overlap falls with λ_max, except at one radius, where one pair is the other way round."""
    names = ("succeeded", "transferred", "sampled_few", "sampled", "attacked", "ratio", "lipschitz")
    same = dict.fromkeys(names, 1.0)
    rows = [
        {
            **same,
            "network": network,
            "seed": seed,
            "epsilon": epsilon,
            "accuracy": 0.9,
            "eigenvalue": value,
            "overlap": 1 - value,
            "lowest_ratio": 1 + value + epsilon,
            "attacked": value,
        }
        for network, values in {"plain": (0.8, 0.6), "curvature, 2": (0.2, 0.4)}.items()
        for seed, value in enumerate(values)
        for epsilon in (0.1, 0.2)
    ]
    rows[1] = {**rows[1], "overlap": 0.5}
    summary = EXPERIMENTS["geometry"].summary(rows)
    plain = summary["networks"]["plain"]
    assert plain["eigenvalue"] == pytest.approx({"mean": 0.7, "lowest": 0.6, "highest": 0.8})
    assert plain["ε = 0.2"]["overlap"] == pytest.approx({"mean": 0.45, "lowest": 0.4, "highest": 0.5})
    assert summary["rank_correlation"]["ε = 0.1"]["overlap"] == pytest.approx(-1.0)
    assert summary["rank_correlation"]["ε = 0.2"]["overlap"] == pytest.approx(-0.8)
    assert summary["rank_correlation"]["ε = 0.1"]["attacked"] == pytest.approx(1.0)
    assert summary["rank_correlation"]["ε = 0.1"]["transferred"] is None  # the same for all networks
    assert summary["lowest_ratio"] == pytest.approx(1.3)


def test_a_column_of_numbers_holds_nothing_else():
    with pytest.raises(FileFormatError, match="Expected a number in the column overlap, got 'much'"):
        number({"overlap": "much"}, "overlap")


def test_the_largest_possible_overlap_is_that_of_the_kindest_map():
    """Four features, K = 2: every order is possible with few draws, and only the measured order with many draws."""

    class Measured:
        def __init__(self, means, draws):
            self.features, self.n_samples = torch.tensor([means], dtype=torch.float64), torch.tensor([draws])

    members = np.array([[True, True, False, False]])
    assert [float(v[0]) for v in shared_top(members, Measured([0.5, 0.25, 0.75, 0.0], 4), 2)] == [0.5, 1.0]
    assert [float(v[0]) for v in shared_top(members, Measured([0.5, 0.25, 0.75, 0.0], 40000), 2)] == [0.5, 0.5]
