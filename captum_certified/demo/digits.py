"""Scikit-learn's handwritten digits, and a classifier that is trained on them in seconds."""

import importlib
from typing import NamedTuple

import torch
from torch import Tensor, nn

from captum_certified._captum import progress_bar
from captum_certified.exceptions import CaptumCertifiedError
from captum_certified.randomness import IsolatedRandomness

__all__ = ["Digits", "load_digits", "train_classifier"]

_TEST_IMAGES = 297
_EPOCHS = 25
_BATCH = 64


class Digits(NamedTuple):
    """1797 images of 8 × 8 grey pixels in [0, 1], split at random into training and test images with a fixed seed.

    Attributes:
        train_images: Shape (1500, 1, 8, 8).
        train_labels: Shape (1500,).
        test_images: Shape (297, 1, 8, 8).
        test_labels: Shape (297,).
    """

    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor


def load_digits() -> Digits:
    """Load the digits that come with scikit-learn. No download is needed.

    Raises:
        CaptumCertifiedError: Scikit-learn is not installed.
    """
    try:
        datasets = importlib.import_module("sklearn.datasets")
    except ImportError as error:
        raise CaptumCertifiedError(
            "Expected scikit-learn for the digits of the demo, but it is not installed; "
            "run: pip install 'captum-certified[demo]'"
        ) from error
    stored = datasets.load_digits()
    images = torch.as_tensor(stored.images, dtype=torch.float32, device="cpu").unsqueeze(1) / 16
    labels = torch.as_tensor(stored.target, dtype=torch.int64, device="cpu")
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0), device="cpu")
    test, train = order[:_TEST_IMAGES], order[_TEST_IMAGES:]
    return Digits(images[train], labels[train], images[test], labels[test])


def train_classifier(digits: Digits, *, sigma: float, seed: int, show_progress: bool = False) -> nn.Module:
    """Train a small convolutional network on noisy digits, so that the network is accurate under noise.

    Args:
        digits: The images and their labels.
        sigma: Standard deviation of the noise.
        seed: Seed of the initial weights, the order of the images, and the noise. The global random generators are
            untouched.
        show_progress: Show a progress bar on stderr.

    Returns:
        The network, in evaluation mode.
    """
    cpu = torch.device("cpu")
    with IsolatedRandomness(cpu)(seed), cpu:
        model = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1),
            nn.Softplus(),
            nn.Conv2d(16, 32, 3, padding=1, stride=2),
            nn.Softplus(),
            nn.Flatten(),
            nn.Linear(32 * 4 * 4, 10),
        )
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    with progress_bar(total=_EPOCHS, description="training a classifier", show=show_progress) as bar:
        for _ in range(_EPOCHS):
            order = torch.randperm(len(digits.train_labels), generator=generator, device="cpu")
            for batch in torch.split(order, _BATCH):
                images = digits.train_images[batch]
                noisy = images + sigma * torch.randn(images.shape, generator=generator, device="cpu")
                loss = nn.functional.cross_entropy(model(noisy), digits.train_labels[batch])
                optimizer.zero_grad()
                torch.autograd.backward(loss)
                optimizer.step()
            bar.update(1)
    return model.eval()
