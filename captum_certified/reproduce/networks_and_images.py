"""The networks and the images that the experiments use."""

from collections.abc import Callable, Sequence, Sized
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypedDict

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset, TensorDataset

from captum_certified.exceptions import InvalidInputError
from captum_certified.images.framing import Framing, load_image
from captum_certified.runs import labelled_images
from captum_certified.storage import digest

__all__ = ["PIXEL_RANGE", "Material"]


class _PixelRange(TypedDict):
    """The smallest and largest pixel value that an attack may set, as keyword arguments."""

    lower_bound: float
    upper_bound: float


# All images have pixels in [0, 1], and every attack keeps pixels in this range.
PIXEL_RANGE: _PixelRange = {"lower_bound": 0.0, "upper_bound": 1.0}

# Photographs of different sizes, and how they are framed.
_FRAMINGS = {"gtsrb": Framing(resize=32, crop=32), "flowers102": Framing(resize=64, crop=64)}
_PHOTOGRAPHS = ("imagenet", "imagenet64")
_IDENTIFYING_IMAGES = 64  # number of images that are hashed to identify CIFAR-10
_SUFFIXES = frozenset({".jpeg", ".jpg", ".png"})

Images = Dataset[tuple[Tensor, int]]


@dataclass(frozen=True, kw_only=True)
class Material:
    """Where an experiment finds its networks and images.

    Attributes:
        data: Folder with ``mnist.npz`` and ``cifar10_test.npz``, or torchvision's files of these data sets, with
            ``pneumoniamnist.npz`` of MedMNIST, and with a subfolder ``imagenet`` or ``imagenet64`` of photographs.
            Fashion-MNIST, GTSRB and Flowers-102 are read from torchvision's files, or from an archive like MNIST.
        classifier: Function that loads the network of an experiment that does not train its own. The function also
            returns how photographs are resized and cropped for this network.
        networks: Folder for the networks that experiments on CIFAR-10 train for days, so that they can be interrupted.
            ``None`` keeps them in memory.
        device: Where these networks are trained and run.
    """

    data: Path
    classifier: Callable[[], tuple[nn.Module, Framing]] | None = None
    networks: Path | None = None
    device: str = "cpu"

    def identity(self, uses: Sequence[str]) -> dict[str, str]:
        """Return a digest for each name in ``uses``, the names in ``Experiment.uses``.

        An experiment reuses the rows that it stored in an earlier run only if these digests are unchanged.
        """
        digests: dict[str, Callable[[], str]] = {
            "cifar": lambda: self._digest_of_cifar(train=False),
            "cifar-training": lambda: self._digest_of_cifar(train=True),
            "network": self._digest_of_network,
        }
        return {name: digests[name]() if name in digests else self._digest_of(name) for name in uses}

    def labelled(self, name: str, *, train: bool) -> tuple[Tensor, Tensor]:
        """Return all images of a data set, float32 of shape (N, C, H, W) in [0, 1], and their classes.

        Args:
            name: ``"mnist"``, ``"fashion-mnist"``, ``"xrays"``, ``"gtsrb"`` or ``"flowers102"``. Traffic signs are
                framed to 32 × 32 pixels, and flowers to 64 × 64.
            train: Whether to return the training part or the test part.

        Raises:
            InvalidInputError: The data set is not in the folder.
            OSError: The archive of the X-rays is not in the folder.
        """
        if name == "xrays":
            return self.xrays(train=train)
        return _stacked(self._data_set(f"{name}.npz", name, train=train))

    def mnist(self, *, train: bool) -> tuple[Tensor, Tensor]:
        """Return all images of MNIST, float32 of shape (N, 1, 28, 28) in [0, 1], and their classes.

        Raises:
            InvalidInputError: MNIST is not in the folder.
        """
        return self.labelled("mnist", train=train)

    def xrays(self, *, train: bool) -> tuple[Tensor, Tensor]:
        """Return chest X-rays of PneumoniaMNIST, float32 of shape (N, 1, 28, 28) in [0, 1], and their classes.

        Raises:
            OSError: The archive is not in the folder.
        """
        return _stacked(labelled_images(self.data / "pneumoniamnist.npz", train=train))

    def small_images(self, first: int, number: int) -> tuple[nn.Module, Tensor]:
        """Return the network, and test images of CIFAR-10 from index ``first``, shape (number, 3, 32, 32) in [0, 1].

        Raises:
            InvalidInputError: There is no network, or CIFAR-10 is not in the folder.
        """
        model = self.network()
        return model, self.small_pixels(first, number).to(next(model.parameters()))

    def small_pixels(self, first: int, number: int) -> Tensor:
        """Return test images of CIFAR-10 from index ``first``, float32 of shape (number, 3, 32, 32) in [0, 1].

        Raises:
            InvalidInputError: CIFAR-10 is not in the folder.
        """
        images = self._cifar(train=False)
        return torch.stack([images[i][0] for i in range(first, first + number)])

    def cifar_training(self) -> tuple[Tensor, Tensor]:
        """Return the training images of CIFAR-10, float32 of shape (N, 3, 32, 32) in [0, 1], and their classes.

        Raises:
            InvalidInputError: torchvision's files of CIFAR-10 are not in the folder.
        """
        return _stacked(self._cifar(train=True))

    def network(self) -> nn.Module:
        """Return the given network.

        Raises:
            InvalidInputError: There is no network.
        """
        return self._loaded()[0]

    def photographs(self, number: int) -> list[tuple[str, Path]]:
        """Return names and files of photographs that are evenly spaced in the sorted list of all photographs.

        Raises:
            InvalidInputError: The folder has fewer than ``number`` photographs.
        """
        folders = [self.data / name for name in _PHOTOGRAPHS if (self.data / name).is_dir()]
        files = sorted(path for path in folders[0].rglob("*") if path.suffix.lower() in _SUFFIXES) if folders else []
        if len(files) < number:
            raise InvalidInputError(
                f"Expected at least {number} photographs in a folder {' or '.join(_PHOTOGRAPHS)} of {self.data}, got "
                f"{len(files)}."
            )
        chosen = [files[i] for i in np.linspace(0, len(files) - 1, number).round().astype(int)]
        return [("-".join(path.relative_to(folders[0]).with_suffix("").parts), path) for path in chosen]

    def photograph(self, path: Path) -> tuple[nn.Module, Tensor]:
        """Return the network, and a photograph resized and cropped for this network, shape (1, 3, H, W) in [0, 1].

        Raises:
            InvalidInputError: There is no network.
        """
        # The channels-last memory format halves the time of a draw on a CPU, and also saves time on an accelerator.
        last = torch.channels_last
        model, framing = self._loaded()
        image = load_image(path, framing)[0].to(next(model.parameters()))
        return model.to(memory_format=last), image.to(memory_format=last)

    def _digest_of_network(self) -> str:
        """Hash the structure and the weights of the network, and the framing of its images."""
        model, framing = self._loaded()
        return digest((str(model), model.state_dict(), asdict(framing)))

    def _digest_of(self, name: str) -> str:
        return digest([self.labelled(name, train=train) for train in (True, False)])

    def _digest_of_cifar(self, *, train: bool) -> str:
        images = self._cifar(train=train)
        return digest([images[i][0] for i in range(min(_IDENTIFYING_IMAGES, _length(images)))])

    def _cifar(self, *, train: bool) -> Images:
        return self._data_set(f"cifar10_{'train' if train else 'test'}.npz", "cifar10", train=train)

    def _data_set(self, archive: str, name: str, *, train: bool) -> Images:
        """Load a data set from its npz archive, or from torchvision's files if there is no archive."""
        path = self.data / archive
        if path.is_file():
            return labelled_images(path, train=train)
        return labelled_images(name, root=self.data, train=train, framing=_FRAMINGS.get(name))

    def _loaded(self) -> tuple[nn.Module, Framing]:
        if self.classifier is None:
            raise InvalidInputError("Expected a network for this experiment, got none.")
        return self.classifier()


def _length(images: Images) -> int:
    """Return the number of images. All data sets of ``labelled_images`` have a length; the check is for mypy."""
    return len(images) if isinstance(images, Sized) else 0


def _stacked(images: Images) -> tuple[Tensor, Tensor]:
    if _length(images) == 0:
        raise InvalidInputError("Expected images in the data set, got none.")
    if isinstance(images, TensorDataset):
        stacked, labels = images.tensors
        return stacked, labels
    pixels, classes = zip(*(images[i] for i in range(_length(images))), strict=True)
    return torch.stack(pixels), torch.as_tensor(classes, dtype=torch.int64)
