"""The networks of the benchmarks, and the loop that a user would write."""

import sys

import torch
from torch import nn

SIGMA = 0.2


def small():
    """Three convolutions of a 64 × 64 image, so small that bookkeeping takes as long as gradients."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        body = nn.Sequential(
            nn.Conv2d(3, 16, 3, stride=2, padding=1), nn.ReLU(),
            nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.ReLU(),
            nn.Conv2d(32, 32, 3, padding=1), nn.ReLU(),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10),
        )  # fmt: skip
    return frozen(body), picture(3, 64)


def mnist():
    """The paper's network for MNIST."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        body = nn.Sequential(
            nn.Conv2d(1, 9, 3), nn.MaxPool2d(2), nn.Softplus(),
            nn.Conv2d(9, 15, 3), nn.MaxPool2d(2), nn.Softplus(),
            nn.Flatten(), nn.Linear(375, 20), nn.Softplus(), nn.Linear(20, 10),
        )  # fmt: skip
    return frozen(body), picture(1, 28)


def mobilenet(folder):
    """MobileNet v1 for an ImageNet photograph."""
    sys.path.insert(0, str(folder))
    from models import load

    sys.path.remove(str(folder))
    return load("mobilenet_v1_075"), picture(3, 224)


def frozen(model):
    return model.eval().requires_grad_(False)


def picture(channels, side):
    return torch.rand((1, channels, side, side), generator=torch.Generator().manual_seed(0))


def bare_loop(model, image, draws, size):
    """The loop that a user would write: noise, gradient of the largest logit, magnitude, running sum."""
    total = torch.zeros_like(image[0])
    for _ in range(0, draws, size):
        noisy = (image + SIGMA * torch.randn(size, *image.shape[1:], device=image.device)).requires_grad_()
        largest = model(noisy).max(dim=1).values
        total += torch.autograd.grad(largest.sum(), noisy)[0].abs().sum(dim=0)
    return total / draws
