"""The base class of certificates: a statement about a smoothed map, with its settings and its file."""

import csv
import html
import io
import json
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import torch
from torch import Tensor

from captum_certified.certify.conditions import held_fixed
from captum_certified.certify.feature_table import feature_names_of
from captum_certified.certify.few_draws import too_few_draws
from captum_certified.certify.row_levels import levels
from captum_certified.certify.written_numbers import rounded_down, written_confidence
from captum_certified.exceptions import FileFormatError, InvalidInputError
from captum_certified.maps import SmoothedMap, from_parts, parts_of
from captum_certified.storage import Json, atomic_write, read_archive, write_archive

__all__ = ["Certificate"]

_KIND = "certificate"
_MAP = "map."
_RESULT = "result."


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Certificate(ABC):
    """A statement that holds for every input within ``radius`` of the observed one.

    The statement about each example is wrong with probability at most 1 − ``confidence`` over the noise that was drawn.
    A certificate compares the sampled map, attribute ``map``, with the exact smoothed map at the perturbed input. If
    ``fresh_draws`` was passed to the :class:`Certifier`, the certificate instead compares ``map`` with a second sampled
    map, made from this number of new draws at one perturbed input. This input must be chosen without seeing the new
    draws. A certificate does not tell how well the map explains the model.

    Attributes:
        map: The smoothed map.
        at_radius: L2 size ρ of the perturbation, in the units of the input.
        confidence: The statement about each example holds with at least this probability, over the draws.
        bound: Name of the bound that proves the statement.
        violations: How many confidence intervals may miss (not contain) their scores without making the statement
            false.
    """

    kind: ClassVar[str]

    map: SmoothedMap
    at_radius: float
    confidence: float
    bound: str
    violations: int

    @property
    def radius(self) -> Any:
        """L2 size ρ of the perturbation; in a selection certificate, the radius up to which each decision holds."""
        return self.at_radius

    @property
    def n_samples(self) -> Tensor:
        """Number of draws of each example, shape (N,)."""
        return self.map.n_samples

    @property
    def held_fixed(self) -> str:
        """Everything that the statement assumes to be the same at every perturbed input, in one line."""
        return held_fixed(self.map.setup.get("target"), self.map.stdevs)

    @property
    def conditions(self) -> tuple[str, ...]:
        """Sentences that hold for all examples and are printed below them. ``held_fixed`` is the last sentence."""
        return (self.held_fixed,)

    @abstractmethod
    def summaries(self) -> list[str]:
        """Return one sentence for each example."""

    @abstractmethod
    def results(self) -> dict[str, Json]:
        """Return the proved numbers of each example, as JSON values."""

    # -- for people ----------------------------------------------------------------------------------------

    def __repr__(self) -> str:
        lines = [f"  [{row}] {summary}" for row, summary in enumerate(self.summaries())]
        if len(lines) > 12:
            lines[10:-1] = [f"  … {len(lines) - 11} more examples"]
        conditions = [f"  {condition}" for condition in self.conditions]
        return "\n".join([f"{type(self).__name__}({self._settings()})", *lines, *conditions])

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><th>{row}</th><td style='text-align:left'>{html.escape(summary)}</td></tr>"
            for row, summary in enumerate(self.summaries())
        )
        title = f"<b>{type(self).__name__}</b> <code>{html.escape(self._settings())}</code>"
        return f"<div>{title}<table>{rows}</table>{'<br>'.join(map(html.escape, self.conditions))}</div>"

    def _settings(self) -> str:
        allowed = f", violations={self.violations}" if self.violations else ""
        radius, confidence = rounded_down(self.at_radius), written_confidence(self.confidence)
        return f"L2 radius={radius}, confidence={confidence}, bound={self.bound!r}{allowed}"

    def _too_few_draws(self, row: int, *, of_counts: bool = False) -> str:
        """Return "; " and the sentence of :func:`too_few_draws` about an example, or an empty string."""
        sentence = too_few_draws(
            self.bound,
            n_samples=int(self.n_samples[row]),
            n_features=self.map.layout.n_features,
            ratio=self.at_radius / self.map.sigma,
            level=levels(self.map, 1 - self.confidence)[row],
            violations=self.violations,
            of_counts=of_counts,
        )
        return "" if sentence is None else f"; {sentence}"

    # -- for programs --------------------------------------------------------------------------------------

    def to_dict(self, *, arrays: bool = False) -> dict[str, Any]:
        """Return settings, results and provenance as JSON values.

        Args:
            arrays: Also include the numbers of every feature.
        """
        draws, smoothed = self.map.draws, self.map
        record = {
            "kind": self.kind,
            "radius": self.at_radius,
            "confidence": self.confidence,
            "bound": self.bound,
            "violations": self.violations,
            **self.results(),
            "n_samples": smoothed.n_samples.tolist(),
            "looks": None if smoothed.looks is None else smoothed.looks.tolist(),
            "n_features": smoothed.layout.n_features,
            "stdevs": list(smoothed.stdevs) if isinstance(smoothed.stdevs, tuple) else smoothed.stdevs,
            "seed": smoothed.seed,
            "draws": None if draws is None else [[list(part) for part in row] for row in draws],
            "setup": dict(smoothed.setup),
        }
        if arrays:
            record["features"] = smoothed.features.tolist()
            record |= {name: value.tolist() for name, value in self._tensors().items()}
        return record

    def to_json(self) -> str:
        """Return :meth:`to_dict` as JSON text."""
        return json.dumps(self.to_dict(), indent=2)

    def to_frame(self, *, feature_names: Sequence[str] | None = None) -> Any:
        """Return a pandas DataFrame with one row for each feature of each example.

        Args:
            feature_names: Names of the n features. By default a feature is named by its position in the map, such as
                ``0,12,7``, or by the number of its group.

        Returns:
            Columns ``example``, ``feature`` and ``mean``, and columns that depend on the kind of certificate. Most
            kinds have ``lower`` and ``upper``, which bound the exact score at every perturbed input. With
            ``fresh_draws``, ``lower`` and ``upper`` bound the score in the map of fresh draws. With a probability of at
            least ``confidence`` all bounds of one example hold. The ``violations`` of the certificate do not apply to
            them.

        Raises:
            InvalidInputError: The number of names is not n.
            ImportError: pandas is not installed.
        """
        import pandas as pd

        return pd.DataFrame(self.columns(feature_names=feature_names))

    def to_csv(self, path: str | os.PathLike[str], *, feature_names: Sequence[str] | None = None) -> None:
        """Atomically write the table of :meth:`to_frame` as a CSV file. pandas is not needed.

        Raises:
            InvalidInputError: The number of names is not n.
        """
        columns = self.columns(feature_names=feature_names)
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
        with atomic_write(path) as file:
            file.write(text.getvalue().encode())

    def columns(self, *, feature_names: Sequence[str] | None = None) -> dict[str, Sequence[Json]]:
        """Return the columns of :meth:`to_frame` by name."""
        rows, n = self.map.features.shape
        names = feature_names_of(self.map.layout) if feature_names is None else list(feature_names)
        if len(names) != n:
            raise InvalidInputError(f"Expected {n} `feature_names`, got {len(names)}.")
        tables = {"mean": self.map.features, **self._feature_tables()}
        return {
            "example": [row for row in range(rows) for _ in range(n)],
            "feature": names * rows,
            **{name: table.reshape(-1).tolist() for name, table in tables.items()},
        }

    @abstractmethod
    def _feature_tables(self) -> dict[str, Tensor]:
        """Return the numbers that the certificate states for each feature, as tables of shape (N, n)."""

    # -- on disk -------------------------------------------------------------------------------------------

    def save(self, path: str | os.PathLike[str]) -> None:
        """Atomically write the certificate and its map as a compressed npz archive."""
        header, arrays = parts_of(self.map)
        scalars = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "map"}
        tensors = {name: scalars.pop(name) for name in self._tensors()}
        write_archive(
            path,
            kind=_KIND,
            header={"certificate": self.kind, "settings": scalars, "map": header},
            arrays={_MAP + name: array for name, array in arrays.items()}
            | {_RESULT + name: tensor.numpy() for name, tensor in tensors.items()},
        )

    @staticmethod
    def load(path: str | os.PathLike[str]) -> "Certificate":
        """Read a certificate of any kind from a file that :meth:`save` wrote. No code in the file is executed.

        Raises:
            FileFormatError: The file is corrupt, truncated, or of a newer version.
            OSError: The file cannot be opened.
        """
        header, arrays = read_archive(path, kind=_KIND)
        kinds: dict[str, Callable[..., Certificate]] = {kind.kind: kind for kind in Certificate.__subclasses__()}
        try:
            name, settings, map_header = header["certificate"], header["settings"], header["map"]
            if not (isinstance(name, str) and isinstance(settings, dict) and isinstance(map_header, dict)):
                raise TypeError("an entry of the header has a wrong type")
            parts = {name.removeprefix(_MAP): array for name, array in arrays.items() if name.startswith(_MAP)}
            smoothed_map = from_parts(SmoothedMap, map_header, parts)
            tensors = {
                name.removeprefix(_RESULT): torch.from_numpy(array)
                for name, array in arrays.items()
                if name.startswith(_RESULT)
            }
            return kinds[name](map=smoothed_map, **settings, **tensors)
        except (KeyError, TypeError) as error:
            message = f"Expected {path} to hold a complete certificate, but reading it raised {error!r}."
            raise FileFormatError(message) from error

    def _tensors(self) -> dict[str, Tensor]:
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return {name: value for name, value in values.items() if isinstance(value, Tensor)}
