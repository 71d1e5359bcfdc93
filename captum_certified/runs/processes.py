"""The processes of a ``torch.distributed`` run, and the exchange of the values and failures of their steps."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch.distributed

from captum_certified.exceptions import CaptumCertifiedError, InvalidInputError

__all__ = ["LostProcessError", "Processes", "belongs_to", "checked_shard", "number_in_part", "rounds"]

Value = TypeVar("Value")
Item = TypeVar("Item")


class LostProcessError(CaptumCertifiedError):
    """Another process has ended. The example that was being certified is not the cause."""


@dataclass(frozen=True)
class Processes:
    """The processes that work on the same run; by default this process alone.

    Attributes:
        rank: Number of this process.
        size: Number of processes.
    """

    rank: int = 0
    size: int = 1

    @classmethod
    def current(cls) -> "Processes":
        """Return the processes of ``torch.distributed`` if it is initialised, else this process alone."""
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            return cls(torch.distributed.get_rank(), torch.distributed.get_world_size())
        return cls()

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes files and prints."""
        return self.rank == 0

    def together(self, step: Callable[[], Value]) -> list[Value]:
        """Run a step in every process, and return the values of all processes in the order of ranks.

        A process whose step fails still takes part in the exchange, so that the other processes do not wait for ever.

        Raises:
            Exception: The step failed in this process.
            CaptumCertifiedError: The step failed in another process.
            LostProcessError: Another process has ended.
        """
        if self.size == 1:
            return [step()]
        values: list[Value] = []
        failure = None
        try:
            values.append(step())
        except Exception as error:  # noqa: BLE001  raised again below, after the other processes know it
            failure = error
        text = None if failure is None else f"{type(failure).__name__}: {failure}"
        try:
            reports = self._exchanged((values, text))
        except LostProcessError:
            if failure is not None:
                raise failure from None
            raise
        if failure is not None:
            raise failure
        for rank, (_, text) in enumerate(reports):
            if text is not None:
                raise CaptumCertifiedError(f"Expected all processes to succeed, but process {rank} failed: {text}")
        return [value for values, _ in reports for value in values]

    def _exchanged(self, report: Item) -> list[Item]:
        reports = [report] * self.size
        try:
            torch.distributed.all_gather_object(reports, report)
        except RuntimeError as error:
            raise LostProcessError(f"Expected all processes to go on, but one has ended: {error}") from error
        return reports


def checked_shard(shard: tuple[int, int] | None) -> tuple[int, int]:
    """Convert part I of N, with I from 1, to (I − 1, N). ``None`` means (0, 1), one part with all examples.

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
    """Return whether an example is in a part. A part has every ``parts``-th example, from position ``part`` on."""
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
