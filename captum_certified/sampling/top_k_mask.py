"""Selection of the largest entries of every row of a tensor, on its device."""

import warnings

import torch
from torch import Tensor

from captum_certified.theory import top_k_mask

__all__ = ["TieCounter", "kth_largest", "top_k_rows"]

# A draw is tied if more than this fraction of its salient features were selected only because their index is lower than
# that of an equal feature. `warn` warns if more than this fraction of the draws are tied.
_NOTABLE_SHARE = 0.01


def top_k_rows(values: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Mark the k largest entries of every row; among equal values, the lower index goes first.

    Args:
        values: Shape (rows, n), without NaN and without gradient.
        k: Number of entries to mark, 1 to n.

    Returns:
        The mask, bool, shape (rows, n), and the number of entries that were marked only because their index is lower
        than that of an equal entry, shape (rows,).

    Example:
        >>> mask, placed_by_index = top_k_rows(torch.tensor([[3.0, 1.0, 2.0, 2.0]]), 2)
        >>> mask.tolist(), placed_by_index.tolist()
        ([[True, False, True, False]], [1])
    """
    if values.device.type == "cpu":
        # NumPy's selection takes half the time of torch.topk.
        mask, placed_by_index = top_k_mask(values.numpy(), k)
        return torch.from_numpy(mask), torch.from_numpy(placed_by_index)
    return _selected_on_device(values, k)


def _selected_on_device(values: Tensor, k: int) -> tuple[Tensor, Tensor]:
    threshold = kth_largest(values, k)
    above, tied = values > threshold, values == threshold
    room = k - above.sum(dim=1, keepdim=True)
    placed = torch.where(tied.sum(dim=1, keepdim=True) > room, room, torch.zeros_like(room))
    return above | (tied & (tied.cumsum(dim=1) <= room)), placed.squeeze(1)


def kth_largest(values: Tensor, k: int) -> Tensor:
    """Return the k-th largest value of every row, shape (rows, 1)."""
    return torch.topk(values, k, dim=1, sorted=False).values.amin(dim=1, keepdim=True)


class TieCounter:
    """Counter of tied draws.

    In a tied draw, more than 1 % of the salient features were selected only because their index is lower than that of
    an equal feature.
    """

    def __init__(self) -> None:
        self.draws = 0
        self.tied = 0

    def add(self, values: Tensor, placed_by_index: Tensor) -> None:
        """Count the draws of one pass, given ``values`` and ``placed_by_index`` of :class:`MapDraws`."""
        self.draws += len(values)
        if bool(placed_by_index.any()):
            selected = (values > 0).sum(dim=1)
            self.tied += int((placed_by_index.to(selected.device) > _NOTABLE_SHARE * selected).sum())

    def warn(self) -> None:
        """Warn if more than 1 % of the draws are tied."""
        if self.tied > _NOTABLE_SHARE * self.draws:
            warnings.warn(
                f"In {self.tied} of {self.draws} draws more than 1 % of the salient features were chosen by their "
                "position among equal attributions. Pass `groups` to join entries that are always equal into one "
                "feature.",
                UserWarning,
                stacklevel=2,
            )
