"""The loop over blocks and passes, which adds the attributions of each pass to the statistics of every map."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from captum_certified.exceptions import CertificationError
from captum_certified.maps import FeatureLayout, Groups, Regions, SmoothedMap, region_masks
from captum_certified.maps.provenance import DrawRange
from captum_certified.sampling.background_thread import BackgroundThread, JobRunner, run_in_order
from captum_certified.sampling.collector import CovarianceRequest, MapCollector
from captum_certified.sampling.plan import SamplingPlan, noisy_inputs
from captum_certified.sampling.statistics import PerDrawMap
from captum_certified.sampling.top_k_mask import TieCounter

__all__ = ["Attributions", "checked_magnitudes", "smooth"]


class Attributions(NamedTuple):
    """The attributions of the rows of one pass, and whether the wrapped method returned them as a tuple."""

    maps: tuple[Tensor, ...]
    is_tuple: bool


def smooth(
    attribute: Callable[[tuple[Tensor, ...], range], Attributions],
    per_draw_maps: Sequence[PerDrawMap],
    inputs: tuple[Tensor, ...],
    plan: SamplingPlan,
    *,
    groups: Groups = None,
    region: Regions = None,
    covariance: CovarianceRequest = "auto",
    on_pass: Callable[[int], None],
) -> Iterator[list[SmoothedMap]]:
    """Sample the draws of a plan. After every block, yield the maps of all draws so far.

    Memory holds a few passes and the statistics. The memory does not grow with the number of draws, except by one
    number for each draw and region. On the CPU a second thread makes the noise of the next pass and the statistics of
    the previous pass while the model runs.

    Args:
        attribute: Computes attributions of noisy inputs of shape (N · draws, …), all draws of example 0 first.
        per_draw_maps: Maps to average, all computed from the same attributions.
        inputs: Clean inputs of shape (N, …).
        plan: The draws, and how they are cut into blocks and passes.
        groups: Groups of entries. Each group is one feature.
        region: Regions of features. The fraction of every draw's sum that lies in each region is recorded.
        covariance: Whether to take the covariance of the draws. An integer takes the covariance in blocks of this
            number of draws.
        on_pass: Called after every pass, with the number of its draws.

    Yields:
        The maps of all draws so far, in the order of ``per_draw_maps``.

    Raises:
        CertificationError: An attribution is not finite.
    """
    rows = len(inputs[0])
    collectors: list[MapCollector] = []
    ties = TieCounter()
    with BackgroundThread(inputs[0].device) as thread:
        counting: Future[None] | None = None
        make_noisy = partial(noisy_inputs, inputs, plan=plan, run_jobs=thread.run_jobs)
        passes = (draws for block in plan.blocks() for draws in plan.passes(block))
        for draws, noisy in thread.prepare_ahead(make_noisy, passes):
            outputs = attribute(noisy, draws)
            if not collectors:
                # The first pass shows how the attributions are laid out.
                layout = FeatureLayout.of(outputs.maps, is_tuple=outputs.is_tuple, rows=rows, groups=groups)
                new_collector = partial(
                    MapCollector,
                    layout=layout,
                    rows=rows,
                    masks=region_masks(region, layout, rows),
                    covariance=covariance,
                    most_draws=plan.n_samples,
                    device=outputs.maps[0].device,
                )
                collectors = [new_collector(per_draw_map) for per_draw_map in per_draw_maps]
            if counting is not None:
                counting.result()
            # Copied in this thread, because the method may return the same memory again in the next pass.
            columns = collectors[0].layout.flatten(outputs.maps, rows)
            count = partial(_count, columns, draws, collectors, ties)
            if plan.ends_block(draws.stop):  # the caller waits for the map
                counting = None
                count(thread.run_jobs)
            else:
                counting = thread.start(count)
            on_pass(len(draws))
            if counting is not None:
                continue
            if draws.stop == plan.stop:
                for collector in collectors:
                    collector.finish()
            done = DrawRange(plan.seed, plan.first_draw, draws.stop)
            stdevs = plan.stdevs if len(plan.stdevs) > 1 else plan.stdevs[0]
            yield [collector.smoothed_map(done, stdevs) for collector in collectors]
    ties.warn()


def _count(
    columns: Tensor,
    draws: range,
    collectors: Sequence[MapCollector],
    ties: TieCounter,
    run_jobs: JobRunner = run_in_order,
) -> None:
    """Add the feature magnitudes of one pass to the statistics of every map."""
    magnitudes = checked_magnitudes(columns, where=f"in draws {draws.start} to {draws.stop - 1}")
    for collector in collectors:
        collector.add(magnitudes, draws, ties, run_jobs)


def checked_magnitudes(magnitudes: Tensor, *, where: str) -> Tensor:
    """Return the magnitudes, or raise a CertificationError if they are not finite."""
    # A finite sum shows cheaply that all magnitudes are finite. The sum of finite magnitudes may overflow, so an
    # infinite sum needs the second test.
    if not bool(torch.isfinite(magnitudes.sum())) and not bool(torch.isfinite(magnitudes).all()):
        raise CertificationError(f"Expected finite attributions, got NaN or infinity {where}.")
    return magnitudes
