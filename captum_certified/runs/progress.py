"""Progress of a run in draws, with the overlap certified so far."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from captum_certified._captum import describe_progress, progress_bar
from captum_certified.certify.forecast import Forecast
from captum_certified.certify.written_numbers import floored_percent

__all__ = ["RunProgress", "run_progress"]


class RunProgress:
    """Counts draws and overlaps.

    Args:
        bar: A progress bar over all draws.
        nt_samples: Draws of one example.
        show: Whether anything is shown.
    """

    def __init__(self, bar: Any, nt_samples: int, *, show: bool) -> None:
        self.bar = bar
        self.show = show
        self.begun = time.perf_counter()
        self.nt_samples = nt_samples
        self.drawn = 0
        self.total = 0.0
        self.certified = 0

    def add(self, draws: int) -> None:
        """More draws of the present example."""
        self.drawn += draws
        self.bar.update(draws)

    def reach(self, draws: int) -> None:
        """The present example has so many draws, whoever made them."""
        self.add(max(draws - self.drawn, 0))

    def expect(self, name: str, overlap_fraction: Callable[[], float], draws: int) -> None:
        """Say on stderr what the first block of an example promises.

        Args:
            name: The example.
            overlap_fraction: Computes the overlap to expect in the end.
            draws: Draws of the block.
        """
        if self.show:
            share = overlap_fraction()
            left = (self.nt_samples - draws) * (time.perf_counter() - self.begun) / draws
            forecast = Forecast(
                draws=draws, most_draws=self.nt_samples, least=share, most=share, seconds_left=left, at_most=True
            )
            sys.stderr.write(f"{name}: {forecast}\n")

    def finish(self, overlap_fraction: float | None) -> None:
        """The present example is done; ``None`` if nothing could be certified."""
        self.reach(self.nt_samples)
        self.drawn = 0
        self.begun = time.perf_counter()
        if overlap_fraction is not None:
            self.total += overlap_fraction
            self.certified += 1
            describe_progress(self.bar, f"mean certified overlap {floored_percent(self.total / self.certified)}%")


@contextmanager
def run_progress(*, examples: int | None, nt_samples: int, show: bool) -> Iterator[RunProgress]:
    """Progress over so many examples, or over nobody knows how many."""
    total = None if examples is None else examples * nt_samples
    with progress_bar(total=total, description="certifying", show=show) as bar:
        yield RunProgress(bar, nt_samples, show=show)
