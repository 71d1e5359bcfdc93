"""The attack of Ghorbani, Abid and Zou, and the L2-projected variant that Levine et al. use as a baseline."""

from collections.abc import Callable, Mapping
from typing import ClassVar

import torch
from captum.attr import Attribution
from torch import Tensor

from captum_certified._captum import MethodArguments, Target
from captum_certified.checks import checked_number
from captum_certified.robust.attacked_explanation import AttackedExplanation
from captum_certified.robust.base import AttackArguments, ExplanationAttack, checked_seed, perturb_by
from captum_certified.robust.objectives import Reference
from captum_certified.robust.random_starts import seeds_of_rows
from captum_certified.robust.result import AttackResult
from captum_certified.robust.search import GradientSearch
from captum_certified.robust.surrogate import AUTO, SurrogateBeta
from captum_certified.robust.threat_models import Ball

__all__ = ["GhorbaniAttack", "SignSteps"]

# By default every entry moves by this fraction of the radius in a step. For L2 the fraction is that of Levine et al.
# For Linf it is so large that a few steps can cross the ball, as in projected gradient descent.
_STEP_SHARE = {"L2": 1 / 500, "Linf": 1 / 8}


class GhorbaniAttack(ExplanationAttack):
    """An attack that steps from the input along the sign of the objective's gradient, and projects to the ball.

    With ``norm="Linf"`` this is the iterative feature importance attack. With ``norm="L2"`` it is the variant that
    Levine et al. compare with :class:`InterpretationAttack` in Figure 6. The start is the input itself, which has the
    class that must be kept. So ``succeeded`` of :class:`AttackResult` is always true.

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

    refused_objectives: ClassVar[Mapping[str, str]] = {
        "random": "Expected an `objective` to search by, got 'random'. Use InterpretationAttack for it."
    }

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
        """Attack the explanation of every example of a batch separately.

        The arguments are the same as in :meth:`InterpretationAttack.attack`, with these differences:

        - ``step_num``: Number of steps from the input.
        - ``step_size``: How far every entry moves in a step; by default radius/8 for Linf and radius/500 for L2.
        - ``keep_class``: Whether the result must keep the predicted class. Points on the way may have another class.

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


class SignSteps(GradientSearch):
    """The search of Ghorbani et al. (2019): steps along the sign of ∇D, starting at the input.

    Some objectives have a gradient of zero at the input, for example the distance from the clean centre of mass. The
    first step is then random. With ``keep_class``, a point that changes the class is never the result, but the search
    continues from this point.

    Args:
        explanation: The explanation under attack.
        ball: The ball that points are projected to.
        step_size: How far every entry moves in a step.
        keep_class: Whether the result must keep the predicted class.
        seed: Seed of the random first steps.
    """

    first_expected_gradient = 2

    def __init__(
        self, explanation: AttackedExplanation, ball: Ball, *, step_size: float, keep_class: bool, seed: int
    ) -> None:
        super().__init__(explanation, ball, keep_class=keep_class)
        self.step_size = step_size
        self.seeds = seeds_of_rows(explanation.centers, seed)

    def start(self) -> tuple[Tensor, Tensor]:
        """Return the clean inputs of all examples."""
        return self.explanation.centers, self.explanation.all_rows

    def step(self, points: Tensor, gradient: Tensor, rows: Tensor, number: int) -> tuple[Tensor, Tensor]:
        """Move every entry by the step size along the sign of the gradient."""
        direction = gradient.sign()
        if number == 1:
            for row in torch.nonzero(~direction.any(dim=1)).flatten().tolist():
                direction[row] = self.ball.random_offset(self.seeds[row], 0, points[row]).sign()
        moved = self.ball.project(points.double() + self.step_size * direction, self.explanation.centers)
        if not self.keep_class:
            return moved, torch.ones(len(rows), dtype=torch.bool, device="cpu")
        return moved, self.explanation.keeps_class(moved, rows)
