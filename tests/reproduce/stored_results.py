"""The tables and the records that are stored in docs/results."""

import csv
import json
from pathlib import Path

RESULTS = Path(__file__).parents[2] / "docs" / "results"
ROWS_ARE_HERE = (RESULTS / "draws.csv").is_file()  # the source archive has none


def record(name):
    """The stored record of an experiment."""
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def value(text):
    """The value of a cell of a table."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return {"": None, "True": True, "False": False}.get(text, text)


def rows(name):
    """The rows of a stored table."""
    with (RESULTS / f"{name}.csv").open(encoding="utf-8") as file:
        return [{column: value(text) for column, text in row.items()} for row in csv.DictReader(file)]
