"""Statements about single features, for tables and figures."""

import itertools

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from captum_certified.certify.bounds import bound_named, interval_bound_of
from captum_certified.certify.row_levels import by_level
from captum_certified.maps import FeatureLayout, SmoothedMap

__all__ = ["feature_names_of", "feature_ranks", "score_range", "top_k_radii"]


def feature_names_of(layout: FeatureLayout) -> list[str]:
    """Name each feature by its group number, or by its position in the map.

    A position is the indices of the entry. For a tuple of maps, the number of the tensor comes first.
    """
    if layout.group_ids is not None:
        return [str(group) for group in range(layout.n_features)]
    return [
        ",".join(map(str, (number, *position) if layout.is_tuple else position))
        for number, shape in enumerate(layout.shapes)
        for position in itertools.product(*(range(size) for size in shape))
    ]


def score_range(
    smoothed_map: SmoothedMap, bound: str, radius: float, alpha: float, fresh_draws: int | None = None
) -> tuple[Tensor, Tensor]:
    """Return lower and upper bounds on exact scores within the radius, or on scores of fresh draws, shape (N, n)."""
    named, ratio = bound_named(bound, smoothed_map), radius / smoothed_map.sigma

    def ends(part: SmoothedMap, level: float) -> NDArray[np.float64]:
        if fresh_draws is None:
            return np.stack(named.score_range(part, ratio, level), axis=1)
        return np.stack(interval_bound_of(named).fresh_score_range(part, ratio, level, fresh_draws), axis=1)

    lower, upper = torch.from_numpy(by_level(smoothed_map, alpha, ends)).unbind(dim=1)
    return lower, upper


def feature_ranks(smoothed_map: SmoothedMap, bound: str, radius: float, alpha: float) -> Tensor:
    """Return the certified rank of every feature, shape (N, n)."""
    named, ratio = bound_named(bound, smoothed_map), radius / smoothed_map.sigma
    return torch.from_numpy(by_level(smoothed_map, alpha, lambda part, level: named.ranks(part, ratio, level)))


def top_k_radii(smoothed_map: SmoothedMap, bound: str, k: int, alpha: float) -> Tensor:
    """Return the radius, in the units of the input, up to which each feature stays in the top K, shape (N, n)."""
    named = bound_named(bound, smoothed_map)
    ratios = by_level(smoothed_map, alpha, lambda part, level: named.top_k_ratios(part, k, level))
    return torch.from_numpy(ratios * smoothed_map.sigma)
