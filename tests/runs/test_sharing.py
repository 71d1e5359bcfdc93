"""Every example and every block is sampled once, whatever the number of shards and processes."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captum_certified import InvalidInputError
from captum_certified.runs.processes import belongs_to, checked_shard, number_in_part, rounds
from captum_certified.sampling import SamplingPlan


def blocks_of(nt_samples, block):
    plan = SamplingPlan(seed=0, first_draw=0, n_samples=nt_samples, pass_size=8, block=block, stdevs=(0.1,))
    return list(plan.blocks())


@given(st.integers(1, 5000), st.integers(2, 700), st.integers(1, 9), st.integers(0, 20))
def test_rounds_contain_every_remaining_block_once_and_in_order(nt_samples, block, processes, finished):
    blocks = blocks_of(nt_samples, block)
    done = blocks[min(finished, len(blocks)) - 1].stop if finished else 0
    shared = list(rounds(blocks, done=done, processes=processes))
    assert [part for some in shared for part in some] == [part for part in blocks if part.start >= done]
    assert all(1 <= len(some) <= processes for some in shared)
    assert all(len(some) == processes for some in shared[:-1])


@given(st.integers(0, 200), st.integers(1, 9))
def test_parts_contain_every_example_once(total, parts):
    owners = [[part for part in range(parts) if belongs_to(position, part, parts)] for position in range(total)]
    assert all(len(of_one) == 1 for of_one in owners)
    sizes = [number_in_part(total, part, parts) for part in range(parts)]
    assert sizes == [owners.count([part]) for part in range(parts)]
    assert max(sizes) - min(sizes) <= 1


def test_shards_count_from_one():
    assert checked_shard(None) == (0, 1)
    assert [checked_shard((part, 3)) for part in (1, 2, 3)] == [(0, 3), (1, 3), (2, 3)]


@pytest.mark.parametrize(
    ("shard", "message"),
    [
        ((0, 3), "(I, N) with I from 1 to N, got (0, 3)"),
        ((4, 3), "(I, N) with I from 1 to N, got (4, 3)"),
        ((1, 2, 3), "a pair of integers (I, N), got (1, 2, 3)"),
        ((1.0, 2), "a pair of integers"),
        ("1/2", "a pair of integers"),
    ],
)
def test_invalid_shards_are_refused(shard, message):
    with pytest.raises(InvalidInputError, match=re.escape(message)):
        checked_shard(shard)
