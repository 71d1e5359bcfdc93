"""Beyond the paper: the certificate of Center Smoothing for the top K, beside ours from the same draws."""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean
from typing import NamedTuple

import torch
from captum.attr import Saliency
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.nn import functional

from captum_certified import Certifier, SmoothedMap
from captum_certified.checks import resolved_count
from captum_certified.reproduce.certificate_rows import RADIUS_LABEL
from captum_certified.reproduce.experiment import Experiment, Part, Row, Scale, distinct, mean, where
from captum_certified.reproduce.networks_and_images import Material
from captum_certified.sampling import make_noise, top_k_rows
from captum_certified.sampling.block_covariance import BlockCovariance
from captum_certified.storage import JsonObject
from captum_certified.theory import center_smoothing
from captum_certified.visualization.colours import BESIDE, STRONG

__all__ = ["CenterSmoothingComparison", "compared", "mean_map", "sets_of_draws"]

K = 0.2  # size of the top set, as a fraction of all features
SIGMA, SEED, CONFIDENCE = 0.1, 0, 0.95
EXCESS = 0.1  # large enough for a quarter of the draws to confirm the centre
RADII = (0.0, 0.02, 0.05, 0.1)
_BATCH, _BLOCK = 64, 2048  # draws in a pass, and in a block of the covariance
# What a feature is. The order of cells by their mean is that by their sum.
_MAPS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "values": lambda values: values,
    "pixels": lambda values: values.sum(dim=1),
    "cells": lambda values: functional.avg_pool2d(values.double().sum(dim=1, keepdim=True), 8),
}


class _Size(NamedTuple):
    """The numbers of images and draws."""

    images: int
    draws: int


_SIZES: Mapping[Scale, _Size] = {
    "smoke": _Size(images=1, draws=64),
    "cpu": _Size(images=4, draws=4096),
    "dry": _Size(images=1, draws=64),
    "paper": _Size(images=16, draws=16384),
}


class CenterSmoothingComparison(Experiment):
    """Center Smoothing of the top K of Saliency, beside the certified overlap of the mean of the same draws."""

    name = "center"
    uses = ("cifar", "network")
    title = "Center Smoothing beside smoothing by the mean, for the top fifth of Saliency maps of CIFAR-10"
    claim = "Ours: Center Smoothing certifies nothing where two draws share less than two thirds of their top K."

    def settings(self, scale: Scale) -> JsonObject:
        """Return the sizes, and the settings of maps and certificates."""
        return {
            **_SIZES[scale]._asdict(),
            "k": K,
            "sigma": SIGMA,
            "excess": EXCESS,
            "confidence": CONFIDENCE,
            "radii": RADII,
            "seed": SEED,
        }

    def parts(self, material: Material, scale: Scale) -> Sequence[Part]:
        """Return a part for each image."""
        size = _SIZES[scale]
        return [Part(f"{image}", functools.partial(_rows, material, image, size.draws)) for image in range(size.images)]

    def summary(self, rows: Sequence[Row]) -> JsonObject:
        """Return means over images for each kind of features, and the certified overlaps at each radius."""
        found: dict[str, JsonObject] = {}
        for name in _MAPS:
            of_map = where(rows, map=name)
            columns = ("features", "k", "shared_by_two_draws", "distance_to_mean", "norm_of_mean", "median_distance")
            found[name] = {
                **{column: mean(of_map, column) for column in columns},
                "center": {f"{radius}": mean(where(of_map, radius=radius), "center") for radius in RADII},
                "ours": {f"{radius}": mean(where(of_map, radius=radius), "ours") for radius in RADII},
            }
        return {"maps": found}

    def figure(self, rows: Sequence[Row]) -> Figure:
        """Plot both certified overlaps over the radius, in one panel for each kind of features."""
        figure = Figure(figsize=(10.0, 3.8), layout="constrained")
        for axes, name in zip(figure.subplots(1, len(_MAPS), sharey=True), _MAPS, strict=True):
            of_map = where(rows, map=name)
            radii = distinct(of_map, "radius")
            for column, label, color in (
                ("ours", "mean of all draws", STRONG),
                ("center", "Center Smoothing", BESIDE),
            ):
                overlaps = [mean(where(of_map, radius=radius), column) for radius in radii]
                axes.plot(radii, overlaps, "o-", color=color, label=label)
            axes.set_title(f"{int(mean(of_map, 'features'))} {name}")
            axes.set_xlabel(RADIUS_LABEL)
            axes.set_ylim(-0.03, 1.03)
            axes.spines[["top", "right"]].set_visible(False)
        figure.axes[0].set_ylabel(f"certified overlap, mean of {len({row['image'] for row in rows})} images")
        figure.axes[0].legend(frameon=False)
        return figure


