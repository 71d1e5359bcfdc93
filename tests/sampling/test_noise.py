"""The noise is a function of seed, draw and tensor only."""

import numpy as np
import pytest
import torch
from scipy.stats import kstest

from captum_certified.randomness import derived_seed, fresh_seed
from captum_certified.sampling import make_noise
from captum_certified.sampling.background_thread import BackgroundThread

CPU = torch.device("cpu")
SMALL = [[-0.467596, 0.43052], [1.014898, 1.040928], [0.03503, -1.490563]]
LARGE = [0.64559, -0.48203]
DIGIT = [0.09398, 1.40545]


def noise(shape, *, seed=0, draws=range(1), tensor=0, dtype=torch.float32, law="gaussian"):
    return make_noise(shape, seed=seed, draws=draws, tensor=tensor, dtype=dtype, device=CPU, law=law)


@pytest.mark.parametrize("law", ["gaussian", "uniform"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("pass_size", [1, 7, 64, 100])
@pytest.mark.parametrize("shape", [(3, 5), (1, 28, 28), (3, 64, 64), (40_000,)])
def test_a_draw_does_not_depend_on_the_pass_it_is_made_in(law, dtype, pass_size, shape):
    """Chunks of these shapes have 64, 64, 4 and 1 draws."""
    whole = noise(shape, seed=9, draws=range(150), dtype=dtype, law=law)
    parts = [
        noise(shape, seed=9, draws=range(start, min(start + pass_size, 150)), dtype=dtype, law=law)
        for start in range(0, 150, pass_size)
    ]
    assert torch.equal(torch.cat(parts), whole)
    assert torch.equal(noise(shape, seed=9, draws=range(71, 90), dtype=dtype, law=law), whole[71:90])


@pytest.mark.parametrize("shape", [(3, 5), (40_000,)])
def test_noise_shared_with_another_thread_is_the_same(shape):
    with BackgroundThread(CPU) as thread:
        shared = make_noise(
            shape, seed=9, draws=range(5, 140), tensor=0, dtype=torch.float32, device=CPU, run_jobs=thread.run_jobs
        )
    assert torch.equal(shared, noise(shape, seed=9, draws=range(5, 140)))


def test_the_noise_of_a_seed_is_fixed_for_good():
    """Stored maps keep the seed, so its noise must be the same in every release."""
    small = noise((2,), seed=7, draws=range(63, 66), tensor=1, dtype=torch.float64)
    large = noise((40_000,), seed=7, draws=range(3, 4))[0, :2]
    assert [[round(value, 6) for value in row] for row in small.tolist()] == SMALL
    digit = noise((1, 28, 28), seed=7, draws=range(100, 101))[0, 0, 0, :2]
    assert [round(value, 5) for value in large.tolist()] == LARGE
    assert [round(value, 5) for value in digit.tolist()] == DIGIT


def test_a_draw_is_made_of_its_number_not_of_its_place_in_the_pass():
    assert torch.equal(noise((4,), draws=range(17, 18)), noise((4,), draws=range(10, 20))[7:8])


def test_the_first_thousand_draws_of_ten_seeds_are_pairwise_different():
    rows = torch.cat([noise((8,), seed=seed, draws=range(1000)) for seed in range(10)]).numpy()
    assert len(np.unique(rows, axis=0)) == 10_000
    # Not even a single number is shared between any two draws at the same place, beyond what 24 bits make likely.
    shared = [10_000 - len(np.unique(column)) for column in rows.T]
    assert max(shared) < 100


def test_seeds_draws_and_tensors_never_add_up_to_each_other():
    # A generator seeded with seed + draw (+ tensor) would repeat itself here.
    made = [
        noise((16,), seed=seed, draws=range(draw, draw + 1), tensor=tensor)[0]
        for seed in range(4)
        for draw in range(4)
        for tensor in range(3)
    ]
    assert len(torch.stack(made).unique(dim=0)) == len(made)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gaussian_noise_is_standard_normal(dtype):
    sample = noise((1000,), seed=3, draws=range(200), dtype=dtype).double().flatten().numpy()
    assert kstest(sample, "norm").pvalue > 1e-6
    # The mean of 200 000 draws has standard deviation .0022, their variance .0032: five of each.
    assert abs(sample.mean()) < 5 * 0.00224
    assert abs(sample.var() - 1) < 5 * 0.00316


def test_uniform_noise_has_unit_variance_on_its_interval():
    sample = noise((1000,), seed=3, draws=range(200), law="uniform").double().flatten().numpy()
    assert kstest(sample, "uniform", args=(-(3**0.5), 2 * 3**0.5)).pvalue > 1e-6
    assert np.abs(sample).max() <= 3**0.5 + 1e-6


def test_draws_are_uncorrelated_with_their_neighbours_seeds_and_tensors():
    one = noise((2000,), seed=0, draws=range(50))
    for other in (
        noise((2000,), seed=0, draws=range(1, 51)),
        noise((2000,), seed=1, draws=range(50)),
        noise((2000,), seed=0, draws=range(50), tensor=1),
    ):
        # 100 000 products of independent normals: their mean has standard deviation .0032.
        assert abs(float((one * other).mean())) < 5 * 0.0032


def test_noise_leaves_the_global_generators_alone():
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    noise((10,), draws=range(10))
    derived_seed(0, 1)
    fresh_seed()
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])  # noqa: NPY002


def test_large_seeds_are_not_cut():
    assert not torch.equal(noise((4,), seed=5), noise((4,), seed=5 + 2**32))
    assert not torch.equal(noise((4,), seed=5), noise((4,), seed=5 + 2**53))


def test_fresh_seeds_differ_and_survive_json():
    seeds = {fresh_seed() for _ in range(1000)}
    assert len(seeds) == 1000
    assert all(0 <= seed < 2**53 and int(float(seed)) == seed for seed in seeds)


def test_seeds_for_methods_are_distinct_and_fixed():
    assert derived_seed(1, 2) == derived_seed(1, 2)
    assert len({derived_seed(seed, draw) for seed in range(30) for draw in range(30)}) == 900
