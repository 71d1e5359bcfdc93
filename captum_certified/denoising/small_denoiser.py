"""A small convolutional denoiser that can be trained on a CPU in minutes."""

from torch import Tensor, nn
from torch.nn import functional

from captum_certified.checks import checked_integer
from captum_certified.exceptions import InvalidInputError
from captum_certified.randomness import initialised

__all__ = ["restored_denoiser", "small_denoiser"]

# Sides of images are padded to multiples of this number: the side of the cells of the first layer, 4 pixels, times 2,
# because the resolution is halved once more.
_CELL, _MULTIPLE = 4, 8
# Names in a state dict: the name of the weights of the first layer, and the beginning of every name in the blocks for
# cells of 8 × 8 pixels.
_HEAD, _BLOCKS = "head.weight", "coarse."


class _SmallDenoiser(nn.Module):
    """The network of :func:`small_denoiser`. Its last layer begins at zero, so it returns its input before training."""

    def __init__(self, channels: int, width: int, depth: int) -> None:
        super().__init__()
        values = channels * _CELL**2
        self.head = nn.Conv2d(values, width, 3, padding=1)
        self.fine_in = _Residual(width)
        self.down = nn.Conv2d(width, 2 * width, 2, stride=2)
        self.coarse = nn.Sequential(*(_Residual(2 * width) for _ in range(depth)))
        self.up = nn.ConvTranspose2d(2 * width, width, 2, stride=2)
        self.fine_out = _Residual(width)
        self.tail = nn.Conv2d(width, values, 3, padding=1)
        _begin_at_zero(self.tail)

    def forward(self, images: Tensor) -> Tensor:
        """Return denoised images, shape (N, C, H, W) as the noisy images. Values may be slightly outside [0, 1]."""
        height, width = images.shape[2:]
        padded = functional.pad(images, (0, -width % _MULTIPLE, 0, -height % _MULTIPLE), mode="replicate")
        fine = self.fine_in(self.head(functional.pixel_unshuffle(padded, _CELL)))
        fine = self.fine_out(fine + self.up(self.coarse(self.down(fine))))
        noise = functional.pixel_shuffle(self.tail(fine), _CELL)
        return images - noise[:, :, :height, :width]


class _Residual(nn.Module):
    """Two convolutions, added to their input. Every activation is a separate module, because hooks need modules."""

    def __init__(self, width: int) -> None:
        super().__init__()
        last = nn.Conv2d(width, width, 3, padding=1)
        _begin_at_zero(last)  # without this, deep networks without normalisation hardly learn at first
        self.body = nn.Sequential(nn.Conv2d(width, width, 3, padding=1), nn.ReLU(), last)

    def forward(self, features: Tensor) -> Tensor:
        changed: Tensor = self.body(features)
        return features + changed


def _begin_at_zero(layer: nn.Conv2d) -> None:
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)


def small_denoiser(channels: int = 3, *, width: int = 64, depth: int = 3, seed: int | None = None) -> nn.Module:
    """Return an untrained residual U-net, which estimates the noise of an image and subtracts it.

    The network works on cells of 4 × 4 and of 8 × 8 pixels. So it takes about as much time as a small classifier, and
    can be trained on a CPU in minutes. It has no batch normalisation, so it is the same function in training and in
    evaluation mode. Before training it returns its input.

    Args:
        channels: Channels of the images.
        width: Channels of the network for cells of 4 × 4 pixels. For cells of 8 × 8 pixels there are twice as many.
        depth: Number of residual blocks for cells of 8 × 8 pixels.
        seed: Seed of the initial weights; ``None`` takes them from PyTorch's global generator.

    Returns:
        A network from images of shape (N, channels, H, W), of any height and width, to images of this shape. Values may
        be slightly outside [0, 1].

    Raises:
        InvalidInputError: ``channels``, ``width`` or ``depth`` is not an integer >= 1, or ``seed`` is not an integer >=
            0.

    Example:
        >>> import torch
        >>> from captum_certified.denoising import small_denoiser
        >>> small_denoiser(channels=1, seed=0)(torch.rand(2, 1, 28, 28)).shape
        torch.Size([2, 1, 28, 28])
    """
    channels = checked_integer("channels", channels, at_least=1)
    width = checked_integer("width", width, at_least=1)
    depth = checked_integer("depth", depth, at_least=1)
    seed = None if seed is None else checked_integer("seed", seed, below=2**64)
    return initialised(lambda: _SmallDenoiser(channels, width, depth), seed)


def restored_denoiser(state: object) -> nn.Module:
    """Return the small denoiser of a state dict. Channels, width and depth are read off the shapes of its tensors.

    Raises:
        InvalidInputError: ``state`` is not the state dict of a small denoiser.
    """
    try:
        if not isinstance(state, dict):
            raise KeyError(_HEAD)
        width, values = state[_HEAD].shape[:2]
        depth = len({name.split(".")[1] for name in state if name.startswith(_BLOCKS)})
        denoiser = small_denoiser(values // _CELL**2, width=width, depth=depth, seed=0)
        denoiser.load_state_dict(state)
    except (AttributeError, KeyError, IndexError, RuntimeError, TypeError, ValueError) as error:
        raise InvalidInputError(
            "Expected `state` to be the state dict of a small denoiser, got something else."
        ) from error
    return denoiser
