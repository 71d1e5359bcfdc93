"""Explanations that look at no model. Their maps hardly move, so much of their own top sets is certified."""

import torch
from captum.attr import Attribution
from torch import Tensor
from torch.nn import functional


class ConstantMap(Attribution):
    """Attribute one fixed map to every input. The model serves only to count the classes of noisy copies.

    Args:
        forward_func: The model, or ``None``.
        attributions: The map of one example, shape (C, H, W).
    """

    def __init__(self, forward_func, attributions: Tensor) -> None:
        super().__init__(forward_func)
        self.attributions = attributions

    def attribute(self, inputs: Tensor, target=None) -> Tensor:
        return self.attributions.to(inputs).expand_as(inputs)


class EdgeDetector(Attribution):
    """Attribute an image's edges to it: Sobel magnitudes, summed over channels and the same in every channel.

    Args:
        forward_func: The model, or ``None``.
        scale: The image is averaged over squares of this odd side first, so that only edges of this scale remain.
    """

    def __init__(self, forward_func, scale: int = 1) -> None:
        super().__init__(forward_func)
        self.scale = scale

    def attribute(self, inputs: Tensor, target=None) -> Tensor:
        border = self.scale // 2
        averaged = functional.avg_pool2d(functional.pad(inputs, (border,) * 4, mode="replicate"), self.scale, stride=1)
        padded = functional.pad(averaged, (1, 1, 1, 1), mode="replicate")
        across, down = padded[..., 2:] - padded[..., :-2], padded[..., 2:, :] - padded[..., :-2, :]
        across = across[..., :-2, :] + 2 * across[..., 1:-1, :] + across[..., 2:, :]
        down = down[..., :-2] + 2 * down[..., 1:-1] + down[..., 2:]
        return torch.hypot(across, down).sum(dim=1, keepdim=True).expand_as(inputs)


def random_map(shape: tuple[int, ...], *, seed: int = 0) -> Tensor:
    """Return positive numbers of shape (C, H, W) without a pattern."""
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def centred_bump(shape: tuple[int, ...]) -> Tensor:
    """Return a Gaussian bump of shape (C, H, W), a little off the middle so that no two entries are equal."""
    _, height, width = shape
    down, across = torch.linspace(-1.01, 1, height).unsqueeze(1), torch.linspace(-1, 1.003, width)
    return torch.exp(-2 * (down.square() + across.square())).expand(shape)
