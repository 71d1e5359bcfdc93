"""Read image files of many kinds as pixels in [0, 1]. Error messages say what is wrong and how to correct it."""

import math
import os
import struct
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import functional

from captum_certified.exceptions import CaptumCertifiedError, FileFormatError, InvalidInputError
from captum_certified.images.orientation import UPRIGHT, turned
from captum_certified.storage import load_array, load_tensors

__all__ = [
    "StoredPicture",
    "check_dense",
    "native",
    "opened",
    "read_picture",
    "stored_array",
    "transforms",
    "unit_interval",
]

transforms: Any = functional  # these functions also take Pillow images, but their annotations say tensors only
_ARRAYS = frozenset({".npy", ".pt", ".pth"})
_MOST_BYTES = 480_000_000  # limit for a decoded file together with a converted copy of it
_LARGEST = {torch.bool: 1, torch.uint8: 2**8 - 1, torch.uint16: 2**16 - 1}
# For each mode of Pillow, the formats in which the mode means unsigned 16-bit integers. The scale of other formats is
# unknown: "I" may hold signed integers or integers of 32 bits, and FITS and MCIDAS keep signed integers in "I;16".
_SIXTEEN_BIT = {
    "I": frozenset({"PNG", "PPM"}),
    **dict.fromkeys(("I;16", "I;16L", "I;16B", "I;16N"), frozenset({"PNG", "PPM", "TIFF", "JPEG2000"})),
}
_FLOAT = "F"
# Errors that decoders raise. MemoryError is one of them, because a file of a few bytes can claim to hold enormous
# tiles.
_UNREADABLE = (
    OSError,
    ValueError,
    SyntaxError,
    MemoryError,
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,
)
# EXIF and TIFF tags, and their values.
_ORIENTATION = 0x0112
_BITS_PER_SAMPLE, _PHOTOMETRIC, _SAMPLE_FORMAT = 258, 262, 339
_WHITE_IS_ZERO, _SIGNED = 0, 2


@dataclass(frozen=True)
class StoredPicture:
    """The pixels of a file as they are stored.

    Args:
        pixels: An 8-bit Pillow image, which torchvision resizes by Pillow, or a tensor of floats in [0, 1] of shape
            (channels, height, width).
        orientation: EXIF's number, from 1 (upright) to 8, which tells how to turn the picture upright.
    """

    pixels: "Image.Image | Tensor" = field(repr=False)
    orientation: int = UPRIGHT

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        if isinstance(self.pixels, Tensor):
            return int(self.pixels.shape[-2]), int(self.pixels.shape[-1])
        return self.pixels.height, self.pixels.width

    def upright(self) -> "StoredPicture":
        """Return the picture turned as its orientation says."""
        if self.orientation == UPRIGHT:
            return self
        if isinstance(self.pixels, Tensor):
            return StoredPicture(turned(self.pixels, self.orientation))
        pixels = turned(transforms.pil_to_tensor(self.pixels), self.orientation)
        return StoredPicture(transforms.to_pil_image(pixels))


def read_picture(path: str | os.PathLike[str], *, channels: int) -> StoredPicture:
    """Read an image file.

    Args:
        path: Any format that Pillow reads, or a .npy or .pt array.
        channels: 1 or 3.

    Raises:
        InvalidInputError: The file holds no image, or an image whose scale is unknown.
        OSError: The file cannot be opened.
    """
    source = Path(path)
    array = stored_array(source)
    if array is not None:
        return StoredPicture(_with_channels(_channels_first(array, source), channels, source))
    picture = opened(source)
    if _SIGNED in _tiff_tag(picture, _SAMPLE_FORMAT):
        raise _no_scale(source, picture)
    orientation = _orientation(picture)  # read after loading, because loading turns a TIFF and resets this tag
    if picture.mode in _SIXTEEN_BIT or picture.mode == _FLOAT:
        return StoredPicture(_with_channels(_deep(picture, source), channels, source), orientation)
    return StoredPicture(_eight_bit(picture, channels, source), orientation)


