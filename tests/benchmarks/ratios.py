"""The ratio protocol: two functions timed in pairs of short runs, in ABBA order, and the median of their ratios."""

import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

PAIRS = 40
SECONDS = 0.3


class Ratio(NamedTuple):
    """Median of (time of the reference / time of the candidate), with its 95 % bootstrap interval."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.3f} [{self.low:.3f}, {self.high:.3f}]"


def seconds(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def draws_for(run: Callable[[int], object], *, step: int) -> int:
    """A number of draws, a multiple of ``step``, that takes about SECONDS."""
    run(step)
    per_step = min(seconds(lambda: run(step)) for _ in range(5))
    return step * max(1, round(SECONDS / per_step))


def speed(candidate: Callable[[], object], reference: Callable[[], object], *, pairs: int = PAIRS) -> Ratio:
    """How many times faster the candidate is than the reference."""
    ratios = []
    for pair in range(pairs):
        if pair % 2 == 0:
            ours, theirs = seconds(candidate), seconds(reference)
        else:
            theirs, ours = seconds(reference), seconds(candidate)
        ratios.append(theirs / ours)
    resampled = np.random.default_rng(0).choice(ratios, (10_000, pairs))
    low, high = np.quantile(np.median(resampled, axis=1), [0.025, 0.975])
    return Ratio(float(np.median(ratios)), float(low), float(high))
