"""A submission: all files of a benchmark in one archive, with their digests and the settings and versions."""

import json
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path

from captum_certified.benchmark.leaderboard import Leaderboard
from captum_certified.benchmark.pages import HTML, MARKDOWN
from captum_certified.exceptions import InvalidInputError
from captum_certified.runs.results import file_digest, versions
from captum_certified.storage import Json, atomic_write, read_json

__all__ = ["MANIFEST", "manifest_differences", "write_submission"]

MANIFEST = "submission.json"
_KIND = "benchmark submission"
_SUFFIXES = (".json", ".npz")


def write_submission(folder: str | os.PathLike[str], path: str | os.PathLike[str], *, about: str = "") -> Path:
    """Pack the records and the saved maps of a benchmark into one zip archive, with a list of digests.

    The archive holds no image. An unpacked archive is a folder that :func:`verify_benchmark` takes.

    Args:
        folder: Folder of the benchmark.
        path: The archive to write, which ends in .zip.
        about: A line about the model, which is stored in the list.

    Returns:
        The path of the archive.

    Raises:
        InvalidInputError: The path does not end in .zip.
        FileFormatError: The folder holds no benchmark.
        OSError: A file cannot be read or written.
    """
    root, target = Path(folder), Path(path)
    if target.suffix != ".zip":
        raise InvalidInputError(f"Expected a submission to end in .zip, got {target.name!r}.")
    board = Leaderboard.load(root)
    files = list(_files(root))
    manifest: dict[str, Json] = {
        "kind": _KIND,
        "about": about,
        "cells": len(board.records),
        "settings": [record["settings"] for record in board.records[:1]],
        "versions": versions(),
        "files": {file.relative_to(root).as_posix(): file_digest(file) for file in files},
    }
    with atomic_write(target) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(MANIFEST, json.dumps(manifest, indent=2))
        for one in files:
            # Maps are compressed already.
            stored = zipfile.ZIP_STORED if one.suffix == ".npz" else zipfile.ZIP_DEFLATED
            archive.write(one, one.relative_to(root).as_posix(), compress_type=stored)
    return target


def manifest_differences(root: Path) -> Iterator[str]:
    """Yield one sentence for every file of an unpacked submission that is not the one that was packed."""
    record = read_json(root / MANIFEST)
    listed = record.get("files")
    if record.get("kind") != _KIND or not isinstance(listed, dict):
        yield "it is not the list of a submission"
        return
    found = {file.relative_to(root).as_posix(): file for file in _files(root)}
    for name in sorted(listed.keys() | found.keys()):
        if name not in found:
            yield f"{name}: missing"
        elif name not in listed:
            yield f"{name}: not expected"
        elif listed[name] != file_digest(found[name]):
            yield f"{name}: not the file that was packed"


def _files(root: Path) -> Iterator[Path]:
    """Yield the records, the saved maps and the pages of a benchmark. Checkpoints and other files are left out."""
    for file in sorted(root.rglob("*")):
        hidden = any(part.startswith(".") for part in file.relative_to(root).parts)
        packed = file.suffix in _SUFFIXES or file in (root / MARKDOWN, root / HTML)
        if packed and not hidden and file.is_file() and file != root / MANIFEST:
            yield file
