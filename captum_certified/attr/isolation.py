"""Runs methods that use global random generators under a seed of our own, and puts the generators back."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from captum_certified.smoothing import seeds_from_generator

__all__ = ["IsolatedRandomness"]


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
