"""Sequential certification: certify at several interim looks, and stop sampling the examples that are done.

An interim look computes the certificates of all draws so far, while sampling can still go on.
"""

import sys
import time
from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from captum_certified.attr.run import SamplingRun
from captum_certified.certify.forecast import forecast_of_looks
from captum_certified.certify.goal import Goal
from captum_certified.certify.prover import Prover
from captum_certified.certify.stopping_rule import StoppingRule, at_look
from captum_certified.certify.top_k import TopKCertificate
from captum_certified.maps import SmoothedMap, select_rows

__all__ = ["RemainingRows", "SampleUntil", "certify_in_looks", "sample_in_looks"]


class SampleUntil(Protocol):
    """A function that samples more draws."""

    def __call__(self, present: SmoothedMap | None, stop: int, rows: Tensor, /) -> SmoothedMap:
        """Return the map of all draws before ``stop``.

        Args:
            present: The map of the draws so far, or ``None``.
            stop: Number of draws of the returned map.
            rows: Indices, in the whole batch, of the examples that are still running.
        """


class RemainingRows:
    """Samples more draws for the examples of a batch that are still running.

    An example gets the same draws as in a run of the whole batch, because the seed, the number of draws in a pass, and
    the choice about the covariance stay the same. If the map of an example depends on the rest of the batch, the whole
    batch is sampled until its last example stops.

    Args:
        run: The run of the whole batch.
    """

    def __init__(self, run: SamplingRun) -> None:
        self.run = run

    def __call__(self, present: SmoothedMap | None, stop: int, rows: Tensor) -> SmoothedMap:
        """Return the map of all draws before ``stop``; see :class:`SampleUntil`."""
        if present is None:
            [first] = self.run.last(range(stop))
            self.run.settle_covariance(taken=first.covariance is not None)
            return first
        draws = range(int(present.n_samples[0]), stop)
        return present.merge(self._of_rows(draws, rows), assume_independent=True)

    def _of_rows(self, draws: range, rows: Tensor) -> SmoothedMap:
        part = self.run.of_rows(rows) if len(rows) < self.run.request.rows else None
        if part is not None:
            [smoothed] = part.last(draws)
            self.run.check_later()
            if not part.rows_belong_together:  # checked here, as a method may use random numbers in some passes only
                return smoothed
        return select_rows(self.run.last(draws)[0], rows)


def certify_in_looks(prover: Prover, run: SamplingRun, goal: Goal) -> TopKCertificate:
    """Sample until every example is done, and certify each example at the level of the look that stopped it."""
    rule = StoppingRule.of(prover, goal, run.request.plan)
    return rule.certificate(
        sample_in_looks(RemainingRows(run), rule, rows=run.request.rows, show_forecast=run.request.show_progress)
    )


def sample_in_looks(
    sample_until: SampleUntil,
    rule: StoppingRule,
    *,
    rows: int,
    start: SmoothedMap | None = None,
    decide: Callable[[SmoothedMap], Tensor] | None = None,
    show_forecast: bool = False,
) -> SmoothedMap:
    """Sample until every example is certified, is hopeless, or has all its draws. Do not sample finished examples.

    Args:
        sample_until: Samples more draws.
        rule: The stopping rule.
        rows: Number of examples.
        start: The map of the first draws, if an earlier run has sampled them.
        decide: Returns which examples are done at a look; by default :meth:`StoppingRule.done`.
        show_forecast: Write a forecast of time and overlap to stderr after the first look.

    Returns:
        The map of all examples in the order of the batch. Its ``looks`` record at which look each example stopped.
    """
    begun, begun_looking = time.perf_counter(), False
    present, running = start, torch.arange(rows, device="cpu")
    stopped: list[tuple[Tensor, SmoothedMap]] = []
    for look, size in enumerate(rule.sizes, start=1):
        if present is not None and int(present.n_samples[0]) > size:
            continue  # an earlier run did not stop at this look
        present = sample_until(present, size, running)
        if not begun_looking:
            rule, present = rule.begin(present)
            begun_looking = True
        done = (decide or rule.done)(at_look(present, look))
        if bool(done.any()):
            stopped.append((running[done], at_look(select_rows(present, torch.nonzero(done)[:, 0]), look)))
        if bool(done.all()):
            break
        remaining = torch.nonzero(~done)[:, 0]
        running, present = running[remaining], select_rows(present, remaining)
        if show_forecast and look == 1:
            forecast = forecast_of_looks(present, rule, seconds=time.perf_counter() - begun, rows=rows)
            sys.stderr.write(f"{forecast}\n")
    order = torch.cat([part for part, _ in stopped]).argsort()
    return select_rows(SmoothedMap.stack([smoothed for _, smoothed in stopped]), order)
