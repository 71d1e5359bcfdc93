"""The attack of Ghorbani, Abid and Zou, and its L2-projected variant, which the paper compares with."""

from collections.abc import Callable

import torch
from captum.attr import Attribution
from torch import Tensor

from captum_certified._captum import MethodArguments, Target
from captum_certified.checks import checked_number
from captum_certified.exceptions import InvalidInputError
from captum_certified.robust.attacked_explanation import AttackedExplanation
from captum_certified.robust.base import AttackArguments, ExplanationAttack, checked_seed, perturb_by
from captum_certified.robust.objectives import Reference
from captum_certified.robust.random_starts import seeds_of_rows
from captum_certified.robust.result import AttackResult
from captum_certified.robust.search import Search
from captum_certified.robust.surrogate import AUTO, SurrogateBeta
from captum_certified.robust.threat_models import Ball

__all__ = ["GhorbaniAttack", "SignSteps"]

# How far every entry moves in a step, as a share of the radius. For L2 it is the paper's share for this baseline. For
# Linf it is as in projected gradient descent: a few steps cross the ball.
_STEP_SHARE = {"L2": 1 / 500, "Linf": 1 / 8}


class GhorbaniAttack(ExplanationAttack):
    """Steps along the sign of the objective's gradient from the input itself, projected to the ball.

    With ``norm="Linf"`` this is the iterative feature importance attack; with ``norm="L2"`` it is the variant that the
    paper's Figure 6 compares with :class:`InterpretationAttack`. It starts at the input, whose class is kept, so it
    always succeeds in the sense of :class:`AttackResult`.

    The arguments are the same as in :class:`InterpretationAttack`, but ``norm`` is ``"Linf"`` by default, and the
    ``objective`` cannot be ``"random"``.

    Raises:
        InvalidInputError: An argument is not what was expected, or the map cannot be differentiated.

    Source:
        Ghorbani, Abid and Zou (2019), Algorithm 1; Levine, Singla and Feizi (2019), Figure 6.

    Example:
        >>> import torch
        >>> from captum.attr import Saliency
        >>> from captum_certified.robust import GhorbaniAttack
        >>> model = torch.nn.Sequential(torch.nn.Linear(16, 8), torch.nn.Softplus(), torch.nn.Linear(8, 3))
        >>> images = torch.rand(2, 16)
        >>> result = GhorbaniAttack(model, Saliency(model)).attack(images, radius=0.1, k=4, step_num=10, seed=0)
        >>> bool(((result.perturbed - images).abs() <= 0.1).all())
        True
    """

    def __init__(
        self,
        forward_func: Callable[..., Tensor],
        attribution_method: Attribution,
        *,
        objective: str = "top_k",
        norm: str = "Linf",
        lower_bound: float = float("-inf"),
        upper_bound: float = float("inf"),
        surrogate_beta: SurrogateBeta = AUTO,
    ) -> None:
        if objective == "random":
            raise InvalidInputError("Expected an `objective` to search by, got 'random'; InterpretationAttack has it.")
        super().__init__(
            forward_func,
            attribution_method,
            objective=objective,
            norm=norm,
            lower_bound=lower_bound,
            upper_bound=upper_bound,
            surrogate_beta=surrogate_beta,
        )

    def attack(
        self,
        inputs: Tensor | tuple[Tensor, ...],
        radius: float,
        *,
        k: float = 0.2,
        step_num: int = 100,
        step_size: float | None = None,
        target: Target = None,
        additional_forward_args: object = None,
        attribution_kwargs: MethodArguments | None = None,
        reference: Reference = None,
        keep_class: bool = True,
        seed: int | None = None,
        show_progress: bool = False,
    ) -> AttackResult:
        """Attack the explanations of a batch, every example on its own.

        The arguments are the same as in :meth:`InterpretationAttack.attack`, with these differences:

        - ``step_num``: Number of steps from the input.
        - ``step_size``: How far every entry moves in a step; by default radius/8 for Linf and radius/500 for L2.
        - ``keep_class``: Whether the predicted class must stay. Steps may pass through points that change it.

        Returns:
            Perturbed inputs, overlap with the clean top K, and the examples on which the attack succeeded.

        Raises:
            InvalidInputError: An argument is not what was expected.
            CertificationError: The map at the clean input is not finite.
        """
        arguments = AttackArguments(
            inputs=inputs,
            radius=radius,
            k=k,
            step_num=step_num,
            target=target,
            additional_forward_args=additional_forward_args,
            attribution_kwargs=attribution_kwargs,
            reference=reference,
            keep_class=keep_class,
            seed=checked_seed(seed),
            show_progress=show_progress,
        )
        if step_size is not None:
            step_size = checked_number("step_size", step_size, above=0)

        def search_of(explanation: AttackedExplanation, ball: Ball) -> SignSteps:
            size = ball.radius * _STEP_SHARE[self.norm] if step_size is None else step_size
            return SignSteps(explanation, ball, step_size=size, keep_class=keep_class, seed=arguments.seed)

        return self._run(arguments, search_of)

    perturb = perturb_by(attack)


class SignSteps(Search):
    """Steps along the sign of ∇D, from the input itself (Ghorbani et al., 2019).

    Some objectives have no gradient at the input, for example the distance from the clean centre of mass. The first
    step is then random. A point that changes the class cannot be the result, but the search goes on from it.

    Args:
        explanation: The explanation under attack.
        ball: The ball that points are projected to.
        step_size: How far every entry moves in a step.
        keep_class: Whether the predicted class must stay.
        seed: Seed of random steps.
    """

    first_expected_gradient = 2

    def __init__(
        self, explanation: AttackedExplanation, ball: Ball, *, step_size: float, keep_class: bool, seed: int
    ) -> None:
        super().__init__(explanation, ball, keep_class=keep_class)
        self.step_size = step_size
        self.seeds = seeds_of_rows(explanation.centers, seed)

    def start(self) -> tuple[Tensor, Tensor]:
        """Return the inputs."""
        return self.explanation.centers, self.explanation.all_rows

    def step(self, points: Tensor, gradient: Tensor, rows: Tensor, number: int) -> tuple[Tensor, Tensor]:
        """Move every entry by the step size."""
        direction = gradient.sign()
        if number == 1:
            for row in torch.nonzero(~direction.any(dim=1)).flatten().tolist():
                direction[row] = self.ball.random_offset(self.seeds[row], 0, points[row]).sign()
        moved = self.ball.project(points.double() + self.step_size * direction, self.explanation.centers)
        if not self.keep_class:
            return moved, torch.ones(len(rows), dtype=torch.bool, device="cpu")
        return moved, self.explanation.keeps_class(moved, rows)
