"""Explains inputs and perturbed copies of them, with randomness that leaves no trace, and compares the maps."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from captum_certified._captum import as_tuple
from captum_certified.attr.row_arguments import expanded_arguments, has_reference_distribution
from captum_certified.checks import checked_columns
from captum_certified.exceptions import InvalidInputError
from captum_certified.metrics.comparison import Comparison
from captum_certified.metrics.pairs import Maps, paired_rows
from captum_certified.metrics.perturb_func import Perturbation, names_keyword
from captum_certified.randomness import IsolatedRandomness, derived_seed

__all__ = ["Experiment"]

_PLAIN = "explanation_func(inputs)"
_PERTURBED = "explanation_func(perturbed inputs)"


class Experiment:
    """One explanation under one kind of perturbation.

    Args:
        explanation_func: Returns maps for inputs and arguments.
        perturbation: Makes perturbed inputs.
        comparison: Says how similar two maps are.
        inputs: Tensors of shape (N, …).
        is_tuple: Whether the caller gave a tuple.
        arguments: Keyword arguments of ``explanation_func`` for the N examples.
        seed: Seed of the experiment, or ``None`` to leave the generators alone.
    """

    def __init__(
        self,
        explanation_func: Callable[..., Maps],
        perturbation: Perturbation,
        comparison: Comparison,
        *,
        inputs: tuple[Tensor, ...],
        is_tuple: bool,
        arguments: Mapping[str, Any],
        seed: int | None,
    ) -> None:
        self.explanation_func = explanation_func
        self.perturbation = perturbation
        self.comparison = comparison
        self.inputs = inputs
        self.is_tuple = is_tuple
        self.arguments = arguments
        self.seed = seed
        self.randomness = IsolatedRandomness(inputs[0].device)
        explained = getattr(explanation_func, "__self__", None)
        self.has_distribution = has_reference_distribution(explained, arguments)
        self.takes_seed = names_keyword(explanation_func, "seed")

    def worst(self, samples: int, *, at_once: int) -> Tensor:
        """The worst value over all samples, ``at_once`` of them in a call; shape (N,)."""
        maps = self._explained(self._copies(1), self.arguments, call=0)
        self._check(maps)
        values = [
            # Two calls for every batch of samples, numbered by its first sample.
            self._compared(maps, min(at_once, samples - first), call=1 + 2 * first)
            for first in range(0, samples, at_once)
        ]
        return self.comparison.worst(torch.cat(values, dim=1))

    def _compared(self, maps: Maps, copies: int, *, call: int) -> Tensor:
        """Values of shape (N, copies)."""
        arguments = expanded_arguments(self.arguments, self.inputs, copies, distribution=self.has_distribution)
        with self._seeded(call) as seed:
            perturbed = self.perturbation(self._copies(copies), is_tuple=self.is_tuple, arguments=arguments, seed=seed)
        others = self._explained(tuple(x.clone() for x in as_tuple(perturbed)), arguments, call=call + 1)
        ours = tuple(m.repeat_interleave(copies, dim=0) for m in as_tuple(maps))
        paired_rows(ours, others, names=(_PLAIN, _PERTURBED))
        theirs = ours if isinstance(maps, tuple) else ours[0]
        values = self.comparison(theirs, others, self._copies(copies), perturbed)
        return values.reshape(-1, copies)

    def _explained(self, inputs: tuple[Tensor, ...], arguments: Mapping[str, Any], *, call: int) -> Maps:
        with self._seeded(call) as seed:
            given = {"seed": seed} if self.takes_seed and seed is not None else {}
            returned = self.explanation_func(inputs if self.is_tuple else inputs[0], **arguments, **given)
        return _detached(returned)

    def _check(self, maps: Maps) -> None:
        table, _ = checked_columns(_PLAIN, maps, torch.float64)
        rows = len(self.inputs[0])
        if len(table) != rows:
            raise InvalidInputError(
                f"Expected `{_PLAIN}` whose first dimension is the batch of {rows} rows, got {len(table)}."
            )
        self.comparison.check(maps)

    def _copies(self, copies: int) -> tuple[Tensor, ...]:
        """Every example repeated, in tensors of their own: functions may change them in place."""
        return tuple(x.detach().clone().repeat_interleave(copies, dim=0) for x in self.inputs)

    @contextmanager
    def _seeded(self, call: int) -> Iterator[int | None]:
        """The seed of a numbered call, to which the global generators are set for its length."""
        if self.seed is None:
            yield None
            return
        seed = derived_seed(self.seed, call)
        with self.randomness(seed):
            yield seed


def _detached(maps: Any) -> Maps:
    """Maps without gradient; whatever is no tensor is refused later, where it is checked."""
    if isinstance(maps, tuple):
        return tuple(_detached(m) for m in maps)  # type: ignore[misc]
    return maps.detach() if isinstance(maps, Tensor) else maps
