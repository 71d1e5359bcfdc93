"""Hashed noise: draw k of a seed is one fixed array, whoever asks, in whatever pass and process."""

import secrets
from typing import Literal

import numpy as np
import torch
from torch import Tensor

__all__ = ["NoiseLaw", "derived_seed", "fresh_seed", "noise_pass"]

NoiseLaw = Literal["gaussian", "uniform"]

# Spawn keys are (draw, tensor); the stream that feeds methods with randomness of their own uses this one.
_METHOD_STREAM = 2**31


def fresh_seed() -> int:
    """A new random seed; 53 bits, so that every JSON reader keeps it exact."""
    return secrets.randbits(53)


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
) -> Tensor:
    """Noise of unit standard deviation for consecutive draws of one input tensor.

    Each draw is generated from SeedSequence(seed, spawn_key=(draw, tensor)) alone, so it does not depend on
    the other draws of the pass. On the CPU NumPy generates it (PyTorch's CPU generator keeps only 32 bits of a
    seed, too few to keep thousands of draws apart); on an accelerator PyTorch's 64-bit generator does.

    Args:
        shape: Shape of one example.
        seed: Seed of the run.
        draws: Draw numbers.
        tensor: Position of the tensor among the inputs.
        dtype: float32 or float64.
        device: Where the noise is made.
        law: ``"gaussian"``, or ``"uniform"`` on ±√3.

    Returns:
        Shape (len(draws), *shape).
    """
    noise = torch.empty((len(draws), *shape), dtype=dtype, device=device)
    for row, draw in zip(noise.view(len(draws), -1), draws, strict=True):
        key = np.random.SeedSequence(seed, spawn_key=(draw, tensor))
        if device.type == "cpu":
            _fill_on_cpu(row.numpy(), np.random.Generator(np.random.SFC64(key)), law)
        else:
            generator = torch.Generator(device).manual_seed(_word(key))
            row.normal_(generator=generator) if law == "gaussian" else row.uniform_(0, 1, generator=generator)
    return noise if law == "gaussian" else noise.sub_(0.5).mul_(12**0.5)


def _fill_on_cpu(row: np.ndarray, generator: np.random.Generator, law: NoiseLaw) -> None:
    if law == "gaussian":
        generator.standard_normal(dtype=row.dtype.type, out=row)
    else:
        generator.random(dtype=row.dtype.type, out=row)


def _word(key: np.random.SeedSequence) -> int:
    return int(key.generate_state(1, np.uint64)[0])
