"""The tables and the records that are stored in docs/results."""

import csv
import json
from pathlib import Path

RESULTS = Path(__file__).parents[2] / "docs" / "results"


def record(name):
    """The stored record of an experiment."""
    return json.loads((RESULTS / f"{name}.json").read_text())


def rows(name):
    """The rows of a stored table, with numbers where there are numbers."""

    def value(text):
        if text in ("", "True", "False"):
            return {"": None, "True": True, "False": False}[text]
        for kind in (int, float):
            try:
                return kind(text)
            except ValueError:
                pass
        return text

    with (RESULTS / f"{name}.csv").open() as file:
        return [{column: value(text) for column, text in row.items()} for row in csv.DictReader(file)]


def written(number, digits=2):
    """A number as the pages write it: .52, 1.00."""
    text = f"{number:.{digits}f}"
    return text[1:] if text.startswith("0.") else text
