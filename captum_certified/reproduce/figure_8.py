"""Figures 8 and 13: saliency maps of digits before and after an attack, by the weight of saliency training."""

import functools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from captum.attr import Saliency

from captum_certified._captum import as_tuple
from captum_certified.reproduce.compared_maps import Explanation
from captum_certified.reproduce.experiment import Part, Row, Scale
from captum_certified.reproduce.mnist_networks import (
    attack_digits,
    fixed_settings,
    saliency_loss,
    summed_weight,
    trained_network,
)
from captum_certified.reproduce.networks_and_images import Material
from captum_certified.reproduce.picture_gallery import Gallery, picture_rows
from captum_certified.storage import JsonObject

__all__ = ["DigitGallery", "DigitsByWeight"]


class _Size(NamedTuple):
    """The number of digits, and the steps P of Algorithm 1."""

    digits: int
    steps: int


_SIZES: Mapping[Scale, _Size] = {
    "smoke": _Size(digits=2, steps=1),
    "cpu": _Size(digits=4, steps=20),
    "dry": _Size(digits=2, steps=1),
    "paper": _Size(digits=8, steps=20),
}


def _labels(weights: Sequence[int]) -> Mapping[str, str]:
    return {f"{weight}": f"λ = {weight}" for weight in weights}


class _Digits(Gallery):
    """A gallery of digits. All such galleries share their parts, one for each weight.

    Attributes:
        weights: λ of the authors, who take the mean over pixels. The smallest runs have only the first and the last.
    """

    store = "digits"
    uses = ("mnist",)
    weights: tuple[int, ...]

    def settings(self, scale: Scale) -> JsonObject:
        """Return the sizes, and the settings of the training."""
        return {**_SIZES[scale]._asdict(), "weights": self._weights(scale), **fixed_settings(scale)}

    def parts(self, material: Material, scale: Scale) -> Sequence[Part]:
        """Return a part for each weight."""
        shared: JsonObject = {**_SIZES[scale]._asdict(), **fixed_settings(scale)}
        return [
            Part(
                f"weight-{weight}",
                functools.partial(_rows, weight, scale, material),
                settings={**shared, "loss": repr(saliency_loss(summed_weight(weight), 0, scale))},
            )
            for weight in self._weights(scale)
        ]

    def _weights(self, scale: Scale) -> tuple[int, ...]:
        return (self.weights[0], self.weights[-1]) if scale in ("smoke", "dry") else self.weights


class DigitGallery(_Digits):
    """Figure 8. Saliency maps of digits under attack, without saliency training and with the weight λ = 200."""

    name = "digits"
    title = "Figure 8: saliency maps of digits before and after Algorithm 1, without and with saliency training"
    claim = "Training against the attack on saliency makes maps steadier, and they look cleaner."
    weights = (0, 200)
    labels = _labels(weights)


class DigitsByWeight(_Digits):
    """Figure 13. Saliency maps of digits under attack, for several weights λ of saliency training."""

    name = "digits-by-weight"
    title = "Figure 13: saliency maps of digits before and after Algorithm 1, for several weights of saliency training"
    claim = "Maps become steadier with larger λ."
    weights = (0, 200, 1000)
    labels = _labels(weights)


def _rows(weight: int, scale: Scale, material: Material) -> list[Row]:
    size = _SIZES[scale]
    model = trained_network(saliency_loss(summed_weight(weight), 0, scale), 0, scale, material)
    images = material.mnist(train=False)[0][: size.digits]
    [perturbed] = as_tuple(attack_digits(model, images, steps=size.steps).perturbed)
    explanation = Explanation(Saliency(model), {"target": model(images).argmax(dim=1)})
    return picture_rows(f"{weight}", explanation, images, perturbed)
