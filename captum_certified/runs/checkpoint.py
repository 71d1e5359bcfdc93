"""The map of an unfinished example on disk, with the settings it was sampled under."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from captum_certified.exceptions import FileFormatError
from captum_certified.maps import SmoothedMap, from_parts, parts_of
from captum_certified.storage import Json, JsonObject, digest, read_archive, write_archive

__all__ = ["read_checkpoint", "write_checkpoint"]

_KIND = "checkpoint"


def write_checkpoint(path: Path, smoothed_map: SmoothedMap, settings: JsonObject) -> None:
    """Write the map so far, whole or not at all.

    Args:
        path: File to write.
        smoothed_map: The map of the first draws of one seed.
        settings: What the draws are of, JSON values.
    """
    header, arrays = parts_of(smoothed_map)
    contents: dict[str, Json] = {"settings": dict(settings), "map": header}
    sealed = {**contents, "digest": _digest(contents, arrays)}
    write_archive(path, kind=_KIND, header=sealed, arrays=arrays)


def read_checkpoint(path: Path, blocks: Sequence[range]) -> tuple[SmoothedMap, JsonObject]:
    """The map so far, and its settings.

    Args:
        path: File to read.
        blocks: The blocks of the whole run.

    Returns:
        The map, which holds the draws of one or more whole blocks, and the settings.

    Raises:
        FileFormatError: The file is corrupt, or holds something else.
        OSError: The file cannot be opened.
    """
    header, arrays = read_archive(path, kind=_KIND)
    settings, parts = header.get("settings"), header.get("map")
    if not isinstance(settings, dict) or not isinstance(parts, dict):
        raise FileFormatError(f"Expected {path} to hold a map and its settings, got something else.")
    if header.get("digest") != _digest({"settings": settings, "map": parts}, arrays):
        raise FileFormatError(f"Expected {path} as it was written, but it is corrupt.")
    smoothed_map = from_parts(SmoothedMap, parts, arrays)
    draws = smoothed_map.draws
    whole = {((blocks[0].start, block.stop),) for block in blocks}
    if draws is None or len(draws) != 1 or draws[0] not in whole or smoothed_map.seed is None:
        raise FileFormatError(f"Expected {path} to hold whole blocks of draws of one example, got draws {draws}.")
    return smoothed_map, settings


def _digest(contents: JsonObject, arrays: Mapping[str, np.ndarray]) -> str:
    """Of everything: the archive's own checksums do not cover the names of its members."""
    return digest(json.dumps(contents, sort_keys=True), {name: torch.from_numpy(a) for name, a in arrays.items()})
