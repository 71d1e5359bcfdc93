"""Calls a perturbation function or an attack with the arguments that it names."""

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import captum.robust
from torch import Tensor

from captum_certified._captum import as_tuple
from captum_certified.exceptions import InvalidInputError
from captum_certified.metrics.pairs import Maps

__all__ = ["Perturbation", "names_keyword"]

_POSITIONAL = (
    inspect.Parameter.POSITIONAL_ONLY,
    inspect.Parameter.POSITIONAL_OR_KEYWORD,
    inspect.Parameter.VAR_POSITIONAL,
)
_BY_NAME = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
_EXPLAINED = ("target", "additional_forward_args")
_OF_ATTACKS = frozenset({*_EXPLAINED, "seed", "show_progress"})  # given to them by themselves, or their own


class Perturbation:
    """A function of inputs, and what it takes besides them.

    Args:
        function: Called with the inputs; with ``radius`` if a second positional parameter is left for it; and by
            keyword with those of ``target``, ``additional_forward_args`` and ``seed`` that it names. What a
            ``functools.partial`` holds is left as it is.
        radius: Size of the perturbation, in the function's own norm and in the units of the inputs.
        explained_by: The explanation that is measured. An attack on the same method gets all of its arguments, as
            ``attribution_kwargs``.
        k: Size of the top set that is measured, for such an attack; ``None`` if another similarity is.
    """

    def __init__(
        self, function: Callable[..., Any], *, radius: float, explained_by: object = None, k: float | None = None
    ) -> None:
        function = _by_method(function)
        self.function = function
        passed_by_name = {*_EXPLAINED, "seed"}
        second = [p for p in _free_parameters(function) if p.kind in _POSITIONAL][1:2]
        self.sizes = tuple(radius for parameter in second if parameter.name not in passed_by_name)
        self.explained = tuple(name for name in _EXPLAINED if names_keyword(function, name))
        self.takes_seed = names_keyword(function, "seed")
        attacked = _attacked(function)
        attacks_it = attacked is not None and attacked is getattr(_unbound(explained_by), "__self__", None)
        self.held = explained_by.keywords if isinstance(explained_by, functools.partial) else {}
        self.takes_rest = attacks_it and names_keyword(function, "attribution_kwargs")
        self.k = {"k": k} if attacks_it and k is not None and names_keyword(function, "k") else {}

    def __call__(
        self, inputs: tuple[Tensor, ...], *, is_tuple: bool, arguments: Mapping[str, Any], seed: int | None
    ) -> Maps:
        """Perturbed inputs.

        Args:
            inputs: Tensors of shape (rows, …), which the function may change in place.
            is_tuple: Whether the caller gave a tuple.
            arguments: Keyword arguments of the explanation for these rows.
            seed: Seed of this call, if there is one.

        Returns:
            Structured like the caller's inputs, without gradient.

        Raises:
            InvalidInputError: The function returned something else.
        """
        shapes = [tuple(x.shape) for x in inputs]
        keywords: dict[str, Any] = {name: arguments[name] for name in self.explained if name in arguments}
        keywords |= self.k
        rest = {name: value for name, value in {**self.held, **arguments}.items() if name not in _OF_ATTACKS}
        if self.takes_rest and rest:
            keywords["attribution_kwargs"] = rest
        if self.takes_seed and seed is not None:
            keywords["seed"] = seed
        returned = as_tuple(self.function(inputs if is_tuple else inputs[0], *self.sizes, **keywords))
        found = [tuple(x.shape) if isinstance(x, Tensor) else type(x).__name__ for x in returned]
        if found != shapes:
            raise InvalidInputError(f"Expected `perturb_func` to return tensors of shapes {shapes}, got {found}.")
        perturbed = tuple(x.detach() for x in returned)
        return perturbed if is_tuple else perturbed[0]


def _by_method(function: Callable[..., Any]) -> Callable[..., Any]:
    """An attack of Captum's kind by its method: calling the object hides what it takes."""
    if isinstance(function, functools.partial) and isinstance(function.func, captum.robust.Perturbation):
        return functools.partial(function.func.perturb, *function.args, **function.keywords)
    return function.perturb if isinstance(function, captum.robust.Perturbation) else function


def _attacked(function: Callable[..., Any]) -> object:
    """The method whose explanations an attack of this package changes."""
    space = getattr(getattr(_unbound(function), "__self__", None), "space", None)
    return getattr(space, "attribution_method", None)


def _unbound(function: object) -> object:
    return function.func if isinstance(function, functools.partial) else function


def names_keyword(function: Callable[..., Any], name: str) -> bool:
    """Whether a function has a parameter of this name that can be given by keyword and is not yet bound."""
    return any(p.name == name and p.kind in _BY_NAME for p in _free_parameters(function))


def _free_parameters(function: Callable[..., Any]) -> list[inspect.Parameter]:
    """The parameters of a function, none for built-in ones that do not tell."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return []
    bound = function.keywords if isinstance(function, functools.partial) else {}
    return [p for p in parameters if p.name not in bound]
