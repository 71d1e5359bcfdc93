"""The cost of the covariance compared with sampling, and the cost of a spectral certificate compared with a sort.

Run alone: ``OMP_NUM_THREADS=1 pytest -m benchmark -n 0 -s tests/benchmarks``.
"""

import sys

import numpy as np
import pytest
import torch
from captum.attr import Saliency
from ratios import seconds, speed

from captum_certified import SparsifiedSmoothGrad
from captum_certified.sampling import block_draws
from captum_certified.sampling.block_covariance import BlockCovariance
from captum_certified.theory import exchange_costs, spectral_overlap

pytestmark = pytest.mark.benchmark

N_FEATURES = 3 * 224 * 224
BLOCK = block_draws(binary=True)


def mobilenet(folder):
    sys.path.insert(0, str(folder))
    from models import load

    sys.path.remove(str(folder))
    return load("mobilenet_v1_075")


def test_sampling_with_covariance_is_within_a_fifth_of_sampling_without(shared_data):
    """Time the two parts of the covariance separately, because short runs cannot fill a block of 2048 draws.

    Keeping draws is timed by the ratio protocol. Reducing a full block is compared with the time of its draws.
    """
    image = torch.rand((1, 3, 224, 224), generator=torch.Generator().manual_seed(0))
    explainer = SparsifiedSmoothGrad(Saliency(mobilenet(shared_data)), tau=0.1)
    settings = {"stdevs": 0.2, "seed": 0, "target": "argmax", "nt_samples_batch_size": 8, "check_rows": False}

    def sample(covariance, draws=8):
        return explainer.sample(image, nt_samples=draws, covariance=covariance, **settings)

    sample(True)
    ratio = speed(lambda: sample(True), lambda: sample(False))
    per_draw = min(seconds(lambda: sample(False, 16)) for _ in range(3)) / 17
    reduction = min(seconds(reduce_one_block) for _ in range(2))
    share = reduction / (per_draw * BLOCK)
    print(f"\nwithout / with, 8 draws a run: {ratio}; reducing a block of {BLOCK}: {reduction:.2f} s, {share:.1%} of")
    print(f"the {per_draw * 1e3:.1f} ms a draw that sampling takes; together {1 / ratio.median + share - 1:.1%} more")
    assert 1 / ratio.high + share <= 1.2


def reduce_one_block():
    """Reduce a full block of the size of a photograph, from bits to λ̂, F̂ and κ̂."""
    kept = BlockCovariance(1, N_FEATURES, binary=True, block=BLOCK, device=torch.device("cpu"))
    kept.store.random_(0, 256, generator=torch.Generator().manual_seed(0))
    kept.filled = BLOCK
    kept.finish_block()
    assert kept.summary is not None


def test_a_radius_costs_less_than_forty_sorts():
    mean = np.random.default_rng(0).random(N_FEATURES) ** 2
    k, budgets = N_FEATURES // 5, np.linspace(0.1, 100, 6)
    certify = min(seconds(lambda: spectral_overlap(mean, k, budgets)) for _ in range(20)) / len(budgets)
    alone = min(seconds(lambda: spectral_overlap(mean, k, budgets[:1])) for _ in range(20))
    sort = min(seconds(lambda: np.sort(mean)) for _ in range(20))
    costs = min(seconds(lambda: exchange_costs(mean, k, np.arange(1, k))) for _ in range(2))
    print(f"\none radius of six {certify / sort:.2f} sorts, one alone {alone / sort:.2f}, all E_m {costs / sort:.0f}")
    assert alone < 40 * sort
