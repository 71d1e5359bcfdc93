"""A small run over ten digits, for tests and for the programs that tests start."""

import torch
from captum.attr import Saliency
from torch import nn

from captum_certified import Certifier, SparsifiedSmoothGrad
from captum_certified.runs import certify_dataset

# The blocks have 64, 64 and 1 draws. The block of one draw has no covariance.
SETTINGS = {"k": 0.2, "radius": 0.05, "nt_samples": 129, "stdevs": 0.2, "covariance": 64, "seed": 7}
BLOCKS = 3


def small_model():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(1, 4, 3), nn.Softplus(), nn.Flatten(), nn.Linear(144, 10)).eval()


def digits(count=10):
    """Return images of scikit-learn's digits and their labels."""
    from sklearn.datasets import load_digits

    stored = load_digits()
    images = torch.as_tensor(stored.images[:count], dtype=torch.float32).unsqueeze(1) / 16
    return images, torch.as_tensor(stored.target[:count])


def certifier(model=None, **settings):
    return Certifier(SparsifiedSmoothGrad(Saliency(model or small_model()), tau=0.2), **settings)


def certify(data, out, **changes):
    """Certify a data set with some settings changed."""
    of = changes.pop("certifier", None) or certifier()
    return certify_dataset(of, data, out=out, **{**SETTINGS, **changes})


def contents(folder):
    """Return the bytes of every file of a folder but the figures, by name."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.suffix != ".png"}
