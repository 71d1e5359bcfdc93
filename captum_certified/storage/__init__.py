"""Atomic writing of files, safe reading of untrusted files, and digests. Nothing here knows about explanations."""

from captum_certified.storage.archive import read_archive, write_archive
from captum_certified.storage.digest import digest
from captum_certified.storage.files import Json, JsonObject, atomic_write, json_digest, read_json, write_json
from captum_certified.storage.untrusted_files import load_array, load_arrays, load_tensors

__all__ = [
    "Json",
    "JsonObject",
    "atomic_write",
    "digest",
    "json_digest",
    "load_array",
    "load_arrays",
    "load_tensors",
    "read_archive",
    "read_json",
    "write_archive",
    "write_json",
]
