"""A thread beside the model's: it makes the next noise and counts the last draws while the model runs."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

import torch

__all__ = ["BackgroundThread", "Share", "in_turn"]

Item = TypeVar("Item")
Result = TypeVar("Result")

# Runs independent jobs, by whatever threads there are for them, and returns their results in order.
Share = Callable[[Sequence[Callable[[], Any]]], list[Any]]


def in_turn(jobs: Sequence[Callable[[], Result]]) -> list[Result]:
    """Run independent jobs one after the other."""
    return [job() for job in jobs]


class BackgroundThread:
    """Runs work in order beside the caller's, or at once where that would not be safe.

    What an accelerator is asked to do is ordered by streams, which belong to threads; there the work is only queued
    anyway, so nothing is won by a thread.

    Args:
        device: Where the tensors of the work are.
    """

    def __init__(self, device: torch.device) -> None:
        self._thread = ThreadPoolExecutor(1, "captum_certified") if device.type == "cpu" else None

    def __enter__(self) -> "BackgroundThread":
        return self

    def __exit__(self, *_: object) -> None:
        if self._thread is not None:
            self._thread.shutdown(cancel_futures=True)

    def start(self, work: Callable[[], Result]) -> "Future[Result]":
        """Start work; its errors come with its result."""
        if self._thread is not None:
            return self._thread.submit(work)
        done: Future[Result] = Future()
        done.set_result(work())
        return done

    def share(self, jobs: Sequence[Callable[[], Result]]) -> list[Result]:
        """Run independent jobs here and beside; what the thread has no time for is run here.

        Args:
            jobs: The jobs.

        Returns:
            Their results, in order.
        """
        if self._thread is None:
            return in_turn(jobs)
        remaining = deque(enumerate(jobs))
        results: dict[int, Result] = {}

        def run_what_remains() -> None:
            while True:
                try:
                    position, job = remaining.popleft()
                except IndexError:
                    return
                results[position] = job()

        beside = self.start(run_what_remains)
        run_what_remains()
        if not beside.cancel():
            beside.result()
        return [results[position] for position in range(len(jobs))]

    def one_ahead(self, make: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[tuple[Item, Result]]:
        """Items with what is made of them; the next is in the making while the caller uses the last.

        The first is made here, where ``make`` can share its work: there is nothing to use yet.
        """
        coming = iter(items)
        following, future = next(coming, None), None
        while following is not None:
            item, following = following, next(coming, None)
            result = make(item) if future is None else future.result()
            future = None if following is None else self.start(partial(make, following))
            yield item, result
