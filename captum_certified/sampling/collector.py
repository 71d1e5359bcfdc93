"""Everything that is kept of one map's draws."""

import warnings
from collections.abc import Mapping
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from captum_certified.maps import FeatureLayout, SmoothedMap
from captum_certified.maps.provenance import DrawRange
from captum_certified.sampling.background_thread import Share, in_turn
from captum_certified.sampling.block_covariance import BlockCovariance, block_bytes
from captum_certified.sampling.plan import block_draws
from captum_certified.sampling.statistics import MapDraws, PerDrawMap, RegionStatistics, statistics_for
from captum_certified.sampling.top_k_mask import TieCounter

__all__ = ["CovarianceRequest", "MapCollector"]

CovarianceRequest = Literal["auto"] | bool | int

_CACHED_NUMBERS, _ALL = 2**17, 2**62
_MOST_BYTES = 1_000_000_000  # of one block, for covariance="auto"


class MapCollector:
    """Applies one per-draw map to every pass and collects its statistics.

    Args:
        per_draw_map: The map.
        layout: What its features are.
        rows: Number of examples.
        masks: Regions by name.
        covariance: ``"auto"``: if a block of all examples fits into 1 GB, and a warning if not; or whether; or the
            number of draws in a block.
        most_draws: Number of draws of the run.
        device: Where the draws are.
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
    ) -> None:
        n, binary = layout.n_features, per_draw_map.binary
        self.per_draw_map = per_draw_map
        self.layout = layout
        self.rows = rows
        # On the CPU as many as stay in a cache; an accelerator is faster with all at once.
        self._mapped_at_once = max(1, (_CACHED_NUMBERS if device.type == "cpu" else _ALL) // max(n, 1))
        self.statistics = statistics_for(per_draw_map, rows, n, device)
        self.regions = {name: RegionStatistics(mask, device) for name, mask in masks.items()}
        block = block_draws(binary=binary) if isinstance(covariance, (str, bool)) else covariance
        size = block_bytes(rows, n, binary=binary, block=block) * (8 if binary and device.type != "cpu" else 1)
        fits = size < _MOST_BYTES  # accelerators keep a 0/1 map as bytes
        if covariance == "auto" and not fits:
            warnings.warn(
                f"The covariance of the draws is not kept, so `best` is the intervals alone: a block of {block} draws "
                f"of {rows} examples takes {size / 1e9:.1f} GB, more than {_MOST_BYTES / 1e9:g}. Pass fewer examples "
                "at a time, or `covariance` as True or as a smaller number of draws.",
                UserWarning,
                stacklevel=2,
            )
        wanted = fits if covariance == "auto" else covariance is not False
        self.covariance = (
            BlockCovariance(rows, n, binary=binary, block=block, device=device, most=most_draws) if wanted else None
        )

    def add(self, magnitudes: Tensor, draws: range, ties: TieCounter, share: Share = in_turn) -> None:
        """Add the draws of one pass.

        Args:
            magnitudes: Feature magnitudes, shape (N · draws, n), all draws of example 0 first.
            draws: Their numbers.
            ties: Counts the choices that only the index rule made.
            share: Runs the mapping of the draws.
        """
        values, placed_by_index = self._mapped(magnitudes, share)
        by_example = values.view(self.rows, len(draws), -1)
        self.statistics.add(by_example)
        for shares in self.regions.values():
            shares.add(by_example)
        if self.covariance is not None:
            self.covariance.add(by_example, draws)
        if placed_by_index is not None:
            ties.add(values, placed_by_index)

    def _mapped(self, magnitudes: Tensor, share: Share) -> MapDraws:
        """The maps of all draws, made of a few at a time."""
        parts = share([partial(self.per_draw_map, some) for some in torch.split(magnitudes, self._mapped_at_once)])
        placed_by_index = [part.placed_by_index for part in parts if part.placed_by_index is not None]
        return MapDraws(
            torch.cat([part.values for part in parts]), torch.cat(placed_by_index) if placed_by_index else None
        )

    def finish(self) -> None:
        """Reduce a block that the end of the run has cut short."""
        if self.covariance is not None:
            self.covariance.finish_block()

    def smoothed_map(self, done: DrawRange, stdevs: float | tuple[float, ...]) -> SmoothedMap:
        """Return the map of the draws so far.

        Args:
            done: These draws.
            stdevs: Standard deviation of their noise.
        """
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
            regions={name: shares.state() for name, shares in self.regions.items()},
            provenance=((done,),) * self.rows,
        )
