"""Load images with their classes, from an archive, a folder, or a data set of torchvision."""

import functools
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset, TensorDataset
from torchvision import datasets
from torchvision.transforms import functional as transforms

from captum_certified.exceptions import FileFormatError, InvalidInputError
from captum_certified.images.framing import Framing, framed
from captum_certified.images.orientation import UPRIGHT
from captum_certified.images.stored_picture import StoredPicture, native, read_picture, unit_interval
from captum_certified.storage import load_arrays

__all__ = ["labelled_images"]

_CHANNELS = (1, 3)
_TRAIN, _TEST = ("train",), ("test", "val")
_TORCHVISION: dict[str, Callable[..., Dataset[tuple[Tensor, int]]]] = {
    "mnist": datasets.MNIST,
    "fashion-mnist": datasets.FashionMNIST,
    "cifar10": datasets.CIFAR10,
    "cifar100": datasets.CIFAR100,
}
# Photographs of different sizes, which are framed. torchvision's classes have a split instead of a flag.
_PHOTOGRAPHS: dict[str, Callable[..., Dataset[tuple[Tensor, int]]]] = {
    "gtsrb": datasets.GTSRB,
    "flowers102": datasets.Flowers102,
}


def labelled_images(
    source: str | os.PathLike[str],
    *,
    train: bool = True,
    root: str | os.PathLike[str] = "data",
    download: bool = False,
    framing: Framing | None = None,
    channels: int = 3,
    exif: bool = False,
) -> Dataset[Any]:
    """Return a data set of images in [0, 1], float32 of shape (C, H, W), and their classes.

    Args:
        source: An ``.npz`` archive, a folder of image files, or the name of a data set of torchvision.

            - An archive has the arrays ``train_images`` and ``train_labels``, ``test_images`` and ``test_labels``, or,
              without a split, ``images`` and ``labels``. Images are unsigned integers of 8 or 16 bits, or floats in
              [0, 1], of shape (N, H, W), (N, C, H, W) or (N, H, W, C). Labels are integers from 0, of shape (N,), or
              (N, 1) as in MedMNIST.
            - A folder has one subfolder of image files for each class. Or it has a folder ``train`` and a folder
              ``test`` or ``val``, each of which has one subfolder for each class.
            - The names are ``mnist``, ``fashion-mnist``, ``cifar10``, ``cifar100``, ``gtsrb`` and ``flowers102``.
        train: Whether to return the training part; ``False`` returns the test part. If the source has no parts, all
            images are returned.
        root: Folder in which torchvision stores its data sets.
        download: Whether torchvision may download a data set that is not in ``root``.
        framing: How to resize and crop the images of a folder, and of ``gtsrb`` and ``flowers102``.
        channels: Channels of the images of a folder, 1 or 3.
        exif: Whether to turn the images of a folder as their EXIF orientation says.

    Returns:
        A data set with a length.

    Raises:
        InvalidInputError: ``source`` is none of the above, or names a data set that is not in ``root``.
        FileFormatError: An archive is corrupt, or holds other arrays.
        OSError: A file cannot be opened.

    Example:
        >>> from captum_certified.runs import labelled_images
        >>> labelled_images("digits.npz")
        Traceback (most recent call last):
        FileNotFoundError: [Errno 2] No such file or directory: 'digits.npz'
    """
    path = Path(source)
    if path.suffix.lower() == ".npz":
        return _archive(path, "train" if train else "test")
    if path.is_dir():
        parts = [path / name for name in (_TRAIN if train else _TEST) if (path / name).is_dir()]
        return _folder(parts[0] if parts else path, framing or Framing(), channels, exif)
    name = str(source).lower()
    names = sorted({**_TORCHVISION, **_PHOTOGRAPHS})
    if name not in names:
        raise InvalidInputError(
            f"Expected `source` to be an .npz archive, a folder, or one of {names}, got {source!r}."
        )
    try:
        if name in _PHOTOGRAPHS:
            part = _TRAIN[0] if train else _TEST[0]
            frame = functools.partial(_framed_photograph, framing or Framing())
            return _PHOTOGRAPHS[name](root, split=part, download=download, transform=frame)
        return _TORCHVISION[name](root, train=train, download=download, transform=transforms.to_tensor)
    except RuntimeError as error:
        raise InvalidInputError(f"Expected {name} in `root` {os.fspath(root)!r}, got: {error}") from error


