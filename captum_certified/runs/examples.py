"""The examples of a data set, read one at a time, each with a name."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeGuard

import numpy as np
from torch import Tensor
from torch.utils.data import (
    DataLoader,
    Dataset,
    DistributedSampler,
    RandomSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
)

from captum_certified._captum import MethodArguments, Target, as_tuple
from captum_certified.certify.reference import Reference
from captum_certified.exceptions import InvalidInputError
from captum_certified.maps import Groups, Regions
from captum_certified.storage import JsonObject

__all__ = ["SUMMARY", "Example", "Source", "sources_of"]

SUMMARY = "summary"  # name of the files about the whole data set; no example may have it

Inputs = Tensor | tuple[Tensor, ...]

_SHUFFLED = (RandomSampler, SubsetRandomSampler, WeightedRandomSampler, DistributedSampler)


@dataclass(frozen=True, kw_only=True, eq=False)
class Example:
    """One example.

    Attributes:
        inputs: A tensor, or a tuple of tensors, with a batch dimension of 1.
        target: The target, in one of Captum's forms.
        region: Regions to record for this example only.
        reference: A reference set for this example only.
        groups: Groups of entries for this example only.
        arguments: Keyword arguments of the wrapped method for this example only.
        notes: More entries for the JSON file of the result.
    """

    inputs: Inputs
    target: Target
    region: Regions = None
    reference: Reference = None
    groups: Groups = None
    arguments: MethodArguments = field(default_factory=dict)
    notes: JsonObject = field(default_factory=dict)


@dataclass(frozen=True)
class Source:
    """An example that is read only when it is needed.

    Attributes:
        name: Name of the example's files, without a suffix.
        load: Reads the example.
        notes: Entries for the JSON file, which is also written if the example cannot be read.
    """

    name: str
    load: Callable[[], Example]
    notes: JsonObject = field(default_factory=dict)


def sources_of(data: Iterable[Any], *, names: Iterable[str] | None) -> tuple[Iterator[Source], int | None]:
    """Return the examples of a data set, and their number if it is known.

    Args:
        data: A map-style or iterable Dataset of single examples, or an iterable of batches such as a DataLoader.
        names: Names of the examples; by default their positions.

    Raises:
        InvalidInputError: The data are shuffled, or the names are not distinct or cannot be file names.
    """
    _check_order(data)
    known = None if names is None else checked_names(names)
    total = _length(data) if known is None else len(known)
    loaders = _from_dataset(data) if _is_indexed(data) else _from_items(data)
    return _named(loaders, known), total


def checked_names(names: Iterable[str]) -> list[str]:
    """Return the names as a list.

    Raises:
        InvalidInputError: The names are not distinct or cannot be file names.
    """
    known = list(names)
    for name in known:
        if not isinstance(name, str) or Path(name).name != name or name.startswith(".") or "\\" in name:
            raise InvalidInputError(f"Expected `names` that can be names of files, got {name!r}.")
        if name == SUMMARY or name.startswith(f"{SUMMARY}-"):
            raise InvalidInputError(f"Expected `names` other than {SUMMARY!r}, which is taken, got {name!r}.")
    if len(set(known)) < len(known):
        twice = sorted({name for name in known if known.count(name) > 1})
        raise InvalidInputError(f"Expected distinct `names`, got {twice[:3]} more than once.")
    return known


def _named(loaders: Iterator[Callable[[], Example]], names: Sequence[str] | None) -> Iterator[Source]:
    position = -1
    for position, load in enumerate(loaders):
        if names is not None and position >= len(names):
            raise InvalidInputError(
                f"Expected one of `names` for each example, got {len(names)} names and more examples."
            )
        yield Source(f"{position:06d}" if names is None else names[position], load)
    if names is not None and position + 1 < len(names):
        raise InvalidInputError(
            f"Expected one of `names` for each example, got {len(names)} names for {position + 1} examples."
        )


def _check_order(data: Iterable[Any]) -> None:
    given = getattr(data, "batch_sampler", None)
    sampler = getattr(given, "sampler", getattr(data, "sampler", None))
    if isinstance(data, DataLoader) and isinstance(sampler, _SHUFFLED):
        raise InvalidInputError(
            f"Expected `data` complete and in a fixed order, got a DataLoader with a {type(sampler).__name__}. "
            "Examples are identified by their positions, and certify_dataset itself splits them over processes."
        )
    if not _is_indexed(data) and not isinstance(data, Iterable):
        raise InvalidInputError(
            f"Expected `data` to be a Dataset, a DataLoader or an iterable of (inputs, target), got "
            f"{type(data).__name__}."
        )


class _Indexed(Protocol):
    """A map-style data set, whose examples are read by index."""

    def __getitem__(self, index: int) -> Any:
        """Return one item."""

    def __len__(self) -> int:
        """Return the number of items."""


def _is_indexed(data: object) -> TypeGuard[_Indexed]:
    return isinstance(data, Dataset) and hasattr(data, "__getitem__") and hasattr(data, "__len__")


def _length(data: Iterable[Any]) -> int | None:
    if isinstance(data, (list, tuple)):
        return sum(len(as_tuple(_pair(item)[0])[0]) for item in data)
    whole = data.dataset if isinstance(data, DataLoader) and not data.drop_last else data
    return len(whole) if _is_indexed(whole) else None


def _from_dataset(data: _Indexed) -> Iterator[Callable[[], Example]]:
    for index in range(len(data)):
        yield lambda index=index: _single(data[index])  # type: ignore[misc]


def _from_items(data: Iterable[Any]) -> Iterator[Callable[[], Example]]:
    single = isinstance(data, Dataset) or (isinstance(data, DataLoader) and data.batch_sampler is None)
    for item in data:
        if single:
            yield lambda item=item: _single(item)  # type: ignore[misc]
            continue
        inputs, target = _pair(item)
        rows = len(as_tuple(inputs)[0])
        for row in range(rows):
            yield (
                lambda inputs=inputs, target=target, row=row, rows=rows: Example(  # type: ignore[misc]
                    inputs=_map_tensors(inputs, lambda t: t[row : row + 1]), target=_target_of(target, row, rows)
                )
            )


def _single(item: object) -> Example:
    inputs, target = _pair(item)
    return Example(inputs=_map_tensors(inputs, lambda t: t.unsqueeze(0)), target=_target_of(target, 0, 1))


def _pair(item: object) -> tuple[Inputs, Any]:
    if not isinstance(item, (tuple, list)) or len(item) != 2:
        raise InvalidInputError(f"Expected `data` of pairs (inputs, target), got {type(item).__name__}.")
    inputs = tuple(item[0]) if isinstance(item[0], list) else item[0]
    if not as_tuple(inputs) or not all(isinstance(t, Tensor) for t in as_tuple(inputs)):
        raise InvalidInputError(
            f"Expected `data` of pairs (inputs, target) with tensors as inputs, got {inputs!r:.80}."
        )
    return inputs, item[1]


def _map_tensors(inputs: Inputs, change: Callable[[Tensor], Tensor]) -> Inputs:
    return tuple(change(tensor) for tensor in inputs) if isinstance(inputs, tuple) else change(inputs)


def _target_of(targets: Target, row: int, rows: int) -> Target:
    """Return the target of one example of a batch, with Python integers instead of tensors."""
    if isinstance(targets, Tensor):
        of_each = targets.dim() > 0 and len(targets) == rows
        values: list[int] = (targets[row] if of_each else targets).reshape(-1).tolist()
        return values[0] if len(values) == 1 else tuple(values)
    if isinstance(targets, list):
        if len(targets) != rows:
            raise InvalidInputError(f"Expected `data` with a target for each of {rows} inputs, got {len(targets)}.")
        return targets[row]
    return int(targets) if isinstance(targets, (int, np.integer)) else targets
