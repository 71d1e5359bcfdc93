"""The attack of Ghorbani, Abid and Zou, and its L2-projected variant, which the paper compares with."""

from collections.abc import Callable, Mapping
from typing import Any

from captum.attr import Attribution
from captum.robust import Perturbation
from torch import Tensor

from captum_certified._captum import log_usage, progress_bar
from captum_certified.checks import checked_flag, checked_integer, checked_number
from captum_certified.exceptions import InvalidInputError
from captum_certified.robust.base import AttackSpace, checked_seed
from captum_certified.robust.objectives import Reference
from captum_certified.robust.result import AttackResult, result_of
from captum_certified.robust.search import Best, sign_steps
from captum_certified.robust.surrogate import AUTO, SurrogateBeta

__all__ = ["GhorbaniAttack"]

# Share of the radius that every entry moves in a step: the paper's for its L2 baseline; for Linf as in projected
# gradient descent, a few steps across the ball.
_STEP = {"L2": 1 / 500, "Linf": 1 / 8}


class GhorbaniAttack(Perturbation):
    """Steps along the sign of the objective's gradient from the input itself, projected to the ball.

    With ``norm="Linf"`` it is the iterative feature importance attack; with ``norm="L2"`` the variant that the
    paper's Figure 6 compares :class:`InterpretationAttack` with. It begins at the input, whose class is kept, so it
    always succeeds in the sense of :class:`AttackResult`.

    Args:
        forward_func: The model.
        attribution_method: The explanation, as in :class:`InterpretationAttack`.
        objective: ``"top_k"``, ``"mass_center"``, ``"region"`` or ``"manipulate"``.
        norm: ``"Linf"`` or ``"L2"``.
        lower_bound: Smallest value of an input.
        upper_bound: Largest value of an input.
        surrogate_beta: β of the softplus surrogate whose gradients guide the search, as in
            :class:`InterpretationAttack`.

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
        forward_func: Callable[..., Any],
        attribution_method: Attribution,
        *,
        objective: str = "top_k",
        norm: str = "Linf",
        lower_bound: float = float("-inf"),
        upper_bound: float = float("inf"),
        surrogate_beta: SurrogateBeta = AUTO,
    ) -> None:
        super().__init__()
        if objective == "random":
            raise InvalidInputError("Expected an `objective` to search by, got 'random'; InterpretationAttack has it.")
        self.space = AttackSpace(
            forward_func=forward_func,
            attribution_method=attribution_method,
            objective=objective,
            norm=norm,
            lower_bound=lower_bound,
            upper_bound=upper_bound,
            surrogate_beta=surrogate_beta,
        )

    @log_usage
    def perturb(
        self,
        inputs: Any,
        radius: float,
        *,
        k: float = 0.2,
        step_num: int = 100,
        step_size: float | None = None,
        target: Any = None,
        additional_forward_args: Any = None,
        attribution_kwargs: Mapping[str, Any] | None = None,
        reference: Reference = None,
        keep_class: bool = True,
        seed: int | None = None,
        show_progress: bool = False,
    ) -> Any:
        """The perturbed inputs; see :meth:`attack` for the arguments.

        Returns:
            Structured like ``inputs``.
        """
        result = self.attack(
            inputs,
            radius,
            k=k,
            step_num=step_num,
            step_size=step_size,
            target=target,
            additional_forward_args=additional_forward_args,
            attribution_kwargs=attribution_kwargs,
            reference=reference,
            keep_class=keep_class,
            seed=seed,
            show_progress=show_progress,
        )
        return result.perturbed

    def attack(
        self,
        inputs: Tensor | tuple[Tensor, ...],
        radius: float,
        *,
        k: float = 0.2,
        step_num: int = 100,
        step_size: float | None = None,
        target: Any = None,
        additional_forward_args: Any = None,
        attribution_kwargs: Mapping[str, Any] | None = None,
        reference: Reference = None,
        keep_class: bool = True,
        seed: int | None = None,
        show_progress: bool = False,
    ) -> AttackResult:
        """Attack the explanations of a batch, every example on its own.

        Args:
            inputs: As in :meth:`InterpretationAttack.attack`, and so for all arguments not named here.
            radius: ρ ≥ 0.
            k: Size of the top set.
            step_num: Number of steps.
            step_size: What every entry moves in a step; by default radius/8 for Linf and radius/500 for L2.
            target: Class explained.
            additional_forward_args: Further arguments of the model.
            attribution_kwargs: Further arguments of the attribution.
            reference: The region or map of the objectives that have one.
            keep_class: Whether the predicted class must stay; steps pass through points that change it.
            seed: Seed of everything random.
            show_progress: Show a progress bar on stderr.

        Returns:
            Perturbed inputs, overlap with the clean top K, and which examples the attack succeeded on.

        Raises:
            InvalidInputError: An argument is not what was expected.
            CertificationError: The map at the clean input is not finite.
        """
        seed = checked_seed(seed)
        keep_class = checked_flag("keep_class", keep_class)
        step_num = checked_integer("step_num", step_num)
        ball = self.space.ball(radius)
        size = ball.radius * _STEP[self.space.norm]
        if step_size is not None:
            size = checked_number("step_size", step_size, above=0)
        explanation = self.space.explanation(
            inputs,
            k=k,
            target=target,
            additional_forward_args=additional_forward_args,
            attribution_kwargs=attribution_kwargs,
            reference=reference,
            seed=seed,
        )
        if radius == 0:
            return result_of(explanation, Best.of_inputs(explanation))
        with progress_bar(total=step_num, description="attacking", show=show_progress) as bar:
            best = sign_steps(
                explanation,
                ball,
                step_size=size,
                step_num=step_num,
                keep_class=keep_class,
                seed=seed,
                on_step=lambda: bar.update(1),
            )
        return result_of(explanation, best)
