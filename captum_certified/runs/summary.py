"""The summary of a run: the results of its examples, their mean, a table and a figure."""

import csv
import io
import math
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

# Columns about the plain map's top set. Their names begin with "plain_". The column "plain_overlap" is something else:
# how many of the smoothed map's top K are also in the plain map's top K.
_OF_PLAIN = ("overlap_fraction", "chance", "brightness", "randomised", "margin")

Outcome = Literal["sampled", "continued", "recertified", "kept", "failed"]


@dataclass(frozen=True, kw_only=True)
class ExampleResult:
    """The result of one example.

    Attributes:
        name: Name of the example.
        record: The contents of the JSON file. After a failure they include the reason.
        outcome: Where the result is from: ``"sampled"`` in this run, ``"continued"`` from a checkpoint,
            ``"recertified"`` from the map of an earlier result, ``"kept"`` from an earlier run, or ``"failed"``.
        path: The JSON file, if results are written.
        traceback: The traceback of a failure.
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
        """Certified number of features that stay in the top K; ``None`` after a failure."""
        return None if self.failed else int(self.record["overlap"][0])

    @property
    def overlap_fraction(self) -> float | None:
        """``overlap`` as a fraction of min(K, L) for a reference set of L features; ``None`` after a failure."""
        return None if self.failed else float(self.record["overlap_fraction"][0])

    @property
    def curve(self) -> Mapping[float, int]:
        """Certified overlap at every radius of the run; empty after a failure."""
        return (
            {}
            if self.failed
            else dict(zip(self.record["curve"]["radii"], self.record["curve"]["overlap"], strict=True))
        )

    def certificate(self) -> Certificate:
        """Read the certificate and its map from the npz file of the result.

        Raises:
            InvalidInputError: The example failed, or results were not written.
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
        results: One result for every example.
        radius: L2 size of the perturbation.
        radii: All radii that were certified.
        confidence: Probability with which the statements about one example hold together at all radii. The mean over
            examples has no such probability.
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
        """The results of examples that did not fail."""
        return tuple(result for result in self.results if not result.failed)

    @property
    def mean_overlap_fraction(self) -> float | None:
        """Mean of :attr:`ExampleResult.overlap_fraction` over the examples that did not fail.

        No confidence belongs to the mean, because each confidence is about one example alone.
        """
        fractions = [float(result.record["overlap_fraction"][0]) for result in self.certified]
        return math.fsum(fractions) / len(fractions) if fractions else None

    def of_plain(self, name: str) -> float | None:
        """Return the mean of a number about the plain maps' top sets, over the examples that did not fail.

        Args:
            name: ``"overlap_fraction"``, ``"chance"``, ``"brightness"``, ``"randomised"`` or ``"margin"``.

        Returns:
            The mean, or ``None`` if the number is unknown for an example.
        """
        known = [(result.record["of_plain"] or {}).get(name) for result in self.certified]
        if not known or any(value is None for value in known):
            return None
        return sum(float(value[0]) for value in known if value is not None) / len(known)

    @property
    def curves(self) -> Tensor:
        """Certified overlap fractions of the examples that did not fail, float64, shape (examples, radii)."""
        return self._fractions([(list(r.curve.values()), r.record) for r in self.certified])

    @property
    def plain_curves(self) -> Tensor | None:
        """Certified overlap fractions of the plain maps' top sets, like :attr:`curves`; ``None`` if any is unknown."""
        rows = [(result.record["plain_curve"], result.record["of_plain"]) for result in self.certified]
        if any(counts is None or plain is None for counts, plain in rows):
            return None
        return self._fractions([(c, {**p, "k": r.record["k"]}) for (c, p), r in zip(rows, self.certified, strict=True)])

    def _fractions(self, rows: Sequence[tuple[Sequence[int], Mapping[str, Any]]]) -> Tensor:
        """Return counts as fractions of K, or of the size of the reference set if that is smaller than K."""
        fractions = [
            [count / min(about["k"], about["reference_size"][0]) for count in counts] for counts, about in rows
        ]
        return torch.tensor(fractions, dtype=torch.float64, device="cpu").reshape(len(rows), len(self.radii))

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
        kinds = {result.record["reference"] for result in self.certified}
        named = {"own": "", "plain": " of the plain map's top set", "mask": " of the reference"}
        of_set = named[kinds.pop()] if len(kinds) == 1 else ""
        text = (
            f"{text}: mean certified overlap{of_set} {floored_percent(mean)}% at L2 radius "
            f"{rounded_down(self.radius)}, over the {len(self.certified)} certified, each at confidence "
            f"{written_confidence(self.confidence)}"
        )
        plain, margin = self.of_plain("overlap_fraction"), self.of_plain("margin")
        if plain is not None and margin is not None:
            of_plain = "" if of_set == named["plain"] else f" of the plain map's top set {floored_percent(plain)}%,"
            text += f";{of_plain} mean margin {100 * margin:+.1f} points"
        doubtful = sum(bool(result.record["cautions"][0]) for result in self.certified)
        return text + (f"; {doubtful} with a caution" if doubtful else "")

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Atomically write a CSV file with one line for each example."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        at_radii = [f"overlap_at_{radius!r}" for radius in self.radii]
        columns = ("k", "overlap", "overlap_fraction", "plain_overlap", "class_kept", "n_samples", "seed")
        writer.writerow(["name", *columns, *(f"plain_{name}" for name in _OF_PLAIN), *at_radii, "error"])
        for result in self.results:
            plain = result.record.get("of_plain") or {}
            cells = [_cell(result.record.get(column)) for column in columns]
            cells += [_cell(plain.get(name)) for name in _OF_PLAIN]
            counts: list[int | str] = [*result.curve.values()] or [""] * len(at_radii)
            writer.writerow([result.name, *cells, *counts, result.record.get("error", "")])
        with atomic_write(path) as file:
            file.write(text.getvalue().encode())

    def figure(self) -> Figure:
        """Plot, for each radius, a curve of the sorted overlaps of the certified examples, and their mean.

        Raises:
            InvalidInputError: All examples failed.
        """
        figure, _ = overlap_figure(
            self.curves, radii=self.radii, confidence=self.confidence, of_plain=self.plain_curves
        )
        return figure


def _cell(value: Json) -> Json:
    value = value[0] if isinstance(value, list) else value
    return "" if value is None else value
