"""An experiment: parts that are computed separately, and the summary and the figure that are made of their rows."""

import statistics
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from matplotlib.figure import Figure

from captum_certified.exceptions import FileFormatError
from captum_certified.reproduce.networks_and_images import Material
from captum_certified.storage import JsonObject

__all__ = ["Experiment", "Part", "Row", "Scale", "Value", "distinct", "mean", "number", "numbers", "where"]

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


Scale: TypeAlias = Literal["smoke", "cpu", "paper"]


@dataclass(frozen=True)
class Part:
    """A part of an experiment, which is computed once and stored.

    Attributes:
        name: A file name without suffix, unique in the experiment.
        compute: Returns the rows of the part.
        about: What the rows depend on beside settings and network, such as the digest of an image.
        settings: The settings that the rows depend on; ``None``: all settings of the experiment, and the scale.
    """

    name: str
    compute: Callable[[], Sequence[Row]]
    about: str = ""
    settings: JsonObject | None = None


class Experiment(ABC):
    """A figure or a table of the paper, or an experiment of ours.

    Attributes:
        name: The name on the command line.
        store: The name under which parts are stored; experiments with the same name share their parts.
        uses: The material that the rows depend on, beside photographs: ``"mnist"``, ``"cifar"``, ``"network"``.
        default_model: The torchvision model to use if none is named.
        title: What the experiment shows, in one line.
        claim: What the paper says about it.
    """

    name: str
    store: str = ""
    uses: tuple[str, ...] = ()
    default_model: str | None = None
    title: str
    claim: str

    @abstractmethod
    def settings(self, scale: Scale) -> JsonObject:
        """Return the sizes and the hyperparameters."""

    @abstractmethod
    def parts(self, material: Material, scale: Scale) -> Sequence[Part]:
        """Return the parts to compute."""

    def own(self, rows: Sequence[Row]) -> list[Row]:
        """Return the rows that this experiment shows, each once, from all rows of its parts."""
        return list(rows)

    @abstractmethod
    def summary(self, rows: Sequence[Row]) -> JsonObject:
        """Return the numbers that answer the claim."""

    @abstractmethod
    def figure(self, rows: Sequence[Row]) -> Figure:
        """Draw the figure."""
