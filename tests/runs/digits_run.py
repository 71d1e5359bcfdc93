"""A run over ten digits, small enough for tests: imported by them, and by the programs they start."""

import torch
from captum.attr import Saliency
from torch import nn

from captum_certified import Certifier, SparsifiedSmoothGrad
from captum_certified.runs import certify_dataset

# Blocks of 64 draws: the last one of 1 draw has no covariance of its own.
SETTINGS = {"k": 0.2, "radius": 0.05, "nt_samples": 129, "stdevs": 0.2, "covariance": 64, "seed": 7}
BLOCKS = 3


def small_model():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(1, 4, 3), nn.Softplus(), nn.Flatten(), nn.Linear(144, 10)).eval()


def digits(count=10):
    """Images of scikit-learn's digits and their labels."""
    from sklearn.datasets import load_digits

    stored = load_digits()
    images = torch.as_tensor(stored.images[:count], dtype=torch.float32).unsqueeze(1) / 16
    return images, torch.as_tensor(stored.target[:count])


def certifier(model=None, **settings):
    return Certifier(SparsifiedSmoothGrad(Saliency(model or small_model()), tau=0.2), **settings)


def certify(data, out, **changes):
    """The run, with some settings changed."""
    of = changes.pop("certifier", None) or certifier()
    return certify_dataset(of, data, out=out, **{**SETTINGS, **changes})


def contents(folder):
    """The bytes of every file of a folder but the figures, by name."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.suffix != ".png"}
