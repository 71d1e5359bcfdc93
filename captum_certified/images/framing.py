"""Read image files as tensors in [0, 1], resized and cropped for a model, and find regions in these images."""

import os
import warnings
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torchvision.transforms import InterpolationMode

from captum_certified.exceptions import InvalidInputError
from captum_certified.images.orientation import UPRIGHT, Box, turned_box
from captum_certified.images.stored_picture import StoredPicture, read_picture, transforms

__all__ = ["Framing", "check_stored_size", "framed", "load_image", "load_image_and_region", "load_mask", "region_mask"]


_MARKED = 0.5


@dataclass(frozen=True)
class Framing:
    """How an image is fitted to a model: the shorter side is resized, then the centre is cropped.

    Args:
        resize: New length of the shorter side, in pixels. ``None`` does not resize.
        crop: Side of the central square, in pixels. ``None`` does not crop.
        interpolation: A value of torchvision's ``InterpolationMode``.

    Example:
        >>> from captum_certified.runs import Framing
        >>> Framing(resize=256, crop=224).resized(300, 400)
        (256, 341)
    """

    resize: int | None = None
    crop: int | None = None
    interpolation: str = "bilinear"

    def resized(self, height: int, width: int) -> tuple[int, int]:
        """Return height and width after resizing, by torchvision's rule."""
        if self.resize is None:
            return height, width
        if height <= width:
            return self.resize, int(self.resize * width / height)
        return int(self.resize * height / width), self.resize

    def offsets(self, height: int, width: int) -> tuple[int, int]:
        """Return the top and left offset of the crop in the resized image. Offsets are negative if it is padded."""
        if self.crop is None:
            return 0, 0
        return _offset(height, self.crop), _offset(width, self.crop)

    def centres(self, height: int, width: int) -> tuple[Tensor, Tensor]:
        """Return where the centres of the framed pixels lie in an image of this size.

        Returns:
            The positions of rows and columns in pixels of the image, float64. Positions of padded pixels are outside
            the image.
        """
        resized = self.resized(height, width)
        y, x = (
            (torch.arange(self.crop or length, device="cpu").double() + offset + 0.5) * original / length
            for length, offset, original in zip(resized, self.offsets(*resized), (height, width), strict=True)
        )
        return y, x


