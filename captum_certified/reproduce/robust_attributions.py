"""Robust Attribution Regularization: accuracy and stability of integrated gradients after five trainings."""

import copy
import functools
from collections.abc import Sequence
from statistics import fmean

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from captum_certified.benchmark.columns import half_width
from captum_certified.reproduce.experiment import Experiment, Part, Row, Scale, numbers, where
from captum_certified.reproduce.losses_compared import (
    integrated_gradients_under_attack,
    losses_figure,
    part_name,
    summary_over_seeds,
)
from captum_certified.reproduce.mnist_networks import accuracy, plain_loss
from captum_certified.reproduce.networks_and_images import PIXEL_RANGE, Material
from captum_certified.reproduce.rar_settings import DATA_SETS, LOSSES, SIZES, Setting
from captum_certified.storage import Json, JsonObject
from captum_certified.training import AdversarialLoss, TrainingLoss, fit
from captum_certified.training.loss import cross_entropies

__all__ = ["RobustAttributions"]

_BATCH = 64
_FIRST_RATE, _RATE, _DECAY = 1e-3, 2e-3, 0.4  # of Adam, first in the natural training; the factor of each further epoch
_SEARCH_SEED = 0  # of the attacks and searches in the measurement
_DEFAULT = "mnist"
_MEASURES = {
    "accuracy": "accuracy",
    "attacked": "accuracy under attack",
    "intersection": "IN of integrated gradients",
    "correlation": "CC of integrated gradients",
}
# The penalty of IG-NORM, that of the Wasserstein objective, and the mean cost of its worst points.
_RELATION = ("in_ball", "penalty", "transport")


class RobustAttributions(Experiment):
    """Accuracy, and stability of integrated gradients, after training with the objectives of Chen et al. (2019).

    For each seed, training with every loss continues the same naturally trained network. The page
    ``docs/results/rar.md`` has the protocol, which was written before the measurement.

    Args:
        data_set: Name of the data set on the command line.
    """

    data_sets = tuple(DATA_SETS)
    claim = "IG-NORM and IG-SUM-NORM raise IN and CC above natural and adversarial training (Chen et al., 2019)."

    def __init__(self, data_set: str = _DEFAULT) -> None:
        self.data_set = data_set
        self.name = "rar" if data_set == _DEFAULT else f"rar-{data_set}"
        self.uses = (DATA_SETS[data_set].material,)
        self.title = f"Robust attribution regularization, with its Wasserstein objective, on {data_set}"

    def on(self, data_set: str) -> "RobustAttributions":
        """Return the experiment on another data set, whose results are named ``rar-NAME``; those of MNIST ``rar``."""
        if data_set not in DATA_SETS:
            super().on(data_set)
        return RobustAttributions(data_set)

    def settings(self, scale: Scale) -> JsonObject:
        """Return the sizes, the losses, and the settings of the attacks."""
        setting = Setting.of(self.data_set, scale)
        losses: JsonObject = {name: repr(make(setting, 0)) for name, make in LOSSES.items()}
        epochs = [setting.epochs(first=first) for first in (True, False)]
        training: JsonObject = {"epochs": epochs, "batch_size": _BATCH, "rates": [_FIRST_RATE, _RATE, _DECAY]}
        attacks: JsonObject = {"pgd": list(setting.pgd()), "attack": list(setting.attack())}
        network: JsonObject = {"network": str(setting.network(0))}
        radii: JsonObject = {"radius": setting.radius, "attack_radius": setting.data.paper_radius}
        shared: JsonObject = {"data_set": self.data_set, **radii, "k": setting.data.top}
        return {**setting.size._asdict(), **shared, **training, **attacks, **network, "losses": losses}

    def parts(self, material: Material, scale: Scale) -> Sequence[Part]:
        """Return a part for each seed and loss."""
        return [
            Part(part_name(name, seed), functools.partial(_rows, name, seed, self.data_set, scale, material))
            for seed in range(SIZES[scale].seeds)
            for name in LOSSES
        ]

    def summary(self, rows: Sequence[Row]) -> JsonObject:
        """Return means and ranges over the seeds, and the Wasserstein objective beside the interval of IG-NORM."""
        measures = [*_MEASURES, "worst_class", *_RELATION]
        return {
            **summary_over_seeds(rows, list(LOSSES), measures, plain="natural"),
            "Wasserstein within the interval of IG-NORM": {measure: _compared(rows, measure) for measure in _MEASURES},
        }

    def figure(self, rows: Sequence[Row]) -> Figure:
        """Plot a panel for each measure, with a dot for each network and a line at the mean of natural training."""
        return losses_figure(rows, _MEASURES, plain="natural", highlighted="Wasserstein")


