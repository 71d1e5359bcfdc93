"""The paper's network for MNIST, the same for other images, and a small network for chest X-rays."""

import functools

from torch import nn

from captum_certified.checks import checked_integer
from captum_certified.randomness import initialised

__all__ = ["mnist_network", "softplus_network", "xray_network"]


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
    return softplus_network(1, 28, 10, seed=seed)


def softplus_network(
    channels: int, side: int, classes: int, *, width: int = 20, seed: int | None = None
) -> nn.Sequential:
    """Return a network like :func:`mnist_network` for square images with other channels, sides or classes.

    Args:
        channels: Number of channels of an image.
        side: Height and width of an image in pixels, at least 10.
        classes: Number of classes.
        width: Number of neurons in the layer before the logits.
        seed: Seed of the initial weights; ``None`` takes them from PyTorch's global generator.

    Returns:
        The network, in training mode, for images of shape (N, channels, side, side), with logits of shape (N, classes).

    Raises:
        InvalidInputError: An argument is not what was expected.

    Example:
        >>> import torch
        >>> from captum_certified.training import softplus_network
        >>> softplus_network(3, 32, 43, seed=0)(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 43])
    """
    build = functools.partial(
        _with_softplus,
        checked_integer("channels", channels, at_least=1),
        checked_integer("side", side, at_least=10),
        checked_integer("classes", classes, at_least=1),
        checked_integer("width", width, at_least=1),
    )
    return initialised(build, None if seed is None else checked_integer("seed", seed, below=2**64))


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


def _with_softplus(channels: int, side: int, classes: int, width: int) -> nn.Sequential:
    left = ((side - 2) // 2 - 2) // 2  # height and width after both convolutions and poolings
    return nn.Sequential(
        nn.Conv2d(channels, 9, 3),
        nn.MaxPool2d(2),
        nn.Softplus(),
        nn.Conv2d(9, 15, 3),
        nn.MaxPool2d(2),
        nn.Softplus(),
        nn.Flatten(),
        nn.Linear(15 * left * left, width),
        nn.Softplus(),
        nn.Linear(width, classes),
    )
