"""Compute the missing parts of an experiment. Once all parts are stored, write the table, figure and record."""

import csv
import io
import json
import platform
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, NamedTuple

import torch
from matplotlib.figure import Figure
from PIL import Image

from captum_certified._captum import progress_bar
from captum_certified.exceptions import FileFormatError, InvalidInputError
from captum_certified.reproduce.experiment import Experiment, Part, Row, Scale, Value
from captum_certified.reproduce.networks_and_images import Material
from captum_certified.runs.processes import checked_shard
from captum_certified.runs.results import versions
from captum_certified.storage import Json, JsonObject, atomic_write, json_digest, read_json, write_json

__all__ = ["run_experiment"]


def run_experiment(
    experiment: Experiment,
    material: Material,
    *,
    scale: Scale,
    out: Path,
    shard: tuple[int, int] | None = None,
    show_progress: bool = False,
) -> JsonObject | None:
    """Run an experiment, or continue an interrupted run.

    Args:
        experiment: The experiment.
        material: The networks and images that the experiment uses.
        scale: The size of the run.
        out: Folder for the results: ``NAME.csv`` with all table rows, ``NAME.png`` with the figure, ``NAME.json`` with
            everything else, and one JSON file for each part. A stored part is reused as long as the settings, the
            network, the images and the version of this package have not changed.
        shard: (I, N) with I from 1 to N: compute only every N-th part, beginning with part I. A process that finds all
            parts stored writes the results.
        show_progress: Show a progress bar on stderr.

    Returns:
        The record that is also written as ``NAME.json``; ``None`` if parts are still missing.

    Raises:
        InvalidInputError: ``shard`` is not (I, N) with I from 1 to N, a network or data set is missing, or two parts
            have the same name.
        FileFormatError: A stored part cannot be read.
    """
    index, shards = checked_shard(shard)
    used = material.identity(experiment.dependencies(material, scale))
    settings = {**experiment.settings(scale), "material": used}
    parts = experiment.parts(material, scale)
    names = [part.name for part in parts]
    if len(set(names)) < len(names):
        raise InvalidInputError(f"Expected parts of different names, got {sorted(names)}.")
    store = experiment.store or experiment.name
    folder = out / f"{store}-parts"
    folder.mkdir(parents=True, exist_ok=True)
    keys: dict[str, str] = {}
    for part in parts:
        depends_on = {"scale": scale, **settings} if part.settings is None else {**part.settings, "material": used}
        key = {"store": store, "version": versions()["captum-certified"], **depends_on, "about": part.about}
        keys[part.name] = json_digest(key)
    mine = parts[index::shards]
    with progress_bar(total=len(mine), description=experiment.name, show=show_progress) as bar:
        for part in mine:
            if _stored(folder, part, keys[part.name]) is None:
                _compute(folder, part, keys[part.name])
            bar.update(1)
    found = [stored for part in parts if (stored := _stored(folder, part, keys[part.name])) is not None]
    if len(found) < len(parts):
        return None
    rows = experiment.own([row for part in found for row in part.rows])
    record: JsonObject = {
        "name": experiment.name,
        "title": experiment.title,
        "claim": experiment.claim,
        "scale": scale,
        "settings": settings,
        "summary": experiment.summary(rows),
        "seconds": round(sum(part.seconds for part in found), 1),
        "computed_by": [json.loads(text) for text in sorted({json.dumps(part.computed_by) for part in found})],
    }
    with atomic_write(out / f"{experiment.name}.csv") as file:
        file.write(_table(rows).encode())
    with atomic_write(out / f"{experiment.name}.png") as file:
        _write_small_png(experiment.figure(rows), file)
    write_json(out / f"{experiment.name}.json", record)
    return record


def _write_small_png(figure: Figure, file: IO[bytes]) -> None:
    """Write a figure with at most 256 colours. The results of the repository then take a third of the space."""
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", dpi=150)
    Image.open(drawn).convert("RGB").quantize(256).save(file, format="PNG", optimize=True)


class _StoredPart(NamedTuple):
    """A part read from disk: the rows, the seconds of computing time, and the versions and the machine used."""

    rows: Sequence[Row]
    seconds: float
    computed_by: Json


def _compute(folder: Path, part: Part, key: str) -> None:
    begun = time.perf_counter()
    rows = list(part.compute())
    contents: JsonObject = {
        "settings": key,
        "seconds": time.perf_counter() - begun,
        "computed_by": {**versions(), "machine": platform.machine(), "threads": torch.get_num_threads()},
        "rows": rows,
    }
    write_json(folder / f"{part.name}.json", contents)


def _stored(folder: Path, part: Part, key: str) -> _StoredPart | None:
    """Read a part from disk; return ``None`` if the file is missing or was computed with other settings."""
    path = folder / f"{part.name}.json"
    if not path.exists():
        return None
    contents = read_json(path)
    rows, seconds = contents.get("rows"), contents.get("seconds")
    whole = "settings" in contents and "computed_by" in contents
    if not (whole and isinstance(rows, list) and isinstance(seconds, int | float)):
        raise FileFormatError(f"Expected {path} to be a part of an experiment, got something else.")
    if contents["settings"] != key:
        return None
    return _StoredPart([_checked_row(row, path) for row in rows], seconds, contents["computed_by"])


def _checked_row(row: Json, path: Path) -> Row:
    if not isinstance(row, dict):
        raise FileFormatError(f"Expected {path} to hold rows, got {type(row).__name__}.")
    checked: dict[str, Value] = {}
    for column, value in row.items():
        if not isinstance(value, bool | int | float | str | None):
            raise FileFormatError(f"Expected {path} to hold numbers and texts, got {type(value).__name__}.")
        checked[column] = value
    return checked


def _table(rows: Sequence[Row]) -> str:
    """Return the rows as CSV text, with the columns of all rows in order of first appearance."""
    columns = list(dict.fromkeys(column for row in rows for column in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