def _framed_photograph(framing: Framing, photograph: Image.Image) -> Tensor:
    return framed(StoredPicture(photograph), framing)[0]


def _archive(path: Path, part: str) -> TensorDataset:
    with path.open("rb") as file:
        try:
            arrays = load_arrays(file)
        except FileFormatError as error:
            raise FileFormatError(f"Expected {path} to be an archive of images, but {error}.") from error
    prefix = f"{part}_" if f"{part}_images" in arrays else ""
    try:
        images, labels = arrays[f"{prefix}images"], arrays[f"{prefix}labels"]
    except KeyError as error:
        raise FileFormatError(
            f"Expected {path} to have arrays {part}_images and {part}_labels, or images and labels, got "
            f"{sorted(arrays)}."
        ) from error
    return TensorDataset(_channels_first(_pixels(images, path), path), _classes(labels, images.shape[:1], path))


def _classes(labels: np.ndarray, expected: tuple[int, ...], path: Path) -> Tensor:
    if labels.shape == (*expected, 1):
        labels = labels[:, 0]
    if not np.issubdtype(labels.dtype, np.integer) or labels.shape != expected:
        raise FileFormatError(
            f"Expected {expected[0] if expected else 0} integer labels in {path}, got {labels.dtype} of shape "
            f"{labels.shape}."
        )
    classes = torch.from_numpy(labels.astype(np.int64))
    if bool((classes < 0).any()):
        raise FileFormatError(f"Expected labels from 0 in {path}, got {int(classes.min())}.")
    return classes


def _pixels(images: np.ndarray, path: Path) -> Tensor:
    try:
        return unit_interval(native(images), path, FileFormatError)
    except TypeError as error:
        raise FileFormatError(f"Expected images of {path} as numbers, got {images.dtype}.") from error


def _channels_first(pixels: Tensor, path: Path) -> Tensor:
    """Return pixels of shape (N, H, W), (N, C, H, W) or (N, H, W, C), with 1 or 3 channels, in shape (N, C, H, W)."""
    if pixels.dim() == 3:
        return pixels.unsqueeze(1)
    if pixels.dim() == 4 and pixels.shape[1] in _CHANNELS:
        return pixels
    if pixels.dim() == 4 and pixels.shape[3] in _CHANNELS:
        return pixels.permute(0, 3, 1, 2).contiguous()
    raise FileFormatError(
        f"Expected images of {path} of shape (N, H, W), (N, C, H, W) or (N, H, W, C) with 1 or 3 channels, got "
        f"{tuple(pixels.shape)}."
    )


def _folder(path: Path, framing: Framing, channels: int, exif: bool) -> datasets.ImageFolder:
    def load(name: str) -> Tensor:
        stored = read_picture(name, channels=channels)
        if not exif and stored.orientation != UPRIGHT:
            # The message does not name the file. Python therefore shows the warning once and not for every file.
            warnings.warn(
                f"Images in {path} have an EXIF orientation, but are read as they are stored, not as viewers show "
                "them. Give `--exif` (`exif=True`) to turn them upright.",
                UserWarning,
                stacklevel=2,
            )
        return framed(stored.upright() if exif else stored, framing)[0]

    try:
        return datasets.ImageFolder(path, loader=load)
    except FileNotFoundError as error:
        raise InvalidInputError(f"Expected one folder for each class in {path}, got: {error}") from error
