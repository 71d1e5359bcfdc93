"""Familiar changes of the picture of a report: their sizes, where they are on the axis, and which a size covers."""

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import torch

from captum_certified.certify.written_numbers import rounded_up
from captum_certified.images.everyday_units import jpeg_change, shift_changes
from captum_certified.maps import SmoothedMap
from captum_certified.visualization.image_layout import Pixels, is_the_input

__all__ = ["FamiliarChange", "axis", "axis_height", "concentrated", "coverage", "familiar_changes"]

_LEVELS = 255
_DIGITS = 2  # significant digits of a written size
_ROUND_NUMBERS = (1.0, 2.0, 2.5, 5.0, 10.0)
_MOST_NUMBERS = 8  # on the axis

# Places in the units of the page's drawing: ends and height of the axis, and the first label below it.
_LEFT, _RIGHT, _TOP, _FOOT, _LABEL, _LINE = 60, 620, 20, 210, 280, 26


@dataclass(frozen=True)
class FamiliarChange:
    """A change of a picture that readers know.

    Attributes:
        name: What is done to the picture.
        least: L2 size of the change, the smallest if there are several such changes.
        most: The largest L2 size of such changes.
    """

    name: str
    least: float
    most: float

    @property
    def size(self) -> str:
        """The size or the range of sizes as text, rounded up."""
        least, most = rounded_up(self.least, _DIGITS), rounded_up(self.most, _DIGITS)
        return most if least == most else f"{least} to {most}"

    def is_covered(self, radius: float) -> bool:
        """Return whether all such changes are at most as large as a radius. Written sizes are compared."""
        return radius >= float(rounded_up(self.most, _DIGITS))

    def is_covered_in_part(self, radius: float) -> bool:
        """Return whether some such changes are at most as large as a radius, and others are not."""
        return radius >= float(rounded_up(self.least, _DIGITS)) and not self.is_covered(radius)


def familiar_changes(smoothed_map: SmoothedMap, picture: Pixels) -> list[FamiliarChange]:
    """Return rounding to 8 bits, JPEG and a shift by one pixel, or no change if the picture is not the input.

    Args:
        smoothed_map: The map of the example.
        picture: Its picture, shape (H, W, C).
    """
    if not is_the_input(smoothed_map, picture):
        return []
    values = torch.from_numpy(np.moveaxis(picture.astype(np.float64), 2, 0).copy())
    levels = _LEVELS * values
    # A value is rounded by half a level at most. A JPEG stores the rounded picture, so both changes are added.
    rounding = math.sqrt(values.numel()) / (2 * _LEVELS)
    jpeg = float(jpeg_change(values)) + float((levels - levels.round()).norm()) / _LEVELS
    shifts = shift_changes(values)
    return [
        FamiliarChange("rounding to 8 bits", rounding, rounding),
        FamiliarChange("JPEG of quality 95", jpeg, jpeg),
        FamiliarChange("a shift by one pixel", float(shifts.min()), float(shifts.max())),
    ]


def coverage(changes: Sequence[FamiliarChange], radius: float) -> str:
    """Return sentences that say which changes are at most as large as a radius. "It" is the radius."""
    covered = [f"{one.name} ({one.size})" for one in changes if one.is_covered(radius)]
    partly = [f"{one.name} ({one.size})" for one in changes if one.is_covered_in_part(radius)]
    others = [
        f"{one.name} ({one.size})"
        for one in changes
        if not one.is_covered(radius) and not one.is_covered_in_part(radius)
    ]
    sentences = [
        f"It covers {_listed(covered, 'and')}." if covered else "",
        f"It covers {_listed(partly, 'and')} in some directions only." if partly else "",
        f"It does not cover {_listed(others, 'or')}." if others else "",
    ]
    return " ".join(sentence for sentence in sentences if sentence)


def concentrated(radius: float, smoothed_map: SmoothedMap, picture: Pixels) -> str:
    """Return the largest change of few values within a radius, in grey levels, as text.

    The number of grey levels is a whole number, rounded down. The text is empty if the picture is not the input.
    """
    if not is_the_input(smoothed_map, picture):
        return ""
    exact = Fraction(repr(float(radius)))
    if exact < 1:
        whole = math.floor(_LEVELS * exact)
        levels = f"{whole} grey level{'' if whole == 1 else 's'}" if whole or not exact else "less than one grey level"
        return f"{levels} in one value"
    count = min(math.floor(exact**2), picture.size)
    return f"all {_LEVELS} grey levels in {'one value' if count == 1 else f'{count} values'}"


def axis(end: float, changes: Sequence[FamiliarChange]) -> str:
    """Return SVG elements: the numbers of the axis of sizes, and a mark for each change that is on the axis.

    A change that can have several sizes has a mark at the smallest and at the largest, and its label at the smallest.

    Args:
        end: The largest size on the axis.
        changes: The changes. Changes beyond the end have no mark.
    """
    power = 10.0 ** math.floor(math.log10(end / _MOST_NUMBERS))
    step = next(factor * power for factor in _ROUND_NUMBERS if factor * power * _MOST_NUMBERS >= end * (1 - 1e-9))
    parts = []
    for index in range(math.floor(end / step * (1 + 1e-9)) + 1):
        x = _place(index * step, end)
        parts.append(f'<path class="axis" d="M{x} {_FOOT}v5"/>')
        parts.append(f'<text x="{x}" y="{_FOOT + 22}" text-anchor="middle">{index * step:.6g}</text>')
    for line, one in enumerate(_on_axis(end, changes)):
        x, y = _place(one.least, end), _LABEL + line * _LINE
        start, anchor = (x + 6, "start") if x < (_LEFT + _RIGHT) / 2 else (x - 6, "end")
        parts.append(f'<path class="change" d="M{x} {_TOP}V{y}"/>')
        if one.least < one.most <= end:
            parts.append(f'<path class="change" d="M{_place(one.most, end)} {_TOP}V{_FOOT}"/>')
        label = html.escape(f"{one.name}: {one.size}")
        parts.append(f'<text class="change" x="{start}" y="{y}" text-anchor="{anchor}">{label}</text>')
    return "\n".join(parts)


def axis_height(end: float, changes: Sequence[FamiliarChange]) -> int:
    """Return the y at which the drawing of :func:`axis` ends."""
    return _LABEL - 16 + _LINE * len(_on_axis(end, changes))


def _on_axis(end: float, changes: Sequence[FamiliarChange]) -> list[FamiliarChange]:
    return [one for one in changes if one.least <= end]


def _place(size: float, end: float) -> float:
    return round(_LEFT + (_RIGHT - _LEFT) * size / end, 2)


def _listed(names: Sequence[str], word: str) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} {word} {names[-1]}"
