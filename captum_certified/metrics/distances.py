"""Distances between two maps. A larger distance means that the maps differ more."""

import torch
from torch import Tensor

from captum_certified._captum import as_tuple
from captum_certified.exceptions import InvalidInputError
from captum_certified.metrics.pairs import Maps, paired_rows, row_norms, scaled_rows

__all__ = ["local_lipschitz", "mass_center_distance"]


def mass_center_distance(a: Maps, b: Maps) -> Tensor:
    """Return the distance between the centres of mass of the magnitudes of two maps, in pixels (positions).

    In maps of four or more dimensions, dimension 1 holds channels, which are summed. In maps of two or three
    dimensions, all dimensions but the first are positions. The centre of mass of an all-zero map is its geometric
    centre.

    Args:
        a: Maps of shape (N, C, *positions), (N, H, W) or (N, L).
        b: Maps of the same shape.

    Returns:
        Shape (N,), 0 or more.

    Raises:
        InvalidInputError: The maps are tuples of several tensors, have only one dimension, are not finite, or differ in
            shape. Positions in different tensors of a tuple cannot be compared.

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
    return row_norms(_mass_centers(rows_a, shapes[0]) - _mass_centers(rows_b, shapes[0]))


def local_lipschitz(a: Maps, b: Maps, inputs_a: Maps, inputs_b: Maps) -> Tensor:
    """Return the change of a map relative to the change of its input: ‖a − b‖₂ / ‖inputs_a − inputs_b‖₂.

    The norms are taken over all tensors. For equal inputs the result is 0 if the maps are equal, and infinite
    otherwise.

    Args:
        a: Maps of ``inputs_a``: a tensor of shape (N, …), or a tuple of tensors.
        b: Maps of ``inputs_b``, of the same shapes.
        inputs_a: A tensor of shape (N, …), or a tuple of tensors.
        inputs_b: Inputs of the same shapes.

    Returns:
        Shape (N,), 0 or more, in units of the map per unit of the input.

    Raises:
        InvalidInputError: Maps or inputs are not finite, the two maps or the two inputs differ in shape, or maps and
            inputs differ in batch size.

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
    input_change = row_norms(points_a - points_b).to(change)
    # 0 / 0 counts as no change. If the input does not change but the map does, the result is infinite.
    return torch.where(change > 0, change / input_change, torch.zeros_like(change))


def _mass_centers(rows: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Return the centre of mass of every map of the given shape, with one coordinate for each position dimension."""
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
