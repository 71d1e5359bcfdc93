"""Explanations before and after attacks, to be looked at: of images of CIFAR-10, and of digits by trained networks."""

import base64
import functools
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from captum.attr import Saliency
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from captum_certified import top_k_intersection
from captum_certified.reproduce.digits import attacked_digits, fixed_settings, saliency_loss, trained_network
from captum_certified.reproduce.experiment import Experiment, Part, Row, Scale
from captum_certified.reproduce.explanations import SETTINGS, K, attacked, explanations, measured_map
from captum_certified.reproduce.material import Material
from captum_certified.visualization.panels import HEAT

__all__ = ["DigitGallery", "ImageGallery"]

_SHOWN = ("gradient", "SmoothGrad", "sparsified", "relaxed")
_WEIGHTS = (0.0, 1.0)  # of the saliency training whose networks are shown
_STEPS, _RESTARTS = 20, 5  # of the attack
_PANEL = 1.25  # inches


class _Gallery(Experiment):
    """A row of pictures for each image: the image, and for each explanation its map before and after the attack."""

    columns: Sequence[str]

    @abstractmethod
    def label(self, column: str) -> str:
        """What is written above the maps of an explanation."""

    def summary(self, rows: Sequence[Row]) -> dict[str, Any]:
        """The overlap that the attack leaves of every map."""
        return {
            column: {f"{row['image']}": row["overlap"] for row in rows if row["explanation"] == column}
            for column in self.columns
        }

    def figure(self, rows: Sequence[Row]) -> Figure:
        """Image, the image as attacked for the first explanation, and every map before and after its own attack."""
        images = list(dict.fromkeys(row["image"] for row in rows))
        width = 2 + 2 * len(self.columns)
        figure = Figure(figsize=(_PANEL * width, (_PANEL + 0.3) * len(images) + 0.3), layout="constrained")
        panels = figure.subplots(len(images), width, squeeze=False)
        for line, image in zip(panels, images, strict=True):
            first = image == images[0]
            own = {row["explanation"]: row for row in rows if row["image"] == image}
            shown = own[self.columns[0]]
            _draw(line[0], _unpacked(shown["clean"]), "image" if first else "", "gray")
            _draw(line[1], _unpacked(shown["attacked"]), "attacked" if first else "", "gray")
            for place, column in enumerate(self.columns):
                row, (before, after) = own[column], line[2 + 2 * place : 4 + 2 * place]
                _draw(before, _unpacked(row["before"]), self.label(column) if first else "", HEAT)
                _draw(after, _unpacked(row["after"]), f"{100 * row['overlap']:.0f} % stay", HEAT)
        return figure


@dataclass(frozen=True, kw_only=True)
class _ImageSize:
    """How much is attacked.

    Attributes:
        images: Images.
        radius: L2 size of the perturbation.
        steps: Steps P of Algorithm 1.
        restarts: Its starts T.
    """

    images: int
    radius: float
    steps: int
    restarts: int


_IMAGE_SIZES: dict[Scale, _ImageSize] = {
    "smoke": _ImageSize(images=2, radius=0.5, steps=1, restarts=1),
    "cpu": _ImageSize(images=6, radius=0.5, steps=_STEPS, restarts=_RESTARTS),
    "paper": _ImageSize(images=12, radius=0.5, steps=_STEPS, restarts=_RESTARTS),
}


class ImageGallery(_Gallery):
    """Figure 1(a). Maps of CIFAR-10, each attacked by itself; also Figures 3, 10, 11, 13."""

    name = "gallery"
    uses = ("network", "cifar")
    title = "Figures 1(a), 3, 10, 11, 13: maps of CIFAR-10 before and after Algorithm 1, each attacked by itself"
    claim = "A gradient map is redrawn where a smoothed map, attacked by itself, mostly stays."
    columns = _SHOWN

    def settings(self, scale: Scale) -> Mapping[str, Any]:
        """Sizes, and the maps."""
        return {**asdict(_IMAGE_SIZES[scale]), "shown": _SHOWN, **SETTINGS}

    def label(self, column: str) -> str:
        """The name of the map."""
        return column

    def parts(self, material: Material, scale: Scale) -> Sequence[Part]:
        """One for each explanation."""
        size = _IMAGE_SIZES[scale]
        return [Part(name, functools.partial(_explained_images, name, size, material)) for name in _SHOWN]


