"""Networks for MNIST that experiments train, and how their saliency maps are attacked."""

import copy
import functools
from dataclasses import asdict, dataclass
from typing import Any

import torch
from captum.attr import Saliency
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from captum_certified import AttackResult, InterpretationAttack
from captum_certified.reproduce.experiment import Scale
from captum_certified.reproduce.material import BOX, Material
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
    "accuracy",
    "attacked_digits",
    "fixed_settings",
    "plain_loss",
    "saliency_loss",
    "trained_network",
]

K = 0.25
DIGIT_RADIUS = 3.08  # ten standard deviations of a pixel of MNIST
_BATCH = 128
_FIRST_RATE = 1e-3
_RATE, _DECAY = 2e-3, 0.4  # of Adam, and what it is multiplied by after every epoch
_STEPS = 5  # of the attack that saliency training is against


@dataclass(frozen=True, kw_only=True)
class _Schedule:
    """How much is trained.

    Attributes:
        first_images: Images of the plain training that all others begin with.
        first_epochs: Its epochs.
        images: Images of the training by a loss.
        epochs: Its epochs.
    """

    first_images: int
    first_epochs: int
    images: int
    epochs: int


_SCHEDULES: dict[Scale, _Schedule] = {
    "smoke": _Schedule(first_images=256, first_epochs=1, images=128, epochs=1),
    "cpu": _Schedule(first_images=60000, first_epochs=5, images=40000, epochs=2),
    "paper": _Schedule(first_images=60000, first_epochs=10, images=60000, epochs=4),
}


def fixed_settings(scale: Scale) -> dict[str, Any]:
    """How networks are trained and attacked, as part of an experiment's settings."""
    rates = [_FIRST_RATE, _RATE, _DECAY]
    return {**asdict(_SCHEDULES[scale]), "batch_size": _BATCH, "rates": rates, "k": K, "radius": DIGIT_RADIUS}


def plain_loss(seed: int) -> GaussianAugmentationLoss:
    """The cross-entropy alone."""
    return GaussianAugmentationLoss(stdev=0.0, seed=seed)


def saliency_loss(weight: float, seed: int) -> SaliencyAdversarialLoss:
    """Appendix D.1 with a weight λ."""
    return SaliencyAdversarialLoss(
        radius=DIGIT_RADIUS, weight=weight, k=K, step_num=_STEPS, surrogate_beta=None, **BOX, seed=seed
    )


@functools.lru_cache(maxsize=1)
def _plain_network(seed: int, scale: Scale, material: Material) -> nn.Module:
    """The plainly trained network that every training with this seed begins with; not to be changed."""
    schedule = _SCHEDULES[scale]
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


def trained_network(loss: TrainingLoss, seed: int, scale: Scale, material: Material) -> nn.Module:
    """A plainly trained network after training by a loss, in evaluation mode, without gradients of its parameters."""
    schedule = _SCHEDULES[scale]
    model = copy.deepcopy(_plain_network(seed, scale, material))
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
    """Share of images whose class is predicted."""
    return float((model(images).argmax(dim=1) == classes).double().mean())


def attacked_digits(model: nn.Module, images: Tensor, *, steps: int, objective: str = "top_k") -> AttackResult:
    """Algorithm 1 on the top quarter of the saliency maps, or another objective."""
    attack = InterpretationAttack(model, Saliency(model), objective=objective, surrogate_beta=None, **BOX)
    return attack.attack(images, DIGIT_RADIUS, k=K, step_num=steps, seed=0)
