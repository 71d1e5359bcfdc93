"""Similarities of two maps: shared top features, angle, rank correlation. Larger values mean that maps agree more."""

import torch
from scipy import stats
from torch import Tensor

from captum_certified.checks import resolved_count
from captum_certified.metrics.pairs import Maps, paired_rows, scaled_rows
from captum_certified.sampling import top_k_rows

__all__ = ["cosine_similarity", "kendall_tau", "spearman_rank", "top_k_intersection"]


def top_k_intersection(a: Maps, b: Maps, *, k: int | float) -> Tensor:
    """Return the fraction of the K most salient features that two maps share: |top-K(|a|) ∩ top-K(|b|)| / K.

    Features are ranked by magnitude. Among equal magnitudes the lower index comes first, as in
    :class:`~captum_certified.TopKCertificate`. Zeros are ranked too: if a map has fewer than K non-zero entries, the
    zeros with the lowest indices fill its top set.

    Args:
        a: Maps: a tensor of shape (N, …), or a tuple of tensors whose entries are ranked together.
        b: Maps of the same shapes.
        k: Size K of the top set: an int is a count, a float a fraction of the n entries, rounded up.

    Returns:
        Shape (N,), in [0, 1].

    Raises:
        InvalidInputError: The maps are not finite or not of the same shapes, or ``k`` is out of range.

    Source:
        Ghorbani, Abid and Zou (2019); Chen et al. (2019).

    Example:
        >>> top_k_intersection(torch.tensor([[9.0, -8.0, 1.0, 0.0]]), torch.tensor([[5.0, 0.0, 7.0, 1.0]]), k=2)
        tensor([0.5000], dtype=torch.float64)
    """
    rows_a, rows_b = paired_rows(a, b)
    count = resolved_count("k", k, rows_a.shape[1])
    shared = top_k_rows(rows_a.abs(), count)[0] & top_k_rows(rows_b.abs(), count)[0]
    return shared.sum(dim=1).to(rows_a.dtype) / count


def cosine_similarity(a: Maps, b: Maps) -> Tensor:
    """Return the cosine of the angle between two maps. The signs of the entries count.

    If both maps are zero, the result is 1. If only one map is zero, the result is 0.

    Args:
        a: Maps: a tensor of shape (N, …), or a tuple of tensors that count as one vector for each example.
        b: Maps of the same shapes.

    Returns:
        Shape (N,), in [−1, 1].

    Raises:
        InvalidInputError: The maps are not finite or not of the same shapes.

    Example:
        >>> cosine_similarity(torch.tensor([[3.0, 4.0]]), torch.tensor([[4.0, 3.0]]))
        tensor([0.9600], dtype=torch.float64)
    """
    return _cosine_of_rows(*paired_rows(a, b))


def kendall_tau(a: Maps, b: Maps) -> Tensor:
    """Return Kendall's rank correlation τ-b of the signed entries of two maps.

    If both maps are constant, the result is 1. If only one map is constant, the result is 0. The computation runs on
    the CPU, one example at a time.

    Args:
        a: Maps: a tensor of shape (N, …), or a tuple of tensors whose entries are ranked together.
        b: Maps of the same shapes.

    Returns:
        Shape (N,), in [−1, 1], on the device of ``a``.

    Raises:
        InvalidInputError: The maps are not finite or not of the same shapes.

    Source:
        τ-b as in :func:`scipy.stats.kendalltau`. Chen et al. (2019) compare attributions with it.

    Example:
        >>> kendall_tau(torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[1.0, 3.0, 2.0]]))
        tensor([0.3333], dtype=torch.float64)
    """
    rows_a, rows_b = paired_rows(a, b)
    pairs = zip(rows_a.cpu(), rows_b.cpu(), strict=True)
    return torch.tensor([_kendall(*pair) for pair in pairs], dtype=rows_a.dtype, device=rows_a.device)


def spearman_rank(a: Maps, b: Maps) -> Tensor:
    """Return Spearman's rank correlation of the signed entries of two maps.

    Equal entries all get their average rank. If both maps are constant, the result is 1. If only one map is constant,
    the result is 0.

    Args:
        a: Maps: a tensor of shape (N, …), or a tuple of tensors whose entries are ranked together.
        b: Maps of the same shapes.

    Returns:
        Shape (N,), in [−1, 1].

    Raises:
        InvalidInputError: The maps are not finite or not of the same shapes.

    Source:
        Ghorbani, Abid and Zou (2019) compare attributions with it.

    Example:
        >>> spearman_rank(torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[1.0, 3.0, 2.0]]))
        tensor([0.5000], dtype=torch.float64)
    """
    rows_a, rows_b = paired_rows(a, b)
    return _cosine_of_rows(_centered_ranks(rows_a), _centered_ranks(rows_b))


def _cosine_of_rows(a: Tensor, b: Tensor) -> Tensor:
    """Return the cosine of the angle between the rows of two tables of shape (N, n), shape (N,)."""
    (a, _), (b, _) = scaled_rows(a), scaled_rows(b)
    # The root of the product of the two sums makes the cosine of a row with itself exactly 1. The product of two norms
    # would not.
    norms = (a.square().sum(dim=1) * b.square().sum(dim=1)).sqrt()
    cosine = (a * b).sum(dim=1) / torch.where(norms > 0, norms, torch.ones_like(norms))
    both_zero = ~(a.any(dim=1) | b.any(dim=1))
    return torch.where(both_zero, torch.ones_like(cosine), cosine.clamp(-1.0, 1.0))


def _kendall(a: Tensor, b: Tensor) -> float:
    constant_a, constant_b = bool((a == a[0]).all()), bool((b == b[0]).all())
    if constant_a or constant_b:
        return float(constant_a and constant_b)
    return float(stats.kendalltau(a.numpy(), b.numpy()).statistic)


def _centered_ranks(rows: Tensor) -> Tensor:
    """Return, for every entry, how many entries are smaller minus how many are larger (twice the centred rank)."""
    ordered = rows.sort(dim=1).values
    below = torch.searchsorted(ordered, rows)
    not_above = torch.searchsorted(ordered, rows, right=True)
    return (below + not_above - rows.shape[1]).to(rows.dtype)
