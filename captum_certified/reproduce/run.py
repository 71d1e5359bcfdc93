"""Computes the parts of an experiment that are missing, and writes table, figure and record once all are there."""

import csv
import io
import json
import platform
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from captum_certified._captum import progress_bar
from captum_certified.exceptions import FileFormatError, InvalidInputError
from captum_certified.reproduce.experiment import Experiment, Part, Row, Scale
from captum_certified.reproduce.material import Material
from captum_certified.runs.results import read_json
from captum_certified.smoothing import atomic_write, digest

__all__ = ["run_experiment"]

_PACKAGES = ("captum", "captum-certified", "numpy", "scipy", "torch", "torchvision")


def run_experiment(
    experiment: Experiment,
    material: Material,
    *,
    scale: Scale,
    out: Path,
    shard: tuple[int, int] = (1, 1),
    show_progress: bool = False,
) -> dict[str, Any] | None:
    """Run an experiment, or go on with it.

    Args:
        experiment: The experiment.
        material: Its networks and images.
        scale: How large it is.
        out: Folder of its results: ``NAME.csv``, ``NAME.png``, ``NAME.json``, and one JSON for each part,
            which are kept as long as the settings are the same.
        shard: (I, N): compute part I of N only, I from 1. Whoever finds all parts there writes the results.
        show_progress: Show a progress bar on stderr.

    Returns:
        The record that is also written as ``NAME.json``; ``None`` while parts are missing.

    Raises:
        InvalidInputError: ``shard`` is not a part.
        FileFormatError: A part on disk cannot be read.
    """
    index, shards = shard
    if not 1 <= index <= shards:
        raise InvalidInputError(f"Expected `shard` (I, N) with I from 1 to N, got {shard}.")
    settings = dict(experiment.settings(scale))
    store = experiment.store or experiment.name
    key = digest(json.dumps({"store": store, "scale": scale, **settings}, sort_keys=True))
    folder = out / f"{store}-parts"
    folder.mkdir(parents=True, exist_ok=True)
    parts = experiment.parts(material, scale)
    mine = parts[index - 1 :: shards]
    with progress_bar(total=len(mine), description=experiment.name, show=show_progress) as bar:
        for part in mine:
            if _stored(folder, part, key) is None:
                _compute(folder, part, key)
            bar.update(1)
    stored = [_stored(folder, part, key) for part in parts]
    if any(part is None for part in stored):
        return None
    rows = [row for part in stored if part is not None for row in part["rows"]]
    record = {
        "name": experiment.name,
        "title": experiment.title,
        "claim": experiment.claim,
        "scale": scale,
        "settings": settings,
        "summary": experiment.summary(rows),
        "seconds": round(sum(part["seconds"] for part in stored if part is not None), 1),
        "threads": torch.get_num_threads(),
        "machine": platform.machine(),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in _PACKAGES}},
        "rows": rows,
    }
    _write_text(out / f"{experiment.name}.csv", _table(rows))
    with atomic_write(out / f"{experiment.name}.png") as file:
        experiment.figure(rows).savefig(file, format="png", dpi=150)
    _write_text(out / f"{experiment.name}.json", json.dumps(record, indent=2) + "\n")
    return record


def _compute(folder: Path, part: Part, key: str) -> None:
    begun = time.perf_counter()
    rows = list(part.compute())
    contents = {"settings": key, "seconds": time.perf_counter() - begun, "rows": rows}
    _write_text(folder / f"{part.name}.json", json.dumps(contents, indent=2) + "\n")


def _stored(folder: Path, part: Part, key: str) -> dict[str, Any] | None:
    """The part on disk, unless it is missing or of other settings."""
    path = folder / f"{part.name}.json"
    if not path.exists():
        return None
    contents = read_json(path)
    if not {"settings", "seconds", "rows"} <= set(contents):
        raise FileFormatError(f"Expected {path} to be a part of an experiment, got something else.")
    return contents if contents["settings"] == key else None


def _table(rows: Sequence[Row]) -> str:
    names = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _write_text(path: Path, text: str) -> None:
    with atomic_write(path) as file:
        file.write(text.encode())