def _rows(material: Material, image: int, draws: int) -> list[Row]:
    """Return a row for every kind of features and every radius."""
    model, pixels = material.small_images(image, 1)
    target = int(model(pixels).argmax(dim=1))
    sets = sets_of_draws(model, pixels, target, draws)
    return [{"image": image, "map": name, "draws": draws, **row} for name in _MAPS for row in compared(sets[name])]


def compared(sets: Tensor, *, sigma: float = SIGMA, radii: Sequence[float] = RADII) -> list[Row]:
    """Return both certificates at every radius, from the same draws.

    Args:
        sets: The top K of every draw as masks, shape (draws, n).
        sigma: Standard deviation of the noise.
        radii: The radii, in the units of the input.
    """
    masks, k = sets.numpy(), int(sets[0].sum())
    smoothed = mean_map(sets, sigma=sigma)
    half = len(masks) // 2
    shared = [float((one & other).sum()) / k for one, other in zip(masks[:half], masks[half:], strict=False)]
    mean_norm = float(smoothed.features[0].norm())
    about: Row = {
        "features": masks.shape[1],
        "k": k,
        "shared_by_two_draws": fmean(shared),
        "distance_to_mean": math.sqrt(max(0.0, k - mean_norm**2)),  # root mean square; the norm of a draw is √K
        "norm_of_mean": mean_norm,
    }
    rows: list[Row] = []
    for radius in radii:
        center = center_smoothing(masks, ratio=radius / sigma, alpha=1 - CONFIDENCE, excess=EXCESS)
        ours = Certifier(confidence=CONFIDENCE).top_k(smoothed, k=k, radius=radius)
        certified = {"center": max(0.0, 1.0 - center.distance), "ours": float(ours.overlap_fraction[0])}
        rows.append({**about, "radius": radius, "median_distance": center.median, **certified})
    return rows


def mean_map(sets: Tensor, *, sigma: float = SIGMA) -> SmoothedMap:
    """Return the mean of the draws with the summary of their covariance.

    Args:
        sets: The top K of every draw as masks, shape (draws, n).
        sigma: Standard deviation of the noise.
    """
    draws, features = sets.shape
    store = BlockCovariance(1, features, binary=True, block=_BLOCK, device=sets.device, most=draws)
    for first in range(0, draws, _BLOCK):
        store.add(sets[None, first : first + _BLOCK], range(first, min(first + _BLOCK, draws)))
    store.finish_block()
    return SmoothedMap.from_counts(
        sets.sum(dim=0, keepdim=True),
        n_samples=draws,
        stdevs=sigma,
        max_squared_norm=float(sets[0].sum()),
        covariance=store.summary,
    )


def sets_of_draws(
    model: nn.Module, pixels: Tensor, target: int, draws: int, *, sigma: float = SIGMA
) -> dict[str, Tensor]:
    """Return the top K of every draw as masks of shape (draws, n), for values, pixels, and cells of 8 × 8 pixels.

    Args:
        model: The network.
        pixels: One image, shape (1, C, H, W).
        target: The class that is explained.
        draws: Number of draws.
        sigma: Standard deviation of the noise.
    """
    method = Saliency(model)
    found: dict[str, list[Tensor]] = {name: [] for name in _MAPS}
    for first in range(0, draws, _BATCH):
        numbers = range(first, min(first + _BATCH, draws))
        noise = make_noise(
            tuple(pixels.shape[1:]), seed=SEED, draws=numbers, tensor=0, dtype=pixels.dtype, device=pixels.device
        )
        values = method.attribute((pixels + sigma * noise).requires_grad_(), target=target).detach().abs()
        for name, features_of in _MAPS.items():
            features = features_of(values).flatten(1)
            found[name].append(top_k_rows(features, resolved_count("k", K, features.shape[1]))[0].cpu())
    return {name: torch.cat(masks) for name, masks in found.items()}