def unit_interval(pixels: Tensor, path: Path, error: type[CaptumCertifiedError] = InvalidInputError) -> Tensor:
    """Divide pixels by the largest value of their type.

    Args:
        pixels: Booleans, unsigned integers of 8 or 16 bits, or floats in [0, 1].
        path: File of the pixels, for the message.
        error: Class of the exception to raise.

    Raises:
        CaptumCertifiedError: There are no pixels, their type has no known scale, or floats are not in [0, 1].
    """
    check_dense(pixels, path, error)
    if pixels.dtype in _LARGEST:
        return pixels.float() / _LARGEST[pixels.dtype]
    if not pixels.is_floating_point():
        raise error(
            f"Expected {path} of 8 or 16-bit unsigned integers or floats, got {pixels.dtype}, whose scale is unknown. "
            f"{_WAY_OUT}"
        )
    pixels = pixels.detach().float()
    low, high = float(pixels.min()), float(pixels.max())
    if not (math.isfinite(low) and math.isfinite(high)):
        raise error(f"Expected pixels of {path} in [0, 1], got NaN or infinity.")
    if low < 0 or high > 1:
        raise error(f"Expected pixels of {path} in [0, 1], got {low:g} to {high:g}. {_WAY_OUT}")
    return pixels


def check_dense(pixels: Tensor, path: Path, error: type[CaptumCertifiedError] = InvalidInputError) -> None:
    """Raise ``error`` unless a tensor holds at least one value and is dense (stores each of its values)."""
    if pixels.layout is not torch.strided or pixels.is_nested or pixels.is_meta or pixels.is_quantized:
        raise error(f"Expected {path} to hold a plain dense array, got a tensor of another layout. Save its values.")
    if not pixels.numel():
        raise error(f"Expected {path} to have pixels, got an empty array of shape {tuple(pixels.shape)}.")


_WAY_OUT = "Divide the pixels by their largest possible value, such as 255, and save them as floats."


def opened(path: Path) -> "Image.Image":
    """Open and decode a file that Pillow reads.

    Raises:
        InvalidInputError: The file is not an image, or has no pixels, or has too many pixels.
        OSError: The file cannot be opened.
    """
    try:
        with Image.open(path) as picture:
            deep = picture.mode in _SIXTEEN_BIT or picture.mode == _FLOAT
            most = _MOST_BYTES // (12 if deep else 8)
            if picture.width * picture.height > most:
                raise InvalidInputError(
                    f"Expected {path} to have at most {most // 10**6} million pixels, got {picture.size}."
                )
            picture.load()
    except (FileNotFoundError, PermissionError, IsADirectoryError, InvalidInputError):
        raise
    except _UNREADABLE as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InvalidInputError(f"Expected {path} to be an image, but it cannot be read: {reason}") from error
    if 0 in picture.size:
        raise InvalidInputError(f"Expected {path} to have pixels, got an image of size {picture.size}.")
    return picture


def _orientation(picture: "Image.Image") -> int:
    try:
        found = picture.getexif().get(_ORIENTATION, UPRIGHT)
    except (*_UNREADABLE, struct.error, KeyError, TypeError):
        return UPRIGHT  # a picture with corrupt metadata is still readable
    return found if found in range(1, 9) else UPRIGHT


def _deep(picture: "Image.Image", path: Path) -> Tensor:
    """Return a 16-bit or float greyscale picture as floats in [0, 1] of shape (1, height, width)."""
    pixels = np.asarray(picture).astype(np.float32)
    if picture.mode == _FLOAT:
        image = unit_interval(torch.from_numpy(pixels), path)
    elif picture.format in _SIXTEEN_BIT[picture.mode]:
        [bits] = _tiff_tag(picture, _BITS_PER_SAMPLE) or (16,)
        image = torch.from_numpy(pixels) / (2**bits - 1)
    else:
        raise _no_scale(path, picture)
    # If zero means white, the picture must be inverted. Pillow does this only for pictures of 8 bits.
    return (1 - image if _WHITE_IS_ZERO in _tiff_tag(picture, _PHOTOMETRIC) else image).unsqueeze(0)


