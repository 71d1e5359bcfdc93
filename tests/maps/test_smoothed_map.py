"""Properties of a smoothed map, and maps that are merged and stacked."""

import dataclasses

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from captum_certified import CovarianceSummary, InvalidInputError, SmoothedMap
from captum_certified.maps.provenance import DrawRange


def draws(rows=2, q=30, n=5, *, seed=0, binary=True):
    values = np.random.default_rng(seed).random((rows, q, n))
    return (values < 0.4).astype(float) if binary else values


def map_of(values, *, first=None, seed=7, **settings):
    """A map of draws of shape (rows, q, n); with ``first`` it knows them as draws of a seed."""
    values = torch.from_numpy(values)
    q = values.shape[1]
    if bool(((values == 0) | (values == 1)).all()):
        made = SmoothedMap.from_counts(values.sum(1).long(), n_samples=q, stdevs=0.2, **settings)
    else:
        made = SmoothedMap.from_mean(
            values.mean(1), n_samples=q, stdevs=0.2, second_moment=values.square().mean(1), **settings
        )
    if first is None:
        return made
    provenance = ((DrawRange(seed, first, first + q),),) * len(values)
    return dataclasses.replace(made, provenance=provenance)


def assert_same_statistics(one, two):
    assert torch.equal(one.n_samples, two.n_samples)
    if one.binary:
        assert torch.equal(one.feature_counts, two.feature_counts)
        assert torch.equal(one.features, two.features)
    else:
        assert_close(one.features, two.features, rtol=1e-13, atol=0)
        assert_close(one.second_moment, two.second_moment, rtol=1e-13, atol=0)
    assert_close(one.trace, two.trace, rtol=1e-11, atol=0)


# -- what was measured ---------------------------------------------------------------------------------------


def test_a_count_map_has_counts_means_and_the_trace_of_its_draws():
    values = draws()
    smoothed_map = map_of(values)
    assert smoothed_map.binary
    assert smoothed_map.counts.dtype == torch.int64
    assert smoothed_map.mean.dtype == torch.float64
    assert torch.equal(smoothed_map.counts, torch.from_numpy(values.sum(1)).long())
    assert_close(smoothed_map.mean, torch.from_numpy(values.mean(1)), rtol=1e-15, atol=0)
    assert_close(smoothed_map.trace, torch.from_numpy(values.var(axis=1, ddof=1).sum(1)), rtol=1e-12, atol=0)
    assert smoothed_map.second_moment is None


def test_a_mean_map_has_moments_and_the_trace_of_its_draws():
    values = draws(binary=False)
    smoothed_map = map_of(values)
    assert not smoothed_map.binary
    assert smoothed_map.counts is None
    assert_close(smoothed_map.trace, torch.from_numpy(values.var(axis=1, ddof=1).sum(1)), rtol=1e-12, atol=0)


def test_the_trace_of_too_little_information_is_none():
    assert SmoothedMap.from_mean(torch.rand(1, 3), n_samples=9, stdevs=0.1).trace is None
    assert SmoothedMap.from_counts(torch.tensor([[1, 0]]), n_samples=1, stdevs=0.1).trace is None
    given = SmoothedMap.from_mean(torch.full((1, 3), 0.5), n_samples=9, stdevs=0.1, trace=torch.tensor([0.5]))
    assert given.trace.tolist() == [0.5]


def test_maps_keep_the_structure_of_the_method_s_output():
    pair = (torch.tensor([[1, 2], [3, 4]]), torch.tensor([[[5]], [[6]]]))
    smoothed_map = SmoothedMap.from_counts(pair, n_samples=10, stdevs=(0.1, 0.2))
    assert smoothed_map.features.tolist() == [[0.1, 0.2, 0.5], [0.3, 0.4, 0.6]]
    assert isinstance(smoothed_map.mean, tuple)
    assert [m.shape for m in smoothed_map.mean] == [m.shape for m in pair]
    assert all(torch.equal(one, two) for one, two in zip(smoothed_map.counts, pair, strict=True))
    assert smoothed_map.stdevs == (0.1, 0.2)


