"""From how many draws anything at all can be certified, whatever the map.

These numbers depend on no draw, so they can be known, and acted upon, at any time.
"""

import math
from collections.abc import Callable

import numpy as np
from scipy.special import log_ndtr, ndtr

from captum_certified.theory.displacement import full_displacement, short_displacement

__all__ = ["fewest_draws", "fewest_draws_spectral"]

_MOST = 2.0**60  # draws nobody makes


def fewest_draws(interval: str, *, tail: float, ratio: float) -> float:
    """The fewest draws from which intervals can certify one feature above another at a distance of ρ.

    No map is certified more easily than that of a feature that every draw selects beside one that none does. Their
    intervals are [lo, 1] and [0, 1 − lo], and they are apart at radius r·σ if Φ⁻¹(lo) > r.

    Args:
        interval: ``"clopper_pearson"``, ``"kl"``, ``"hoeffding"`` or ``"empirical_bernstein"``.
        tail: Probability that one side of one interval may miss.
        ratio: r = ρ/σ ≥ 0.

    Returns:
        The smallest such q, a whole number; infinite if nobody could make so many.

    Example:
        >>> fewest_draws("clopper_pearson", tail=0.05 / (2 * 150528), ratio=0.0)
        23.0
        >>> fewest_draws("hoeffding", tail=0.05 / (2 * 150528), ratio=0.0)
        32.0
    """
    room, log = float(ndtr(-ratio)), -math.log(tail)
    if room**2 == 0.0:
        return math.inf
    if interval == "hoeffding":  # lo = 1 − c
        draws = log / (2.0 * room**2)
    elif interval == "empirical_bernstein":  # lo = 1 − 7 ln(2/tail) / (3(q − 1))
        draws = 1.0 + 7.0 * (log + math.log(2.0)) / (3.0 * room)
    else:  # lo = tail^(1/q)
        draws = log / -float(log_ndtr(ratio))
    # A number that rounding may have lifted to a whole one counts as that.
    return math.inf if draws > _MOST else max(2.0, math.floor(draws * (1.0 - 1e-12)) + 1.0)


def fewest_draws_spectral(*, alpha: float, ratio: float) -> float:
    """The fewest draws from which a spectral certificate can say anything at a distance of ρ.

    Every cost of an exchange is at most ‖ĥ‖² ≤ s, and even if all draws are equal B² is proportional to s. So nothing
    is certified of any map where B² ≥ 1 for equal draws of length 1.

    Args:
        alpha: Probability that the bound is wrong.
        ratio: r = ρ/σ ≥ 0.

    Returns:
        The smallest q with B² < 1, a whole number; infinite if nobody could make so many.

    Example:
        >>> fewest_draws_spectral(alpha=0.025, ratio=0.0)
        15.0
    """

    def may(draws: float) -> bool:
        q, none = np.array([draws]), np.zeros(1)
        equal = {"n_samples": q, "pairs": q / 2.0, "trace": none, "top_eigenvalue": none}
        full = full_displacement(squared_norm=1.0, **equal, frobenius_norm=none, fourth_moment=none, alpha=alpha)
        short = short_displacement(squared_norm=1.0, **equal, alpha=alpha)
        return any(float(form.squared([ratio])[0, 0]) < 1.0 for form in (full, short))

    return _first(may)


def _first(holds: Callable[[float], bool]) -> float:
    """The smallest whole number from 2 on at which a statement holds that holds from there on."""
    high = 2.0
    while not holds(high):
        high *= 2.0
        if high > _MOST:
            return math.inf
    low = high / 2.0
    while high - low > 1.0:
        middle = math.floor((low + high) / 2.0)
        low, high = (low, middle) if holds(middle) else (middle, high)
    return float(high)
