"""Image files without classes as a data set for training, cropped and mirrored at random."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import Dataset

from captum_certified.exceptions import InvalidInputError
from captum_certified.images.framing import Framing, load_image

__all__ = ["RandomCrops"]


class RandomCrops(Dataset[tuple[Tensor, int]]):
    """Data set of random squares of image files. Each item is a square in [0, 1], shape (C, S, S), and the number 0.

    Each square is mirrored with probability ½. The random choices come from PyTorch's global generator.

    Args:
        files: Image files.
        framing: How images are resized and cropped before a square is cut out.
        side: The side S of a square in pixels. ``None`` takes whole images. All images must then have the same size.
        channels: Channels of the images, 1 or 3.
        exif: Whether to turn images as their EXIF orientation says.

    Example:
        >>> import numpy, tempfile
        >>> file = Path(tempfile.mkdtemp()) / "grey.npy"
        >>> numpy.save(file, numpy.full((8, 8), 0.5, dtype=numpy.float32))
        >>> square, _ = RandomCrops([file], Framing(), 4, channels=1)[0]
        >>> square.shape
        torch.Size([1, 4, 4])
    """

    def __init__(
        self, files: Sequence[Path], framing: Framing, side: int | None, *, channels: int = 3, exif: bool = False
    ) -> None:
        self.files = list(files)
        self.framing = framing
        self.side = side
        self.channels = channels
        self.exif = exif

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image = load_image(self.files[index], self.framing, channels=self.channels, exif=self.exif)[0][0]
        if self.side is not None:
            image = _random_square(image, self.side, self.files[index])
        return (image.flip(2) if int(torch.randint(2, ())) else image), 0


def _random_square(image: Tensor, side: int, file: Path) -> Tensor:
    height, width = image.shape[1:]
    if side > min(height, width):
        raise InvalidInputError(
            f"Expected squares of {side} pixels to fit into the images, got {file} of {width} × {height} pixels."
        )
    top, left = (int(torch.randint(length - side + 1, ())) for length in (height, width))
    return image[:, top : top + side, left : left + side]
