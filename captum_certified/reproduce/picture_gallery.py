"""Galleries of images and their maps before and after an attack. Table rows store the pictures as text."""

import base64
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from captum_certified import top_k_intersection
from captum_certified.reproduce.compared_maps import Explanation, K, measured_map
from captum_certified.reproduce.experiment import Experiment, Row, Value, number, where
from captum_certified.storage import JsonObject
from captum_certified.visualization.colours import HEAT

__all__ = ["Gallery", "picture_rows"]

_PANEL = 1.25  # side of a picture, in inches


class Gallery(Experiment):
    """An experiment whose figure shows images, and the map of each explanation before and after an attack.

    Attributes:
        labels: The text above the maps of each explanation, by the value of the column ``explanation``.
    """

    labels: Mapping[str, str]

    def summary(self, rows: Sequence[Row]) -> JsonObject:
        """Return the overlap between the top sets before and after the attack, by explanation and image."""
        return {
            column: {f"{row['image']}": row["overlap"] for row in where(rows, explanation=column)}
            for column in self.labels
        }

    def figure(self, rows: Sequence[Row]) -> Figure:
        """Plot a line of pictures for each image: the image, the attacked image, and all maps before and after attack.

        Every map is attacked separately. The attacked image is that of the first explanation.
        """
        images = list(dict.fromkeys(row["image"] for row in rows))
        width = 2 + 2 * len(self.labels)
        figure = Figure(figsize=(_PANEL * width, (_PANEL + 0.3) * len(images) + 0.6), layout="constrained")
        figure.supxlabel("Each map is scaled to its own maximum.", fontsize=12)
        panels = figure.subplots(len(images), width, squeeze=False)
        for line, image in zip(panels, images, strict=True):
            first = image == images[0]
            own = {row["explanation"]: row for row in where(rows, image=image)}
            shown = own[next(iter(self.labels))]
            _draw(line[0], shown["clean"], "image" if first else "", "gray")
            _draw(line[1], shown["attacked"], "attacked" if first else "", "gray")
            for place, (column, label) in enumerate(self.labels.items()):
                row, (before, after) = own[column], line[2 + 2 * place : 4 + 2 * place]
                _draw(before, row["before"], label if first else "", HEAT)
                _draw(after, row["after"], f"{100 * number(row, 'overlap'):.0f} % stay", HEAT)
        return figure


def picture_rows(name: str, explanation: Explanation, images: Tensor, perturbed: Tensor) -> list[Row]:
    """Return a table row for each image: the overlap after an attack, and pictures of image and map before and after.

    ``images`` and ``perturbed`` have the shape (N, C, H, W), and pixels in [0, 1].
    """
    before, after = (measured_map(explanation, pixels) for pixels in (images, perturbed))
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
    """Sum the magnitudes of a map, shape (C, H, W), over channels, and scale the sums to [0, 1], shape (1, H, W)."""
    heat = attribution.detach().abs().sum(dim=0, keepdim=True)
    return heat / heat.max().clamp_min(1e-30)


def _packed(picture: Tensor) -> str:
    """Encode a square picture of shape (C, H, W) in [0, 1] as text: number of channels, and base64 of 8-bit values."""
    values = (picture.detach().clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()
    return f"{values.shape[2]}:{base64.b64encode(values.tobytes()).decode()}"


def _unpacked(text: str) -> NDArray[np.uint8]:
    channels, _, values = text.partition(":")
    flat = np.frombuffer(base64.b64decode(values), dtype=np.uint8)
    side = round((len(flat) / int(channels)) ** 0.5)
    return flat.reshape(side, side, int(channels))


def _draw(axes: Axes, packed: Value, title: str, colors: str) -> None:
    picture = _unpacked(str(packed))
    axes.imshow(picture[..., 0] if picture.shape[2] == 1 else picture, cmap=colors, vmin=0, vmax=255)
    axes.set_title(title, fontsize=12)
    axes.set_axis_off()
