"""The base class of the attack experiments on CIFAR-10, and functions that average their results."""

import functools
import statistics
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from captum_certified.reproduce.experiment import Experiment, Part, Row, Scale, number
from captum_certified.reproduce.networks_and_images import Material

__all__ = [
    "AttackExperiment",
    "AttackSize",
    "batch_size",
    "differences",
    "mean_and_interval",
    "means_by_radius",
    "without_failures",
]

_BATCH = 16  # images that are attacked together
_PRINTED_BATCH = 1  # the same where every gradient of the attack is a mean over 512 draws, which share one graph


class AttackSize(NamedTuple):
    """The number of images, and the L2 radii and steps of the attacks."""

    images: int
    radii: tuple[float, ...]
    steps: int  # number of steps P in the paper's Algorithm 1
    restarts: int  # number of starts T in the paper's Algorithm 1
    sign_steps: int  # steps of the attack of Ghorbani et al.


class AttackExperiment(Experiment):
    """An attack experiment, which computes and stores each batch of images at each radius as one :class:`Part`.

    Attributes:
        sizes: The number of images, and the radii and steps, at each scale.
    """

    uses = ("network", "cifar")
    uses_when_training = ("cifar", "cifar-training")
    sizes: Mapping[Scale, AttackSize]

    @abstractmethod
    def rows(self, material: Material, scale: Scale, first: int, radius: float) -> list[Row]:
        """Attack one batch of images, the first with index ``first``, within an L2 radius. Return the table rows."""

    def parts(self, material: Material, scale: Scale) -> Sequence[Part]:
        """Return a part for each batch of images and each radius."""
        size = self.sizes[scale]
        return [
            Part(f"{first}-{radius:g}", functools.partial(self.rows, material, scale, first, radius))
            for first in range(0, size.images, batch_size(scale))
            for radius in size.radii
        ]


def batch_size(scale: Scale) -> int:
    """Return the number of images that are attacked together."""
    return _PRINTED_BATCH if scale == "paper" else _BATCH


def mean_and_interval(values: Sequence[float]) -> list[float]:
    """Return the mean, and the two ends of its 95 % bootstrap interval."""
    means = np.random.default_rng(0).choice(values, (10_000, len(values))).mean(axis=1)
    return [statistics.fmean(values), *(float(bound) for bound in np.quantile(means, [0.025, 0.975]))]


def without_failures(rows: Sequence[Row]) -> list[Row]:
    """Return the rows of the images and radii at which every attack succeeded, as the paper counts them."""
    failed = {(row["image"], row["radius"]) for row in rows if not row["succeeded"]}
    return [row for row in rows if (row["image"], row["radius"]) not in failed]


def differences(rows: Sequence[Row], by: str, measure: str, *, than: str | None) -> dict[str, dict[str, list[float]]]:
    """Compare a measure between groups of rows, image by image.

    The column ``by`` names the group of a row. From the measure of each row, the measure of the group ``than`` for the
    same image and radius is subtracted; nothing is subtracted if ``than`` is ``None``.

    Returns:
        For each group and radius the mean of these differences, and the two ends of its 95 % interval.
    """
    others = {(row["image"], row["radius"]): number(row, measure) for row in rows if row[by] == than}
    gains: dict[str, dict[str, list[float]]] = {}
    for row in sorted(rows, key=_radius):
        gain = number(row, measure) - (0.0 if than is None else others[row["image"], row["radius"]])
        gains.setdefault(str(row[by]), {}).setdefault(f"{_radius(row):g}", []).append(gain)
    return {name: {radius: mean_and_interval(of[radius]) for radius in of} for name, of in gains.items()}


def means_by_radius(rows: Sequence[Row], by: str, measure: str) -> dict[str, dict[str, float]]:
    """Return the mean of a measure by group and radius. The column ``by`` names the group."""
    groups: dict[str, dict[str, list[float]]] = {}
    for row in sorted(rows, key=_radius):
        groups.setdefault(str(row[by]), {}).setdefault(f"{_radius(row):g}", []).append(number(row, measure))
    return {name: {radius: statistics.fmean(left) for radius, left in of.items()} for name, of in groups.items()}


def _radius(row: Row) -> float:
    return number(row, "radius")
