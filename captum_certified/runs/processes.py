"""The processes of a ``torch.distributed`` run, and how they learn of one another's failures."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch.distributed

from captum_certified.exceptions import CaptumCertifiedError

__all__ = ["LostProcessError", "Processes"]

Value = TypeVar("Value")
Item = TypeVar("Item")


class LostProcessError(CaptumCertifiedError):
    """Another process is gone: no fault of the example that was being worked on."""


@dataclass(frozen=True)
class Processes:
    """Some processes that run the same program; by default this one alone.

    Attributes:
        rank: Number of this process.
        size: Number of processes.
    """

    rank: int = 0
    size: int = 1

    @classmethod
    def current(cls) -> "Processes":
        """Those of ``torch.distributed``, if it is initialised; else this one alone."""
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            return cls(torch.distributed.get_rank(), torch.distributed.get_world_size())
        return cls()

    @property
    def is_first(self) -> bool:
        """Whether this process is the one that writes files and prints."""
        return self.rank == 0

    def together(self, step: Callable[[], Value]) -> list[Value]:
        """Run a step in every process, and give all of them what each returned.

        A process whose step fails still takes part in the exchange, so that none waits for it for ever.

        Args:
            step: What to run; its result is sent to the other processes.

        Returns:
            The results, in the order of ranks.

        Raises:
            Exception: What the step raised here.
            CaptumCertifiedError: It raised in another process.
            LostProcessError: Another process has ended.
        """
        if self.size == 1:
            return [step()]
        values: list[Value] = []
        failure = None
        try:
            values.append(step())
        except Exception as error:  # noqa: BLE001  it is raised again below, when the others know
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
            raise LostProcessError(f"Expected all processes to go on, but one is gone: {error}") from error
        return reports
