"""Checks of arguments: numbers, counts, tensors, flags.

Every function returns the checked value, or raises an ``InvalidInputError``. The error names the argument, what was
expected, and the value.
"""

import math
import operator
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from captum_certified.exceptions import InvalidInputError
from captum_certified.theory import fraction_to_count

__all__ = [
    "checked_columns",
    "checked_flag",
    "checked_integer",
    "checked_norm",
    "checked_number",
    "checked_samples",
    "checked_stdev",
    "checked_stdevs",
    "resolved_count",
]

# The type of a value from a caller or a file that is not checked yet.
Unchecked: TypeAlias = Any

_ANY_NUMBER = 2**62
_MOST_FEATURES = 2**40  # a larger total means that the number of features is unknown


def checked_number(
    name: str,
    value: Unchecked,
    *,
    above: float = -math.inf,
    at_least: float = -math.inf,
    at_most: float = math.inf,
    below: float = math.inf,
) -> float:
    """Return a finite number within the given limits as a float."""
    number = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
    if number and math.isfinite(value) and above < value < below and at_least <= value <= at_most:
        return float(value)
    low = f"> {above:g}" if above > -math.inf else f">= {at_least:g}"
    high = f" and <= {at_most:g}" if at_most < math.inf else f" and < {below:g}" if below < math.inf else ""
    raise InvalidInputError(f"Expected `{name}` to be a finite number {low}{high}, got {value!r:.80}.")


def checked_stdev(stdev: Unchecked) -> float:
    """Return a standard deviation, a finite number ≥ 0, as a float."""
    return checked_number("stdevs", stdev, at_least=0)


def checked_stdevs(stdevs: Unchecked) -> float | tuple[float, ...]:
    """Return one standard deviation, or a tuple of them, as floats."""
    if isinstance(stdevs, tuple):
        return tuple(checked_stdev(stdev) for stdev in stdevs)
    return checked_stdev(stdevs)


def checked_norm(max_squared_norm: Unchecked) -> float | None:
    """Return a bound on the squared norm, a finite number > 0, as a float, or ``None``."""
    return None if max_squared_norm is None else checked_number("max_squared_norm", max_squared_norm, above=0)


def checked_flag(name: str, value: Unchecked) -> bool:
    """Return a value that must be a bool."""
    if not isinstance(value, bool):
        raise InvalidInputError(f"Expected `{name}` to be a bool, got {value!r}.")
    return value


def checked_integer(name: str, value: Unchecked, *, at_least: int = 0, below: int | None = None) -> int:
    """Return an integer in [``at_least``, ``below``)."""
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or isinstance(value, bool) or number < at_least or (below is not None and number >= below):
        limit = "" if below is None else f" and < {below}"
        raise InvalidInputError(f"Expected `{name}` to be an integer >= {at_least}{limit}, got {value!r}.")
    return number


def resolved_count(name: str, value: Unchecked, total: int = _ANY_NUMBER, *, at_least: int = 1) -> int:
    """Return a count that is given as an int, or as a float: a fraction of ``total``, which is rounded up.

    Args:
        name: The argument's name, for the message.
        value: A count or a fraction.
        total: Number of features. Leave out this argument if the number is not known yet.
        at_least: The smallest count allowed, 0 or 1.

    Returns:
        The count.

    Example:
        >>> resolved_count("k", 3, 10), resolved_count("k", 0.25, 10)
        (3, 3)
    """
    integral = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    if integral and at_least <= value <= total:
        return int(value)
    if isinstance(value, (float, np.floating)) and 0 <= value <= 1:
        count = fraction_to_count(float(value), total)
        if count >= at_least:
            return count
    most = f" to {total}" if total < _MOST_FEATURES else ""
    raise InvalidInputError(
        f"Expected `{name}` to be a number of features from {at_least}{most}, or a fraction of them in "
        f"{'(0' if at_least else '[0'}, 1], got {value!r}."
    )


def checked_samples(name: str, n_samples: Unchecked, rows: int) -> Tensor:
    """Return the number of draws of each example, integers ≥ 1, as int64 of shape (rows,)."""
    try:
        samples = torch.as_tensor(n_samples, device="cpu")
    except (TypeError, ValueError, RuntimeError):
        samples = torch.tensor(0)  # refused below
    integral = not (samples.is_floating_point() or samples.is_complex() or samples.dtype == torch.bool)
    if not integral or samples.shape not in ((), (1,), (rows,)) or bool((samples < 1).any()):
        raise InvalidInputError(f"Expected `{name}` >= 1, an int or integers of shape ({rows},), got {n_samples!r}.")
    return samples.long().expand(rows).clone()


def checked_columns(
    name: str, maps: Unchecked, dtype: torch.dtype, *, device: torch.device | str = "cpu"
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Return maps of finite real numbers in two forms: one table of shape (N, n) on ``device``, and a tuple of tensors.

    Args:
        name: The argument's name, for the message.
        maps: A tensor of shape (N, …), or a tuple of such tensors with the same N.
        dtype: Data type of the table.
        device: Device of the table.
    """
    tensors = maps if isinstance(maps, tuple) else (maps,)
    if not tensors or not all(isinstance(t, Tensor) and t.dim() >= 1 for t in tensors):
        raise InvalidInputError(
            f"Expected `{name}` to be a tensor with the batch first or a tuple of them, got {maps!r}."
        )
    rows = len(tensors[0])
    if rows < 1 or any(len(t) != rows for t in tensors):
        raise InvalidInputError(f"Expected `{name}` with one batch size >= 1, got {[len(t) for t in tensors]}.")
    if any(t.is_complex() for t in tensors):
        raise InvalidInputError(f"Expected `{name}` of real numbers, got {[t.dtype for t in tensors]}.")
    columns = torch.cat([t.detach().to(device, dtype).reshape(rows, -1) for t in tensors], dim=1)
    if not bool(torch.isfinite(columns).all()):
        raise InvalidInputError(f"Expected `{name}` to be finite, got NaN or infinity.")
    return columns, tensors
