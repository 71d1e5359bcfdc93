"""The statement that a run is asked to certify."""

from dataclasses import dataclass

import numpy as np

from captum_certified.certify.reference import Reference
from captum_certified.checks import checked_number, resolved_count

__all__ = ["Goal"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Goal:
    """The size of the top set, the radius, and the overlap to certify.

    Attributes:
        k: Size K of the top set: an int is a number of features, a float a fraction of all features.
        radius: L2 size ρ ≥ 0 of the perturbation.
        overlap: The overlap at which a sequential run stops, a number of features or a fraction of K; ``None`` for a
            run whose number of draws is fixed.
        reference: The set whose overlap with the top K is certified; ``None`` for the map's own top K.

    Raises:
        InvalidInputError: An argument is invalid for every number of features.
    """

    k: float
    radius: float
    overlap: float | None = None
    reference: Reference = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "radius", checked_number("radius", self.radius, at_least=0))
        most = resolved_count("k", self.k)
        if self.overlap is not None:
            resolved_count("overlap", self.overlap, most)
        for name in ("k", "overlap"):
            value = getattr(self, name)
            object.__setattr__(self, name, value.item() if isinstance(value, np.generic) else value)

    def top_set(self, n_features: int) -> int:
        """Return K as a number of features.

        Raises:
            InvalidInputError: There are fewer than K features.
        """
        return resolved_count("k", self.k, n_features)
