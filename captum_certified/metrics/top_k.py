"""How many of the most salient features two maps share."""

from torch import Tensor

from captum_certified.checks import resolved_count
from captum_certified.metrics.pairs import Maps, paired_rows
from captum_certified.sampling import top_k_rows

__all__ = ["top_k_intersection"]


def top_k_intersection(a: Maps, b: Maps, *, k: int | float) -> Tensor:
    """Fraction of the K most salient features that two maps share: |top-K(|a|) ∩ top-K(|b|)| / K.

    Features are ranked by magnitude, among equal magnitudes the lower index first, as in
    :class:`~captum_certified.TopKCertificate`. Zeros are ranked too: a map with fewer than K entries that are not
    zero fills its top set up by index.

    Args:
        a: Maps: a tensor of shape (N, …), or a tuple of them whose entries are ranked together.
        b: Maps of the same shapes.
        k: Size K of the top set: an int is a count, a float a fraction of the n entries, rounded up.

    Returns:
        Shape (N,), in [0, 1].

    Raises:
        InvalidInputError: The maps are not finite or not of the same shapes, or ``k`` is out of range.

    Source:
        Ghorbani, Abid and Zou (2019); Chen et al. (2019).

    Example:
        >>> import torch
        >>> top_k_intersection(torch.tensor([[9.0, -8.0, 1.0, 0.0]]), torch.tensor([[5.0, 0.0, 7.0, 1.0]]), k=2)
        tensor([0.5000], dtype=torch.float64)
    """
    rows_a, rows_b = paired_rows(a, b)
    count = resolved_count("k", k, rows_a.shape[1])
    shared = top_k_rows(rows_a.abs(), count)[0] & top_k_rows(rows_b.abs(), count)[0]
    return shared.sum(dim=1).to(rows_a.dtype) / count
