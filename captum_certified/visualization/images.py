"""Images and maps of any layout as arrays of shape (rows, height, width, channels)."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from captum_certified.exceptions import InvalidInputError
from captum_certified.maps import FeatureLayout

__all__ = ["ImageReading", "any_channel", "as_array", "checked_labels", "displayable", "is_in_unit_interval", "literal"]

_COLOURS = (1, 3)


class ImageReading:
    """How the entries of a map lie over an image.

    Args:
        image: Tensor or array: (N, C, H, W), (N, H, W, C), (N, H, W), and without N for one example.
        layout: Layout of the map.
        rows: Number of examples.

    Raises:
        InvalidInputError: The map is not one of images, or the image does not fit it.
    """

    def __init__(self, image: Tensor | NDArray[Any], layout: FeatureLayout, rows: int) -> None:
        if layout.is_tuple or len(layout.shapes[0]) not in (2, 3):
            raise InvalidInputError(
                f"Expected one map of images, got maps of shape {_shapes(layout)} for each example. Draw the features "
                "of tables, tokens and other inputs by `bar_figure`."
            )
        array = as_array(image)
        if not (np.issubdtype(array.dtype, np.number) or array.dtype == bool) or np.iscomplexobj(array):
            raise InvalidInputError(f"Expected `image` of real numbers, got {array.dtype}.")
        if not np.isfinite(array).all():
            raise InvalidInputError("Expected `image` to be finite, got NaN or infinity.")
        self._layout = layout
        self._map_axis, self.images = _matched(array, (rows, *layout.shapes[0]))

    def on_pixels(self, features: Tensor) -> NDArray[Any]:
        """Features of shape (N, n) as (N, H, W, C); every entry of a group shows the group's value."""
        entries = self._layout.unflatten(features)
        assert isinstance(entries, Tensor)  # noqa: S101  for the type checker: tuples were refused
        return self.entries_on_pixels(entries)

    def entries_on_pixels(self, entries: Tensor) -> NDArray[Any]:
        """Entries of a map of shape (N, *shape) as (N, H, W, C)."""
        return _channels_last(np.asarray(entries), self._map_axis)


def as_array(values: Tensor | NDArray[Any]) -> NDArray[Any]:
    """Values as an array; NumPy has no bfloat16, and little arithmetic of 16 bits."""
    if not isinstance(values, Tensor):
        return np.asarray(values)
    values = values.detach().cpu()
    return np.asarray(values.float() if values.is_floating_point() and values.itemsize < 4 else values)


def any_channel(entries: NDArray[Any]) -> NDArray[np.bool_]:
    """Pixels of shape (N, H, W) at which an entry of shape (N, H, W, C) is marked."""
    return np.asarray(entries.any(axis=3))


def displayable(image: NDArray[Any]) -> NDArray[np.float64]:
    """One image in [0, 1]: integers up to 255 are divided by it, other values outside [0, 1] are stretched."""
    values = image.astype(np.float64)
    low, high = values.min(), values.max()
    if low >= 0 and high <= 1:
        return values
    if np.issubdtype(image.dtype, np.integer) and low >= 0 and high <= 255:
        return values / 255
    return np.asarray((values - low) / max(high - low, np.finfo(np.float64).tiny))


def is_in_unit_interval(image: NDArray[Any]) -> bool:
    """Whether 0 is black and 1 is white, as far as can be seen."""
    return bool(np.issubdtype(image.dtype, np.floating) and image.min() >= 0 and image.max() <= 1)


def literal(text: str) -> str:
    """Text that Matplotlib does not read as mathematics."""
    return text.replace("$", r"\$")


def checked_labels(labels: Sequence[str] | None, rows: int) -> list[str]:
    """A title of each image, ``"image"`` where none are given.

    Raises:
        InvalidInputError: They are not one for each example.
    """
    if labels is not None and len(labels) != rows:
        raise InvalidInputError(f"Expected {rows} `labels`, one for each example, got {len(labels)}.")
    return ["image"] * rows if labels is None else [literal(label) for label in labels]


def _matched(image: NDArray[Any], shape: tuple[int, ...]) -> tuple[int | None, NDArray[Any]]:
    """The channel axis of the map, and the images as (N, H, W, C); channel-first where both readings fit."""
    for images in _readings(image, rows=shape[0]):
        for axis in (1, 3) if len(shape) == 4 else (None,):
            sizes = tuple(size for position, size in enumerate(shape[1:], start=1) if position != axis)
            if sizes == images.shape[1:3]:
                return axis, images
    raise InvalidInputError(
        f"Expected `image` to be {shape[0]} grey or RGB images of the size of the map {shape}, got shape "
        f"{tuple(image.shape)}. Layer methods such as Grad-CAM give maps of the size of the layer; "
        "captum_certified.Upsampled brings them to that of the input."
    )


def _readings(image: NDArray[Any], *, rows: int) -> Iterator[NDArray[Any]]:
    batches = [image, image[None]] if rows == 1 else [image]
    for batch in batches:
        if batch.ndim not in (3, 4) or len(batch) != rows:
            continue
        for axis in (1, 3) if batch.ndim == 4 else (None,):
            images = _channels_last(batch, axis)
            if images.shape[3] in _COLOURS and images.size:
                yield images


def _channels_last(array: NDArray[Any], axis: int | None) -> NDArray[Any]:
    return array[..., None] if axis is None else np.moveaxis(array, axis, -1)


def _shapes(layout: FeatureLayout) -> str:
    return ", ".join(str(shape) for shape in layout.shapes)
