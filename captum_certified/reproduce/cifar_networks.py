"""The networks that attack experiments on CIFAR-10 explain, and those whose gradients guide the attacks."""

import functools
import io
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset
from torchvision.models.resnet import BasicBlock, ResNet

from captum_certified.randomness import initialised
from captum_certified.reproduce.experiment import PROTOCOL_SCALES, Scale
from captum_certified.reproduce.mnist_networks import plain_loss
from captum_certified.reproduce.networks_and_images import Material
from captum_certified.storage import JsonObject, atomic_write, load_tensors
from captum_certified.training import fit

__all__ = [
    "BETA",
    "CifarNetworks",
    "cifar_network",
    "cifar_networks",
    "in_pixels",
    "only",
    "training_settings",
    "trains_networks",
]

# Mean and standard deviation of all pixel values of the training images of CIFAR-10, over all channels.
_MEAN, _STDEV = 0.4734, 0.2516
_SEEDS = {"relu": 0, "softplus": 1}
_BATCH, _RATE, _MOMENTUM, _DECAY = 128, 0.1, 0.9, 5e-4
_EVALUATED = 500  # images in a forward pass of the evaluation


class CifarNetworks(NamedTuple):
    """The network whose maps are measured, and the network whose gradients guide attacks on these maps."""

    explained: nn.Module
    guide: nn.Module
    beta: float | None  # β of the softplus that replaces the ReLUs of the guide; None replaces nothing

    @torch.no_grad()
    def keeps_class(self, images: Tensor, perturbed: Tensor) -> Tensor:
        """Return whether the explained network predicts the same class at both, shape (N,)."""
        before, after = (self.explained(points).argmax(dim=1) for points in (images, perturbed))
        kept: Tensor = before == after
        return kept


class _Schedule(NamedTuple):
    """The numbers of training images, of images held out for early stopping, of epochs and of blocks."""

    images: int
    held_out: int
    epochs: int
    second_rate_from: int  # the epoch from which the learning rate is a tenth
    blocks: tuple[int, ...] = (2, 2, 2, 2)  # in each stage; these are those of a ResNet-18


_SCHEDULES: dict[Scale, _Schedule] = {
    "dry": _Schedule(images=4, held_out=2, epochs=2, second_rate_from=1, blocks=(1, 1, 1, 1)),
    "paper": _Schedule(images=40000, held_out=10000, epochs=375, second_rate_from=150),
}
BETA = 20.0  # β of the softplus that replaces ReLU where there is no second network


def in_pixels(radius: float) -> float:
    """Return a radius that is given in standard deviations of the pixels of CIFAR-10, in units of [0, 1]."""
    return round(radius * _STDEV, 6)


def only(network: nn.Module) -> CifarNetworks:
    """Return a given network, guided by its own gradients with softplus in place of ReLU."""
    return CifarNetworks(network, network, BETA)


def training_settings(scale: Scale) -> JsonObject:
    """Table 2. Return the settings of the training on CIFAR-10, or none at a scale at which no network is trained."""
    if scale not in _SCHEDULES:
        return {}
    optimisation: JsonObject = {"batch_size": _BATCH, "rate": _RATE, "momentum": _MOMENTUM, "weight_decay": _DECAY}
    return {"training": {**_SCHEDULES[scale]._asdict(), **optimisation, "seeds": _SEEDS}}


def cifar_networks(material: Material, scale: Scale) -> CifarNetworks:
    """Return the networks of an experiment.

    If no network was given, the scales ``paper`` and ``dry`` train two, as the paper does: a ResNet-18, which is
    explained, and the same network with softplus, which guides the attacks.
    """
    if not trains_networks(material, scale):
        return only(material.network())
    return _trained_pair(material, scale)


def cifar_network(activation: str, seed: int, blocks: Sequence[int] = (2, 2, 2, 2)) -> nn.Sequential:
    """Return a residual network for images of shape (N, 3, 32, 32) in [0, 1], by default a ResNet-18.

    It standardises its inputs.
    The first convolution has 3 × 3 pixels and stride 1, and no pooling follows it, as is usual for images of 32 × 32
    pixels. The parameters of ReLU and softplus networks of one seed are equal.

    Args:
        activation: ``"relu"`` or ``"softplus"``.
        seed: Seed of the initial weights.
        blocks: Number of blocks of two convolutions in each of four stages.
    """
    network = initialised(functools.partial(_residual, blocks), seed)
    if activation == "softplus":
        for module in list(network.modules()):
            for name, child in module.named_children():
                if isinstance(child, nn.ReLU):
                    setattr(module, name, nn.Softplus())
    return network


