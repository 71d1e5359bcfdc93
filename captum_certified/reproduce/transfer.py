"""Beyond the paper: whether an attack on the saliency maps of one network works on another network, on MNIST."""

import functools
import itertools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from captum.attr import Saliency
from matplotlib.figure import Figure

from captum_certified import top_k_intersection
from captum_certified._captum import as_tuple
from captum_certified.reproduce.compared_maps import Explanation, measured_map
from captum_certified.reproduce.experiment import Experiment, Part, Row, Scale, mean, where
from captum_certified.reproduce.mnist_networks import (
    DIGIT_RADIUS,
    K,
    attack_digits,
    fixed_settings,
    plain_loss,
    saliency_loss,
    trained_network,
)
from captum_certified.reproduce.networks_and_images import Material
from captum_certified.storage import JsonObject
from captum_certified.visualization.colours import HEAT

__all__ = ["TransferOfAttacks"]

_WEIGHT = 0.7  # λ of the saliency loss
_NOISE = "random noise"


class _Size(NamedTuple):
    """The number of attacked test images, and the steps P of Algorithm 1."""

    attacked: int
    steps: int


_SIZES: Mapping[Scale, _Size] = {
    "smoke": _Size(attacked=4, steps=2),
    "cpu": _Size(attacked=200, steps=20),
    "dry": _Size(attacked=2, steps=1),
    "paper": _Size(attacked=1000, steps=20),
}


class TransferOfAttacks(Experiment):
    """Beyond the paper: how much of a network's saliency maps is left by an attack on another network's maps."""

    name = "transfer"
    uses = ("mnist",)
    title = "How much attacks on the saliency maps of one network change those of another, on MNIST"
    claim = (
        "Ours: an attack on another network changes the maps less than an attack on the network itself, but more "
        "than noise."
    )

    def settings(self, scale: Scale) -> JsonObject:
        """Return the sizes, and the settings of the training."""
        return {**_SIZES[scale]._asdict(), "weight": _WEIGHT, **fixed_settings(scale)}

    def parts(self, material: Material, scale: Scale) -> Sequence[Part]:
        """Return a single part, because every network is measured at the attacked inputs of every other network."""
        return [Part("networks", functools.partial(_rows, scale, material))]

    def summary(self, rows: Sequence[Row]) -> JsonObject:
        """Return mean overlaps by attacked and by explained network, and the mean L2 norm of the perturbations.

        All means are over the images for which every attack found a point that keeps the predicted class.
        """
        return {"overlap": _overlap(rows), "norm": _norm(rows), "images": len({row["image"] for row in rows})}

    def figure(self, rows: Sequence[Row]) -> Figure:
        """Plot the table of overlaps as a heat map."""
        table, norms = _overlap(rows), _norm(rows)
        columns = list(next(iter(table.values())))
        values = np.array([[of[name] for name in columns] for of in table.values()])
        figure = Figure(figsize=(6.4, 4.4), layout="constrained")
        axes = figure.subplots()
        axes.imshow(values, cmap=HEAT, aspect="auto")
        middle = (values.min() + values.max()) / 2
        for i, j in itertools.product(*map(range, values.shape)):
            color = "black" if values[i, j] > middle else "white"
            axes.text(j, i, f"{values[i, j]:.2f}", ha="center", va="center", color=color)
        axes.set_xticks(range(len(columns)), [name.replace(", ", "\n") for name in columns])
        lines = [f"{name}\n‖δ‖ = {norms[name]:.2f}".replace(", ", "\n") for name in table]
        axes.set_yticks(range(len(table)), lines)
        axes.set_xlabel("network whose map is looked at")
        axes.set_ylabel("network that was attacked")
        axes.set_title(f"overlap left of the top quarter, ρ = {DIGIT_RADIUS}, mean", fontsize=10)
        return figure


def _overlap(rows: Sequence[Row]) -> dict[str, dict[str, float]]:
    """Return the mean overlap by attacked and by explained network."""
    explained = dict.fromkeys(str(row["explained"]) for row in rows)
    return {
        attacked: {name: mean(where(rows, attacked=attacked, explained=name), "overlap") for name in explained}
        for attacked in _norm(rows)
    }


def _norm(rows: Sequence[Row]) -> dict[str, float]:
    """Return the mean L2 norm of the perturbations by attacked network."""
    attacked = dict.fromkeys(str(row["attacked"]) for row in rows)
    return {name: mean(where(rows, attacked=name), "norm") for name in attacked}


def _rows(scale: Scale, material: Material) -> list[Row]:
    size = _SIZES[scale]
    images = material.mnist(train=False)[0][: size.attacked]
    networks = {
        "plain, first": trained_network(plain_loss(0), 0, scale, material),
        "plain, second": trained_network(plain_loss(1), 1, scale, material),
        "saliency (D.1), third": trained_network(saliency_loss(_WEIGHT, 2, scale), 2, scale, material),
    }
    results = {name: attack_digits(model, images, steps=size.steps) for name, model in networks.items()}
    results[_NOISE] = attack_digits(next(iter(networks.values())), images, steps=size.steps, objective="random")
    everywhere = torch.stack([result.succeeded for result in results.values()]).all(dim=0)
    rows: list[Row] = []
    for attacked, result in results.items():
        [perturbed] = as_tuple(result.perturbed)
        norms = (perturbed - images).flatten(1).norm(dim=1)
        for explained, model in networks.items():
            # Explain the class that this network predicts at the clean image.
            explanation = Explanation(Saliency(model), {"target": model(images).argmax(dim=1)})
            before, after = (measured_map(explanation, pixels) for pixels in (images, perturbed))
            overlaps = top_k_intersection(before, after, k=K)
            rows += [
                {
                    "attacked": attacked,
                    "explained": explained,
                    "image": int(i),
                    "overlap": float(overlaps[i]),
                    "norm": float(norms[i]),
                }
                for i in everywhere.nonzero()
            ]
    return rows
