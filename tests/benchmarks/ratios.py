"""The ratio protocol: time two functions in pairs of short runs, in ABBA order, and take the median of the ratios."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from captum_certified.cli.process import keep_freed_memory

keep_freed_memory()

PAIRS = 40
SECONDS = 0.3

# The ratios measured so far, and the file for them as a Markdown table, if the variable is set.
MEASURED: list[tuple[str, str, str, str]] = []
TABLE = os.environ.get("CAPTUM_CERTIFIED_RATIOS")


class Ratio(NamedTuple):
    """Median of (time of the reference / time of the candidate) and its 95 % bootstrap interval."""

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
    """Return a number of draws, a multiple of ``step``, that takes about SECONDS."""
    run(step)
    per_step = min(seconds(lambda: run(step)) for _ in range(5))
    return step * max(1, round(SECONDS / per_step))


def speed(candidate: Callable[[], object], reference: Callable[[], object], *, pairs: int = PAIRS) -> Ratio:
    """Return how many times faster the candidate is than the reference."""
    ratios = []
    for pair in range(pairs):
        if pair % 2 == 0:
            ours, theirs = seconds(candidate), seconds(reference)
        else:
            theirs, ours = seconds(reference), seconds(candidate)
        ratios.append(theirs / ours)
    return median(ratios)


def median(ratios: list[float]) -> Ratio:
    """Return the median and its bootstrap interval."""
    resampled = np.random.default_rng(0).choice(ratios, (10_000, len(ratios)))
    low, high = np.quantile(np.median(resampled, axis=1), [0.025, 0.975])
    return Ratio(float(np.median(ratios)), float(low), float(high))


def report(network: str, what: str, ratio: Ratio, *, goal: float | None = None) -> None:
    """Print a ratio and whether its interval reaches the goal, and keep the ratio for the table."""
    verdict = "" if goal is None else "reached" if ratio.high >= goal else "not reached"
    print(f"\n{network}, {what}: {ratio}" + (f", goal {goal}: {verdict}" if verdict else ""))
    MEASURED.append((network, what, str(ratio), "" if goal is None else f"{goal:.2f}, {verdict}"))
    if TABLE:
        rows = [("network", "what", "ratio", "goal"), ("---",) * 4, *MEASURED]
        note = "<!-- Written by the benchmarks: CAPTUM_CERTIFIED_RATIOS=docs/benchmarks/table.md. -->\n\n"
        Path(TABLE).write_text(note + "".join(f"| {' | '.join(row)} |\n" for row in rows))
