"""One result: a JSON file for people and programs, and beside it the certificate with its map."""

import hashlib
import json
import os
import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from torch import Tensor

from captum_certified.certify import Certificate
from captum_certified.exceptions import FileFormatError, InvalidInputError
from captum_certified.storage import digest, write_json

__all__ = ["file_digest", "input_digest", "map_name", "versions", "write_result"]

_PACKAGES = ("captum-certified", "captum", "torch", "numpy", "scipy")


def input_digest(example: Tensor | tuple[Tensor, ...]) -> str:
    """SHA-256 of one example: of dtype, shape and bytes of each of its tensors.

    Args:
        example: A row of the input, without the batch dimension, or a tuple of such rows.

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
    notes: Mapping[str, Any] | None = None,
) -> Path:
    """Write the certificate of one example as JSON, and beside it as npz with the map it is about.

    The JSON holds ``certificate.to_dict()``, ``input_digest``, ``map_file`` and ``map_digest`` (the npz and its
    SHA-256), ``versions``, and the notes. It is written last, so a JSON file that exists is complete.

    Args:
        path: The JSON file; the npz has the same name with another suffix.
        certificate: A certificate of one example.
        inputs: The input it is about, with its batch dimension of 1.
        notes: More entries, such as label and prediction; they are kept, but :func:`verify` does not compare them.

    Returns:
        The path of the JSON file.

    Raises:
        InvalidInputError: The path does not end in .json, the certificate or the input is not of one example,
            a note has the name of another entry, or is not a JSON value.
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
    """Those of Python and of the packages that a result may depend on."""
    return {name: version(name) for name in _PACKAGES} | {"python": platform.python_version()}


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def map_name(record: Mapping[str, Any], path: Path) -> str:
    """The name of the npz file beside a result.

    Raises:
        FileFormatError: The result names none.
    """
    name = record.get("map_file")
    if not isinstance(name, str) or Path(name).name != name or Path(name).suffix != ".npz":
        raise FileFormatError(f"Expected {path} to name the npz file beside it as `map_file`, got {name!r}.")
    return name


def _checked_notes(notes: Mapping[str, Any], record: Mapping[str, Any]) -> dict[str, Any]:
    taken = sorted(set(notes) & set(record))
    if taken:
        raise InvalidInputError(f"Expected `notes` under names of their own, got {taken}.")
    try:
        return dict(json.loads(json.dumps(dict(notes), allow_nan=False)))
    except (TypeError, ValueError) as error:
        raise InvalidInputError(f"Expected `notes` of JSON values, got one that is not: {error}.") from error
