"""The files of one example: its result, and a checkpoint while it is unfinished."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from captum_certified.certify import Certificate
from captum_certified.exceptions import FileFormatError
from captum_certified.maps import SmoothedMap, from_parts, parts_of
from captum_certified.runs.results import write_result
from captum_certified.storage import Json, JsonObject, digest, read_archive, write_archive

__all__ = ["ExampleFiles", "leftovers"]

_KIND = "checkpoint"
_TEMPORARY = re.compile(r"\.(.+)\.(?:json|npz|checkpoint|png|csv|html)\.[a-z0-9_]{8}")


@dataclass(frozen=True)
class ExampleFiles:
    """The files of one example.

    Args:
        folder: Their folder.
        name: Their name, without a suffix.
    """

    folder: Path
    name: str

    @property
    def json(self) -> Path:
        """The result."""
        return self.folder / f"{self.name}.json"

    @property
    def stem(self) -> Path:
        """The files' path without a suffix."""
        return self.folder / self.name

    @property
    def checkpoint(self) -> Path:
        """The map of the first draws, with the settings it was sampled under."""
        return self.folder / f"{self.name}.checkpoint"

    def write_result(self, certificate: Certificate, inputs: Tensor | tuple[Tensor, ...], notes: JsonObject) -> None:
        """Write the result, and the certificate with its map."""
        write_result(self.json, certificate, inputs, notes=notes)

    def remove_checkpoint(self) -> None:
        """Remove the checkpoint, if there is one."""
        self.checkpoint.unlink(missing_ok=True)

    def write_checkpoint(self, smoothed_map: SmoothedMap, settings: JsonObject) -> None:
        """Write the map so far, whole or not at all.

        Args:
            smoothed_map: The map of the first draws of one seed.
            settings: The settings of the draws.
        """
        header, arrays = parts_of(smoothed_map)
        contents: dict[str, Json] = {"settings": dict(settings), "map": header}
        header_with_digest = {**contents, "digest": _digest(contents, arrays)}
        write_archive(self.checkpoint, kind=_KIND, header=header_with_digest, arrays=arrays)

    def read_checkpoint(self, blocks: Sequence[range]) -> tuple[SmoothedMap, JsonObject]:
        """Read the map so far, and its settings.

        Args:
            blocks: The blocks of the whole run.

        Returns:
            The map, which holds the draws of one or more whole blocks, and the settings.

        Raises:
            FileFormatError: The file is corrupt, or holds something else.
            OSError: The file cannot be opened.
        """
        header, arrays = read_archive(self.checkpoint, kind=_KIND)
        settings, parts = header.get("settings"), header.get("map")
        if not isinstance(settings, dict) or not isinstance(parts, dict):
            raise FileFormatError(f"Expected {self.checkpoint} to hold a map and its settings, got something else.")
        if header.get("digest") != _digest({"settings": settings, "map": parts}, arrays):
            raise FileFormatError(f"Expected {self.checkpoint} as it was written, but it is corrupt.")
        smoothed_map = from_parts(SmoothedMap, parts, arrays)
        draws = smoothed_map.draws
        whole = {((blocks[0].start, block.stop),) for block in blocks}
        if draws is None or len(draws) != 1 or draws[0] not in whole or smoothed_map.seed is None:
            raise FileFormatError(
                f"Expected {self.checkpoint} to hold whole blocks of draws of one example, got draws {draws}."
            )
        return smoothed_map, settings


def leftovers(folder: Path) -> dict[str, list[Path]]:
    """Return the files that killed processes were writing under temporary names, by the names of their examples."""
    found: dict[str, list[Path]] = {}
    for path in folder.iterdir():
        match = _TEMPORARY.fullmatch(path.name)
        if match:
            found.setdefault(match[1], []).append(path)
    return found


def _digest(contents: JsonObject, arrays: Mapping[str, np.ndarray]) -> str:
    """Of everything: the archive's own checksums do not cover the names of its members."""
    return digest(json.dumps(contents, sort_keys=True), {name: torch.from_numpy(a) for name, a in arrays.items()})
