"""Statistics of the draws: counts for 0/1 maps, first and second moments for other maps, and fractions in regions."""

from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

__all__ = [
    "Averages",
    "CountStatistics",
    "MapDraws",
    "MomentStatistics",
    "PerDrawMap",
    "RegionStatistics",
    "Statistics",
    "statistics_for",
]


class MapDraws(NamedTuple):
    """Per-draw maps of one pass.

    Attributes:
        values: Shape (rows, n), bool for 0/1 maps, else floating point in [0, 1].
        placed_by_index: Number of values per draw that were selected only because their index is lower than that of an
            equal value, shape (rows,). ``None`` if the map selects nothing.
    """

    values: Tensor
    placed_by_index: Tensor | None = None


class PerDrawMap(Protocol):
    """The map f that is averaged: a fixed function of the attributions of one noisy input."""

    @property
    def binary(self) -> bool:
        """Whether every value is 0 or 1."""

    def __call__(self, magnitudes: Tensor) -> MapDraws:
        """Map feature magnitudes of shape (rows, n) to values of the same shape."""

    def max_squared_norm(self, n_features: int) -> float:
        """Return a bound on ‖f‖² that holds in every draw."""

    def settings(self) -> dict[str, float]:
        """Return the parameters that identify the map."""


class Averages(NamedTuple):
    """The statistics of the draws so far, on the CPU, each of shape (N, n).

    Attributes:
        counts: How often each feature of a 0/1 map was 1; ``None`` for other maps.
        mean: Mean of each feature; ``None`` for a 0/1 map.
        second_moment: Mean square of each feature; ``None`` for a 0/1 map.
    """

    counts: Tensor | None = None
    mean: Tensor | None = None
    second_moment: Tensor | None = None


class CountStatistics:
    """Counts of how often each feature of a 0/1 map was 1."""

    def __init__(self, rows: int, n_features: int, device: torch.device) -> None:
        self.n_samples = 0
        self.counts = torch.zeros((rows, n_features), dtype=torch.int64, device=device)

    def add(self, values: Tensor) -> None:
        """Add draws of shape (N, draws, n)."""
        draws = values.shape[1]
        if values.device.type == "cpu" and draws < 2**16:
            # NumPy sums bytes into 16 bits about ten times as fast as PyTorch sums booleans.
            sums = np.add.reduce(values.numpy().view(np.uint8), axis=1, dtype=np.uint16)
            self.counts += torch.from_numpy(sums.astype(np.int64))
        else:
            self.counts += values.sum(dim=1)
        self.n_samples += draws

    def averages(self) -> Averages:
        """Return the counts so far."""
        return Averages(counts=self.counts.to("cpu", copy=True))


class MomentStatistics:
    """Sums of the values of a map, and of their squares, in float64."""

    def __init__(self, rows: int, n_features: int, device: torch.device) -> None:
        self.n_samples = 0
        self.total = torch.zeros((rows, n_features), dtype=torch.float64, device=device)
        self.squares = torch.zeros_like(self.total)

    def add(self, values: Tensor) -> None:
        """Add draws of shape (N, draws, n)."""
        # Add one draw at a time, because a float64 copy of a whole pass would double the memory of the pass.
        for draw in values.unbind(dim=1):
            exact = draw.double()
            self.total += exact
            self.squares.addcmul_(exact, exact)
        self.n_samples += values.shape[1]

    def averages(self) -> Averages:
        """Return the mean and the mean square so far."""
        return Averages(mean=(self.total / self.n_samples).cpu(), second_moment=(self.squares / self.n_samples).cpu())


Statistics = CountStatistics | MomentStatistics


def statistics_for(per_draw_map: PerDrawMap, rows: int, n_features: int, device: torch.device) -> Statistics:
    """Return empty statistics: counts for a 0/1 map, and moments for another map."""
    kind = CountStatistics if per_draw_map.binary else MomentStatistics
    return kind(rows, n_features, device)


class RegionStatistics:
    """For every draw, the fraction of the map's sum that lies in a region. It is 0 if the map of a draw is all zero."""

    def __init__(self, mask: Tensor, device: torch.device) -> None:
        self.mask = mask.to(device)
        self.shares: list[Tensor] = []

    def add(self, values: Tensor) -> None:
        """Add draws of shape (N, draws, n)."""
        total = values.sum(dim=2, dtype=torch.float64)
        inside = (values * self.mask.unsqueeze(1)).sum(dim=2, dtype=torch.float64)
        self.shares.append(torch.where(total > 0, inside / total, torch.zeros_like(total)).clamp(0, 1).cpu())

    def mask_and_shares(self) -> tuple[Tensor, Tensor]:
        """Return the region's mask and the fractions of all draws so far, on the CPU."""
        return self.mask.cpu(), torch.cat(self.shares, dim=1)
