"""The layout of features: how entries or groups of entries become the columns of a table, and back."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from captum_certified.exceptions import InvalidInputError

__all__ = ["FeatureLayout", "Groups", "check_group_name", "check_mask_shape", "checked_masks", "is_group_name"]

_PRECISE = (torch.float32, torch.float64)

# "channels", "patches:S", or integer masks.
Groups = str | Tensor | tuple[Tensor, ...] | None

_CHANNELS, _PATCHES = "channels", "patches:"


@dataclass(frozen=True, eq=False)
class FeatureLayout:
    """Rule that turns the tensors of a map into a table with a row for each example and a column for each feature.

    Args:
        shapes: Shape of one example, for every tensor of the map.
        is_tuple: Whether the map is a tuple of tensors.
        group_ids: The column of every entry, one int64 tensor of shape (1 or N, *shape) for every tensor of the map;
            ``None`` if every entry is one feature.
        n_features: Number of columns n.
        by_channel: Whether each group holds the entries of all channels at one position. Channels are dimension 1.
    """

    shapes: tuple[tuple[int, ...], ...]
    is_tuple: bool
    n_features: int
    group_ids: tuple[Tensor, ...] | None = field(default=None, repr=False)
    by_channel: bool = False

    @classmethod
    def of(cls, maps: Sequence[Tensor], *, is_tuple: bool, rows: int, groups: Groups = None) -> "FeatureLayout":
        """Return the layout of maps of ``rows`` examples. The first dimension of a map is examples times draws."""
        shapes = tuple(tuple(m.shape[1:]) for m in maps)
        if groups is None:
            return cls(shapes, is_tuple, sum(_numel(shape) for shape in shapes))
        if isinstance(groups, str):
            side = check_group_name(groups)
            ids = _channel_ids(shapes) if side is None else _patch_ids(shapes, side)
        else:
            ids = _mask_ids(groups, shapes, rows)
        n_features = max(int(i.max()) for i in ids) + 1
        return cls(shapes, is_tuple, n_features, ids, by_channel=isinstance(groups, str) and groups == _CHANNELS)

    def flatten(self, maps: Sequence[Tensor], rows: int) -> Tensor:
        """Compute the magnitude of every feature, |entry| or the sum of |entry| over a group: shape (rows · draws, n).

        The maps have shape (rows · draws, *shape), all draws of example 0 first.
        """
        precise = [m if m.dtype in _PRECISE else m.float() for m in maps]
        magnitudes = [m.abs().sum(dim=1) if self.by_channel else m.abs() for m in precise]
        columns = [m.reshape(len(m), -1) for m in magnitudes]
        if self.group_ids is None or self.by_channel:
            return columns[0] if len(columns) == 1 else torch.cat(columns, dim=1)
        total = columns[0].new_zeros((len(columns[0]), self.n_features))
        for column, ids in zip(columns, self.group_ids, strict=True):
            index = ids.to(column.device).reshape(len(ids), -1)
            if len(index) > 1:
                index = index.repeat_interleave(len(column) // rows, dim=0)
            total.scatter_add_(1, index.expand(len(column), -1), column)
        return total

    def group_means(self, maps: Sequence[Tensor]) -> Tensor:
        """Compute the mean of |entry| over every feature, shape (N, n), for maps of shape (N, *shape)."""
        entries = replace(self, by_channel=False)
        rows = len(maps[0])
        return entries.flatten(maps, rows) / entries.flatten([torch.ones_like(m) for m in maps], rows)

    def of_rows(self, rows: Tensor) -> "FeatureLayout":
        """Return the layout of some of the examples."""
        if self.group_ids is None or all(len(ids) == 1 for ids in self.group_ids):
            return self
        return replace(self, group_ids=tuple(ids[rows.to(ids.device)] for ids in self.group_ids))

    def unflatten(self, features: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Turn a table of shape (N, n) into a map: a tensor of shape (N, *shape), or a tuple of such tensors.

        Every entry of a group gets the value of the group.
        """
        rows = len(features)
        if self.group_ids is None:
            sizes = [_numel(shape) for shape in self.shapes]
            columns = torch.split(features, sizes, dim=1)
        else:
            columns = tuple(features.gather(1, ids.reshape(len(ids), -1).expand(rows, -1)) for ids in self.group_ids)
        maps = tuple(c.reshape(rows, *shape) for c, shape in zip(columns, self.shapes, strict=True))
        return maps if self.is_tuple else maps[0]

    def stack(self, rows: int, other: "FeatureLayout", other_rows: int) -> "FeatureLayout":
        """Return the layout of ``rows`` examples of this layout followed by ``other_rows`` examples of ``other``."""
        if self.same_as(other) and all(len(ids) == 1 for ids in self.group_ids or ()):
            return self
        if self.group_ids is None or other.group_ids is None or self.n_features != other.n_features:
            raise InvalidInputError(
                f"Expected maps with the same number of groups, got {self.n_features} and {other.n_features} features."
            )
        ids = tuple(
            torch.cat([one.expand(rows, *shape), two.expand(other_rows, *shape)])
            for one, two, shape in zip(self.group_ids, other.group_ids, self.shapes, strict=True)
        )
        return replace(self, group_ids=ids, by_channel=False)

    @property
    def cell_side(self) -> int | None:
        """The side S in pixels if the groups are those of ``"patches:S"``, else ``None``."""
        if self.group_ids is None or any(len(shape) != 3 for shape in self.shapes):
            return None
        first = self.group_ids[0][0, 0]
        # If the picture is narrower than a cell, its cells are cut. Only the other side of a cell then shows S.
        side = int(max((first[0] == first[0, 0]).sum(), (first[:, 0] == first[0, 0]).sum()))
        cells = _patch_ids(self.shapes, side)
        alike = all(bool((ids == cell).all()) for ids, cell in zip(self.group_ids, cells, strict=True))
        return side if alike else None

    def same_as(self, other: "FeatureLayout") -> bool:
        """Return whether two layouts have the same structure and groups."""
        if (self.shapes, self.is_tuple, self.n_features) != (other.shapes, other.is_tuple, other.n_features):
            return False
        if self.group_ids is None or other.group_ids is None:
            return self.group_ids is other.group_ids
        return all(torch.equal(a, b) for a, b in zip(self.group_ids, other.group_ids, strict=True))


