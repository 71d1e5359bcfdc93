"""A smoothed map as a JSON header and arrays, and back."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from captum_certified.checks import checked_norm, checked_stdevs
from captum_certified.exceptions import FileFormatError, InvalidInputError
from captum_certified.maps.covariance import CovarianceSummary, check_rows_and_pairs
from captum_certified.maps.feature_layout import FeatureLayout
from captum_certified.maps.provenance import DrawRange, Provenance, joined_draws

if TYPE_CHECKING:
    from captum_certified.maps.smoothed_map import SmoothedMap

__all__ = ["fields_from_parts", "parts_of_map"]

_TABLES = {
    "feature_counts": torch.int64,
    "feature_mean": torch.float64,
    "second_moment": torch.float64,
}
# What rounding may take from a mean of squares, relative to the square of the mean.
_ROUNDING = 1e-9


def parts_of_map(smoothed_map: "SmoothedMap") -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Header and arrays that :func:`fields_from_parts` turns back into the map's fields."""
    layout, provenance = smoothed_map.layout, smoothed_map.provenance
    header = {
        "shapes": [list(shape) for shape in layout.shapes],
        "is_tuple": layout.is_tuple,
        "n_features": layout.n_features,
        "by_channel": layout.by_channel,
        "stdevs": smoothed_map.stdevs,
        "max_squared_norm": smoothed_map.max_squared_norm,
        "provenance": None if provenance is None else [[list(draws) for draws in row] for row in provenance],
        "regions": list(smoothed_map.regions),
        "setup": dict(smoothed_map.setup),
    }
    tensors: dict[str, Tensor | None] = {name: getattr(smoothed_map, name) for name in _TABLES}
    names = ("plain", "n_samples", "given_trace", "looks", "probe")
    tensors |= {name: getattr(smoothed_map, name) for name in names}
    tensors |= {f"group_ids.{i}": ids for i, ids in enumerate(layout.group_ids or ())}
    for i, (mask, shares) in enumerate(smoothed_map.regions.values()):
        tensors |= {f"region.{i}.mask": mask, f"region.{i}.shares": shares}
    if smoothed_map.covariance is not None:
        tensors |= {f"covariance.{name}": value for name, value in smoothed_map.covariance.parts().items()}
    return header, {name: value.numpy() for name, value in tensors.items() if value is not None}


