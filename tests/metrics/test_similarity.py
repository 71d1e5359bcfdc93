"""Similarities and distances of two maps, compared with SciPy and brute force, in limit cases, and their errors."""

import numpy as np
import pytest
import torch
from scipy import ndimage, spatial, stats
from torch.testing import assert_close

from captum_certified import (
    cosine_similarity,
    kendall_tau,
    local_lipschitz,
    mass_center_distance,
    spearman_rank,
    top_k_intersection,
)

MEASURES = {
    "top_k": lambda a, b: top_k_intersection(a, b, k=0.3),
    "kendall": kendall_tau,
    "spearman": spearman_rank,
    "cosine": cosine_similarity,
    "mass_center": mass_center_distance,
    "lipschitz": lambda a, b: local_lipschitz(a, b, torch.zeros(len(a), 1), torch.ones(len(b), 1)),
}
OF_SEVERAL_TENSORS = ("top_k", "kendall", "spearman", "cosine")
EQUAL = {"top_k": 1, "kendall": 1, "spearman": 1, "cosine": 1, "mass_center": 0, "lipschitz": 0}
DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.int64]

measures = pytest.mark.parametrize("name", list(MEASURES))


def maps(*shape, seed=0, ties=False):
    """Return maps with signs; ``ties`` gives them few different values."""
    values = torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (2 * values).round() if ties else values


def doubles(*values):
    return torch.tensor(values, dtype=torch.float64)


# -- against independent references --------------------------------------------------------------------------


def brute_top_k(row, count):
    return set(sorted(range(len(row)), key=lambda i: (-abs(row[i]), i))[:count])


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize(("k", "count"), [(1, 1), (7, 7), (24, 24), (0.25, 6), (0.01, 1), (1.0, 24)])
def test_top_k_is_the_intersection_of_sets_by_value_then_index(k, count, ties):
    a, b = maps(20, 2, 12, ties=ties), maps(20, 2, 12, seed=1, ties=ties)
    expected = [
        len(brute_top_k(one.tolist(), count) & brute_top_k(two.tolist(), count)) / count
        for one, two in zip(a.flatten(1), b.flatten(1), strict=True)
    ]
    assert_close(top_k_intersection(a, b, k=k), doubles(*expected), rtol=0, atol=0)


def test_fractions_of_features_round_as_everywhere():
    a = torch.arange(100.0, 0.0, -1.0)[None]
    b = torch.cat([a[:, :6], torch.zeros(1, 1), a[:, 7:]], dim=1)
    # The count is 7, not 8: six of the first seven features stay.
    assert_close(top_k_intersection(a, b, k=0.07), doubles(6 / 7), rtol=0, atol=0)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize(
    ("measure", "reference"),
    [(kendall_tau, stats.kendalltau), (spearman_rank, stats.spearmanr)],
    ids=["kendall", "spearman"],
)
def test_rank_correlations_agree_with_scipy(measure, reference, ties):
    a, b = maps(10, 3, 4, 4, ties=ties), maps(10, 3, 4, 4, seed=1, ties=ties)
    b[5:] = a[5:] + (0.3 * b[5:]).round()
    expected = [
        reference(one.numpy(), two.numpy()).statistic for one, two in zip(a.flatten(1), b.flatten(1), strict=True)
    ]
    assert_close(measure(a, b), doubles(*expected), rtol=1e-12, atol=1e-12)


