"""Figure 8: saliency maps of digits before and after an attack, by the weight of saliency training."""

import functools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from captum.attr import Saliency

from captum_certified._captum import as_tuple
from captum_certified.reproduce.compared_maps import Explanation
from captum_certified.reproduce.experiment import Part, Row, Scale
from captum_certified.reproduce.mnist_networks import attack_digits, fixed_settings, saliency_loss, trained_network
from captum_certified.reproduce.networks_and_images import Material
from captum_certified.reproduce.picture_gallery import Gallery, picture_rows
from captum_certified.storage import JsonObject

__all__ = ["DigitGallery"]

_WEIGHTS = (0.0, 1.0)  # λ of the saliency loss


class _Size(NamedTuple):
    """The number of digits, and the steps P of Algorithm 1."""

    digits: int
    steps: int


_SIZES: Mapping[Scale, _Size] = {
    "smoke": _Size(digits=2, steps=1),
    "cpu": _Size(digits=4, steps=20),
    "paper": _Size(digits=8, steps=20),
}


class DigitGallery(Gallery):
    """Figure 8. Saliency maps of digits under attack, without and with saliency training. Figure 13 shows more."""

    name = "digits"
    uses = ("mnist",)
    title = "Figures 8, 13: saliency maps of digits before and after Algorithm 1, by the weight of saliency training"
    claim = "Training against the attack on saliency makes maps steadier, and they look cleaner."
    labels: Mapping[str, str] = {f"{weight:g}": f"λ = {weight:g}" for weight in _WEIGHTS}

    def settings(self, scale: Scale) -> JsonObject:
        """Return the sizes, and the settings of the training."""
        return {**_SIZES[scale]._asdict(), "weights": _WEIGHTS, **fixed_settings(scale)}

    def parts(self, material: Material, scale: Scale) -> Sequence[Part]:
        """Return a part for each weight."""
        return [Part(f"weight-{weight:g}", functools.partial(_rows, weight, scale, material)) for weight in _WEIGHTS]


def _rows(weight: float, scale: Scale, material: Material) -> list[Row]:
    size = _SIZES[scale]
    model = trained_network(saliency_loss(weight, 0), 0, scale, material)
    images = material.mnist(train=False)[0][: size.digits]
    [perturbed] = as_tuple(attack_digits(model, images, steps=size.steps).perturbed)
    explanation = Explanation(Saliency(model), {"target": model(images).argmax(dim=1)})
    return picture_rows(f"{weight:g}", explanation, images, perturbed)
