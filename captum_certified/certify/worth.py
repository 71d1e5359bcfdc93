"""Measure what a certified overlap is worth: compare it with maps that do not use the trained model.

A certified overlap means little if a map that does not use the trained model overlaps as much.
"""

import math

import numpy as np
import torch
from torch import Tensor

from captum_certified.certify.reference import positive_top
from captum_certified.maps import SmoothedMap
from captum_certified.theory import class_ratio

__all__ = ["certified_class_radius", "class_caution", "near_chance", "shared_fraction", "shared_with_each"]

_FEW_KEPT = 0.5
_STANDARD_ERRORS = 2.0


def shared_fraction(table: Tensor | None, members: Tensor, k: int) -> Tensor | None:
    """Return the overlap of a map's top K with a reference set, as a fraction of min(K, L), float64, shape (N,).

    Args:
        table: Magnitudes of a map, shape (N, n), or ``None`` if it is unknown. Only positive entries count.
        members: The reference set of L features, bool, shape (N, n).
        k: Size K of the top set.

    Example:
        >>> members = torch.tensor([[True, True, False, False]])
        >>> shared_fraction(torch.tensor([[3.0, 0.0, 2.0, 1.0]]), members, k=2)
        tensor([0.5000], dtype=torch.float64)
    """
    if table is None:
        return None
    return (positive_top(table, k) & members).sum(dim=1).double() / members.sum(dim=1).clamp_max(k)


def shared_with_each(tables: Tensor | None, members: Tensor, k: int) -> Tensor | None:
    """Return the mean of :func:`shared_fraction` over several maps, shape (N,). ``tables`` has shape (N, maps, n)."""
    if tables is None:
        return None
    # Process one map at a time to save memory, because the selection of the largest entries copies its argument.
    each = [shared_fraction(table, members, k) for table in tables.unbind(dim=1)]
    return torch.stack([share for share in each if share is not None], dim=1).mean(dim=1)


def certified_class_radius(smoothed_map: SmoothedMap, alpha: float) -> Tensor | None:
    """Return the L2 radius within which most noisy copies keep the clean input's class, shape (N,), or ``None``."""
    if smoothed_map.class_votes is None:
        return None
    kept, copies = smoothed_map.class_votes.numpy().T
    return torch.from_numpy(class_ratio(kept, copies, alpha=alpha)) * smoothed_map.sigma


def near_chance(overlap: Tensor, members: Tensor, k: int) -> Tensor:
    """Return whether an overlap is at most two standard errors above the mean overlap by chance, bool, shape (N,).

    Args:
        overlap: Number of members in the top K, shape (N,).
        members: The reference set, bool, shape (N, n).
        k: Size K of the top set.
    """
    n, size = members.shape[1], members.sum(dim=1).double()
    mean = k * size / n
    variance = mean * (1 - size / n) * (n - k) / max(n - 1, 1)  # of the hypergeometric distribution
    return overlap.double() <= mean + _STANDARD_ERRORS * variance.sqrt()


def class_caution(class_kept: float) -> str | None:
    """Return a sentence if most noisy copies have another predicted class than the clean input, else ``None``."""
    if math.isnan(class_kept) or class_kept >= _FEW_KEPT:
        return None
    percent = np.floor(1000 * class_kept) / 10
    return (
        f"only {percent:g}% of noisy copies keep the predicted class: under this noise the model hardly sees the input "
        "(use a smaller σ, train the model under noise, or denoise)"
    )
