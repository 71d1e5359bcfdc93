"""Reproducible noise: draw k of a seed is the same array in every pass and in every process."""

import math
from collections.abc import Callable
from functools import partial
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from captum_certified.randomness import word_of
from captum_certified.sampling.background_thread import JobRunner, run_in_order

__all__ = ["NOISE_VERSION", "NoiseLaw", "fill_with_normals", "make_noise"]

# Raise this number after every change by which a seed gives different noise. Maps of different versions are not merged,
# because the same seed and draw number can mean different noise in the two maps.
NOISE_VERSION = 1
NoiseLaw = Literal["gaussian", "uniform"]

# Small draws are made in chunks, because creating a generator for each draw would take longer than filling the draw.
# The number of draws in a chunk is a power of two, so that passes of the usual sizes consist of whole chunks.
_CHUNK_NUMBERS = 2**16
_CHUNK_DRAWS = 64


def make_noise(
    shape: tuple[int, ...],
    *,
    seed: int,
    draws: range,
    tensor: int,
    dtype: torch.dtype,
    device: torch.device,
    law: NoiseLaw = "gaussian",
    scale: float = 1.0,
    offset: Tensor | None = None,
    run_jobs: JobRunner = run_in_order,
) -> Tensor:
    """Make the noise of consecutive draws for one input tensor, with standard deviation ``scale``.

    A draw does not depend on the other draws of the pass. Each draw is one row of a chunk, and each chunk is generated
    from SeedSequence(seed, spawn_key=(chunk, tensor)) alone. The shape decides how many draws a chunk has. A chunk of
    large inputs has one draw. On the CPU, NumPy generates the numbers. PyTorch's CPU generator keeps only 32 bits of a
    seed, so two of several thousand draws could get equal noise. On an accelerator, PyTorch generates the numbers from
    a 64-bit seed.

    Args:
        shape: Shape of one example.
        seed: Seed of the run.
        draws: Numbers of the draws.
        tensor: Position of the tensor among the inputs.
        dtype: float32 or float64.
        device: Device of the noise.
        law: ``"gaussian"``, or ``"uniform"`` on ±√3 · ``scale``.
        scale: Standard deviation of the noise.
        offset: Tensor that is added to every scaled draw. It has shape ``shape``, dtype ``dtype`` and no gradient.
        run_jobs: Runs the jobs that make the chunks, in any order.

    Returns:
        Shape (len(draws), *shape).
    """
    noise = torch.empty((len(draws), *shape), dtype=dtype, device=device)
    rows = noise.view(len(draws), -1)
    finish = partial(_finish, law=law, scale=scale, offset=None if offset is None else offset.reshape(-1))
    cached = device.type == "cpu"
    size = _chunk_size(shape)
    jobs = []
    draw = draws.start
    while draw < draws.stop:
        chunk, first = divmod(draw, size)
        last = min(size, draws.stop - chunk * size)
        target = rows[draw - draws.start : draw - draws.start + last - first]
        key = np.random.SeedSequence(seed, spawn_key=(chunk, tensor))
        jobs.append(partial(_draw, target, range(first, last), size, key, law, finish if cached else None))
        draw = chunk * size + last
    run_jobs(jobs)
    if not cached:
        finish(rows)
    return noise


def _chunk_size(shape: tuple[int, ...]) -> int:
    """Return the number of draws in a chunk, a power of two."""
    most = max(1, min(_CHUNK_DRAWS, _CHUNK_NUMBERS // max(math.prod(shape), 1)))
    return 1 << (most.bit_length() - 1)


def _draw(
    rows: Tensor,
    places: range,
    size: int,
    key: np.random.SeedSequence,
    law: NoiseLaw,
    finish: Callable[[Tensor], None] | None,
) -> None:
    """Fill rows with the draws at the given places of a chunk, and call ``finish`` while the rows are in the cache."""
    if len(places) == size:
        _fill(rows, key, law)
    else:  # make the whole chunk, so that a draw does not depend on which other draws are asked for
        chunk = rows.new_empty((size, rows.shape[1]))
        _fill(chunk, key, law)
        rows.copy_(chunk[places.start : places.stop])
    if finish is not None:
        finish(rows)


def _finish(rows: Tensor, *, law: NoiseLaw, scale: float, offset: Tensor | None) -> None:
    """Bring noise to unit variance, scale it, and add the offset."""
    if law == "uniform":
        rows.sub_(0.5).mul_(12**0.5)
    # The scaling and the addition are two steps, because a fused multiply-add would round the last entries of a tensor
    # differently.
    if scale != 1:
        rows.mul_(scale)
    if offset is not None:
        rows.add_(offset)


def _fill(rows: Tensor, key: np.random.SeedSequence, law: NoiseLaw) -> None:
    """Fill all rows of a chunk with random numbers."""
    if rows.device.type == "cpu":
        numbers, bits = rows.numpy().reshape(-1), np.random.SFC64(key)
        if law == "gaussian":
            fill_with_normals(numbers, bits)
        else:
            np.random.Generator(bits).random(dtype=numbers.dtype.type, out=numbers)
        return
    generator_on_device = torch.Generator(rows.device).manual_seed(word_of(key))
    # Fill one row at a time, because the numbers that PyTorch generates depend on the size of the filled tensor.
    for row in rows:
        if law == "gaussian":
            row.normal_(generator=generator_on_device)
        else:
            row.uniform_(0, 1, generator=generator_on_device)


# Random words below this number have at most 24 significant bits, too few for an exact logarithm. They get more random
# bits.
_SMALL_WORD = np.uint32(2**24)


def fill_with_normals(numbers: NDArray[np.floating], bits: np.random.BitGenerator) -> None:
    """Fill a contiguous array of shape (n,) with standard normal numbers.

    Numbers in single precision are made by Box and Muller's method. This method is four times as fast as NumPy's
    generator of normal numbers. NumPy's generator makes one number at a time, while Box and Muller's method takes
    logarithms and cosines, which NumPy computes for many numbers at once. Numbers in double precision come from NumPy's
    generator.
    """
    if numbers.dtype == np.float64:
        np.random.Generator(bits).standard_normal(out=numbers)
        return
    pairs = (len(numbers) + 1) // 2
    words = bits.random_raw(pairs).view(np.uint32)
    # All steps are in place, so that the arrays stay in the cache.
    radius = words[:pairs].astype(np.float32)
    radius += np.float32(0.5)
    radius *= np.float32(2.0**-32)
    small = np.flatnonzero(words[:pairs] < _SMALL_WORD)
    radius[small] = (words[small] + (bits.random_raw(len(small)) + 0.5) * 2.0**-64) * 2.0**-32
    np.log(radius, out=radius)
    radius *= np.float32(-2.0)
    np.sqrt(radius, out=radius)
    angle = words[pairs:].view(np.int32).astype(np.float32)
    angle *= np.float32(np.pi * 2.0**-31)
    first, second = numbers[:pairs], numbers[pairs:]
    np.cos(angle, out=first)
    first *= radius
    rest = len(second)
    np.sin(angle[:rest], out=second)
    second *= radius[:rest]
