"""Small networks and images, made when the tests run."""

import numpy as np
import pytest
from PIL import Image

from captum_certified.demo import load_digits

NETWORK = """
import torch
from torch import nn


def small():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, stride=2), nn.Softplus(), nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(64, 5)
    )
"""


@pytest.fixture
def arguments(tmp_path_factory, monkeypatch):
    """Arguments of the program: a folder with digits in the form of MNIST and with photographs, and a network."""
    folder, digits = tmp_path_factory.mktemp("material"), load_digits()

    def enlarged(images):
        grown = np.kron((images[:, 0].numpy() * 255).astype(np.uint8), np.ones((1, 3, 3), dtype=np.uint8))
        return np.pad(grown, ((0, 0), (2, 2), (2, 2)))

    np.savez(
        folder / "mnist.npz",
        train_images=enlarged(digits.train_images),
        train_labels=digits.train_labels.numpy(),
        test_images=enlarged(digits.test_images),
        test_labels=digits.test_labels.numpy(),
    )
    np.savez(
        folder / "pneumoniamnist.npz",
        train_images=enlarged(digits.train_images),
        train_labels=digits.train_labels.numpy()[:, None] % 2,
        test_images=enlarged(digits.test_images),
        test_labels=digits.test_labels.numpy()[:, None] % 2,
    )
    generator = np.random.default_rng(0)
    small = generator.integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    np.savez(folder / "cifar10_test.npz", images=small, labels=np.zeros(2, dtype=np.int64))
    (folder / "imagenet").mkdir()
    for number, pixels in enumerate(generator.integers(0, 256, (3, 16, 16, 3), dtype=np.uint8)):
        Image.fromarray(pixels).save(folder / "imagenet" / f"{number:03}.png")
    name = f"reproduced_{folder.name.replace('-', '_')}"
    (folder / f"{name}.py").write_text(NETWORK)
    monkeypatch.syspath_prepend(str(folder))
    return ["--data", str(folder), "--model", f"{name}:small", "--scale", "smoke", "-q"]
