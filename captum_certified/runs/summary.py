"""All results of a run together: a table, a figure, a mean."""

import csv
import io
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, overload

import torch
from matplotlib.figure import Figure
from torch import Tensor

from captum_certified.certify import Certificate
from captum_certified.certify.written_numbers import floored_percent, rounded_down, written_confidence
from captum_certified.exceptions import InvalidInputError
from captum_certified.storage import Json, atomic_write
from captum_certified.visualization import overlap_figure

__all__ = ["DatasetSummary", "ExampleResult", "Outcome"]

Outcome = Literal["sampled", "continued", "recertified", "kept", "failed"]


@dataclass(frozen=True, kw_only=True)
class ExampleResult:
    """What is certified of one example.

    Attributes:
        name: Its name.
        record: What its JSON file holds; of a failure, why.
        outcome: ``"sampled"`` now, ``"continued"`` from a checkpoint, ``"recertified"`` from the map of an earlier
            result, ``"kept"`` as it was found, or ``"failed"``.
        path: Its JSON file, if results are written.
        traceback: Where it failed, for people.
    """

    name: str
    record: Mapping[str, Any]
    outcome: Outcome
    path: Path | None = None
    traceback: str | None = None

    @property
    def failed(self) -> bool:
        """Whether nothing could be certified."""
        return self.outcome == "failed"

    @property
    def overlap(self) -> int | None:
        """Certified number of the top K features that stay; ``None`` of a failure."""
        return None if self.failed else int(self.record["overlap"][0])

    @property
    def overlap_fraction(self) -> float | None:
        """The same as a fraction of K."""
        return None if self.failed else float(self.record["overlap_fraction"][0])

    @property
    def curve(self) -> Mapping[float, int]:
        """Certified overlap at every radius of the run; empty of a failure."""
        return {} if self.failed else dict(zip(*self.record["curve"].values(), strict=True))

    def certificate(self) -> Certificate:
        """The certificate with its map, read from the npz beside the JSON.

        Raises:
            InvalidInputError: There is none, because the example failed or nothing was written.
            FileFormatError: The file is corrupt.
            OSError: The file cannot be opened.
        """
        if self.path is None or self.failed:
            raise InvalidInputError(f"Expected a result with files, got {self.name!r}, which has none.")
        return Certificate.load(self.path.with_suffix(".npz"))


@dataclass(frozen=True, repr=False)
class DatasetSummary(Sequence[ExampleResult]):
    """The results of a run, in the order of the data.

    Attributes:
        results: One for every example.
        radius: L2 size of the perturbation.
        radii: All radii that were certified.
        confidence: Of each example by itself, for all radii together; a mean over examples has none of its own.
    """

    results: tuple[ExampleResult, ...]
    radius: float
    radii: tuple[float, ...]
    confidence: float

    def __len__(self) -> int:
        return len(self.results)

    def __iter__(self) -> Iterator[ExampleResult]:
        return iter(self.results)

    @overload
    def __getitem__(self, index: int) -> ExampleResult: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[ExampleResult, ...]: ...

    def __getitem__(self, index: int | slice) -> ExampleResult | tuple[ExampleResult, ...]:
        return self.results[index]

    @property
    def certified(self) -> tuple[ExampleResult, ...]:
        """Those that did not fail."""
        return tuple(result for result in self.results if not result.failed)

    @property
    def mean_overlap_fraction(self) -> float | None:
        """Mean certified overlap, as a fraction of K, over those that did not fail.

        It is a mean of statements that each have their own confidence, and has none itself.
        """
        fractions = [float(result.record["overlap_fraction"][0]) for result in self.certified]
        return sum(fractions) / len(fractions) if fractions else None

    @property
    def curves(self) -> Tensor:
        """Certified overlap fractions of those that did not fail, float64, shape (examples, radii)."""
        rows = [[count / result.record["k"] for count in result.curve.values()] for result in self.certified]
        return torch.tensor(rows, dtype=torch.float64, device="cpu").reshape(len(rows), len(self.radii))

    def __repr__(self) -> str:
        mean, failures = self.mean_overlap_fraction, len(self) - len(self.certified)
        counts = {outcome: sum(r.outcome == outcome for r in self) for outcome in ("kept", "recertified", "continued")}
        told = [f"{count} {outcome}" for outcome, count in counts.items() if count]
        looked = sum(bool(result.record.get("looked_before")) for result in self)
        told += [f"{looked} looked at before"] if looked else []
        told += [f"{failures} failed"] if failures else []
        text = f"{len(self)} examples" + (f" ({', '.join(told)})" if told else "")
        if mean is None:
            return text
        return (
            f"{text}: mean certified overlap {floored_percent(mean)}% at L2 radius {rounded_down(self.radius)}, over "
            f"the {len(self.certified)} certified, each at confidence {written_confidence(self.confidence)}"
        )

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write one line for each example, whole or not at all.

        Args:
            path: File to write.
        """
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        at_radii = [f"overlap_at_{radius!r}" for radius in self.radii]
        columns = ("k", "overlap", "overlap_fraction", "plain_overlap", "n_samples", "seed")
        writer.writerow(["name", *columns, *at_radii, "error"])
        for result in self.results:
            cells = [_cell(result.record.get(column)) for column in columns]
            counts: list[int | str] = [*result.curve.values()] or [""] * len(at_radii)
            writer.writerow([result.name, *cells, *counts, result.record.get("error", "")])
        with atomic_write(path) as file:
            file.write(text.getvalue().encode())

    def figure(self) -> Figure:
        """Certified overlaps of those that did not fail, sorted, one curve for each radius with its mean.

        Raises:
            InvalidInputError: All examples failed.
        """
        figure, _ = overlap_figure(self.curves, radii=self.radii, confidence=self.confidence)
        return figure


def _cell(value: Json) -> Json:
    value = value[0] if isinstance(value, list) else value
    return "" if value is None else value
