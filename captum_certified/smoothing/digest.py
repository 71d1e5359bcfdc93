"""Digests that identify inputs and settings."""

import hashlib
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

__all__ = ["digest"]


def digest(*values: Any) -> str:
    """SHA-256 of tensors (dtype, shape and bytes), plain values, and sequences and mappings of them.

    Args:
        *values: What to identify.

    Returns:
        64 hexadecimal digits.

    Example:
        >>> digest(torch.zeros(1, 8, 8))[:16]
        '5fb67c907f0f7859'
    """
    state = hashlib.sha256()
    for value in values:
        _feed(state, value)
    return state.hexdigest()


def _feed(state: Any, value: Any) -> None:
    if isinstance(value, Tensor):
        # Copied: a tensor expanded to one element counts as contiguous, but cannot be viewed as bytes.
        array = value.detach().cpu().clone(memory_format=torch.contiguous_format)
        state.update(f"{array.dtype}{tuple(array.shape)}".encode())
        state.update(array.reshape(-1).view(torch.uint8).numpy().tobytes() if array.numel() else b"")
    elif isinstance(value, Mapping):
        for key in sorted(value):
            state.update(f"{key}=".encode())
            _feed(state, value[key])
    elif isinstance(value, (list, tuple)):
        state.update(f"{type(value).__name__}{len(value)}".encode())
        for item in value:
            _feed(state, item)
    else:
        # Objects without a value of their own are identified by their type: an address would differ in every run.
        plain = value is None or isinstance(value, (bool, int, float, complex, str, slice))
        state.update((repr(value) if plain else type(value).__qualname__).encode())
