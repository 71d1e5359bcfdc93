"""Fresh and derived seeds, and blocks of code in which the global random generators have a seed of their own."""

import random
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["IsolatedRandomness", "derived_seed", "fresh_seed", "seeds_from_generator", "word_of"]

# The spawn key of the stream that feeds methods with randomness of their own. The keys of the noise are below it.
_METHOD_STREAM = 2**31
_FROM_GENERATOR: ContextVar[bool] = ContextVar("_FROM_GENERATOR", default=False)


def fresh_seed() -> int:
    """Return a new random seed of 53 bits, which every JSON reader keeps exactly."""
    if _FROM_GENERATOR.get():
        return int(torch.randint(2**53, (), device="cpu"))
    return secrets.randbits(53)


@contextmanager
def seeds_from_generator() -> Iterator[None]:
    """Draw fresh seeds from PyTorch's global generator, so that seeding this generator seeds everything."""
    token = _FROM_GENERATOR.set(True)
    try:
        yield
    finally:
        _FROM_GENERATOR.reset(token)


def derived_seed(seed: int, draw: int) -> int:
    """Return a 64-bit seed, fixed by (seed, draw), for randomness other than the noise itself."""
    return word_of(np.random.SeedSequence(seed, spawn_key=(draw, _METHOD_STREAM)))


def word_of(key: np.random.SeedSequence) -> int:
    """Return the first 64 bits of a seed sequence."""
    return int(key.generate_state(1, np.uint64)[0])


class IsolatedRandomness:
    """Seeds Python's, NumPy's and PyTorch's global generators while a block of code runs.

    Smoothers that choose a seed within the block draw it from these generators as well. Generators that a method keeps
    for itself are not seeded.

    Attributes:
        used: Whether a block has drawn from a global generator.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.used = False

    @contextmanager
    def __call__(self, seed: int) -> Iterator[None]:
        """Seed all generators with ``seed``, and restore their states afterwards, whatever happens."""
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


@dataclass(frozen=True)
class _States:
    """The states of the global generators."""

    python: tuple[int, tuple[int, ...], float | None]
    numpy: tuple[str, NDArray[np.uint32], int, int, float]
    cpu: Tensor
    cuda: Tensor | None

    @classmethod
    def of(cls, device: torch.device) -> "_States":
        """Copy the states of the generators, of CUDA only that of ``device``."""
        numpy = np.random.get_state(legacy=True)  # noqa: NPY002
        assert isinstance(numpy, tuple)  # noqa: S101  for the type checker: only other bit generators have a dictionary
        cuda = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
        return cls(random.getstate(), numpy, torch.get_rng_state(), cuda)

    def equal(self, other: "_States") -> bool:
        """Return whether no generator was drawn from between the two copies."""
        numpy = np.array_equal(self.numpy[1], other.numpy[1]) and self.numpy[2:] == other.numpy[2:]
        cuda = self.cuda is None or other.cuda is None or torch.equal(self.cuda, other.cuda)
        return bool(numpy and cuda and torch.equal(self.cpu, other.cpu) and self.python == other.python)

    def restore(self, device: torch.device) -> None:
        """Put the generators back into these states."""
        random.setstate(self.python)
        np.random.set_state(self.numpy)  # noqa: NPY002
        torch.set_rng_state(self.cpu)
        if self.cuda is not None:
            torch.cuda.set_rng_state(self.cuda, device)
