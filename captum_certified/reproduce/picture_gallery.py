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

__all__ = ["SCALED", "Gallery", "draw", "heat", "packed", "picture_rows", "without_pictures"]

_PICTURES = ("clean", "attacked", "before", "after")
SCALED = "Each map is scaled to its own maximum."
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
            for column in self._shown(rows)
        }

    def figure(self, rows: Sequence[Row]) -> Figure:
        """Plot a line of pictures for each image: the image, the attacked image, and all maps before and after attack.

        Every map is attacked separately. The attacked image is that of the first explanation.
        """
        rows = [row for row in rows if row["clean"] is not None]
        images = list(dict.fromkeys(row["image"] for row in rows))
        labels = self._shown(rows)
        width = 2 + 2 * len(labels)
        figure = Figure(figsize=(_PANEL * width, (_PANEL + 0.3) * len(images) + 0.6), layout="constrained")
        figure.supxlabel(SCALED, fontsize=12)
        panels = figure.subplots(len(images), width, squeeze=False)
        for line, image in zip(panels, images, strict=True):
            first = image == images[0]
            own = {row["explanation"]: row for row in where(rows, image=image)}
            shown = own[next(iter(labels))]
            draw(line[0], shown["clean"], "image" if first else "", "gray")
            draw(line[1], shown["attacked"], "attacked" if first else "", "gray")
            for place, (column, label) in enumerate(labels.items()):
                row, (before, after) = own[column], line[2 + 2 * place : 4 + 2 * place]
                draw(before, row["before"], label if first else "", HEAT)
                draw(after, row["after"], f"{100 * number(row, 'overlap'):.0f} % stay", HEAT)
        return figure

    def _shown(self, rows: Sequence[Row]) -> Mapping[str, str]:
        """Return the labels of the explanations that the rows have."""
        found = {row["explanation"] for row in rows}
        return {column: label for column, label in self.labels.items() if column in found}


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
            "clean": packed(images[i]),
            "attacked": packed(perturbed[i]),
            "before": packed(heat(before[i])),
            "after": packed(heat(after[i])),
        }
        for i in range(len(images))
    ]


def without_pictures(row: Row) -> Row:
    """Return a row of a gallery without its pictures. It counts in the summary, and the figure leaves it out."""
    return {**row, **dict.fromkeys(_PICTURES)}


def heat(attribution: Tensor) -> Tensor:
    """Sum the magnitudes of a map, shape (C, H, W), over channels, and scale the sums to [0, 1], shape (1, H, W)."""
    summed = attribution.detach().abs().sum(dim=0, keepdim=True)
    return summed / summed.max().clamp_min(1e-30)


def packed(picture: Tensor) -> str:
    """Encode a square picture of shape (C, H, W) in [0, 1] as text: number of channels, and base64 of 8-bit values."""
    values = (picture.detach().clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()
    return f"{values.shape[2]}:{base64.b64encode(values.tobytes()).decode()}"


def _unpacked(text: str) -> NDArray[np.uint8]:
    channels, _, values = text.partition(":")
    flat = np.frombuffer(base64.b64decode(values), dtype=np.uint8)
    side = round((len(flat) / int(channels)) ** 0.5)
    return flat.reshape(side, side, int(channels))


def draw(axes: Axes, text: Value, title: str, colors: str) -> None:
    """Draw an encoded picture with a title; ``colors`` is the colour map of pictures of one channel."""
    picture = _unpacked(str(text))
    axes.imshow(picture[..., 0] if picture.shape[2] == 1 else picture, cmap=colors, vmin=0, vmax=255)
    axes.set_title(title, fontsize=12)
    axes.set_axis_off()
