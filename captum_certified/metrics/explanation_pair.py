"""Compare the explanations of inputs with the explanations of perturbed copies, with reproducible randomness."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from captum_certified._captum import MethodArguments, as_tuple
from captum_certified.attr.row_arguments import expanded_arguments, has_reference_distribution
from captum_certified.checks import checked_columns
from captum_certified.exceptions import InvalidInputError
from captum_certified.metrics.comparison import Comparison
from captum_certified.metrics.pairs import Maps, paired_rows
from captum_certified.metrics.perturb_func import PerturbFunc, names_keyword
from captum_certified.randomness import IsolatedRandomness, derived_seed

__all__ = ["ExplanationPair"]

_PLAIN = "explanation_func(inputs)"
_PERTURBED = "explanation_func(perturbed inputs)"


class ExplanationPair:
    """Comparison of the explanations of inputs with the explanations of perturbed copies of the inputs.

    Args:
        explanation_func: Returns maps, given inputs and keyword arguments.
        perturb_func: Perturbs inputs.
        comparison: Measures the similarity of two maps.
        inputs: Tensors of shape (N, …).
        is_tuple: Whether the caller gave a tuple.
        arguments: Keyword arguments of ``explanation_func`` for the N examples.
        seed: Seed from which the seeds of all calls are derived; ``None`` sets no seeds.
    """

    def __init__(
        self,
        explanation_func: Callable[..., Maps],
        perturb_func: PerturbFunc,
        comparison: Comparison,
        *,
        inputs: tuple[Tensor, ...],
        is_tuple: bool,
        arguments: MethodArguments,
        seed: int | None,
    ) -> None:
        self.explanation_func = explanation_func
        self.perturb_func = perturb_func
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
        """Return the worst value over ``samples`` perturbed copies, shape (N,), with ``at_once`` copies in a call."""
        maps = self._explain(self._copies(1), self.arguments, call=0)
        self._check(maps)
        values = [
            # Each batch of copies needs two seeds. Their numbers are computed from the number of the first copy in the
            # batch.
            self._compare(maps, min(at_once, samples - first), call=1 + 2 * first)
            for first in range(0, samples, at_once)
        ]
        return self.comparison.worst(torch.cat(values, dim=1))

    def _compare(self, maps: Maps, copies: int, *, call: int) -> Tensor:
        """Compare the maps with the maps of perturbed copies, and return values of shape (N, copies)."""
        arguments = expanded_arguments(self.arguments, self.inputs, copies, distribution=self.has_distribution)
        with self._seeded(call) as seed:
            perturbed = self.perturb_func(self._copies(copies), is_tuple=self.is_tuple, arguments=arguments, seed=seed)
        others = self._explain(tuple(x.clone() for x in as_tuple(perturbed)), arguments, call=call + 1)
        repeated = tuple(m.repeat_interleave(copies, dim=0) for m in as_tuple(maps))
        paired_rows(repeated, others, names=(_PLAIN, _PERTURBED))
        clean = repeated if isinstance(maps, tuple) else repeated[0]
        values = self.comparison(clean, others, self._copies(copies), perturbed)
        return values.reshape(-1, copies)

    def _explain(self, inputs: tuple[Tensor, ...], arguments: MethodArguments, *, call: int) -> Maps:
        with self._seeded(call) as seed:
            given = {"seed": seed} if self.takes_seed and seed is not None else {}
            returned = self.explanation_func(inputs if self.is_tuple else inputs[0], **arguments, **given)
        return tuple(map(_detached, returned)) if isinstance(returned, tuple) else _detached(returned)

    def _check(self, maps: Maps) -> None:
        table, _ = checked_columns(_PLAIN, maps, torch.float64)
        rows = len(self.inputs[0])
        if len(table) != rows:
            raise InvalidInputError(
                f"Expected `{_PLAIN}` whose first dimension is the batch of {rows} rows, got {len(table)}."
            )
        self.comparison.check(maps)

    def _copies(self, copies: int) -> tuple[Tensor, ...]:
        """Repeat every example. The tensors are new, so the functions may change them in place."""
        return tuple(x.detach().clone().repeat_interleave(copies, dim=0) for x in self.inputs)

    @contextmanager
    def _seeded(self, call: int) -> Iterator[int | None]:
        """Within the block, seed the global random generators for the call of this number, and yield the seed."""
        if self.seed is None:
            yield None
            return
        seed = derived_seed(self.seed, call)
        with self.randomness(seed):
            yield seed


def _detached(one: Tensor) -> Tensor:
    """Detach a map. A value that is not a tensor is returned as it is, and is refused when the maps are checked."""
    return one.detach() if isinstance(one, Tensor) else one
