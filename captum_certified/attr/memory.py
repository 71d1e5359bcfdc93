"""Passes that do not fit into memory are halved: the noise of a draw does not depend on its pass."""

import math
import warnings
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from captum_certified.sampling import Attributions

__all__ = ["WithinMemory", "is_out_of_memory", "joined", "rows_of_draws"]

_TEXTS = ("out of memory", "can't allocate memory", "not enough memory", "STATUS_ALLOC_FAILED")

Attribute = Callable[[tuple[Tensor, ...], range], Attributions]


class WithinMemory:
    """Attributes passes whole, or in parts once one of them was too large.

    What is returned has the order of the whole pass, and so do all statistics: only the model's own rounding tells the
    size of the parts.

    Args:
        attribute: Attributes noisy inputs of shape (N · draws, …), all draws of example 0 first.
    """

    def __init__(self, attribute: Attribute) -> None:
        self.attribute = attribute
        self.most = math.inf

    def __call__(self, noisy: tuple[Tensor, ...], draws: range) -> Attributions:
        """Attributions of one pass."""
        if len(draws) <= self.most:
            try:
                return self.attribute(noisy, draws)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error) or len(draws) == 1:
                    raise
            # Here, and not above, where the error still holds what the model had computed.
            self._shrink(noisy[0], len(draws))
        middle = draws.start + (len(draws) + 1) // 2
        halves = (range(draws.start, middle), range(middle, draws.stop))
        return joined(
            [self(rows_of_draws(noisy, draws, half), half) for half in halves], rows=len(noisy[0]) // len(draws)
        )

    def _shrink(self, noisy: Tensor, draws: int) -> None:
        self.most = (draws + 1) // 2
        if noisy.device.type == "cuda":
            torch.cuda.empty_cache()
        warnings.warn(
            f"A pass of {draws} draws does not fit into memory; it goes on with {self.most} at a time. Give "
            f"`nt_samples_batch_size`={self.most} or less to begin so.",
            UserWarning,
            stacklevel=2,
        )


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, of the machine or of an accelerator."""
    return isinstance(error, (MemoryError, torch.cuda.OutOfMemoryError)) or any(text in str(error) for text in _TEXTS)


def rows_of_draws(noisy: tuple[Tensor, ...], draws: range, part: range) -> tuple[Tensor, ...]:
    """The rows of some draws of a pass, all draws of example 0 first; copies, whose gradients are their own."""
    within = slice(part.start - draws.start, part.stop - draws.start)
    return tuple(_by_example(x.detach(), len(x) // len(draws))[:, within].flatten(0, 1).clone() for x in noisy)


def joined(parts: Sequence[Attributions], rows: int) -> Attributions:
    """Attributions of ``rows`` examples in several parts of a pass, in the order of the pass."""
    by_map = zip(*(part.maps for part in parts), strict=True)
    maps = (torch.cat([_by_example(m, rows) for m in maps], dim=1).flatten(0, 1) for maps in by_map)
    return Attributions(tuple(maps), parts[0].is_tuple)


def _by_example(tensor: Tensor, rows: int) -> Tensor:
    return tensor.reshape(rows, len(tensor) // rows, *tensor.shape[1:])
