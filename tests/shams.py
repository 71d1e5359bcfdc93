"""One more sham beside those of the package: a map with a pattern."""

import torch
from torch import Tensor

__all__ = ["centred_bump"]


def centred_bump(shape: tuple[int, ...]) -> Tensor:
    """Return a Gaussian bump of shape (C, H, W), a little off the middle so that no two entries are equal."""
    _, height, width = shape
    down, across = torch.linspace(-1.01, 1, height).unsqueeze(1), torch.linspace(-1, 1.003, width)
    return torch.exp(-2 * (down.square() + across.square())).expand(shape)