def test_rows_may_have_their_own_numbers_of_draws():
    smoothed_map = SmoothedMap.from_counts(torch.tensor([[5], [5]]), n_samples=torch.tensor([10, 20]), stdevs=0.1)
    assert smoothed_map.features.tolist() == [[0.5], [0.25]]


def test_sigma_is_the_first_positive_standard_deviation():
    one = torch.tensor([[1]])
    assert SmoothedMap.from_counts(one, n_samples=2, stdevs=0.3).sigma == 0.3
    assert SmoothedMap.from_counts((one, one), n_samples=2, stdevs=(0.0, 0.4)).sigma == 0.4
    assert SmoothedMap.from_counts(one, n_samples=2, stdevs=0).sigma == 0.0


def test_maps_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        map_of(draws()).stdevs = 3.0


def test_repr_is_one_readable_line():
    assert repr(map_of(draws())) == "SmoothedMap(0/1 map of 2 × 5 features, 30 draws, stdevs=0.2)"
    assert repr(map_of(draws(binary=False))) == "SmoothedMap(map of 2 × 5 features, 30 draws, stdevs=0.2)"


# -- merge ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("cut", [1, 2, 11, 15, 29])
def test_two_parts_merged_equal_the_whole(binary, cut):
    values = draws(binary=binary)
    one, two = map_of(values[:, :cut], first=0), map_of(values[:, cut:], first=cut)
    whole = map_of(values, first=0)
    for merged in (one.merge(two), two.merge(one)):
        assert_same_statistics(merged, whole)
        assert merged.draws == whole.draws == (((0, 30),), ((0, 30),))
        assert merged.seed == 7


def test_merging_is_associative():
    values = draws(q=60)
    parts = [map_of(values[:, i : i + 20], first=i) for i in (0, 20, 40)]
    left, right = parts[0].merge(parts[1]).merge(parts[2]), parts[0].merge(parts[1].merge(parts[2]))
    assert_same_statistics(left, right)
    assert left.draws == right.draws


def test_a_gap_between_draws_stays_a_gap_until_it_is_filled():
    values = draws(rows=1, q=30)
    first, middle, last = (map_of(values[:, i : i + 10], first=i) for i in (0, 10, 20))
    gapped = first.merge(last)
    assert gapped.draws == (((0, 10), (20, 30)),)
    assert gapped.merge(middle).draws == (((0, 30),),)


def test_draws_of_two_seeds_merge_and_have_no_single_seed():
    merged = map_of(draws(seed=1), first=0, seed=1).merge(map_of(draws(seed=2), first=0, seed=2))
    assert merged.seed is None
    assert merged.draws[0] == ((0, 30), (0, 30))
    assert merged.provenance[0] == (DrawRange(1, 0, 30), DrawRange(2, 0, 30))


@pytest.mark.parametrize(
    ("first", "message"),
    [
        (0, r"Expected maps of distinct draws, got draws 0 to 29 of seed 7 in both\."),
        (29, r"got draws 29 to 29 of seed 7 in both\."),
        (10, r"got draws 10 to 29 of seed 7 in both\."),
    ],
)
def test_draws_in_both_maps_are_refused(first, message):
    with pytest.raises(InvalidInputError, match=message):
        map_of(draws(), first=0).merge(map_of(draws(), first=first))


def test_draws_hidden_in_the_middle_of_a_gap_are_refused():
    values = draws(rows=1)
    gapped = map_of(values[:, :10], first=0).merge(map_of(values[:, :10], first=20))
    with pytest.raises(InvalidInputError, match="got draws 25 to 29 of seed 7"):
        gapped.merge(map_of(values[:, :10], first=25))


def test_overlap_in_one_row_alone_is_refused():
    one, two = map_of(draws(), first=0), map_of(draws(), first=30)
    shared = dataclasses.replace(two, provenance=(two.provenance[0], one.provenance[0]))
    with pytest.raises(InvalidInputError, match="distinct draws"):
        one.merge(shared)