def _numel(shape: tuple[int, ...]) -> int:
    return int(torch.Size(shape).numel())


def _channel_ids(shapes: tuple[tuple[int, ...], ...]) -> tuple[Tensor, ...]:
    """Return the column of every entry if each group holds the entries of all channels at one position."""
    ids, offset = [], 0
    for shape in shapes:
        if len(shape) < 2:
            raise InvalidInputError(
                f"Expected maps of shape (N, C, ...) with at least 3 dimensions for `groups`='channels', "
                f"got (N, {', '.join(map(str, shape))})."
            )
        positions = torch.arange(_numel(shape[1:]), device="cpu") + offset
        ids.append(positions.reshape(1, 1, *shape[1:]).expand(1, *shape).contiguous())
        offset += positions.numel()
    return tuple(ids)


def check_group_name(groups: str) -> int | None:
    """Return the side S of ``"patches:S"``, and ``None`` for ``"channels"``.

    Raises:
        InvalidInputError: ``groups`` is another text.
    """
    if not is_group_name(groups):
        # With a text such as "superpixels", the regions would be computed anew for every perturbed image. No
        # certificate covers this.
        hint = " Superpixels are a mask: give `groups=captum_certified.superpixels(images, S)`, of the clean images."
        raise InvalidInputError(
            f"Expected `groups` to be None, 'channels', 'patches:S' with a side S from 1 in pixels, or integer masks, "
            f"got {groups!r}.{hint if groups.startswith('superpixels') else ''}"
        )
    return None if groups == _CHANNELS else int(groups.removeprefix(_PATCHES))


def is_group_name(text: str) -> bool:
    """Return whether a text is ``"channels"``, or ``"patches:S"`` with a side S from 1."""
    side = text.removeprefix(_PATCHES)
    return text == _CHANNELS or (text.startswith(_PATCHES) and side.isascii() and side.isdecimal() and int(side) >= 1)


