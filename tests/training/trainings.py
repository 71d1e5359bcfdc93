"""Small trainings for the tests of ``fit`` and of its checkpoints."""

import random

import torch
from torch import nn
from torch.utils.data import Dataset

from captum_certified.training import GaussianAugmentationLoss, fit


class Augmented(Dataset):
    """Images with random shifts, drawn from the global generators."""

    def __init__(self, n=30, seed=0):
        generator = torch.Generator().manual_seed(seed)
        self.images = torch.rand(n, 6, generator=generator)

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return self.images[index] + 0.1 * torch.randn(6) + 0.01 * random.random(), index % 3  # noqa: S311


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Softplus(), nn.Dropout(0.3), nn.Linear(8, 3))


def trained(path=None, *, dataset=None, loss=None, epochs=3, make_loss=GaussianAugmentationLoss, **changes):
    """Train a network, and return its weights and the result."""
    model = network()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.5)
    settings = {
        "batch_size": 7,
        "seed": 5,
        "checkpoint": path,
        "checkpoint_every": 2,
        "scheduler": scheduler,
        **changes,
    }
    loss = make_loss(stdev=0.2, seed=4) if loss is None else loss
    result = fit(
        model, Augmented() if dataset is None else dataset, loss, optimizer=optimizer, epochs=epochs, **settings
    )
    return model.state_dict(), result


def assert_same(one, two):
    assert one.keys() == two.keys()
    for name, value in one.items():
        torch.testing.assert_close(value, two[name], rtol=0, atol=0)
