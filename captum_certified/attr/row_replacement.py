"""Choose which rows of a pass the probe replaces, by which values, and in which order the rows then are."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from captum_certified.randomness import derived_seed

__all__ = ["RowReplacement", "row_replacements"]

# Replaced values span this fraction of the value range of a pass. The fraction is below 1/2, so replaced values never
# reach the ends of the range.
_REPLACED_RANGE = 0.45
_ROW_CHOICE_STREAM = 2**31 - 3  # number of the random stream that chooses rows


@dataclass(frozen=True)
class RowReplacement:
    """Replacement of some rows of a pass.

    Attributes:
        replaced: Whether the row at each place of the pass is replaced, bool, shape (rows,).
        order: Number of the row that is moved to each place, shape (rows,).
        upward: Whether replaced values lie in the upper half of the value range of the pass. Otherwise they lie in the
            lower half.
    """

    replaced: Tensor
    order: Tensor
    upward: bool

    @property
    def kept(self) -> Tensor:
        """Places whose rows are not replaced."""
        return ~self.replaced

    @property
    def reorders(self) -> bool:
        """Whether rows change their places."""
        return not torch.equal(self.order, torch.arange(len(self.order), device="cpu"))

    def reordered(self, noisy: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Return the rows in their new places, without replacing any row."""
        return tuple(tensor[self.order.to(tensor.device)] for tensor in noisy)

    def applied(self, noisy: Sequence[Tensor], perturbed: Sequence[bool], *, far: bool) -> tuple[Tensor, ...]:
        """Return the rows in their new places, and replace some rows.

        Args:
            noisy: Noisy inputs of the pass.
            perturbed: Whether each input tensor gets noise. Rows of other tensors are not replaced.
            far: Whether to take values from one half of the range of the whole tensor. Otherwise the values of each
                feature are taken from the range of this feature.
        """
        tensors = self.reordered(noisy)
        for tensor, is_perturbed in zip(tensors, perturbed, strict=True):
            if is_perturbed:
                replaced = self.replaced.to(tensor.device)
                tensor[replaced] = self._far_rows(tensor, replaced) if far else _mirrored(tensor)[replaced]
        return tensors

    def _far_rows(self, tensor: Tensor, replaced: Tensor) -> Tensor:
        """Return the replaced rows mirrored, reversed, and squeezed into one half of the value range of all rows.

        No new value is near the largest or smallest value of the pass. So if a replaced row had one of these two
        values, the pass no longer has it.
        """
        low, high = tensor.amin(), tensor.amax()
        mirrored = high - tensor[replaced]  # from 0 to high − low
        turned = mirrored.flip(tuple(range(1, tensor.dim()))) if tensor.dim() > 1 else mirrored
        return (low + high) / 2 + _REPLACED_RANGE * (turned if self.upward else turned - (high - low))


def row_replacements(rows: int, draws: range, seed: int, *, reorder: bool) -> Iterator[RowReplacement]:
    """Yield replacements of a random half of the rows, of the other half, and of a second random half.

    A hash of the seed chooses the rows at random. The draws of an example are neighbouring rows, so a regular choice
    could miss a model that mixes examples.

    Args:
        rows: Number of rows in the pass.
        draws: Draws of the pass.
        seed: Seed of the run.
        reorder: Whether the last replacement also changes the order of the draws within every example.
    """
    if rows < 2:
        return
    generator = np.random.Generator(np.random.SFC64(derived_seed(derived_seed(seed, draws.start), _ROW_CHOICE_STREAM)))
    first, second = (torch.from_numpy(generator.permutation(rows) < (rows + 1) // 2) for _ in range(2))
    in_place = torch.arange(rows, device="cpu")
    yield RowReplacement(first, in_place, upward=False)
    yield RowReplacement(~first, in_place, upward=True)
    if rows > 2:
        order = torch.from_numpy(generator.permutation(len(draws))) if reorder else in_place[: len(draws)]
        yield RowReplacement(second, (in_place.view(-1, len(draws))[:, order]).reshape(-1), upward=False)


def _mirrored(tensor: Tensor) -> Tensor:
    """Mirror every feature within its own range in the pass."""
    return tensor.amin(dim=0) + tensor.amax(dim=0) - tensor
