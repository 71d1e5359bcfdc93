"""Divide pictures into superpixels: regions of similar neighbouring pixels, which can be the features of a map."""

import heapq
import importlib
import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from captum_certified.checks import checked_integer
from captum_certified.exceptions import CaptumCertifiedError, InvalidInputError

__all__ = ["superpixels"]

_COMPACTNESS = 10.0  # scikit-image's default, with which distance in the picture and in Lab colour count about equally
_BLUR = 1.0  # in pixels; without a blur, the edges of regions follow the noise of the picture
_GROWTH = 1.5

Labels = NDArray[np.int64]


def superpixels(images: Tensor, segments: int) -> Tensor:
    """Divide each image into exactly ``segments`` connected regions of similar pixels, for ``groups=``.

    The regions are a fixed part of the explanation. Compute them once from the clean images, and use the same mask for
    every perturbed image, because a certificate does not cover regions that are computed anew. The certificates and
    attacks of this package do not change the given mask.

    SLIC returns only approximately the requested number of superpixels, and the number differs between images. But a
    map needs the same number for all of its examples. So the requested number is raised until there are at least
    ``segments`` superpixels. Then the smallest region is joined to the neighbour with the most similar mean colour,
    again and again until ``segments`` regions are left. The regions of an image depend on this image alone, and are the
    same in every call with the same version of scikit-image.

    The magnitude of a feature is then the sum of the magnitudes in its region. So a larger region has a larger
    magnitude if all pixels have equal magnitudes.

    Args:
        images: Grey or RGB images in [0, 1], shape (N, C, H, W) with C = 1 or 3.
        segments: Number of regions of each image, from 1 to H · W.

    Returns:
        The region of every pixel, int64, shape (N, 1, H, W), on the CPU. Regions have the numbers from 0 to
        ``segments`` − 1, in the order of their first pixels row by row.

    Raises:
        InvalidInputError: ``images`` are not grey or RGB images in [0, 1], or have fewer than ``segments`` pixels.
        CaptumCertifiedError: scikit-image is not installed.

    Source:
        Achanta et al., SLIC Superpixels Compared to State-of-the-Art Superpixel Methods, TPAMI 2012, as implemented by
        :func:`skimage.segmentation.slic`.

    Example:
        >>> import torch
        >>> from captum_certified import superpixels
        >>> mask = superpixels(torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0)), 10)
        >>> mask.shape, mask.amax(dim=(1, 2, 3))
        (torch.Size([2, 1, 16, 16]), tensor([9, 9]))
    """
    if not isinstance(images, Tensor) or images.dim() != 4 or images.shape[1] not in (1, 3) or not images.numel():
        got = tuple(images.shape) if isinstance(images, Tensor) else type(images).__name__
        raise InvalidInputError(f"Expected `images` of shape (N, C, H, W) with 1 or 3 channels, got {got}.")
    pixels = images.detach().cpu().double()
    low, high = float(pixels.min()), float(pixels.max())
    if low < 0 or high > 1 or math.isnan(low):
        raise InvalidInputError(
            f"Expected `images` in [0, 1], got {low:g} to {high:g}. Give the images before they are normalised."
        )
    height, width = images.shape[2:]
    number = checked_integer("segments", segments, at_least=1, below=height * width + 1)
    # SLIC compares colours in Lab space. A grey image converted to RGB keeps its lightness in Lab space.
    pictures = pixels.expand(-1, 3, -1, -1).permute(0, 2, 3, 1).contiguous().numpy()
    regions = [_joined(_at_least(number, picture), picture, number) for picture in pictures]
    return torch.from_numpy(np.stack(regions)).unsqueeze(1)


def _at_least(segments: int, picture: NDArray[np.float64]) -> Labels:
    """Divide a picture of shape (H, W, 3) into at least ``segments`` pieces, numbered from 0."""
    try:
        segmentation = importlib.import_module("skimage.segmentation")
    except ImportError as error:
        raise CaptumCertifiedError(
            "Expected scikit-image for superpixels, but it is not installed; run: "
            'pip install "captum-certified[superpixels]"'
        ) from error
    total = picture.shape[0] * picture.shape[1]
    asked = segments
    while asked < total:
        pieces = segmentation.slic(
            picture, n_segments=asked, compactness=_COMPACTNESS, sigma=_BLUR, channel_axis=-1, start_label=0
        )
        if len(np.unique(pieces)) >= segments:
            return _numbered(pieces)
        asked = math.ceil(_GROWTH * asked)
    return np.arange(total).reshape(picture.shape[:2])


def _joined(pieces: Labels, picture: NDArray[np.float64], segments: int) -> Labels:
    """Join the smallest piece to the neighbour with the most similar mean colour until ``segments`` are left."""
    size = np.bincount(pieces.ravel())
    sums = [np.bincount(pieces.ravel(), weights=channel.ravel()) for channel in np.moveaxis(picture, 2, 0)]
    colour = np.stack(sums, axis=1) / size[:, np.newaxis]
    neighbours = _neighbours(pieces, len(size))
    parent = np.arange(len(size))
    queue = [(int(count), piece) for piece, count in enumerate(size)]
    heapq.heapify(queue)
    for _ in range(len(size) - segments):
        count, small = heapq.heappop(queue)
        while parent[small] != small or size[small] != count:  # skip entries from before the piece was joined or grew
            count, small = heapq.heappop(queue)
        near = sorted(neighbours[small])
        other = near[int(((colour[near] - colour[small]) ** 2).sum(axis=1).argmin())]
        colour[other] = (size[other] * colour[other] + size[small] * colour[small]) / (size[other] + size[small])
        size[other] += size[small]
        parent[small] = other
        for one in near:
            neighbours[one].discard(small)
            if one != other:
                neighbours[one].add(other)
                neighbours[other].add(one)
        heapq.heappush(queue, (int(size[other]), other))
    while (parent != parent[parent]).any():
        parent = parent[parent]
    return _numbered(parent[pieces])


def _neighbours(pieces: Labels, count: int) -> list[set[int]]:
    """Return, for each piece, its neighbours: the pieces that share at least one edge of a pixel with it."""
    pairs = np.concatenate(
        [
            np.stack([pieces[:, 1:].ravel(), pieces[:, :-1].ravel()], axis=1),
            np.stack([pieces[1:].ravel(), pieces[:-1].ravel()], axis=1),
        ]
    )
    found: list[set[int]] = [set() for _ in range(count)]
    for one, two in np.unique(pairs[pairs[:, 0] != pairs[:, 1]], axis=0).tolist():
        found[one].add(two)
        found[two].add(one)
    return found


def _numbered(pieces: Labels) -> Labels:
    """Number pieces from 0 in the order of their first pixels row by row."""
    _, first, inverse = np.unique(pieces, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[inverse].reshape(pieces.shape)
