"""The loop over blocks and passes: one attribution feeds the statistics of every map."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from captum_certified.exceptions import CertificationError
from captum_certified.smoothing.features import FeatureLayout, Groups
from captum_certified.smoothing.passes import SamplingPlan, noisy_inputs
from captum_certified.smoothing.provenance import DrawRange
from captum_certified.smoothing.regions import Regions, RegionStatistics, region_masks
from captum_certified.smoothing.statistics import PerDrawMap, Statistics, statistics_for
from captum_certified.smoothing.ties import TieCounter

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
    on_pass: Callable[[int], object],
) -> Iterator[list[dict[str, Any]]]:
    """Sample, and after every block hand out the fields of each map so far.

    Memory is one pass plus the statistics, whatever the number of draws.

    Args:
        attribute: Attributes noisy inputs of shape (N · draws, …), all draws of example 0 first.
        per_draw_maps: The maps to average; all are fed from the same attributions.
        inputs: Clean inputs of shape (N, …).
        plan: Which draws, and how they are cut.
        groups: What a feature is.
        region: Regions whose share of every draw is recorded.
        on_pass: Called with the number of draws of every finished pass.

    Yields:
        For every map the fields of its :class:`SmoothedMap`.

    Raises:
        CertificationError: An attribution is not finite.
    """
    rows = len(inputs[0])
    layout: FeatureLayout | None = None
    statistics: list[Statistics] = []
    regions: list[dict[str, RegionStatistics]] = []
    ties = TieCounter()
    for block in plan.blocks():
        for draws in plan.passes(block):
            outputs = attribute(noisy_inputs(inputs, draws, plan), draws)
            if layout is None:
                layout = FeatureLayout.of(outputs.maps, is_tuple=outputs.is_tuple, rows=rows, groups=groups)
                device = outputs.maps[0].device
                statistics = [statistics_for(f, rows, layout.n_features, device) for f in per_draw_maps]
                masks = region_masks(region, layout, rows)
                regions = [{name: RegionStatistics(m, device) for name, m in masks.items()} for _ in per_draw_maps]
            magnitudes = checked_magnitudes(
                layout.flatten(outputs.maps, rows), where=f"in draws {draws.start} to {draws.stop - 1}"
            )
            for per_draw_map, collected, shares in zip(per_draw_maps, statistics, regions, strict=True):
                values, placed_by_index = per_draw_map(magnitudes)
                for statistic in (collected, *shares.values()):
                    statistic.add(values.view(rows, len(draws), -1))
                if placed_by_index is not None:
                    ties.add(values, placed_by_index)
            on_pass(len(draws))
        done = DrawRange(plan.seed, plan.first_draw, block.stop)
        assert layout is not None  # noqa: S101  for the type checker: a block holds at least one pass
        yield [
            _fields(per_draw_map, collected, shares, layout, done, plan)
            for per_draw_map, collected, shares in zip(per_draw_maps, statistics, regions, strict=True)
        ]
    ties.warn()


def checked_magnitudes(magnitudes: Tensor, *, where: str) -> Tensor:
    """The magnitudes, once they are known to be finite.

    Raises:
        CertificationError: They are not.
    """
    # A sum of magnitudes is finite unless an entry is not or it overflows; the sum is far cheaper to check.
    if not bool(torch.isfinite(magnitudes.sum())) and not bool(torch.isfinite(magnitudes).all()):
        raise CertificationError(f"Expected finite attributions, got NaN or infinity {where}.")
    return magnitudes


def _fields(
    per_draw_map: PerDrawMap,
    statistics: Statistics,
    regions: dict[str, RegionStatistics],
    layout: FeatureLayout,
    done: DrawRange,
    plan: SamplingPlan,
) -> dict[str, Any]:
    state = statistics.state()
    rows = len(next(iter(state.values())))
    return {
        "layout": layout,
        "n_samples": torch.full((rows,), statistics.n_samples, dtype=torch.int64),
        "stdevs": plan.stdevs if len(plan.stdevs) > 1 else plan.stdevs[0],
        "max_squared_norm": float(per_draw_map.max_squared_norm(layout.n_features)),
        "provenance": ((done,),) * rows,
        "regions": {name: shares.state() for name, shares in regions.items()},
        **state,
    }
