"""Whether two maps put the features in the same order."""

import torch
from scipy import stats
from torch import Tensor

from captum_certified.metrics.cosine import cosine_of_rows
from captum_certified.metrics.pairs import Maps, paired_rows

__all__ = ["kendall_tau", "spearman_rank"]


def kendall_tau(a: Maps, b: Maps) -> Tensor:
    """Kendall's τ-b of the entries of two maps as they are given, with their signs.

    It is computed on the CPU, row by row. Where it is undefined it is 1 if both maps are constant, and 0 if one
    of them is.

    Args:
        a: Maps: a tensor of shape (N, …), or a tuple of them whose entries are ranked together.
        b: Maps of the same shapes.

    Returns:
        Shape (N,), in [−1, 1], on the device of ``a``.

    Raises:
        InvalidInputError: The maps are not finite or not of the same shapes.

    Source:
        τ-b of :func:`scipy.stats.kendalltau`; as a measure of attributions Chen et al. (2019).

    Example:
        >>> kendall_tau(torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[1.0, 3.0, 2.0]]))
        tensor([0.3333], dtype=torch.float64)
    """
    rows_a, rows_b = paired_rows(a, b)
    pairs = zip(rows_a.cpu(), rows_b.cpu(), strict=True)
    return torch.tensor([_kendall(*pair) for pair in pairs], dtype=rows_a.dtype, device=rows_a.device)


def spearman_rank(a: Maps, b: Maps) -> Tensor:
    """Spearman's rank correlation of the entries of two maps as they are given, with their signs.

    Equal entries share their average rank. Where it is undefined it is 1 if both maps are constant, and 0 if one
    of them is.

    Args:
        a: Maps: a tensor of shape (N, …), or a tuple of them whose entries are ranked together.
        b: Maps of the same shapes.

    Returns:
        Shape (N,), in [−1, 1].

    Raises:
        InvalidInputError: The maps are not finite or not of the same shapes.

    Source:
        As a measure of attributions Ghorbani, Abid and Zou (2019).

    Example:
        >>> spearman_rank(torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[1.0, 3.0, 2.0]]))
        tensor([0.5000], dtype=torch.float64)
    """
    rows_a, rows_b = paired_rows(a, b)
    return cosine_of_rows(_centred_ranks(rows_a), _centred_ranks(rows_b))


def _kendall(a: Tensor, b: Tensor) -> float:
    constant_a, constant_b = bool((a == a[0]).all()), bool((b == b[0]).all())
    if constant_a or constant_b:
        return float(constant_a and constant_b)
    return float(stats.kendalltau(a.numpy(), b.numpy()).statistic)


def _centred_ranks(rows: Tensor) -> Tensor:
    """Twice the average rank of every entry, less its mean: entries below it minus entries above it."""
    ordered = rows.sort(dim=1).values
    below = torch.searchsorted(ordered, rows)
    not_above = torch.searchsorted(ordered, rows, right=True)
    return (below + not_above - rows.shape[1]).to(rows.dtype)
