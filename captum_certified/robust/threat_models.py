"""The threat models of an attack: a ball around each input, and the box of the valid inputs.

:meth:`Ball.project` moves a point back into the ball and the box.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from captum_certified.exceptions import InvalidInputError
from captum_certified.sampling import NoiseLaw, make_noise

__all__ = ["Ball", "ball_named", "check_bounds", "check_within"]

# Rounding to the precision of the inputs can push a point out of the ball by a few units in the last place. The offset
# of such a point is then shrunk by the fraction _UNITS times the machine epsilon. If this does not suffice, the
# fraction is multiplied by _GROWTH, and so on.
_UNITS = 4.0
_GROWTH = 8.0
_ATTEMPTS = 8


@dataclass(frozen=True)
class Ball(ABC):
    """A ball around every example, intersected with the box of the valid inputs.

    Args:
        radius: ρ, in the units of the inputs.
        lower_bound: Smallest value of an input.
        upper_bound: Largest value of an input.
    """

    radius: float
    lower_bound: float
    upper_bound: float

    @abstractmethod
    def norms(self, offsets: Tensor) -> Tensor:
        """Return the norm of every row of ``offsets``, shape (N,)."""

    @abstractmethod
    def clip(self, offsets: Tensor) -> Tensor:
        """Return the nearest offsets in the ball. The box is ignored."""

    @abstractmethod
    def random_offset(self, seed: int, draw: int, like: Tensor) -> Tensor:
        """Return the offset from the center of random start number ``draw``, shape (d,). ``like`` has shape (…, d)."""

    @abstractmethod
    def direction(self, gradient: Tensor) -> Tensor:
        """Return the direction of steepest ascent. A step is this direction times a step size."""

    @abstractmethod
    def first_step_size(self, gradient: Tensor) -> Tensor:
        """Return the size of the first step for every example, shape (N, 1); 0 where the gradient is zero."""

    def project(self, points: Tensor, centers: Tensor) -> Tensor:
        """Project points to the intersection of ball and box, in the precision of the inputs.

        Args:
            points: Shape (N, d).
            centers: Shape (N, d), within the box.

        Returns:
            Shape (N, d). Each distance from the center is at most ρ, even after rounding.
        """
        exact = centers.double()
        offsets = (exact + self.clip(points.double() - exact)).clamp(self.lower_bound, self.upper_bound) - exact
        slack = _UNITS * torch.finfo(centers.dtype).eps
        for _ in range(_ATTEMPTS):
            projected = (exact + offsets).to(centers.dtype).clamp(self.lower_bound, self.upper_bound)
            norms = self.norms(projected.double() - exact)
            outside = norms > self.radius
            if not bool(outside.any()):
                return projected
            shrunk = offsets * (self.radius / norms).unsqueeze(1) * (1 - slack)
            offsets = torch.where(outside.unsqueeze(1), shrunk, offsets)
            slack *= _GROWTH
        return torch.where(outside.unsqueeze(1), centers, projected)


class _L2(Ball):
    def norms(self, offsets: Tensor) -> Tensor:
        norms: Tensor = torch.linalg.vector_norm(offsets, dim=1)
        return norms

    def clip(self, offsets: Tensor) -> Tensor:
        norms = self.norms(offsets).clamp_min(torch.finfo(offsets.dtype).tiny)
        return offsets * (self.radius / norms).clamp_max(1.0).unsqueeze(1)

    def random_offset(self, seed: int, draw: int, like: Tensor) -> Tensor:
        noise = _noise(seed, draw, like, law="gaussian")
        norm: Tensor = torch.linalg.vector_norm(noise)
        return noise * (self.radius / norm)

    def direction(self, gradient: Tensor) -> Tensor:
        return gradient

    def first_step_size(self, gradient: Tensor) -> Tensor:
        norms = self.norms(gradient).unsqueeze(1)
        return torch.where(norms > 0, self.radius / norms, torch.zeros_like(norms))


class _Linf(Ball):
    def norms(self, offsets: Tensor) -> Tensor:
        return offsets.abs().amax(dim=1)

    def clip(self, offsets: Tensor) -> Tensor:
        return offsets.clamp(-self.radius, self.radius)

    def random_offset(self, seed: int, draw: int, like: Tensor) -> Tensor:
        return _noise(seed, draw, like, law="uniform") * (self.radius / 3**0.5)

    def direction(self, gradient: Tensor) -> Tensor:
        return gradient.sign()

    def first_step_size(self, gradient: Tensor) -> Tensor:
        return torch.where(gradient.abs().amax(dim=1, keepdim=True) > 0, self.radius, 0.0).to(gradient)


_BALLS: dict[str, type[Ball]] = {"L2": _L2, "Linf": _Linf}


def ball_named(norm: str) -> type[Ball]:
    """Return the class of balls for a norm, given Captum's name of the norm: ``"L2"`` or ``"Linf"``.

    Raises:
        InvalidInputError: ``norm`` is neither ``"L2"`` nor ``"Linf"``.
    """
    if norm not in _BALLS:
        raise InvalidInputError(f"Expected `norm` to be one of {sorted(_BALLS)}, got {norm!r}.")
    return _BALLS[norm]


def check_bounds(lower_bound: float, upper_bound: float) -> None:
    """Refuse bounds between which there is no number.

    Raises:
        InvalidInputError: A bound is not a number, or ``lower_bound`` is not below ``upper_bound``.
    """
    for name, bound in (("lower_bound", lower_bound), ("upper_bound", upper_bound)):
        if isinstance(bound, bool) or not isinstance(bound, (int, float)):
            raise InvalidInputError(f"Expected `{name}` to be a number, got {bound!r}.")
    if not lower_bound < upper_bound:
        raise InvalidInputError(f"Expected `lower_bound` < `upper_bound`, got {lower_bound} and {upper_bound}.")


def check_within(inputs: Iterable[Tensor], lower_bound: float, upper_bound: float) -> None:
    """Refuse inputs outside the box, because the ball around such an input may not intersect the box.

    Raises:
        InvalidInputError: An input is not finite, or not within the bounds.
    """
    tensors = [tensor.detach() for tensor in inputs]
    low, high = min(t.min() for t in tensors), max(t.max() for t in tensors)
    if not (math.isfinite(low) and math.isfinite(high)):
        raise InvalidInputError("Expected finite `inputs`, got NaN or infinity.")
    if bool(low < lower_bound) or bool(high > upper_bound):  # compared in the precision of the inputs
        raise InvalidInputError(
            f"Expected `inputs` in [{lower_bound:g}, {upper_bound:g}], the bounds of the attack, got values from "
            f"{low:g} to {high:g}."
        )


def _noise(seed: int, draw: int, like: Tensor, *, law: NoiseLaw) -> Tensor:
    one = make_noise(
        (like.shape[-1],),
        seed=seed,
        draws=range(draw, draw + 1),
        tensor=0,
        dtype=torch.float64,
        device=like.device,
        law=law,
    )
    return one[0]
