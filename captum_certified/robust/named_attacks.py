"""The attacks by name, for functions and commands that let their user choose one."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from captum.attr import Attribution
from torch import Tensor

from captum_certified.exceptions import InvalidInputError
from captum_certified.robust.black_box_attack import BlackBoxAttack
from captum_certified.robust.fast_gradient_attack import FastGradientAttack
from captum_certified.robust.ghorbani_attack import GhorbaniAttack
from captum_certified.robust.interpretation_attack import InterpretationAttack
from captum_certified.robust.result import AttackResult
from captum_certified.robust.surrogate import AUTO, SurrogateBeta

__all__ = ["ATTACK_NAMES", "NamedAttack"]

# The classes of these names, in this order, are InterpretationAttack, GhorbaniAttack, and so on.
ATTACK_NAMES = ("interpretation", "ghorbani", "fast_gradient", "black_box")


@dataclass(frozen=True, kw_only=True)
class NamedAttack:
    """An attack in the L2 norm, and how long it searches.

    Args:
        name: One of :data:`ATTACK_NAMES`.
        step_num: Number of steps from each start; of ``"interpretation"`` and ``"ghorbani"``.
        n_restarts: Number of starts; of ``"interpretation"``.
        n_queries: Number of queries for each example; of ``"black_box"``.

    Raises:
        InvalidInputError: There is no attack of this name.
    """

    name: str
    step_num: int
    n_restarts: int
    n_queries: int

    def __post_init__(self) -> None:
        if self.name not in ATTACK_NAMES:
            raise InvalidInputError(f"Expected `attack` to be one of {sorted(ATTACK_NAMES)}, got {self.name!r}.")

    def on(
        self,
        forward_func: Callable[..., Tensor],
        attribution_method: Attribution,
        *,
        objective: str = "top_k",
        lower_bound: float = float("-inf"),
        upper_bound: float = float("inf"),
        surrogate_beta: SurrogateBeta = AUTO,
    ) -> Callable[..., AttackResult]:
        """Return the method ``attack`` of this attack on an explanation, with the length of the search filled in.

        Raises:
            InvalidInputError: The map cannot be differentiated and the attack takes gradients.
        """
        if self.name == "black_box":
            without_gradients = BlackBoxAttack(
                forward_func,
                attribution_method,
                objective=objective,
                lower_bound=lower_bound,
                upper_bound=upper_bound,
            )
            return partial(without_gradients.attack, n_queries=self.n_queries)
        classes = {"interpretation": InterpretationAttack, "ghorbani": GhorbaniAttack}
        attack = classes.get(self.name, FastGradientAttack)(
            forward_func,
            attribution_method,
            objective=objective,
            norm="L2",
            lower_bound=lower_bound,
            upper_bound=upper_bound,
            surrogate_beta=surrogate_beta,
        )
        lengths = {
            "interpretation": {"step_num": self.step_num, "n_restarts": self.n_restarts},
            "ghorbani": {"step_num": self.step_num},
        }
        return partial(attack.attack, **lengths.get(self.name, {}))
