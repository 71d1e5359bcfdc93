"""Compare a radius with familiar changes of a picture: grey levels, rounding to 8 bits, JPEG, a shift by one pixel."""

import io
import math
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from captum_certified.checks import checked_number
from captum_certified.exceptions import InvalidInputError

__all__ = ["EverydayUnits", "jpeg_change", "radius_in_units", "shift_changes"]

_LEVELS = 255
_QUALITY = 95


@dataclass(frozen=True)
class EverydayUnits:
    """The sizes of a radius and of familiar changes, for comparison.

    Attributes:
        radius: L2 size ρ of the perturbation.
        grey_levels: The change of each value, in steps of 1/255, if a perturbation of this size changes all values
            equally.
        rounding: L2 size of the change when one input is rounded to 8 bits: root mean square, if rounding errors are
            uniform.
        jpeg: L2 size of the change by JPEG of quality 95 in each picture, shape (N,); ``None`` for other inputs.
        shift: L2 size of the change when each picture is shifted by one pixel, shape (N,); ``None`` for other inputs.
            The direction (left, right, up or down) with the smallest change is taken.
    """

    radius: float
    grey_levels: float
    rounding: float
    jpeg: Tensor | None = None
    shift: Tensor | None = None

    def __str__(self) -> str:
        known = [f"{self.grey_levels:.2g} grey levels in every value", f"rounding to 8 bits is {self.rounding:.2g}"]
        if self.jpeg is not None and self.shift is not None:
            known += [f"JPEG {_QUALITY} {_range(self.jpeg)}", f"a shift by one pixel {_range(self.shift)}"]
        return f"L2 radius {self.radius}: {'; '.join(known)}"


def radius_in_units(radius: float, inputs: Tensor) -> EverydayUnits:
    """Compare a radius with familiar changes of a picture.

    Args:
        radius: L2 size ρ ≥ 0 of the perturbation.
        inputs: Inputs with values in [0, 1], shape (N, …). Inputs of shape (N, 1 or 3, H, W) are pictures.

    Returns:
        The sizes of the changes, in the units of the inputs.

    Raises:
        InvalidInputError: The radius is negative, or ``inputs`` is not a tensor with values in [0, 1].

    Example:
        >>> picture = torch.linspace(0, 1, 3 * 224 * 224).reshape(1, 3, 224, 224)
        >>> units = radius_in_units(0.5, picture)
        >>> round(units.grey_levels, 2), round(units.rounding, 2)
        (0.33, 0.44)
    """
    radius = checked_number("radius", radius, at_least=0)
    if not isinstance(inputs, Tensor) or inputs.dim() < 2 or not inputs.is_floating_point():
        raise InvalidInputError(
            f"Expected `inputs` to be a floating point tensor of shape (N, ...), got {inputs!r:.80}."
        )
    values = inputs.detach().cpu().double()
    low, high = float(values.min()), float(values.max())
    if not (low >= 0 and high <= 1):
        raise InvalidInputError(f"Expected `inputs` with values in [0, 1], got values from {low:g} to {high:g}.")
    d = values[0].numel()
    rounding = math.sqrt(d / 12) / _LEVELS
    grey_levels = _LEVELS * radius / math.sqrt(d)
    if values.dim() != 4 or values.shape[1] not in (1, 3):
        return EverydayUnits(radius, grey_levels, rounding)
    jpeg = torch.stack([jpeg_change(picture) for picture in values])
    return EverydayUnits(radius, grey_levels, rounding, jpeg, torch.stack([shift_changes(p).min() for p in values]))


def jpeg_change(picture: Tensor) -> Tensor:
    """Return the L2 size of the change by JPEG of a picture of shape (C, H, W) that was first rounded to 8 bits."""
    levels = (picture * _LEVELS).round().to(torch.uint8).permute(1, 2, 0).squeeze(2).numpy()
    file = io.BytesIO()
    Image.fromarray(levels).save(file, format="JPEG", quality=_QUALITY)
    changes = np.asarray(Image.open(file), dtype=np.int16) - levels  # a large picture in float64 would take gigabytes
    squares = np.square(changes, dtype=np.int32).sum(dtype=np.int64)
    return torch.as_tensor(math.sqrt(squares) / _LEVELS, dtype=torch.float64)


def shift_changes(picture: Tensor) -> Tensor:
    """Return the L2 sizes of the changes by a shift of one pixel in each of four directions, shape (4,).

    The pixels of the border are repeated. The picture has shape (C, H, W).
    """
    padded = torch.nn.functional.pad(picture.unsqueeze(0), (1, 1, 1, 1), mode="replicate")[0]
    height, width = picture.shape[1:]
    moved = [padded[:, y : y + height, x : x + width] for y, x in ((0, 1), (2, 1), (1, 0), (1, 2))]
    return torch.stack([(shifted - picture).norm() for shifted in moved])


def _range(sizes: Tensor) -> str:
    low, high = f"{float(sizes.min()):.2g}", f"{float(sizes.max()):.2g}"
    return low if low == high else f"{low} to {high}"
