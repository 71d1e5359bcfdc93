"""The certificate of ranks."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from captum_certified.certify.bounds import BOUNDS
from captum_certified.certify.certificate import Certificate
from captum_certified.exceptions import InvalidInputError
from captum_certified.theory import fraction_to_count

__all__ = ["RankCertificate"]


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class RankCertificate(Certificate):
    """A rank that each feature keeps.

    Attributes:
        feature_rank: Certified rank of each feature, int64, shape (N, n).
    """

    kind: ClassVar[str] = "rank"

    feature_rank: Tensor

    @property
    def rank(self) -> Tensor | tuple[Tensor, ...]:
        """Certified rank of every entry, structured like ``map.mean``; n + 1 means that nothing is certified.

        ``bound="theorem2"`` reports Definition 3.1 as printed, which counts the feature itself: it guarantees one
        rank less.
        """
        return self.map.layout.unflatten(self.feature_rank)

    def in_top_k(self, k: float) -> Tensor | tuple[Tensor, ...]:
        """Which entries certifiably stay among the ``k`` most salient, structured like ``map.mean``.

        Args:
            k: An int is a number of features, a float a fraction of them.

        Returns:
            Booleans.
        """
        return self.map.layout.unflatten(self._guaranteed() <= resolved_count("k", k, self.map.layout.n_features))

    def summaries(self) -> list[str]:
        """One sentence for each example."""
        n = self.map.layout.n_features
        best = self._guaranteed().amin(dim=1)
        informative = (self._guaranteed() < n).sum(dim=1)
        return [
            f"{int(count)} of {n} features have a certified rank, the best of them {int(first)}, "
            f"proved from {int(draws)} draws"
            for count, first, draws in zip(informative, best, self.n_samples, strict=True)
        ]

    def results(self) -> dict[str, Any]:
        """The best certified rank."""
        return {"best_rank": self._guaranteed().amin(dim=1).tolist()}

    def _guaranteed(self) -> Tensor:
        return torch.from_numpy(BOUNDS[self.bound].ranks_guaranteed(np.asarray(self.feature_rank)))


def resolved_count(name: str, value: Any, total: int, *, at_least: int = 1) -> int:
    """An int as a count, a float as a fraction of ``total`` rounded up.

    Raises:
        InvalidInputError: It is neither, or out of range.
    """
    integral = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    if integral and at_least <= value <= total:
        return int(value)
    if isinstance(value, (float, np.floating)) and 0 <= value <= 1:
        count = fraction_to_count(float(value), total)
        if count >= at_least:
            return count
    raise InvalidInputError(
        f"Expected `{name}` to be a number of features from {at_least} to {total}, or a fraction of them in "
        f"{'(0' if at_least else '[0'}, 1], got {value!r}."
    )
