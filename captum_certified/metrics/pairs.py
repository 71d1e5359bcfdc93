"""Convert two batches of maps to tables with a row for each example, and compute norms of these rows."""

import torch
from torch import Tensor

from captum_certified._captum import as_tuple
from captum_certified.checks import checked_columns
from captum_certified.exceptions import InvalidInputError

__all__ = ["Maps", "paired_rows", "row_norms", "scaled_rows"]

Maps = Tensor | tuple[Tensor, ...]


def paired_rows(a: Maps, b: Maps, *, names: tuple[str, str] = ("a", "b")) -> tuple[Tensor, Tensor]:
    """Return the entries of two batches of maps as two tables, one row for each example.

    Args:
        a: Tensor of shape (N, …), or a tuple of tensors, of any real dtype.
        b: Maps of the same shapes as ``a``. They are moved to the device of ``a``.
        names: Names of ``a`` and ``b`` in error messages.

    Returns:
        Two tables of shape (N, n) on the device of ``a``, where n is the number of entries of all tensors. They are
        float64, or float32 if the device has no float64.

    Raises:
        InvalidInputError: The maps are not tensors or tuples of tensors, not finite, empty, or of different shapes.
    """
    first = as_tuple(a)[:1]
    device = first[0].device if first and isinstance(first[0], Tensor) else torch.device("cpu")
    dtype = torch.float32 if device.type == "mps" else torch.float64
    rows_a, tensors_a = checked_columns(names[0], a, dtype, device=device)
    rows_b, tensors_b = checked_columns(names[1], b, dtype, device=device)
    shapes_a, shapes_b = ([tuple(t.shape) for t in tensors] for tensors in (tensors_a, tensors_b))
    if shapes_a != shapes_b:
        raise InvalidInputError(f"Expected `{names[1]}` of the shapes of `{names[0]}`, {shapes_a}, got {shapes_b}.")
    if rows_a.shape[1] == 0:
        raise InvalidInputError(f"Expected `{names[0]}` with at least one entry, got {shapes_a}.")
    return rows_a, rows_b


def scaled_rows(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Divide every row by its largest magnitude, so that squares and sums do not overflow.

    Args:
        rows: Shape (N, n).

    Returns:
        The scaled rows, shape (N, n), and the divisors, shape (N, 1). The divisor of an all-zero row is 1.
    """
    largest = rows.abs().amax(dim=1, keepdim=True)
    scale = torch.where(largest > 0, largest, torch.ones_like(largest))
    return rows / scale, scale


def row_norms(rows: Tensor) -> Tensor:
    """Return the L2 norm of every row, shape (N,)."""
    scaled, scale = scaled_rows(rows)
    return scaled.square().sum(dim=1).sqrt() * scale.squeeze(1)
