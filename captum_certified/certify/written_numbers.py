"""Write proved numbers as text, rounded in the direction in which they stay true.

Lower bounds, radii and confidences are rounded down. Upper bounds and probabilities of error are rounded up. The
functions do not round the exact binary value of a float but the shortest decimal number that denotes the float. So the
float 0.29, which is slightly below 29 %, is written as 29 %.
"""

import math
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

__all__ = [
    "ceiled_percent",
    "floored",
    "floored_percent",
    "rounded_down",
    "rounded_up",
    "written_confidence",
    "written_error",
]

# Numbers with these decimal exponents are written in full, because few readers know notation such as 1e-05.
_PLAIN = range(-10, 16)
_DIGITS = 3  # significant digits of a confidence or an error


def floored_percent(share: float, digits: int = 1) -> str:
    """Write a fraction in [0, 1] in percent, rounded down to ``digits`` digits after the point.

    Example:
        >>> floored_percent(3999 / 4000), floored_percent(0.29), floored_percent(0.629, digits=0)
        ('99.9', '29.0', '62')
    """
    return _floor(100 * _decimal(share), digits)


def ceiled_percent(share: float, digits: int = 1) -> str:
    """Write a fraction in [0, 1] in percent, rounded up: for instance the overlap that is left after an attack.

    Example:
        >>> ceiled_percent(1 / 4000), ceiled_percent(0.29), ceiled_percent(0.621, digits=0)
        ('0.1', '29.0', '63')
    """
    return str((100 * _decimal(share)).quantize(Decimal(1).scaleb(-digits), ROUND_CEILING))


def floored(value: float, digits: int) -> str:
    """Write a finite lower bound, rounded down to ``digits`` digits after the point.

    Example:
        >>> floored(0.99999, 3), floored(1.0, 3)
        ('0.999', '1.000')
    """
    return _floor(_decimal(value), digits)


def rounded_down(value: float, digits: int = 6) -> str:
    """Write a lower bound or a radius ≥ 0, rounded down to ``digits`` significant digits.

    Example:
        >>> rounded_down(0.0123456789), rounded_down(0.1), rounded_down(1e-05)
        ('0.0123456', '0.1', '0.00001')
    """
    return _significant(value, digits, ROUND_FLOOR)


def rounded_up(value: float, digits: int = 4) -> str:
    """Write an upper bound ≥ 0, rounded up to ``digits`` significant digits.

    Example:
        >>> rounded_up(1.23411), rounded_up(0.5), rounded_up(float("inf"))
        ('1.235', '0.5', 'inf')
    """
    return _significant(value, digits, ROUND_CEILING)


def written_confidence(confidence: float, *, percent: bool = False) -> str:
    """Write a confidence in (0, 1), rounded down. With ``percent``, write it in percent, without the % sign.

    A confidence below 0.5 keeps three significant digits. Otherwise 1 − ``confidence`` keeps three significant digits.

    Example:
        >>> written_confidence(0.95), written_confidence(1 - 1e-9), written_confidence(1 - 0.05 / 3, percent=True)
        ('0.95', '0.999999999', '98.33')
    """
    exact = _decimal(confidence)
    if exact < Decimal("0.5"):
        written = _rounded(exact, _DIGITS, ROUND_FLOOR)
    else:
        written = 1 - _rounded(1 - exact, _DIGITS, ROUND_CEILING)
    return _plain(100 * written if percent else written)


def written_error(confidence: float) -> str:
    """Write the probability of error 1 − ``confidence`` in percent, without the % sign, rounded up.

    Example:
        >>> written_error(0.95), written_error(1 - 0.05 / 3)
        ('5', '1.67')
    """
    return _plain(100 * _rounded(1 - _decimal(confidence), _DIGITS, ROUND_CEILING))


def _decimal(value: float) -> Decimal:
    return Decimal(repr(float(value)))


def _floor(value: Decimal, digits: int) -> str:
    return str(value.quantize(Decimal(1).scaleb(-digits), ROUND_FLOOR))


def _significant(value: float, digits: int, rounding: str) -> str:
    if not math.isfinite(value):
        return str(float(value))
    return _plain(_rounded(_decimal(value), digits, rounding))


def _rounded(value: Decimal, digits: int, rounding: str) -> Decimal:
    if value.is_zero():
        return value
    return value.quantize(Decimal(1).scaleb(value.adjusted() - digits + 1), rounding)


def _plain(value: Decimal) -> str:
    value = value.normalize()
    return f"{value:f}" if value.is_zero() or value.adjusted() in _PLAIN else f"{float(value):g}"
