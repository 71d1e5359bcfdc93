"""The base class of experiments. Parts are computed separately, and their rows give a table, summary and figure."""

import statistics
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from matplotlib.figure import Figure

from captum_certified.exceptions import FileFormatError, InvalidInputError
from captum_certified.reproduce.networks_and_images import Material
from captum_certified.storage import JsonObject

__all__ = [
    "PRINTED_MODEL",
    "PROTOCOL_SCALES",
    "Experiment",
    "Part",
    "Row",
    "Scale",
    "Value",
    "distinct",
    "mean",
    "number",
    "numbers",
    "where",
]

Value: TypeAlias = bool | int | float | str | None
Row: TypeAlias = Mapping[str, Value]


def where(rows: Sequence[Row], **values: Value) -> list[Row]:
    """Return the rows whose columns have the given values."""
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
    """Return the distinct numbers in a column, in ascending order."""
    return sorted(set(numbers(rows, column)))


# "paper" is the protocol as printed, and "dry" the same protocol with every count cut down.
Scale: TypeAlias = Literal["smoke", "cpu", "dry", "paper"]
# The network of the paper for photographs. torchvision has two sets of weights for it, the second one since 2021.
PRINTED_MODEL = ("resnet50", "weights=IMAGENET1K_V1")
PROTOCOL_SCALES: tuple[Scale, ...] = ("dry", "paper")


@dataclass(frozen=True)
class Part:
    """A part of an experiment, which is computed once and stored.

    Attributes:
        name: A file name without suffix, unique in the experiment.
        compute: Function that returns the table rows of the part.
        about: What else the rows depend on, besides settings, network and data set, such as the digest of a photograph.
        settings: The settings that the rows depend on. ``None`` means all settings of the experiment and the scale.
    """

    name: str
    compute: Callable[[], Sequence[Row]]
    about: str = ""
    settings: JsonObject | None = None


class Experiment(ABC):
    """An experiment that repeats a figure or a table of the paper, or goes beyond the paper.

    Attributes:
        name: The name on the command line.
        store: The name under which parts are stored, by default ``name``. Experiments with the same ``store`` share
            their parts.
        uses: Which of ``"mnist"``, ``"cifar"``, ``"cifar-training"``, ``"xrays"`` and ``"network"`` the rows depend on.
            Photographs are not named here.
        uses_when_training: The same at the scales ``dry`` and ``paper`` if no network was given and the experiment
            trains its own. Empty if it never does.
        default_model: The torchvision model that is used if the command line names no model, and its ``--model-arg``.
        data_sets: The data sets between which ``--dataset`` chooses, the default first. Empty if there is no choice.
        title: What the experiment shows, in one line.
        claim: What the paper says about the result. Our own claims begin with ``Ours:``.
    """

    name: str
    store: str = ""
    uses: tuple[str, ...] = ()
    uses_when_training: tuple[str, ...] = ()
    default_model: tuple[str, ...] | None = None
    data_sets: tuple[str, ...] = ()
    title: str
    claim: str

    def dependencies(self, material: Material, scale: Scale) -> tuple[str, ...]:
        """Return what the rows depend on: ``uses``, or ``uses_when_training`` if the experiment trains its networks."""
        trains = scale in PROTOCOL_SCALES and material.classifier is None
        return self.uses_when_training if trains and self.uses_when_training else self.uses

    @abstractmethod
    def settings(self, scale: Scale) -> JsonObject:
        """Return the sizes and the hyperparameters."""

    @abstractmethod
    def parts(self, material: Material, scale: Scale) -> Sequence[Part]:
        """Return the parts to compute."""

    def own(self, rows: Sequence[Row]) -> list[Row]:
        """Select the rows that this experiment shows from all rows of its parts, without repetitions."""
        return list(rows)

    @abstractmethod
    def summary(self, rows: Sequence[Row]) -> JsonObject:
        """Return the numbers to compare with the claim."""

    def on(self, data_set: str) -> "Experiment":
        """Return the same experiment on another of its data sets, whose results have another name.

        Raises:
            InvalidInputError: The experiment has no such data set.
        """
        choice = f"one of {[*self.data_sets]}" if self.data_sets else "none"
        raise InvalidInputError(f"Expected `--dataset` for {self.name} to be {choice}, got {data_set!r}.")

    @abstractmethod
    def figure(self, rows: Sequence[Row]) -> Figure:
        """Plot the figure."""
