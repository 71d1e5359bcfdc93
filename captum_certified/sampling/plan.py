"""Where the draws are cut into blocks and passes, and the noisy inputs of one pass."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice

import torch
from torch import Tensor

from captum_certified.sampling.background_thread import Share, in_turn
from captum_certified.sampling.noise import NoiseLaw, noise_pass

__all__ = ["SamplingPlan", "block_draws", "noisy_inputs"]

# Passes are cut at multiples of the pass size counted from multiples of this number, whatever the block.
_ANCHOR = 1024
_MAX_PASS_ROWS = 64


def block_draws(*, binary: bool) -> int:
    """Draws in a block: 2048 of a 0/1 map, which are kept as bits, and 1024 of any other, kept as floats."""
    return 2 * _ANCHOR if binary else _ANCHOR


@dataclass(frozen=True, kw_only=True)
class SamplingPlan:
    """Which draws are made, and how they are cut.

    Args:
        seed: Seed of the noise.
        first_draw: Number of the first draw.
        n_samples: Number of draws.
        pass_size: Draws computed together.
        block: Draws whose statistics are completed together; the map so far is handed out after each block.
        stdevs: Standard deviation of the noise for every input tensor; 0 holds that tensor fixed.
        law: Distribution of the noise.
    """

    seed: int
    first_draw: int
    n_samples: int
    pass_size: int
    block: int
    stdevs: tuple[float, ...]
    law: NoiseLaw = "gaussian"

    @staticmethod
    def default_pass_size(rows: int) -> int:
        """As many draws as keep a pass at 64 rows or fewer, at least one."""
        return max(1, _MAX_PASS_ROWS // max(rows, 1))

    @property
    def stop(self) -> int:
        """The number after the last draw."""
        return self.first_draw + self.n_samples

    @property
    def largest_pass(self) -> int:
        """Number of draws of the largest pass."""
        return max(len(draws) for block in islice(self.blocks(), 2) for draws in self.passes(block))

    def of_draws(self, draws: range) -> "SamplingPlan":
        """The plan of some of the draws."""
        return replace(self, first_draw=draws.start, n_samples=len(draws))

    def blocks(self) -> Iterator[range]:
        """Consecutive ranges of draw numbers, ending at multiples of the block size and at the last draw."""
        return _cut(self.first_draw, self.stop, size=self.block, anchor=self.block)

    def ends_block(self, stop: int) -> bool:
        """Whether a pass that ends before draw ``stop`` is the last of its block."""
        return stop == self.stop or stop % self.block == 0

    def passes(self, block: range) -> Iterator[range]:
        """The passes of one block, cut at fixed draw numbers."""
        return _cut(block.start, block.stop, size=self.pass_size, anchor=_ANCHOR)


def _cut(start: int, stop: int, *, size: int, anchor: int) -> Iterator[range]:
    while start < stop:
        base = start - start % anchor
        end = min(base + ((start - base) // size + 1) * size, base + anchor, stop)
        yield range(start, end)
        start = end


def noisy_inputs(
    inputs: tuple[Tensor, ...], draws: range, plan: SamplingPlan, share: Share = in_turn
) -> tuple[Tensor, ...]:
    """X + σε for every example and draw, in NoiseTunnel's order: all draws of example 0 first.

    The sum is formed in float32 (float64 for float64 inputs) and then rounded to the input's dtype. All
    examples share the noise. The tensors are new; the caller's are never touched, and images with
    channels last in memory stay so. Where an input requires a gradient,
    it flows through the sum.

    Args:
        inputs: Tensors of shape (N, …).
        draws: Draw numbers.
        plan: Seed and standard deviations.
        share: Runs the making of the noise.

    Returns:
        One tensor of shape (N · len(draws), …) for every input.
    """
    return tuple(_noisy_input(tensor, position, draws, plan, share) for position, tensor in enumerate(inputs))


def _noisy_input(tensor: Tensor, position: int, draws: range, plan: SamplingPlan, share: Share) -> Tensor:
    stdev = plan.stdevs[position]
    if stdev == 0:
        return tensor.unsqueeze(1).repeat(1, len(draws), *(1,) * (tensor.dim() - 1)).flatten(0, 1)
    dtype = torch.float64 if tensor.dtype == torch.float64 else torch.float32
    center = tensor.to(dtype)
    # Several examples share the noise, and a gradient flows through a sum that leaves its terms as they are.
    added_in_place = len(tensor) == 1 and not tensor.requires_grad
    noise = noise_pass(
        tuple(tensor.shape[1:]),
        seed=plan.seed,
        draws=draws,
        tensor=position,
        dtype=dtype,
        device=tensor.device,
        law=plan.law,
        scale=stdev,
        offset=center[0] if added_in_place else None,
        share=share,
    ).unsqueeze(0)
    noisy = noise if added_in_place else center.unsqueeze(1) + noise
    return _laid_out_like(tensor, noisy.flatten(0, 1).to(tensor.dtype))


def _laid_out_like(tensor: Tensor, rows: Tensor) -> Tensor:
    """The rows, channels last in memory where those of the caller's images are."""
    last = torch.channels_last if tensor.dim() == 4 else torch.channels_last_3d
    if tensor.dim() not in (4, 5) or tensor.is_contiguous() or not tensor.is_contiguous(memory_format=last):
        return rows
    return rows.contiguous(memory_format=last)
