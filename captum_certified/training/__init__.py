"""Losses for training networks with robust explanations, and a training loop that can be interrupted."""

from captum_certified.training.adversarial import AdversarialLoss
from captum_certified.training.attribution_regularization import IGNormLoss, IGSumNormLoss
from captum_certified.training.curvature import CurvatureLoss, SmoothSurfaceLoss, top_hessian_eigenvalue
from captum_certified.training.ddn import DDNLoss
from captum_certified.training.denoising import DenoisingLoss
from captum_certified.training.fit import FitResult, fit
from captum_certified.training.gaussian import GaussianAugmentationLoss
from captum_certified.training.integrated_gradients import loss_integrated_gradients
from captum_certified.training.loss import TrainingLoss
from captum_certified.training.networks import mnist_network, softplus_network, xray_network
from captum_certified.training.saliency_adversarial import SaliencyAdversarialLoss
from captum_certified.training.spectral_norm import SpectralNormLoss
from captum_certified.training.wasserstein import IGWassersteinLoss

__all__ = [
    "AdversarialLoss",
    "CurvatureLoss",
    "DDNLoss",
    "DenoisingLoss",
    "FitResult",
    "GaussianAugmentationLoss",
    "IGNormLoss",
    "IGSumNormLoss",
    "IGWassersteinLoss",
    "SaliencyAdversarialLoss",
    "SmoothSurfaceLoss",
    "SpectralNormLoss",
    "TrainingLoss",
    "fit",
    "loss_integrated_gradients",
    "mnist_network",
    "softplus_network",
    "top_hessian_eigenvalue",
    "xray_network",
]