def test_maps_of_unknown_draws_merge_only_with_assume_independent():
    one, known = map_of(draws()), map_of(draws(), first=0)
    for first, second in ((one, one), (one, known), (known, one)):
        with pytest.raises(InvalidInputError, match="whose draws are known, got one made from numbers"):
            first.merge(second)
        merged = first.merge(second, assume_independent=True)
        assert merged.draws is None
        assert merged.n_samples.tolist() == [60, 60]


def test_assume_independent_does_not_allow_shared_draws():
    one = map_of(draws(), first=0)
    with pytest.raises(InvalidInputError, match="distinct draws"):
        one.merge(one, assume_independent=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"stdevs": 0.3}, r"the same stdevs, got 0\.2 and 0\.3"),
        ({"stdevs": (0.2,)}, "the same stdevs"),
        ({"max_squared_norm": 3.0}, "the same max_squared_norm"),
        ({"setup": {"class": "B"}}, "same setup, got class = 'A' and 'B'"),
        ({"setup": {"class": "A", "tau": 0.5}}, "same setup, got tau = None and 0.5"),
        ({"setup": {"class": "A", "inputs": ["x"]}}, "same setup, got inputs"),
        ({"setup": {"class": "A", "target": [1]}}, "same setup, got target"),
    ],
)
def test_other_settings_are_refused(change, message):
    one = dataclasses.replace(map_of(draws(), first=0), setup={"class": "A"})
    two = dataclasses.replace(map_of(draws(), first=30), **{"setup": {"class": "A"}, **change})
    with pytest.raises(InvalidInputError, match=message):
        one.merge(two)


def test_settings_of_the_computation_may_differ():
    setups = [
        {"class": "A", "stochastic": s, "device": d, "versions": {"torch": d}, "nt_samples_batch_size": 3}
        for s, d in ((False, "cpu"), (True, "cuda:0"))
    ]
    plain = map_of(draws()).features
    one, two = (
        dataclasses.replace(map_of(draws(), first=first), setup=setup, plain=plain, probe=plain > 0.5)
        for first, setup in zip((0, 30), setups, strict=True)
    )
    merged = one.merge(two)
    assert merged.setup == {**setups[0], "stochastic": True}


def test_other_shapes_kinds_rows_and_groups_are_refused():
    one = map_of(draws(), first=0)
    with pytest.raises(InvalidInputError, match=r"the same shapes, got \(\(5,\),\) and \(\(6,\),\)"):
        one.merge(map_of(draws(n=6), first=30))
    with pytest.raises(InvalidInputError, match="the same binary, got True and False"):
        one.merge(map_of(draws(binary=False), first=30))
    with pytest.raises(InvalidInputError, match="the same examples, got 2 and 3 rows"):
        one.merge(map_of(draws(rows=3), first=30))
    pair = SmoothedMap.from_counts((torch.tensor([[1, 2, 3, 4, 5]]),), n_samples=9, stdevs=0.2)
    with pytest.raises(InvalidInputError, match="the same shapes"):
        map_of(draws(rows=1)).merge(pair, assume_independent=True)


def test_traces_given_without_moments_merge_exactly():
    values = draws(binary=False)
    traces = [torch.from_numpy(part.var(axis=1, ddof=1).sum(1)) for part in (values[:, :12], values[:, 12:])]
    one, two = (
        SmoothedMap.from_mean(torch.from_numpy(part.mean(1)), n_samples=part.shape[1], stdevs=0.2, trace=trace)
        for part, trace in zip((values[:, :12], values[:, 12:]), traces, strict=True)
    )
    merged = one.merge(two, assume_independent=True)
    assert_close(merged.trace, torch.from_numpy(values.var(axis=1, ddof=1).sum(1)), rtol=1e-12, atol=0)


def test_missing_moments_stay_missing():
    values = draws(binary=False)
    bare = SmoothedMap.from_mean(torch.from_numpy(values.mean(1)), n_samples=30, stdevs=0.2)
    merged = map_of(values).merge(bare, assume_independent=True)
    assert merged.second_moment is None
    assert merged.trace is None