class _Standardised(nn.Module):
    """The standardisation of pixels. It is one for all channels, so that a ball of pixels stays a ball."""

    def forward(self, images: Tensor) -> Tensor:
        return (images - _MEAN) / _STDEV


def _residual(blocks: Sequence[int]) -> nn.Sequential:
    network = ResNet(BasicBlock, list(blocks), num_classes=10)
    network.conv1 = nn.Conv2d(3, 64, 3, stride=1, padding=1, bias=False)
    network.register_module("maxpool", nn.Identity())
    return nn.Sequential(_Standardised(), network)


def trains_networks(material: Material, scale: Scale) -> bool:
    """Return whether an experiment trains its networks: at the protocol of the paper, if no network is given."""
    return scale in PROTOCOL_SCALES and material.classifier is None


@functools.lru_cache(maxsize=1)
def _trained_pair(material: Material, scale: Scale) -> CifarNetworks:
    images, classes = material.cifar_training()
    relu, softplus = (_trained(name, images, classes, material, scale) for name in _SEEDS)
    return CifarNetworks(explained=relu, guide=softplus, beta=None)


def _trained(activation: str, images: Tensor, classes: Tensor, material: Material, scale: Scale) -> nn.Module:
    """Train a network, and return it as it was after the epoch with the highest accuracy on the held-out images.

    If the material has a folder for trained networks, the training can be interrupted.
    """
    schedule, seed = _SCHEDULES[scale], _SEEDS[activation]
    network = cifar_network(activation, seed, schedule.blocks).to(material.device)
    optimizer = torch.optim.SGD(network.parameters(), lr=_RATE, momentum=_MOMENTUM, weight_decay=_DECAY)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    used, held_out = order[: schedule.images], order[schedule.images :][: schedule.held_out]
    name = f"resnet18-{activation}-{scale}"
    best = _Best(None if material.networks is None else material.networks / f"{name}-best.pt")
    if material.networks is not None:
        material.networks.mkdir(parents=True, exist_ok=True)

    def evaluate(_: int, __: float) -> None:
        best.offer(_accuracy(network, images[held_out], classes[held_out]), network)

    fit(
        network,
        TensorDataset(images[used], classes[used]),
        plain_loss(seed),
        optimizer=optimizer,
        scheduler=torch.optim.lr_scheduler.MultiStepLR(optimizer, [schedule.second_rate_from], gamma=0.1),
        epochs=schedule.epochs,
        batch_size=_BATCH,
        seed=seed,
        checkpoint=None if material.networks is None else material.networks / f"{name}.pt",
        on_epoch=evaluate,
    )
    best.load_into(network)
    return network.eval().requires_grad_(False)


class _Best:
    """The weights with the highest accuracy so far, in memory or in a file that outlives an interruption."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.contents = path.read_bytes() if path is not None and path.is_file() else None
        self.accuracy = -1.0 if self.contents is None else float(load_tensors(io.BytesIO(self.contents))["accuracy"])

    def offer(self, accuracy: float, network: nn.Module) -> None:
        """Keep the weights of a network if its accuracy is higher than that of all before."""
        if accuracy <= self.accuracy:
            return
        file = io.BytesIO()
        torch.save({"accuracy": accuracy, "weights": network.state_dict()}, file)
        self.accuracy, self.contents = accuracy, file.getvalue()
        if self.path is not None:
            with atomic_write(self.path) as stored:
                stored.write(self.contents)

    def load_into(self, network: nn.Module) -> None:
        """Give a network the weights that were kept."""
        network.load_state_dict(load_tensors(io.BytesIO(self.contents or b""))["weights"])


@torch.no_grad()
def _accuracy(network: nn.Module, images: Tensor, classes: Tensor) -> float:
    network.eval()
    device = next(network.parameters()).device
    parts = zip(torch.split(images, _EVALUATED), torch.split(classes, _EVALUATED), strict=True)
    right = sum(int((network(part.to(device)).argmax(dim=1).cpu() == of).sum()) for part, of in parts)
    return right / len(images)
