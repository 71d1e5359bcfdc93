"""Random generators that a model keeps for itself. A model that uses one is refused: only global ones are seeded."""

import random
from collections.abc import Iterable
from typing import NamedTuple, TypeAlias

import numpy as np
import torch

from captum_certified.exceptions import CertificationError

__all__ = ["PrivateGenerator", "RandomGenerator", "check_not_drawn_from", "is_global"]

RandomGenerator: TypeAlias = (
    torch.Generator | np.random.Generator | np.random.RandomState | np.random.BitGenerator | random.Random
)


class PrivateGenerator(NamedTuple):
    """A random generator and the object that keeps it.

    Attributes:
        generator: The generator.
        holder: Text for messages that names the object that keeps the generator.
    """

    generator: RandomGenerator
    holder: str

    def state(self) -> str:
        """Return the state as text. The state changes whenever numbers are drawn."""
        generator = self.generator
        if isinstance(generator, torch.Generator):
            return str(generator.get_state().tolist())
        if isinstance(generator, random.Random):
            return str(generator.getstate())
        if isinstance(generator, np.random.RandomState):
            return str([part.tolist() if isinstance(part, np.ndarray) else part for part in generator.get_state()])
        bits = generator.bit_generator if isinstance(generator, np.random.Generator) else generator
        return str(bits.state)


def is_global(generator: RandomGenerator) -> bool:
    """Return whether a generator is global. Global generators are seeded for every call and restored afterwards."""
    numpy_generator = getattr(np.random.rand, "__self__", None)  # the object behind numpy.random's functions
    known = [torch.default_generator, getattr(random.seed, "__self__", None), numpy_generator]
    known.append(getattr(numpy_generator, "_bit_generator", None))
    if torch.cuda.is_available():
        known += torch.cuda.default_generators
    return any(generator is one for one in known)


def check_not_drawn_from(generators: Iterable[PrivateGenerator], states: dict[int, str]) -> None:
    """Raise a CertificationError if the state of a generator differs from ``states[id(generator)]``."""
    for private in generators:
        state = private.state()
        if states.get(id(private.generator), state) != state:
            raise CertificationError(
                "Expected random numbers from the global generators, which are seeded for every draw, got some from a "
                f"{type(private.generator).__name__} that {private.holder} keeps for itself."
            )
