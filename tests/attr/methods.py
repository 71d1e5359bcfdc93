"""The gradient methods of Captum on one tensor, as tables."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from captum.attr import (
    LRP,
    Attribution,
    Deconvolution,
    DeepLift,
    DeepLiftShap,
    GuidedBackprop,
    GuidedGradCam,
    InputXGradient,
    IntegratedGradients,
    Saliency,
)
from torch import Tensor, nn


class Method(NamedTuple):
    """A way to make a Captum method for a convolutional model, and further arguments of its ``attribute``."""

    make: Callable[[nn.Module], Attribution]
    arguments: Callable[[Tensor], dict[str, Any]] = lambda inputs: {}
    forwards_for_argmax: int = 1


def plain(method: Attribution, inputs: Tensor, **arguments: Any) -> Tensor:
    """Return the attributions of Captum itself for inputs that do not require a gradient yet."""
    return method.attribute(inputs.detach().clone().requires_grad_(), **arguments).detach()


METHODS = {
    "Saliency": Method(Saliency, forwards_for_argmax=0),
    "Saliency with signs": Method(Saliency, lambda x: {"abs": False}, forwards_for_argmax=0),
    "InputXGradient": Method(InputXGradient, forwards_for_argmax=0),
    "GuidedBackprop": Method(GuidedBackprop, forwards_for_argmax=0),
    "Deconvolution": Method(Deconvolution, forwards_for_argmax=0),
    "IntegratedGradients": Method(IntegratedGradients, lambda x: {"n_steps": 6}),
    "IntegratedGradients in steps": Method(IntegratedGradients, lambda x: {"n_steps": 6, "internal_batch_size": 64}),
    "IntegratedGradients, local": Method(lambda m: IntegratedGradients(m, multiply_by_inputs=False)),
    "IntegratedGradients from a number": Method(IntegratedGradients, lambda x: {"n_steps": 5, "baselines": 0.5}),
    "IntegratedGradients from one image": Method(
        IntegratedGradients, lambda x: {"n_steps": 5, "baselines": torch.full_like(x[:1], 0.3)}
    ),
    "IntegratedGradients from an image each": Method(
        IntegratedGradients, lambda x: {"n_steps": 5, "baselines": 0.5 * x.flip(0)}
    ),
    "DeepLift": Method(DeepLift),
    "DeepLift from an image each": Method(DeepLift, lambda x: {"baselines": 0.5 * x.flip(0)}),
    "DeepLiftShap": Method(
        DeepLiftShap, lambda x: {"baselines": torch.linspace(0, 1, 5, dtype=x.dtype).reshape(5, 1, 1, 1) * x[:1]}
    ),
    "GuidedGradCam": Method(lambda m: GuidedGradCam(m, m[3])),
    "LRP": Method(LRP),
}
