"""Convert smoothed maps to a JSON header and arrays, which can be stored in a file, and convert them back."""

from collections.abc import Mapping
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from captum_certified.checks import checked_integer, checked_norm, checked_stdevs
from captum_certified.exceptions import FileFormatError, InvalidInputError
from captum_certified.maps.covariance import CovarianceSummary
from captum_certified.maps.feature_layout import FeatureLayout
from captum_certified.maps.map_data import MapData
from captum_certified.maps.provenance import DrawRange, Provenance
from captum_certified.storage import Json, JsonObject

__all__ = ["from_parts", "parts_of"]

Map = TypeVar("Map", bound=MapData)

# Fields that are tensors with a row for each example.
_TABLES = (
    *("n_samples", "feature_counts", "feature_mean", "second_moment"),
    *("plain", "probe", "given_trace", "looks", "reference"),
    *("brightness", "randomised", "class_votes"),
)


def parts_of(smoothed_map: MapData) -> tuple[dict[str, Json], dict[str, np.ndarray]]:
    """Return a header and arrays, which :func:`from_parts` turns back into the map."""
    layout, provenance = smoothed_map.layout, smoothed_map.provenance
    header: dict[str, Json] = {
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
    tensors |= {f"group_ids.{i}": ids for i, ids in enumerate(layout.group_ids or ())}
    for i, (mask, shares) in enumerate(smoothed_map.regions.values()):
        tensors |= {f"region.{i}.mask": mask, f"region.{i}.shares": shares}
    if smoothed_map.covariance is not None:
        tensors |= {f"covariance.{name}": value for name, value in smoothed_map.covariance.parts().items()}
    return header, {name: value.numpy() for name, value in tensors.items() if value is not None}


def from_parts(kind: type[Map], header: JsonObject, arrays: Mapping[str, np.ndarray]) -> Map:
    """Return the map that a header and arrays hold, or raise a FileFormatError if a part is missing or wrong."""
    try:
        return _map_from_tensors(kind, header, {name: torch.from_numpy(array) for name, array in arrays.items()})
    except FileFormatError:
        raise
    except (*(KeyError, TypeError, ValueError, AttributeError), *(IndexError, RuntimeError, OverflowError)) as error:
        raise FileFormatError(f"Expected a complete SmoothedMap, got an inconsistent one: {error}") from error


def _map_from_tensors(kind: type[Map], header: JsonObject, tensors: Mapping[str, Tensor]) -> Map:
    stdevs, norm, setup = header["stdevs"], header["max_squared_norm"], header["setup"]
    if not isinstance(setup, dict):
        raise InvalidInputError("`setup` does not fit the other parts of the map.")
    summary = {n.removeprefix("covariance."): t for n, t in tensors.items() if n.startswith("covariance.")}
    return kind(
        layout=_layout(header, tensors),
        stdevs=checked_stdevs(tuple(stdevs) if isinstance(stdevs, list) else stdevs),
        max_squared_norm=checked_norm(norm),
        covariance=CovarianceSummary(**summary) if summary else None,
        regions={
            str(name): (tensors[f"region.{i}.mask"], tensors[f"region.{i}.shares"])
            for i, name in enumerate(_listed(header, "regions"))
        },
        provenance=None if header["provenance"] is None else _provenance(header),
        setup=setup,
        n_samples=tensors["n_samples"],
        **{name: tensors.get(name) for name in _TABLES if name != "n_samples"},
    )


def _layout(header: JsonObject, tensors: Mapping[str, Tensor]) -> FeatureLayout:
    shapes = tuple(_integers(shape, "shapes") for shape in _listed(header, "shapes"))
    ids = tuple(tensors[f"group_ids.{i}"] for i in range(len(shapes))) if "group_ids.0" in tensors else None
    n_features = checked_integer("n_features", header["n_features"])
    if ids is None and n_features != sum(torch.Size(shape).numel() for shape in shapes):
        raise InvalidInputError("`n_features` does not fit the other parts of the map.")
    return FeatureLayout(shapes, bool(header["is_tuple"]), n_features, ids, by_channel=bool(header["by_channel"]))


def _provenance(header: JsonObject) -> Provenance:
    rows = _listed(header, "provenance")
    return tuple(
        tuple(DrawRange(*_integers(draws, "provenance")) for draws in (row if isinstance(row, list) else ()))
        for row in rows
    )


def _listed(header: JsonObject, name: str) -> list[Json]:
    """Return an entry of the header, or raise an InvalidInputError if the entry is not a list."""
    value = header[name]
    if not isinstance(value, list):
        raise InvalidInputError(f"`{name}` does not fit the other parts of the map.")
    return value


def _integers(value: Json, name: str) -> tuple[int, ...]:
    return tuple(checked_integer(name, number) for number in (value if isinstance(value, list) else ()))
