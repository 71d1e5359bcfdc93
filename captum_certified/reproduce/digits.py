"""Networks for MNIST that experiments train, and how their saliency maps are attacked."""

import copy
import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from captum.attr import Saliency
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from captum_certified import AttackResult, InterpretationAttack
from captum_certified.reproduce.material import Material
from captum_certified.training import GaussianAugmentationLoss, TrainingLoss, fit, mnist_network

__all__ = [
    "BOX",
    "DIGIT_RADIUS",
    "FIXED",
    "Schedule",
    "accuracy",
    "attacked_digits",
    "plain_network",
    "trained_network",
]

BOX: Mapping[str, Any] = {"lower_bound": 0.0, "upper_bound": 1.0}
DIGIT_RADIUS = 3.08  # ten standard deviations of a pixel of MNIST
_BATCH = 128
_FIRST_RATE = 1e-3
_RATE, _DECAY = 2e-3, 0.4  # of Adam, and what it is multiplied by after every epoch

# What is the same at every scale, as part of an experiment's settings.
FIXED: Mapping[str, Any] = {"batch_size": _BATCH, "rates": [_FIRST_RATE, _RATE, _DECAY]}


@dataclass(frozen=True, kw_only=True)
class Schedule:
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


@functools.lru_cache(maxsize=1)
def plain_network(seed: int, schedule: Schedule, material: Material) -> nn.Module:
    """The plainly trained network that every training with this seed begins with."""
    model = mnist_network(seed=seed)
    images, classes = material.mnist(train=True)
    fit(
        model,
        TensorDataset(images[: schedule.first_images], classes[: schedule.first_images]),
        GaussianAugmentationLoss(stdev=0.0, seed=seed),
        optimizer=torch.optim.Adam(model.parameters(), lr=_FIRST_RATE),
        epochs=schedule.first_epochs,
        batch_size=_BATCH,
        seed=seed,
    )
    return model


def trained_network(loss: TrainingLoss, seed: int, schedule: Schedule, material: Material) -> nn.Module:
    """That network after training by a loss, in evaluation mode, without gradients of its parameters."""
    model = copy.deepcopy(plain_network(seed, schedule, material))
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
    attack = InterpretationAttack(model, Saliency(model), objective=objective, **BOX)
    return attack.attack(images, DIGIT_RADIUS, k=0.25, step_num=steps, seed=0)
