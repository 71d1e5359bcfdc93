"""The settings of the protocol of Robust Attribution Regularization: data sets, sizes, and the five losses."""

from collections.abc import Callable, Mapping
from typing import NamedTuple, TypedDict

from torch import nn

from captum_certified.reproduce.experiment import PROTOCOL_SCALES, Scale
from captum_certified.reproduce.mnist_networks import plain_loss
from captum_certified.reproduce.networks_and_images import PIXEL_RANGE
from captum_certified.training import (
    AdversarialLoss,
    IGNormLoss,
    IGSumNormLoss,
    IGWassersteinLoss,
    TrainingLoss,
    softplus_network,
)

__all__ = ["DATA_SETS", "LOSSES", "SIZES", "Setting", "Steps"]

_WEIGHT, _SUM_WEIGHT = 1.0, 0.1  # λ of IG-NORM and the Wasserstein objective, β of IG-SUM-NORM, as in the authors' code
_PGD_STEPS = 7  # of adversarial training


class Steps(NamedTuple):
    """The steps of an attack: how many, and how far a pixel moves in one."""

    number: int
    size: float


class DataSet(NamedTuple):
    """A data set, its network, and the settings that depend on it."""

    material: str  # name in Material
    channels: int
    side: int
    classes: int
    width: int  # neurons of the network before the logits
    first_epochs: int  # of the natural training
    epochs: int  # of the training with a loss
    radius: float  # ε in L∞, in training and in the attack on the class
    paper_radius: float  # ε of the attack on integrated gradients, and at the scale of the paper everywhere
    pgd: Steps  # of the attack on the class
    attack: Steps  # of the attack on integrated gradients
    top: int  # k of both the attack and the measure IN
    cost: float  # γ of the Wasserstein objective, for ``radius``; γ ∝ 1/ε for another one


# Numbers of attack steps, step sizes, ε at the scale of the paper and k are those of the authors' code, where they have
# the data set. Of the flowers they took another collection, with 17 classes.
DATA_SETS: Mapping[str, DataSet] = {
    "mnist": DataSet("mnist", 1, 28, 10, 20, 5, 1, 0.1, 0.3, Steps(40, 0.01), Steps(100, 0.01), 100, 50.0),
    "fashion-mnist": DataSet(
        "fashion-mnist", 1, 28, 10, 20, 10, 1, 0.1, 0.1, Steps(20, 0.01), Steps(100, 0.01), 100, 50.0
    ),
    "gtsrb": DataSet(
        "gtsrb", 3, 32, 43, 128, 20, 2, 8 / 255, 8 / 255, Steps(7, 2 / 255), Steps(50, 1 / 255), 100, 50.0
    ),
    "flowers102": DataSet(
        "flowers102", 3, 64, 102, 128, 20, 10, 8 / 255, 8 / 255, Steps(7, 2 / 255), Steps(100, 1 / 255), 1000, 50.0
    ),
    "pneumonia": DataSet(
        "xrays", 1, 28, 2, 20, 20, 2, 8 / 255, 8 / 255, Steps(20, 0.005), Steps(40, 0.004), 100, 300.0
    ),
}


class Size(NamedTuple):
    """Sizes of the training and the measurement: ``first_…`` for the natural training, which comes first."""

    seeds: int
    first_images: int
    images: int
    epochs_factor: int  # by how much the epochs of a data set are multiplied; 0 means one epoch
    n_steps: int  # m of the integral in a loss
    search_n_steps: int  # m of the integrals in the search
    step_num: int  # steps of the search
    tested: int  # test images for the accuracy
    attacked: int  # test images for the accuracy under attack
    explained: int  # correctly classified test images whose integrated gradients are attacked
    most_steps: int  # largest number of steps of an attack; if it is fewer, the steps are longer


