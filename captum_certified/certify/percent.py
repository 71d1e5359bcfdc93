"""How proved shares are written."""

import math

__all__ = ["floored_percent"]


def floored_percent(share: float, digits: int = 1) -> str:
    """A proved share in percent, rounded down: what is written is proved too.

    Args:
        share: In [0, 1].
        digits: Digits after the point.

    Example:
        >>> floored_percent(3999 / 4000), floored_percent(0.29), floored_percent(0.629, digits=0)
        ('99.9', '29.0', '62')
    """
    unit = 10**digits
    # Products of shares that are whole numbers of units may fall short of them by rounding.
    return f"{math.floor(100 * unit * share + 1e-9) / unit:.{digits}f}"
