"""The target "argmax": the class with the largest output at each noisy input."""

import copy
from collections.abc import Callable
from typing import Any

import torch
from captum.attr import Attribution, Deconvolution, GradientAttribution, GuidedBackprop, InputXGradient, Saliency
from torch import Tensor

from captum_certified._captum import Target
from captum_certified.exceptions import InvalidInputError

__all__ = ["is_argmax", "is_single_gradient", "largest_class", "with_largest_output"]

# Methods that compute one gradient of one output. For them, the largest output can be selected without another forward
# pass.
_SINGLE_GRADIENT = (Saliency, InputXGradient, GuidedBackprop, Deconvolution)


def is_argmax(target: Target) -> bool:
    """Return whether a target is "argmax"; raise an InvalidInputError for any other text."""
    if isinstance(target, str) and target != "argmax":
        raise InvalidInputError(f"Expected `target` to be a Captum target or 'argmax', got {target!r}.")
    return isinstance(target, str)


def is_single_gradient(method: Attribution) -> bool:
    """Return whether a method computes one gradient of one output, as :func:`with_largest_output` requires."""
    return type(method) in _SINGLE_GRADIENT


def largest_class(outputs: object) -> Tensor:
    """Return the class with the largest output in each row, or raise an InvalidInputError if there are no classes."""
    if not isinstance(outputs, Tensor) or outputs.dim() != 2:
        shape = tuple(outputs.shape) if isinstance(outputs, Tensor) else type(outputs).__name__
        raise InvalidInputError(f"Expected a model output of shape (N, classes) for `target`='argmax', got {shape}.")
    return outputs.argmax(dim=1)


def with_largest_output(method: GradientAttribution) -> GradientAttribution:
    """Return a copy of a single-gradient method that differentiates the largest output of each row."""
    chosen = copy.copy(method)
    gradient_of = method.gradient_func

    def gradient_of_largest_output(
        forward_fn: Callable[..., Tensor],
        inputs: Tensor | tuple[Tensor, ...],
        target_ind: Any = None,
        additional_forward_args: object = None,
    ) -> tuple[Tensor, ...]:
        def largest_output(*arguments: object) -> Tensor:
            outputs = forward_fn(*arguments)
            return torch.gather(outputs, 1, largest_class(outputs).unsqueeze(1)).squeeze(1)

        return gradient_of(largest_output, inputs, target_ind, additional_forward_args)

    chosen.gradient_func = gradient_of_largest_output
    return chosen
