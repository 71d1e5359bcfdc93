"""Figure 1(a): maps of CIFAR-10 images before and after an attack."""

import functools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from captum.attr import Saliency

from captum_certified._captum import as_tuple
from captum_certified.reproduce.compared_maps import SETTINGS, attacked, explanations
from captum_certified.reproduce.experiment import Part, Row, Scale
from captum_certified.reproduce.networks_and_images import Material
from captum_certified.reproduce.picture_gallery import Gallery, picture_rows
from captum_certified.storage import JsonObject

__all__ = ["ImageGallery"]

_SHOWN = ("gradient", "SmoothGrad", "sparsified", "relaxed")


class _Size(NamedTuple):
    """The number of images, the L2 radius of the attack, and the steps P and starts T of Algorithm 1."""

    images: int
    radius: float
    steps: int
    restarts: int


_SIZES: Mapping[Scale, _Size] = {
    "smoke": _Size(images=2, radius=0.5, steps=1, restarts=1),
    "cpu": _Size(images=6, radius=0.5, steps=20, restarts=5),
    "paper": _Size(images=12, radius=0.5, steps=20, restarts=5),
}


class ImageGallery(Gallery):
    """Figure 1(a). Maps of CIFAR-10 images before and after an attack on each map. Figures 3, 10 and 11 show more."""

    name = "gallery"
    uses = ("network", "cifar")
    title = "Figures 1(a), 3, 10, 11: maps of CIFAR-10 images before and after Algorithm 1 attacks each map"
    claim = "An attack redraws a gradient map, but an attack on a smoothed map leaves most of that map."
    labels: Mapping[str, str] = dict(zip(_SHOWN, _SHOWN, strict=True))

    def settings(self, scale: Scale) -> JsonObject:
        """Return the sizes, and the settings of the maps."""
        return {**_SIZES[scale]._asdict(), "shown": _SHOWN, **SETTINGS}

    def parts(self, material: Material, scale: Scale) -> Sequence[Part]:
        """Return a part for each explanation."""
        return [Part(name, functools.partial(_rows, name, _SIZES[scale], material)) for name in _SHOWN]


def _rows(name: str, size: _Size, material: Material) -> list[Row]:
    model, images = material.small_images(0, size.images)
    explanation = explanations(Saliency(model), model(images).argmax(dim=1))[name]
    result = attacked(model, explanation, images, radius=size.radius, steps=size.steps, restarts=size.restarts)
    [perturbed] = as_tuple(result.perturbed)
    return picture_rows(name, explanation, images, perturbed)
