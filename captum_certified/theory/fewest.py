"""The fewest draws from which anything at all can be certified, even for the map that is easiest to certify.

These numbers do not depend on the draws, so a run may be planned with them.
"""

import math
from collections.abc import Callable

import numpy as np
from scipy.special import log_ndtr, ndtr

from captum_certified.theory.displacement import full_displacement, short_displacement

__all__ = ["fewest_draws", "fewest_draws_spectral"]

_MOST = 2.0**60  # more draws than anybody can make


def fewest_draws(interval: str, *, tail: float, ratio: float) -> float:
    """Return the fewest draws from which intervals can certify that one feature stays above another at radius ρ.

    The easiest map to certify has one feature that every draw selects and one that no draw selects. Their intervals are
    [lo, 1] and [0, 1 − lo]. These are still disjoint after the shift for radius r·σ if Φ⁻¹(lo) > r.

    Args:
        interval: ``"clopper_pearson"``, ``"kl"``, ``"hoeffding"`` or ``"empirical_bernstein"``.
        tail: Probability that one side of one interval may miss.
        ratio: r = ρ/σ ≥ 0.

    Returns:
        The smallest such number of draws q, or infinity if it is above 2⁶⁰.

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
    # In exact arithmetic the answer is the next whole number above the quotient. If the computed quotient is whole, the
    # quotient itself is returned, because rounding alone may have made it whole.
    return math.inf if draws > _MOST else max(2.0, math.floor(draws * (1.0 - 1e-12)) + 1.0)


def fewest_draws_spectral(*, alpha: float, ratio: float) -> float:
    """Return the fewest draws from which a spectral certificate can prove anything at radius ρ.

    A spectral certificate needs B² (``displacement.py``) below the cost of an exchange of features (``exchange.py``).
    This cost is at most ‖ĥ‖² ≤ s, where s bounds the squared norm of every draw. B² is smallest if all draws are equal,
    and is then proportional to s. So no map can be certified if B² ≥ 1 for equal draws and s = 1.

    Args:
        alpha: Probability that the bound is wrong.
        ratio: r = ρ/σ ≥ 0.

    Returns:
        The smallest number of draws q with B² < 1, or infinity if it is above 2⁶⁰.

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
    """Return the smallest whole number ≥ 2 at which ``holds`` is true. Above it, ``holds`` must always be true."""
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
