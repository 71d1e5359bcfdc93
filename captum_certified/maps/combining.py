"""Some of the rows of a smoothed map."""

from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from captum_certified.maps.covariance import CovarianceSummary
from captum_certified.maps.provenance import setup_of_rows
from captum_certified.maps.regions import regions_of_rows

if TYPE_CHECKING:
    from captum_certified.maps.smoothed_map import SmoothedMap

__all__ = ["difference_in_limits", "same_behaviour", "select_rows"]

# Two maps count as equal if at most 0.1 % of each row differs, as the arithmetic of another machine may cause.
_MOST_DIFFERING = 1e-3


def select_rows(smoothed_map: "SmoothedMap", rows: Tensor) -> "SmoothedMap":
    """The map of some of the examples, in any order; the reverse of ``SmoothedMap.stack``.

    Args:
        smoothed_map: A map.
        rows: Numbers of the rows, integers of shape (M,).

    Returns:
        A map of M rows.

    Example:
        >>> import torch
        >>> from captum_certified import SmoothedMap
        >>> smoothed_map = SmoothedMap.from_counts(torch.tensor([[3, 0], [1, 2]]), n_samples=4, stdevs=0.1)
        >>> select_rows(smoothed_map, torch.tensor([1])).counts
        tensor([[1, 2]])
    """
    covariance, provenance = smoothed_map.covariance, smoothed_map.provenance
    tables: dict[str, Any] = {
        field.name: value[rows]
        for field in fields(smoothed_map)
        if isinstance(value := getattr(smoothed_map, field.name), Tensor)
    }
    return replace(
        smoothed_map,
        **tables,
        layout=smoothed_map.layout.of_rows(rows),
        covariance=covariance and CovarianceSummary(**{name: v[rows] for name, v in covariance.parts().items()}),
        regions=regions_of_rows(smoothed_map.regions, rows),
        provenance=provenance and tuple(provenance[row] for row in rows.tolist()),
        setup=setup_of_rows(smoothed_map.setup, rows.tolist()),
    )


def difference_in_limits(one: Tensor, two: Tensor) -> Tensor:
    """How much of each row of a map is another, in units of the most that arithmetic may cause.

    That is 0.1 % of what the row selects or weighs; of a 0/1 map it is rounded up to whole features.

    Args:
        one: Shape (rows, n), bool or non-negative.
        two: The same.

    Returns:
        What leaves the map or what enters it, whichever is more, over the limit; float64, shape (rows,).
    """
    if one.dtype == two.dtype == torch.bool:
        leaves, enters = (one & ~two).sum(dim=1).double(), (two & ~one).sum(dim=1).double()
        limit = (_MOST_DIFFERING * one.sum(dim=1).double()).ceil()
    else:
        difference = one.double() - two.double()
        leaves, enters = difference.clamp_min(0).sum(dim=1), (-difference).clamp_min(0).sum(dim=1)
        limit = _MOST_DIFFERING * one.double().sum(dim=1)
    distance = torch.maximum(leaves, enters)
    return torch.where(distance > 0, distance / limit, distance)


def same_behaviour(one: Tensor, two: Tensor) -> bool:
    """Whether two maps of the same inputs are those of one explanation: equal, but for arithmetic."""
    return one.shape == two.shape and bool((difference_in_limits(one, two) <= 1).all())
