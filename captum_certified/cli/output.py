"""Output of the commands: early checks of output paths, JSON, and the closing lines about all certificates."""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from captum_certified.certify.conditions import held_fixed
from captum_certified.exceptions import InvalidInputError
from captum_certified.storage import Json, atomic_write

__all__ = ["check_folder", "check_json", "conditions_of", "text_stream", "write_json"]

STDOUT = "-"


def check_folder(path: Path) -> None:
    """Refuse, before any computation, a folder of results that cannot be created.

    Raises:
        InvalidInputError: ``path``, or a folder above it, is a file.
    """
    for folder in (path, *path.parents):
        if folder.exists() and not folder.is_dir():
            raise InvalidInputError(f"Expected `--out` to be a folder, got {path}, but {folder} is a file.")


def check_json(destination: str | None) -> None:
    """Refuse a JSON file that cannot be written, before there are results.

    Raises:
        InvalidInputError: ``destination`` is a folder, or in a folder that does not exist.
    """
    if destination in (None, STDOUT):
        return
    path = Path(destination)
    if path.is_dir() or not path.parent.is_dir():
        raise InvalidInputError(f"Expected `--json` to be a file in a folder that exists, got {destination}.")


def write_json(value: Json, destination: str | None) -> None:
    """Write JSON to a file, to standard output for ``-``, or nowhere for ``None``."""
    if destination is None:
        return
    text = json.dumps(value, indent=2) + "\n"
    if destination == STDOUT:
        sys.stdout.write(text)
    else:
        with atomic_write(destination) as file:
            file.write(text.encode())


def text_stream(destination: str | None) -> TextIO:
    """Return the stream for text: standard error if standard output takes the JSON."""
    return sys.stderr if destination == STDOUT else sys.stdout


def conditions_of(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return what the certificates hold fixed, each line once.

    Args:
        records: Certificates and failures as JSON values.
    """
    certified = [record for record in records if "error" not in record]
    return list(dict.fromkeys(held_fixed(record["setup"].get("target"), record["stdevs"]) for record in certified))
