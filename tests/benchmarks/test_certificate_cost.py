"""The cost of certificates of image-sized maps, measured in sorts of the maps' means.

Run alone: ``OMP_NUM_THREADS=1 pytest -m benchmark -n 0 -s tests/benchmarks``.
"""

import sys

import numpy as np
import pytest
import torch
from ratios import speed

from captum_certified import Certifier, SmoothedMap

FEATURES, DRAWS, SORTS = 150_528, 8192, 60

RNG = np.random.default_rng(0)
COUNTS = torch.from_numpy(RNG.binomial(DRAWS, RNG.beta(0.5, 4.5, (1, FEATURES))))
MEANS = COUNTS[0].numpy() / DRAWS

CERTIFICATES = {
    "top_k": lambda m: Certifier().top_k(m, k=0.2, radius=0.03),
    "top_k without violations": lambda m: Certifier(violations=0).top_k(m, k=0.2, radius=0.03),
    "top_k of the paper": lambda m: Certifier(bound="theorem2").top_k(m, k=0.2, radius=0.03),
    "top_k of fresh draws": lambda m: Certifier().top_k(m, k=0.2, radius=0.03, fresh_draws=DRAWS),
    "radius": lambda m: Certifier().radius(m, k=0.2, overlap=0.5),
    "rank": lambda m: Certifier().rank(m, radius=0.03),
    "median_rank": lambda m: Certifier().median_rank(m, radius=0.03),
    "selection": lambda m: Certifier().selection(m, radius=0.03),
}


def fresh_map() -> SmoothedMap:
    """Return a map that has no cached results yet."""
    return SmoothedMap.from_counts(COUNTS, n_samples=DRAWS, stdevs=0.2, max_squared_norm=15_053.0)


@pytest.mark.benchmark
@pytest.mark.parametrize("name", list(CERTIFICATES))
def test_a_certificate_costs_less_than_sixty_sorts(name):
    make = CERTIFICATES[name]
    maps = iter([fresh_map() for _ in range(21)])
    make(next(maps))
    cost = speed(lambda: np.sort(MEANS), lambda: make(next(maps)), pairs=20)
    print(f"\n  {name}: {cost} sorts of {FEATURES} means", file=sys.stderr)
    assert cost.median < SORTS


@pytest.mark.benchmark
def test_a_certificate_of_means_costs_less_than_sixty_sorts():
    """Means that are not counts cannot share intervals."""

    def make():
        mean = torch.from_numpy(MEANS)[None] + 1e-6
        return Certifier().top_k(SmoothedMap.from_mean(mean, n_samples=DRAWS, stdevs=0.2), k=0.2, radius=0.03)

    make()
    cost = speed(lambda: np.sort(MEANS), make, pairs=10)
    print(f"\n  top_k of means: {cost} sorts of {FEATURES} means", file=sys.stderr)
    assert cost.median < SORTS
