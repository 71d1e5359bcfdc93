"""Digests that identify inputs and settings."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

__all__ = ["digest"]

Value = TypeVar("Value")

_PLAIN = (bool, int, float, complex, str, bytes, slice, range, torch.dtype, torch.device)


def digest(*values: Any) -> str:
    """Compute the SHA-256 of tensors and arrays (dtype, shape and bytes), plain values, and containers of all these.

    Containers are lists, tuples, sets and mappings. Any other object is identified by the name of its type alone. Its
    ``repr`` is not used, because it may contain a memory address, which differs in every run.

    Returns:
        64 hexadecimal digits.

    Example:
        >>> digest(torch.zeros(1, 8, 8))[:16]
        'd23cf5ae740fe561'
    """
    state = hashlib.sha256()
    for value in values:
        for part in _parts(value):
            state.update(part)
    return state.hexdigest()


def _parts(value: Any) -> Iterator[bytes]:
    """Encode a value as bytes, in parts.

    The bytes begin with the kind of the value and tell where the value ends. Two different structures therefore never
    have the same bytes.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, Tensor) and value.layout != torch.strided:
        yield from _parts(f"{value.layout}")
        value = value.to_dense()
    if isinstance(value, Tensor):
        # An expanded tensor of one element counts as contiguous, but cannot be viewed as bytes. A copy can be viewed as
        # bytes.
        array = value.detach().cpu().clone(memory_format=torch.contiguous_format)
        yield f"tensor {array.dtype} {tuple(array.shape)}:".encode()
        if array.numel():
            yield array.reshape(-1).view(torch.uint8).numpy().tobytes()
    elif isinstance(value, np.ndarray) and not value.dtype.hasobject:
        yield f"array {value.dtype.str} {value.shape}:".encode()
        yield value.tobytes()
    elif isinstance(value, Mapping):
        yield from _container("mapping", [item for key in _in_order(value) for item in (key, value[key])])
    elif isinstance(value, (set, frozenset)):
        yield from _container("set", _in_order(value))
    elif isinstance(value, (list, tuple)):
        yield from _container(type(value).__name__, list(value))
    else:
        plain = value is None or isinstance(value, _PLAIN)
        text = (repr(value) if plain else type(value).__qualname__).encode()
        yield f"{type(value).__name__} {len(text)}:".encode()
        yield text


def _container(kind: str, members: list[Value]) -> Iterator[bytes]:
    yield f"{kind} {len(members)}:".encode()
    for member in members:
        yield from _parts(member)


def _in_order(members: Iterable[Value]) -> list[Value]:
    return sorted(members, key=lambda member: (type(member).__name__, repr(member)))
