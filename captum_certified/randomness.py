"""Create fresh and derived seeds, and seed the global random generators while a block of code runs."""

import random
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["IsolatedRandomness", "derived_seed", "fresh_seed", "initialised", "seeds_from_generator", "word_of"]

# Last entry of every spawn key that is not for the noise. A spawn key for the noise ends with the position of an input
# tensor, which is a smaller number.
_METHOD_STREAM = 2**31
Made = TypeVar("Made")
_FROM_GENERATOR: ContextVar[bool] = ContextVar("_FROM_GENERATOR", default=False)


def fresh_seed() -> int:
    """Return a new random seed of 53 bits, an integer that every JSON reader keeps exactly."""
    if _FROM_GENERATOR.get():
        return int(torch.randint(2**53, (), device="cpu"))
    return secrets.randbits(53)


@contextmanager
def seeds_from_generator() -> Iterator[None]:
    """Let :func:`fresh_seed` use PyTorch's global generator in a block. This generator then determines all seeds."""
    token = _FROM_GENERATOR.set(True)
    try:
        yield
    finally:
        _FROM_GENERATOR.reset(token)


def derived_seed(seed: int, draw: int) -> int:
    """Return a 64-bit seed that depends only on (seed, draw), for random numbers other than the noise."""
    return word_of(np.random.SeedSequence(seed, spawn_key=(draw, _METHOD_STREAM)))


def word_of(key: np.random.SeedSequence) -> int:
    """Return the first 64 bits of a seed sequence."""
    return int(key.generate_state(1, np.uint64)[0])


class IsolatedRandomness:
    """Seeds Python's, NumPy's and PyTorch's global generators while a block of code runs.

    Within the block :func:`fresh_seed` depends on these generators as well. Generators that an attribution method
    creates itself are not seeded.

    Attributes:
        used: Whether the code of any block has used a global generator.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.used = False

    @contextmanager
    def __call__(self, seed: int) -> Iterator[None]:
        """Seed all generators with ``seed``, and restore their states afterwards, even after an error."""
        before = _States.of(self.device)
        try:
            random.seed(seed)
            np.random.seed(seed % 2**32)  # noqa: NPY002  Captum draws from this generator
            torch.default_generator.manual_seed(seed)
            if self.device.type == "cuda":
                with torch.cuda.device(self.device):
                    torch.cuda.manual_seed(seed)
            seeded = _States.of(self.device)
            with seeds_from_generator():
                yield
            self.used = self.used or not seeded.equal(_States.of(self.device))
        finally:
            before.restore(self.device)


def initialised(make: Callable[[], Made], seed: int | None) -> Made:
    """Return what ``make`` builds on the CPU under a seed of PyTorch's global generator. ``None`` sets no seed."""
    if seed is None:
        return make()
    cpu = torch.device("cpu")
    with IsolatedRandomness(cpu)(seed), cpu:
        return make()


@dataclass(frozen=True)
class _States:
    """The states of the global generators."""

    python: tuple[int, tuple[int, ...], float | None]
    numpy: tuple[str, NDArray[np.uint32], int, int, float]
    cpu: Tensor
    cuda: Tensor | None

    @classmethod
    def of(cls, device: torch.device) -> "_States":
        """Copy the states of the generators. The generators of other CUDA devices than ``device`` are left out."""
        numpy = np.random.get_state(legacy=True)  # noqa: NPY002
        assert isinstance(numpy, tuple)  # noqa: S101  for the type checker: the legacy state is a tuple
        cuda = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
        return cls(random.getstate(), numpy, torch.get_rng_state(), cuda)

    def equal(self, other: "_States") -> bool:
        """Return whether the copies are equal, so that no generator was used between them."""
        numpy = np.array_equal(self.numpy[1], other.numpy[1]) and self.numpy[2:] == other.numpy[2:]
        cuda = self.cuda is None or other.cuda is None or torch.equal(self.cuda, other.cuda)
        return bool(numpy and cuda and torch.equal(self.cpu, other.cpu) and self.python == other.python)

    def restore(self, device: torch.device) -> None:
        """Set the generators to these states."""
        random.setstate(self.python)
        np.random.set_state(self.numpy)  # noqa: NPY002
        torch.set_rng_state(self.cpu)
        if self.cuda is not None:
            torch.cuda.set_rng_state(self.cuda, device)
