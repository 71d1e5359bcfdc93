"""Denoisers that are put in front of a model, so that the model recognises noisy inputs."""

from captum_certified.denoising.denoised import Denoised
from captum_certified.denoising.one_step_diffusion import OneStepDiffusion
from captum_certified.denoising.small_denoiser import small_denoiser

__all__ = ["Denoised", "OneStepDiffusion", "small_denoiser"]
