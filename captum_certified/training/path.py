"""Integrated gradients of the loss along the line from an input to its perturbation."""

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
    """Which features of the input, or neurons of a layer, make the loss change on the way from x to x′.

    The integral is a sum of m trapezoids: their error in the sum over features, which is ℓ(x′) − ℓ(x) (completeness),
    shrinks like 1/m². The result has a graph to the weights and, where they have one, to both ends.

    Args:
        model: Returns logits of shape (N, classes).
        inputs: x, shape (N, …).
        perturbed: x′, shape (N, …).
        targets: Classes of shape (N,), whose cross-entropy is ℓ.
        n_steps: m.
        layer: A module of the model, called once in a pass, whose output is attributed to instead of the input.

    Returns:
        Shape (N, …), as the inputs or the layer's output.

    Raises:
        InvalidInputError: The layer was not called exactly once.

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
        [slopes] = torch.autograd.grad(losses.sum(), nodes, create_graph=True)
        nodes, slopes = (values.reshape(len(inputs), m + 1, *values.shape[1:]) for values in (nodes, slopes))
        trapezoids: Tensor = (slopes[:, 1:] + slopes[:, :-1]) / 2 * (nodes[:, 1:] - nodes[:, :-1])
        return trapezoids.sum(dim=1)


@contextmanager
def _recorded(layer: nn.Module | None) -> Iterator[list[Tensor]]:
    """What a module returns within the block."""
    outputs: list[Tensor] = []
    if layer is None:
        yield outputs
        return
    handle = layer.register_forward_hook(lambda _module, _inputs, output: outputs.append(output))
    try:
        yield outputs
    finally:
        handle.remove()