def _offset(length: int, crop: int) -> int:
    """Return the offset of a centre crop, rounded as in torchvision: down for padding, half to even for a cut."""
    return -((crop - length) // 2) if length < crop else round((length - crop) / 2.0)


def load_image(
    path: str | os.PathLike[str], framing: Framing, *, channels: int = 3, exif: bool = False
) -> tuple[Tensor, tuple[int, int]]:
    """Read an image and frame it.

    Args:
        path: A file of any format that Pillow reads, including 16-bit and float greyscale, or a .npy or .pt array of
            shape (H, W), (H, W, C) or (C, H, W). Booleans and unsigned integers of 8 or 16 bits are divided by the
            largest value of their type. Floats must be in [0, 1]. Transparency is dropped.
        framing: Resize and crop.
        channels: 1 or 3.
        exif: Whether to turn the picture as its EXIF orientation says. Otherwise it is read as it is stored, and a
            warning tells if viewers show it turned. (Pillow always turns a TIFF.)

    Returns:
        The image in [0, 1], float32 of shape (1, channels, height, width), and (height, width) of the file as stored.

    Raises:
        InvalidInputError: The file holds no image, or an image whose scale is unknown.
        OSError: The file cannot be opened.
    """
    stored = read_picture(path, channels=channels)
    return framed(_oriented(stored, path, exif), framing), stored.size


def load_image_and_region(
    path: str | os.PathLike[str],
    framing: Framing,
    box: Box | None,
    *,
    channels: int = 3,
    exif: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """Read and frame an image, and find a region of the file in the framed image.

    Args:
        path: File, as in :func:`load_image`.
        framing: Resize and crop.
        box: X0, Y0, X1, Y1 in pixels of the file as it is stored, or ``None`` for no region.
        channels: 1 or 3.
        exif: Whether to turn the picture and the region as the EXIF orientation says.

    Returns:
        The image as in :func:`load_image`, and the region as booleans of the same shape, or ``None``.

    Raises:
        InvalidInputError: The file holds no image, or no pixel of the box is in the framed image.
        OSError: The file cannot be opened.
    """
    stored = read_picture(path, channels=channels)
    image = framed(_oriented(stored, path, exif), framing)
    if box is None:
        return image, None
    mask = region_mask(box, framing, stored.size, orientation=stored.orientation if exif else UPRIGHT)
    return image, mask.expand(1, channels, -1, -1)


def load_mask(
    path: str | os.PathLike[str],
    framing: Framing,
    image: str | os.PathLike[str],
    *,
    channels: int = 3,
    exif: bool = False,
) -> Tensor:
    """Read a mask of an image, and frame it like the image.

    Args:
        path: File of the mask, as in :func:`load_image`. It must have the size of the stored image.
            Pixels of at least half of the largest value are marked.
        framing: Resize and crop.
        image: File of the image.
        channels: 1 or 3.
        exif: Whether to turn the mask as the EXIF orientation of the image says.

    Returns:
        Booleans of shape (1, channels, height, width). After resizing, values of at least ½ are marked.

    Raises:
        InvalidInputError: The mask is not an image, or has another size than the image, or no marked pixel is in the
            framed image.
        OSError: A file cannot be opened.
    """
    mask, picture = read_picture(path, channels=1), read_picture(image, channels=channels)
    check_stored_size(f"the mask {os.fspath(path)}", mask.size, image, picture.size)
    if exif:
        mask = replace(mask, orientation=picture.orientation).upright()
    marked = framed(mask, framing) >= _MARKED
    if not bool(marked.any()):
        raise InvalidInputError(f"Expected the mask {os.fspath(path)} to mark a pixel of the cropped image, got none.")
    return marked.expand(1, channels, -1, -1)


def check_stored_size(
    named: str, size: tuple[int, int], image: str | os.PathLike[str], expected: tuple[int, int]
) -> None:
    """Refuse a file whose stored height and width differ from those of the image to which it belongs.

    Raises:
        InvalidInputError: The sizes differ.
    """
    if size != expected:
        raise InvalidInputError(
            f"Expected {named} to have the {expected[1]} × {expected[0]} pixels of {os.fspath(image)} as it is stored, "
            f"got {size[1]} × {size[0]}."
        )


def framed(stored: StoredPicture, framing: Framing) -> Tensor:
    """Resize and crop a picture to float32 in [0, 1] of shape (1, channels, height, width)."""
    pixels = stored.pixels
    if framing.resize is not None:
        mode = InterpolationMode(framing.interpolation)
        pixels = transforms.resize(pixels, [framing.resize], mode, antialias=True)
    if framing.crop is not None:
        pixels = transforms.center_crop(pixels, [framing.crop])
    image: Tensor = pixels if isinstance(pixels, Tensor) else transforms.to_tensor(pixels)
    return image.clamp(0, 1).unsqueeze(0)


def _oriented(stored: StoredPicture, path: str | os.PathLike[str], exif: bool) -> StoredPicture:
    if exif:
        return stored.upright()
    if stored.orientation != UPRIGHT:
        warnings.warn(
            f"{os.fspath(path)} has EXIF orientation {stored.orientation}, but is read as it is stored, not as viewers "
            "show it. Give `--exif` (`exif=True`) to turn it upright.",
            UserWarning,
            stacklevel=3,
        )
    return stored


def region_mask(box: Box, framing: Framing, size: tuple[int, int], *, orientation: int = UPRIGHT) -> Tensor:
    """Mark the pixels of the framed image whose centres lie in a box of the file.

    Args:
        box: X0, Y0, X1, Y1 in pixels of the file as it is stored, from its upper left corner.
        framing: Resize and crop.
        size: Height and width of the file as it is stored.
        orientation: The EXIF orientation by which the picture was turned before it was framed.

    Returns:
        Booleans of shape (1, 1, height, width).

    Raises:
        InvalidInputError: The box is not within the file, or no pixel of it is in the framed image.
    """
    if min(box) < 0 or box[2] > size[1] or box[3] > size[0]:
        raise InvalidInputError(
            f"Expected `--region` within the {size[1]} × {size[0]} pixels of the file as it is stored, got {box}."
        )
    (x0, y0, x1, y1), upright = turned_box(box, size, orientation)
    y, x = framing.centres(*upright)
    mask = ((y >= y0) & (y < y1)).unsqueeze(1) & ((x >= x0) & (x < x1))
    if not bool(mask.any()):
        raise InvalidInputError(
            f"Expected `--region` to show in the cropped image, got {box} of a file of {size[::-1]}."
        )
    return mask[None, None]
