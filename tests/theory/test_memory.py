"""Memory for certificates of millions of features is a small multiple of what they return."""

import tracemalloc

import numpy as np

from captum_certified.theory.intervals import clopper_pearson_interval
from captum_certified.theory.rank import ranks_from_bounds

N = 2**21


def peak_bytes_a_feature(compute):
    tracemalloc.start()
    try:
        compute()
        return tracemalloc.get_traced_memory()[1] / N
    finally:
        tracemalloc.stop()


def test_intervals_of_counts():
    counts = np.random.default_rng(0).binomial(100, 0.3, (1, N))
    assert peak_bytes_a_feature(lambda: clopper_pearson_interval(counts, 100, tail=0.01)) < 56  # two ends take 16


def test_intervals_agree_with_those_of_few_features():
    counts = np.arange(11)[None]
    many = np.tile(counts, 20)
    for few, end in zip(
        clopper_pearson_interval(counts, 10, tail=0.01), clopper_pearson_interval(many, 10, tail=0.01), strict=True
    ):
        assert np.array_equal(np.tile(few, 20), end)


def test_ranks():
    lower = np.random.default_rng(0).random((1, N))
    ranks = []
    assert peak_bytes_a_feature(lambda: ranks.append(ranks_from_bounds(lower, lower))) < 56  # the ranks take 8
    assert np.array_equal(np.sort(ranks[0][0]), np.arange(1, N + 1))
