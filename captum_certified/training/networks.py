"""The paper's network for MNIST, and a small network for chest X-rays."""

from torch import nn

from captum_certified.checks import checked_integer
from captum_certified.randomness import initialised

__all__ = ["mnist_network", "xray_network"]


def mnist_network(seed: int | None = None) -> nn.Sequential:
    """Figure 9. Return the network that the paper trains on MNIST, for images of shape (N, 1, 28, 28).

    The activations are softplus and not ReLU. So the saliency map has a nonzero gradient, which attacks and training
    need.

    Args:
        seed: Seed of the initial weights; ``None`` takes them from PyTorch's global generator.

    Returns:
        The network, in training mode, with logits of shape (N, 10).

    Source:
        Levine, Singla and Feizi (2019), Appendix D.1 and Figure 9.

    Example:
        >>> import torch
        >>> from captum_certified.training import mnist_network
        >>> mnist_network(seed=0)(torch.zeros(2, 1, 28, 28)).shape
        torch.Size([2, 10])
    """
    return initialised(_for_digits, None if seed is None else checked_integer("seed", seed, below=2**64))


def xray_network(seed: int | None = None) -> nn.Sequential:
    """Return a small network for grey images of shape (N, 1, 28, 28), such as the chest X-rays of PneumoniaMNIST.

    Args:
        seed: Seed of the initial weights; ``None`` takes them from PyTorch's global generator.

    Returns:
        The network, in training mode, with logits of shape (N, 2).
        Its last convolution, for Grad-CAM, is ``network[4]``.

    Example:
        >>> import torch
        >>> from captum_certified.training import xray_network
        >>> xray_network(seed=0)(torch.zeros(2, 1, 28, 28)).shape
        torch.Size([2, 2])
    """
    return initialised(_for_xrays, None if seed is None else checked_integer("seed", seed, below=2**64))


def _for_xrays() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 8, 5, stride=2, padding=2),
        nn.ReLU(),
        nn.Conv2d(8, 16, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 16, 3, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(784, 2),
    )


def _for_digits() -> nn.Sequential:
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
