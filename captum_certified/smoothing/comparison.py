"""How far two maps of the same inputs are apart, and when they are those of one explanation."""

import torch
from torch import Tensor

__all__ = ["difference_in_limits", "same_behaviour"]

# Two maps count as equal if at most 0.1 % of each row differs, as the arithmetic of another machine may cause.
_MOST_DIFFERING = 1e-3


def difference_in_limits(one: Tensor, two: Tensor) -> Tensor:
    """How much of each row of a map is another, in units of the most that arithmetic may cause.

    That is 0.1 % of what the row selects or weighs; of a 0/1 map it is rounded up to whole features.

    Args:
        one: Shape (rows, n), bool or non-negative.
        two: The same.

    Returns:
        What leaves the map or what enters it, whichever is more, over the limit; float64, shape (rows,).
    """
    if one.dtype == two.dtype == torch.bool:
        leaves, enters = (one & ~two).sum(dim=1).double(), (two & ~one).sum(dim=1).double()
        limit = (_MOST_DIFFERING * one.sum(dim=1).double()).ceil()
    else:
        difference = one.double() - two.double()
        leaves, enters = difference.clamp_min(0).sum(dim=1), (-difference).clamp_min(0).sum(dim=1)
        limit = _MOST_DIFFERING * one.double().sum(dim=1)
    distance = torch.maximum(leaves, enters)
    return torch.where(distance > 0, distance / limit, distance)


def same_behaviour(one: Tensor, two: Tensor) -> bool:
    """Whether two maps of the same inputs are those of one explanation: equal, but for arithmetic."""
    return one.shape == two.shape and bool((difference_in_limits(one, two) <= 1).all())