def _compared(rows: Sequence[Row], measure: str) -> dict[str, Json]:
    """Return the t interval of IG-NORM's mean over the seeds, and whether the mean of the other objective is in it."""
    ours, theirs = (numbers(where(rows, loss=name), measure) for name in ("Wasserstein", "IG-NORM"))
    if len(theirs) < 2:
        return {"lowest": None, "highest": None, "within": None}
    half = half_width(theirs)
    low, high = fmean(theirs) - half, fmean(theirs) + half
    return {"lowest": low, "highest": high, "within": low <= fmean(ours) <= high}


@functools.lru_cache(maxsize=1)
def _natural_network(seed: int, data_set: str, scale: Scale, material: Material) -> nn.Module:
    """Train the network from which all trainings of a seed start. Callers share it and must not change it."""
    setting = Setting.of(data_set, scale)
    return _fitted(setting.network(seed), plain_loss(seed), seed, setting, material, first=True)


def _network(name: str, seed: int, data_set: str, scale: Scale, material: Material) -> nn.Module:
    """Train the natural network of a seed on with a loss. Return it in evaluation mode with frozen parameters."""
    setting = Setting.of(data_set, scale)
    model = copy.deepcopy(_natural_network(seed, data_set, scale, material))
    loss = LOSSES[name](setting, seed)
    return _fitted(model, loss, seed, setting, material, first=False).eval().requires_grad_(False)


def _fitted(
    model: nn.Module, loss: TrainingLoss, seed: int, setting: Setting, material: Material, *, first: bool
) -> nn.Module:
    size = setting.size
    images, classes = material.labelled(setting.data.material, train=True)
    count = size.first_images if first else size.images
    optimizer = torch.optim.Adam(model.parameters(), lr=_FIRST_RATE if first else _RATE)
    fit(
        model,
        TensorDataset(images[:count], classes[:count]),
        loss,
        optimizer=optimizer,
        scheduler=None if first else torch.optim.lr_scheduler.ExponentialLR(optimizer, _DECAY),
        epochs=setting.epochs(first=first),
        batch_size=_BATCH,
        seed=seed,
    )
    return model


def _rows(name: str, seed: int, data_set: str, scale: Scale, material: Material) -> list[Row]:
    """Train a network with a loss, and compute all measures of this network."""
    setting = Setting.of(data_set, scale)
    size, attack = setting.size, setting.attack()
    model = _network(name, seed, data_set, scale, material)
    images, classes = material.labelled(setting.data.material, train=False)
    images, classes = images[: size.tested], classes[: size.tested]
    first = slice(size.attacked)
    wrong = (model(images[first]).argmax(dim=1) != classes[first]).long()
    # Right images come first. Wrong ones follow only if there are too few, as in the smallest runs.
    explained = wrong.argsort(stable=True)[: size.explained]
    intersection, correlation = integrated_gradients_under_attack(
        model,
        images[explained],
        radius=setting.data.paper_radius,
        k=setting.data.top,
        step_num=attack.number,
        step_size=attack.size,
    )
    return [
        {
            "loss": name,
            "seed": seed,
            "accuracy": accuracy(model, images, classes),
            "worst_class": _worst_class(model, images, classes),
            "attacked": _accuracy_under_attack(model, images[first], classes[first], setting),
            "intersection": intersection,
            "correlation": correlation,
            "explained_right": int((1 - wrong[explained]).sum()),
            **_penalties(model, images[: 2 * size.explained], classes[: 2 * size.explained], setting),
        }
    ]


def _worst_class(model: nn.Module, images: Tensor, classes: Tensor) -> float:
    """Return the accuracy for the class that is recognised worst."""
    present = sorted(set(classes.tolist()))
    return min(accuracy(model, images[classes == number], classes[classes == number]) for number in present)


def _accuracy_under_attack(model: nn.Module, images: Tensor, classes: Tensor, setting: Setting) -> float:
    """Return the accuracy at the last points of projected gradient ascent on the cross-entropy."""
    steps = setting.pgd()
    ascent = AdversarialLoss(
        radius=setting.radius, step_num=steps.number, step_size=steps.size, **PIXEL_RANGE, seed=_SEARCH_SEED
    )
    perturbed = ascent.ascend(lambda points: cross_entropies(model, points, classes), images, _SEARCH_SEED)
    return accuracy(model, perturbed, classes)


def _penalties(model: nn.Module, images: Tensor, classes: Tensor, setting: Setting) -> dict[str, float]:
    """Return N(ε), P(γ) and E c of :class:`IGWassersteinLoss`, with the searches of the training."""
    ball, wasserstein = setting.ig_norm(_SEARCH_SEED), setting.wasserstein(_SEARCH_SEED)
    in_ball = ball.worst_and_size(model, images, classes, _SEARCH_SEED)[1]
    perturbed = wasserstein.worst(model, images, classes, _SEARCH_SEED)
    gains = wasserstein.gains(model, images, perturbed, classes, wasserstein.n_steps).clamp_min(0)
    values = (in_ball, gains, wasserstein.costs(images, perturbed))
    return {name: float(value.detach().mean()) for name, value in zip(_RELATION, values, strict=True)}
