"""Verification of a benchmark: recompute every number from the saved maps, and compare."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from captum_certified.benchmark.cell_run import CELL, PLAIN
from captum_certified.benchmark.leaderboard import FAILURE, Leaderboard
from captum_certified.benchmark.pages import HTML, MARKDOWN, html_page, markdown_page
from captum_certified.benchmark.saved_maps import SavedMaps, explanation_of, inconsistencies, numbers_of
from captum_certified.benchmark.shams import SHAMS
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
    if not board.records and not board.failures:
        raise FileFormatError(f"Expected {root} to hold cells of a benchmark, got none.")
    parts = []
    for path in sorted(root.glob("*.json")):
        kind = _kind(path)
        if kind == CELL:
            parts.append(_cell(path))
        elif path.name == MANIFEST:
            parts.append(PartVerification(path, tuple(manifest_differences(root))))
        elif kind != FAILURE:
            parts.append(PartVerification(path, (f"kind: stored {kind!r}, expected a cell of a benchmark",)))
    pages: dict[str, Callable[[Leaderboard], str]] = {MARKDOWN: markdown_page, HTML: html_page}
    parts += [
        PartVerification(root / name, tuple(_page(root / name, board, written))) for name, written in pages.items()
    ]
    return parts


def _page(path: Path, board: Leaderboard, written: Callable[[Leaderboard], str]) -> Iterator[str]:
    """Yield a sentence if a page is not what this version of the package writes."""
    if not path.is_file():
        yield "the page is missing"
        return
    try:
        text = written(board)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        yield f"no page can be written from the cells: {type(error).__name__}: {error}"
        return
    if path.read_bytes() != text.encode():
        yield "the page differs from what this version of the package writes from the cells"


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
    inputs = [str(image.get("input_digest")) for image in images]
    twice = sorted({str(image.get("name")) for image in images if inputs.count(str(image.get("input_digest"))) > 1})
    found += [f"{' and '.join(twice)}: the same input several times"] if twice else []
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
    saved = SavedMaps.load(folder, root / PLAIN / plain_name, name)
    certificate = saved.certificate
    radii = settings["radii"]
    if not isinstance(radii, list):
        raise FileFormatError(f"Expected a list of `radii`, got {radii!r:.80}.")
    yield from (f"{name}: {text}" for text in inconsistencies(saved, settings))
    expected: dict[str, Json] = {
        **numbers_of(saved, [float(str(radius)) for radius in radii]),
        "input_digest": read_json(result)["input_digest"],
    }
    stored = {key: value for key, value in image.items() if key not in ("name", "seconds")}
    yield from (f"{name}: {difference}" for difference in differences_between(stored, expected))
    held: dict[str, Json] = {
        "radius": certificate.at_radius,
        "confidence": certificate.confidence,
        "bound": certificate.bound,
        "nt_samples": int(certificate.n_samples[0]),
        "sigma": certificate.map.sigma,
        "explanation": explanation_of(certificate.map),
        "sham": certificate.map.setup.get("method") in SHAMS,
    }
    claimed = {key: settings[key] if key in settings else record.get(key) for key in held}
    yield from (f"{name}: {difference}" for difference in differences_between(claimed, held))


def _count(image: JsonObject) -> int:
    values = [value for key, value in image.items() if key not in _MEASURED]
    return sum(len(value) if isinstance(value, list) else 1 for value in values)
