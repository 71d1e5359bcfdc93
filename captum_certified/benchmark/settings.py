"""The settings of a benchmark, which all of its cells share."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from captum_certified.certify.goal import Goal
from captum_certified.checks import checked_integer, checked_number
from captum_certified.storage import Json

__all__ = ["BenchmarkSettings"]


@dataclass(frozen=True, kw_only=True)
class BenchmarkSettings:
    """The settings of a benchmark, checked as far as possible without an example.

    Attributes:
        k: Size of the top set: an int is a number of features, a float a fraction of all features.
        radius: L2 size ρ of the perturbation at which maps are attacked.
        radii: All sizes at which maps are certified, with ``radius``, ascending.
        nt_samples: Number of draws of each example.
        confidence: Confidence of the certificates of one example, at all radii together.
        bound: Bound of the certificates.
        steps: Number of steps of an attack from each start.
        restarts: Number of starts of an attack.
        attack_draws: Number of draws for each gradient of an attack on a smoothed map.
        attack_samples: Number of draws of the smoothed map at an attacked input; ``None`` for as many as a certificate.
        neighbours: Number of random neighbours of an input for the empirical metrics.
        neighbour_radius: Largest change of a value of the input in a neighbour.
        lower_bound: Smallest value of an input.
        upper_bound: Largest value of an input.

    Raises:
        InvalidInputError: A setting is invalid.
    """

    k: float
    radius: float
    radii: tuple[float, ...]
    nt_samples: int
    confidence: float = 0.95
    bound: str = "best"
    steps: int = 10
    restarts: int = 1
    attack_draws: int = 16
    attack_samples: int | None = None
    neighbours: int = 10
    neighbour_radius: float = 0.02
    lower_bound: float = float("-inf")
    upper_bound: float = float("inf")

    def __post_init__(self) -> None:
        Goal(k=self.k, radius=self.radius)
        for name in ("steps", "restarts", "attack_draws", "neighbours"):
            checked_integer(name, getattr(self, name), at_least=1)
        checked_number("neighbour_radius", self.neighbour_radius, above=0)
        if self.attack_samples is not None:
            checked_integer("attack_samples", self.attack_samples, at_least=2)

    @staticmethod
    def all_radii(radius: float, radii: Sequence[float] | None) -> tuple[float, ...]:
        """Return the radii to certify, ascending: by default half of ``radius``, ``radius``, and twice ``radius``."""
        given = (radius / 2, 2 * radius) if radii is None else radii
        return tuple(sorted({checked_number("radii", float(r), at_least=0) for r in given} | {float(radius)}))

    def of_attack(self) -> dict[str, Json]:
        """Return the settings that decide what an attack finds, as JSON values."""
        names = ("k", "radius", "steps", "restarts", "attack_draws", "attack_samples")
        return {name: getattr(self, name) for name in names} | self._bounds()

    def of_neighbours(self) -> dict[str, Json]:
        """Return the settings that decide which neighbours are tried, as JSON values."""
        return {"neighbours": self.neighbours, "neighbour_radius": self.neighbour_radius, **self._bounds()}

    def to_dict(self) -> dict[str, Json]:
        """Return all settings as JSON values. A bound that is infinite is ``None``."""
        return {**asdict(self), "radii": list(self.radii), **self._bounds()}

    def _bounds(self) -> dict[str, Json]:
        bounds = {"lower_bound": self.lower_bound, "upper_bound": self.upper_bound}
        return {name: None if abs(value) == float("inf") else value for name, value in bounds.items()}
