"""Compute a pass in halves if it does not fit into memory, and explain the error if one draw does not fit."""

import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from captum_certified.exceptions import NotEnoughMemoryError
from captum_certified.sampling import Attributions

__all__ = ["PassesWithinMemory", "explained_memory_errors", "first_line", "is_out_of_memory", "joined", "rows_of_draws"]

_TEXTS = ("out of memory", "can't allocate memory", "not enough memory", "STATUS_ALLOC_FAILED")


class PassesWithinMemory:
    """Function that attributes passes of draws. After a pass did not fit into memory, it attributes halves.

    The noise of a draw does not depend on the pass in which the draw is computed, and the results of the halves are
    joined in the order of the whole pass. So halving changes the statistics only through the rounding of the model.

    Args:
        attribute: Attributes noisy inputs of shape (N · draws, …), all draws of example 0 first.

    Attributes:
        most_draws: The largest number of draws that are computed together; infinite until a pass does not fit.
    """

    def __init__(self, attribute: Callable[[tuple[Tensor, ...], range], Attributions]) -> None:
        self.attribute = attribute
        self.most_draws = math.inf

    def __call__(self, noisy: tuple[Tensor, ...], draws: range) -> Attributions:
        """Attribute the noisy inputs of one pass."""
        if len(draws) <= self.most_draws:
            try:
                return self.attribute(noisy, draws)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error) or len(draws) == 1:
                    raise
            # This runs outside the handler. Inside the handler, the error would keep the tensors of the model in
            # memory.
            self._halve(noisy[0], len(draws))
        middle = draws.start + (len(draws) + 1) // 2
        halves = (range(draws.start, middle), range(middle, draws.stop))
        return joined(
            [self(rows_of_draws(noisy, draws, half), half) for half in halves], rows=len(noisy[0]) // len(draws)
        )

    def _halve(self, noisy: Tensor, draws: int) -> None:
        self.most_draws = (draws + 1) // 2
        if noisy.device.type == "cuda":
            torch.cuda.empty_cache()
        warnings.warn(
            f"A pass of {draws} draws does not fit into memory; the run goes on with {self.most_draws} at a time. Set "
            f"`nt_samples_batch_size`={self.most_draws} or less to avoid the failed pass.",
            UserWarning,
            stacklevel=2,
        )


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text, or the name of its type if it has no text."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether the memory of the machine or of an accelerator ran out."""
    return isinstance(error, (MemoryError, torch.cuda.OutOfMemoryError)) or any(text in str(error) for text in _TEXTS)


@contextmanager
def explained_memory_errors(inputs: tuple[Tensor, ...]) -> Iterator[None]:
    """Replace out-of-memory errors by a NotEnoughMemoryError that names the sizes of the inputs and what to change."""
    reason = None
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if isinstance(error, NotEnoughMemoryError) or not is_out_of_memory(error):
            raise
        reason = first_line(error)
    if reason is not None:  # outside the handler, in which the error keeps the tensors of the model in memory
        shapes = ", ".join(str(tuple(tensor.shape)) for tensor in inputs)
        raise NotEnoughMemoryError(
            f"Expected enough memory for inputs of shape {shapes} on {inputs[0].device}, got: "
            f"{reason.rstrip('.')}. Make the inputs smaller (`--size` on the command line), pass fewer examples at a "
            "time, compute fewer draws together (`nt_samples_batch_size`, `--batch-size`; 1 is the least), or form "
            "larger groups (`groups`, `--groups`)."
        )


def rows_of_draws(noisy: tuple[Tensor, ...], draws: range, part: range) -> tuple[Tensor, ...]:
    """Return detached copies of the rows of a pass that belong to the draws in ``part``, in the order of the pass."""
    within = slice(part.start - draws.start, part.stop - draws.start)
    return tuple(_by_example(x.detach(), len(x) // len(draws))[:, within].flatten(0, 1).clone() for x in noisy)


def joined(parts: Sequence[Attributions], rows: int) -> Attributions:
    """Join the attributions of ``rows`` examples from several parts of a pass, in the order of the pass."""
    by_map = zip(*(part.maps for part in parts), strict=True)
    maps = (torch.cat([_by_example(m, rows) for m in maps], dim=1).flatten(0, 1) for maps in by_map)
    return Attributions(tuple(maps), parts[0].is_tuple)


def _by_example(tensor: Tensor, rows: int) -> Tensor:
    return tensor.reshape(rows, len(tensor) // rows, *tensor.shape[1:])
