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
    DDNLoss,
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
    "ddn_loss",
    "fixed_settings",
    "plain_loss",
    "saliency_loss",
    "summed_weight",
    "trained_network",
]

K = 0.25  # size of the top set, as a fraction of all features
DIGIT_RADIUS = 3.08  # ten times the standard deviation of the pixel values of MNIST
_PIXELS = 784


class Schedule(NamedTuple):
    """Numbers of images and epochs: ``first_…`` for the plain training, the others for the training with a loss.

    Without first epochs, networks are trained with their loss from the beginning, as in the paper.
    """

    first_images: int
    first_epochs: int
    images: int
    epochs: int


class _Optimisation(NamedTuple):
    """How networks are trained, and the searches inside the losses."""

    batch: int
    first_rate: float  # learning rate of Adam in the plain training
    rate: float  # learning rate in the training with a loss
    decay: float  # factor of the learning rate after each epoch of the training with a loss
    steps: int  # P, the steps of the attack inside the saliency loss
    restarts: int  # T, the starts of this attack
    ddn_norm: float  # the largest L2 norm of a perturbation of DDN
    ddn_steps: int


_SHORT = _Optimisation(
    batch=128, first_rate=1e-3, rate=2e-3, decay=0.4, steps=5, restarts=1, ddn_norm=1.0, ddn_steps=10
)
# Table 1 of the paper. DDN has the numbers with which its authors train on MNIST.
_PRINTED = _Optimisation(
    batch=512, first_rate=1e-3, rate=1e-3, decay=1.0, steps=15, restarts=3, ddn_norm=2.4, ddn_steps=100
)
_SCHEDULES: dict[Scale, tuple[Schedule, _Optimisation]] = {
    "smoke": (Schedule(first_images=256, first_epochs=1, images=128, epochs=1), _SHORT),
    "cpu": (Schedule(first_images=60000, first_epochs=5, images=40000, epochs=2), _SHORT),
    "dry": (
        Schedule(first_images=0, first_epochs=0, images=32, epochs=2),
        _PRINTED._replace(batch=16, steps=1, ddn_steps=2),
    ),
    "paper": (Schedule(first_images=0, first_epochs=0, images=48000, epochs=30), _PRINTED),
}


def fixed_settings(scale: Scale, schedule: Schedule | None = None) -> JsonObject:
    """Table 1. Return the settings of the training and of the attack on MNIST.

    ``None`` means the schedule of the scale.
    """
    schedule, training = _chosen(scale, schedule)
    rates = [training.first_rate, training.rate, training.decay]
    return {**schedule._asdict(), "batch_size": training.batch, "rates": rates, "k": K, "radius": DIGIT_RADIUS}


def _chosen(scale: Scale, schedule: Schedule | None) -> tuple[Schedule, _Optimisation]:
    """Return the schedule and the optimisation of a scale, or a given schedule with our short optimisation."""
    return _SCHEDULES[scale] if schedule is None else (schedule, _SHORT)


def summed_weight(weight: float) -> float:
    """Return the λ of our saliency loss for a λ of the authors, who take the mean over pixels and not the sum."""
    return weight / _PIXELS


def plain_loss(seed: int) -> GaussianAugmentationLoss:
    """Return a loss that is the cross-entropy alone."""
    return GaussianAugmentationLoss(stdev=0.0, seed=seed)


def saliency_loss(weight: float, seed: int, scale: Scale = "cpu") -> SaliencyAdversarialLoss:
    """Return the saliency loss of Appendix D.1 with weight λ."""
    _, training = _SCHEDULES[scale]
    return SaliencyAdversarialLoss(
        radius=DIGIT_RADIUS,
        weight=weight,
        k=K,
        step_num=training.steps,
        n_restarts=training.restarts,
        surrogate_beta=None,
        **PIXEL_RANGE,
        seed=seed,
    )


def ddn_loss(seed: int, scale: Scale) -> DDNLoss:
    """Return the loss of adversarial training for classification by DDN."""
    _, training = _SCHEDULES[scale]
    return DDNLoss(max_norm=training.ddn_norm, step_num=training.ddn_steps, **PIXEL_RANGE, seed=seed)


@functools.lru_cache(maxsize=1)
def _plain_network(seed: int, schedule: Schedule, training: _Optimisation, material: Material) -> nn.Module:
    """Train the network from which ``trained_network`` starts. Callers share this network and must not change it."""
    model = mnist_network(seed=seed)
    if schedule.first_epochs == 0:
        return model
    images, classes = material.mnist(train=True)
    fit(
        model,
        TensorDataset(images[: schedule.first_images], classes[: schedule.first_images]),
        plain_loss(seed),
        optimizer=torch.optim.Adam(model.parameters(), lr=training.first_rate),
        epochs=schedule.first_epochs,
        batch_size=training.batch,
        seed=seed,
    )
    return model


def trained_network(
    loss: TrainingLoss, seed: int, scale: Scale, material: Material, *, schedule: Schedule | None = None
) -> nn.Module:
    """Train a network with ``loss``, after the first epochs of the schedule with cross-entropy, and freeze it.

    ``None`` means the schedule of the scale.
    """
    schedule, training = _chosen(scale, schedule)
    model = copy.deepcopy(_plain_network(seed, schedule, training, material))
    images, classes = material.mnist(train=True)
    optimizer = torch.optim.Adam(model.parameters(), lr=training.rate)
    fit(
        model,
        TensorDataset(images[: schedule.images], classes[: schedule.images]),
        loss,
        optimizer=optimizer,
        scheduler=torch.optim.lr_scheduler.ExponentialLR(optimizer, training.decay),
        epochs=schedule.epochs,
        batch_size=training.batch,
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
