"""Figure 7: overlap under attack and accuracy by the weight of saliency training, on MNIST."""

import functools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from captum_certified.reproduce.experiment import Experiment, Part, Row, Scale, number, numbers
from captum_certified.reproduce.mnist_networks import (
    DIGIT_RADIUS,
    accuracy,
    attack_digits,
    fixed_settings,
    saliency_loss,
    summed_weight,
    trained_network,
)
from captum_certified.reproduce.networks_and_images import Material
from captum_certified.storage import JsonObject
from captum_certified.visualization.colours import ATTACKED, KINDS

__all__ = ["SaliencyWeights"]

_SEED = 0
_MEASURES = ("overlap", "accuracy", "attacks_that_succeeded")


class _Size(NamedTuple):
    """The weights λ with which networks are trained, the numbers of test images, and the steps of the attack."""

    weights: tuple[float, ...]  # λ for a sum over 784 pixels. The authors use the mean: their 200 is 0.255.
    tested: int  # images for the accuracy
    attacked: int  # images attacked by Algorithm 1
    steps: int  # P, the steps of Algorithm 1


_SIZES: Mapping[Scale, _Size] = {
    "smoke": _Size(weights=(0.0, 0.5), tested=100, attacked=2, steps=2),
    "cpu": _Size(weights=(0.0, 0.25, 0.5, 1.0, 2.0), tested=10000, attacked=200, steps=20),
    "dry": _Size(weights=(0.0, summed_weight(1000)), tested=20, attacked=4, steps=2),
    "paper": _Size(weights=tuple(map(summed_weight, range(0, 1001, 100))), tested=10000, attacked=10000, steps=20),
}


class SaliencyWeights(Experiment):
    """Figure 7. Overlap under attack and accuracy over the weight λ of the saliency loss of Appendix D.1."""

    name = "weights"
    uses = ("mnist",)
    title = "Figure 7: overlap under attack and accuracy for each weight of saliency training, on MNIST"
    claim = "The overlap under attack rises with λ, and the accuracy hardly falls."

    def settings(self, scale: Scale) -> JsonObject:
        """Return the sizes and the loss."""
        return {**_SIZES[scale]._asdict(), "loss": repr(saliency_loss(1.0, _SEED, scale)), **fixed_settings(scale)}

    def parts(self, material: Material, scale: Scale) -> Sequence[Part]:
        """Return a part for each weight."""
        weights = _SIZES[scale].weights
        return [Part(f"weight-{weight:g}", functools.partial(_rows, weight, scale, material)) for weight in weights]

    def summary(self, rows: Sequence[Row]) -> JsonObject:
        """Return all measures by weight. If an attack finds no point that keeps the class, the overlap is 1."""
        return {f"{number(row, 'weight'):g}": {name: row[name] for name in _MEASURES} for row in rows}

    def figure(self, rows: Sequence[Row]) -> Figure:
        """Plot overlap and accuracy over λ. The accuracy axis does not start at 0, so that small changes show."""
        figure = Figure(figsize=(9.6, 4.0), layout="constrained")
        panels, weights = figure.subplots(1, 2), numbers(rows, "weight")
        labels = {
            "overlap": f"overlap of the top quarter under attack,\nρ = {DIGIT_RADIUS} in L2 for pixels in [0, 1]",
            "accuracy": "accuracy",
        }
        for axes, color, (name, label) in zip(panels, (ATTACKED, KINDS[0]), labels.items(), strict=True):
            axes.plot(weights, numbers(rows, name), "o-", color=color)
            axes.set_xlabel("λ, the weight of the change of saliency")
            axes.set_ylabel(label)
            axes.spines[["top", "right"]].set_visible(False)
        panels[0].set_ylim(0, 1)
        panels[1].yaxis.set_major_formatter(PercentFormatter(1.0, decimals=1))
        return figure


def _rows(weight: float, scale: Scale, material: Material) -> list[Row]:
    size = _SIZES[scale]
    model = trained_network(saliency_loss(weight, _SEED, scale), _SEED, scale, material)
    images, classes = material.mnist(train=False)
    attacked = attack_digits(model, images[: size.attacked], steps=size.steps)
    return [
        {
            "weight": weight,
            "overlap": attacked.mean_overlap_fraction,
            "accuracy": accuracy(model, images[: size.tested], classes[: size.tested]),
            "attacks_that_succeeded": float(attacked.succeeded.double().mean()),
        }
    ]
