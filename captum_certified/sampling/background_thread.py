"""A second thread, which makes noise and updates statistics while the model runs in the caller's thread."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Protocol, TypeVar

import torch

__all__ = ["BackgroundThread", "JobRunner", "run_in_order"]

Item = TypeVar("Item")
Result = TypeVar("Result")


class JobRunner(Protocol):
    """A function that runs independent jobs, in one thread or in several."""

    def __call__(self, jobs: Sequence[Callable[[], Result]], /) -> list[Result]:
        """Run the jobs, and return their results in the order of the jobs."""


def run_in_order(jobs: Sequence[Callable[[], Result]]) -> list[Result]:
    """Run independent jobs one after the other."""
    return [job() for job in jobs]


class BackgroundThread:
    """A second thread that runs pieces of work one after another, beside the caller's thread.

    For tensors on an accelerator, all work runs in the caller's thread. A second thread would gain little there,
    because a call to an accelerator returns as soon as its work is queued. The two threads could also use different
    streams, and work in different streams runs in no fixed order.

    Args:
        device: Device of the tensors.
    """

    def __init__(self, device: torch.device) -> None:
        self._thread = ThreadPoolExecutor(1, "captum_certified") if device.type == "cpu" else None

    def __enter__(self) -> "BackgroundThread":
        return self

    def __exit__(self, *_: object) -> None:
        if self._thread is not None:
            self._thread.shutdown(cancel_futures=True)

    def start(self, work: Callable[[], Result]) -> "Future[Result]":
        """Start a piece of work, and return a future of its result."""
        if self._thread is not None:
            return self._thread.submit(work)
        done: Future[Result] = Future()
        done.set_result(work())
        return done

    def run_jobs(self, jobs: Sequence[Callable[[], Result]]) -> list[Result]:
        """Run independent jobs in both threads and return their results in order.

        The caller's thread runs every job that the second thread has not started.
        """
        if self._thread is None:
            return run_in_order(jobs)
        remaining = deque(enumerate(jobs))
        results: dict[int, Result] = {}

        def run_remaining() -> None:
            while True:
                try:
                    position, job = remaining.popleft()
                except IndexError:
                    return
                results[position] = job()

        second_thread = self.start(run_remaining)
        run_remaining()
        if not second_thread.cancel():
            second_thread.result()
        return [results[position] for position in range(len(jobs))]

    def prepare_ahead(self, make: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[tuple[Item, Result]]:
        """Yield each item with ``make(item)``, and make the next result while the caller uses the current one.

        The caller's thread makes the first result, so that ``make`` can use both threads for this result.
        """
        coming = iter(items)
        following, future = next(coming, None), None
        while following is not None:
            item, following = following, next(coming, None)
            result = make(item) if future is None else future.result()
            future = None if following is None else self.start(partial(make, following))
            yield item, result
