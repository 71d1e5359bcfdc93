"""Calls of the wrapped Captum method on noisy inputs, with arguments repeated for every draw."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch
from captum.attr import Attribution, GradientAttribution
from torch import Tensor

from captum_certified._captum import run_forward
from captum_certified.attr.captum_methods import wrapped_chain
from captum_certified.attr.fingerprint import BEHAVIOUR_SEED
from captum_certified.attr.largest_output import is_argmax, is_single_gradient, largest_class, with_largest_output
from captum_certified.attr.memory import is_out_of_memory, joined, rows_of_draws
from captum_certified.attr.refusals import check_outputs, shapes_in_errors
from captum_certified.attr.request import SamplingRequest, Sign
from captum_certified.attr.row_arguments import expanded_arguments, has_reference_distribution, has_rows
from captum_certified.exceptions import CertificationError, InvalidInputError
from captum_certified.maps import same_behaviour
from captum_certified.randomness import IsolatedRandomness, derived_seed
from captum_certified.sampling import Attributions

__all__ = ["WrappedMethod"]


class WrappedMethod:
    """A Captum method with the arguments of one sampling call.

    Args:
        method: The wrapped method.
        request: The sampling call, with arguments for N examples.
        keep_graph: Whether gradients can flow through the attributions.

    Attributes:
        randomness: Isolates the global random generators, and shows whether the method drew from them.
        deltas: Convergence deltas of every call of the method, shape (N, draws), if the request asks for them.
    """

    def __init__(self, method: Attribution, request: SamplingRequest, *, keep_graph: bool = False) -> None:
        self.inputs = request.inputs
        self.is_tuple = request.is_tuple
        self.arguments = dict(request.arguments)
        self.seed = request.plan.seed
        self.draw_baseline_from_distrib = request.draw_baseline_from_distrib
        self.keep_graph = keep_graph
        self.sign = request.sign
        self.deltas: list[Tensor] = []
        self.has_succeeded = False
        self.randomness = IsolatedRandomness(self.inputs[0].device)
        self.takes_largest_output = is_argmax(self.arguments.get("target"))
        self.returns_delta = bool(self.arguments.get("return_convergence_delta"))
        self.method = method
        if self.takes_largest_output:
            del self.arguments["target"]
            if isinstance(method, GradientAttribution) and is_single_gradient(method):
                self.method = with_largest_output(method)
        self.has_distribution = has_reference_distribution(method, self.arguments)
        self.sets_gradients = any(isinstance(inner, GradientAttribution) for inner in wrapped_chain(method))

    def __call__(self, noisy: tuple[Tensor, ...], draws: range) -> Attributions:
        """Attribute N · len(draws) noisy inputs, with all draws of example 0 first."""
        if not self.randomness.used:
            deltas_before = len(self.deltas)
            outputs = self._attribute_draws(noisy, draws)
            if not self.randomness.used or len(draws) == 1:
                return outputs
            del self.deltas[deltas_before:]
        # A method may use one random number for all rows of a call. Draws must be independent, so each draw gets a call
        # of its own.
        single_draws = (range(draw, draw + 1) for draw in draws)
        parts = [self._attribute_draws(rows_of_draws(noisy, draws, one), one) for one in single_draws]
        return joined(parts, rows=len(self.inputs[0]))

    def _attribute_draws(self, noisy: tuple[Tensor, ...], draws: range) -> Attributions:
        seed = derived_seed(self.seed, draws.start)
        with nullcontext() if self.has_succeeded else self._explained_errors(noisy):
            outputs = self._attribute(noisy, len(draws), seed)
        self.has_succeeded = True
        _check_batch_first(outputs.maps, len(self.inputs[0]) * len(draws))
        return outputs

    @contextmanager
    def _explained_errors(self, inputs: tuple[Tensor, ...]) -> Iterator[None]:
        """Replace errors of the model by clearer errors. If a pass has several draws, add a hint."""
        several_draws = len(inputs[0]) > len(self.inputs[0])
        hint = ". If its batch size is fixed, set `nt_samples_batch_size`=1." if several_draws else ""
        try:
            with shapes_in_errors(inputs, hint=hint):
                yield
        except (CertificationError, AttributeError, TypeError, KeyError) as error:
            if is_out_of_memory(error):
                raise
            self._check_outputs(inputs)
            raise

    def _check_outputs(self, inputs: tuple[Tensor, ...]) -> None:
        """Raise a CertificationError if the model does not return a tensor."""
        draws = len(inputs[0]) // len(self.inputs[0])
        try:
            with torch.no_grad(), IsolatedRandomness(inputs[0].device)(self.seed):
                arguments = expanded_arguments(self.arguments, self.inputs, draws, distribution=self.has_distribution)
                outputs = run_forward(self.method.forward_func, inputs, arguments)
        except Exception:  # noqa: BLE001  the caller raises its own error
            return
        check_outputs(outputs)

    def clean(self) -> Attributions:
        """Attribute the clean inputs."""
        return self.under_fixed_seed(tuple(x.detach().clone() for x in self.inputs))

    def under_fixed_seed(self, inputs: tuple[Tensor, ...]) -> Attributions:
        """Attribute N inputs under a seed that is the same in every run."""
        with self._explained_errors(inputs):
            outputs = self._attribute(inputs, 1, BEHAVIOUR_SEED)
        _check_batch_first(outputs.maps, len(self.inputs[0]))
        return outputs

    def duplicates_agree(self, inputs: tuple[Tensor, ...], attributions: Attributions) -> bool:
        """Return whether a call with every input twice gives the same maps as a call with every input once.

        The maps differ if the number of rows in a call changes the result, or if an argument was repeated although it
        has no entry for each example.
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
            for one, two in zip(attributions.maps, outputs.maps, strict=True)
        )

    def repeats_arguments(self) -> bool:
        """Return whether an argument is repeated for every draw, because its first dimension is N."""
        given = {n: v for n, v in self.arguments.items() if not (n == "baselines" and self.has_distribution)}
        return has_rows(given, len(self.inputs[0]))

    def rows_in_a_call(self, draws: range) -> int:
        """Return how many rows one call of the method has in a pass of the given draws."""
        return len(self.inputs[0]) * (1 if self.randomness.used else len(draws))

    def _attribute(self, inputs: tuple[Tensor, ...], draws: int, seed: int) -> Attributions:
        if self.sets_gradients:
            for tensor in inputs:
                if tensor.is_floating_point():
                    tensor.requires_grad_()
        # Inputs that a model could change in place are cloned, because the call may be repeated.
        inputs = tuple(tensor if tensor.requires_grad else tensor.clone() for tensor in inputs)
        with self.randomness(seed):
            arguments = expanded_arguments(
                self.arguments,
                self.inputs,
                draws,
                distribution=self.has_distribution,
                draw_baseline_from_distrib=self.draw_baseline_from_distrib,
            )
            if self.takes_largest_output and not is_single_gradient(self.method):
                with torch.no_grad():
                    arguments["target"] = largest_class(run_forward(self.method.forward_func, inputs, arguments))
            returned = self.method.attribute(inputs if self.is_tuple else inputs[0], **arguments)
        if self.returns_delta:
            returned, delta = returned
            self.deltas.append(delta.detach().reshape(len(self.inputs[0]), -1))
        maps = _signed(_checked_maps(returned), self.sign)
        if not self.keep_graph:
            maps = tuple(m.detach() for m in maps)
        return Attributions(maps, isinstance(returned, tuple))


def _checked_maps(returned: object) -> tuple[Tensor, ...]:
    """Return the attributions of a method as a tuple, or raise an InvalidInputError if they are not tensors."""
    items = returned if isinstance(returned, tuple) else (returned,)
    maps = tuple(item for item in items if isinstance(item, Tensor))
    if not maps or len(maps) < len(items):
        raise InvalidInputError(
            f"Expected the wrapped method to return a tensor or a tuple of tensors, got {type(returned).__name__}."
        )
    return maps


def _signed(maps: tuple[Tensor, ...], sign: Sign) -> tuple[Tensor, ...]:
    """Keep the attributions of one sign, and set the others to zero."""
    if sign == "both":
        return maps
    return tuple((m if sign == "positive" else -m).clamp_min(0) for m in maps)


def _check_batch_first(maps: tuple[Tensor, ...], rows: int) -> None:
    for m in maps:
        if m.dim() == 0 or len(m) != rows:
            raise InvalidInputError(
                f"Expected attributions whose first dimension is the batch of {rows} rows, got shape {tuple(m.shape)}."
            )
