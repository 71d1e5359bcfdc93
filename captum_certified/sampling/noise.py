"""Hashed noise: draw k of a seed is one fixed array, whoever asks, in whatever pass and process."""

import math
from collections.abc import Callable
from functools import partial
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from captum_certified.randomness import word_of
from captum_certified.sampling.background_thread import Share, in_turn

__all__ = ["NOISE_VERSION", "NoiseLaw", "fill_with_normals", "noise_pass"]

# Raised when a draw of a seed becomes another array: maps of two versions may share draws under other numbers.
NOISE_VERSION = 1
NoiseLaw = Literal["gaussian", "uniform"]

# Draws of few numbers are made in chunks: one generator for each of them would cost more than its numbers. Chunks
# of 1, 2, 4, … draws are not cut by the passes that people choose.
_CHUNK_NUMBERS = 2**16
_CHUNK_DRAWS = 64


def noise_pass(
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
    share: Share = in_turn,
) -> Tensor:
    """Noise for consecutive draws of one input tensor, of unit standard deviation if it is not scaled.

    Draws belong to chunks of a fixed size, one draw each for large inputs. Each chunk is generated from
    SeedSequence(seed, spawn_key=(chunk, tensor)) alone, and a draw is a fixed row of its chunk, so it does not depend
    on the other draws of the pass. On the CPU NumPy generates it (PyTorch's CPU generator keeps only 32 bits of a
    seed, too few to keep thousands of draws apart); on an accelerator PyTorch's 64-bit generator does.

    Args:
        shape: Shape of one example.
        seed: Seed of the run.
        draws: Draw numbers.
        tensor: Position of the tensor among the inputs.
        dtype: float32 or float64.
        device: Where the noise is made.
        law: ``"gaussian"``, or ``"uniform"`` on ±√3.
        scale: What the noise is multiplied with.
        offset: What is added to every draw then, of shape ``shape``, ``dtype`` and without gradient.
        share: Runs the making of the chunks, in any order.

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
    share(jobs)
    if not cached:
        finish(rows)
    return noise


def _chunk_size(shape: tuple[int, ...]) -> int:
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
    """Fill rows with those at some places of a chunk, and finish them at once, while they are in the cache."""
    if len(places) == size:
        _fill(rows, key, law)
    else:  # a chunk is always made whole, so that a draw is the same whichever others are wanted
        chunk = rows.new_empty((size, rows.shape[1]))
        _fill(chunk, key, law)
        rows.copy_(chunk[places.start : places.stop])
    if finish is not None:
        finish(rows)


def _finish(rows: Tensor, *, law: NoiseLaw, scale: float, offset: Tensor | None) -> None:
    """Make noise of unit variance, scale it, and add what it is the noise of."""
    if law == "uniform":
        rows.sub_(0.5).mul_(12**0.5)
    # One by one: a fused multiply-add would round differently at the end of a vector register.
    if scale != 1:
        rows.mul_(scale)
    if offset is not None:
        rows.add_(offset)


def _fill(rows: Tensor, key: np.random.SeedSequence, law: NoiseLaw) -> None:
    """Fill all rows of a chunk."""
    if rows.device.type == "cpu":
        numbers, bits = rows.numpy().reshape(-1), np.random.SFC64(key)
        if law == "gaussian":
            fill_with_normals(numbers, bits)
        else:
            np.random.Generator(bits).random(dtype=numbers.dtype.type, out=numbers)
        return
    generator_on_device = torch.Generator(rows.device).manual_seed(word_of(key))
    for row in rows:  # PyTorch's generators number a kernel's threads: one row at a time
        if law == "gaussian":
            row.normal_(generator=generator_on_device)
        else:
            row.uniform_(0, 1, generator=generator_on_device)


# Where fewer than 24 of a word's 32 bits are left, its logarithm wants more of them.
_FEW = np.uint32(2**24)


def fill_with_normals(numbers: NDArray[np.floating], bits: np.random.BitGenerator) -> None:
    """Fill an array with standard normal numbers.

    In single precision by Box and Muller's method, whose logarithms and cosines NumPy computes many at a time: four
    times as fast as its own generator, which goes number by number and makes those in double precision.

    Args:
        numbers: Shape (n,), float32 or float64, contiguous.
        bits: Where the random bits come from.
    """
    if numbers.dtype == np.float64:
        np.random.Generator(bits).standard_normal(out=numbers)
        return
    pairs = (len(numbers) + 1) // 2
    words = bits.random_raw(pairs).view(np.uint32)
    # In place, as everywhere here: these arrays stay in the cache.
    radius = words[:pairs].astype(np.float32)
    radius += np.float32(0.5)
    radius *= np.float32(2.0**-32)
    few = np.flatnonzero(words[:pairs] < _FEW)
    radius[few] = (words[few] + (bits.random_raw(len(few)) + 0.5) * 2.0**-64) * 2.0**-32
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
