"""The base class of attacks on explanations, the arguments that all attacks take, and the method ``perturb``."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from typing import Any, ClassVar, Concatenate, ParamSpec, TypeVar

from captum.attr import Attribution
from captum.robust import Perturbation
from torch import Tensor

from captum_certified._captum import MethodArguments, Target, advance_progress, log_usage, progress_bar
from captum_certified.attr.refusals import shapes_in_errors
from captum_certified.attr.request import checked_inputs
from captum_certified.checks import checked_flag, checked_integer, checked_number
from captum_certified.exceptions import InvalidInputError
from captum_certified.randomness import derived_seed, fresh_seed
from captum_certified.robust.attacked_explanation import AttackedExplanation
from captum_certified.robust.differentiable import check_differentiable
from captum_certified.robust.objectives import Reference, check_objective
from captum_certified.robust.point_explainer import PointExplainer
from captum_certified.robust.result import AttackResult, result_of
from captum_certified.robust.search import BestPoints, Search
from captum_certified.robust.surrogate import AUTO, SurrogateBeta, check_surrogate
from captum_certified.robust.threat_models import Ball, ball_named, check_bounds, check_within

__all__ = ["AttackArguments", "ExplanationAttack", "checked_seed", "perturb_by"]

_ATTRIBUTION_STREAM = 0

Parameters = ParamSpec("Parameters")
AnyAttack = TypeVar("AnyAttack", bound="ExplanationAttack")


@dataclass(frozen=True, kw_only=True, eq=False)
class AttackArguments:
    """The arguments that all attacks have in common; :meth:`InterpretationAttack.attack` describes them.

    Raises:
        InvalidInputError: ``keep_class`` is not a bool, or ``step_num`` is not an integer >= 0.
    """

    inputs: Tensor | tuple[Tensor, ...]
    radius: float
    k: float
    step_num: int
    target: Target
    additional_forward_args: object
    attribution_kwargs: MethodArguments | None
    reference: Reference
    keep_class: bool
    seed: int
    show_progress: bool

    def __post_init__(self) -> None:
        checked_flag("keep_class", self.keep_class)
        checked_integer("step_num", self.step_num)


class ExplanationAttack(Perturbation):
    """The base class of attacks on an explanation. Its arguments are those of :class:`InterpretationAttack`.

    A subclass defines ``attack`` and sets ``perturb = perturb_by(attack)``. Its ``attack`` passes the arguments to
    :meth:`_run`, together with a function that makes a :class:`Search`.

    Attributes:
        takes_gradients: Whether the search differentiates the map.
        refused_objectives: For each objective that the search cannot follow, the error that says so.
        attacked_method: The attribution. :func:`~captum_certified.attribution_robustness` reads this attribute to find
            out whether the attack is on the explanation that it measures.

    Raises:
        InvalidInputError: An argument is not what was expected, or the map cannot be differentiated.
    """

    takes_gradients: ClassVar[bool] = True
    refused_objectives: ClassVar[Mapping[str, str]] = {}
    attack: Callable[..., AttackResult]

    def __init__(
        self,
        forward_func: Callable[..., Tensor],
        attribution_method: Attribution,
        *,
        objective: str = "top_k",
        norm: str = "L2",
        lower_bound: float = float("-inf"),
        upper_bound: float = float("inf"),
        surrogate_beta: SurrogateBeta = AUTO,
    ) -> None:
        super().__init__()
        if not callable(forward_func):
            raise InvalidInputError(f"Expected `forward_func` to be callable, got {forward_func!r}.")
        if isinstance(attribution_method, type) or not callable(getattr(attribution_method, "attribute", None)):
            raise InvalidInputError(
                f"Expected `attribution_method` to be a Captum attribution, got {attribution_method!r}."
            )
        check_objective(objective)
        if objective in self.refused_objectives:
            raise InvalidInputError(self.refused_objectives[objective])
        self.ball_class = ball_named(norm)
        check_bounds(lower_bound, upper_bound)
        if self.takes_gradients and objective != "random":
            check_differentiable(attribution_method)
        check_surrogate(surrogate_beta, attribution_method)
        self.forward_func = forward_func
        self.attacked_method = attribution_method
        self.objective = objective
        self.norm = norm
        self.lower_bound = lower_bound
        self.upper_bound = upper_bound
        self.surrogate_beta: SurrogateBeta = surrogate_beta

    def _run(
        self,
        arguments: AttackArguments,
        search_of: Callable[[AttackedExplanation, Ball], Search],
        *,
        n_restarts: int = 1,
    ) -> AttackResult:
        """Run the search that ``search_of`` makes, and measure the explanation at the points found."""
        ball = self._ball(arguments.radius)
        explanation = self._explanation(arguments)
        search = search_of(explanation, ball)
        if ball.radius == 0:
            inputs = BestPoints(explanation.centers)
            inputs.offer(inputs.points, explanation.values(inputs.points, explanation.all_rows), explanation.all_rows)
            return result_of(explanation, inputs)
        total = arguments.step_num * n_restarts
        with progress_bar(total=total, description="attacking", show=arguments.show_progress) as bar:
            best = search.run(
                step_num=arguments.step_num, n_restarts=n_restarts, on_step=lambda: advance_progress(bar, 1)
            )
        return result_of(explanation, best)

    def _ball(self, radius: float) -> Ball:
        return self.ball_class(checked_number("radius", radius, at_least=0), self.lower_bound, self.upper_bound)

    def _explanation(self, arguments: AttackArguments) -> AttackedExplanation:
        inputs = checked_inputs(arguments.inputs)
        self._check_inputs(inputs)
        with shapes_in_errors(inputs):
            explainer = PointExplainer(
                self.forward_func,
                self.attacked_method,
                inputs,
                is_tuple=isinstance(arguments.inputs, tuple),
                arguments=_attribution_arguments(arguments),
                seed=derived_seed(arguments.seed, _ATTRIBUTION_STREAM),
            )
            return AttackedExplanation(
                explainer,
                self.objective,
                k=arguments.k,
                reference=arguments.reference,
                surrogate_beta=self.surrogate_beta,
                takes_gradients=self.takes_gradients and self.objective != "random",
            )

    def _check_inputs(self, inputs: tuple[Tensor, ...]) -> None:
        floating = [t.detach() for t in inputs if t.is_floating_point()]
        if len({t.dtype for t in floating}) != 1:
            raise InvalidInputError(
                f"Expected `inputs` with floating point tensors of one precision, got {[str(t.dtype) for t in inputs]}."
            )
        check_within(floating, self.lower_bound, self.upper_bound)


def perturb_by(
    attack: Callable[Concatenate[AnyAttack, Parameters], AttackResult],
) -> Callable[Concatenate[AnyAttack, Parameters], Any]:
    """Return a method ``perturb`` that takes the parameters of ``attack`` and returns only the perturbed inputs.

    :class:`captum.robust.AttackComparator` and :class:`captum.robust.MinParamPerturbation` call ``perturb``.
    """

    @log_usage
    @wraps(attack, assigned=("__module__",))
    def perturb(self: AnyAttack, /, *args: Parameters.args, **kwargs: Parameters.kwargs) -> Any:
        """Return the perturbed inputs; :meth:`attack` describes the arguments.

        Returns:
            Perturbed inputs, structured like ``inputs``. Examples on which the attack failed are unchanged.
        """
        return self.attack(*args, **kwargs).perturbed

    perturb.__dict__["__signature__"] = inspect.signature(attack).replace(return_annotation=Any)
    perturb.__qualname__ = f"{attack.__qualname__.rpartition('.')[0]}.perturb"
    return perturb


def _attribution_arguments(arguments: AttackArguments) -> MethodArguments:
    given = dict(arguments.attribution_kwargs or {})
    taken = sorted({"target", "additional_forward_args"} & set(given))
    if taken:
        raise InvalidInputError(f"Expected {taken} as arguments of their own, got them in `attribution_kwargs`.")
    if given.get("return_convergence_delta"):
        raise InvalidInputError("Expected an attribution that returns maps alone, got `return_convergence_delta`=True.")
    if arguments.additional_forward_args is not None:
        given["additional_forward_args"] = arguments.additional_forward_args
    return {"target": arguments.target, **given}


def checked_seed(seed: int | None) -> int:
    """Return ``seed``, or a fresh seed for ``None``."""
    return fresh_seed() if seed is None else checked_integer("seed", seed, below=2**64)
