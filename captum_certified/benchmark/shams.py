"""Sham explanations, which look at no model. Their maps hardly move, so much of their own top sets is certified."""

from collections.abc import Callable
from typing import TypeAlias

import torch
from captum.attr import Attribution
from torch import Tensor
from torch.nn import functional

from captum_certified._captum import Target

__all__ = ["SHAMS", "ConstantMap", "EdgeDetector", "random_map", "shams_of"]

ForwardFunc: TypeAlias = Callable[..., Tensor]

_COARSE, _LARGE = 9, 100  # side of the squares that are averaged first in images of at least this side, in pixels


class ConstantMap(Attribution):
    """Attribute one fixed map to every input. The model serves only to count the classes of noisy copies.

    Args:
        forward_func: The model, or ``None``.
        attributions: The map of one example, without the batch dimension.

    Example:
        >>> ConstantMap(None, torch.tensor([3.0, 1.0])).attribute(torch.zeros(2, 2))
        tensor([[3., 1.],
                [3., 1.]])
    """

    def __init__(self, forward_func: ForwardFunc | None, attributions: Tensor) -> None:
        super().__init__(forward_func)  # type: ignore[arg-type]  # a sham works without a model
        self.attributions = attributions

    def attribute(self, inputs: Tensor, target: Target = None) -> Tensor:  # noqa: ARG002  a sham explains no class
        """Return the fixed map for each of N inputs."""
        return self.attributions.to(inputs).expand_as(inputs)


class EdgeDetector(Attribution):
    """Attribute an image's edges to it: Sobel magnitudes, summed over channels and the same in every channel.

    Args:
        forward_func: The model, or ``None``.
        scale: The image is averaged over squares of this odd side first, so that only edges of this scale remain.

    Example:
        >>> halves = torch.tensor([0.0, 0.0, 1.0, 1.0]).expand(1, 1, 4, 4)
        >>> EdgeDetector(None).attribute(halves)[0, 0, 0]
        tensor([0., 4., 4., 0.])
    """

    def __init__(self, forward_func: ForwardFunc | None, scale: int = 1) -> None:
        super().__init__(forward_func)  # type: ignore[arg-type]  # a sham works without a model
        self.scale = scale

    def attribute(self, inputs: Tensor, target: Target = None) -> Tensor:  # noqa: ARG002  a sham explains no class
        """Return the edges of images of shape (N, C, H, W), in the same shape."""
        border = self.scale // 2
        averaged = functional.avg_pool2d(functional.pad(inputs, (border,) * 4, mode="replicate"), self.scale, stride=1)
        padded = functional.pad(averaged, (1, 1, 1, 1), mode="replicate")
        across, down = padded[..., 2:] - padded[..., :-2], padded[..., 2:, :] - padded[..., :-2, :]
        across = across[..., :-2, :] + 2 * across[..., 1:-1, :] + across[..., 2:, :]
        down = down[..., :-2] + 2 * down[..., 1:-1] + down[..., 2:]
        return torch.hypot(across, down).sum(dim=1, keepdim=True).expand_as(inputs)


SHAMS = frozenset({ConstantMap.__name__, EdgeDetector.__name__})


def random_map(shape: tuple[int, ...], *, seed: int = 0) -> Tensor:
    """Return positive numbers of the given shape without a pattern."""
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), device="cpu")


def shams_of(forward_func: ForwardFunc, inputs: Tensor) -> dict[str, Attribution]:
    """Return the shams by name: a constant map, and for images of shape (N, C, H, W) an edge detector.

    Args:
        forward_func: The model.
        inputs: The inputs to explain, shape (N, …).
    """
    shams: dict[str, Attribution] = {"sham: constant": ConstantMap(forward_func, random_map(tuple(inputs.shape[1:])))}
    if inputs.dim() == 4:
        scale = 1 if min(inputs.shape[2:]) < _LARGE else _COARSE
        shams["sham: edges"] = EdgeDetector(forward_func, scale=scale)
    return shams
