"""Numbers of features: an int is a count, a float a fraction."""

from typing import Any

import numpy as np

from captum_certified.exceptions import InvalidInputError
from captum_certified.theory import fraction_to_count

__all__ = ["resolved_count"]

_ANY_NUMBER = 2**62
_MOST_FEATURES = 2**40  # beyond them a total is a share of any number


def resolved_count(name: str, value: Any, total: int = _ANY_NUMBER, *, at_least: int = 1) -> int:
    """An int as a count, a float as a fraction of ``total`` rounded up.

    Args:
        name: The argument's name, for the message.
        value: What was given.
        total: Number of features there are; left out where that is not known yet.
        at_least: The smallest count allowed, 0 or 1.

    Returns:
        The count.

    Raises:
        InvalidInputError: It is neither, or out of range.

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
