"""What the attack figures on CIFAR-10 share: how they are split into parts, and statistics of their overlaps."""

import functools
import statistics
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from captum_certified.reproduce.experiment import Experiment, Part, Row, Scale, number
from captum_certified.reproduce.networks_and_images import Material

__all__ = ["BATCH", "AttackExperiment", "AttackSize", "differences", "mean_and_interval", "means_by_radius"]

BATCH = 16  # images that are attacked together


class AttackSize(NamedTuple):
    """The number of images, and the L2 radii and steps of the attacks."""

    images: int
    radii: tuple[float, ...]
    steps: int  # P, the steps of Algorithm 1
    restarts: int  # T, the starts of Algorithm 1
    sign_steps: int  # steps of the attack of Ghorbani et al.


class AttackExperiment(Experiment):
    """An attack experiment with a part for each batch of images and each radius.

    Attributes:
        sizes: The number of images, and the radii and steps, at each scale.
    """

    uses = ("network", "cifar")
    sizes: Mapping[Scale, AttackSize]

    @abstractmethod
    def rows(self, material: Material, size: AttackSize, first: int, radius: float) -> list[Row]:
        """Attack the batch that begins with image number ``first`` within a radius, and return the table rows."""

    def parts(self, material: Material, scale: Scale) -> Sequence[Part]:
        """Return a part for each batch of images and each radius."""
        size = self.sizes[scale]
        return [
            Part(f"{first}-{radius:g}", functools.partial(self.rows, material, size, first, radius))
            for first in range(0, size.images, BATCH)
            for radius in size.radii
        ]


def mean_and_interval(values: Sequence[float]) -> list[float]:
    """Return the mean, and the two ends of its 95 % bootstrap interval."""
    means = np.random.default_rng(0).choice(values, (10_000, len(values))).mean(axis=1)
    return [statistics.fmean(values), *(float(bound) for bound in np.quantile(means, [0.025, 0.975]))]


def differences(rows: Sequence[Row], by: str, measure: str, *, than: str) -> dict[str, dict[str, list[float]]]:
    """Return how much larger a measure is in each group than in the group ``than``, by group and radius.

    Differences are taken on the same image. Each entry is the mean difference with its 95 % interval. The column
    ``by`` names the group.
    """
    others = {(row["image"], row["radius"]): number(row, measure) for row in rows if row[by] == than}
    gains: dict[str, dict[str, list[float]]] = {}
    for row in sorted(rows, key=_radius):
        gain = number(row, measure) - others[row["image"], row["radius"]]
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
