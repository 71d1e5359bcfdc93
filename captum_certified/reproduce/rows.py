"""Rows of a table of results: which rows have given values, and the numbers in a column."""

import statistics
from collections.abc import Mapping, Sequence
from typing import TypeAlias

from captum_certified.exceptions import FileFormatError

__all__ = ["Row", "Value", "distinct", "mean", "number", "numbers", "where"]

Value: TypeAlias = bool | int | float | str | None
Row: TypeAlias = Mapping[str, Value]


def where(rows: Sequence[Row], **values: Value) -> list[Row]:
    """Return the rows that have all given values."""
    return [row for row in rows if all(row[column] == value for column, value in values.items())]


def number(row: Row, column: str) -> float:
    """Return the number in a column of a row.

    Raises:
        FileFormatError: The value is not a number.
    """
    value = row[column]
    if not isinstance(value, int | float):
        raise FileFormatError(f"Expected a number in the column {column}, got {value!r}.")
    return value


def numbers(rows: Sequence[Row], column: str) -> list[float]:
    """Return the numbers in a column."""
    return [number(row, column) for row in rows]


def mean(rows: Sequence[Row], column: str) -> float:
    """Return the mean of a column."""
    return statistics.fmean(numbers(rows, column))


def distinct(rows: Sequence[Row], column: str) -> list[float]:
    """Return the different numbers in a column, the smallest first."""
    return sorted(set(numbers(rows, column)))
