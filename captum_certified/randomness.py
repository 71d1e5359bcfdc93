"""Seeds: fresh, derived, and the global random generators under one, put back afterwards."""

import random
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np
import torch

__all__ = ["IsolatedRandomness", "derived_seed", "fresh_seed", "seeds_from_generator", "word_of"]

# The spawn key of the stream that feeds methods with randomness of their own; the noise has keys below it.
_METHOD_STREAM = 2**31
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
    return word_of(np.random.SeedSequence(seed, spawn_key=(draw, _METHOD_STREAM)))


def word_of(key: np.random.SeedSequence) -> int:
    """The first 64 bits of a seed sequence."""
    return int(key.generate_state(1, np.uint64)[0])


class IsolatedRandomness:
    """Seeds Python's, NumPy's and PyTorch's global generators for the length of a block.

    Seeds that a smoother within the block would choose for itself are drawn from them as well. A generator that a
    method keeps for itself is not seen.

    Attributes:
        used: Whether any of them was ever drawn from.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.used = False

    @contextmanager
    def __call__(self, seed: int) -> Iterator[None]:
        """Seed all generators with ``seed``; restore them afterwards, whatever happens."""
        before = self._states()
        try:
            random.seed(seed)
            np.random.seed(seed % 2**32)  # noqa: NPY002  Captum draws from this generator
            torch.default_generator.manual_seed(seed)
            if self.device.type == "cuda":
                with torch.cuda.device(self.device):
                    torch.cuda.manual_seed(seed)
            seeded = self._states()
            with seeds_from_generator():
                yield
            self.used = self.used or not _same(seeded, self._states())
        finally:
            self._restore(before)

    def _states(self) -> tuple[Any, ...]:
        cuda = torch.cuda.get_rng_state(self.device) if self.device.type == "cuda" else None
        return random.getstate(), np.random.get_state(), torch.get_rng_state(), cuda  # noqa: NPY002

    def _restore(self, states: tuple[Any, ...]) -> None:
        python, numpy, cpu, cuda = states
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002
        torch.set_rng_state(cpu)
        if cuda is not None:
            torch.cuda.set_rng_state(cuda, self.device)


def _same(one: tuple[Any, ...], two: tuple[Any, ...]) -> bool:
    tensors = all(a is b is None or torch.equal(a, b) for a, b in zip(one[2:], two[2:], strict=True))
    numpy = np.array_equal(one[1][1], two[1][1]) and one[1][2:] == two[1][2:]
    return bool(tensors and numpy and one[0] == two[0])
