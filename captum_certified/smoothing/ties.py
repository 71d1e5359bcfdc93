"""Notices when equal attributions leave the choice of the salient features to their position."""

import warnings

from torch import Tensor

__all__ = ["TieCounter"]

# More than this share of the ones, in more than this share of the draws.
_NOTEWORTHY = 0.01


class TieCounter:
    """Counts draws in which the index rule placed more than 1 % of the ones."""

    def __init__(self) -> None:
        self.draws = 0
        self.tied = 0

    def add(self, values: Tensor, placed_by_index: Tensor) -> None:
        """Count the draws of one pass.

        Args:
            values: Maps, shape (rows, n).
            placed_by_index: How many selected features only the index rule placed, shape (rows,).
        """
        self.draws += len(values)
        if bool(placed_by_index.any()):
            selected = (values > 0).sum(dim=1)
            self.tied += int((placed_by_index.to(selected.device) > _NOTEWORTHY * selected).sum())

    def warn(self) -> None:
        """Warn if it happened in more than 1 % of the draws."""
        if self.tied > _NOTEWORTHY * self.draws:
            warnings.warn(
                f"In {self.tied} of {self.draws} draws more than 1 % of the salient features were chosen by their "
                "position among equal attributions. Pass `groups` to make entries that always agree one feature.",
                UserWarning,
                stacklevel=2,
            )
