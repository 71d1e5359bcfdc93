"""Regions of a map: the features of each region, and the fraction of every draw's map that lies in the region."""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from captum_certified.exceptions import InvalidInputError
from captum_certified.maps.feature_layout import FeatureLayout, check_mask_shape, checked_masks

__all__ = ["Regions", "feature_mask", "merged_regions", "region_masks", "regions_of_rows", "stacked_regions"]

Mask = Tensor | tuple[Tensor, ...]
Regions = Mask | Mapping[str, Mask] | None
# For every region by name: the mask of its features, and the fraction of every draw's map that lies in the region. If
# an example has fewer draws than the others, its row of fractions is filled up with NaN.
Recorded = Mapping[str, tuple[Tensor, Tensor]]

_UNNAMED = "region"


def region_masks(region: Regions, layout: FeatureLayout, rows: int) -> dict[str, Tensor]:
    """Return the features of every region by name, as boolean tables of shape (1 or N, n).

    Args:
        region: A boolean mask structured like the map, first dimension 1 or N, or a dictionary of masks.
        layout: Layout of the map.
        rows: Number of examples N.

    Raises:
        InvalidInputError: A mask is not boolean, does not fit the map, is empty, or cuts through a group.
    """
    if region is None:
        return {}
    named = region if isinstance(region, Mapping) else {_UNNAMED: region}
    return {str(name): feature_mask(mask, layout, rows, name="region") for name, mask in named.items()}


def feature_mask(mask: Mask, layout: FeatureLayout, rows: int, *, name: str) -> Tensor:
    """Return the features in a mask. The mask must contain each group of entries whole or not at all.

    Args:
        mask: A boolean mask structured like the map, first dimension 1 or N.
        layout: Layout of the map.
        rows: Number of examples N.
        name: Name of the argument, for messages.

    Returns:
        A boolean table of shape (1 or N, n).

    Raises:
        InvalidInputError: The mask is not boolean, does not fit the map, is empty, or cuts through a group.
    """
    parts = checked_masks(name, mask, layout.shapes)
    for part, shape in zip(parts, layout.shapes, strict=True):
        if not isinstance(part, Tensor) or part.dtype != torch.bool:
            raise InvalidInputError(f"Expected `{name}` to be a bool mask, got {getattr(part, 'dtype', type(part))}.")
        check_mask_shape(name, part, shape, rows)
    examples = max(len(tensor) for tensor in (*parts, *(layout.group_ids or ())))
    whole = [p.cpu().expand(examples, *shape) for p, shape in zip(parts, layout.shapes, strict=True)]
    # The mean of the mask over a group is 1 if all entries of the group are in the mask, and 0 if none is.
    inside = layout.group_means([w.double() for w in whole])
    if bool(((inside > 0) & (inside < 1)).any()):
        raise InvalidInputError(f"Expected `{name}` to hold each group whole or not at all, got a mask that cuts one.")
    if not bool((inside > 0).any(dim=1).all()):
        raise InvalidInputError(f"Expected `{name}` to hold at least one feature of every example, got an empty one.")
    return inside > 0


def merged_regions(one: Recorded, two: Recorded) -> dict[str, tuple[Tensor, Tensor]]:
    """Join the fractions of two maps along the draws, or raise an InvalidInputError if regions or masks differ."""
    if one.keys() != two.keys() or any(not torch.equal(one[name][0], two[name][0]) for name in one):
        raise InvalidInputError(f"Expected maps with the same regions, got {sorted(one)} and {sorted(two)}.")
    return {name: (mask, _packed(torch.cat([shares, two[name][1]], dim=1))) for name, (mask, shares) in one.items()}


def regions_of_rows(recorded: Recorded, rows: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
    """Return the recorded regions of some of the examples."""
    return {
        name: (mask if len(mask) == 1 else mask[rows], _packed(shares[rows]))
        for name, (mask, shares) in recorded.items()
    }


def stacked_regions(recorded: Sequence[tuple[Recorded, int]]) -> dict[str, tuple[Tensor, Tensor]]:
    """Stack the regions of several maps along the examples, or raise an InvalidInputError if the names differ.

    Args:
        recorded: The regions and the number of examples of every map.
    """
    names = recorded[0][0].keys()
    if any(regions.keys() != names for regions, _ in recorded):
        raise InvalidInputError(f"Expected maps with the same regions, got {[sorted(r) for r, _ in recorded]}.")
    stacked = {}
    for name in names:
        shares = [regions[name][1] for regions, _ in recorded]
        most = max(s.shape[1] for s in shares)
        padded = [functional.pad(s, (0, most - s.shape[1]), value=math.nan) for s in shares]
        masks = torch.cat([regions[name][0].expand(rows, -1) for regions, rows in recorded])
        stacked[name] = (masks, torch.cat(padded))
    return stacked


def _packed(shares: Tensor) -> Tensor:
    """Move the NaN of every row to its end, and drop the columns that hold only NaN."""
    missing = shares.isnan()
    if not bool(missing.any()):
        return shares
    order = missing.to(torch.uint8).argsort(dim=1, stable=True)
    return shares.gather(1, order)[:, : int((~missing).sum(dim=1).max())]
