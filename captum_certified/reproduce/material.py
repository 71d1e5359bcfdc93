"""Networks and images that experiments are made with."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from captum_certified.exceptions import InvalidInputError
from captum_certified.runs import labelled_images

__all__ = ["Material"]


@dataclass(frozen=True, kw_only=True)
class Material:
    """Where the material of an experiment is found.

    Attributes:
        data: Folder with ``mnist.npz``, or with torchvision's files of MNIST.
    """

    data: Path

    def mnist(self, *, train: bool) -> tuple[Tensor, Tensor]:
        """All images of MNIST, float32 of shape (N, 1, 28, 28) in [0, 1], and their classes.

        Raises:
            InvalidInputError: There is no MNIST in the folder.
        """
        archive = self.data / "mnist.npz"
        images: Dataset[Any] = (
            labelled_images(archive, train=train)
            if archive.is_file()
            else labelled_images("mnist", root=self.data, train=train)
        )
        return _stacked(images)


def _stacked(images: Any) -> tuple[Tensor, Tensor]:
    if len(images) == 0:
        raise InvalidInputError("Expected images in the data set, got none.")
    pixels, classes = zip(*(images[i] for i in range(len(images))), strict=True)
    return torch.stack(pixels), torch.as_tensor(classes, dtype=torch.int64)