# -- covariance ----------------------------------------------------------------------------------------------


def summary(*pairs, full=True):
    w = torch.tensor(pairs, dtype=torch.float64)
    return CovarianceSummary(w, w + 1, w + 2, w + 3) if full else CovarianceSummary(w, w + 1)


def test_covariance_merges_as_pair_weighted_means():
    # W = 4 with λ = 5, and W = 12 with λ = 13: (4·5 + 12·13)/16 = 11.
    merged = summary(4).merge(summary(12))
    assert merged.pairs.tolist() == [16]
    assert merged.top_eigenvalue.tolist() == [11]
    assert merged.frobenius_norm.tolist() == [12]
    assert merged.fourth_moment.tolist() == [13]


def test_a_covariance_without_norms_merges_into_one_without_norms():
    merged = summary(4).merge(summary(12, full=False))
    assert merged.frobenius_norm is None
    assert merged.fourth_moment is None
    assert merged.top_eigenvalue.tolist() == [11]
    assert set(merged.parts()) == {"pairs", "top_eigenvalue"}


def test_stacking_and_merging_keep_the_covariance():
    one, two = map_of(draws(), covariance=summary(4, 6)), map_of(draws(), covariance=summary(12, 6))
    merged = one.merge(two, assume_independent=True)
    assert merged.covariance.pairs.tolist() == [16, 12]
    assert one.merge(map_of(draws()), assume_independent=True).covariance is None
    assert SmoothedMap.stack([one, two]).covariance.pairs.tolist() == [4, 6, 12, 6]
    assert SmoothedMap.stack([one, map_of(draws())]).covariance is None


def test_merging_a_single_draw_keeps_the_covariance():
    values = draws(rows=1, q=9)
    many, one = map_of(values[:, :8], first=0, covariance=summary(4.0)), map_of(values[:, 8:], first=8)
    for merged in (many.merge(one), one.merge(many)):
        assert merged.covariance is many.covariance
        assert merged.n_samples.tolist() == [9]
    two = map_of(draws(rows=1, q=2), first=9)
    assert many.merge(two).covariance is None
    assert two.merge(many).covariance is None


def test_malformed_covariance_is_refused():
    with pytest.raises(InvalidInputError, match="both or neither"):
        CovarianceSummary(torch.ones(1), torch.ones(1), frobenius_norm=torch.ones(1))
    with pytest.raises(InvalidInputError, match=r"Expected `top_eigenvalue` of shape \(N,\) like `pairs`"):
        CovarianceSummary(torch.ones(2), torch.ones(3))
    with pytest.raises(InvalidInputError, match="Expected `covariance` of 2 rows, got 1"):
        map_of(draws(), covariance=summary(4))


# -- stack ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("binary", [True, False])
def test_rows_stacked_equal_the_batch(binary):
    values = draws(rows=4, binary=binary)
    stacked = SmoothedMap.stack([map_of(values[i : i + 1], first=0) for i in range(4)])
    whole = map_of(values, first=0)
    assert len(stacked) == 4
    assert_same_statistics(stacked, whole)
    assert stacked.draws == whole.draws


def test_stacked_rows_keep_their_inputs_and_targets():
    one, two = (
        dataclasses.replace(map_of(draws(rows=1), first=0), setup={"class": "A", "inputs": [i], "target": [t]})
        for i, t in (("x", 1), ("y", 2))
    )
    object.__setattr__(one, "setup", {**one.setup, "stochastic": False})
    object.__setattr__(two, "setup", {**two.setup, "stochastic": False})
    assert SmoothedMap.stack([one, two]).setup == {
        "class": "A",
        "inputs": ["x", "y"],
        "target": [1, 2],
        "stochastic": False,
    }