def _patch_ids(shapes: tuple[tuple[int, ...], ...], side: int) -> tuple[Tensor, ...]:
    """Return the columns of entries grouped by cells of side × side pixels, over all channels."""
    ids, offset = [], 0
    for shape in shapes:
        if len(shape) != 3:
            raise InvalidInputError(
                f"Expected maps of shape (N, C, H, W) for `groups`='patches:{side}', got (N, "
                f"{', '.join(map(str, shape))})."
            )
        row, column = (torch.arange(size, device="cpu") // side for size in shape[1:])
        cells = row.unsqueeze(1) * (int(column[-1]) + 1) + column + offset
        ids.append(cells.expand(1, *shape).contiguous())
        offset = int(cells[-1, -1]) + 1
    return tuple(ids)


def _mask_ids(
    groups: Tensor | tuple[Tensor, ...], shapes: tuple[tuple[int, ...], ...], rows: int
) -> tuple[Tensor, ...]:
    """Return the column of every entry if each group holds the entries with the same integer in the masks."""
    masks = checked_masks("groups", groups, shapes)
    for mask, shape in zip(masks, shapes, strict=True):
        _check_ids(mask, shape, rows)
    examples = max(len(mask) for mask in masks)
    whole = [mask.detach().cpu().long().expand(examples, *shape) for mask, shape in zip(masks, shapes, strict=True)]
    table = torch.cat([mask.reshape(examples, -1) for mask in whole], dim=1)
    ids = [torch.unique(row, return_inverse=True) for row in table]
    counts = sorted({len(values) for values, _ in ids})
    if len(counts) > 1:
        raise InvalidInputError(
            f"Expected `groups` with the same number of groups for every example, got {counts[0]} to {counts[-1]}."
        )
    columns = torch.split(torch.stack([inverse for _, inverse in ids]), [_numel(shape) for shape in shapes], dim=1)
    return tuple(c.reshape(examples, *shape) for c, shape in zip(columns, shapes, strict=True))


def _check_ids(mask: object, shape: tuple[int, ...], rows: int) -> None:
    """Raise an InvalidInputError unless a mask holds integers and fits a map."""
    if not isinstance(mask, Tensor):
        raise InvalidInputError(
            f"Expected `groups` to be None, 'channels', an integer tensor or a tuple of them, got {mask!r}."
        )
    if mask.is_floating_point() or mask.is_complex() or mask.dtype == torch.bool:
        raise InvalidInputError(f"Expected `groups` of an integer dtype, got {mask.dtype}.")
    check_mask_shape("groups", mask, shape, rows)


def checked_masks(
    name: str, masks: Tensor | tuple[Tensor, ...], shapes: tuple[tuple[int, ...], ...]
) -> tuple[Tensor, ...]:
    """Return masks as a tuple, or raise an InvalidInputError unless there are as many as tensors of the map."""
    masks = masks if isinstance(masks, tuple) else (masks,)
    if len(masks) != len(shapes):
        raise InvalidInputError(f"Expected `{name}` with {len(shapes)} masks, one for each map, got {len(masks)}.")
    return masks


def check_mask_shape(name: str, mask: Tensor, shape: tuple[int, ...], rows: int) -> None:
    """Raise an InvalidInputError if a mask cannot be expanded to the shape (rows, *shape) of the maps."""
    same_dim = mask.dim() == len(shape) + 1
    if same_dim and mask.shape[0] in (1, rows) and all(m in (1, s) for m, s in zip(mask.shape[1:], shape, strict=True)):
        return
    hint = ""
    if len(shape) >= 3 and same_dim and any(m > s for m, s in zip(mask.shape[2:], shape[1:], strict=True)):
        # The mask probably has the size of the input, and the map the smaller size of a layer.
        hint = " Maps of a layer have its resolution; captum_certified.Upsampled enlarges them to that of the input."
    raise InvalidInputError(
        f"Expected `{name}` of shape (1 or {rows}, {', '.join(map(str, shape))}), got {tuple(mask.shape)}.{hint}"
    )
