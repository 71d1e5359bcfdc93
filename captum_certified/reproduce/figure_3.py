"""Figures 3, 10 and 11: smoothed maps of photographs and of CIFAR-10 images, side by side."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from captum.attr import NoiseTunnel, Saliency
from matplotlib.figure import Figure
from torch import Tensor, nn

from captum_certified import (
    RelaxedSparsifiedSmoothGrad,
    ScaledQuadraticSmoothGrad,
    SparsifiedSmoothGrad,
    top_k_intersection,
)
from captum_certified._captum import MethodArguments
from captum_certified.reproduce.cifar_networks import cifar_networks, training_settings
from captum_certified.reproduce.compared_maps import Explanation, measured_map
from captum_certified.reproduce.experiment import PRINTED_MODEL, Experiment, Part, Row, Scale, mean, where
from captum_certified.reproduce.networks_and_images import Material
from captum_certified.reproduce.picture_gallery import SCALED, draw, heat, packed
from captum_certified.runs.results import file_digest
from captum_certified.storage import JsonObject
from captum_certified.visualization.colours import HEAT

__all__ = ["PhotographGallery", "SmallImageGallery"]

_SIGMA, _TAU, _GAMMA = 0.2, 0.1, 0.01
_K = 0.2  # size of the top sets that are compared, as a fraction of all features
_PANEL = 1.6  # side of a picture, in inches


class _Size(NamedTuple):
    """The numbers of images, and of draws for each map."""

    images: int
    draws: int


_SIZES: Mapping[Scale, _Size] = {
    "smoke": _Size(images=2, draws=4),
    "cpu": _Size(images=3, draws=256),
    "dry": _Size(images=2, draws=2),
    "paper": _Size(images=8, draws=8192),
}


class _MapGallery(Experiment):
    """An experiment whose figure shows images and their smoothed maps, without an attack."""

    columns: tuple[str, ...]

    def settings(self, scale: Scale) -> JsonObject:
        """Return the sizes, and the settings of the maps."""
        return {**_SIZES[scale]._asdict(), "sigma": _SIGMA, "tau": _TAU, "gamma": _GAMMA, "k": _K}

    def summary(self, rows: Sequence[Row]) -> JsonObject:
        """Return the mean overlap of the top fifth of each map with that of SmoothGrad. Chance is .2."""
        return {name: mean(where(rows, explanation=name), "with_smoothgrad") for name in self.columns}

    def figure(self, rows: Sequence[Row]) -> Figure:
        """Plot a line of pictures for each image: the image and all maps."""
        images = list(dict.fromkeys(row["image"] for row in rows))
        width = 1 + len(self.columns)
        figure = Figure(figsize=(_PANEL * width, (_PANEL + 0.1) * len(images) + 0.6), layout="constrained")
        figure.supxlabel(SCALED, fontsize=12)
        for line, image in zip(figure.subplots(len(images), width, squeeze=False), images, strict=True):
            own = {row["explanation"]: row for row in where(rows, image=image)}
            first = image == images[0]
            draw(line[0], own[self.columns[0]]["clean"], "image" if first else "", "gray")
            for axes, name in zip(line[1:], self.columns, strict=True):
                draw(axes, own[name]["map"], name if first else "", HEAT)
        return figure


class PhotographGallery(_MapGallery):
    """Figure 3. Smoothed maps of photographs: SmoothGrad, quadratic and sparsified. Figure 10 shows more of them."""

    name = "photographs"
    uses = ("network",)
    default_model = PRINTED_MODEL
    title = "Figures 3, 10: smoothed maps of photographs"
    claim = "Sparsified and quadratic maps mark the same objects as SmoothGrad."
    columns = ("SmoothGrad", "quadratic", "sparsified")

    def parts(self, material: Material, scale: Scale) -> Sequence[Part]:
        """Return a part for each photograph."""

        def rows(name: str, load: Callable[[], tuple[nn.Module, Tensor]]) -> list[Row]:
            return _rows(*load(), name, self.columns, _SIZES[scale].draws)

        return [
            Part(name, functools.partial(rows, name, functools.partial(material.photograph, path)), file_digest(path))
            for name, path in material.photographs(_SIZES[scale].images)
        ]


class SmallImageGallery(_MapGallery):
    """Figure 11. Smoothed maps of CIFAR-10 images: SmoothGrad, quadratic and relaxed."""

    name = "small-images"
    uses = ("network", "cifar")
    uses_when_training = ("cifar", "cifar-training")
    title = "Figure 11: smoothed maps of CIFAR-10 images"
    claim = "Relaxed and quadratic maps mark the same objects as SmoothGrad."
    columns = ("SmoothGrad", "quadratic", "relaxed")

    def settings(self, scale: Scale) -> JsonObject:
        """Return the sizes, and the settings of the maps and of the training."""
        return {**super().settings(scale), **training_settings(scale)}

    def parts(self, material: Material, scale: Scale) -> Sequence[Part]:
        """Return a part for each image."""

        def rows(number: int) -> list[Row]:
            network = cifar_networks(material, scale).explained
            image = material.small_pixels(number, 1).to(next(network.parameters()))
            return _rows(network, image, f"{number}", self.columns, _SIZES[scale].draws)

        return [Part(f"{number}", functools.partial(rows, number)) for number in range(_SIZES[scale].images)]


def _rows(network: nn.Module, image: Tensor, name: str, columns: Sequence[str], draws: int) -> list[Row]:
    """Compute all maps of one image, for the predicted class."""
    method = Saliency(network)
    smooth: MethodArguments = {"target": network(image).argmax(dim=1), "nt_samples": draws, "stdevs": _SIGMA}
    explanations = {
        "SmoothGrad": Explanation(NoiseTunnel(method), {**smooth, "abs": False}, draws),
        "quadratic": Explanation(ScaledQuadraticSmoothGrad(method), smooth, draws),
        "sparsified": Explanation(SparsifiedSmoothGrad(method, tau=_TAU), smooth, draws),
        "relaxed": Explanation(RelaxedSparsifiedSmoothGrad(method, tau=_TAU, gamma=_GAMMA), smooth, draws),
    }
    maps = {column: measured_map(explanations[column], image) for column in columns}
    return [
        {
            "image": name,
            "explanation": column,
            "with_smoothgrad": float(top_k_intersection(maps["SmoothGrad"], shown, k=_K)[0]),
            "clean": packed(image[0]),
            "map": packed(heat(shown[0])),
        }
        for column, shown in maps.items()
    ]
