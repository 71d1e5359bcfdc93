"""The leaderboard: one row for each cell, with means over the examples and their 95 % intervals."""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from captum_certified.benchmark.cell_run import CELL
from captum_certified.benchmark.columns import Column, Mean, columns_of
from captum_certified.storage import Json, JsonObject, read_json

__all__ = ["FAILURE", "Leaderboard", "Row"]

FAILURE = "benchmark failure"  # the kind of a record


@dataclass(frozen=True)
class Row:
    """A row of the leaderboard.

    Attributes:
        record: The record of the cell.
        means: The mean of every column.
    """

    record: JsonObject
    means: tuple[Mean | None, ...]

    def __getitem__(self, name: str) -> Json:
        """Return an entry of the record, or of its settings."""
        settings = self.record.get("settings")
        return self.record[name] if name in self.record else settings[name] if isinstance(settings, dict) else None

    @property
    def method(self) -> str:
        """Name of the method, and the class of the method if the name does not tell it."""
        name, explained = str(self["method"]), str(self._explanation.get("method", ""))
        is_told = explained.lower() in name.lower() or name.lower() in explained.lower()
        return name if is_told else f"{name} ({explained})"

    @property
    def map(self) -> str:
        """Name of the map, with its τ if it has one."""
        tau = self._explanation.get("tau")
        return str(self["map"]) if tau is None else f"{self['map']} τ={tau}"

    @property
    def _explanation(self) -> JsonObject:
        explanation = self.record.get("explanation")
        return explanation if isinstance(explanation, dict) else {}

    @property
    def examples(self) -> int:
        """Number of examples."""
        images = self.record.get("images")
        return len(images) if isinstance(images, list) else 0


@dataclass(frozen=True)
class Leaderboard:
    """All cells of a benchmark.

    Attributes:
        records: The records of the cells.
        failures: The records of cells that could not be computed.
    """

    records: tuple[JsonObject, ...]
    failures: tuple[JsonObject, ...] = ()

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> "Leaderboard":
        """Read the cells in a folder. Nothing is recomputed.

        Raises:
            FileFormatError: A file is corrupt.
            OSError: A file cannot be opened.
        """
        found = [read_json(path) for path in sorted(Path(folder).glob("*.json"))]
        records = [record for record in found if record.get("kind") == CELL]
        return cls(tuple(records), tuple(record for record in found if record.get("kind") == FAILURE))

    @property
    def radii(self) -> list[float]:
        """All radii at which any cell is certified, ascending."""
        settings = [record["settings"] for record in self.records]
        lists = [one.get("radii") for one in settings if isinstance(one, dict)]
        return sorted({float(r) for radii in lists if isinstance(radii, list) for r in radii})

    @property
    def radius(self) -> float:
        """The radius of the attacks in the first cell, by whose margins the rows are sorted."""
        settings = self.records[0]["settings"] if self.records else None
        radius = settings.get("radius") if isinstance(settings, dict) else None
        return float(radius) if isinstance(radius, int | float) else 0.0

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns of numbers."""
        return columns_of(self.radii)

    @property
    def rows(self) -> list[Row]:
        """The rows, with the largest margin at :attr:`radius` first."""
        columns = self.columns
        rows = [Row(record, tuple(Mean.of(column.values(record)) for column in columns)) for record in self.records]
        at = next((i for i, c in enumerate(columns) if c.name == "margin" and c.radius == self.radius), None)

        def margin(row: Row) -> float:
            mean = None if at is None else row.means[at]
            return -math.inf if mean is None else mean.value

        return sorted(rows, key=lambda row: (-margin(row), str(row["method"]), str(row["map"]), str(row["groups"])))

    def ranks_of_shams(self) -> list[tuple[Row, dict[str, str]]]:
        """Return, for every sham, its rank by several columns among all methods of the same map, noise and groups.

        Returns:
            Pairs of a row and the ranks by the title of the column, such as ``"1 of 9"``. Rank 1 is the most robust.
        """
        columns = self.columns
        chosen = [
            i for i, c in enumerate(columns) if c.higher_is_better is not None and c.radius in (None, self.radius)
        ]
        found, rows = [], self.rows
        for row in rows:
            if not row["sham"]:
                continue
            peers = [one for one in rows if all(one[name] == row[name] for name in ("map", "sigma", "groups"))]
            ranks = {columns[i].title: _rank(row.means[i], [p.means[i] for p in peers], columns[i]) for i in chosen}
            found.append((row, ranks))
        return found


def _rank(mean: Mean | None, all_means: Sequence[Mean | None], column: Column) -> str:
    known = [one.value for one in all_means if one is not None]
    if mean is None:
        return "–"
    better = [value > mean.value if column.higher_is_better else value < mean.value for value in known]
    return f"{1 + sum(better)} of {len(known)}"
