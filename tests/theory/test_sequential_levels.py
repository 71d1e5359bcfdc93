"""The levels of looks, and their numbers of draws."""

import itertools
from fractions import Fraction

import pytest

from captum_certified.theory import look_level, look_sizes


def test_the_first_levels_by_hand():
    assert [look_level(0.05, look) for look in (1, 2, 3, 4)] == pytest.approx(
        [0.025, 0.05 / 6, 0.05 / 12, 0.0025], rel=1e-15
    )


@pytest.mark.parametrize("looks", [1, 2, 5, 30, 1000])
def test_levels_add_up_to_their_telescoping_sum(looks):
    spent = sum(Fraction(1, round(1 / look_level(1.0, look))) for look in range(1, looks + 1))
    assert spent == 1 - Fraction(1, looks + 1)
    for alpha in (0.001, 0.05, 0.5):
        levels = [look_level(alpha, look) for look in range(1, looks + 1)]
        assert all(one > two > 0 for one, two in itertools.pairwise(levels))
        assert sum(levels) < alpha


@pytest.mark.parametrize(
    ("block", "most", "sizes"),
    [
        (2048, 8192, [2048, 4096, 8192]),
        (2048, 8191, [2048, 4096, 8191]),
        (2048, 8193, [2048, 4096, 8193]),
        (2048, 8194, [2048, 4096, 8192, 8194]),
        (1024, 3000, [1024, 2048, 3000]),
        (2048, 2048, [2048]),
        (2048, 2049, [2049]),
        (2048, 100, [100]),
        (2, 2, [2]),
        (64, 1000, [64, 128, 256, 512, 1000]),
    ],
)
def test_looks_double_and_end_at_the_cap(block, most, sizes):
    assert look_sizes(block, most) == sizes


@pytest.mark.parametrize("block", [2, 3, 64, 1000, 2048])
def test_looks_fall_on_block_ends_and_never_add_a_single_draw(block):
    for most in (2, 3, 10, 63, 64, 65, 66, 1999, 2001, 5000):
        sizes = look_sizes(block, most)
        assert sizes[-1] == most
        assert all(size % block == 0 for size in sizes[:-1])
        assert all(after - before >= 2 for before, after in itertools.pairwise([0, *sizes]))


def test_no_look_is_one_draw_before_the_last():
    assert [look_sizes(4, most) for most in (3, 4, 5, 6, 8, 9, 10)] == [
        [3], [4], [5], [4, 6], [4, 8], [4, 9], [4, 8, 10],
    ]  # fmt: skip
