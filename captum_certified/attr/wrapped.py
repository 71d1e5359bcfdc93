"""Calls the wrapped Captum method on noisy inputs: arguments expanded, targets chosen, no trace left."""

import copy
from collections.abc import Callable, Mapping
from typing import Any

import torch
from captum.attr import (
    Attribution,
    Deconvolution,
    GradientAttribution,
    GuidedBackprop,
    InputXGradient,
    Saliency,
)
from torch import Tensor

from captum_certified._captum import as_tuple, expand_arguments, run_forward
from captum_certified.attr.isolation import IsolatedRandomness
from captum_certified.attr.parts import joined, rows_of_draws
from captum_certified.attr.rows import arguments_of_rows
from captum_certified.attr.soundness import entries_that_differ, inputs_are_taken, wrapped_chain
from captum_certified.exceptions import CertificationError, InvalidInputError
from captum_certified.smoothing import Attributions, derived_seed

__all__ = ["ARGMAX", "WrappedMethod"]

ARGMAX = "argmax"

# Methods that are one gradient of one output: the largest output can be selected in the same forward pass.
_ONE_GRADIENT = (Saliency, InputXGradient, GuidedBackprop, Deconvolution)
_CLEAN = 2**31 - 1  # number of the "draw" that stands for the clean input


class WrappedMethod:
    """A Captum method with the arguments of one call.

    Args:
        method: The wrapped method.
        inputs: Clean inputs, each of shape (N, …).
        is_tuple: Whether the caller gave a tuple.
        arguments: Keyword arguments of the method's ``attribute``, for the N examples.
        seed: Seed of the run, for methods with randomness of their own.
        draw_baseline_from_distrib: As in NoiseTunnel.
        keep_graph: Whether the attributions keep the graph that the method gives them.
    """

    def __init__(
        self,
        method: Attribution,
        inputs: tuple[Tensor, ...],
        *,
        is_tuple: bool,
        arguments: Mapping[str, Any],
        seed: int,
        draw_baseline_from_distrib: bool = False,
        keep_graph: bool = False,
    ) -> None:
        self.inputs = inputs
        self.is_tuple = is_tuple
        self.arguments = dict(arguments)
        self.seed = seed
        self.draw_baseline_from_distrib = draw_baseline_from_distrib
        self.keep_graph = keep_graph
        self.deltas: list[Tensor] = []
        self.randomness = IsolatedRandomness(inputs[0].device)
        self.chooses_class = _is_argmax(self.arguments.get("target"))
        self.returns_delta = bool(self.arguments.get("return_convergence_delta"))
        self.method = method
        if self.chooses_class:
            del self.arguments["target"]
            if type(method) in _ONE_GRADIENT:
                self.method = _with_largest_output(method)
        self.sets_gradients = any(isinstance(inner, GradientAttribution) for inner in wrapped_chain(method))

    def __call__(self, noisy: tuple[Tensor, ...], draws: range) -> Attributions:
        """Attributions of N · len(draws) noisy inputs, all draws of example 0 first."""
        if not self.randomness.used:
            known = len(self.deltas)
            outputs = self._of_draws(noisy, draws)
            if not self.randomness.used or len(draws) == 1:
                return outputs
            del self.deltas[known:]
        # Draws must be independent, and a method may draw one random number for all rows of a call.
        each = (range(draw, draw + 1) for draw in draws)
        return joined([self._of_draws(rows_of_draws(noisy, draws, one), one) for one in each], rows=len(self.inputs[0]))

    def _of_draws(self, noisy: tuple[Tensor, ...], draws: range) -> Attributions:
        outputs = self._attribute(noisy, len(draws), derived_seed(self.seed, draws.start))
        _check_batch_first(outputs.maps, len(self.inputs[0]) * len(draws))
        return outputs

    def clean(self) -> Attributions:
        """Attributions of the clean inputs.

        Raises:
            CertificationError: The model does not take them.
        """
        with inputs_are_taken(self.inputs):
            outputs = self._attribute(
                tuple(x.detach().clone() for x in self.inputs), 1, derived_seed(self.seed, _CLEAN)
            )
        _check_batch_first(outputs.maps, len(self.inputs[0]))
        return outputs

    def check_rows(self, noisy: tuple[Tensor, ...], outputs: Attributions, draws: range) -> None:
        """Refuse a method for which rows of the pass are not what they are alone.

        Raises:
            CertificationError: It is not.
        """
        if self.randomness.used or len(noisy[0]) == 1:
            return
        # A network's kinks make a rare row of a pass differ by rounding alone; a map of the batch differs in every row.
        rows = len(noisy[0])
        for row in sorted({rows - 1, 0, rows // 2}, reverse=True):
            example = row // len(draws)
            alone = self._for_example(example)
            outputs_alone = alone(tuple(x.detach()[row : row + 1].clone() for x in noisy), draws[:1])
            differing = entries_that_differ(outputs.maps, outputs_alone.maps, row)
            if not differing:
                return
        raise CertificationError(
            f"Expected attributions that depend on one input alone, got {differing} of "
            f"{sum(m[0].numel() for m in outputs.maps)} entries of a row that change when the row is attributed "
            "without the rest of its pass."
        )

    def _for_example(self, example: int) -> "WrappedMethod":
        alone = WrappedMethod(
            self.method,
            tuple(x[example : example + 1] for x in self.inputs),
            is_tuple=self.is_tuple,
            arguments=arguments_of_rows(self.arguments, len(self.inputs[0]), [example]),
            seed=self.seed,
        )
        alone.chooses_class = self.chooses_class
        return alone

    def _attribute(self, inputs: tuple[Tensor, ...], draws: int, seed: int) -> Attributions:
        if self.sets_gradients:
            for tensor in inputs:
                if tensor.is_floating_point():
                    tensor.requires_grad_()
        with self.randomness(seed):
            arguments = expand_arguments(
                self.arguments, self.inputs, draws, draw_baseline_from_distrib=self.draw_baseline_from_distrib
            )
            if self.chooses_class and type(self.method) not in _ONE_GRADIENT:
                arguments["target"] = self._largest_outputs(inputs, arguments)
            returned = self.method.attribute(inputs if self.is_tuple else inputs[0], **arguments)
        if self.returns_delta:
            returned, delta = returned
            self.deltas.append(delta.detach().reshape(len(self.inputs[0]), -1))
        maps = _checked_maps(returned)
        if not self.keep_graph:
            maps = tuple(m.detach() for m in maps)
        return Attributions(maps, isinstance(returned, tuple))

    def _largest_outputs(self, inputs: tuple[Tensor, ...], arguments: Mapping[str, Any]) -> Tensor:
        with torch.no_grad():
            outputs = run_forward(self.method.forward_func, inputs, arguments)
        return _largest_class(outputs)


def _is_argmax(target: object) -> bool:
    if isinstance(target, str) and target != ARGMAX:
        raise InvalidInputError(f"Expected `target` to be a Captum target or 'argmax', got {target!r}.")
    return isinstance(target, str)


def _largest_class(outputs: Any) -> Tensor:
    if not isinstance(outputs, Tensor) or outputs.dim() != 2:
        shape = tuple(outputs.shape) if isinstance(outputs, Tensor) else type(outputs).__name__
        raise InvalidInputError(f"Expected a model output of shape (N, classes) for `target`='argmax', got {shape}.")
    return outputs.argmax(dim=1)


def _with_largest_output(method: Attribution) -> Attribution:
    """A copy of a one-gradient method that differentiates the largest output of each row."""
    chosen: Any = copy.copy(method)
    compute = chosen.gradient_func

    def gradient_func(
        forward_fn: Callable[..., Any],
        inputs: Any,
        target_ind: Any = None,
        additional_forward_args: Any = None,
    ) -> Any:
        def largest_output(*arguments: Any) -> Tensor:
            outputs = forward_fn(*arguments)
            return torch.gather(outputs, 1, _largest_class(outputs).unsqueeze(1)).squeeze(1)

        return compute(largest_output, inputs, target_ind, additional_forward_args)

    chosen.gradient_func = gradient_func
    return chosen  # type: ignore[no-any-return]


def _checked_maps(returned: Any) -> tuple[Tensor, ...]:
    maps = as_tuple(returned)
    if not maps or not all(isinstance(m, Tensor) for m in maps):
        raise InvalidInputError(
            f"Expected the wrapped method to return a tensor or a tuple of tensors, got {type(returned).__name__}."
        )
    return maps


def _check_batch_first(maps: tuple[Tensor, ...], rows: int) -> None:
    for m in maps:
        if m.dim() == 0 or len(m) != rows:
            raise InvalidInputError(
                f"Expected attributions whose first dimension is the batch of {rows} rows, got shape {tuple(m.shape)}."
            )
