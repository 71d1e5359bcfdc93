"""Image files as tensors in [0, 1], framed for a model, and regions of them."""

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as transforms

from captum_certified.exceptions import FileFormatError, InvalidInputError
from captum_certified.smoothing import load_array, load_tensors

__all__ = ["Framing", "load_image", "region_mask"]

_ARRAYS = frozenset({".npy", ".pt", ".pth"})
_SIXTEEN_BIT = frozenset({"I", "I;16", "I;16L", "I;16B", "I;16N"})
_MOST_BYTES = 480_000_000  # of a decoded file and its copy in another mode
# What decoders raise; a file of a few bytes can claim tiles that fit into no memory.
_UNREADABLE = (
    OSError,
    ValueError,
    SyntaxError,
    MemoryError,
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,
)


@dataclass(frozen=True)
class Framing:
    """How an image becomes a model's input: its shorter side resized, then its centre cropped.

    Args:
        resize: Length of the shorter side; ``None`` keeps the size.
        crop: Side of the centre square; ``None`` keeps everything.
        interpolation: As in torchvision.

    Example:
        >>> from captum_certified.runs import Framing
        >>> Framing(resize=256, crop=224).resized(300, 400)
        (256, 341)
    """

    resize: int | None = None
    crop: int | None = None
    interpolation: str = "bilinear"

    def resized(self, height: int, width: int) -> tuple[int, int]:
        """Height and width after resizing, by torchvision's rule."""
        if self.resize is None:
            return height, width
        if height <= width:
            return self.resize, int(self.resize * width / height)
        return int(self.resize * height / width), self.resize

    def offsets(self, height: int, width: int) -> tuple[int, int]:
        """Where the crop begins in the resized image; negative where the image is padded."""
        if self.crop is None:
            return 0, 0
        return _offset(height, self.crop), _offset(width, self.crop)


def _offset(length: int, crop: int) -> int:
    """As torchvision: padding is rounded towards the beginning, a cut to the nearest, and to even."""
    return -((crop - length) // 2) if length < crop else round((length - crop) / 2.0)


def load_image(path: str | os.PathLike[str], framing: Framing, *, channels: int = 3) -> tuple[Tensor, tuple[int, int]]:
    """Read an image and frame it.

    Args:
        path: Any format that Pillow reads, greyscale and 16-bit included; or .npy and .pt arrays of shape (H, W),
            (H, W, C) or (C, H, W): unsigned integers of 8 or 16 bits, or floats in [0, 1].
        framing: Resize and crop.
        channels: 1 or 3.

    Returns:
        The image in [0, 1], float32 of shape (1, channels, height, width), and height and width of the file.

    Raises:
        InvalidInputError: The file holds no such image.
        OSError: It cannot be opened.
    """
    source = Path(path)
    picture: Any = _array(source) if source.suffix.lower() in _ARRAYS else _picture(source, channels)
    if isinstance(picture, Tensor):
        picture = _with_channels(picture, channels, source)
        height, width = picture.shape[-2:]
    else:
        width, height = picture.size
    if framing.resize is not None:
        mode = InterpolationMode(framing.interpolation)
        picture = transforms.resize(picture, [framing.resize], mode, antialias=True)
    if framing.crop is not None:
        picture = transforms.center_crop(picture, [framing.crop])
    image = picture if isinstance(picture, Tensor) else transforms.to_tensor(picture)
    return image.clamp(0, 1).unsqueeze(0), (int(height), int(width))


def region_mask(box: tuple[float, float, float, float], framing: Framing, size: tuple[int, int]) -> Tensor:
    """Which pixels of the framed image show a box of the file.

    Args:
        box: X0, Y0, X1, Y1 in pixels of the file, from its upper left corner.
        framing: Resize and crop.
        size: Height and width of the file.

    Returns:
        Booleans of shape (1, 1, height, width): the pixel's centre lies in the box.

    Raises:
        InvalidInputError: The box is not within the file, or nothing of it is left.
    """
    if min(box) < 0 or box[2] > size[1] or box[3] > size[0]:
        raise InvalidInputError(
            f"Expected `--region` within the {size[1]} × {size[0]} pixels of the file as it is stored, got {box}."
        )
    height, width = framing.resized(*size)
    top, left = framing.offsets(height, width)
    rows, columns = framing.crop or height, framing.crop or width
    y = (torch.arange(rows, device="cpu") + top + 0.5) * size[0] / height
    x = (torch.arange(columns, device="cpu") + left + 0.5) * size[1] / width
    mask = ((y >= box[1]) & (y < box[3])).unsqueeze(1) & ((x >= box[0]) & (x < box[2]))
    if not bool(mask.any()):
        raise InvalidInputError(
            f"Expected `--region` to show in the cropped image, got {box} of a file of {size[::-1]}."
        )
    return mask[None, None]


def _picture(path: Path, channels: int) -> "Image.Image | Tensor":
    try:
        with Image.open(path) as picture:
            most = _MOST_BYTES // (12 if picture.mode in _SIXTEEN_BIT else 8)
            if picture.width * picture.height > most:
                raise InvalidInputError(
                    f"Expected {path} to have at most {most // 10**6} million pixels, got {picture.size}."
                )
            picture.load()
    except (FileNotFoundError, PermissionError, IsADirectoryError, InvalidInputError):
        raise
    except _UNREADABLE as error:
        reason = str(error) or type(error).__name__
        raise InvalidInputError(f"Expected {path} to be an image, but it cannot be read: {reason}") from error
    if picture.mode in _SIXTEEN_BIT:
        return torch.from_numpy(np.asarray(picture).astype(np.float32) / (2**16 - 1)).unsqueeze(0)
    return picture.convert("L" if channels == 1 else "RGB")


def _array(path: Path) -> Tensor:
    with path.open("rb") as file:
        try:
            array = torch.from_numpy(load_array(file)) if path.suffix.lower() == ".npy" else load_tensors(file)
        except (FileFormatError, TypeError) as error:
            raise InvalidInputError(f"Expected {path} to be an array, but it cannot be read.") from error
    if not isinstance(array, Tensor) or array.dim() not in (2, 3):
        raise InvalidInputError(
            f"Expected {path} to hold an array of shape (H, W), (H, W, C) or (C, H, W), got another."
        )
    if array.dim() == 3 and array.shape[0] not in (1, 3, 4):
        array = array.permute(2, 0, 1)
    array = array.unsqueeze(0) if array.dim() == 2 else array
    return _in_unit_interval(array, path)


def _in_unit_interval(array: Tensor, path: Path) -> Tensor:
    if array.dtype == torch.uint8:
        return array.float() / 255
    if array.dtype == torch.uint16:
        array = array.float() / (2**16 - 1)
    if not array.is_floating_point():
        raise InvalidInputError(f"Expected {path} of 8 or 16-bit unsigned integers or floats, got {array.dtype}.")
    low, high = float(array.min()), float(array.max())
    if not (math.isfinite(low) and math.isfinite(high)) or low < 0 or high > 1:
        raise InvalidInputError(f"Expected pixels of {path} in [0, 1], got {low:g} to {high:g}.")
    return array.float()


def _with_channels(image: Tensor, channels: int, path: Path) -> Tensor:
    have = len(image)
    if have == 4:
        image, have = image[:3], 3
    if have == channels:
        return image
    if have == 1:
        return image.expand(channels, -1, -1)
    if have == 3 and channels == 1:
        return transforms.rgb_to_grayscale(image)
    raise InvalidInputError(f"Expected {path} to have 1, 3 or 4 channels, got {have}.")
