"""How far the saliency of a map has moved as a whole."""

import torch
from torch import Tensor

from captum_certified._captum import as_tuple
from captum_certified.exceptions import InvalidInputError
from captum_certified.metrics.pairs import Maps, paired_rows, row_norms, scaled_rows

__all__ = ["mass_center_distance"]


def mass_center_distance(a: Maps, b: Maps) -> Tensor:
    """Euclidean distance between the centres of mass of two maps' magnitudes, in positions (pixels of a heat map).

    Maps of four or more dimensions have channels in dimension 1, which are summed; in maps of two or three
    dimensions all but the first are positions. The centre of an all-zero map is its geometric centre.

    Args:
        a: Maps of shape (N, C, *positions), (N, H, W) or (N, L).
        b: Maps of the same shape.

    Returns:
        Shape (N,), 0 or more.

    Raises:
        InvalidInputError: The maps are tuples of several tensors, which have no common positions, have no positions,
            are not finite, or are not of the same shape.

    Source:
        Ghorbani, Abid and Zou (2019).

    Example:
        >>> a, b = torch.zeros(1, 1, 5, 5), torch.zeros(1, 1, 5, 5)
        >>> a[0, 0, 0, 0], b[0, 0, 3, 4] = 1.0, -2.0
        >>> mass_center_distance(a, b)
        tensor([5.], dtype=torch.float64)
    """
    rows_a, rows_b = paired_rows(a, b)
    shapes = [tuple(t.shape) for t in as_tuple(a)]
    if len(shapes) > 1 or len(shapes[0]) < 2:
        raise InvalidInputError(f"Expected `a` to be one tensor of shape (N, positions), got {shapes}.")
    return row_norms(_centers(rows_a, shapes[0]) - _centers(rows_b, shapes[0]))


def _centers(rows: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Centres of mass, shape (N, number of dimensions of position)."""
    mass = scaled_rows(rows)[0].abs()
    mass = torch.where(mass.any(dim=1, keepdim=True), mass, torch.ones_like(mass)).reshape(shape)
    if len(shape) >= 4:
        mass = mass.sum(dim=1)
    coordinates = []
    for dim in range(1, mass.dim()):
        others = [other for other in range(1, mass.dim()) if other != dim]
        along = mass.sum(dim=others) if others else mass
        positions = torch.arange(along.shape[1], dtype=along.dtype, device=along.device)
        coordinates.append(along @ positions / along.sum(dim=1))
    return torch.stack(coordinates, dim=1)
