"""The files of one example: its result, and a checkpoint that exists until the result is finished."""

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
    """The files of one example. They have the same name with different suffixes."""

    folder: Path
    name: str

    @property
    def json(self) -> Path:
        """Path of the JSON file of the result."""
        return self.folder / f"{self.name}.json"

    @property
    def stem(self) -> Path:
        """The path that the files share, without a suffix."""
        return self.folder / self.name

    @property
    def checkpoint(self) -> Path:
        """Path of the checkpoint, which holds the map of the draws made so far, and the settings of the draws."""
        return self.folder / f"{self.name}.checkpoint"

    def write_result(self, certificate: Certificate, inputs: Tensor | tuple[Tensor, ...], notes: JsonObject) -> None:
        """Write the JSON file, and the npz file with the certificate and its map."""
        write_result(self.json, certificate, inputs, notes=notes)

    def remove_checkpoint(self) -> None:
        """Remove the checkpoint if it exists."""
        self.checkpoint.unlink(missing_ok=True)

    def write_checkpoint(self, smoothed_map: SmoothedMap, settings: JsonObject) -> None:
        """Write the map of the draws made so far, and their settings, atomically."""
        header, arrays = parts_of(smoothed_map)
        contents: dict[str, Json] = {"settings": dict(settings), "map": header}
        header_with_digest = {**contents, "digest": _digest(contents, arrays)}
        write_archive(self.checkpoint, kind=_KIND, header=header_with_digest, arrays=arrays)

    def read_checkpoint(self, blocks: Sequence[range]) -> tuple[SmoothedMap, JsonObject]:
        """Read the map of the draws made so far, and their settings.

        Args:
            blocks: The ranges of draws into which the run is divided, in order. The map must have all draws from the
                first block to the end of one of the blocks.

        Raises:
            FileFormatError: The file is corrupt, or the draws of the map are not whole blocks.
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
    """Return the temporary files left behind by processes that were killed.

    The keys are the names, without suffix, of the files that the killed processes were writing.
    """
    found: dict[str, list[Path]] = {}
    for path in folder.iterdir():
        match = _TEMPORARY.fullmatch(path.name)
        if match:
            found.setdefault(match[1], []).append(path)
    return found


def _digest(contents: JsonObject, arrays: Mapping[str, np.ndarray]) -> str:
    """Return a digest of all contents. The checksums of an archive do not cover the names of its members."""
    return digest(json.dumps(contents, sort_keys=True), {name: torch.from_numpy(a) for name, a in arrays.items()})
