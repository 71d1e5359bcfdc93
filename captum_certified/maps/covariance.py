"""The covariance of the draws, summarised by a few numbers for each example."""

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from captum_certified.exceptions import InvalidInputError

__all__ = ["CovarianceSummary", "check_rows_and_pairs"]


@dataclass(frozen=True, eq=False, repr=False)
class CovarianceSummary:
    """Summary of the covariance of the draws. All fields but ``pairs`` are means over blocks of draws.

    A block of b draws has ⌊b/2⌋ independent pairs, and this number is its weight in the means. S is the unbiased sample
    covariance of a block.

    Args:
        pairs: W, the number of independent pairs in all blocks, shape (N,).
        top_eigenvalue: λ̂, mean of the largest eigenvalue of S, shape (N,).
        frobenius_norm: F̂, mean of the Frobenius norm of S, shape (N,), or ``None``.
        fourth_moment: κ̂, mean of R̂/2 + 1.5 λ_max(S)², shape (N,), or ``None``. R̂ is the largest z·Sz over the draws
            of a block, where z is a draw minus the mean of the block.

    Example:
        >>> one = CovarianceSummary(torch.tensor([4.0]), torch.tensor([2.0]))
        >>> two = CovarianceSummary(torch.tensor([12.0]), torch.tensor([6.0]))
        >>> one.merge(two).top_eigenvalue
        tensor([5.], dtype=torch.float64)
    """

    pairs: Tensor
    top_eigenvalue: Tensor
    frobenius_norm: Tensor | None = None
    fourth_moment: Tensor | None = None

    def __post_init__(self) -> None:
        if (self.frobenius_norm is None) != (self.fourth_moment is None):
            raise InvalidInputError("Expected `frobenius_norm` and `fourth_moment` both or neither, got one of them.")
        for field in fields(self):
            value = getattr(self, field.name)
            if value is None:
                continue
            tensor = torch.as_tensor(value, dtype=torch.float64, device="cpu")
            if tensor.shape != torch.as_tensor(self.pairs).shape or tensor.dim() != 1:
                raise InvalidInputError(
                    f"Expected `{field.name}` of shape (N,) like `pairs`, got {tuple(tensor.shape)}."
                )
            least = 1 if field.name == "pairs" else 0
            if not bool((torch.isfinite(tensor) & (tensor >= least)).all()):
                raise InvalidInputError(f"Expected `{field.name}` to be finite and >= {least}, got {tensor.tolist()}.")
            object.__setattr__(self, field.name, tensor)

    def __repr__(self) -> str:
        form = "short" if self.frobenius_norm is None else "full"
        low, high = float(self.pairs.min()), float(self.pairs.max())
        pairs = f"{low:g}" if low == high else f"{low:g}–{high:g}"
        return f"CovarianceSummary({form} form of {len(self.pairs)} rows, {pairs} pairs)"

    def merge(self, other: "CovarianceSummary") -> "CovarianceSummary":
        """Return the summary of the blocks of both summaries."""
        pairs = self.pairs + other.pairs

        def weighted(one: Tensor | None, two: Tensor | None) -> Tensor | None:
            if one is None or two is None:
                return None
            return (self.pairs * one + other.pairs * two) / pairs

        top = weighted(self.top_eigenvalue, other.top_eigenvalue)
        assert top is not None  # noqa: S101  for the type checker: the field is never None
        return CovarianceSummary(
            pairs,
            top,
            weighted(self.frobenius_norm, other.frobenius_norm),
            weighted(self.fourth_moment, other.fourth_moment),
        )

    def parts(self) -> dict[str, Tensor]:
        """Return the fields that are not ``None``, by name."""
        named = ((field.name, getattr(self, field.name)) for field in fields(self))
        return {name: value for name, value in named if value is not None}

    @classmethod
    def stack(cls, summaries: "list[CovarianceSummary]") -> "CovarianceSummary":
        """Return the summary of the examples of several summaries, one after another."""
        common = set.intersection(*(set(summary.parts()) for summary in summaries))
        return cls(**{name: torch.cat([getattr(s, name) for s in summaries]) for name in common})


def check_rows_and_pairs(covariance: CovarianceSummary, samples: Tensor) -> None:
    """Raise an InvalidInputError unless a summary has one row for each example, and at most one pair per two draws."""
    if len(covariance.pairs) != len(samples):
        raise InvalidInputError(f"Expected `covariance` of {len(samples)} rows, got {len(covariance.pairs)}.")
    if bool((2 * covariance.pairs > samples).any()):
        raise InvalidInputError(
            f"Expected `covariance` of at most n_samples / 2 pairs, got {covariance.pairs.tolist()} "
            f"of {samples.tolist()} draws."
        )
