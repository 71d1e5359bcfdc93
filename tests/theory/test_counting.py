"""Fractions, and the top set with ties."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from captum_certified.theory import fraction_to_count, top_k_mask


@pytest.mark.parametrize(
    ("fraction", "total", "count"),
    [
        (0.07, 100, 7),  # .07 · 100 = 7.000000000000001 in floating point
        (0.29, 100, 29),  # 28.999999999999996
        (0.1, 150528, 15053),  # 15052.8
        (0.2, 150528, 30106),  # 30105.6
        (0.005, 1000, 5),
        (1.0, 7, 7),
        (0.0, 7, 0),
        (0.5, 7, 4),
        (1e-6, 7, 1),
    ],
)
def test_fractions_round_up_after_floating_point_errors_are_removed(fraction, total, count):
    assert fraction_to_count(fraction, total) == count


def test_every_percent_of_every_size_rounds_as_exact_arithmetic_does():
    for total in range(1, 400):
        for percent in range(101):
            assert fraction_to_count(percent / 100, total) == math.ceil(Fraction(percent * total, 100))


def literal_top_k(row, k):
    """Return the members by value and then by index, and how many of them only the index placed."""
    order = sorted(range(len(row)), key=lambda i: (-row[i], i))
    inside, outside = order[:k], order[k:]
    left_out = {row[i] for i in outside}
    return [i in inside for i in range(len(row))], sum(row[i] in left_out for i in inside)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.data())
def test_top_k_is_the_literal_loop_with_ties(data):
    n = data.draw(st.integers(1, 12))
    rows = data.draw(st.lists(st.lists(st.integers(0, 4), min_size=n, max_size=n), min_size=1, max_size=3))
    k = data.draw(st.integers(1, n))
    mask, placed = top_k_mask(np.array(rows, dtype=np.float64), k)
    expected = [literal_top_k(row, k) for row in rows]
    assert mask.tolist() == [members for members, _ in expected]
    assert placed.tolist() == [by_index for _, by_index in expected]


def test_top_k_of_float32_magnitudes_with_many_zeros():
    values = np.maximum(np.random.default_rng(0).standard_normal((5, 200)).astype(np.float32), 0)
    for k in (1, 50, 120, 200):
        mask, _ = top_k_mask(values, k)
        assert mask.tolist() == [literal_top_k(row.tolist(), k)[0] for row in values]
