"""A pass in parts: the noisy rows of some of its draws, and attributions of parts in the order of the whole."""

from collections.abc import Sequence

import torch
from torch import Tensor

from captum_certified.smoothing import Attributions

__all__ = ["joined", "rows_of_draws"]


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
