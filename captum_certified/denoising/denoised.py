"""A model behind a denoiser."""

from typing import Any

from torch import Tensor, nn

from captum_certified.exceptions import InvalidInputError

__all__ = ["Denoised"]


class Denoised(nn.Module):
    """A denoiser followed by a model, as one module.

    Most networks recognise little in inputs with as much noise as a certificate needs. A denoiser in front of such a
    network removes most of the noise. Explain, attack and certify this module like any other. The explanation is then
    of denoiser and model together, and attacks go through the denoiser. A certificate is about perturbations of the
    denoiser's input, and not about explanations of the model alone.

    Args:
        denoiser: Returns a tensor of the shape of its input. Like any explained model, it must be deterministic, and
            its result for an example must not depend on other examples.
        model: The model, which gets the output of the denoiser.

    Source:
        Salman, Sun, Yang, Kapoor, and Kolter (2020), Denoised Smoothing; Carlini et al. (2023).

    Example:
        >>> import torch
        >>> from captum.attr import Saliency
        >>> from captum_certified import SparsifiedSmoothGrad
        >>> from captum_certified.denoising import Denoised, small_denoiser
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
        >>> denoised = Denoised(small_denoiser(channels=1, seed=0), model).eval()
        >>> explainer = SparsifiedSmoothGrad(Saliency(denoised), tau=0.2)
        >>> image = torch.rand(1, 1, 8, 8)
        >>> explainer.attribute(image, nt_samples=16, stdevs=0.2, seed=0, target=0).shape
        torch.Size([1, 1, 8, 8])
    """

    def __init__(self, denoiser: nn.Module, model: nn.Module) -> None:
        super().__init__()
        self.denoiser = denoiser
        self.model = model

    def forward(self, inputs: Tensor, *args: Any, **kwargs: Any) -> Any:
        """Return what the model returns for the denoised inputs.

        Args:
            inputs: Shape (N, …).
            *args: More arguments of the model, which are not denoised.
            **kwargs: More arguments of the model, which are not denoised.

        Raises:
            InvalidInputError: The denoiser returns something else than a tensor of the shape of ``inputs``.
        """
        clean = self.denoiser(inputs)
        if not isinstance(clean, Tensor) or clean.shape != inputs.shape:
            got = f"shape {tuple(clean.shape)}" if isinstance(clean, Tensor) else type(clean).__name__
            raise InvalidInputError(
                f"Expected `denoiser` to return a tensor of the shape of its input, {tuple(inputs.shape)}, got {got}."
            )
        return self.model(clean, *args, **kwargs)
