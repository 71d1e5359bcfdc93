"""Hashed noise: draw k of a seed is one fixed array, whoever asks, in whatever pass and process."""

import math
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from captum_certified.smoothing.companion import Share, in_turn
from captum_certified.smoothing.gaussian import fill_with_normals

__all__ = ["NOISE_VERSION", "NoiseLaw", "derived_seed", "fresh_seed", "noise_pass", "seeds_from_generator"]

# Raised when a draw of a seed becomes another array: maps of two versions may share draws under other numbers.
NOISE_VERSION = 1
NoiseLaw = Literal["gaussian", "uniform"]

# Spawn keys are (sheaf of draws, tensor); the stream that feeds methods with randomness of their own uses this one.
_METHOD_STREAM = 2**31
# Draws of few numbers are made in sheaves: one generator for each of them would cost more than its numbers. Sheaves
# of 1, 2, 4, … draws are not cut by the passes that people choose.
_SHEAF_NUMBERS = 2**16
_SHEAF_DRAWS = 64
_FROM_GENERATOR: ContextVar[bool] = ContextVar("_FROM_GENERATOR", default=False)


def fresh_seed() -> int:
    """A new random seed; 53 bits, so that every JSON reader keeps it exact."""
    if _FROM_GENERATOR.get():
        return int(torch.randint(2**53, (), device="cpu"))
    return secrets.randbits(53)


@contextmanager
def seeds_from_generator() -> Iterator[None]:
    """Draw fresh seeds from PyTorch's global generator, so that whoever seeds that has seeded everything."""
    token = _FROM_GENERATOR.set(True)
    try:
        yield
    finally:
        _FROM_GENERATOR.reset(token)


def derived_seed(seed: int, draw: int) -> int:
    """A 64-bit seed for randomness other than the noise itself, fixed by (seed, draw)."""
    return _word(np.random.SeedSequence(seed, spawn_key=(draw, _METHOD_STREAM)))


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

    Draws belong to sheaves of a fixed size, one draw each for large inputs. Each sheaf is generated from
    SeedSequence(seed, spawn_key=(sheaf, tensor)) alone, and a draw is a fixed row of its sheaf, so it does not depend
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
        share: Runs the making of the sheaves, in any order.

    Returns:
        Shape (len(draws), *shape).
    """
    noise = torch.empty((len(draws), *shape), dtype=dtype, device=device)
    rows = noise.view(len(draws), -1)
    finish = partial(_finish, law=law, scale=scale, offset=None if offset is None else offset.reshape(-1))
    cached = device.type == "cpu"
    size = _sheaf_size(shape)
    jobs = []
    draw = draws.start
    while draw < draws.stop:
        sheaf, first = divmod(draw, size)
        last = min(size, draws.stop - sheaf * size)
        target = rows[draw - draws.start : draw - draws.start + last - first]
        key = np.random.SeedSequence(seed, spawn_key=(sheaf, tensor))
        jobs.append(partial(_draw, target, range(first, last), size, key, law, finish if cached else None))
        draw = sheaf * size + last
    share(jobs)
    if not cached:
        finish(rows)
    return noise


def _sheaf_size(shape: tuple[int, ...]) -> int:
    most = max(1, min(_SHEAF_DRAWS, _SHEAF_NUMBERS // max(math.prod(shape), 1)))
    return 1 << (most.bit_length() - 1)


def _draw(
    rows: Tensor,
    places: range,
    size: int,
    key: np.random.SeedSequence,
    law: NoiseLaw,
    finish: Callable[[Tensor], None] | None,
) -> None:
    """Fill rows with those at some places of a sheaf, and finish them at once, while they are in the cache."""
    if len(places) == size:
        _fill(rows, key, law)
    else:  # a sheaf is always made whole, so that a draw is the same whichever others are wanted
        sheaf = rows.new_empty((size, rows.shape[1]))
        _fill(sheaf, key, law)
        rows.copy_(sheaf[places.start : places.stop])
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
    """Fill all rows of a sheaf."""
    if rows.device.type == "cpu":
        numbers, bits = rows.numpy().reshape(-1), np.random.SFC64(key)
        if law == "gaussian":
            fill_with_normals(numbers, bits)
        else:
            np.random.Generator(bits).random(dtype=numbers.dtype.type, out=numbers)
        return
    generator_on_device = torch.Generator(rows.device).manual_seed(_word(key))
    for row in rows:  # PyTorch's generators number a kernel's threads: one row at a time
        if law == "gaussian":
            row.normal_(generator=generator_on_device)
        else:
            row.uniform_(0, 1, generator=generator_on_device)


def _word(key: np.random.SeedSequence) -> int:
    return int(key.generate_state(1, np.uint64)[0])
