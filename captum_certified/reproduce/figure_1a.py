"""Figure 1(a): maps of CIFAR-10 images before and after an attack."""

import functools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from captum.attr import Saliency

from captum_certified._captum import as_tuple
from captum_certified.reproduce.cifar_networks import cifar_networks, in_pixels, training_settings
from captum_certified.reproduce.compared_maps import attacked, explanations, map_settings
from captum_certified.reproduce.experiment import Part, Row, Scale
from captum_certified.reproduce.networks_and_images import Material
from captum_certified.reproduce.picture_gallery import Gallery, picture_rows
from captum_certified.storage import JsonObject

__all__ = ["ImageGallery"]

_OURS, _PRINTED = ("gradient", "SmoothGrad", "sparsified", "relaxed"), ("gradient", "relaxed, τ = 0.1")
_SHOWN: Mapping[Scale, tuple[str, ...]] = {"smoke": _OURS, "cpu": _OURS, "dry": _PRINTED, "paper": _PRINTED}


class _Size(NamedTuple):
    """The number of images, the L2 radius of the attack, and the steps P and starts T of Algorithm 1."""

    images: int
    radius: float
    steps: int
    restarts: int


_SIZES: Mapping[Scale, _Size] = {
    "smoke": _Size(images=2, radius=0.5, steps=1, restarts=1),
    "cpu": _Size(images=6, radius=0.5, steps=20, restarts=5),
    "dry": _Size(images=1, radius=in_pixels(2.0), steps=1, restarts=1),
    "paper": _Size(images=12, radius=in_pixels(2.0), steps=20, restarts=5),
}


class ImageGallery(Gallery):
    """Figure 1(a). Maps of CIFAR-10 images before and after an attack on each map."""

    name = "gallery"
    uses = ("network", "cifar")
    uses_when_training = ("cifar", "cifar-training")
    title = "Figure 1(a): maps of CIFAR-10 images before and after Algorithm 1 attacks each map"
    claim = "An attack redraws a gradient map, but an attack on a smoothed map leaves most of that map."
    labels: Mapping[str, str] = {name: name for name in (*_OURS, *_PRINTED)}

    def settings(self, scale: Scale) -> JsonObject:
        """Return the sizes, and the settings of the maps and of the training."""
        maps = {"shown": _SHOWN[scale], **map_settings(scale)}
        return {**_SIZES[scale]._asdict(), **maps, **training_settings(scale)}

    def parts(self, material: Material, scale: Scale) -> Sequence[Part]:
        """Return a part for each explanation."""
        return [Part(name, functools.partial(_rows, name, scale, material)) for name in _SHOWN[scale]]


def _rows(name: str, scale: Scale, material: Material) -> list[Row]:
    size, networks = _SIZES[scale], cifar_networks(material, scale)
    images = material.small_pixels(0, size.images).to(next(networks.explained.parameters()))
    targets = networks.explained(images).argmax(dim=1)
    guided = explanations(Saliency(networks.guide), targets, scale)[name]
    own = explanations(Saliency(networks.explained), targets, scale)[name]
    result = attacked(networks, guided, images, radius=size.radius, steps=size.steps, restarts=size.restarts)
    [perturbed] = as_tuple(result.perturbed)
    return picture_rows(name, own, images, perturbed)
