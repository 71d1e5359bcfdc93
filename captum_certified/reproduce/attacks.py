"""The attack figures on CIFAR-10: their parts, and means and differences of the overlap that attacks leave."""

import functools
import statistics
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from captum_certified.reproduce.experiment import Experiment, Part, Row, Scale, number
from captum_certified.reproduce.networks_and_images import Material

__all__ = ["BATCH", "AttackExperiment", "AttackSize", "differences", "mean_and_interval", "means_by_radius"]

BATCH = 16


@dataclass(frozen=True, kw_only=True)
class AttackSize:
    """How many images are attacked, and how hard.

    Attributes:
        images: Number of images.
        radii: L2 radii of the perturbation.
        steps: Steps P of Algorithm 1.
        restarts: Starts T of Algorithm 1.
        sign_steps: Steps of the attack of Ghorbani et al.
    """

    images: int
    radii: tuple[float, ...]
    steps: int
    restarts: int
    sign_steps: int


class AttackExperiment(Experiment):
    """An attack experiment. It has a part for each batch of images and each radius.

    Attributes:
        sizes: The size at each scale.
    """

    uses = ("network", "cifar")
    sizes: Mapping[Scale, AttackSize]

    @abstractmethod
    def rows(self, material: Material, size: AttackSize, first: int, radius: float) -> list[Row]:
        """Compute the rows of the batch that begins with image number ``first``."""

    def parts(self, material: Material, scale: Scale) -> Sequence[Part]:
        """Return a part for each batch of images and each radius."""
        size = self.sizes[scale]
        return [
            Part(f"{first}-{radius:g}", functools.partial(self.rows, material, size, first, radius))
            for first in range(0, size.images, BATCH)
            for radius in size.radii
        ]


def mean_and_interval(values: Sequence[float]) -> list[float]:
    """Return the mean with its 95 % bootstrap interval."""
    means = np.random.default_rng(0).choice(values, (10_000, len(values))).mean(axis=1)
    return [statistics.fmean(values), *(float(bound) for bound in np.quantile(means, [0.025, 0.975]))]


def differences(rows: Sequence[Row], by: str, measure: str, *, than: str) -> dict[str, dict[str, list[float]]]:
    """Return by how much a measure exceeds the measure of one group on the same image, for each group and radius.

    Args:
        rows: Rows with an image and a radius.
        by: The column that names the group.
        measure: The column that is compared.
        than: The group to compare with.

    Returns:
        Mean difference with its interval, by group and radius.
    """
    others = {(row["image"], row["radius"]): number(row, measure) for row in rows if row[by] == than}
    gains: dict[str, dict[str, list[float]]] = {}
    for row in sorted(rows, key=_radius):
        gain = number(row, measure) - others[row["image"], row["radius"]]
        gains.setdefault(str(row[by]), {}).setdefault(f"{_radius(row):g}", []).append(gain)
    return {name: {radius: mean_and_interval(of[radius]) for radius in of} for name, of in gains.items()}


def means_by_radius(rows: Sequence[Row], by: str, measure: str) -> dict[str, dict[str, float]]:
    """Return the mean of a measure by group and radius; ``by`` is the column that names the group."""
    groups: dict[str, dict[str, list[float]]] = {}
    for row in sorted(rows, key=_radius):
        groups.setdefault(str(row[by]), {}).setdefault(f"{_radius(row):g}", []).append(number(row, measure))
    return {name: {radius: statistics.fmean(left) for radius, left in of.items()} for name, of in groups.items()}


def _radius(row: Row) -> float:
    return number(row, "radius")
