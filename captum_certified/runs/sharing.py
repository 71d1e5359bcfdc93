"""Who samples what: examples over shards and processes, blocks of draws over processes. Arithmetic alone."""

from collections.abc import Iterator, Sequence

from captum_certified.exceptions import InvalidInputError

__all__ = ["belongs_to", "checked_shard", "counted", "rounds"]


def checked_shard(shard: tuple[int, int] | None) -> tuple[int, int]:
    """(I, N), part I of N with I from 1, as (I − 1, N); everything for ``None``.

    Raises:
        InvalidInputError: It is not such a pair.
    """
    if shard is None:
        return 0, 1
    pair = tuple(shard) if isinstance(shard, (tuple, list)) else ()
    if len(pair) != 2 or not all(isinstance(n, int) and not isinstance(n, bool) for n in pair):
        raise InvalidInputError(f"Expected `shard` to be a pair of integers (I, N), got {shard!r}.")
    part, parts = pair
    if not 1 <= part <= parts:
        raise InvalidInputError(f"Expected `shard` (I, N) with I from 1 to N, got {pair}.")
    return part - 1, parts


def belongs_to(position: int, part: int, parts: int) -> bool:
    """Whether an example is in a part: each has every ``parts``-th example, beginning with number ``part``."""
    return position % parts == part


def counted(total: int, part: int, parts: int) -> int:
    """How many of ``total`` examples are in a part."""
    return len(range(part, total, parts))


def rounds(blocks: Sequence[range], *, done: int, processes: int) -> Iterator[list[range]]:
    """The blocks that are left, in the order of their draws, at most one for each process at a time.

    Args:
        blocks: Consecutive ranges of draws.
        done: The number after the last draw that is there.
        processes: Number of processes.

    Yields:
        The blocks of one round, that of process 0 first.
    """
    left = [block for block in blocks if block.start >= done]
    for first in range(0, len(left), processes):
        yield left[first : first + processes]
