"""Images and maps of any layout as arrays of shape (examples, height, width, channels)."""

import copy
import math
from collections.abc import Iterator
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from captum_certified.exceptions import InvalidInputError
from captum_certified.images.everyday_units import EverydayUnits, radius_in_units
from captum_certified.maps import FeatureLayout, SmoothedMap
from captum_certified.visualization.feature_names import counted

__all__ = [
    "ImageReading",
    "Pixels",
    "Values",
    "any_channel",
    "as_array",
    "displayable",
    "is_in_unit_interval",
    "is_the_input",
    "radius_beside_changes",
    "values_of_input",
]

# What a caller may pass: numbers or booleans of any type.
Values: TypeAlias = Tensor | NDArray[np.generic]
# Numbers or booleans of shape (…, height, width, channels).
Pixels: TypeAlias = NDArray[np.generic]

_COLOURS = (1, 3)


class ImageReading:
    """A batch of images as an array, and the pixels at which the entries of a map lie.

    Args:
        image: Tensor or array of shape (N, C, H, W), (N, H, W, C) or (N, H, W). One example may be given without N.
        layout: Layout of the map.
        rows: Number of examples N.

    Attributes:
        images: The images, shape (N, H, W, C).
        n_features: Number of features of an example.

    Raises:
        InvalidInputError: The map is not a map of images, or the image is not real and finite or does not fit the map.
    """

    def __init__(self, image: Values, layout: FeatureLayout, rows: int) -> None:
        if layout.is_tuple or len(layout.shapes[0]) not in (2, 3):
            shapes = ", ".join(str(shape) for shape in layout.shapes)
            raise InvalidInputError(
                f"Expected one map of images, got maps of shape {shapes} for each example. Draw the features of "
                "tables, tokens and other inputs by `bar_figure`."
            )
        array = as_array(image)
        if not (np.issubdtype(array.dtype, np.number) or array.dtype == bool) or np.iscomplexobj(array):
            raise InvalidInputError(f"Expected `image` of real numbers, got {array.dtype}.")
        if not np.isfinite(array).all():
            raise InvalidInputError("Expected `image` to be finite, got NaN or infinity.")
        self._layout = layout
        self.n_features = layout.n_features
        self._map_axis, self.images = _matched(array, (rows, *layout.shapes[0]))

    def of_row(self, row: int) -> "ImageReading":
        """Return the reading of one example."""
        one = copy.copy(self)
        one._layout, one.images = self._layout.of_rows(torch.tensor([row], device="cpu")), self.images[row : row + 1]
        return one

    def on_pixels(self, features: Tensor) -> Pixels:
        """Return features, shape (N, n), as pixels, shape (N, H, W, C). A group's entries get its value."""
        entries = self._layout.unflatten(features)
        assert isinstance(entries, Tensor)  # noqa: S101  for the type checker: tuples were refused
        return self.entries_on_pixels(entries)

    @property
    def features(self) -> str:
        """The number of features and what they are, such as ``"784 cells of 8 × 8 pixels"``."""
        _, height, width, _ = self.images.shape
        return counted(self._layout, height * width)

    def group_ids(self, row: int) -> Pixels | None:
        """Return the group of every pixel of an example, shape (H, W, C), or ``None`` without groups."""
        if self._layout.group_ids is None:
            return None
        [ids] = self._layout.group_ids
        return np.asarray(self.entries_on_pixels(ids)[row if len(ids) > 1 else 0])

    def entries_on_pixels(self, entries: Tensor) -> Pixels:
        """Return entries of a map, shape (N, …), as pixels, shape (N, H, W, C)."""
        return _channels_last(np.asarray(entries), self._map_axis)


def as_array(values: float | Values) -> NDArray[np.generic]:
    """Convert values to an array. Floats of 16 bits become float32, because NumPy has no bfloat16."""
    if not isinstance(values, Tensor):
        return np.asarray(values)
    values = values.detach().cpu()
    return np.asarray(values.float() if values.is_floating_point() and values.itemsize < 4 else values)


def any_channel(entries: Pixels) -> NDArray[np.bool_]:
    """Return which pixels, shape (N, H, W), have a true entry in any channel of ``entries``, shape (N, H, W, C)."""
    return np.asarray(entries.any(axis=3))


def displayable(image: Pixels) -> NDArray[np.float64]:
    """Bring an image into [0, 1]: divide integers in [0, 255] by 255, and stretch other images that exceed [0, 1]."""
    values = image.astype(np.float64)
    low, high = values.min(), values.max()
    if low >= 0 and high <= 1:
        return values
    if np.issubdtype(image.dtype, np.integer) and low >= 0 and high <= 255:
        return values / 255
    return np.asarray((values - low) / max(high - low, np.finfo(np.float64).tiny))


def is_in_unit_interval(image: Pixels) -> bool:
    """Return whether the image holds floats in [0, 1], so that 0 is black and 1 is white."""
    values = image.astype(np.float64)
    return bool(np.issubdtype(image.dtype, np.floating) and values.min() >= 0 and values.max() <= 1)


def values_of_input(smoothed_map: SmoothedMap, picture: Pixels) -> int:
    """Return the number of values of the input. If it is not recorded, use the larger number of map and picture."""
    seen = max(math.prod(smoothed_map.layout.shapes[0]), math.prod(picture.shape))
    recorded = smoothed_map.setup.get("input_values")
    return recorded if isinstance(recorded, int) else seen


def is_the_input(smoothed_map: SmoothedMap, picture: Pixels) -> bool:
    """Return whether the picture has as many values as the input, all in [0, 1]."""
    return is_in_unit_interval(picture) and picture.size == values_of_input(smoothed_map, picture)


def radius_beside_changes(radius: float, pictures: Pixels) -> EverydayUnits:
    """Compare a radius with familiar changes of pictures in [0, 1], shape (N, H, W, C)."""
    return radius_in_units(radius, torch.from_numpy(np.moveaxis(pictures.astype(np.float64), 3, 1).copy()))


def _matched(image: NDArray[np.generic], shape: tuple[int, ...]) -> tuple[int | None, Pixels]:
    """Return the channel axis of the map, and the images as pixels, shape (N, H, W, C).

    If a shape fits both with channels first and with channels last, the channels are taken to be first.
    """
    for images in _readings(image, rows=shape[0]):
        for axis in (1, 3) if len(shape) == 4 else (None,):
            sizes = tuple(size for position, size in enumerate(shape[1:], start=1) if position != axis)
            if sizes == images.shape[1:3]:
                return axis, images
    raise InvalidInputError(
        f"Expected `image` to be {shape[0]} grey or RGB images of the size of the map {shape}, got shape "
        f"{tuple(image.shape)}. Layer methods such as Grad-CAM give maps of the size of the layer; "
        "captum_certified.Upsampled brings them to the size of the input."
    )


def _readings(image: NDArray[np.generic], *, rows: int) -> Iterator[Pixels]:
    batches = [image, image[None]] if rows == 1 else [image]
    for batch in batches:
        if batch.ndim not in (3, 4) or len(batch) != rows:
            continue
        for axis in (1, 3) if batch.ndim == 4 else (None,):
            images = _channels_last(batch, axis)
            if images.shape[3] in _COLOURS and images.size:
                yield images


def _channels_last(array: NDArray[np.generic], axis: int | None) -> Pixels:
    return array[..., None] if axis is None else np.moveaxis(array, axis, -1)
