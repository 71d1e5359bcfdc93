"""A result of an earlier run, read back and checked."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from captum_certified.certify import Certificate, TopKCertificate
from captum_certified.exceptions import CaptumCertifiedError, FileFormatError
from captum_certified.runs.results import file_digest, map_name
from captum_certified.storage import json_digest, read_json

__all__ = ["StoredResult", "is_sealed", "read_result", "sealed"]

_SEAL = "notes_digest"
_ABOUT_FILES = frozenset({"input_digest", "map_file", "map_digest", "versions", _SEAL})


@dataclass(frozen=True)
class StoredResult:
    """A result whose files are whole and fit together.

    Attributes:
        record: What its JSON holds.
        certificate: Its certificate, with the map.
    """

    record: Mapping[str, Any]
    certificate: TopKCertificate

    @property
    def settings(self) -> Mapping[str, Any]:
        """The settings it was made under."""
        settings: Mapping[str, Any] = self.record["settings"]
        return settings


def sealed(notes: Mapping[str, Any]) -> dict[str, Any]:
    """Notes for a result with their digest, which :func:`read_result` checks."""
    return {**notes, _SEAL: json_digest(notes)}


def is_sealed(record: Mapping[str, Any]) -> bool:
    """Whether a result has notes of a run over a data set."""
    return _SEAL in record


def read_result(path: Path) -> StoredResult | None:
    """A stored result, checked without recomputing it, which :func:`verify` does.

    Args:
        path: Its JSON file.

    Returns:
        The result; ``None`` if the file records a failure.

    Raises:
        FileFormatError: A file is corrupt, missing, or not of a run over a data set.
        OSError: A file cannot be opened.
    """
    record = read_json(path)
    if record.get("kind") == "failure":
        return None
    map_file = path.parent / map_name(record, path)
    if not map_file.is_file() or record.get("map_digest") != file_digest(map_file):
        raise FileFormatError(f"Expected {map_file} as it was written with {path.name}, got another or none.")
    try:
        certificate = Certificate.load(map_file)
    except (CaptumCertifiedError, ValueError, TypeError, RuntimeError) as error:
        raise FileFormatError(f"Expected {map_file} to hold a certificate, got another file: {error}") from error
    expected = json.loads(certificate.to_json())
    notes = {name: value for name, value in record.items() if name not in expected and name not in _ABOUT_FILES}
    settings = notes.get("settings")
    if not isinstance(certificate, TopKCertificate) or not isinstance(settings, dict) or _SEAL not in record:
        raise FileFormatError(f"Expected {path} to be a result with its settings, got one without.")
    changed = any(record.get(name) != value for name, value in expected.items())
    changed |= not str(record.get("input_digest")).startswith(str(certificate.map.setup["inputs"][0]))
    if changed or record[_SEAL] != json_digest(notes):
        raise FileFormatError(f"Expected {path} as it was written, got entries that were changed.")
    return StoredResult(record, certificate)
