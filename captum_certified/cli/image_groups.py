"""The groups of pixels that ``--groups`` joins into features: cells, superpixels, or regions from a file."""

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from captum_certified.cli.arguments import superpixel_count
from captum_certified.cli.models import LoadedModel
from captum_certified.exceptions import InvalidInputError
from captum_certified.images.region_ids import load_region_ids
from captum_certified.images.superpixels import superpixels
from captum_certified.maps import Groups
from captum_certified.maps.feature_layout import is_group_name

__all__ = ["cell_side", "groups_by_name", "groups_of", "mask_file"]

# All in pixels: the shorter side from which an image counts as large, the side of a cell in large images, and the side
# of a cell in smaller images.
_LARGE, _COARSE, _FINE = 112, 8, 4


def groups_of(
    name: str, path: Path, image: Tensor, loaded: LoadedModel, arguments: argparse.Namespace
) -> str | Tensor | None:
    """Return the groups of pixels that a value of ``--groups`` means for an image.

    Args:
        name: ``"auto"``, ``"none"``, a name of groups, ``"superpixels:S"``, or a file or folder of regions.
        path: The image file.
        image: The framed image, shape (1, C, H, W), in [0, 1].
        loaded: The model.
        arguments: ``channels``, ``exif``, and, where the command has it, ``region``. If a region of pixels is recorded,
            ``"auto"`` forms no cells, because the border of the region would cut some of them.

    Returns:
        ``None``, a name of groups, or the region of every pixel, int64, shape (1, 1, H, W).

    Raises:
        InvalidInputError: The file of regions is missing or does not fit the image, or the image has too few pixels.
        CaptumCertifiedError: scikit-image is not installed.
        OSError: A file cannot be opened.
    """
    if name == "none" or (name == "auto" and getattr(arguments, "region", None) is not None):
        return None
    if name == "auto":
        return f"patches:{cell_side(image)}"
    segments = superpixel_count(name)
    if segments is not None:
        return superpixels(image, segments)
    if is_group_name(name):
        return name
    file = mask_file("--groups", Path(name), path)
    return load_region_ids(file, loaded.framing, path, channels=arguments.channels, exif=arguments.exif)


def groups_by_name(
    files: Sequence[Path], images: Tensor, loaded: LoadedModel, arguments: argparse.Namespace
) -> dict[str, Groups]:
    """Return the groups of images of one size by their names. ``auto`` is replaced by the groups that it chooses.

    Args:
        files: The image files.
        images: The framed images, shape (N, C, H, W).
        loaded: The model.
        arguments: ``groups``, a list of names, ``channels``, ``exif``.

    Raises:
        InvalidInputError: A file of regions is missing or does not fit its image, or an image has too few pixels.
        OSError: A file cannot be opened.
    """
    chosen: dict[str, Groups] = {}
    for name in arguments.groups:
        each = [
            groups_of(name, path, image[None], loaded, arguments) for path, image in zip(files, images, strict=True)
        ]
        masks = [groups for groups in each if isinstance(groups, Tensor)]
        if masks:
            chosen[name] = torch.cat(masks)
        else:  # all images have one size, so they have the same groups
            chosen["none" if each[0] is None else str(each[0])] = each[0]
    return chosen


def cell_side(image: Tensor) -> int:
    """Return the side of the cells that ``auto`` chooses for images of shape (N, C, H, W), in pixels."""
    return _FINE if min(image.shape[2:]) < _LARGE else _COARSE


def mask_file(option: str, given: Path, image: Path) -> Path:
    """Return the mask file of an image: the given file, or the file with the image's name in the given folder.

    Raises:
        InvalidInputError: The folder has no file with this name, or several.
    """
    if not given.is_dir():
        return given
    found = sorted(path for path in given.iterdir() if path.stem == image.stem)
    if len(found) != 1:
        raise InvalidInputError(f"Expected one mask named {image.stem} in `{option}` {given}, got {len(found)}.")
    return found[0]
