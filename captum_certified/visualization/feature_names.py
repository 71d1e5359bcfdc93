"""What figures and reports call the features of a picture: pixels, colour values, cells or regions."""

from captum_certified.maps import FeatureLayout

__all__ = ["counted", "described", "noun"]

_CHANNELS = (1, 3)


def noun(layout: FeatureLayout, pixels: int | None = None) -> str:
    """Return the plural by which the features are called.

    Args:
        layout: Layout of the map.
        pixels: Number of pixels of the picture. ``None`` if no picture is given; the shape of the map then tells
            whether it is one of a picture.
    """
    pixels = _pixels(layout) if pixels is None else pixels
    if pixels is None:
        return "features"
    if layout.n_features == pixels:
        return "pixels"
    if layout.group_ids is None:
        return "colour values"
    return "regions" if layout.cell_side is None else "cells"


def counted(layout: FeatureLayout, pixels: int | None = None) -> str:
    """Return the number of the features and what they are.

    Example:
        >>> import torch
        >>> layout = FeatureLayout.of([torch.zeros(1, 3, 32, 32)], is_tuple=False, rows=1, groups="patches:8")
        >>> counted(layout)
        '16 cells of 8 × 8 pixels'
    """
    name, side = noun(layout, pixels), layout.cell_side
    return f"{layout.n_features} {name}" + (f" of {side} × {side} pixels" if name == "cells" else "")


def described(layout: FeatureLayout, pixels: int) -> str:
    """Return a description of a single feature, with the number of features where they are groups of pixels."""
    name, side = noun(layout, pixels), layout.cell_side
    return {
        "pixels": "one pixel",
        "colour values": "one colour value of one pixel; a pixel is marked if one of its values is",
        "cells": f"one of {layout.n_features} cells of {side} × {side} pixels; a cell at the edge may be smaller",
        "regions": f"one of {layout.n_features} regions, each a group of values of the picture",
    }[name]


def _pixels(layout: FeatureLayout) -> int | None:
    """Return the number of pixels of a map of grey or RGB pictures, else ``None``."""
    [shape] = layout.shapes if len(layout.shapes) == 1 else [()]
    if len(shape) != 3:
        return None
    channels, height, width = shape if shape[0] in _CHANNELS else (shape[2], shape[0], shape[1])
    return height * width if channels in _CHANNELS else None
