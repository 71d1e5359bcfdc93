"""The progress of a run: the number of draws, and the mean of the overlaps certified so far."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from captum_certified._captum import describe_progress, progress_bar
from captum_certified.certify.forecast import Forecast
from captum_certified.certify.written_numbers import floored_percent
from captum_certified.sampling import PassSize

__all__ = ["RunProgress", "run_progress"]


class RunProgress:
    """Shows the number of draws and the mean certified overlap.

    Args:
        bar: The progress bar over all draws.
        nt_samples: Number of draws of one example.
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
        self.told_size: int | None = None

    def add(self, draws: int) -> None:
        """Count more draws of the present example."""
        self.drawn += draws
        self.bar.update(draws)

    def reach(self, draws: int) -> None:
        """Set the number of draws of the present example, including draws of other processes and earlier runs."""
        self.add(max(draws - self.drawn, 0))

    def tell_passes(self, name: str, size: PassSize) -> None:
        """Write the number of draws in a pass to stderr if the free memory decided it. Write each number only once."""
        if self.show and size.by_memory and size.draws != self.told_size:
            self.told_size = size.draws
            sys.stderr.write(f"{name}: {size}\n")

    def expect(self, name: str, overlap_fraction: Callable[[], float], draws: int) -> None:
        """Write a forecast from the first ``draws`` draws of an example to stderr.

        ``overlap_fraction`` computes the overlap to expect from all draws. It is called only if progress is shown.
        """
        if self.show:
            share = overlap_fraction()
            left = (self.nt_samples - draws) * (time.perf_counter() - self.begun) / draws
            forecast = Forecast(
                draws=draws, most_draws=self.nt_samples, least=share, most=share, seconds_left=left, at_most=True
            )
            sys.stderr.write(f"{name}: {forecast}\n")

    def finish(self, overlap_fraction: float | None) -> None:
        """Finish the present example. ``overlap_fraction`` is ``None`` if the example failed."""
        self.reach(self.nt_samples)
        self.drawn = 0
        self.begun = time.perf_counter()
        if overlap_fraction is not None:
            self.total += overlap_fraction
            self.certified += 1
            describe_progress(self.bar, f"mean certified overlap {floored_percent(self.total / self.certified)}%")


@contextmanager
def run_progress(*, examples: int | None, nt_samples: int, show: bool) -> Iterator[RunProgress]:
    """Show the progress of a run over ``examples`` examples, or over an unknown number of them for ``None``."""
    total = None if examples is None else examples * nt_samples
    with progress_bar(total=total, description="certifying", show=show) as bar:
        yield RunProgress(bar, nt_samples, show=show)
