"""A smoothed map as a JSON header and arrays, and back."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from captum_certified.exceptions import FileFormatError, InvalidInputError
from captum_certified.smoothing.covariance import CovarianceSummary
from captum_certified.smoothing.features import FeatureLayout
from captum_certified.smoothing.provenance import DrawRange

if TYPE_CHECKING:
    from captum_certified.smoothing.smoothed_map import SmoothedMap

__all__ = ["fields_from_parts", "parts_of_map"]

_TABLES = {"feature_counts": "i", "feature_mean": "f", "second_moment": "f", "plain": "f"}


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
    tensors |= {name: getattr(smoothed_map, name) for name in ("n_samples", "given_trace", "looks", "probe")}
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
    layout = _layout(header, tensors)
    samples = tensors["n_samples"]
    rows = len(samples)
    _require(samples.dtype == torch.int64 and samples.shape == (rows,) and bool((samples > 0).all()), "n_samples")
    fields: dict[str, Any] = {"layout": layout, "n_samples": samples}
    for name, kind in _TABLES.items():
        table = tensors.get(name)
        if table is not None:
            _require(table.shape == (rows, layout.n_features), name)
            _require(table.is_floating_point() == (kind == "f"), name)
            _require(bool(torch.isfinite(table).all()), name)
            fields[name] = table
    _require(("feature_counts" in fields) != ("feature_mean" in fields), "feature_counts or feature_mean")
    if "feature_counts" in fields:
        counts = fields["feature_counts"]
        _require(bool(((counts >= 0) & (counts <= samples.unsqueeze(1))).all()), "feature_counts")
    if "given_trace" in tensors:
        _require(tensors["given_trace"].shape == (rows,), "given_trace")
        fields["given_trace"] = tensors["given_trace"]
    if "probe" in tensors:
        probe = tensors["probe"]
        _require(probe.shape == (rows, layout.n_features), "probe")
        _require(probe.dtype == torch.bool or (probe.is_floating_point() and bool((probe >= 0).all())), "probe")
        fields["probe"] = probe
    if "looks" in tensors:
        looks = tensors["looks"]
        _require(looks.dtype == torch.int64 and looks.shape == (rows,) and bool((looks >= 0).all()), "looks")
        fields["looks"] = looks
    summary = {n.removeprefix("covariance."): t for n, t in tensors.items() if n.startswith("covariance.")}
    if summary:
        fields["covariance"] = CovarianceSummary(**summary)
        _require(len(fields["covariance"].pairs) == rows, "covariance")
    fields["regions"] = {
        str(name): _region(tensors[f"region.{i}.mask"], tensors[f"region.{i}.shares"], layout, samples)
        for i, name in enumerate(header["regions"])
    }
    fields["stdevs"] = _stdevs(header["stdevs"])
    fields["max_squared_norm"] = None if header["max_squared_norm"] is None else float(header["max_squared_norm"])
    fields["provenance"] = _provenance(header["provenance"], rows)
    _require(isinstance(header["setup"], dict), "setup")
    fields["setup"] = header["setup"]
    return fields


def _layout(header: Mapping[str, Any], tensors: dict[str, Tensor]) -> FeatureLayout:
    shapes = tuple(tuple(int(size) for size in shape) for shape in header["shapes"])
    n_features = int(header["n_features"])
    ids = tuple(tensors[f"group_ids.{i}"] for i in range(len(shapes))) if "group_ids.0" in tensors else None
    if ids is None:
        _require(n_features == sum(torch.Size(shape).numel() for shape in shapes), "n_features")
    else:
        for index, shape in zip(ids, shapes, strict=True):
            _require(index.dtype == torch.int64 and tuple(index.shape[1:]) == shape, "group_ids")
            _require(bool(((index >= 0) & (index < n_features)).all()), "group_ids")
    return FeatureLayout(shapes, bool(header["is_tuple"]), n_features, ids, by_channel=bool(header["by_channel"]))


def _region(mask: Tensor, shares: Tensor, layout: FeatureLayout, samples: Tensor) -> tuple[Tensor, Tensor]:
    _require(
        mask.dtype == torch.bool and mask.shape in ((1, layout.n_features), (len(samples), layout.n_features)), "mask"
    )
    _require(shares.dtype == torch.float64 and shares.dim() == 2 and len(shares) == len(samples), "shares")
    _require(shares.shape[1] == int(samples.max()), "shares")
    drawn = torch.arange(shares.shape[1], device="cpu") < samples.unsqueeze(1)
    _require(torch.equal(drawn, (shares >= 0) & (shares <= 1)), "shares")
    _require(torch.equal(drawn, ~shares.isnan()), "shares")
    return mask, shares


def _stdevs(stored: Any) -> float | tuple[float, ...]:
    return tuple(float(s) for s in stored) if isinstance(stored, list) else float(stored)


def _provenance(stored: Any, rows: int) -> tuple[tuple[DrawRange, ...], ...] | None:
    if stored is None:
        return None
    _require(len(stored) == rows, "provenance")
    return tuple(tuple(DrawRange(*(int(value) for value in draws)) for draws in row) for row in stored)


def _require(holds: bool, name: str) -> None:
    if not holds:
        raise InvalidInputError(f"`{name}` does not fit")
