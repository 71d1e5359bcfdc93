"""The angle between two maps."""

import torch
from torch import Tensor

from captum_certified.metrics.pairs import Maps, paired_rows, scaled_rows

__all__ = ["cosine_of_rows", "cosine_similarity"]


def cosine_similarity(a: Maps, b: Maps) -> Tensor:
    """Cosine of the angle between two maps, with their signs.

    Where it is undefined it is 1 if both maps are zero, and 0 if one of them is.

    Args:
        a: Maps: a tensor of shape (N, …), or a tuple of them that count as one vector for each example.
        b: Maps of the same shapes.

    Returns:
        Shape (N,), in [−1, 1].

    Raises:
        InvalidInputError: The maps are not finite or not of the same shapes.

    Example:
        >>> cosine_similarity(torch.tensor([[3.0, 4.0]]), torch.tensor([[4.0, 3.0]]))
        tensor([0.9600], dtype=torch.float64)
    """
    return cosine_of_rows(*paired_rows(a, b))


def cosine_of_rows(a: Tensor, b: Tensor) -> Tensor:
    """Cosine of the angle between the rows of two tables of shape (N, n); shape (N,)."""
    (a, _), (b, _) = scaled_rows(a), scaled_rows(b)
    # One root of the product instead of two norms: the cosine of a row with itself is then exactly 1.
    lengths = (a.square().sum(dim=1) * b.square().sum(dim=1)).sqrt()
    cosine = (a * b).sum(dim=1) / torch.where(lengths > 0, lengths, torch.ones_like(lengths))
    both_zero = ~(a.any(dim=1) | b.any(dim=1))
    return torch.where(both_zero, torch.ones_like(cosine), cosine.clamp(-1.0, 1.0))
