"""The loop over blocks and passes: one attribution feeds the statistics of every map."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from captum_certified.exceptions import CertificationError
from captum_certified.maps import FeatureLayout, Groups, Regions, SmoothedMap, region_masks
from captum_certified.maps.provenance import DrawRange
from captum_certified.sampling.background_thread import BackgroundThread, Share, in_turn
from captum_certified.sampling.collector import CovarianceRequest, MapCollector
from captum_certified.sampling.plan import SamplingPlan, noisy_inputs
from captum_certified.sampling.statistics import PerDrawMap
from captum_certified.sampling.top_k_mask import TieCounter

__all__ = ["Attributions", "smooth"]


class Attributions(NamedTuple):
    """What the wrapped method returned for the rows of one pass."""

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
    """Sample, and after every block hand out each map so far.

    Memory is a few passes plus the statistics, whatever the number of draws: on the CPU the noise of the next pass
    and the statistics of the last are made by a second thread while the model runs.

    Args:
        attribute: Attributes noisy inputs of shape (N · draws, …), all draws of example 0 first.
        per_draw_maps: The maps to average; all are fed from the same attributions.
        inputs: Clean inputs of shape (N, …).
        plan: Which draws, and how they are cut.
        groups: What a feature is.
        region: Regions whose share of every draw is recorded.
        covariance: Whether the draws' covariance is taken, or in blocks of how many draws.
        on_pass: Called with the number of draws of every finished pass.

    Yields:
        The maps of all draws so far, in the order of ``per_draw_maps``.

    Raises:
        CertificationError: An attribution is not finite.
    """
    rows = len(inputs[0])
    collectors: list[MapCollector] = []
    ties = TieCounter()
    with BackgroundThread(inputs[0].device) as thread:
        counted: Future[None] | None = None
        make_noisy = partial(noisy_inputs, inputs, plan=plan, share=thread.share)
        passes = (draws for block in plan.blocks() for draws in plan.passes(block))
        for draws, noisy in thread.one_ahead(make_noisy, passes):
            outputs = attribute(noisy, draws)
            if not collectors:
                collectors = _collectors(outputs, per_draw_maps, rows, plan, groups, region, covariance)
            if counted is not None:
                counted.result()
            # A copy, made here: the method may hand out the same memory again in the next pass.
            columns = collectors[0].layout.flatten(outputs.maps, rows)
            count = partial(_count, columns, draws, collectors, ties)
            if plan.ends_block(draws.stop):  # the map is wanted now
                counted = None
                count(thread.share)
            else:
                counted = thread.start(count)
            on_pass(len(draws))
            if counted is not None:
                continue
            if draws.stop == plan.stop:
                for collector in collectors:
                    collector.finish()
            done = DrawRange(plan.seed, plan.first_draw, draws.stop)
            stdevs = plan.stdevs if len(plan.stdevs) > 1 else plan.stdevs[0]
            yield [collector.smoothed_map(done, stdevs) for collector in collectors]
    ties.warn()


def _collectors(
    outputs: Attributions,
    per_draw_maps: Sequence[PerDrawMap],
    rows: int,
    plan: SamplingPlan,
    groups: Groups,
    region: Regions,
    covariance: CovarianceRequest,
) -> list[MapCollector]:
    """One for each map, once the first pass has shown how the attributions are laid out."""
    layout = FeatureLayout.of(outputs.maps, is_tuple=outputs.is_tuple, rows=rows, groups=groups)
    masks = region_masks(region, layout, rows)
    device = outputs.maps[0].device
    return [
        MapCollector(f, layout, rows, masks=masks, covariance=covariance, most_draws=plan.n_samples, device=device)
        for f in per_draw_maps
    ]


def _count(
    columns: Tensor, draws: range, collectors: Sequence[MapCollector], ties: TieCounter, share: Share = in_turn
) -> None:
    """Add the feature magnitudes of one pass to the statistics of every map."""
    magnitudes = checked_magnitudes(columns, where=f"in draws {draws.start} to {draws.stop - 1}")
    for collector in collectors:
        collector.add(magnitudes, draws, ties, share)


def checked_magnitudes(magnitudes: Tensor, *, where: str) -> Tensor:
    """The magnitudes, once they are known to be finite.

    Raises:
        CertificationError: They are not.
    """
    # A sum of magnitudes is finite unless an entry is not or it overflows; the sum is far cheaper to check.
    if not bool(torch.isfinite(magnitudes.sum())) and not bool(torch.isfinite(magnitudes).all()):
        raise CertificationError(f"Expected finite attributions, got NaN or infinity {where}.")
    return magnitudes
