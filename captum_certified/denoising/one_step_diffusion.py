"""A diffusion model as a denoiser."""

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from captum_certified.checks import checked_number
from captum_certified.exceptions import InvalidInputError

__all__ = ["OneStepDiffusion"]

_PREDICTIONS = ("epsilon", "v_prediction", "sample")


class OneStepDiffusion(nn.Module):
    """A diffusion model that denoises an image by one call of its network.

    The network was trained on √ᾱ z + √(1 − ᾱ) ε at time t, where z is an image in [−1, 1], ε is standard normal noise
    and ᾱ is ``alphas_cumprod[t]``. An image x in [0, 1] with noise σε becomes z + 2σε in [−1, 1], because z = 2x − 1.
    With ᾱ = 1 / (1 + 4σ²), √((1 − ᾱ) / ᾱ) is 2σ, so √ᾱ (z + 2σε) is of the form that the network was trained on. The
    network is called at the time t with √((1 − ᾱ) / ᾱ) nearest to 2σ. The clean image is computed from the network's
    output.

    The module draws no random numbers. Its result for an image does not depend on other images if the network's result
    does not. Networks of the library diffusers can be used, and all others that are called in the same way.

    Args:
        unet: Network of images of shape (N, C, H, W) and times of shape (N,), int64. It returns a tensor of the shape
            of the images, or a tuple or an output of diffusers whose first entry is this tensor. If the tensor has 2C
            channels, the last C are predicted variances, which are not used.
        alphas_cumprod: ᾱ of all times, shape (times,), decreasing. Schedulers of diffusers have an attribute of this
            name.
        stdev: Standard deviation σ of the noise, in units of images in [0, 1]. Give the same number to ``stdevs`` or
            ``--sigma``.
        prediction_type: What the network predicts: ``"epsilon"`` for ε, ``"v_prediction"`` for √ᾱ ε − √(1 − ᾱ) z,
            ``"sample"`` for z. Schedulers of diffusers have this word as ``config.prediction_type``.

    Attributes:
        time: The time t at which the network is called, int64, shape ().

    Raises:
        InvalidInputError: ``alphas_cumprod`` does not decrease within [0, 1], ``stdev`` is not among its noise levels,
            or ``prediction_type`` is unknown.

    Source:
        Carlini et al. (2023), (Certified!!) Adversarial Robustness for Free!

    Example:
        >>> import torch
        >>> from captum_certified.denoising import OneStepDiffusion
        >>> class Zero(nn.Module):  # a network that finds no noise
        ...     def forward(self, images, times):
        ...         return torch.zeros_like(images)
        >>> alphas_cumprod = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000), dim=0)
        >>> denoiser = OneStepDiffusion(Zero(), alphas_cumprod, stdev=0.25)
        >>> int(denoiser.time)
        144
        >>> image = torch.rand(1, 3, 8, 8)
        >>> torch.equal(denoiser(image), image)
        True
    """

    time: Tensor

    def __init__(
        self,
        unet: nn.Module,
        alphas_cumprod: Tensor | Sequence[float],
        *,
        stdev: float,
        prediction_type: Literal["epsilon", "v_prediction", "sample"] = "epsilon",
    ) -> None:
        super().__init__()
        self.stdev = checked_number("stdev", stdev, above=0)
        if prediction_type not in _PREDICTIONS:
            raise InvalidInputError(
                f"Expected `prediction_type` to be one of {', '.join(_PREDICTIONS)}, got {prediction_type!r}."
            )
        self.unet = unet
        self.prediction_type = prediction_type
        self.register_buffer("time", torch.tensor(_nearest_time(_noise_levels(alphas_cumprod), self.stdev)))

    def forward(self, images: Tensor) -> Tensor:
        """Return the predicted clean images.

        Args:
            images: Noisy images, shape (N, C, H, W). Before the noise was added, their values were in [0, 1].

        Returns:
            Images of the shape of ``images``. Values may be outside [0, 1].

        Raises:
            InvalidInputError: The network returns a tensor of another shape.
        """
        signal = 1 / math.sqrt(1 + 4 * self.stdev**2)  # √ᾱ
        noise = 2 * self.stdev * signal  # √(1 − ᾱ)
        noisy = 2 * images - 1
        predicted = self._predicted(signal * noisy, images)
        if self.prediction_type == "epsilon":  # z = 2 (images − σε) − 1
            return images - self.stdev * predicted
        if self.prediction_type == "v_prediction":  # z = √ᾱ (√ᾱ noisy) − √(1 − ᾱ) v
            predicted = signal**2 * noisy - noise * predicted
        return (predicted + 1) / 2

    def _predicted(self, scaled: Tensor, images: Tensor) -> Tensor:
        """Call the network, and return its prediction without variances."""
        output = self.unet(scaled, self.time.expand(len(images)))
        predicted = output if isinstance(output, Tensor) else output[0]
        if isinstance(predicted, Tensor) and predicted.dim() > 1 and predicted.shape[1] == 2 * images.shape[1]:
            predicted = predicted[:, : images.shape[1]]
        if not isinstance(predicted, Tensor) or predicted.shape != images.shape:
            got = f"shape {tuple(predicted.shape)}" if isinstance(predicted, Tensor) else type(predicted).__name__
            raise InvalidInputError(
                f"Expected `unet` to return a tensor of the shape of its images, {tuple(images.shape)}, got {got}."
            )
        return predicted


def _noise_levels(alphas_cumprod: Tensor | Sequence[float]) -> Tensor:
    """Return the standard deviation of the noise of each time, in units of images in [0, 1], in float64."""
    values = torch.as_tensor(alphas_cumprod, dtype=torch.float64, device="cpu").detach()
    if values.dim() != 1 or not len(values) or not bool(((values >= 0) & (values <= 1)).all()):
        raise InvalidInputError(
            f"Expected `alphas_cumprod` to have values in [0, 1] and shape (times,), got shape {tuple(values.shape)}."
        )
    if bool((values.diff() >= 0).any()):
        raise InvalidInputError("Expected `alphas_cumprod` to decrease with time, got values that do not.")
    return ((1 - values) / values).sqrt() / 2


def _nearest_time(levels: Tensor, stdev: float) -> int:
    """Return the time at which the ratio of the noise level to ``stdev`` is nearest to 1."""
    lowest, highest = float(levels[0]), float(levels[-1])
    if not lowest <= stdev <= highest:
        raise InvalidInputError(
            f"Expected `stdev` to be a noise level of `alphas_cumprod`, from {lowest:.6g} to {highest:.6g} for "
            f"images in [0, 1], got {stdev:g}."
        )
    return int((levels.log() - math.log(stdev)).abs().argmin())
