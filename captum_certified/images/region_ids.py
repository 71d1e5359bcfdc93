"""Read the regions of an image from a file: an integer for every pixel, framed as the image is framed."""

import os
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from captum_certified.exceptions import InvalidInputError
from captum_certified.images.framing import Framing, check_stored_size
from captum_certified.images.orientation import UPRIGHT, turned
from captum_certified.images.stored_picture import check_dense, opened, read_picture, stored_array

__all__ = ["load_region_ids"]

# The modes of Pillow that have one integer for each pixel. In mode P the integer is the number of a colour in the
# palette.
_INTEGERS = frozenset({"L", "P", "I", "I;16", "I;16L", "I;16B", "I;16N"})
_LOSSY = frozenset({"JPEG", "MPO", "JPEG2000"})


def load_region_ids(
    path: str | os.PathLike[str],
    framing: Framing,
    image: str | os.PathLike[str],
    *,
    channels: int = 3,
    exif: bool = False,
) -> Tensor:
    """Read the regions of an image and frame them as the image is framed.

    Args:
        path: File of the regions: a grey or palette picture in a lossless format, such as PNG, or a .npy or .pt array
            of integers of shape (H, W). It must have the size of the stored image. Pixels with the same integer are one
            region.
        framing: Resize and crop. Every framed pixel gets the integer of the stored pixel in which its centre lies.
        image: File of the image.
        channels: 1 or 3.
        exif: Whether to turn the regions as the EXIF orientation of the image says.

    Returns:
        The region of every framed pixel, int64, shape (1, 1, height, width). If the crop is larger than the image, the
        added black border is one more region.

    Raises:
        InvalidInputError: The file holds no integers, or has another size than the image.
        OSError: A file cannot be opened.
    """
    ids, picture = _read_ids(Path(path)), read_picture(image, channels=channels)
    height, width = ids.shape
    check_stored_size(f"the regions {os.fspath(path)}", (height, width), image, picture.size)
    upright = turned(ids, picture.orientation if exif else UPRIGHT)
    _, numbers = torch.unique(upright, return_inverse=True)
    height, width = numbers.shape
    y, x = (centres.floor().long() for centres in framing.centres(height, width))
    inside = ((y >= 0) & (y < height)).unsqueeze(1) & ((x >= 0) & (x < width))
    framed: Tensor = numbers[y.clamp(0, height - 1).unsqueeze(1), x.clamp(0, width - 1)]
    border = int(numbers.max()) + 1
    return framed.where(inside, border)[None, None]


def _read_ids(path: Path) -> Tensor:
    """Read an integer for every pixel, int64, shape (H, W)."""
    array = stored_array(path)
    if array is not None:
        check_dense(array, path)
        if array.is_floating_point() or array.is_complex() or array.dtype == torch.bool:
            raise _not_integers(path, str(array.dtype))
        if array.dim() == 3 and 1 not in (array.shape[0], array.shape[2]):
            raise _not_integers(path, f"shape {tuple(array.shape)}")
        if array.dim() == 3:
            array = array[0] if array.shape[0] == 1 else array[..., 0]
        return array.long()
    picture = opened(path)
    if picture.format in _LOSSY:
        raise _not_integers(path, f"{picture.format}, which may change them")
    if picture.mode not in _INTEGERS:
        raise _not_integers(path, f"mode {picture.mode}")
    return torch.from_numpy(np.asarray(picture).astype(np.int64))


def _not_integers(path: Path, got: str) -> InvalidInputError:
    return InvalidInputError(
        f"Expected {path} to hold one integer for each pixel, the number of its region, got {got}. Save the numbers as "
        "a grey PNG or as a .npy array of integers of shape (H, W)."
    )
