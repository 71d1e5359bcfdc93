"""Verification of a benchmark: recompute every number from the saved maps, and compare."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from captum_certified.benchmark.cell_run import CELL, PLAIN, maps_of
from captum_certified.benchmark.leaderboard import FAILURE, Leaderboard
from captum_certified.benchmark.numbers import explanation_of, inconsistencies, numbers_of
from captum_certified.benchmark.pages import HTML, MARKDOWN, html_page, markdown_page
from captum_certified.benchmark.submission import MANIFEST, manifest_differences
from captum_certified.exceptions import CaptumCertifiedError, FileFormatError
from captum_certified.runs.verification import differences_between, verify
from captum_certified.storage import Json, JsonObject, read_json

__all__ = ["PartVerification", "is_benchmark", "verify_benchmark"]

_MEASURED = ("name", "input_digest", "seconds")  # in the record of an image; no map tells the time


@dataclass(frozen=True)
class PartVerification:
    """The comparison of one file of a benchmark with what the saved maps give.

    Attributes:
        path: The file.
        differences: One sentence for every entry that differs.
        numbers: How many numbers were recomputed.
    """

    path: Path
    differences: tuple[str, ...]
    numbers: int = 0

    @property
    def agrees(self) -> bool:
        """Whether the file agrees with the saved maps."""
        return not self.differences


def is_benchmark(folder: str | os.PathLike[str]) -> bool:
    """Return whether a folder holds cells of a benchmark."""
    for path in sorted(Path(folder).glob("*.json")):
        try:
            if read_json(path).get("kind") in (CELL, FAILURE):
                return True
        except (FileFormatError, OSError):
            continue
    return False


def verify_benchmark(folder: str | os.PathLike[str]) -> list[PartVerification]:
    """Recompute the numbers of a benchmark from its saved maps, and compare.

    All certificates and all numbers of the cells are recomputed, and the leaderboard is written anew and compared. Of a
    submission the digests of all files are compared as well. Not verified are the times. The files cannot prove that a
    map belongs to its seed and its model, nor that an attack or a neighbour is the strongest that was tried; to check
    this, run a cell again.

    Args:
        folder: Folder of a benchmark, or an unpacked submission.

    Returns:
        One comparison for each cell, and one for each page of the leaderboard and the list of a submission.

    Raises:
        FileFormatError: The folder holds no benchmark.
        OSError: A file cannot be opened.
    """
    root = Path(folder)
    board = Leaderboard.load(root)
    parts = []
    for path in sorted(root.glob("*.json")):
        kind = _kind(path)
        if kind == CELL:
            parts.append(_cell(path))
        elif path.name == MANIFEST:
            parts.append(PartVerification(path, tuple(manifest_differences(root))))
        elif kind != FAILURE:
            parts.append(PartVerification(path, (f"kind: stored {kind!r}, expected a cell of a benchmark",)))
    for name, text in ((MARKDOWN, markdown_page(board)), (HTML, html_page(board))):
        page = root / name
        if not page.is_file():
            parts.append(PartVerification(page, ("the page is missing",)))
        else:
            same = page.read_bytes() == text.encode()
            parts.append(PartVerification(page, () if same else ("the page differs from what the cells give",)))
    return parts


def _kind(path: Path) -> Json:
    return read_json(path).get("kind")


def _cell(path: Path) -> PartVerification:
    """Recompute all numbers of one cell."""
    record = read_json(path)
    try:
        images = _images(record, path)
        found = [
            difference for image in images for difference in _image(path.with_suffix(""), record, image, path.parent)
        ]
    except (CaptumCertifiedError, OSError, KeyError, TypeError, ValueError) as error:
        return PartVerification(path, (f"cannot be recomputed: {error}",))
    return PartVerification(path, tuple(found), numbers=sum(_count(image) for image in images))


def _images(record: JsonObject, path: Path) -> list[JsonObject]:
    images = record.get("images")
    if not isinstance(images, list) or not images or not all(isinstance(image, dict) for image in images):
        raise FileFormatError(f"Expected {path} to have a list of images, got {images!r:.80}.")
    return images


def _image(folder: Path, record: JsonObject, image: JsonObject, root: Path) -> Iterator[str]:
    """Yield one sentence for everything that differs in one image of a cell."""
    name, settings = image.get("name"), record["settings"]
    if not isinstance(name, str) or Path(name).name != name or not isinstance(settings, dict):
        raise FileFormatError(f"Expected the name of an image and the settings of a cell, got {name!r:.80}.")
    plain_name = record["plain_maps"]
    if not isinstance(plain_name, str) or Path(plain_name).name != plain_name:
        raise FileFormatError(f"Expected the name of a folder as `plain_maps`, got {plain_name!r:.80}.")
    result = folder / f"{name}.json"
    yield from (f"{name}: {difference}" for difference in verify(result).differences)
    certificate, attacked, plain = maps_of(folder, root / PLAIN / plain_name, name)
    radii = settings["radii"]
    if not isinstance(radii, list):
        raise FileFormatError(f"Expected a list of `radii`, got {radii!r:.80}.")
    yield from (f"{name}: {text}" for text in inconsistencies(certificate, attacked, plain))
    expected: dict[str, Json] = {
        **numbers_of(certificate, [float(str(radius)) for radius in radii], attacked, plain),
        "input_digest": read_json(result)["input_digest"],
    }
    stored = {key: value for key, value in image.items() if key not in ("name", "seconds")}
    yield from (f"{name}: {difference}" for difference in differences_between(stored, expected))
    claimed: dict[str, Json] = {
        **{key: settings.get(key) for key in ("radius", "confidence", "bound", "nt_samples")},
        "sigma": record.get("sigma"),
        "explanation": record.get("explanation"),
    }
    held: dict[str, Json] = {
        "radius": certificate.at_radius,
        "confidence": certificate.confidence,
        "bound": certificate.bound,
        "nt_samples": int(certificate.n_samples[0]),
        "sigma": certificate.map.sigma,
        "explanation": explanation_of(certificate.map),
    }
    yield from (f"{name}: {difference}" for difference in differences_between(claimed, held))


def _count(image: JsonObject) -> int:
    values = [value for key, value in image.items() if key not in _MEASURED]
    return sum(len(value) if isinstance(value, list) else 1 for value in values)