def _tiff_tag(picture: "Image.Image", tag: int) -> tuple[int, ...]:
    """Return the values of a TIFF tag, or an empty tuple for other formats."""
    found = getattr(picture, "tag_v2", {}).get(tag, ())
    return found if isinstance(found, tuple) else (found,)


def _no_scale(path: Path, picture: "Image.Image") -> InvalidInputError:
    # Only mode "I" keeps the stored values. In other modes Pillow reads signed integers as unsigned integers.
    low, high = picture.getextrema() if picture.mode == "I" else (None, None)
    got = "signed integers" if low is None else f"other integers from {low} to {high}"
    return InvalidInputError(
        f"Expected {path} of 8 or 16-bit unsigned integers or floats, got {got}, whose scale is unknown. {_WAY_OUT}"
    )


def _eight_bit(picture: "Image.Image", channels: int, path: Path) -> "Image.Image":
    """Convert a picture to grey or RGB. Transparency is dropped, as torchvision drops it."""
    try:
        if picture.mode == "P" and "transparency" in picture.info:
            picture = picture.convert("RGBA")
        if channels == 3:
            return picture.convert("RGB")
        return picture.convert("L" if picture.mode in ("1", "L", "LA") else "RGB").convert("L")
    except ValueError as error:
        raise InvalidInputError(
            f"Expected {path} in grey or in colours that convert to RGB, got mode {picture.mode}. Save it as RGB."
        ) from error


def stored_array(path: Path) -> Tensor | None:
    """Return the array of 2 or 3 dimensions in a .npy or .pt file, or ``None`` for a file with another suffix.

    Raises:
        InvalidInputError: The file holds no array or several.
        OSError: The file cannot be opened.
    """
    suffix = path.suffix.lower()
    if suffix == ".npz":
        raise InvalidInputError(f"Expected {path} to be one image, got an archive of arrays. Save the image as .npy.")
    if suffix not in _ARRAYS:
        return None
    with path.open("rb") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch warns about some tensors that are refused below
        try:
            array = native(load_array(file)) if suffix == ".npy" else load_tensors(file)
        except (FileFormatError, TypeError) as error:
            raise InvalidInputError(f"Expected {path} to be an array, but it cannot be read: {error}.") from error
    if not isinstance(array, Tensor) or array.dim() not in (2, 3):
        got = f"shape {tuple(array.shape)}" if isinstance(array, Tensor) else type(array).__name__
        raise InvalidInputError(f"Expected {path} to hold an array of shape (H, W), (H, W, C) or (C, H, W), got {got}.")
    return array


def _channels_first(array: Tensor, path: Path) -> Tensor:
    array = unit_interval(array, path)
    if array.dim() == 3 and array.shape[0] not in (1, 3, 4):
        array = array.permute(2, 0, 1)
    return array.unsqueeze(0) if array.dim() == 2 else array


def native(array: np.ndarray) -> Tensor:
    """Convert an array of numbers, of any byte order, to a tensor.

    Raises:
        TypeError: The array does not hold numbers.
    """
    return torch.from_numpy(array.astype(array.dtype.newbyteorder("="), copy=False))


def _with_channels(image: Tensor, channels: int, path: Path) -> Tensor:
    have = len(image)
    if have == 4:
        image, have = image[:3], 3
    if have == channels:
        return image
    if have == 1:
        return image.expand(channels, -1, -1)
    if have == 3 and channels == 1:
        return functional.rgb_to_grayscale(image)
    raise InvalidInputError(f"Expected {path} to have 1, 3 or 4 channels, got {have}.")
