"""The outcome of an attack."""

from dataclasses import dataclass

import torch
from torch import Tensor

from captum_certified.robust.attacked_explanation import AttackedExplanation
from captum_certified.robust.search import BestPoints
from captum_certified.robust.surrogate import Surrogate

__all__ = ["AttackResult", "result_of"]


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class AttackResult:
    """The outcome of an attack on N examples.

    Attributes:
        perturbed: The perturbed inputs, structured like the inputs. If the attack on an example failed, its input is
            unchanged.
        overlap: How many of the K most salient features of the clean map are among the K most salient features of the
            perturbed map, shape (N,). Both maps are computed on the model itself, not on a surrogate. With the
            objective ``"reference"``, the overlap is the number of features of the reference set in the top K of the
            perturbed map.
        k: K as a count.
        reference_size: Size of the reference set, shape (N,); ``None`` for the clean top K.
        succeeded: Whether the attack found a point of the ball that keeps the class, shape (N,). For an example without
            such a point ``overlap`` is K, or the number of features of the reference set in the clean top K.
        class_kept: Whether the model predicts the class of the clean input at the perturbed input, shape (N,).
        surrogate: The network whose gradients guided the search.
        queries: Number of points at which the search evaluated the explanation, for each example, shape (N,). For
            :class:`BlackBoxAttack` these are all points at which it used the model. Other attacks also compute
            gradients, and predicted classes at further points, which are not counted. ``None`` if nothing was counted.
    """

    perturbed: Tensor | tuple[Tensor, ...]
    overlap: Tensor
    k: int
    succeeded: Tensor
    class_kept: Tensor
    surrogate: Surrogate
    reference_size: Tensor | None = None
    queries: Tensor | None = None

    def __repr__(self) -> str:
        n = len(self.overlap)
        what = f"top {self.k}" if self.reference_size is None else "reference"
        return (
            f"AttackResult(mean of {n} example{'s' * (n != 1)}: {self.mean_overlap_fraction:.1%} of the {what} "
            f"left, succeeded on {int(self.succeeded.sum())}, class kept on {int(self.class_kept.sum())}, "
            f"surrogate {self.surrogate})"
        )

    @property
    def overlap_fraction(self) -> Tensor:
        """Overlap as a fraction of K, or of the size of the reference set if that is smaller, shape (N,)."""
        return self.overlap / (self.k if self.reference_size is None else self.reference_size.clamp_max(self.k))

    @property
    def mean_overlap_fraction(self) -> float:
        """Mean overlap fraction over all examples. If an attack failed, the overlap of the clean map is used."""
        return float(self.overlap_fraction.double().mean())

    @property
    def mean_overlap_fraction_of_succeeded(self) -> float | None:
        """Mean overlap fraction over the examples on which the attack succeeded; ``None`` if there are none."""
        return float(self.overlap_fraction[self.succeeded].double().mean()) if bool(self.succeeded.any()) else None


def result_of(explanation: AttackedExplanation, best: BestPoints) -> AttackResult:
    """Measure the explanation at the points that a search found."""
    overlap, members, top_k = explanation.overlap(best.points), explanation.members, explanation.clean.top_k
    of_set = members is not top_k
    unchanged = (members & top_k).sum(dim=1).cpu() if of_set else torch.full_like(overlap, explanation.k)
    return AttackResult(
        perturbed=explanation.explainer.structured(best.points, explanation.all_rows),
        overlap=torch.where(best.found, overlap, unchanged),
        k=explanation.k,
        succeeded=best.found,
        queries=best.queries,
        class_kept=explanation.keeps_class(best.points, explanation.all_rows),
        surrogate=explanation.surrogate,
        reference_size=members.sum(dim=1).cpu() if of_set else None,
    )
