"""What is compared: methods, images, and cells. A cell is one method with one map, one noise level and one grouping."""

import copy
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from captum.attr import Attribution
from torch import Tensor

from captum_certified._captum import MethodArguments
from captum_certified.attr import SmoothedAttribution
from captum_certified.attr.request import Sign
from captum_certified.attr.row_arguments import arguments_of_rows, has_reference_distribution, masks_of_rows
from captum_certified.exceptions import InvalidInputError
from captum_certified.maps import Groups
from captum_certified.runs.examples import Example

__all__ = ["Cell", "Entry", "Images", "Smoothing", "named_groups"]

# Makes a smoothed attribution from a method, and takes its ``sign`` by keyword.
Smoothing: TypeAlias = Callable[..., SmoothedAttribution]
_OUTSIDE_FILE_NAMES = re.compile(r"[^\w.=]+")


@dataclass(frozen=True, kw_only=True, eq=False)
class Entry:
    """A method of the benchmark, and how it is called.

    Args:
        method: The Captum attribution to explain with.
        sign: Which attributions count; see :class:`~captum_certified.SparsifiedSmoothGrad`.
        arguments: Keyword arguments of the method for all N examples, or a function that returns them for the groups of
            a cell, such as the ``feature_mask`` of KernelShap.
        nt_samples: Number of draws, if it is not that of the other methods.
        examples: Explain only the first examples, this many.

    Example:
        >>> from captum.attr import IntegratedGradients
        >>> Entry(method=IntegratedGradients(lambda x: x), arguments={"n_steps": 8}, examples=4).examples
        4
    """

    method: Attribution
    sign: Sign = "both"
    arguments: MethodArguments | Callable[[Groups], MethodArguments] = field(default_factory=dict)
    nt_samples: int | None = None
    examples: int | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Images:
    """The examples, shape (N, …), with a name and a target for each of them."""

    inputs: Tensor
    names: Sequence[str]
    targets: Sequence[int]

    def __len__(self) -> int:
        return len(self.names)

    def row(self, index: int) -> Tensor:
        """Return one example with a batch dimension of 1."""
        return self.inputs[index : index + 1]


@dataclass(frozen=True, kw_only=True, eq=False)
class Cell:
    """One method, with one map, one noise level and one grouping.

    Attributes:
        name: Name of the method in the table.
        entry: The method.
        map_name: Name of the map in the table.
        smoothing: Makes the smoothed attribution of the method.
        sigma: Standard deviation of the noise.
        groups_name: Name of the groups in the table.
        groups: The groups.
        sham: Whether the method is a sham of the package.
    """

    name: str
    entry: Entry
    map_name: str
    smoothing: Smoothing
    sigma: float
    groups_name: str
    groups: Groups
    sham: bool = False

    @property
    def file_name(self) -> str:
        """Name of the files of the cell, without a suffix."""
        return _file_name(self.name, self.map_name, f"{self.sigma:g}", self.groups_name)

    @property
    def plain_name(self) -> str:
        """Name of the folder of the plain maps, which all cells of the method and the grouping share."""
        return _file_name(self.name, self.groups_name)

    @property
    def explainer(self) -> SmoothedAttribution:
        """A new smoothed attribution, around a copy of the method that has made no call."""
        return self.smoothing(_as_new(self.entry.method), sign=self.entry.sign)

    def rows(self, images: Images) -> range:
        """Return the numbers of the examples that the cell has."""
        return range(len(images) if self.entry.examples is None else min(self.entry.examples, len(images)))

    def example(self, images: Images, index: int) -> Example:
        """Return one example, with the groups and the arguments of the method for this example only."""
        given = self.entry.arguments
        arguments = given(self.groups) if callable(given) else given
        total, shared = len(images), has_reference_distribution(self.entry.method, arguments)
        own = arguments_of_rows(arguments, total, [index], distribution=shared) if total > 1 else dict(arguments)
        return Example(
            inputs=images.row(index),
            target=images.targets[index],
            groups=masks_of_rows(self.groups, total, [index]),
            arguments=own,
        )


def named_groups(groups: Sequence[Groups] | Mapping[str, Groups]) -> dict[str, Groups]:
    """Return groups by the name that tables show.

    Raises:
        InvalidInputError: There are no groups, or two of them have one name.
    """
    if isinstance(groups, Mapping):
        named = dict(groups)
    else:
        named = {g if isinstance(g, str) else "none" if g is None else "mask": g for g in groups}
    if not named or len(named) < len(groups):
        raise InvalidInputError(f"Expected `groups` with distinct names, as a dict if need be, got {list(named)}.")
    return named


def _as_new(method: Attribution) -> Attribution:
    """Return a copy of a method that nobody has called.

    Occlusion remembers its first call, and KernelShap the weights that it fitted last. Both are recorded with a map.
    The record of a cell must not depend on the cells that were computed before it.
    """
    copied = copy.copy(method)
    if hasattr(copied, "interpretable_model"):
        copied.interpretable_model = copy.deepcopy(copied.interpretable_model)
    return copied


def _file_name(*words: str) -> str:
    return "--".join(_OUTSIDE_FILE_NAMES.sub("-", word).strip("-.") or "-" for word in words)