def test_stacking_refuses_other_explanations():
    one = dataclasses.replace(map_of(draws(), first=0), setup={"class": "A"})
    other = dataclasses.replace(one, setup={"class": "B"})
    with pytest.raises(InvalidInputError, match="same setup"):
        SmoothedMap.stack([one, other])
    with pytest.raises(InvalidInputError, match="same stdevs"):
        SmoothedMap.stack([one, dataclasses.replace(one, stdevs=1.0)])
    with pytest.raises(InvalidInputError, match="the same shapes"):
        SmoothedMap.stack([one, map_of(draws(n=6))])
    with pytest.raises(InvalidInputError, match="at least one map"):
        SmoothedMap.stack([])


# -- made from numbers ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("counts", "settings", "message"),
    [
        (torch.tensor([[1.0]]), {}, "Expected `counts` of an integer dtype, got torch.float32"),
        (torch.tensor([[True]]), {}, "Expected `counts` of an integer dtype, got torch.bool"),
        (torch.tensor([[11]]), {}, r"Expected `counts` between 0 and `n_samples`, got 11 to 11"),
        (torch.tensor([[-1]]), {}, r"Expected `counts` between 0 and `n_samples`, got -1 to -1"),
        (torch.tensor(1), {}, "Expected `counts` to be a tensor with the batch first"),
        ([[1]], {}, "Expected `counts` to be a tensor with the batch first"),
        ((), {}, "Expected `counts` to be a tensor with the batch first"),
        ((torch.tensor([[1]]), torch.tensor([[1], [1]])), {}, r"Expected `counts` with one batch size >= 1"),
        (torch.zeros(0, 3, dtype=torch.int64), {}, r"Expected `counts` with one batch size >= 1"),
        (torch.tensor([[1]]), {"n_samples": 0}, r"Expected `n_samples` >= 1"),
        (torch.tensor([[1]]), {"n_samples": 2.0}, r"Expected `n_samples` >= 1"),
        (torch.tensor([[1]]), {"n_samples": torch.tensor([5, 5])}, r"Expected `n_samples` >= 1"),
        (torch.tensor([[1]]), {"stdevs": -0.1}, r"Expected `stdevs` to be a finite number >= 0, got -0\.1"),
        (torch.tensor([[1]]), {"stdevs": float("nan")}, r"Expected `stdevs` to be a finite number >= 0, got nan"),
        (torch.tensor([[1]]), {"max_squared_norm": 0}, r"Expected `max_squared_norm` to be a finite number > 0, got 0"),
    ],
)
def test_malformed_counts_are_refused(counts, settings, message):
    with pytest.raises(InvalidInputError, match=message):
        SmoothedMap.from_counts(counts, **{"n_samples": 10, "stdevs": 0.1, **settings})


@pytest.mark.parametrize(
    ("mean", "settings", "message"),
    [
        (torch.tensor([[float("nan")]]), {}, "Expected `mean` to be finite"),
        (torch.tensor([[float("inf")]]), {}, "Expected `mean` to be finite"),
        (torch.tensor([[0.5]]), {"second_moment": torch.tensor([[0.2]])}, "Expected `second_moment` in the shape"),
        (torch.tensor([[0.5]]), {"second_moment": torch.tensor([[0.3, 0.3]])}, "Expected `second_moment` in the shape"),
        (
            torch.tensor([[0.5, -0.25]]),
            {},
            r"Expected `mean` of draws in \[0, 1\], got means from -0\.25 to 0\.5; take mag",
        ),
        (
            torch.tensor([[5.0, 3.0]]),
            {"max_squared_norm": 40.0},
            r"in \[0, 1\], got means from 3 to 5; take magnitudes of",
        ),
        (
            torch.tensor([[0.5]]),
            {"second_moment": torch.tensor([[6.5]])},
            r"got 6\.5 beside a mean of 0\.5; take magnitude",
        ),
        (
            torch.tensor([[0.5]]),
            {"second_moment": torch.tensor([[0.6]])},
            "Expected `second_moment` at most `mean`, as of",
        ),
        (
            torch.tensor([[0.5]]),
            {"trace": torch.tensor([6.25])},
            r"Expected `trace` at most \[0\.277.*\], as of draws in",
        ),
        (torch.tensor([[0.5]]), {"trace": torch.tensor([float("inf")])}, r"Expected `trace` >= 0 of shape \(1,\)"),
        (
            torch.tensor([[0.5]]),
            {"trace": torch.tensor([0.1]), "second_moment": torch.tensor([[0.5]])},
            r"Expected `trace` to be that of `second_moment`, \[0\.277",
        ),
        (
            torch.tensor([[0.5, 0.5]]),
            {"covariance": CovarianceSummary(torch.tensor([4.0]), torch.tensor([6.25]))},
            r"`top_eigenvalue` of at most 1, as of 2 features in \[0, 1\], got \[6\.25\]; take magnitudes",
        ),
        (torch.tensor([[0.5]]), {"trace": torch.tensor([-1.0])}, r"Expected `trace` >= 0 of shape \(1,\)"),
        (torch.tensor([[0.5]]), {"trace": torch.tensor([1.0, 1.0])}, r"Expected `trace` >= 0 of shape \(1,\)"),
        (torch.tensor([[0.5]]), {"stdevs": (0.1, "1")}, "Expected `stdevs` to be a finite number"),
    ],
)
def test_malformed_means_are_refused(mean, settings, message):
    with pytest.raises(InvalidInputError, match=message):
        SmoothedMap.from_mean(mean, **{"n_samples": 10, "stdevs": 0.1, **settings})


