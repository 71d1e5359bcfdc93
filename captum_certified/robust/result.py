"""What an attack achieved."""

from dataclasses import dataclass

import torch
from torch import Tensor

from captum_certified.robust.explanation import AttackedExplanation
from captum_certified.robust.search import Best
from captum_certified.robust.surrogate import Surrogate

__all__ = ["AttackResult", "result_of"]


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class AttackResult:
    """The outcome of an attack on N examples.

    Attributes:
        perturbed: The perturbed inputs, structured like the inputs; the input itself where the attack failed.
        overlap: How many of the K most salient features of the clean map are among those of the perturbed one,
            shape (N,). It is measured on the model itself with the attribution's arguments.
        k: K.
        succeeded: Whether any point of the ball was found that keeps the class, shape (N,). Where not, the overlap
            is K.
        class_kept: Whether the model predicts the same class at the perturbed input, shape (N,).
        surrogate: What the gradients of the search were taken of.
    """

    perturbed: Tensor | tuple[Tensor, ...]
    overlap: Tensor
    k: int
    succeeded: Tensor
    class_kept: Tensor
    surrogate: Surrogate

    def __repr__(self) -> str:
        return (
            f"AttackResult(mean of {_counted(len(self.overlap))}: {self.mean_overlap_fraction:.1%} of the top {self.k} "
            f"left, succeeded on {int(self.succeeded.sum())}, class kept on {int(self.class_kept.sum())}, "
            f"surrogate {self.surrogate})"
        )

    @property
    def overlap_fraction(self) -> Tensor:
        """Overlap as a fraction of K, shape (N,)."""
        return self.overlap / self.k

    @property
    def mean_overlap_fraction(self) -> float:
        """Mean over all examples, those that the attack failed on counting 1."""
        return float(self.overlap_fraction.double().mean())

    @property
    def mean_overlap_fraction_of_succeeded(self) -> float | None:
        """Mean over the examples that the attack succeeded on; ``None`` if there is none."""
        return float(self.overlap_fraction[self.succeeded].double().mean()) if bool(self.succeeded.any()) else None


def result_of(explanation: AttackedExplanation, best: Best) -> AttackResult:
    """The outcome of a search."""
    rows = torch.arange(explanation.rows, device="cpu")
    overlap = explanation.overlap(best.points)
    return AttackResult(
        perturbed=explanation.structured(best.points),
        overlap=torch.where(best.found, overlap, torch.full_like(overlap, explanation.k)),
        k=explanation.k,
        succeeded=best.found,
        class_kept=explanation.keeps_class(best.points, rows),
        surrogate=explanation.surrogate,
    )


def _counted(rows: int) -> str:
    return "1 example" if rows == 1 else f"{rows} examples"
