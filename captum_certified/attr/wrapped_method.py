"""Calls the wrapped Captum method on noisy inputs: arguments expanded, targets chosen, no trace left."""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
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

from captum_certified._captum import MethodArguments, as_tuple, run_forward
from captum_certified.attr.fingerprint import BEHAVIOUR_SEED
from captum_certified.attr.memory import is_out_of_memory, joined, rows_of_draws
from captum_certified.attr.reachable import wrapped_chain
from captum_certified.attr.refusals import check_outputs, shapes_in_errors
from captum_certified.attr.request import SamplingRequest
from captum_certified.attr.row_arguments import expanded_arguments, has_reference_distribution, has_rows
from captum_certified.exceptions import CertificationError, InvalidInputError
from captum_certified.maps import same_behaviour
from captum_certified.randomness import IsolatedRandomness, derived_seed
from captum_certified.sampling import Attributions

__all__ = ["ARGMAX", "WrappedMethod"]

ARGMAX = "argmax"

# Methods that are one gradient of one output: the largest output can be selected in the same forward pass.
_ONE_GRADIENT = (Saliency, InputXGradient, GuidedBackprop, Deconvolution)


class WrappedMethod:
    """A Captum method with the arguments of one call.

    Args:
        method: The wrapped method.
        request: The call, whose arguments are for its N examples.
        keep_graph: Whether the attributions keep the graph that the method gives them.
    """

    def __init__(self, method: Attribution, request: SamplingRequest, *, keep_graph: bool = False) -> None:
        self.inputs = request.inputs
        self.is_tuple = request.is_tuple
        self.arguments = dict(request.arguments)
        self.seed = request.plan.seed
        self.draw_baseline_from_distrib = request.draw_baseline_from_distrib
        self.keep_graph = keep_graph
        self.deltas: list[Tensor] = []
        self.has_succeeded = False
        self.randomness = IsolatedRandomness(self.inputs[0].device)
        self.chooses_class = _is_argmax(self.arguments.get("target"))
        self.returns_delta = bool(self.arguments.get("return_convergence_delta"))
        self.method = method
        if self.chooses_class:
            del self.arguments["target"]
            if type(method) in _ONE_GRADIENT:
                self.method = _with_largest_output(method)
        self.has_distribution = has_reference_distribution(method, self.arguments)
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
        seed = derived_seed(self.seed, draws.start)
        with nullcontext() if self.has_succeeded else self._explained_errors(noisy):
            outputs = self._attribute(noisy, len(draws), seed)
        self.has_succeeded = True
        _check_batch_first(outputs.maps, len(self.inputs[0]) * len(draws))
        return outputs

    @contextmanager
    def _explained_errors(self, inputs: tuple[Tensor, ...]) -> Iterator[None]:
        """Raise clearer errors for a model that cannot be explained at all, or not in passes of several draws."""
        more = len(inputs[0]) > len(self.inputs[0])
        hint = ". If its batch size is fixed, set `nt_samples_batch_size`=1." if more else ""
        try:
            with shapes_in_errors(inputs, hint=hint):
                yield
        except (CertificationError, AttributeError, TypeError, KeyError) as error:
            if is_out_of_memory(error):
                raise
            self._check_outputs(inputs)
            raise

    def _check_outputs(self, inputs: tuple[Tensor, ...]) -> None:
        """Raise a clearer error if the model does not return a tensor."""
        draws = len(inputs[0]) // len(self.inputs[0])
        try:
            with torch.no_grad(), IsolatedRandomness(inputs[0].device)(self.seed):
                arguments = expanded_arguments(self.arguments, self.inputs, draws, distribution=self.has_distribution)
                outputs = run_forward(self.method.forward_func, inputs, arguments)
        except Exception:  # noqa: BLE001  what was raised first is told
            return
        check_outputs(outputs)

    def clean(self) -> Attributions:
        """Attributions of the clean inputs.

        Raises:
            CertificationError: The model does not take them.
        """
        return self.under_fixed_seed(tuple(x.detach().clone() for x in self.inputs))

    def under_fixed_seed(self, inputs: tuple[Tensor, ...]) -> Attributions:
        """Attributions of N inputs, with the same random numbers in every run."""
        with self._explained_errors(inputs):
            outputs = self._attribute(inputs, 1, BEHAVIOUR_SEED)
        _check_batch_first(outputs.maps, len(self.inputs[0]))
        return outputs

    def check_copies(self, inputs: tuple[Tensor, ...], once: Attributions) -> bool:
        """Whether two copies of every input in one call have the maps that one has.

        They have others if the number of rows in a call matters, or if an argument is no row of an example although its
        first dimension is their number.

        Args:
            inputs: N inputs, clean or noisy.
            once: Their attributions, in a call of N rows.
        """
        twice = tuple(x.detach().repeat_interleave(2, dim=0) for x in inputs)
        try:
            with self._explained_errors(twice):
                outputs = self._attribute(twice, 2, BEHAVIOUR_SEED)
        except CertificationError:
            if self.repeats_arguments():
                return False
            raise
        return all(
            same_behaviour(*(m.reshape(len(two), -1).abs() for m in (one.repeat_interleave(2, dim=0), two)))
            for one, two in zip(once.maps, outputs.maps, strict=True)
        )

    def repeats_arguments(self) -> bool:
        """Whether an argument has a row for each example, as far as its shape says."""
        given = {n: v for n, v in self.arguments.items() if not (n == "baselines" and self.has_distribution)}
        return has_rows(given, len(self.inputs[0]))

    def rows_in_a_call(self, draws: range) -> int:
        """How many rows share a call of the method in a pass of some draws."""
        return len(self.inputs[0]) * (1 if self.randomness.used else len(draws))

    def _attribute(self, inputs: tuple[Tensor, ...], draws: int, seed: int) -> Attributions:
        if self.sets_gradients:
            for tensor in inputs:
                if tensor.is_floating_point():
                    tensor.requires_grad_()
        # Copied where a model can change them in place: whoever tries again needs them as they were.
        inputs = tuple(tensor if tensor.requires_grad else tensor.clone() for tensor in inputs)
        with self.randomness(seed):
            arguments = expanded_arguments(
                self.arguments,
                self.inputs,
                draws,
                distribution=self.has_distribution,
                draw_baseline_from_distrib=self.draw_baseline_from_distrib,
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

    def _largest_outputs(self, inputs: tuple[Tensor, ...], arguments: MethodArguments) -> Tensor:
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
