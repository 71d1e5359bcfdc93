"""Write files whole or not at all, and read and write JSON files."""

import json
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TypeAlias

from captum_certified.exceptions import FileFormatError
from captum_certified.storage.digest import digest

__all__ = ["Json", "JsonObject", "atomic_write", "json_digest", "read_json", "write_json"]

Json: TypeAlias = "bool | int | float | str | Sequence[Json] | Mapping[str, Json] | None"
JsonObject: TypeAlias = Mapping[str, Json]


@contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """Open a binary file for writing. The file appears under ``path`` only when it is complete."""
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


def read_json(path: Path) -> dict[str, Json]:
    """Read a JSON file that holds an object.

    Raises:
        FileFormatError: The file is corrupt, does not hold an object, or holds an entry twice.
        OSError: The file cannot be opened.
    """
    raw = path.read_bytes()
    try:
        record = json.loads(raw, object_pairs_hook=_without_duplicates)
    except (ValueError, RecursionError) as error:
        raise FileFormatError(f"Expected {path} to be a result in JSON, but it is corrupt: {error}.") from error
    if not isinstance(record, dict):
        raise FileFormatError(f"Expected {path} to be a result in JSON, got {type(record).__name__}.")
    return record


def write_json(path: str | os.PathLike[str], values: JsonObject) -> None:
    """Write values to a JSON file, whole or not at all.

    Raises:
        ValueError: A number is NaN or infinite.
        OSError: The file cannot be written.
    """
    text = json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False)
    with atomic_write(path) as file:
        file.write(f"{text}\n".encode())


def json_digest(values: JsonObject) -> str:
    """Compute the SHA-256 of JSON values. The order of names in an object does not matter."""
    return digest(json.dumps(values, sort_keys=True))


def _without_duplicates(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    names = [name for name, _ in pairs]
    if len(set(names)) < len(names):
        raise ValueError("an entry is there twice")
    return dict(pairs)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
