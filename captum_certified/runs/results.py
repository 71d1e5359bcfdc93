"""Results on disk: for each example a JSON file, and an npz file with the certificate and its map."""

import hashlib
import json
import os
import platform
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from torch import Tensor

from captum_certified.certify import Certificate, TopKCertificate
from captum_certified.exceptions import CaptumCertifiedError, FileFormatError, InvalidInputError
from captum_certified.storage import Json, JsonObject, digest, json_digest, read_json, write_json

__all__ = [
    "StoredResult",
    "file_digest",
    "input_digest",
    "is_of_dataset_run",
    "map_name",
    "read_result",
    "versions",
    "with_notes_digest",
    "write_result",
]

_NOTES_DIGEST = "notes_digest"
_ABOUT_FILES = frozenset({"input_digest", "map_file", "map_digest", "versions", _NOTES_DIGEST})
_PACKAGES = ("captum-certified", "captum", "torch", "numpy", "scipy")


def input_digest(example: Tensor | tuple[Tensor, ...]) -> str:
    """Return the SHA-256 of the dtype, the shape and the bytes of each tensor of one example.

    Args:
        example: A tensor of one example without the batch dimension, or a tuple of such tensors.

    Returns:
        64 hexadecimal digits. The first 32 are in ``SmoothedMap.setup["inputs"]``.

    Example:
        >>> import torch
        >>> input_digest(torch.zeros(1, 8, 8))[:16]
        'd23cf5ae740fe561'
    """
    return digest(*(example if isinstance(example, tuple) else (example,)))


def write_result(
    path: str | os.PathLike[str],
    certificate: Certificate,
    inputs: Tensor | tuple[Tensor, ...],
    *,
    notes: JsonObject | None = None,
) -> Path:
    """Write the certificate of one example to a JSON file, and the certificate with its map to an npz file.

    Both files are in the same folder. The JSON file holds ``certificate.to_dict()``, ``input_digest``, ``map_file`` and
    ``map_digest`` (the name and the SHA-256 of the npz file), ``versions``, and the notes. It is written atomically,
    after the npz file.

    Args:
        path: The JSON file.
        certificate: A certificate of one example.
        inputs: The input of this example, with its batch dimension of 1.
        notes: More entries, such as label and prediction. :func:`verify` does not compare them.

    Returns:
        The path of the JSON file.

    Raises:
        InvalidInputError: The path does not end in .json, the certificate or the input is not of one example,
            a note has the name of another entry, or a note is not a JSON value.
        OSError: A file cannot be written.
    """
    target = Path(path)
    map_file = target.with_suffix(".npz")
    if target.suffix != ".json":
        raise InvalidInputError(f"Expected `path` to end in .json, got {target.name!r}.")
    tensors = inputs if isinstance(inputs, tuple) else (inputs,)
    if len(certificate.map) != 1 or any(len(tensor) != 1 for tensor in tensors):
        raise InvalidInputError(
            f"Expected a certificate and an input of one example, got {len(certificate.map)} and {len(tensors[0])}."
        )
    record = certificate.to_dict()
    record["input_digest"] = input_digest(tuple(tensor[0] for tensor in tensors))
    record["map_file"] = map_file.name
    record["map_digest"] = ""
    record["versions"] = versions()
    extra = _checked_notes(notes or {}, record)
    certificate.save(map_file)
    record["map_digest"] = file_digest(map_file)
    write_json(target, {**record, **extra})
    return target


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that a result may depend on."""
    return {name: version(name) for name in _PACKAGES} | {"python": platform.python_version()}


def file_digest(path: Path) -> str:
    """Return the SHA-256 of the bytes of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def map_name(record: JsonObject, path: Path) -> str:
    """Return the name of the npz file that belongs to a JSON file.

    Raises:
        FileFormatError: The JSON file does not name an npz file in its folder.
    """
    name = record.get("map_file")
    if not isinstance(name, str) or Path(name).name != name or Path(name).suffix != ".npz":
        raise FileFormatError(f"Expected {path} to name the npz file beside it as `map_file`, got {name!r}.")
    return name


def _checked_notes(notes: JsonObject, record: JsonObject) -> dict[str, Json]:
    taken = sorted(set(notes) & set(record))
    if taken:
        raise InvalidInputError(f"Expected `notes` with names that no other entry has, got {taken}.")
    try:
        return dict(json.loads(json.dumps(dict(notes), allow_nan=False)))
    except (TypeError, ValueError) as error:
        raise InvalidInputError(f"Expected `notes` of JSON values, got another value: {error}.") from error


@dataclass(frozen=True)
class StoredResult:
    """A result whose two files are complete and belong together.

    Attributes:
        record: The contents of the JSON file.
        certificate: The certificate, with its map.
        sampling_settings: The settings that determine the draws; empty if unknown.
        certificate_settings: The settings of the certificate; empty if unknown.
    """

    record: JsonObject
    certificate: TopKCertificate
    sampling_settings: JsonObject
    certificate_settings: JsonObject


def with_notes_digest(notes: JsonObject) -> dict[str, Json]:
    """Return the notes of a run over a data set with their digest, which :func:`read_result` checks."""
    return {**notes, _NOTES_DIGEST: json_digest(notes)}


def is_of_dataset_run(record: JsonObject) -> bool:
    """Return whether a result was written by a run over a data set."""
    return _NOTES_DIGEST in record


def read_result(path: Path) -> StoredResult | None:
    """Read a stored result, given its JSON file. Return ``None`` if the file records a failure.

    The files are checked by their digests. Unlike :func:`verify`, this function does not recompute the certificate.

    Raises:
        FileFormatError: A file is corrupt or missing, or was not written by a run over a data set.
        OSError: A file cannot be opened.
    """
    record = read_json(path)
    if record.get("kind") == "failure":
        return None
    map_file = path.parent / map_name(record, path)
    if not map_file.is_file() or record.get("map_digest") != file_digest(map_file):
        raise FileFormatError(f"Expected {map_file} as it was written with {path.name}, got another file or none.")
    try:
        certificate = Certificate.load(map_file)
    except (CaptumCertifiedError, ValueError, TypeError, RuntimeError) as error:
        raise FileFormatError(f"Expected {map_file} to hold a certificate, got another file: {error}") from error
    expected = json.loads(certificate.to_json())
    notes = {name: value for name, value in record.items() if name not in expected and name not in _ABOUT_FILES}
    settings = notes.get("settings")
    if not isinstance(certificate, TopKCertificate) or not isinstance(settings, dict) or _NOTES_DIGEST not in record:
        raise FileFormatError(f"Expected {path} to be a result with its settings, got a result without them.")
    changed = any(record.get(name) != value for name, value in expected.items())
    inputs = certificate.map.setup["inputs"]
    changed |= not isinstance(inputs, list) or not str(record.get("input_digest")).startswith(str(inputs[0]))
    if changed or record[_NOTES_DIGEST] != json_digest(notes):
        raise FileFormatError(f"Expected {path} as it was written, got entries that were changed.")
    sampling, certified = settings.get("sampling"), settings.get("certificate")
    return StoredResult(
        record,
        certificate,
        sampling_settings=sampling if isinstance(sampling, dict) else {},
        certificate_settings=certified if isinstance(certified, dict) else {},
    )
