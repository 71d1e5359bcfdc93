"""How examples are shared by shards and processes, and blocks of draws by processes."""

from collections.abc import Iterator, Sequence

from captum_certified.exceptions import InvalidInputError

__all__ = ["belongs_to", "checked_shard", "number_in_part", "rounds"]


def checked_shard(shard: tuple[int, int] | None) -> tuple[int, int]:
    """Return part I of N, with I from 1, as (I − 1, N). ``None`` is a single part with all examples.

    Raises:
        InvalidInputError: ``shard`` is not a pair (I, N) of integers with I from 1 to N.
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
    """Return whether an example is in a part, which has every ``parts``-th example, beginning with number ``part``."""
    return position % parts == part


def number_in_part(total: int, part: int, parts: int) -> int:
    """Return the number of examples in a part of ``total`` examples."""
    return len(range(part, total, parts))


def rounds(blocks: Sequence[range], *, done: int, processes: int) -> Iterator[list[range]]:
    """Yield the remaining blocks in rounds of at most one block for each process, in the order of their draws.

    Args:
        blocks: Consecutive ranges of draws.
        done: Number of draws that are already made.
        processes: Number of processes.
    """
    left = [block for block in blocks if block.start >= done]
    for first in range(0, len(left), processes):
        yield left[first : first + processes]
