"""Whether an attack on the explanations of one network works on another, on MNIST."""

import functools
import itertools
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from captum.attr import Saliency
from matplotlib.figure import Figure
from torch import Tensor, nn

from captum_certified import top_k_intersection
from captum_certified.reproduce.digits import (
    BOX,
    DIGIT_RADIUS,
    FIXED,
    Schedule,
    attacked_digits,
    plain_network,
    trained_network,
)
from captum_certified.reproduce.experiment import Experiment, Part, Row, Scale
from captum_certified.reproduce.material import Material
from captum_certified.training import SaliencyAdversarialLoss
from captum_certified.visualization.palette import HEAT

__all__ = ["TransferOfAttacks"]

_K = 0.25
_WEIGHT, _STEPS = 0.7, 5  # of the training against attacks


@dataclass(frozen=True, kw_only=True)
class _Size(Schedule):
    """How much is trained and attacked.

    Attributes:
        attacked: Test images attacked by Algorithm 1.
        steps: Its steps P.
    """

    attacked: int
    steps: int


_SIZES: dict[Scale, _Size] = {
    "smoke": _Size(first_images=256, first_epochs=1, images=128, epochs=1, attacked=2, steps=2),
    "cpu": _Size(first_images=60000, first_epochs=5, images=40000, epochs=2, attacked=200, steps=20),
    "paper": _Size(first_images=60000, first_epochs=10, images=60000, epochs=4, attacked=1000, steps=20),
}


class TransferOfAttacks(Experiment):
    """Beyond the paper: inputs made to redraw the saliency maps of one network, shown to others."""

    name = "transfer"
    uses = ("mnist",)
    title = "Attacks on saliency maps of one network, tried on another, MNIST"
    claim = "Ours: an attack on one network moves the maps of another less than its own, but more than noise does."

    def settings(self, scale: Scale) -> Mapping[str, Any]:
        """Sizes, and the training against attacks."""
        return {**asdict(_SIZES[scale]), "weight": _WEIGHT, "train_steps": _STEPS, "k": _K, **FIXED}

    def parts(self, material: Material, scale: Scale) -> Sequence[Part]:
        """A single one, as every network is needed with every other."""
        return [Part("networks", functools.partial(_rows, _SIZES[scale], material))]

    def summary(self, rows: Sequence[Row]) -> dict[str, Any]:
        """Mean overlap for each network attacked and each network whose map it is."""
        summary: dict[str, dict[str, float]] = {}
        for row in rows:
            of = [r["overlap"] for r in rows if (r["attacked"], r["explained"]) == (row["attacked"], row["explained"])]
            summary.setdefault(row["attacked"], {})[row["explained"]] = statistics.fmean(of)
        return summary

    def figure(self, rows: Sequence[Row]) -> Figure:
        """The table, coloured."""
        table = self.summary(rows)
        columns = list(next(iter(table.values())))
        values = np.array([[of[name] for name in columns] for of in table.values()])
        figure = Figure(figsize=(6.4, 4.4), layout="constrained")
        axes = figure.subplots()
        axes.imshow(values, cmap=HEAT, vmin=0, vmax=1, aspect="auto")
        for i, j in itertools.product(*map(range, values.shape)):
            axes.text(
                j, i, f"{values[i, j]:.2f}", ha="center", va="center", color="black" if values[i, j] > 0.5 else "white"
            )
        axes.set_xticks(range(len(columns)), [name.replace(", ", "\n") for name in columns])
        axes.set_yticks(range(len(table)), [name.replace(", ", "\n") for name in table])
        axes.set_xlabel("network whose map is looked at")
        axes.set_ylabel("network that was attacked")
        axes.set_title(f"overlap left of the top quarter, ρ = {DIGIT_RADIUS}, mean", fontsize=10)
        return figure


def _rows(size: _Size, material: Material) -> list[Row]:
    images = material.mnist(train=False)[0][: size.attacked]
    networks = _networks(size, material)
    results = {name: attacked_digits(model, images, steps=size.steps) for name, model in networks.items()}
    some = next(iter(networks.values()))
    results["random noise"] = attacked_digits(some, images, steps=size.steps, objective="random")
    return [
        {"attacked": attacked, "explained": explained, "image": i, "overlap": float(overlap)}
        for attacked, result in results.items()
        for explained, model in networks.items()
        for i, overlap in enumerate(_overlaps(model, images, result.perturbed))
        if result.succeeded[i]
    ]


def _overlaps(model: nn.Module, images: Tensor, perturbed: Any) -> Tensor:
    """What is left of the top K of a network's saliency maps, each of the class predicted at the clean image."""
    method, targets = Saliency(model), model(images).argmax(dim=1)
    before, after = (method.attribute(x.clone().requires_grad_(), target=targets) for x in (images, perturbed))
    return top_k_intersection(before, after, k=_K)


def _networks(size: _Size, material: Material) -> dict[str, nn.Module]:
    loss = SaliencyAdversarialLoss(radius=DIGIT_RADIUS, weight=_WEIGHT, k=_K, step_num=_STEPS, **BOX, seed=0)
    robust = trained_network(loss, 0, size, material)
    first, second = (plain_network(seed, size, material).eval().requires_grad_(False) for seed in (0, 1))
    return {"plain, seed 0": first, "plain, seed 1": second, "trained (D.1), seed 0": robust}
