"""Reference sets: the sets of features whose overlap with the top K is certified."""

from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from captum_certified.exceptions import CertificationError, InvalidInputError
from captum_certified.maps import SmoothedMap
from captum_certified.maps.regions import Mask, feature_mask
from captum_certified.theory import top_k_mask

__all__ = ["RECORDED", "Reference", "positive_top", "recorded_reference", "reference_kind", "with_reference"]

RECORDED: Literal["recorded"] = "recorded"  # the set that is stored in the map
Reference = Literal["plain", "recorded"] | Mask | None


def with_reference(smoothed_map: SmoothedMap, reference: Reference, k: int) -> SmoothedMap:
    """Return the map with the reference set that was asked for.

    Args:
        smoothed_map: A map.
        reference: ``None``: the map's own top K. ``"plain"``: the positive entries among the top K of the plain
            attribution at the clean input. ``"recorded"``: the set in the map. Or a boolean mask, structured like the
            map, or of shape (1 or N, n) for grouped features.
        k: Size K of the top set.

    Raises:
        InvalidInputError: The mask does not fit the map, or the word is unknown.
        CertificationError: The plain attribution is unknown, or zero everywhere.
    """
    if reference is None:
        return smoothed_map if smoothed_map.reference is None else replace(smoothed_map, reference=None)
    if isinstance(reference, str):
        return _named(smoothed_map, reference, k)
    rows, n = smoothed_map.features.shape
    if isinstance(reference, Tensor) and reference.dtype == torch.bool and reference.shape in ((1, n), (rows, n)):
        features = reference.cpu()
        if not bool(features.any(dim=1).all()):
            raise InvalidInputError("Expected `reference` to hold at least one feature of every example.")
    else:
        features = feature_mask(reference, smoothed_map.layout, rows, name="reference")
    return replace(smoothed_map, reference=features.expand(rows, n).clone())


def positive_top(table: Tensor, k: int) -> Tensor:
    """Return the positive entries among the top K of every row, bool, in the shape (rows, n) of ``table``."""
    return torch.from_numpy(top_k_mask(table.numpy(), k)[0]) & (table > 0)


def reference_kind(reference: Reference) -> str:
    """Return the word for a reference in a certificate: ``"own"``, ``"plain"`` or ``"mask"``."""
    if reference is None:
        return "own"
    return reference if isinstance(reference, str) else "mask"


def recorded_reference(kind: str) -> Reference:
    """Return the argument ``reference`` that certifies a map again, given the word in its certificate."""
    if kind == "plain":
        return "plain"
    return None if kind == "own" else RECORDED


def _named(smoothed_map: SmoothedMap, reference: str, k: int) -> SmoothedMap:
    if reference == RECORDED:
        return smoothed_map
    if reference != "plain":
        raise InvalidInputError(f"Expected `reference` to be None, 'plain' or a bool mask, got {reference!r}.")
    plain = smoothed_map.plain
    if plain is None:
        raise CertificationError("Expected a map with its plain attribution for `reference`='plain', got one without.")
    if not bool((plain > 0).any(dim=1).all()):
        raise CertificationError("Expected a plain attribution that is positive somewhere for `reference`='plain'.")
    return replace(smoothed_map, reference=positive_top(plain, k))
