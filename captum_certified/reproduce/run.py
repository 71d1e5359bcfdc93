"""Computes the parts of an experiment that are missing, and writes table, figure and record once all are there."""

import csv
import io
import json
import platform
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from captum_certified._captum import progress_bar
from captum_certified.exceptions import FileFormatError, InvalidInputError
from captum_certified.reproduce.experiment import Experiment, Part, Row, Scale
from captum_certified.reproduce.material import Material
from captum_certified.runs.results import versions
from captum_certified.runs.sharing import checked_shard
from captum_certified.storage import atomic_write, digest, read_json

__all__ = ["run_experiment"]


def run_experiment(
    experiment: Experiment,
    material: Material,
    *,
    scale: Scale,
    out: Path,
    shard: tuple[int, int] | None = None,
    show_progress: bool = False,
) -> dict[str, Any] | None:
    """Run an experiment, or go on with it.

    Args:
        experiment: The experiment.
        material: Its networks and images.
        scale: How large it is.
        out: Folder of its results: ``NAME.csv`` with all rows, ``NAME.png``, ``NAME.json`` with everything else, and
            one JSON file for each part. A stored part is used again as long as the settings, the network, the images
            and the version of this package are the same.
        shard: (I, N): compute part I of N only, I from 1. Whoever finds all parts there writes the results.
        show_progress: Show a progress bar on stderr.

    Returns:
        The record that is also written as ``NAME.json``; ``None`` while parts are missing.

    Raises:
        InvalidInputError: ``shard`` is not a part, or the material is not there.
        FileFormatError: A part on disk cannot be read.
    """
    index, shards = checked_shard(shard)
    used = material.identity(experiment.uses)
    settings = {**experiment.settings(scale), "material": used}
    parts = experiment.parts(material, scale)
    names = [part.name for part in parts]
    if len(set(names)) < len(names):
        raise InvalidInputError(f"Expected parts of different names, got {sorted(names)}.")
    store = experiment.store or experiment.name
    package = versions()["captum-certified"]
    everything = {"scale": scale, **settings}
    folder = out / f"{store}-parts"
    folder.mkdir(parents=True, exist_ok=True)
    keys = {}
    for part in parts:
        depends_on = everything if part.settings is None else {**part.settings, "material": used}
        key = {"store": store, "version": package, **depends_on, "about": part.about}
        keys[part.name] = digest(json.dumps(key, sort_keys=True))
    mine = parts[index::shards]
    with progress_bar(total=len(mine), description=experiment.name, show=show_progress) as bar:
        for part in mine:
            if _stored(folder, part, keys[part.name]) is None:
                _compute(folder, part, keys[part.name])
            bar.update(1)
    stored = [_stored(folder, part, keys[part.name]) for part in parts]
    if any(part is None for part in stored):
        return None
    found = [part for part in stored if part is not None]
    rows = experiment.own([row for part in found for row in part["rows"]])
    record = {
        "name": experiment.name,
        "title": experiment.title,
        "claim": experiment.claim,
        "scale": scale,
        "settings": settings,
        "summary": experiment.summary(rows),
        "seconds": round(sum(part["seconds"] for part in found), 1),
        "computed_by": [json.loads(text) for text in sorted({json.dumps(part["computed_by"]) for part in found})],
    }
    _write_text(out / f"{experiment.name}.csv", _table(rows))
    with atomic_write(out / f"{experiment.name}.png") as file:
        experiment.figure(rows).savefig(file, format="png", dpi=150)
    _write_text(out / f"{experiment.name}.json", json.dumps(record, indent=2, allow_nan=False) + "\n")
    return record


def _compute(folder: Path, part: Part, key: str) -> None:
    begun = time.perf_counter()
    rows = list(part.compute())
    contents = {
        "settings": key,
        "seconds": time.perf_counter() - begun,
        "computed_by": {**versions(), "machine": platform.machine(), "threads": torch.get_num_threads()},
        "rows": rows,
    }
    _write_text(folder / f"{part.name}.json", json.dumps(contents, indent=2, allow_nan=False) + "\n")


def _stored(folder: Path, part: Part, key: str) -> dict[str, Any] | None:
    """The part on disk, unless it is missing or of other settings."""
    path = folder / f"{part.name}.json"
    if not path.exists():
        return None
    contents = read_json(path)
    if not {"settings", "seconds", "computed_by", "rows"} <= set(contents):
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