def test_draws_of_minus_2_and_3_are_refused_unless_only_their_mean_is_given():
    draws = np.random.default_rng(0).choice([-2.0, 3.0], size=(1, 1000, 2))
    mean = torch.from_numpy(draws.mean(1))
    extras = {
        "second_moment": torch.from_numpy((draws**2).mean(1)),
        "trace": torch.from_numpy(draws.var(1, ddof=1).sum(1)),
        "covariance": CovarianceSummary(torch.tensor([500.0]), torch.tensor([6.25])),
    }
    for name, value in extras.items():
        for norm in (None, 18.0):
            with pytest.raises(InvalidInputError, match="take magnitudes of signed draws, and divide every draw by"):
                SmoothedMap.from_mean(mean, n_samples=1000, stdevs=1.0, max_squared_norm=norm, **{name: value})
    # The means alone are those of draws in [0, 1] too, so the docstring says who is responsible for the draws.
    assert "it remains your task to make sure that all draws lie in [0, 1]" in SmoothedMap.from_mean.__doc__
    assert not SmoothedMap.from_mean(mean, n_samples=1000, stdevs=1.0).binary


def test_means_just_outside_the_unit_interval_are_clamped():
    made = SmoothedMap.from_mean(torch.tensor([[1 + 2e-16, -1e-17]], dtype=torch.float64), n_samples=9, stdevs=0.1)
    assert made.features.tolist() == [[1.0, 0.0]]


@pytest.mark.parametrize("draws", [2, 3, 7, 100, 999])
def test_a_forecast_has_no_more_ones_than_a_draw_can_have(draws):
    """Every row holds two ones a draw; counts rounded one by one would add up to more, or to less."""
    counts = torch.tensor([[37, 37, 37, 37, 37, 15], [64, 64, 64, 3, 3, 2], [100, 100, 0, 0, 0, 0]])
    smoothed_map = SmoothedMap.from_counts(counts, n_samples=100, stdevs=0.2, max_squared_norm=2.0)
    forecast = smoothed_map.as_if_of(draws).feature_counts
    exact = smoothed_map.features * draws
    assert bool((forecast.sum(dim=1) <= 2 * draws).all())
    assert bool(((forecast - exact).abs() < 1).all())
    fits = exact.round().sum(dim=1) <= 2 * draws
    assert torch.equal(forecast[fits], exact.round().long()[fits])


def test_a_forecast_of_means_above_the_norm_is_only_rounded():
    """No draws have such means, but the caller may have given too small a norm."""
    counts = torch.full((1, 6), 60)
    smoothed_map = SmoothedMap.from_counts(counts, n_samples=100, stdevs=0.2, max_squared_norm=2.0)
    assert smoothed_map.as_if_of(50).feature_counts.tolist() == [[30] * 6]
