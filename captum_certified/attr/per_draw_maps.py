"""The per-draw maps that are averaged: fixed functions of the feature magnitudes of one noisy input."""

from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from captum_certified.sampling import MapDraws, top_k_rows
from captum_certified.sampling.top_k_mask import kth_largest
from captum_certified.theory import fraction_to_count

__all__ = ["Magnitudes", "Normalized", "Relaxed", "Scaled", "ScaledQuadratic", "Sparsified"]


@dataclass(frozen=True)
class _Settings:
    """Base of the per-draw maps. The fields of a subclass are the parameters of the map."""

    def settings(self) -> dict[str, float]:
        """Return the parameters by name."""
        return asdict(self)


@dataclass(frozen=True)
class Sparsified(_Settings):
    """Eq. 2.4. f_i = 1 for the ⌈τn⌉ largest positive magnitudes and 0 for all others. Ties go to the lower index.

    Args:
        tau: τ, the fraction of features that are salient.
    """

    tau: float
    binary = True

    def __call__(self, magnitudes: Tensor) -> MapDraws:
        """Map magnitudes of shape (rows, n) to a boolean map. Zeros are never selected."""
        return _select_largest(magnitudes, _at_least_one(self.tau, magnitudes.shape[1]))

    def max_squared_norm(self, n_features: int) -> float:
        """Return the bound ⌈τn⌉ on ‖f‖²."""
        return _at_least_one(self.tau, n_features)


@dataclass(frozen=True)
class Relaxed(_Settings):
    """Eq. 2.5. f_i = 1 up to rank m = max(1, ⌈γn⌉), g_i / g_[m] after that up to rank ⌈τn⌉, and 0 for all other ranks.

    Args:
        tau: τ, the fraction of features that have a value above 0.
        gamma: γ ≤ τ, the fraction of features that have the value 1.
    """

    tau: float
    gamma: float
    binary = False

    def __call__(self, magnitudes: Tensor) -> MapDraws:
        """Map magnitudes of shape (rows, n) to values in [0, 1]. Zeros are never selected."""
        n = magnitudes.shape[1]
        salient, placed_by_index = _select_largest(magnitudes, _at_least_one(self.tau, n))
        level = kth_largest(magnitudes, _at_least_one(self.gamma, n))
        # If fewer than ⌈γn⌉ magnitudes are positive, all positive magnitudes get the value 1.
        ratio = torch.where(level > 0, _divided(magnitudes, level), torch.ones_like(magnitudes))
        return MapDraws(ratio.clamp_max(1.0) * salient, placed_by_index)

    def max_squared_norm(self, n_features: int) -> float:
        """Return the bound ⌈τn⌉ on ‖f‖²."""
        return _at_least_one(self.tau, n_features)


@dataclass(frozen=True)
class Scaled(_Settings):
    """f = g / max g; zero for an all-zero draw."""

    binary = False

    def __call__(self, magnitudes: Tensor) -> MapDraws:
        """Map magnitudes of shape (rows, n) to values in [0, 1]."""
        return MapDraws(_divided(magnitudes, magnitudes.amax(dim=1, keepdim=True)))

    def max_squared_norm(self, n_features: int) -> float:
        """Return the bound n on ‖f‖²."""
        return n_features


@dataclass(frozen=True)
class ScaledQuadratic(_Settings):
    """f = g² / max g²; zero for an all-zero draw."""

    binary = False

    def __call__(self, magnitudes: Tensor) -> MapDraws:
        """Map magnitudes of shape (rows, n) to values in [0, 1]."""
        return MapDraws(_divided(magnitudes, magnitudes.amax(dim=1, keepdim=True)).square())

    def max_squared_norm(self, n_features: int) -> float:
        """Return the bound n on ‖f‖²."""
        return n_features


@dataclass(frozen=True)
class Normalized(_Settings):
    """f = g / ‖g‖₂; zero for an all-zero draw."""

    binary = False

    def __call__(self, magnitudes: Tensor) -> MapDraws:
        """Map magnitudes of shape (rows, n) to a map of unit norm."""
        # The magnitudes are scaled first, because the squares of tiny or huge gradients are outside the range of
        # float32.
        scaled = _divided(magnitudes, magnitudes.amax(dim=1, keepdim=True))
        norm = torch.linalg.vector_norm(scaled, dim=1, keepdim=True, dtype=torch.float64)
        if scaled.dtype != torch.float64:
            norm = norm * (1 + 2**-22)  # otherwise rounding to single precision could make the norm exceed 1
        return MapDraws(_divided(scaled, norm.to(scaled.dtype)))

    def max_squared_norm(self, n_features: int) -> float:  # noqa: ARG002
        """Return the bound 1 on ‖f‖²."""
        return 1.0


@dataclass(frozen=True)
class Magnitudes(_Settings):
    """f = g, for comparison only: no certificate covers an unbounded map."""

    binary = False

    def __call__(self, magnitudes: Tensor) -> MapDraws:
        """Return the magnitudes unchanged."""
        return MapDraws(magnitudes)

    def max_squared_norm(self, n_features: int) -> float:  # noqa: ARG002
        """Return infinity, because ‖f‖² has no bound."""
        return float("inf")


def _at_least_one(fraction: float, n_features: int) -> int:
    """Return ⌈fraction · n⌉, but at least 1."""
    return max(1, fraction_to_count(fraction, n_features))


def _divided(magnitudes: Tensor, scale: Tensor) -> Tensor:
    """Divide magnitudes by their scale. A scale of 0 is replaced by 1, so that gradients are finite too."""
    return magnitudes / torch.where(scale > 0, scale, torch.ones_like(scale))


def _select_largest(magnitudes: Tensor, count: int) -> MapDraws:
    """Select the ``count`` largest positive magnitudes of every row. Ties go to the lower index."""
    mask, placed_by_index = top_k_rows(magnitudes.detach(), count)  # selecting has no gradient
    selected = mask & (magnitudes > 0)
    # On an accelerator, looking for ties would wait for all queued work. So the lines below always run there.
    if magnitudes.device.type != "cpu" or bool(placed_by_index.any()):
        # If fewer than ``count`` magnitudes are positive, only zeros tie at the last rank. Zeros are never selected.
        placed_by_index = placed_by_index * (selected.sum(dim=1) == count)
    return MapDraws(selected, placed_by_index)
