"""Call a perturbation function or an attack with the arguments that its signature names."""

import functools
import inspect
from collections.abc import Callable
from typing import Any

import captum.robust
from torch import Tensor

from captum_certified._captum import MethodArguments, as_tuple
from captum_certified.exceptions import InvalidInputError
from captum_certified.metrics.pairs import Maps

__all__ = ["PerturbFunc", "names_keyword"]

_POSITIONAL = (
    inspect.Parameter.POSITIONAL_ONLY,
    inspect.Parameter.POSITIONAL_OR_KEYWORD,
    inspect.Parameter.VAR_POSITIONAL,
)
_BY_NAME = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
_EXPLAINED = ("target", "additional_forward_args")
# Attacks have parameters with these names, so these arguments are not also passed in `attribution_kwargs`.
_OF_ATTACKS = frozenset({*_EXPLAINED, "seed", "show_progress"})


class PerturbFunc:
    """A perturbation function that is called only with the arguments that it takes.

    Args:
        function: Returns perturbed inputs, given inputs. If it has a second positional parameter that is not bound, it
            also gets ``radius``. If it has parameters of the names ``target``, ``additional_forward_args`` and
            ``seed``, it also gets these by keyword. Arguments that are bound by a ``functools.partial`` are not
            replaced.
        radius: Radius of the perturbation, in the norm of the function and in the units of the inputs.
        explained_by: The explanation function that is measured. If ``function`` is an attack on this explanation, it
            also gets the other arguments of the explanation as ``attribution_kwargs``.
        k: Number of top features that the similarity compares. An attack on this explanation gets this number as ``k``.
            ``None`` passes no ``k``.
    """

    def __init__(
        self, function: Callable[..., Maps], *, radius: float, explained_by: Callable[..., Maps], k: float | None
    ) -> None:
        function = _perturb_method(function)
        self.function = function
        passed_by_name = {*_EXPLAINED, "seed"}
        second = [p for p in _free_parameters(function) if p.kind in _POSITIONAL][1:2]
        self.radius = tuple(radius for parameter in second if parameter.name not in passed_by_name)
        self.explained = tuple(name for name in _EXPLAINED if names_keyword(function, name))
        self.takes_seed = names_keyword(function, "seed")
        attacked = getattr(_owner(function), "attacked_method", None)
        attacks_it = attacked is not None and attacked is _owner(explained_by)
        self.bound = explained_by.keywords if isinstance(explained_by, functools.partial) else {}
        self.takes_rest = attacks_it and names_keyword(function, "attribution_kwargs")
        self.k = {"k": k} if attacks_it and k is not None and names_keyword(function, "k") else {}

    def __call__(
        self, inputs: tuple[Tensor, ...], *, is_tuple: bool, arguments: MethodArguments, seed: int | None
    ) -> Maps:
        """Return perturbed inputs.

        Args:
            inputs: Tensors of shape (rows, …), which the function may change in place.
            is_tuple: Whether the caller gave a tuple.
            arguments: Keyword arguments of the explanation for these rows.
            seed: Seed of this call, or ``None``.

        Returns:
            The perturbed inputs, structured like the caller's inputs, without gradient.

        Raises:
            InvalidInputError: The function did not return tensors of the shapes of its inputs.
        """
        shapes = [tuple(x.shape) for x in inputs]
        keywords: dict[str, Any] = {name: arguments[name] for name in self.explained if name in arguments}
        keywords |= self.k
        rest = {name: value for name, value in {**self.bound, **arguments}.items() if name not in _OF_ATTACKS}
        if self.takes_rest and rest:
            keywords["attribution_kwargs"] = rest
        if self.takes_seed and seed is not None:
            keywords["seed"] = seed
        returned = as_tuple(self.function(inputs if is_tuple else inputs[0], *self.radius, **keywords))
        found = [tuple(x.shape) if isinstance(x, Tensor) else type(x).__name__ for x in returned]
        if found != shapes:
            raise InvalidInputError(f"Expected `perturb_func` to return tensors of shapes {shapes}, got {found}.")
        perturbed = tuple(x.detach() for x in returned)
        return perturbed if is_tuple else perturbed[0]


def _perturb_method(function: Callable[..., Maps]) -> Callable[..., Maps]:
    """Replace a Captum perturbation by its method ``perturb``, whose signature names the parameters."""
    if isinstance(function, functools.partial) and isinstance(function.func, captum.robust.Perturbation):
        return functools.partial(function.func.perturb, *function.args, **function.keywords)
    return function.perturb if isinstance(function, captum.robust.Perturbation) else function


def _owner(function: Callable[..., Maps]) -> object:
    """Return the object of a method or of a ``functools.partial`` of a method; ``None`` for plain functions."""
    return getattr(function.func if isinstance(function, functools.partial) else function, "__self__", None)


def names_keyword(function: Callable[..., Maps], name: str) -> bool:
    """Return whether a function has an unbound parameter of this name that can be given by keyword."""
    return any(p.name == name and p.kind in _BY_NAME for p in _free_parameters(function))


def _free_parameters(function: Callable[..., Maps]) -> list[inspect.Parameter]:
    """Return the unbound parameters of a function. A built-in function without a signature has none."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return []
    bound = function.keywords if isinstance(function, functools.partial) else {}
    return [p for p in parameters if p.name not in bound]
