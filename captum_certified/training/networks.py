"""The paper's network for MNIST."""

from torch import nn

from captum_certified.checks import checked_integer
from captum_certified.randomness import initialised

__all__ = ["mnist_network"]


def mnist_network(seed: int | None = None) -> nn.Sequential:
    """Return the network that the paper trains against attacks on saliency, for images of shape (N, 1, 28, 28).

    The activations are softplus, so the saliency map has the gradient that attacks and training need.

    Args:
        seed: Seed of the initial weights; ``None`` takes them from PyTorch's global generator.

    Returns:
        The network, in training mode, with logits of shape (N, 10).

    Source:
        Levine, Singla and Feizi (2019), Appendix D.1.

    Example:
        >>> import torch
        >>> from captum_certified.training import mnist_network
        >>> mnist_network(seed=0)(torch.zeros(2, 1, 28, 28)).shape
        torch.Size([2, 10])
    """
    return initialised(_network, None if seed is None else checked_integer("seed", seed, below=2**64))


def _network() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 9, 3),
        nn.MaxPool2d(2),
        nn.Softplus(),
        nn.Conv2d(9, 15, 3),
        nn.MaxPool2d(2),
        nn.Softplus(),
        nn.Flatten(),
        nn.Linear(375, 20),
        nn.Softplus(),
        nn.Linear(20, 10),
    )
