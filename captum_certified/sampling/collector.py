"""Collect the statistics of one map. The draws themselves are not kept."""

import warnings
from collections.abc import Mapping
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from captum_certified.maps import FeatureLayout, SmoothedMap
from captum_certified.maps.provenance import DrawRange
from captum_certified.sampling.background_thread import JobRunner, run_in_order
from captum_certified.sampling.block_covariance import BlockCovariance, block_bytes
from captum_certified.sampling.plan import block_draws
from captum_certified.sampling.statistics import MapDraws, PerDrawMap, RegionStatistics, statistics_for
from captum_certified.sampling.top_k_mask import TieCounter

__all__ = ["MOST_AUTOMATIC_BYTES", "CovarianceRequest", "MapCollector"]

CovarianceRequest = Literal["auto"] | bool | int

# With `covariance`="auto", the covariance is taken only if a block needs fewer bytes than this.
MOST_AUTOMATIC_BYTES = 1_000_000_000
# Number of entries to which the per-draw map is applied at a time on the CPU. So few entries stay in the CPU's cache.
_CACHED_ENTRIES = 2**17


class MapCollector:
    """Collector of the statistics of one per-draw map.

    Args:
        per_draw_map: The map that is averaged.
        layout: Layout of the map's features.
        rows: Number of examples.
        masks: Masks of the regions by name.
        covariance: ``"auto"`` takes the covariance if a block of all examples needs less than ``most_bytes``, and warns
            otherwise. A bool says whether to take the covariance. An integer takes the covariance in blocks of this
            number of draws.
        most_draws: Number of draws of the run.
        device: Device of the draws.
        most_bytes: Limit on the bytes of a block for ``covariance="auto"``.
    """

    def __init__(
        self,
        per_draw_map: PerDrawMap,
        layout: FeatureLayout,
        rows: int,
        *,
        masks: Mapping[str, Tensor],
        covariance: CovarianceRequest,
        most_draws: int,
        device: torch.device,
        most_bytes: int = MOST_AUTOMATIC_BYTES,
    ) -> None:
        n, binary = layout.n_features, per_draw_map.binary
        self.per_draw_map = per_draw_map
        self.layout = layout
        self.rows = rows
        # An accelerator is faster with all rows at once.
        self._rows_at_once = max(1, _CACHED_ENTRIES // max(n, 1)) if device.type == "cpu" else None
        self.statistics = statistics_for(per_draw_map, rows, n, device)
        self.regions = {name: RegionStatistics(mask, device) for name, mask in masks.items()}
        block = block_draws(binary=binary) if isinstance(covariance, (str, bool)) else covariance
        # An accelerator stores a 0/1 map as bytes, and the CPU stores it as bits.
        size = block_bytes(rows, n, binary=binary, block=block) * (8 if binary and device.type != "cpu" else 1)
        fits = size < most_bytes
        if covariance == "auto" and not fits:
            warnings.warn(
                f"The covariance of the draws is not kept, so the bound 'best' uses intervals only: a block of {block} "
                f"draws of {rows} examples takes {size / 1e9:.1f} GB, more than {most_bytes / 1e9:g}. Pass fewer "
                "examples at a time, or `covariance` as True or as a smaller number of draws.",
                UserWarning,
                stacklevel=2,
            )
        wanted = fits if covariance == "auto" else covariance is not False
        self.covariance = (
            BlockCovariance(rows, n, binary=binary, block=block, device=device, most=most_draws) if wanted else None
        )

    def add(self, magnitudes: Tensor, draws: range, ties: TieCounter, run_jobs: JobRunner = run_in_order) -> None:
        """Add the draws of one pass to the statistics.

        The feature magnitudes have shape (N · draws, n), all draws of example 0 first.
        """
        values, placed_by_index = self._mapped(magnitudes, run_jobs)
        by_example = values.view(self.rows, len(draws), -1)
        self.statistics.add(by_example)
        for region in self.regions.values():
            region.add(by_example)
        if self.covariance is not None:
            self.covariance.add(by_example, draws)
        if placed_by_index is not None:
            ties.add(values, placed_by_index)

    def _mapped(self, magnitudes: Tensor, run_jobs: JobRunner) -> MapDraws:
        """Apply the per-draw map to all rows, a few rows at a time."""
        groups = torch.split(magnitudes, self._rows_at_once or len(magnitudes))
        parts = run_jobs([partial(self.per_draw_map, group) for group in groups])
        placed_by_index = [part.placed_by_index for part in parts if part.placed_by_index is not None]
        return MapDraws(
            torch.cat([part.values for part in parts]), torch.cat(placed_by_index) if placed_by_index else None
        )

    def finish(self) -> None:
        """Complete the last block, which the end of the run may have cut short."""
        if self.covariance is not None:
            self.covariance.finish_block()

    def smoothed_map(self, done: DrawRange, stdevs: float | tuple[float, ...]) -> SmoothedMap:
        """Return the map of the draws so far, given their range and the standard deviation of their noise."""
        averages = self.statistics.averages()
        return SmoothedMap(
            layout=self.layout,
            n_samples=torch.full((self.rows,), self.statistics.n_samples, dtype=torch.int64, device="cpu"),
            stdevs=stdevs,
            feature_counts=averages.counts,
            feature_mean=averages.mean,
            second_moment=averages.second_moment,
            max_squared_norm=float(self.per_draw_map.max_squared_norm(self.layout.n_features)),
            covariance=None if self.covariance is None else self.covariance.summary,
            regions={name: region.mask_and_shares() for name, region in self.regions.items()},
            provenance=((done,),) * self.rows,
        )
