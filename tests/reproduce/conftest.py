"""Material that is made on the spot."""

import numpy as np
import pytest

from captum_certified.demo import load_digits
from captum_certified.reproduce import Material


@pytest.fixture(scope="session")
def material(tmp_path_factory):
    """A folder with a small data set in the form of MNIST: scikit-learn's digits, enlarged."""
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
    return Material(data=folder)
