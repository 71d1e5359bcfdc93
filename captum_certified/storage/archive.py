"""Versioned npz archives: a JSON header and plain arrays, never pickle, written whole or not at all."""

import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np

from captum_certified.exceptions import FileFormatError
from captum_certified.storage.untrusted_files import load_arrays, may_inflate

__all__ = ["atomic_write", "read_archive", "write_archive"]

VERSION = 1
_HEADER = "header"


@contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """A binary file that appears under ``path`` complete, or not at all."""
    target = Path(path)
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_archive(
    path: str | os.PathLike[str], *, kind: str, header: Mapping[str, Any], arrays: Mapping[str, np.ndarray]
) -> None:
    """Write a header and arrays under ``path``.

    Args:
        path: File to write; the suffix is not changed.
        kind: What the file holds; reading asks for it by name.
        header: JSON values.
        arrays: Numeric or boolean arrays.
    """
    # A zip archive with a damaged directory can lose its last members without a word; the header names them all.
    text = json.dumps({"kind": kind, "version": VERSION, "arrays": sorted(arrays), **header})
    members: dict[str, Any] = {_HEADER: np.frombuffer(text.encode(), dtype=np.uint8), **arrays}
    with atomic_write(path) as file:
        np.savez_compressed(file, **members)
        # What compresses so well that no reader would believe it is stored as it is; archives have a kilobyte of names.
        if not may_inflate(file.tell(), 2 * sum(np.asarray(member).nbytes for member in members.values())):
            file.seek(0)
            file.truncate()
            np.savez(file, **members)


def read_archive(path: str | os.PathLike[str], *, kind: str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Read what :func:`write_archive` wrote.

    Args:
        path: File to read.
        kind: What the file must hold.

    Returns:
        The header and the arrays.

    Raises:
        FileFormatError: The file is corrupt, truncated, of another kind or of a newer version.
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
    if not isinstance(version, int) or version > VERSION:
        raise FileFormatError(
            f"Expected {path} to be of version {VERSION} or older, got {version!r}; update captum_certified."
        )
    if header.get("arrays") != sorted(arrays):
        raise FileFormatError(f"Expected {path} to hold the arrays {header.get('arrays')!r}, got {sorted(arrays)}.")
    return header, arrays


def _header(raw: np.ndarray | None, path: str | os.PathLike[str], kind: str) -> dict[str, Any]:
    if raw is None or raw.dtype != np.uint8 or raw.ndim != 1:
        raise FileFormatError(f"Expected {path} to be a {kind} file, but it has no header.")
    try:
        header = json.loads(raw.tobytes())
    except (ValueError, RecursionError) as error:
        raise FileFormatError(f"Expected {path} to be a {kind} file, but its header is not JSON.") from error
    if not isinstance(header, dict):
        raise FileFormatError(f"Expected {path} to be a {kind} file, but its header is not an object.")
    return header


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
