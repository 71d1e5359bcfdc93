"""What is attacked and within which bounds: what every attack on an explanation is constructed with."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from captum.attr import Attribution
from torch import Tensor

from captum_certified.attr.refusals import shapes_in_errors
from captum_certified.attr.request import checked_inputs
from captum_certified.checks import checked_integer, checked_number, resolved_count
from captum_certified.exceptions import InvalidInputError
from captum_certified.randomness import derived_seed, fresh_seed
from captum_certified.robust.differentiable import check_differentiable
from captum_certified.robust.explanation import AttackedExplanation
from captum_certified.robust.objectives import Reference, check_objective
from captum_certified.robust.surrogate import SurrogateBeta, check_surrogate
from captum_certified.robust.threat_models import Ball, ball_named, check_bounds, check_within

__all__ = ["AttackSpace"]

_ATTRIBUTION_STREAM = 0


@dataclass(frozen=True, kw_only=True)
class AttackSpace:
    """An explanation, an objective, and the box and norm of the perturbations.

    Args:
        forward_func: The model.
        attribution_method: The attribution.
        objective: What is driven up.
        norm: ``"L2"`` or ``"Linf"``.
        lower_bound: Smallest value of an input.
        upper_bound: Largest value of an input.
        surrogate_beta: β of the softplus surrogate, ``"auto"`` or ``None``.

    Raises:
        InvalidInputError: An argument is not what was expected.
    """

    forward_func: Callable[..., Any] = field(repr=False)
    attribution_method: Attribution = field(repr=False)
    objective: str
    norm: str
    lower_bound: float
    upper_bound: float
    surrogate_beta: SurrogateBeta

    def __post_init__(self) -> None:
        if not callable(self.forward_func):
            raise InvalidInputError(f"Expected `forward_func` to be callable, got {self.forward_func!r}.")
        method: object = self.attribution_method
        if isinstance(method, type) or not callable(getattr(method, "attribute", None)):
            raise InvalidInputError(
                f"Expected `attribution_method` to be a Captum attribution, got {self.attribution_method!r}."
            )
        check_objective(self.objective)
        ball_named(self.norm)
        check_bounds(self.lower_bound, self.upper_bound)
        if self.objective != "random":
            check_differentiable(self.attribution_method)
        check_surrogate(self.surrogate_beta, self.attribution_method)

    def ball(self, radius: float) -> Ball:
        """The ball of the perturbations."""
        return ball_named(self.norm)(checked_number("radius", radius, at_least=0), self.lower_bound, self.upper_bound)

    def explanation(
        self,
        inputs: Any,
        *,
        k: float,
        target: Any,
        additional_forward_args: Any,
        attribution_kwargs: Mapping[str, Any] | None,
        reference: Reference,
        seed: int,
    ) -> AttackedExplanation:
        """The explanation of ``inputs`` under attack.

        Raises:
            InvalidInputError: An argument is not what was expected.
            CertificationError: The clean map is not finite, or the model does not take the inputs.
        """
        tensors = checked_inputs(inputs)
        self._check_inputs(tensors)
        arguments = dict(attribution_kwargs or {})
        taken = sorted({"target", "additional_forward_args"} & set(arguments))
        if taken:
            raise InvalidInputError(f"Expected {taken} as arguments of their own, got them in `attribution_kwargs`.")
        if arguments.get("return_convergence_delta"):
            raise InvalidInputError("Expected an attribution of maps alone, got `return_convergence_delta`=True.")
        if additional_forward_args is not None:
            arguments["additional_forward_args"] = additional_forward_args
        with shapes_in_errors(tensors):
            explanation = AttackedExplanation(
                self.forward_func,
                self.attribution_method,
                tensors,
                is_tuple=isinstance(inputs, tuple),
                arguments={"target": target, **arguments},
                surrogate_beta=self.surrogate_beta,
                seed=derived_seed(seed, _ATTRIBUTION_STREAM),
            )
            explanation.aim(self.objective, reference, lambda n: resolved_count("k", k, n))
        return explanation

    def _check_inputs(self, inputs: tuple[Tensor, ...]) -> None:
        floating = [t.detach() for t in inputs if t.is_floating_point()]
        if len({t.dtype for t in floating}) != 1:
            raise InvalidInputError(
                f"Expected `inputs` with floating point tensors of one precision, got {[str(t.dtype) for t in inputs]}."
            )
        check_within(floating, self.lower_bound, self.upper_bound)


def checked_seed(seed: int | None) -> int:
    """The seed, or a fresh one for ``None``."""
    return fresh_seed() if seed is None else checked_integer("seed", seed, below=2**64)
