"""The balls that perturbations are confined to: where a start is drawn, which way is up, and the way back."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from captum_certified.exceptions import InvalidInputError
from captum_certified.sampling import NoiseLaw, noise_pass

__all__ = ["Ball", "ball_named", "check_bounds", "check_within"]

# Points are stored in the precision of the inputs, which can push them out of the ball by a few units in the last
# place; they are then drawn in by so many units more than that, and each time they are not yet inside by more.
_UNITS = 4.0
_GROWTH = 8.0
_ATTEMPTS = 8


@dataclass(frozen=True)
class Ball(ABC):
    """A ball around rows of inputs, cut with a box.

    Args:
        radius: ρ, in the units of the inputs.
        lower_bound: Smallest value of an input.
        upper_bound: Largest value of an input.
    """

    radius: float
    lower_bound: float
    upper_bound: float

    @abstractmethod
    def size(self, offsets: Tensor) -> Tensor:
        """Norm of every row, shape (N,)."""

    @abstractmethod
    def confined(self, offsets: Tensor) -> Tensor:
        """The nearest offsets in the ball."""

    @abstractmethod
    def start(self, seed: int, draw: int, like: Tensor) -> Tensor:
        """The offset of a random start, numbered ``draw``; shaped like one row."""

    @abstractmethod
    def direction(self, gradient: Tensor) -> Tensor:
        """The way of steepest ascent, scaled as the algorithm scales it."""

    @abstractmethod
    def first_step(self, gradient: Tensor) -> Tensor:
        """The size of the first step of every row, shape (N, 1): 0 where there is no gradient."""

    def project(self, points: Tensor, centers: Tensor) -> Tensor:
        """Points of the ball and the box, in the precision of the inputs.

        Args:
            points: Shape (N, d).
            centers: Shape (N, d), within the box.

        Returns:
            Shape (N, d). The distance from the center is at most ρ after rounding too.
        """
        exact = centers.double()
        offsets = (exact + self.confined(points.double() - exact)).clamp(self.lower_bound, self.upper_bound) - exact
        slack = _UNITS * torch.finfo(centers.dtype).eps
        for _ in range(_ATTEMPTS):
            projected = (exact + offsets).to(centers.dtype).clamp(self.lower_bound, self.upper_bound)
            excess = self.size(projected.double() - exact) > self.radius
            if not bool(excess.any()):
                return projected
            shrunk = offsets * (self.radius / self.size(projected.double() - exact)).unsqueeze(1) * (1 - slack)
            offsets = torch.where(excess.unsqueeze(1), shrunk, offsets)
            slack *= _GROWTH
        return torch.where(excess.unsqueeze(1), centers, projected)


class _L2(Ball):
    def size(self, offsets: Tensor) -> Tensor:
        sizes: Tensor = torch.linalg.vector_norm(offsets, dim=1)
        return sizes

    def confined(self, offsets: Tensor) -> Tensor:
        size = self.size(offsets).clamp_min(torch.finfo(offsets.dtype).tiny)
        return offsets * (self.radius / size).clamp_max(1.0).unsqueeze(1)

    def start(self, seed: int, draw: int, like: Tensor) -> Tensor:
        noise = _noise(seed, draw, like, law="gaussian")
        size: Tensor = torch.linalg.vector_norm(noise)
        return noise * (self.radius / size)

    def direction(self, gradient: Tensor) -> Tensor:
        return gradient

    def first_step(self, gradient: Tensor) -> Tensor:
        size = self.size(gradient).unsqueeze(1)
        return torch.where(size > 0, self.radius / size, torch.zeros_like(size))


class _Linf(Ball):
    def size(self, offsets: Tensor) -> Tensor:
        return offsets.abs().amax(dim=1)

    def confined(self, offsets: Tensor) -> Tensor:
        return offsets.clamp(-self.radius, self.radius)

    def start(self, seed: int, draw: int, like: Tensor) -> Tensor:
        return _noise(seed, draw, like, law="uniform") * (self.radius / 3**0.5)

    def direction(self, gradient: Tensor) -> Tensor:
        return gradient.sign()

    def first_step(self, gradient: Tensor) -> Tensor:
        return torch.where(gradient.abs().amax(dim=1, keepdim=True) > 0, self.radius, 0.0).to(gradient)


_BALLS: dict[str, type[Ball]] = {"L2": _L2, "Linf": _Linf}


def ball_named(norm: str) -> type[Ball]:
    """The ball of a norm by Captum's name for it: ``"L2"`` or ``"Linf"``.

    Raises:
        InvalidInputError: There is no such norm.
    """
    if norm not in _BALLS:
        raise InvalidInputError(f"Expected `norm` to be one of {sorted(_BALLS)}, got {norm!r}.")
    return _BALLS[norm]


def check_bounds(lower_bound: float, upper_bound: float) -> None:
    """Refuse what is no box.

    Raises:
        InvalidInputError: A bound is no number, or they are not in order.
    """
    for name, bound in (("lower_bound", lower_bound), ("upper_bound", upper_bound)):
        if isinstance(bound, bool) or not isinstance(bound, (int, float)):
            raise InvalidInputError(f"Expected `{name}` to be a number, got {bound!r}.")
    if not lower_bound < upper_bound:
        raise InvalidInputError(f"Expected `lower_bound` < `upper_bound`, got {lower_bound} and {upper_bound}.")


def check_within(inputs: Iterable[Tensor], lower_bound: float, upper_bound: float) -> None:
    """Refuse inputs that are not finite or not in the box: nothing near them could be in it.

    Raises:
        InvalidInputError: They are not.
    """
    tensors = [tensor.detach() for tensor in inputs]
    low, high = min(t.min() for t in tensors), max(t.max() for t in tensors)
    if not (math.isfinite(low) and math.isfinite(high)):
        raise InvalidInputError("Expected finite `inputs`, got NaN or infinity.")
    if bool(low < lower_bound) or bool(high > upper_bound):  # in the precision of the inputs
        raise InvalidInputError(
            f"Expected `inputs` in [{lower_bound:g}, {upper_bound:g}], the bounds of the attack, got values from "
            f"{low:g} to {high:g}."
        )


def _noise(seed: int, draw: int, like: Tensor, *, law: NoiseLaw) -> Tensor:
    one = noise_pass(
        (like.shape[-1],),
        seed=seed,
        draws=range(draw, draw + 1),
        tensor=0,
        dtype=torch.float64,
        device=like.device,
        law=law,
    )
    return one[0]
