"""The prover, which computes certificates with a given confidence, bound and number of allowed violations."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from captum_certified.certify.bounds import BEST, BOUNDS, Bound, bound_named, norm_refusal
from captum_certified.certify.row_levels import Scalar, by_level
from captum_certified.checks import checked_number, checked_samples, resolved_count
from captum_certified.exceptions import CertificationError, InvalidInputError
from captum_certified.maps import SmoothedMap

__all__ = ["Proved", "Prover", "check_draws", "check_norm", "checked_fresh_draws"]

_VIOLATIONS_SHARE = 200  # "auto" allows one interval to miss its score for every 200 features of the top set


class Proved(TypedDict):
    """The fields that all kinds of certificates have."""

    map: SmoothedMap
    at_radius: float
    confidence: float
    bound: str
    violations: int


@dataclass(frozen=True)
class Prover:
    """Proves statements about maps. The arguments are those of :class:`~captum_certified.Certifier`.

    Raises:
        InvalidInputError: An argument is invalid.
    """

    confidence: float = 0.95
    bound: str = BEST
    violations: float | str = "auto"

    def __post_init__(self) -> None:
        if self.bound != BEST and self.bound not in BOUNDS:
            raise InvalidInputError(f"Expected `bound` to be one of {[BEST, *BOUNDS]}, got {self.bound!r}.")
        if self.violations != "auto":
            resolved_count("violations", self.violations, at_least=0)
        violations = self.violations.item() if isinstance(self.violations, np.generic) else self.violations
        object.__setattr__(self, "confidence", checked_number("confidence", self.confidence, above=0, below=1))
        object.__setattr__(self, "violations", violations)

    @property
    def alpha(self) -> float:
        """Probability that a statement about an example may fail."""
        return 1 - self.confidence

    def prepared(self, smoothed_map: SmoothedMap, k: float) -> tuple[Bound, int, int]:
        """Return the bound for a map, K as a number of features, and how many intervals may miss their scores.

        Raises:
            InvalidInputError: There are fewer than K features, or more than K violations are allowed.
            CertificationError: The bound does not apply to the map.
        """
        bound = self.bound_for(smoothed_map)
        count = resolved_count("k", k, smoothed_map.layout.n_features)
        if smoothed_map.reference is not None and bound.name == "theorem2":
            raise InvalidInputError(
                "Expected another `bound` for a `reference`, got 'theorem2', which is only about the map's own top K."
            )
        if not bound.allows_violations:
            return bound, count, 0
        if self.violations == "auto":
            size = count
            if smoothed_map.reference is not None:
                size = min(count, int(smoothed_map.reference.sum(dim=1).min()))
            return bound, count, size // _VIOLATIONS_SHARE
        return bound, count, resolved_count("violations", self.violations, count, at_least=0)

    def bound_for(self, smoothed_map: SmoothedMap) -> Bound:
        """Return the bound for a map.

        Raises:
            InvalidInputError: ``smoothed_map`` is not a SmoothedMap.
            CertificationError: The bound does not apply to the map, or the map has one draw or no noise.
        """
        self.check_map(smoothed_map)
        return bound_named(self.bound, smoothed_map)

    @staticmethod
    def check_map(smoothed_map: SmoothedMap) -> None:
        """Raise an error unless the argument is a map of at least two noisy draws.

        Raises:
            InvalidInputError: ``smoothed_map`` is not a SmoothedMap.
            CertificationError: The map has one draw or no noise.
        """
        if not isinstance(smoothed_map, SmoothedMap):
            raise InvalidInputError(f"Expected `smoothed_map` to be a SmoothedMap, got {type(smoothed_map).__name__}.")
        check_draws(int(smoothed_map.n_samples.min()))
        if smoothed_map.sigma == 0:
            raise CertificationError("Expected a map smoothed with `stdevs` > 0, got no noise.")

    @staticmethod
    def ratio(smoothed_map: SmoothedMap, radius: float) -> float:
        """Return ρ/σ."""
        return checked_number("radius", radius, at_least=0) / smoothed_map.sigma

    def by_row(self, smoothed_map: SmoothedMap, statement: Callable[[SmoothedMap, float], NDArray[Scalar]]) -> Tensor:
        """Return what ``statement`` computes for each example.

        The level is α. It is lower than α for an example that a sequential run stopped at an interim look.
        """
        return torch.from_numpy(by_level(smoothed_map, self.alpha, statement))

    def proved(self, smoothed_map: SmoothedMap, radius: float, bound: str, violations: int = 0) -> Proved:
        """Return the fields that all kinds of certificates have."""
        return {
            "map": smoothed_map,
            "at_radius": float(radius),
            "confidence": self.confidence,
            "bound": bound,
            "violations": violations,
        }


def check_norm(smoothed_map: SmoothedMap) -> None:
    """Refuse a map that has a negative entry, or no valid bound on the norm of its draws.

    Raises:
        CertificationError: A mean is negative, or no valid bound on the norm of the draws is known.
    """
    refusal = norm_refusal(smoothed_map)
    if refusal is not None:
        raise CertificationError(f"Expected {refusal}.")


def check_draws(n_samples: int, *, of: str = "") -> None:
    """Raise an error if there are fewer than two draws.

    Args:
        n_samples: Number of draws.
        of: Words before "at least 2 draws" in the message, such as "`nt_samples` of ".

    Raises:
        CertificationError: There are fewer than two draws.
    """
    if isinstance(n_samples, int) and n_samples < 2:
        raise CertificationError(f"Expected {of}at least 2 draws to certify, got {n_samples}.")


def checked_fresh_draws(fresh_draws: int | None) -> int | None:
    """Check a number of fresh draws at the perturbed input. ``None`` means a comparison with the exact map."""
    return None if fresh_draws is None else int(checked_samples("fresh_draws", fresh_draws, 1))