def test_cosine_agrees_with_scipy():
    a, b = maps(10, 3, 4), maps(10, 3, 4, seed=1)
    expected = [
        1 - spatial.distance.cosine(one, two)
        for one, two in zip(a.flatten(1).numpy(), b.flatten(1).numpy(), strict=True)
    ]
    assert_close(cosine_similarity(a, b), doubles(*expected), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("shape", [(7,), (5, 6), (3, 5, 6), (2, 3, 4, 5)], ids=["L", "HW", "CHW", "CDHW"])
def test_centres_of_mass_agree_with_scipy(shape):
    a, b = maps(4, *shape), maps(4, *shape, seed=1)

    def center(row):
        magnitudes = row.abs().sum(dim=0) if len(shape) >= 3 else row.abs()
        return np.array(ndimage.center_of_mass(magnitudes.numpy()))

    expected = [np.linalg.norm(center(one) - center(two)) for one, two in zip(a, b, strict=True)]
    assert_close(mass_center_distance(a, b), doubles(*expected), rtol=1e-12, atol=1e-12)


def test_lipschitz_is_a_ratio_of_norms_over_all_tensors():
    a, b = (maps(3, 4), maps(3, 2, 2, seed=1)), (maps(3, 4, seed=2), maps(3, 2, 2, seed=3))
    x, y = (maps(3, 5, seed=4), maps(3, 1, seed=5)), (maps(3, 5, seed=6), maps(3, 1, seed=7))

    def distance(ones, others):
        return sum(((one - other) ** 2).flatten(1).sum(1) for one, other in zip(ones, others, strict=True)).sqrt()

    assert_close(local_lipschitz(a, b, x, y), distance(a, b) / distance(x, y), rtol=1e-12, atol=0)


@pytest.mark.parametrize("name", OF_SEVERAL_TENSORS)
def test_the_tensors_of_a_tuple_are_one_map(name):
    a, b = maps(4, 12), maps(4, 12, seed=1)
    parts_a, parts_b = ((m[:, :8].reshape(4, 2, 4), m[:, 8:]) for m in (a, b))
    assert torch.equal(MEASURES[name](parts_a, parts_b), MEASURES[name](a, b))


# -- all measures --------------------------------------------------------------------------------------------


@measures
def test_equal_maps(name):
    a = maps(5, 2, 4, 4)
    assert_close(MEASURES[name](a, a.clone()), torch.full((5,), float(EQUAL[name]), dtype=torch.float64))


@measures
def test_each_row_is_measured_alone(name):
    a, b = maps(5, 2, 4, 4), maps(5, 2, 4, 4, seed=1)
    alone = torch.cat([MEASURES[name](a[i : i + 1], b[i : i + 1]) for i in range(5)])
    assert_close(MEASURES[name](a, b), alone, rtol=1e-14, atol=1e-14)


@measures
def test_measures_are_symmetric(name):
    a, b = maps(5, 2, 4, 4, ties=True), maps(5, 2, 4, 4, seed=1, ties=True)
    assert_close(MEASURES[name](a, b), MEASURES[name](b, a), rtol=1e-14, atol=1e-14)


@measures
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_dtype_is_measured_in_double_precision(name, dtype):
    a, b = (10 * maps(3, 2, 4, 4)).to(dtype), (10 * maps(3, 2, 4, 4, seed=1)).to(dtype)
    assert torch.equal(MEASURES[name](a, b), MEASURES[name](a.double(), b.double()))


@measures
def test_maps_that_require_gradients_are_left_as_they_are(name):
    a, b = maps(2, 2, 4, 4).requires_grad_(), maps(2, 2, 4, 4, seed=1).transpose(2, 3)
    assert not MEASURES[name](a, b).requires_grad
    assert a.requires_grad
    assert a.grad is None


@measures
@pytest.mark.parametrize("factor", [1e-200, 1e200])
def test_tiny_and_huge_maps_stay_in_range(name, factor):
    a, b = maps(3, 2, 4, 4), maps(3, 2, 4, 4, seed=1)
    scale = factor if name == "lipschitz" else 1.0
    assert_close(MEASURES[name](factor * a, factor * b), scale * MEASURES[name](a, b), rtol=1e-12, atol=0)


# -- limit cases ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["kendall", "spearman"])
def test_constant_maps(name):
    constant, other, rising = torch.full((1, 6), 2.0), torch.full((1, 6), -1.0), torch.arange(6.0)[None]
    measured = [MEASURES[name](*pair) for pair in [(constant, other), (constant, rising), (rising, constant)]]
    assert_close(torch.cat(measured), doubles(1, 0, 0), rtol=0, atol=0)
    assert_close(MEASURES[name](rising, -rising), doubles(-1))


@pytest.mark.parametrize("name", ["kendall", "spearman"])
def test_maps_of_one_entry_are_constant(name):
    assert MEASURES[name](torch.tensor([[1.0]]), torch.tensor([[-3.0]])).tolist() == [1.0]


def test_cosine_of_zero_maps():
    zero, one = torch.zeros(1, 3), torch.ones(1, 3)
    assert [float(cosine_similarity(*pair)) for pair in [(zero, zero), (zero, one), (one, zero)]] == [1.0, 0.0, 0.0]
    assert [float(cosine_similarity(*pair)) for pair in [(one, one), (one, -one)]] == [1.0, -1.0]


def test_top_sets_of_zeros_are_filled_up_by_index():
    zero, last = torch.zeros(1, 4), torch.tensor([[0.0, 0.0, 0.0, 1.0]])
    measured = [top_k_intersection(zero, zero, k=2), top_k_intersection(zero, last, k=2)]
    assert_close(torch.cat(measured), doubles(1, 0.5), rtol=0, atol=0)


def test_the_center_of_mass_of_an_all_zero_map_is_its_geometric_center():
    corner = torch.zeros(1, 3, 7, 9)
    corner[0, 1, 0, 0] = -2.0
    assert_close(mass_center_distance(torch.zeros(1, 3, 7, 9), corner), doubles(5.0))


def test_lipschitz_of_equal_inputs():
    a, b, x = torch.tensor([[1.0], [1.0]]), torch.tensor([[1.0], [2.0]]), torch.ones(2, 3)
    assert local_lipschitz(a, b, x, x.clone()).tolist() == [0.0, float("inf")]


# -- refusals ------------------------------------------------------------------------------------------------


@measures
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("place", ["a", "b"])
def test_maps_that_are_not_finite(name, value, place):
    pair = {"a": maps(2, 3, 4, 4), "b": maps(2, 3, 4, 4)}
    pair[place][1, 2, 3, 0] = value
    with pytest.raises(ValueError, match=f"Expected `{place}` to be finite, got NaN or infinity"):
        MEASURES[name](**pair)


@measures
@pytest.mark.parametrize("shape", [(2, 3, 4), (2, 3, 4, 5), (1, 3, 4, 4)], ids=["dimensions", "sizes", "batch"])
def test_maps_of_different_shapes(name, shape):
    with pytest.raises(ValueError, match=r"Expected `b` of the shapes of `a`, \[\(2, 3, 4, 4\)\], got \[\("):
        MEASURES[name](maps(2, 3, 4, 4), maps(*shape))


@measures
def test_other_types_than_maps_are_refused(name):
    good = maps(2, 3, 4, 4)
    with pytest.raises(ValueError, match="Expected `b` to be a tensor with the batch first or a tuple of them, got 'a"):
        MEASURES[name](good, "ab")
    with pytest.raises(ValueError, match="Expected `a` to be a tensor with the batch first or a tuple of them, got 'a"):
        MEASURES[name]("ab", good)
    with pytest.raises(ValueError, match=r"Expected `a` of real numbers, got \[torch\.complex128\]"):
        MEASURES[name](good.to(torch.complex128), good)
    with pytest.raises(ValueError, match=r"Expected `a` with at least one entry, got \[\(2, 3, 0, 4\)\]"):
        MEASURES[name](good[:, :, :0], good[:, :, :0])
    with pytest.raises(ValueError, match=r"Expected `a` with one batch size >= 1, got \[0\]"):
        MEASURES[name](good[:0], good[:0])


@pytest.mark.parametrize("name", OF_SEVERAL_TENSORS)
def test_tuples_of_different_batch_sizes(name):
    pair = (maps(2, 3), maps(3, 3))
    with pytest.raises(ValueError, match=r"Expected `a` with one batch size >= 1, got \[2, 3\]"):
        MEASURES[name](pair, pair)


@pytest.mark.parametrize("k", [0, 25, -1, 0.0, 1.5, float("nan"), True, "all", None])
def test_top_sets_out_of_range(k):
    a = maps(2, 2, 12)
    with pytest.raises(ValueError, match="Expected `k` to be a number of features from 1 to 24, or a fraction of them"):
        top_k_intersection(a, a, k=k)


@pytest.mark.parametrize("given", [(maps(2, 3), maps(2, 3)), maps(2)], ids=["tuple", "no positions"])
def test_maps_without_common_positions(given):
    with pytest.raises(ValueError, match=r"Expected `a` to be one tensor of shape \(N, positions\), got \[\(2,"):
        mass_center_distance(given, given)
    assert mass_center_distance((maps(2, 3),), (maps(2, 3),)).tolist() == [0.0, 0.0]


def test_inputs_that_do_not_fit_together():
    a, x = maps(2, 3), maps(2, 5)
    with pytest.raises(
        ValueError, match=r"Expected `inputs_b` of the shapes of `inputs_a`, \[\(2, 5\)\], got \[\(2, 4"
    ):
        local_lipschitz(a, a, x, x[:, :4])
    with pytest.raises(ValueError, match=r"Expected `inputs_a` with the batch size of `a`, 2, got \[\(1, 5\)\]"):
        local_lipschitz(a, a, x[:1], x[:1])
    with pytest.raises(ValueError, match="Expected `inputs_b` to be finite"):
        local_lipschitz(a, a, x, x / 0)
