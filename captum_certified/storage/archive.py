"""Versioned npz archives of a JSON header and arrays, without pickle. A file is written whole or not at all."""

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from captum_certified.exceptions import FileFormatError
from captum_certified.storage.files import Json, JsonObject, atomic_write
from captum_certified.storage.untrusted_files import load_arrays, may_inflate

__all__ = ["read_archive", "write_archive"]

_VERSION = 1
_HEADER = "header"


def write_archive(
    path: str | os.PathLike[str], *, kind: str, header: JsonObject, arrays: Mapping[str, np.ndarray]
) -> None:
    """Write a header and arrays under ``path``.

    Args:
        path: File to write. The suffix is not changed.
        kind: Name for the content of the file. :func:`read_archive` checks this name.
        header: JSON values.
        arrays: Numeric or boolean arrays.
    """
    # A zip archive with a damaged directory can lose its last members without an error, so the header names them all.
    text = json.dumps({"kind": kind, "version": _VERSION, "arrays": sorted(arrays), **header})
    members = {_HEADER: np.frombuffer(text.encode(), dtype=np.uint8), **arrays}
    compressed: Callable[..., None] = np.savez_compressed
    stored: Callable[..., None] = np.savez
    with atomic_write(path) as file:
        compressed(file, **members)
        # Readers refuse archives that inflate too much, so arrays that would inflate too much are stored without
        # compression. The factor 2 leaves room for the headers and names, about a kilobyte.
        if not may_inflate(file.tell(), 2 * sum(np.asarray(member).nbytes for member in members.values())):
            file.seek(0)
            file.truncate()
            stored(file, **members)


def read_archive(path: str | os.PathLike[str], *, kind: str) -> tuple[dict[str, Json], dict[str, np.ndarray]]:
    """Read a file that :func:`write_archive` wrote.

    Args:
        path: File to read.
        kind: Name of what the file must hold.

    Returns:
        The header and the arrays.

    Raises:
        FileFormatError: The file is corrupt, truncated, of another kind, or written by a newer version.
        OSError: The file cannot be opened.
    """
    with Path(path).open("rb") as file:
        try:
            arrays = load_arrays(file)
        except FileFormatError as error:
            raise FileFormatError(f"Expected {path} to be a {kind} file, but {error}.") from error
    header = _header(arrays.pop(_HEADER, None), path, kind)
    if header.get("kind") != kind:
        raise FileFormatError(f"Expected {path} to hold a {kind}, got {header.get('kind')!r}.")
    version = header.get("version")
    if not isinstance(version, int) or version > _VERSION:
        raise FileFormatError(
            f"Expected {path} to be of version {_VERSION} or older, got {version!r}; update captum_certified."
        )
    if header.get("arrays") != sorted(arrays):
        raise FileFormatError(f"Expected {path} to hold the arrays {header.get('arrays')!r}, got {sorted(arrays)}.")
    return header, arrays


def _header(raw: np.ndarray | None, path: str | os.PathLike[str], kind: str) -> dict[str, Json]:
    if raw is None or raw.dtype != np.uint8 or raw.ndim != 1:
        raise FileFormatError(f"Expected {path} to be a {kind} file, but it has no header.")
    try:
        header = json.loads(raw.tobytes())
    except (ValueError, RecursionError) as error:
        raise FileFormatError(f"Expected {path} to be a {kind} file, but its header is not JSON.") from error
    if not isinstance(header, dict):
        raise FileFormatError(f"Expected {path} to be a {kind} file, but its header is not an object.")
    return header
