"""Verification of a stored result: recompute the result from its map, and compare the two."""

import json
import math
import os
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path

from torch import Tensor

from captum_certified.certify import Certificate, TopKCertificate, recompute
from captum_certified.certify.verification import certifier_of, curve_of
from captum_certified.exceptions import CaptumCertifiedError, FileFormatError
from captum_certified.runs.results import file_digest, is_of_dataset_run, map_name
from captum_certified.storage import Json, JsonObject, read_json

__all__ = ["Verification", "differences_between", "verify"]

_SHOWN = 5  # at most so many differences are reported, because a damaged file may differ in 150 528 ranks


@dataclass(frozen=True)
class Verification:
    """The comparison of a stored result with the result recomputed from its map.

    Attributes:
        path: The file of the stored result.
        certificate: The certificate recomputed from the map.
        differences: One sentence for every entry that differs.
    """

    path: Path
    certificate: Certificate
    differences: tuple[str, ...]

    @property
    def agrees(self) -> bool:
        """Whether the stored and the recomputed result are equal."""
        return not self.differences


def verify(path: str | os.PathLike[str]) -> Verification:
    """Recompute a stored result from its map, and compare the two.

    For a JSON file every entry of ``certificate.to_dict()`` is compared. So are the digest of the npz file, the digest
    of the input at which the map was sampled, and the curve and the regions of a run over a data set. Label, prediction
    and other notes are not verified. Nor are the pictures, tables and pages in the same folder. The files cannot prove
    that the map was sampled with its seed. To check this, sample again with the seed. Nothing can prove that the seed
    and the settings were chosen before anybody saw results.

    Args:
        path: A JSON file of :func:`write_result`, or a certificate saved as an npz file.

    Raises:
        FileFormatError: A file is corrupt, truncated, or of a newer version.
        CaptumCertifiedError: The settings in the file are impossible.
        OSError: A file cannot be opened.
    """
    source = Path(path)
    if source.suffix == ".npz" or zipfile.is_zipfile(source):
        stored = Certificate.load(source)
        fresh = _recomputed(stored, source)
        return Verification(source, fresh, _limited(differences_between(_contents(stored), _contents(fresh))))
    record = read_json(source)
    map_file = source.parent / map_name(record, source)
    verified = verify(map_file)
    differences = [f"{map_file.name}: {difference}" for difference in verified.differences]
    differences += _about_files(record, map_file, verified.certificate)
    expected = json.loads(verified.certificate.to_json())
    expected |= _of_a_run(record, verified.certificate)
    # Only entries that can be recomputed are compared. The record also holds digests, versions and notes.
    found = {name: record[name] for name in expected if name in record}
    return Verification(source, verified.certificate, (*differences, *_limited(differences_between(found, expected))))


def _of_a_run(record: JsonObject, certificate: Certificate) -> dict[str, Json]:
    """Recompute the notes of a run over a data set that follow from the map: curves, and certificates of regions.

    Results that are not from a run over a data set may have notes with the same names. Such notes are recomputed only
    if they have the same form.
    """
    if not isinstance(certificate, TopKCertificate):
        return {}
    certifier, smoothed_map, curve = certifier_of(certificate), certificate.map, record.get("curve")
    found: dict[str, Json] = {}
    if is_of_dataset_run(record) or (isinstance(curve, dict) and {"radii", "overlap"} <= curve.keys()):
        radii = _radii(curve)
        found["curve"] = {"radii": list[Json](radii), "overlap": curve_of(certificate, radii)}
        if is_of_dataset_run(record) and radii:
            found["plain_curve"] = None if certificate.of_plain is None else curve_of(certificate.of_plain, radii)
    regions = {
        name: json.loads(certifier.region(smoothed_map, name=name, radius=certificate.at_radius).to_json())
        for name in smoothed_map.regions
    }
    if _is_of_region(record.get("region")):
        found["region"] = next(iter(regions.values()), None)
    elif (is_of_dataset_run(record) and regions) or any(map(_is_of_region, _values(record.get("regions")))):
        found["regions"] = regions
    return found


def _is_of_region(note: Json) -> bool:
    return isinstance(note, dict) and note.get("kind") == "region"


def _values(note: Json) -> list[Json]:
    return list(note.values()) if isinstance(note, dict) else []


def _radii(curve: Json) -> list[float]:
    """Return the radii of a stored curve, or an empty list if the note is not a curve."""
    radii = curve.get("radii") if isinstance(curve, dict) else None
    if not isinstance(radii, list):
        return []
    known = all(isinstance(r, int | float) and not isinstance(r, bool) and 0 <= r < math.inf for r in radii)
    return radii if known else []


def _recomputed(stored: Certificate, path: Path) -> Certificate:
    try:
        return recompute(stored)
    except CaptumCertifiedError:
        raise
    except (TypeError, ValueError, RuntimeError) as error:
        raise FileFormatError(f"Expected {path} to hold the settings of a certificate, got {error}.") from error


def _about_files(record: JsonObject, map_file: Path, certificate: Certificate) -> Iterator[str]:
    if record.get("map_digest") != file_digest(map_file):
        yield f"map_digest: {map_file.name} is not the file that was written with this result"
    sampled = certificate.map.setup.get("inputs")
    claimed = record.get("input_digest")
    if not isinstance(claimed, str):
        yield f"input_digest: stored {claimed!r}, expected a digest"
    elif isinstance(sampled, list) and not all(claimed.startswith(str(digest)) for digest in sampled):
        yield f"input_digest: stored {claimed!r}, but the map was sampled at the input {sampled[0]}…"


def _contents(certificate: Certificate) -> dict[str, Json]:
    """Return all fields of a certificate except its map, as JSON values."""
    values = {field.name: getattr(certificate, field.name) for field in fields(certificate) if field.name != "map"}
    return {name: value.tolist() if isinstance(value, Tensor) else value for name, value in values.items()}


def differences_between(stored: Json, fresh: Json, name: str = "") -> Iterator[str]:
    """Yield one sentence for every value that differs between two JSON values."""
    if isinstance(stored, dict) and isinstance(fresh, dict):
        for key in sorted(stored.keys() | fresh.keys()):
            where = f"{name}.{key}" if name else key
            if key in stored and key in fresh:
                yield from differences_between(stored[key], fresh[key], where)
            else:
                yield f"{where}: missing" if key in fresh else f"{where}: not expected"
    elif isinstance(stored, list) and isinstance(fresh, list) and len(stored) == len(fresh):
        for index, (one, two) in enumerate(zip(stored, fresh, strict=True)):
            yield from differences_between(one, two, f"{name}[{index}]")
    elif stored != fresh or isinstance(stored, bool) != isinstance(fresh, bool):
        yield f"{name}: stored {stored!r}, recomputed {fresh!r}"


def _limited(differences: Iterator[str]) -> tuple[str, ...]:
    found = list(differences)
    rest = len(found) - _SHOWN
    return (*found[:_SHOWN], f"… and {rest} more") if rest > 0 else tuple(found)
