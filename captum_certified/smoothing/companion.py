"""A thread beside the model's: it makes the next noise and counts the last draws while the model runs."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch

__all__ = ["Companion"]

Item = TypeVar("Item")
Result = TypeVar("Result")


class Companion:
    """Runs work in order beside the caller's, or at once where that would not be safe.

    What an accelerator is asked to do is ordered by streams, which belong to threads; there the work is only queued
    anyway, so nothing is won by a thread.

    Args:
        device: Where the tensors of the work are.
    """

    def __init__(self, device: torch.device) -> None:
        self._thread = ThreadPoolExecutor(1, "captum_certified") if device.type == "cpu" else None

    def __enter__(self) -> "Companion":
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

    def one_ahead(self, make: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[tuple[Item, Result]]:
        """Items with what is made of them; the next is in the making while the caller uses the last."""
        waiting: tuple[Item, Future[Result]] | None = None
        for item in items:
            started = self.start(lambda item=item: make(item))  # type: ignore[misc]
            if waiting is not None:
                yield waiting[0], waiting[1].result()
            waiting = item, started
        if waiting is not None:
            yield waiting[0], waiting[1].result()
