"""How much a map changes for the change of its input."""

import torch
from torch import Tensor

from captum_certified._captum import as_tuple
from captum_certified.exceptions import InvalidInputError
from captum_certified.metrics.pairs import Maps, paired_rows, row_norms

__all__ = ["local_lipschitz"]


def local_lipschitz(a: Maps, b: Maps, inputs_a: Maps, inputs_b: Maps) -> Tensor:
    """Change of a map for the change of its input: ‖a − b‖₂ / ‖inputs_a − inputs_b‖₂, over all tensors.

    For equal inputs it is 0 if the maps are equal, and infinite if they are not.

    Args:
        a: Maps of ``inputs_a``: a tensor of shape (N, …), or a tuple of them.
        b: Maps of ``inputs_b``, of the same shapes.
        inputs_a: A tensor of shape (N, …), or a tuple of them.
        inputs_b: Inputs of the same shapes.

    Returns:
        Shape (N,), 0 or more, in units of the map for each unit of the input.

    Raises:
        InvalidInputError: Maps or inputs are not finite or not of the same shapes, or their batch sizes differ.

    Source:
        Alvarez-Melis and Jaakkola (2018).

    Example:
        >>> a, b = torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0, 3.0]])
        >>> local_lipschitz(a, b, torch.tensor([[0.5]]), torch.tensor([[2.0]]))
        tensor([2.], dtype=torch.float64)
    """
    rows_a, rows_b = paired_rows(a, b)
    points_a, points_b = paired_rows(inputs_a, inputs_b, names=("inputs_a", "inputs_b"))
    if len(points_a) != len(rows_a):
        shapes = [tuple(t.shape) for t in as_tuple(inputs_a)]
        raise InvalidInputError(f"Expected `inputs_a` with the batch size of `a`, {len(rows_a)}, got {shapes}.")
    change = row_norms(rows_a - rows_b)
    step = row_norms(points_a - points_b).to(change)
    # 0 / 0 is no change; anything else over 0 is infinite.
    return torch.where(change > 0, change / step, torch.zeros_like(change))
