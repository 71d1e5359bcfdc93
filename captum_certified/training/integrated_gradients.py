"""Integrated gradients of the loss from an input to a perturbed input."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from captum_certified.checks import checked_integer
from captum_certified.exceptions import InvalidInputError
from captum_certified.training.loss import cross_entropies

__all__ = ["loss_integrated_gradients"]


def loss_integrated_gradients(
    model: nn.Module,
    inputs: Tensor,
    perturbed: Tensor,
    targets: Tensor,
    *,
    n_steps: int = 50,
    layer: nn.Module | None = None,
) -> Tensor:
    """Attribute the change in loss between x and x′ to the features of the input, or to the neurons of a layer.

    The attributions sum to ℓ(x′) − ℓ(x) (completeness). The integral is approximated by m trapezoids, so the sum has an
    error of order 1/m². The result has an autograd graph to the weights, and to x and x′ if these require gradients.

    Args:
        model: Returns logits of shape (N, classes).
        inputs: x, shape (N, …).
        perturbed: x′, shape (N, …).
        targets: Classes of shape (N,). The loss ℓ is their cross-entropy.
        n_steps: m, the number of trapezoids.
        layer: Module of the model that is called exactly once in a forward pass. The change is attributed to the output
            of this module. ``None`` attributes the change to the input.

    Returns:
        Attributions with the shape of the inputs or of the layer's output.

    Raises:
        InvalidInputError: The layer was not called exactly once in the forward pass.

    Source:
        Chen et al. (2019), section 3, eq. 3 and 5.

    Example:
        >>> import torch
        >>> from captum_certified.training import loss_integrated_gradients
        >>> model = torch.nn.Linear(4, 3)
        >>> inputs, targets = torch.rand(8, 4), torch.arange(8) % 3
        >>> loss_integrated_gradients(model, inputs, inputs + 0.1, targets).shape
        torch.Size([8, 4])
    """
    m = checked_integer("n_steps", n_steps, at_least=1)
    times = torch.linspace(0, 1, m + 1, dtype=inputs.dtype, device=inputs.device)
    times = times.reshape(1, -1, *[1] * (inputs.dim() - 1))
    points = (inputs.unsqueeze(1) + times * (perturbed - inputs).unsqueeze(1)).flatten(0, 1)
    with torch.enable_grad():
        if not points.requires_grad:
            points.requires_grad_()
        with _recorded(layer) as outputs:
            losses = cross_entropies(model, points, targets.repeat_interleave(m + 1))
        if layer is not None and len(outputs) != 1:
            raise InvalidInputError(f"Expected `layer` to be called once in a pass, got {len(outputs)} calls.")
        nodes = points if layer is None else outputs[0]
        [gradients] = torch.autograd.grad(losses.sum(), nodes, create_graph=True)
        nodes, gradients = (values.reshape(len(inputs), m + 1, *values.shape[1:]) for values in (nodes, gradients))
        trapezoids: Tensor = (gradients[:, 1:] + gradients[:, :-1]) / 2 * (nodes[:, 1:] - nodes[:, :-1])
        return trapezoids.sum(dim=1)


@contextmanager
def _recorded(layer: nn.Module | None) -> Iterator[list[Tensor]]:
    """Record the outputs of a module within the block."""
    outputs: list[Tensor] = []
    if layer is None:
        yield outputs
        return
    handle = layer.register_forward_hook(lambda _module, _inputs, output: outputs.append(output))
    try:
        yield outputs
    finally:
        handle.remove()
