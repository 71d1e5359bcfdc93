"""Compare two maps by a named measure or a function, and return the worst of several values."""

from collections.abc import Callable
from typing import Literal

from torch import Tensor

from captum_certified._captum import as_tuple
from captum_certified.checks import resolved_count
from captum_certified.exceptions import InvalidInputError
from captum_certified.metrics.distances import local_lipschitz, mass_center_distance
from captum_certified.metrics.pairs import Maps
from captum_certified.metrics.similarities import cosine_similarity, kendall_tau, spearman_rank, top_k_intersection

__all__ = ["Comparison", "Similarity"]

Similarity = (
    Literal["top_k", "kendall", "spearman", "cosine", "mass_center", "lipschitz"] | Callable[[Maps, Maps], Tensor]
)

_OF_TWO_MAPS: dict[str, Callable[[Maps, Maps], Tensor]] = {
    "kendall": kendall_tau,
    "spearman": spearman_rank,
    "cosine": cosine_similarity,
    "mass_center": mass_center_distance,
}
_NAMES = ("top_k", *_OF_TWO_MAPS, "lipschitz")
_DISTANCES = ("mass_center", "lipschitz")


class Comparison:
    """A comparison of the maps of inputs with the maps of perturbed inputs.

    Args:
        similarity: A name, or a function of two batches of maps that returns shape (rows,). Smaller values are worse.
        k: Number of top features that ``"top_k"`` compares.

    Raises:
        InvalidInputError: ``similarity`` is neither a known name nor a function.
    """

    def __init__(self, similarity: Similarity, *, k: int | float) -> None:
        if not callable(similarity) and similarity not in _NAMES:
            raise InvalidInputError(f"Expected `similarity` to be one of {_NAMES} or a function, got {similarity!r}.")
        self.similarity = similarity
        self.k = k

    def check(self, maps: Maps) -> None:
        """Raise an InvalidInputError if ``k`` is out of range for the maps. Call this before anything is perturbed."""
        if self.similarity == "top_k":
            resolved_count("k", self.k, sum(m[0].numel() for m in as_tuple(maps)))

    def __call__(self, a: Maps, b: Maps, inputs_a: Maps, inputs_b: Maps) -> Tensor:
        """Return the similarity or distance of the two maps of every row, shape (rows,).

        Raises:
            InvalidInputError: A similarity function did not return a tensor of shape (rows,).
        """
        if self.similarity == "top_k":
            return top_k_intersection(a, b, k=self.k)
        if self.similarity == "lipschitz":
            return local_lipschitz(a, b, inputs_a, inputs_b)
        if not callable(self.similarity):
            return _OF_TWO_MAPS[self.similarity](a, b)
        values = self.similarity(a, b)
        rows = len(as_tuple(a)[0])
        if not isinstance(values, Tensor) or values.shape != (rows,):
            found = tuple(values.shape) if isinstance(values, Tensor) else type(values).__name__
            raise InvalidInputError(f"Expected `similarity` to return a tensor of shape ({rows},), got {found}.")
        return values.detach()

    def worst(self, values: Tensor) -> Tensor:
        """Return the worst value of every example, shape (N,), from values of shape (N, samples)."""
        return values.amax(dim=1) if self.similarity in _DISTANCES else values.amin(dim=1)
