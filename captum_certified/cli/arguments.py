"""Parsers of command line arguments. Each parser raises an error that argparse prints."""

import argparse
import importlib.util
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:  # the module of Framing imports torchvision
    from captum_certified.images.framing import Framing

__all__ = [
    "box",
    "count_or_fraction",
    "groups",
    "listed",
    "numbers",
    "part",
    "positive_integer",
    "positive_number",
    "seed",
    "size",
    "superpixel_count",
    "surrogate",
    "target",
    "window",
]

Value = TypeVar("Value")
_SUPERPIXELS = "superpixels:"


def count_or_fraction(text: str) -> float:
    """Parse a count of at least 1, such as ``13``, as an int, or a fraction in (0, 1], such as ``0.2``, as a float."""
    for number in (int, float):
        try:
            value = number(text)
        except ValueError:
            continue
        if value >= 1 if isinstance(value, int) else 0 < value <= 1:
            return value
    raise argparse.ArgumentTypeError(
        f"expected a count from 1, such as 13, or a fraction from above 0 to 1, such as 0.2, got {text}"
    )


def positive_integer(text: str) -> int:
    """Parse an integer of at least 1."""
    number = int(text) if text.strip().lstrip("+").isdecimal() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected an integer from 1, got {text}")
    return number


def positive_number(text: str) -> float:
    """Parse a finite number above 0."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"expected a number above 0, got {text}")
    return number


def surrogate(text: str) -> float | str | None:
    """Parse the β of a softplus surrogate: a number above 0, ``auto`` or ``none``."""
    if text in ("auto", "none"):
        return None if text == "none" else text
    try:
        return positive_number(text)
    except argparse.ArgumentTypeError as error:
        raise argparse.ArgumentTypeError(f"expected auto, none, or a number above 0, got {text}") from error


def seed(text: str) -> int:
    """Parse an integer in [0, 2⁶³)."""
    number = int(text)
    if not 0 <= number < 2**63:
        raise argparse.ArgumentTypeError(f"expected an integer from 0 to 2**63 - 1, got {text}")
    return number


def numbers(text: str) -> list[float]:
    """Parse numbers separated by commas."""
    try:
        return [float(part) for part in text.split(",")]
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"expected numbers separated by commas, got {text}") from error


def listed(kind: Callable[[str], Value]) -> Callable[[str], Sequence[Value]]:
    """Return a parser of values separated by commas, each parsed by ``kind``."""

    def parse(text: str) -> list[Value]:
        return [kind(part) for part in text.split(",")]

    return parse


def box(text: str) -> tuple[float, float, float, float]:
    """Parse the corners of a rectangle, X0,Y0,X1,Y1 with X0 < X1 and Y0 < Y1."""
    corners = numbers(text)
    if len(corners) != 4 or not (corners[0] < corners[2] and corners[1] < corners[3]):
        raise argparse.ArgumentTypeError(f"expected X0,Y0,X1,Y1 with X0 < X1 and Y0 < Y1, got {text}")
    return corners[0], corners[1], corners[2], corners[3]


def groups(text: str) -> str:
    """Parse ``auto``, ``none``, ``channels``, ``patches:S``, ``superpixels:S``, or the path of a file or a folder."""
    from captum_certified.exceptions import InvalidInputError
    from captum_certified.maps.feature_layout import check_group_name

    if text in ("auto", "none"):
        return text
    if superpixel_count(text) is not None:
        if importlib.util.find_spec("skimage") is None:
            raise argparse.ArgumentTypeError(
                f'{text} needs scikit-image, which is not installed; run: pip install "captum-certified[superpixels]"'
            )
        return text
    try:
        check_group_name(text)
    except InvalidInputError as error:
        if Path(text).exists():
            return text
        raise argparse.ArgumentTypeError(
            "expected auto, none, channels, patches:S with a side S from 1 in pixels, superpixels:S with a number S of "
            f"regions from 1, or a file or folder that exists, got {text}"
        ) from error
    return text


def superpixel_count(text: str) -> int | None:
    """Return the number S of ``superpixels:S``, or ``None`` for another text."""
    number = text.removeprefix(_SUPERPIXELS)
    if not text.startswith(_SUPERPIXELS) or not number.isascii() or not number.isdecimal() or int(number) < 1:
        return None
    return int(number)


def size(text: str) -> "Framing":
    """Parse CROP or RESIZE,CROP, in pixels. CROP alone is used for both."""
    from captum_certified.images.framing import Framing

    sides = [positive_integer(part) for part in text.split(",")]
    if len(sides) > 2:
        raise argparse.ArgumentTypeError(f"expected CROP or RESIZE,CROP, got {text}")
    return Framing(resize=sides[0], crop=sides[-1])


def part(text: str) -> tuple[int, int]:
    """Parse I/N, part I of N parts, with I from 1 to N."""
    number, _, total = text.partition("/")
    if not (number.isdecimal() and total.isdecimal() and 1 <= int(number) <= int(total)):
        raise argparse.ArgumentTypeError(f"expected I/N with I from 1 to N, got {text}")
    return int(number), int(total)


def target(text: str) -> int | str:
    """Parse the number of a class, counted from 0, or ``predicted`` or ``argmax``."""
    if text in ("predicted", "argmax"):
        return text
    if not text.strip().isdecimal():
        raise argparse.ArgumentTypeError(f"expected predicted, argmax, or the number of a class from 0, got {text}")
    return int(text)


def window(text: str) -> tuple[int, int]:
    """Parse SIDE or SIDE,STRIDE, in pixels. SIDE alone is used for both."""
    sides = [positive_integer(part) for part in text.split(",")]
    if len(sides) > 2 or sides[-1] > sides[0]:
        raise argparse.ArgumentTypeError(f"expected SIDE, or SIDE,STRIDE with a stride of at most SIDE, got {text}")
    return sides[0], sides[-1]
