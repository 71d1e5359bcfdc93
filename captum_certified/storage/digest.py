"""Digests that identify inputs and settings."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = ["digest"]

_PLAIN = (bool, int, float, complex, str, bytes, slice, range, torch.dtype, torch.device)


def digest(*values: Any) -> str:
    """SHA-256 of tensors and arrays (dtype, shape and bytes), plain values, and sequences, sets and mappings of them.

    Objects without a value of their own are identified by their type: an address would differ in every run.

    Args:
        *values: What to identify.

    Returns:
        64 hexadecimal digits.

    Example:
        >>> digest(torch.zeros(1, 8, 8))[:16]
        'd23cf5ae740fe561'
    """
    state = hashlib.sha256()
    for value in values:
        _feed(state, value)
    return state.hexdigest()


def _feed(state: Any, value: Any) -> None:
    """Every value begins with its kind and ends where that says, so that no two structures feed the same bytes."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, Tensor) and value.layout != torch.strided:
        _feed(state, f"{value.layout}")
        value = value.to_dense()
    if isinstance(value, Tensor):
        # Copied: a tensor expanded to one element counts as contiguous, but cannot be viewed as bytes.
        array = value.detach().cpu().clone(memory_format=torch.contiguous_format)
        state.update(f"tensor {array.dtype} {tuple(array.shape)}:".encode())
        state.update(array.reshape(-1).view(torch.uint8).numpy().tobytes() if array.numel() else b"")
    elif isinstance(value, np.ndarray) and not value.dtype.hasobject:
        state.update(f"array {value.dtype.str} {value.shape}:".encode())
        state.update(value.tobytes())
    elif isinstance(value, Mapping):
        _feed_all(state, "mapping", [item for key in sorted(value, key=_order) for item in (key, value[key])])
    elif isinstance(value, (set, frozenset)):
        _feed_all(state, "set", sorted(value, key=_order))
    elif isinstance(value, (list, tuple)):
        _feed_all(state, type(value).__name__, value)
    else:
        plain = value is None or isinstance(value, _PLAIN)
        text = (repr(value) if plain else type(value).__qualname__).encode()
        state.update(f"{type(value).__name__} {len(text)}:".encode())
        state.update(text)


def _feed_all(state: Any, kind: str, values: Sequence[Any]) -> None:
    state.update(f"{kind} {len(values)}:".encode())
    for value in values:
        _feed(state, value)


def _order(value: Any) -> tuple[str, str]:
    return type(value).__name__, repr(value)