@dataclass(frozen=True, kw_only=True)
class _DigitSize:
    """How much is attacked.

    Attributes:
        digits: Test images.
        steps: Steps P of Algorithm 1.
    """

    digits: int
    steps: int


_DIGIT_SIZES: dict[Scale, _DigitSize] = {
    "smoke": _DigitSize(digits=2, steps=1),
    "cpu": _DigitSize(digits=4, steps=_STEPS),
    "paper": _DigitSize(digits=8, steps=_STEPS),
}


class DigitGallery(_Gallery):
    """Figure 8. Saliency maps of digits under attack, by networks trained with more and more weight on saliency."""

    name = "digits"
    uses = ("mnist",)
    title = "Figure 8: saliency maps of digits before and after Algorithm 1, by the weight of saliency training"
    claim = "Training against the attack on saliency makes maps steadier, and cleaner to look at."
    columns = tuple(f"{weight:g}" for weight in _WEIGHTS)

    def settings(self, scale: Scale) -> Mapping[str, Any]:
        """Sizes, and the training."""
        return {**asdict(_DIGIT_SIZES[scale]), "weights": _WEIGHTS, **fixed_settings(scale)}

    def label(self, column: str) -> str:
        """The weight."""
        return f"λ = {column}"

    def parts(self, material: Material, scale: Scale) -> Sequence[Part]:
        """One for each weight."""
        return [
            Part(f"weight-{weight:g}", functools.partial(_explained_digits, weight, scale, material))
            for weight in _WEIGHTS
        ]


def _explained_images(name: str, size: _ImageSize, material: Material) -> list[Row]:
    model, images = material.small_images(0, size.images)
    explainer, arguments = explanations(Saliency(model), model(images).argmax(dim=1))[name]
    result = attacked(model, explainer, images, arguments, radius=size.radius, steps=size.steps, restarts=size.restarts)
    before, after = (measured_map(explainer, x, arguments) for x in (images, result.perturbed))
    return _pictures(name, images, result.perturbed, before, after)


def _explained_digits(weight: float, scale: Scale, material: Material) -> list[Row]:
    size = _DIGIT_SIZES[scale]
    model = trained_network(saliency_loss(weight, 0), 0, scale, material)
    images = material.mnist(train=False)[0][: size.digits]
    perturbed = attacked_digits(model, images, steps=size.steps).perturbed
    arguments = {"target": model(images).argmax(dim=1)}
    before, after = (measured_map(Saliency(model), x, arguments) for x in (images, perturbed))
    return _pictures(f"{weight:g}", images, perturbed, before, after)


def _pictures(name: str, images: Tensor, perturbed: Any, before: Tensor, after: Tensor) -> list[Row]:
    overlaps = top_k_intersection(before, after, k=K)
    return [
        {
            "explanation": name,
            "image": i,
            "overlap": float(overlaps[i]),
            "clean": _packed(images[i]),
            "attacked": _packed(perturbed[i]),
            "before": _packed(_heat(before[i])),
            "after": _packed(_heat(after[i])),
        }
        for i in range(len(images))
    ]


def _heat(attribution: Tensor) -> Tensor:
    """Magnitudes of a map of shape (C, H, W) over its channels, the largest 1, shape (1, H, W)."""
    heat = attribution.detach().abs().sum(dim=0, keepdim=True)
    return heat / heat.max().clamp_min(1e-30)


def _packed(picture: Tensor) -> str:
    """A picture of shape (C, H, W) in [0, 1], H equal to W, as text: 8 bits for each value, in base64."""
    values = (picture.detach().clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()
    return f"{values.shape[2]}:{base64.b64encode(values.tobytes()).decode()}"


def _unpacked(text: str) -> NDArray[np.uint8]:
    channels, _, values = text.partition(":")
    flat = np.frombuffer(base64.b64decode(values), dtype=np.uint8)
    side = round((len(flat) / int(channels)) ** 0.5)
    return flat.reshape(side, side, int(channels))


def _draw(axes: Axes, picture: NDArray[np.uint8], title: str, colors: str) -> None:
    axes.imshow(picture[..., 0] if picture.shape[2] == 1 else picture, cmap=colors, vmin=0, vmax=255)
    axes.set_title(title, fontsize=12)
    axes.set_axis_off()
