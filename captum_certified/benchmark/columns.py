"""The columns of the leaderboard, and means over examples with their intervals."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from scipy.stats import t

from captum_certified.storage import Json, JsonObject

__all__ = ["Column", "Mean", "columns_of", "half_width"]

_LEVEL = 0.95
Kind: TypeAlias = Literal["proved", "left", "points", "share", "number"]


@dataclass(frozen=True)
class Mean:
    """A mean over examples, with its 95 % t-interval.

    Attributes:
        value: The mean.
        half: Half the width of the interval; ``None`` for one example.
        examples: Number of examples of which the number is known.
    """

    value: float
    half: float | None
    examples: int

    @classmethod
    def of(cls, values: Sequence[Json]) -> "Mean | None":
        """Return the mean of the numbers among the values, or ``None`` if there are none.

        Example:
            >>> Mean.of([1.0, None, 3.0]).value
            2.0
        """
        known = [float(value) for value in values if isinstance(value, int | float) and math.isfinite(value)]
        if not known:
            return None
        mean, n = statistics.fmean(known), len(known)
        return cls(mean, half_width(known) if n > 1 else None, n)


def half_width(values: Sequence[float]) -> float:
    """Return half the width of the 95 % t-interval of the mean of at least two numbers.

    Example:
        >>> half_width([1.0, 3.0])
        12.706204736...
    """
    return float(t.ppf((1 + _LEVEL) / 2, len(values) - 1)) * statistics.stdev(values) / math.sqrt(len(values))


@dataclass(frozen=True)
class Column:
    """A column of numbers.

    Attributes:
        name: Name of the number in a record.
        title: Title of the column.
        about: What the number is, as a sentence.
        radius: The radius, if the record has one number for each radius.
        kind: How the number is written: ``"proved"`` in percent, rounded down; ``"left"`` in percent, rounded up;
            ``"points"`` in percentage points with a sign; ``"share"`` in percent; ``"number"`` as it is.
        higher_is_better: Whether a robust explanation has a high number; ``None`` if neither is better.
    """

    name: str
    title: str
    about: str
    kind: Kind
    radius: float | None = None
    higher_is_better: bool | None = None

    def values(self, record: JsonObject) -> list[Json]:
        """Return the number of every example of a record."""
        found: list[Json] = []
        settings, images = record.get("settings"), record.get("images")
        radii = settings.get("radii") if isinstance(settings, dict) else None
        for image in images if isinstance(images, list) else []:
            value = image.get(self.name) if isinstance(image, dict) else None
            if self.radius is not None:
                at = radii.index(self.radius) if isinstance(radii, list) and self.radius in radii else None
                value = value[at] if isinstance(value, list) and at is not None and at < len(value) else None
            found.append(value)
        return found


def columns_of(radii: Sequence[float]) -> tuple[Column, ...]:
    """Return all columns of numbers, for maps that are certified at some radii."""
    return (*(column for radius in radii for column in _certified(radius)), *_OTHERS)


def _certified(radius: float) -> tuple[Column, ...]:
    at = f"{radius:g}"
    return (
        Column(
            "own",
            f"own {at}",
            f"Certified share of the smoothed map's own top K at L2 radius {at}.",
            "proved",
            radius=radius,
            higher_is_better=True,
        ),
        Column(
            "plain",
            f"plain {at}",
            f"Certified share of the plain map's top K at L2 radius {at}.",
            "proved",
            radius=radius,
            higher_is_better=True,
        ),
        Column(
            "margin",
            f"margin {at}",
            f"What is certified of the plain map's top K at L2 radius {at}, minus what chance, brightness or random "
            "weights reach of it, whichever is largest.",
            "points",
            radius=radius,
            higher_is_better=True,
        ),
    )


_OTHERS = (
    Column("attacked", "attacked", "Share of the smoothed map's top K that an attack on this map leaves.", "left"),
    Column(
        "transferred",
        "transferred",
        "The same under an attack on the plain map, or on Saliency's plain map if the method cannot be differentiated.",
        "left",
    ),
    Column(
        "attacked_plain",
        "plain attacked",
        "Share of the plain map's top K that the attack on the plain map leaves in the plain map.",
        "left",
    ),
    Column("class_kept", "class kept", "Share of noisy copies that keep the predicted class.", "share"),
    Column(
        "plain_overlap",
        "like plain",
        "Share of the smoothed map's top K that is in the plain map's top K.",
        "share",
    ),
    Column(
        "sensitivity",
        "sensitivity_max",
        "Empirical: largest relative change of the plain map over random neighbours of the input, as Captum's "
        "sensitivity_max.",
        "number",
        higher_is_better=False,
    ),
    Column(
        "lipschitz",
        "local Lipschitz",
        "Empirical: largest change of the plain map for the L2 size of the change of the input, over the same "
        "neighbours. It depends on the unit of the map.",
        "number",
        higher_is_better=False,
    ),
    Column(
        "seconds",
        "s/image",
        "Seconds for the draws of one image: processor time on a CPU, else the time that passed. Not verified.",
        "number",
    ),
)
