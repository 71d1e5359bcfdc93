"""Images with their classes, to train on and to measure on: archives, folders, and torchvision's data sets."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset, TensorDataset
from torchvision import datasets
from torchvision.transforms import functional as transforms

from captum_certified.exceptions import FileFormatError, InvalidInputError
from captum_certified.runs.images import Framing, load_image
from captum_certified.smoothing import load_arrays

__all__ = ["labelled_images"]

_TRAIN, _TEST = ("train",), ("test", "val")
_TORCHVISION: dict[str, Any] = {
    "mnist": datasets.MNIST,
    "fashion-mnist": datasets.FashionMNIST,
    "cifar10": datasets.CIFAR10,
    "cifar100": datasets.CIFAR100,
}


def labelled_images(
    source: str | os.PathLike[str],
    *,
    train: bool = True,
    root: str | os.PathLike[str] = "data",
    download: bool = False,
    framing: Framing | None = None,
    channels: int = 3,
) -> Dataset[Any]:
    """A data set of images in [0, 1], float32 of shape (C, H, W), and classes.

    Args:
        source: An ``.npz`` archive with arrays ``train_images`` and ``train_labels`` (or ``test_``; or ``images`` and
            ``labels``, where one part is all there is), of unsigned bytes and of shape (N, H, W) or (N, H, W, C); a
            folder with one folder of image files for each class, or with such folders named ``train`` and ``test`` or
            ``val``; or one of torchvision's data sets: ``mnist``, ``fashion-mnist``, ``cifar10``, ``cifar100``.
        train: The part to train on, or the one to test on; of a source without parts both are all of it.
        root: Folder of torchvision's data sets.
        download: Whether torchvision may fetch them.
        framing: How the images of a folder are resized and cropped.
        channels: Channels of the images of a folder, 1 or 3.

    Returns:
        A data set with a length.

    Raises:
        InvalidInputError: There is no such source.
        FileFormatError: An archive holds something else.
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
        return _folder(parts[0] if parts else path, framing or Framing(), channels)
    name = str(source).lower()
    if name not in _TORCHVISION:
        raise InvalidInputError(
            f"Expected `source` to be an .npz archive, a folder, or one of {sorted(_TORCHVISION)}, got {source!r}."
        )
    try:
        found: Dataset[Any] = _TORCHVISION[name](root, train=train, download=download, transform=transforms.to_tensor)
    except RuntimeError as error:
        raise InvalidInputError(f"Expected {name} in `root` {os.fspath(root)!r}, got: {error}") from error
    return found


def _archive(path: Path, part: str) -> TensorDataset:
    with path.open("rb") as file:
        try:
            arrays = load_arrays(file)
            prefix = f"{part}_" if f"{part}_images" in arrays else ""
            images, labels = arrays[f"{prefix}images"], arrays[f"{prefix}labels"]
        except (FileFormatError, KeyError) as error:
            raise FileFormatError(
                f"Expected {path} to be an archive with arrays {part}_images and {part}_labels, or images and labels, "
                f"got: {error}"
            ) from error
    whole = np.issubdtype(labels.dtype, np.integer) and images.dtype == np.uint8 and images.ndim in (3, 4)
    if not whole or labels.shape != images.shape[:1]:
        raise FileFormatError(
            f"Expected images of {path} as bytes of shape (N, H, W) or (N, H, W, C) and N integer labels, got "
            f"{images.dtype} of shape {images.shape} and {labels.dtype} of shape {labels.shape}."
        )
    pixels = torch.from_numpy(images).float() / 255
    pixels = pixels.unsqueeze(1) if pixels.dim() == 3 else pixels.permute(0, 3, 1, 2).contiguous()
    return TensorDataset(pixels, torch.from_numpy(labels.astype(np.int64)))


def _folder(path: Path, framing: Framing, channels: int) -> Dataset[Any]:
    try:
        return datasets.ImageFolder(path, loader=lambda name: load_image(name, framing, channels=channels)[0][0])
    except FileNotFoundError as error:
        raise InvalidInputError(f"Expected one folder for each class in {path}, got: {error}") from error
