"""The MNIST networks that experiments train, and the attack on the saliency maps of these networks."""

import copy
import functools
from typing import NamedTuple

import torch
from captum.attr import Saliency
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from captum_certified import AttackResult, InterpretationAttack
from captum_certified.reproduce.experiment import Scale
from captum_certified.reproduce.networks_and_images import PIXEL_RANGE, Material
from captum_certified.storage import JsonObject
from captum_certified.training import (
    GaussianAugmentationLoss,
    SaliencyAdversarialLoss,
    TrainingLoss,
    fit,
    mnist_network,
)

__all__ = [
    "DIGIT_RADIUS",
    "K",
    "Schedule",
    "accuracy",
    "attack_digits",
    "fixed_settings",
    "plain_loss",
    "saliency_loss",
    "trained_network",
]

K = 0.25  # size of the top set, as a fraction of all features
DIGIT_RADIUS = 3.08  # ten times the standard deviation of the pixel values of MNIST
_BATCH = 128
_FIRST_RATE = 1e-3  # learning rate of Adam in the plain training
_RATE, _DECAY = 2e-3, 0.4  # learning rate in the training with a loss, and its factor after each epoch
_STEPS = 5  # steps of the attack inside the saliency loss


class Schedule(NamedTuple):
    """Numbers of images and epochs: ``first_…`` for the plain training, the others for the training with a loss."""

    first_images: int
    first_epochs: int
    images: int
    epochs: int


_SCHEDULES: dict[Scale, Schedule] = {
    "smoke": Schedule(first_images=256, first_epochs=1, images=128, epochs=1),
    "cpu": Schedule(first_images=60000, first_epochs=5, images=40000, epochs=2),
    "paper": Schedule(first_images=60000, first_epochs=10, images=60000, epochs=4),
}


def fixed_settings(scale: Scale, schedule: Schedule | None = None) -> JsonObject:
    """Return the settings of the training and of the attack. ``None`` means the schedule of the scale."""
    rates = [_FIRST_RATE, _RATE, _DECAY]
    return {
        **(schedule or _SCHEDULES[scale])._asdict(),
        "batch_size": _BATCH,
        "rates": rates,
        "k": K,
        "radius": DIGIT_RADIUS,
    }


def plain_loss(seed: int) -> GaussianAugmentationLoss:
    """Return a loss that is the cross-entropy alone."""
    return GaussianAugmentationLoss(stdev=0.0, seed=seed)


def saliency_loss(weight: float, seed: int) -> SaliencyAdversarialLoss:
    """Return the saliency loss of Appendix D.1 with weight λ."""
    return SaliencyAdversarialLoss(
        radius=DIGIT_RADIUS, weight=weight, k=K, step_num=_STEPS, surrogate_beta=None, **PIXEL_RANGE, seed=seed
    )


@functools.lru_cache(maxsize=1)
def _plain_network(seed: int, schedule: Schedule, material: Material) -> nn.Module:
    """Train the network from which ``trained_network`` starts. Callers share this network and must not change it."""
    model = mnist_network(seed=seed)
    images, classes = material.mnist(train=True)
    fit(
        model,
        TensorDataset(images[: schedule.first_images], classes[: schedule.first_images]),
        plain_loss(seed),
        optimizer=torch.optim.Adam(model.parameters(), lr=_FIRST_RATE),
        epochs=schedule.first_epochs,
        batch_size=_BATCH,
        seed=seed,
    )
    return model


def trained_network(
    loss: TrainingLoss, seed: int, scale: Scale, material: Material, *, schedule: Schedule | None = None
) -> nn.Module:
    """Train a network with cross-entropy, then with ``loss``. Return it in evaluation mode with frozen parameters.

    ``None`` means the schedule of the scale.
    """
    schedule = schedule or _SCHEDULES[scale]
    model = copy.deepcopy(_plain_network(seed, schedule, material))
    images, classes = material.mnist(train=True)
    optimizer = torch.optim.Adam(model.parameters(), lr=_RATE)
    fit(
        model,
        TensorDataset(images[: schedule.images], classes[: schedule.images]),
        loss,
        optimizer=optimizer,
        scheduler=torch.optim.lr_scheduler.ExponentialLR(optimizer, _DECAY),
        epochs=schedule.epochs,
        batch_size=_BATCH,
        seed=seed,
    )
    return model.eval().requires_grad_(False)


@torch.no_grad()
def accuracy(model: nn.Module, images: Tensor, classes: Tensor) -> float:
    """Return the fraction of images that the model classifies correctly."""
    return float((model(images).argmax(dim=1) == classes).double().mean())


def attack_digits(model: nn.Module, images: Tensor, *, steps: int, objective: str = "top_k") -> AttackResult:
    """Attack the top quarter of the saliency maps by Algorithm 1, with the top-K objective or another one."""
    attack = InterpretationAttack(model, Saliency(model), objective=objective, surrogate_beta=None, **PIXEL_RANGE)
    return attack.attack(images, DIGIT_RADIUS, k=K, step_num=steps, seed=0)
