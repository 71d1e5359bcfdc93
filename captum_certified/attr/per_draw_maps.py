"""The maps that are averaged: fixed functions of one noisy input's feature magnitudes."""

from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from captum_certified.sampling import MapDraws, top_k_rows
from captum_certified.theory import fraction_to_count

__all__ = ["Magnitudes", "Normalized", "Relaxed", "Scaled", "ScaledQuadratic", "Sparsified"]


@dataclass(frozen=True)
class Sparsified:
    """Eq. 2.4. f_i = 1 for the ⌈τn⌉ largest positive magnitudes, by value and then by index; else 0.

    Args:
        tau: τ, the fraction of features that are salient.
    """

    tau: float
    binary = True

    def __call__(self, magnitudes: Tensor) -> MapDraws:
        """Magnitudes of shape (rows, n) to a boolean map; zeros are never selected."""
        return _largest(magnitudes, _at_least_one(self.tau, magnitudes.shape[1]))

    def max_squared_norm(self, n_features: int) -> float:
        """⌈τn⌉."""
        return _at_least_one(self.tau, n_features)

    def settings(self) -> dict[str, float]:
        """τ."""
        return asdict(self)


@dataclass(frozen=True)
class Relaxed:
    """Eq. 2.5. 1 for the first max(1, ⌈γn⌉) ranks, g_i / g_[⌈γn⌉] for the others up to rank ⌈τn⌉, else 0.

    Args:
        tau: τ, the fraction of features that are salient at all.
        gamma: γ ≤ τ, the fraction of features that are fully salient.
    """

    tau: float
    gamma: float
    binary = False

    def __call__(self, magnitudes: Tensor) -> MapDraws:
        """Magnitudes of shape (rows, n) to a map in [0, 1]; zeros are never selected."""
        n = magnitudes.shape[1]
        salient, placed_by_index = _largest(magnitudes, _at_least_one(self.tau, n))
        level = _kth_largest(magnitudes, _at_least_one(self.gamma, n))
        # Fewer than ⌈γn⌉ positive magnitudes: all of them are fully salient.
        ratio = torch.where(level > 0, _divided(magnitudes, level), torch.ones_like(magnitudes))
        return MapDraws(ratio.clamp_max(1.0) * salient, placed_by_index)

    def max_squared_norm(self, n_features: int) -> float:
        """⌈τn⌉."""
        return _at_least_one(self.tau, n_features)

    def settings(self) -> dict[str, float]:
        """τ and γ."""
        return asdict(self)


@dataclass(frozen=True)
class Scaled:
    """f = g / max g; zero for an all-zero draw."""

    binary = False

    def __call__(self, magnitudes: Tensor) -> MapDraws:
        """Magnitudes of shape (rows, n) to a map in [0, 1]."""
        return MapDraws(_divided(magnitudes, magnitudes.amax(dim=1, keepdim=True)))

    def max_squared_norm(self, n_features: int) -> float:
        """The number of features."""
        return n_features

    def settings(self) -> dict[str, float]:
        """No parameters."""
        return {}


@dataclass(frozen=True)
class ScaledQuadratic:
    """f = g² / max g²; zero for an all-zero draw."""

    binary = False

    def __call__(self, magnitudes: Tensor) -> MapDraws:
        """Magnitudes of shape (rows, n) to a map in [0, 1]."""
        return MapDraws(_divided(magnitudes, magnitudes.amax(dim=1, keepdim=True)).square())

    def max_squared_norm(self, n_features: int) -> float:
        """The number of features."""
        return n_features

    def settings(self) -> dict[str, float]:
        """No parameters."""
        return {}


@dataclass(frozen=True)
class Normalized:
    """f = g / ‖g‖₂; zero for an all-zero draw."""

    binary = False

    def __call__(self, magnitudes: Tensor) -> MapDraws:
        """Magnitudes of shape (rows, n) to a map of unit norm."""
        # Scaled first: the squares of tiny or huge gradients leave the range of float32.
        scaled = _divided(magnitudes, magnitudes.amax(dim=1, keepdim=True))
        norm = torch.linalg.vector_norm(scaled, dim=1, keepdim=True, dtype=torch.float64)
        if scaled.dtype != torch.float64:
            norm = norm * (1 + 2**-22)  # or rounding to single precision could make a map longer than 1
        return MapDraws(_divided(scaled, norm.to(scaled.dtype)))

    def max_squared_norm(self, n_features: int) -> float:  # noqa: ARG002
        """One."""
        return 1.0

    def settings(self) -> dict[str, float]:
        """No parameters."""
        return {}


@dataclass(frozen=True)
class Magnitudes:
    """f = g, unbounded: an average for comparison, which no bound can certify."""

    binary = False

    def __call__(self, magnitudes: Tensor) -> MapDraws:
        """Magnitudes as they are."""
        return MapDraws(magnitudes)

    def max_squared_norm(self, n_features: int) -> float:  # noqa: ARG002
        """No bound."""
        return float("inf")

    def settings(self) -> dict[str, float]:
        """No parameters."""
        return {}


def _at_least_one(fraction: float, n_features: int) -> int:
    """⌈fraction · n⌉, and 1 where that rounds to 0."""
    return max(1, fraction_to_count(fraction, n_features))


def _divided(magnitudes: Tensor, scale: Tensor) -> Tensor:
    """Magnitudes over their scale, as they are where it is 0: then nothing is divided by 0, nor in a gradient."""
    return magnitudes / torch.where(scale > 0, scale, torch.ones_like(scale))


def _largest(magnitudes: Tensor, count: int) -> MapDraws:
    """Select the ``count`` largest positive magnitudes of every row, by value and then by index."""
    mask, placed_by_index = top_k_rows(magnitudes.detach(), count)  # a selection has no gradient
    selected = mask & (magnitudes > 0)
    # On an accelerator asking whether there are ties would wait for it.
    if magnitudes.device.type != "cpu" or bool(placed_by_index.any()):
        # Zeros tie where they fill up the row, but none of them is selected.
        placed_by_index = placed_by_index * (selected.sum(dim=1) == count)
    return MapDraws(selected, placed_by_index)


def _kth_largest(magnitudes: Tensor, k: int) -> Tensor:
    return torch.topk(magnitudes, k, dim=1, sorted=False).values.amin(dim=1, keepdim=True)