_SMALLEST = Size(
    seeds=1,
    first_images=64,
    images=32,
    epochs_factor=0,
    n_steps=2,
    search_n_steps=1,
    step_num=1,
    tested=50,
    attacked=20,
    explained=2,
    most_steps=2,
)
SIZES: Mapping[Scale, Size] = {
    "smoke": _SMALLEST,
    "dry": _SMALLEST,
    "cpu": Size(
        seeds=3,
        first_images=20000,
        images=16000,
        epochs_factor=1,
        n_steps=5,
        search_n_steps=2,
        step_num=3,
        tested=10000,
        attacked=500,
        explained=48,
        most_steps=100,
    ),
    "paper": Size(
        seeds=3,
        first_images=60000,
        images=60000,
        epochs_factor=10,
        n_steps=50,
        search_n_steps=10,
        step_num=40,
        tested=20000,
        attacked=20000,
        explained=1000,
        most_steps=100,
    ),
}


class _Search(TypedDict):
    """How the losses compute integrals and search for the worst point, as keyword arguments."""

    n_steps: int
    search_n_steps: int
    step_num: int


class Setting(NamedTuple):
    """A data set and a scale, with the networks, losses and attacks that they determine."""

    data: DataSet
    size: Size
    radius: float
    cost: float

    @classmethod
    def of(cls, data_set: str, scale: Scale) -> "Setting":
        """Return the setting of a data set, by its name on the command line, at a scale."""
        data = DATA_SETS[data_set]
        radius = data.paper_radius if scale in PROTOCOL_SCALES else data.radius
        return cls(data, SIZES[scale], radius, data.cost * data.radius / radius)

    def epochs(self, *, first: bool) -> int:
        """Return the epochs of the natural training, or of the training with a loss."""
        return max(1, self.size.epochs_factor * (self.data.first_epochs if first else self.data.epochs))

    def network(self, seed: int) -> nn.Sequential:
        """Return an untrained network."""
        data = self.data
        return softplus_network(data.channels, data.side, data.classes, width=data.width, seed=seed)

    def _steps(self, printed: Steps, radius: float) -> Steps:
        """Return the steps of an attack. Their sum is at least 2.5 ε, also where they are fewer than printed."""
        steps = min(printed.number, self.size.most_steps)
        return Steps(steps, max(printed.size, 2.5 * radius / steps))

    def pgd(self) -> Steps:
        """Return the steps of the attack on the class."""
        return self._steps(self.data.pgd, self.radius)

    def attack(self) -> Steps:
        """Return the steps of the attack on integrated gradients."""
        return self._steps(self.data.attack, self.data.paper_radius)

    def ig_norm(self, seed: int) -> IGNormLoss:
        """Return IG-NORM with the seed of its searches."""
        return IGNormLoss(radius=self.radius, weight=_WEIGHT, **self._search(), **PIXEL_RANGE, seed=seed)

    def ig_sum_norm(self, seed: int) -> IGSumNormLoss:
        """Return IG-SUM-NORM with the seed of its searches."""
        return IGSumNormLoss(radius=self.radius, weight=_SUM_WEIGHT, **self._search(), **PIXEL_RANGE, seed=seed)

    def wasserstein(self, seed: int) -> IGWassersteinLoss:
        """Return the Wasserstein objective with the seed of its searches."""
        return IGWassersteinLoss(cost=self.cost, weight=_WEIGHT, **self._search(), **PIXEL_RANGE, seed=seed)

    def _search(self) -> _Search:
        size = self.size
        return {"n_steps": size.n_steps, "search_n_steps": size.search_n_steps, "step_num": size.step_num}

    def adversarial(self, seed: int) -> AdversarialLoss:
        """Return the loss of adversarial training with the seed of its starts."""
        return AdversarialLoss(radius=self.radius, step_num=_PGD_STEPS, **PIXEL_RANGE, seed=seed)


LOSSES: Mapping[str, Callable[[Setting, int], TrainingLoss]] = {
    "natural": lambda _setting, seed: plain_loss(seed),
    "adversarial": Setting.adversarial,
    "IG-NORM": Setting.ig_norm,
    "IG-SUM-NORM": Setting.ig_sum_norm,
    "Wasserstein": Setting.wasserstein,
}
