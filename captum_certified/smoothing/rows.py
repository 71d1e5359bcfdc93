"""Some of the rows of a smoothed map."""

from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

from torch import Tensor

from captum_certified.smoothing.covariance import CovarianceSummary
from captum_certified.smoothing.provenance import setup_of_rows
from captum_certified.smoothing.regions import regions_of_rows

if TYPE_CHECKING:
    from captum_certified.smoothing.smoothed_map import SmoothedMap

__all__ = ["select_rows"]


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
