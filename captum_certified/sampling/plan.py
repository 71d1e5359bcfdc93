"""The plan that cuts the draws into blocks and passes, and the noisy inputs of one pass."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice

import torch
from torch import Tensor

from captum_certified.sampling.background_thread import JobRunner, run_in_order
from captum_certified.sampling.noise import NoiseLaw, make_noise

__all__ = ["SamplingPlan", "block_draws", "noisy_inputs"]

# A pass begins at each multiple of this number. From there to the next multiple, a pass begins after every `pass_size`
# draws. This holds for blocks of any size.
_ANCHOR = 1024


def block_draws(*, binary: bool) -> int:
    """Return the number of draws in a block: 2048 for a 0/1 map, which is stored as bits, and 1024 for other maps."""
    return 2 * _ANCHOR if binary else _ANCHOR


@dataclass(frozen=True, kw_only=True)
class SamplingPlan:
    """The draws of a run, and how they are cut into blocks and passes.

    Args:
        seed: Seed of the noise.
        first_draw: Number of the first draw.
        n_samples: Number of draws.
        pass_size: Number of draws computed together.
        block: Number of draws in a block. The map of all draws so far is yielded after each block.
        stdevs: Standard deviation of the noise of every input tensor; 0 adds no noise.
        law: Distribution of the noise.
    """

    seed: int
    first_draw: int
    n_samples: int
    pass_size: int
    block: int
    stdevs: tuple[float, ...]
    law: NoiseLaw = "gaussian"

    @property
    def stop(self) -> int:
        """Number of the last draw plus 1."""
        return self.first_draw + self.n_samples

    @property
    def largest_pass(self) -> int:
        """Number of draws of the largest pass."""
        return max(len(draws) for block in islice(self.blocks(), 2) for draws in self.passes(block))

    def of_draws(self, draws: range) -> "SamplingPlan":
        """Return the plan for a range of its draws."""
        return replace(self, first_draw=draws.start, n_samples=len(draws))

    def blocks(self) -> Iterator[range]:
        """Yield the range of draws of each block. Blocks end at multiples of their size and at the last draw."""
        return _cut(self.first_draw, self.stop, size=self.block, anchor=self.block)

    def ends_block(self, stop: int) -> bool:
        """Return whether the pass that ends before draw ``stop`` is the last pass of its block."""
        return stop == self.stop or stop % self.block == 0

    def passes(self, block: range) -> Iterator[range]:
        """Yield the range of draws of each pass of a block."""
        return _cut(block.start, block.stop, size=self.pass_size, anchor=_ANCHOR)


def _cut(start: int, stop: int, *, size: int, anchor: int) -> Iterator[range]:
    """Cut a range at each multiple of ``anchor``, and after every ``size`` numbers counted from this multiple."""
    while start < stop:
        base = start - start % anchor
        end = min(base + ((start - base) // size + 1) * size, base + anchor, stop)
        yield range(start, end)
        start = end


def noisy_inputs(
    inputs: tuple[Tensor, ...], draws: range, plan: SamplingPlan, run_jobs: JobRunner = run_in_order
) -> tuple[Tensor, ...]:
    """Make X + σε for every example and draw, in NoiseTunnel's order: all draws of example 0 first.

    All examples get the same noise. The sum is formed in float32 (float64 for float64 inputs) and then rounded to the
    dtype of the input. The returned tensors are new, and gradients flow through the sum. If an input is stored with
    channels last, the result is too.

    Args:
        inputs: Tensors of shape (N, …).
        draws: Numbers of the draws.
        plan: The plan, with the seed and the standard deviations.
        run_jobs: Runs the jobs that make the noise.

    Returns:
        One tensor of shape (N · len(draws), …) for every input.
    """
    return tuple(_noisy_input(tensor, position, draws, plan, run_jobs) for position, tensor in enumerate(inputs))


def _noisy_input(tensor: Tensor, position: int, draws: range, plan: SamplingPlan, run_jobs: JobRunner) -> Tensor:
    stdev = plan.stdevs[position]
    if stdev == 0:
        return tensor.unsqueeze(1).repeat(1, len(draws), *(1,) * (tensor.dim() - 1)).flatten(0, 1)
    dtype = torch.float64 if tensor.dtype == torch.float64 else torch.float32
    center = tensor.to(dtype)
    # The sum is formed in place, unless several examples share the noise or a gradient flows through the sum.
    added_in_place = len(tensor) == 1 and not tensor.requires_grad
    noise = make_noise(
        tuple(tensor.shape[1:]),
        seed=plan.seed,
        draws=draws,
        tensor=position,
        dtype=dtype,
        device=tensor.device,
        law=plan.law,
        scale=stdev,
        offset=center[0] if added_in_place else None,
        run_jobs=run_jobs,
    ).unsqueeze(0)
    noisy = noise if added_in_place else center.unsqueeze(1) + noise
    return _in_memory_format_of(tensor, noisy.flatten(0, 1).to(tensor.dtype))


def _in_memory_format_of(tensor: Tensor, rows: Tensor) -> Tensor:
    """Return the rows with channels last in memory if the caller's tensor is stored like this."""
    last = torch.channels_last if tensor.dim() == 4 else torch.channels_last_3d
    if tensor.dim() not in (4, 5) or tensor.is_contiguous() or not tensor.is_contiguous(memory_format=last):
        return rows
    return rows.contiguous(memory_format=last)