def fields_from_parts(header: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """The fields of a map.

    Raises:
        FileFormatError: A part is missing or does not fit the others.
    """
    try:
        return _fields(header, {name: torch.from_numpy(array) for name, array in arrays.items()})
    except (
        KeyError,
        TypeError,
        ValueError,
        AttributeError,
        IndexError,
        RuntimeError,
        OverflowError,
    ) as error:
        if isinstance(error, FileFormatError):
            raise
        raise FileFormatError(f"Expected a complete SmoothedMap, got an inconsistent one: {error}") from error


def _fields(header: Mapping[str, Any], tensors: dict[str, Tensor]) -> dict[str, Any]:
    samples = tensors["n_samples"]
    rows = len(samples)
    layout = _layout(header, tensors, rows)
    _require(samples.dtype == torch.int64 and samples.shape == (rows,) and bool((samples > 0).all()), "n_samples")
    _require(rows > 0, "n_samples")
    fields: dict[str, Any] = {"layout": layout, "n_samples": samples}
    for name, dtype in _TABLES.items():
        table = tensors.get(name)
        if table is not None:
            _require(table.dtype == dtype and table.shape == (rows, layout.n_features), name)
            _require(bool(torch.isfinite(table).all()), name)
            fields[name] = table
    _require(("feature_counts" in fields) != ("feature_mean" in fields), "feature_counts or feature_mean")
    if "feature_counts" in fields:
        counts = fields["feature_counts"]
        _require(bool(((counts >= 0) & (counts <= samples.unsqueeze(1))).all()), "feature_counts")
    if "second_moment" in fields:
        _require("feature_mean" in fields, "second_moment")  # counts are their own
        least = fields["feature_mean"].square() * (1 - _ROUNDING) - _ROUNDING
        _require(bool((fields["second_moment"] >= least).all()), "second_moment")
    if "plain" in tensors:
        plain = tensors["plain"]
        _require(plain.is_floating_point() and plain.shape == (rows, layout.n_features), "plain")
        _require(bool((torch.isfinite(plain) & (plain >= 0)).all()), "plain")
        fields["plain"] = plain
    if "given_trace" in tensors:
        trace = tensors["given_trace"]
        _require(trace.dtype == torch.float64 and trace.shape == (rows,), "given_trace")
        _require(bool((torch.isfinite(trace) & (trace >= 0)).all()), "given_trace")
        fields["given_trace"] = trace
    if "probe" in tensors:
        probe = tensors["probe"]
        _require(probe.shape == (rows, layout.n_features), "probe")
        _require(probe.dtype == torch.bool or bool((torch.isfinite(probe) & (probe >= 0)).all()), "probe")
        fields["probe"] = probe
    if "looks" in tensors:
        looks = tensors["looks"]
        _require(looks.dtype == torch.int64 and looks.shape == (rows,) and bool((looks >= 0).all()), "looks")
        fields["looks"] = looks
    summary = {n.removeprefix("covariance."): t for n, t in tensors.items() if n.startswith("covariance.")}
    if summary:
        fields["covariance"] = CovarianceSummary(**summary)
        check_rows_and_pairs(fields["covariance"], samples)
    fields["regions"] = {
        str(name): _region(tensors[f"region.{i}.mask"], tensors[f"region.{i}.shares"], layout, samples)
        for i, name in enumerate(header["regions"])
    }
    fields["stdevs"] = _stdevs(header["stdevs"])
    fields["max_squared_norm"] = checked_norm(header["max_squared_norm"])
    fields["provenance"] = _provenance(header["provenance"], samples)
    _require(isinstance(header["setup"], dict), "setup")
    fields["setup"] = header["setup"]
    return fields


def _layout(header: Mapping[str, Any], tensors: dict[str, Tensor], rows: int) -> FeatureLayout:
    shapes = tuple(tuple(int(size) for size in shape) for shape in header["shapes"])
    n_features = int(header["n_features"])
    ids = tuple(tensors[f"group_ids.{i}"] for i in range(len(shapes))) if "group_ids.0" in tensors else None
    if ids is None:
        _require(n_features == sum(torch.Size(shape).numel() for shape in shapes), "n_features")
    else:
        for index, shape in zip(ids, shapes, strict=True):
            _require(index.dtype == torch.int64 and tuple(index.shape[1:]) == shape, "group_ids")
            _require(len(index) in (1, rows), "group_ids")
            _require(bool(((index >= 0) & (index < n_features)).all()), "group_ids")
    return FeatureLayout(shapes, bool(header["is_tuple"]), n_features, ids, by_channel=bool(header["by_channel"]))


def _region(mask: Tensor, shares: Tensor, layout: FeatureLayout, samples: Tensor) -> tuple[Tensor, Tensor]:
    _require(
        mask.dtype == torch.bool and mask.shape in ((1, layout.n_features), (len(samples), layout.n_features)), "mask"
    )
    _require(bool(mask.any(dim=1).all()), "mask")
    _require(shares.dtype == torch.float64 and shares.dim() == 2 and len(shares) == len(samples), "shares")
    _require(shares.shape[1] == int(samples.max()), "shares")
    drawn = torch.arange(shares.shape[1], device="cpu") < samples.unsqueeze(1)
    _require(torch.equal(drawn, (shares >= 0) & (shares <= 1)), "shares")
    _require(torch.equal(drawn, ~shares.isnan()), "shares")
    return mask, shares


def _stdevs(stored: Any) -> float | tuple[float, ...]:
    return checked_stdevs(tuple(stored) if isinstance(stored, list) else stored)


def _provenance(stored: Any, samples: Tensor) -> Provenance | None:
    """The draws of every row, which must be as many as it has, each of them once."""
    if stored is None:
        return None
    _require(len(stored) == len(samples), "provenance")
    provenance = tuple(tuple(DrawRange(*(int(value) for value in draws)) for draws in row) for row in stored)
    for row, q in zip(provenance, samples.tolist(), strict=True):
        _require(all(0 <= draws.start < draws.stop for draws in row), "provenance")
        _require(sum(draws.stop - draws.start for draws in row) == q, "provenance")
    joined_draws(provenance, ((),) * len(provenance))  # refuses draws that are there twice
    return provenance


def _require(holds: bool, name: str) -> None:
    if not holds:
        raise InvalidInputError(f"`{name}` does not fit")
