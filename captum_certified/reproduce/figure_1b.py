"""Figure 1(b): a medical use of saliency maps, chest X-rays with their certificates and under attack."""

import functools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from captum.attr import Saliency
from matplotlib.figure import Figure

from captum_certified import Certifier, InterpretationAttack, SparsifiedSmoothGrad, top_k_intersection
from captum_certified._captum import as_tuple
from captum_certified.reproduce.chest_xrays import saliency_setting, trained_network
from captum_certified.reproduce.experiment import Experiment, Part, Row, Scale, number, numbers
from captum_certified.reproduce.networks_and_images import PIXEL_RANGE, Material
from captum_certified.reproduce.picture_gallery import SCALED, draw, heat, packed
from captum_certified.robust import challenge_certificate
from captum_certified.storage import JsonObject
from captum_certified.visualization.colours import HEAT

__all__ = ["XrayGallery"]

K = 0.2  # size of the top set, as a fraction of all features
_RADIUS = 0.5
_SEED = 1  # of the noise, as in the measurement of chest_xrays.py
_BATCH = 16  # draws of all images in a pass
_PANEL = 1.35  # side of a picture, in inches
# The columns of the figure: the column of the table with the picture, and the column with the share below the title.
_COLUMNS = {
    "X-ray": ("clean", None),
    "gradient": ("gradient", None),
    "gradient, attacked": ("gradient_attacked", "gradient_left"),
    "smoothed": ("smoothed", None),
    "certified cells": ("cells", "certified"),
    "smoothed, attacked": ("smoothed_attacked", "smoothed_left"),
}


class _Size(NamedTuple):
    """The numbers of epochs, X-rays and draws, and the steps P and starts T of Algorithm 1."""

    epochs: int
    images: int
    draws: int
    attack_draws: int
    steps: int
    restarts: int


_SIZES: Mapping[Scale, _Size] = {
    "smoke": _Size(epochs=1, images=2, draws=16, attack_draws=2, steps=1, restarts=1),
    "cpu": _Size(epochs=20, images=4, draws=4096, attack_draws=32, steps=20, restarts=5),
    "dry": _Size(epochs=1, images=2, draws=16, attack_draws=2, steps=1, restarts=1),
    "paper": _Size(epochs=20, images=12, draws=8192, attack_draws=512, steps=20, restarts=5),
}


class XrayGallery(Experiment):
    """Figure 1(b). Maps of chest X-rays before and after an attack, and what is certified of the smoothed map.

    The paper borrows a picture of a retina from other work. Here the network, the map, the certificate and the attack
    are all of the same X-ray. The network was trained under noise. All maps are of cells of 4 × 4 pixels.
    """

    name = "xray-gallery"
    uses = ("xrays",)
    title = "Figure 1(b): maps of chest X-rays before and after an attack, with the certificate of the smoothed map"
    claim = "Ours: attacks leave more of the smoothed map than of the gradient map, and at least what is certified."

    def settings(self, scale: Scale) -> JsonObject:
        """Return the sizes, and the settings of training, map and certificate."""
        setting: JsonObject = {**saliency_setting()._asdict(), "k": K, "radius": _RADIUS, "seed": _SEED}
        return {**_SIZES[scale]._asdict(), **setting}

    def parts(self, material: Material, scale: Scale) -> Sequence[Part]:
        """Return a single part, because all X-rays are attacked together."""
        return [Part("images", functools.partial(_rows, _SIZES[scale], material))]

    def summary(self, rows: Sequence[Row]) -> JsonObject:
        """Return for each X-ray the overlaps after the attack, and the certified overlap, as fractions of K."""
        columns = ("gradient_left", "smoothed_left", "certified")
        return {column: numbers(rows, column) for column in columns}

    def figure(self, rows: Sequence[Row]) -> Figure:
        """Plot a line of pictures for each X-ray."""
        size = (_PANEL * len(_COLUMNS), (_PANEL + 0.3) * len(rows) + 0.7)
        figure = Figure(figsize=size, layout="constrained")
        figure.supxlabel(SCALED, fontsize=8)
        panels = figure.subplots(len(rows), len(_COLUMNS), squeeze=False)
        for line, row in zip(panels, rows, strict=True):
            for axes, (title, (picture, share)) in zip(line, _COLUMNS.items(), strict=True):
                texts = [title] if row is rows[0] else []
                if share is not None:
                    word = "certified" if share == "certified" else "stay"
                    texts.append(f"{100 * number(row, share):.0f} % {word}")
                draw(axes, row[picture], "\n".join(texts), "gray" if picture == "clean" else HEAT)
                axes.title.set_fontsize(8)
        return figure


def _rows(size: _Size, material: Material) -> list[Row]:
    model, setting = trained_network("noise", 0, size.epochs, material), saliency_setting()
    images = material.xrays(train=False)[0][: size.images]
    targets = model(images).argmax(dim=1)
    method = Saliency(model)
    explainer = SparsifiedSmoothGrad(method, tau=setting.tau)
    smoothed_map = explainer.sample(
        images,
        target=targets,
        nt_samples=size.draws,
        nt_samples_batch_size=_BATCH,
        stdevs=setting.sigma,
        groups=setting.groups,
        seed=_SEED,
    )
    certificate = Certifier().top_k(smoothed_map, k=K, radius=_RADIUS)
    challenge = challenge_certificate(
        certificate,
        explainer,
        images,
        attack_draws=size.attack_draws,
        step_num=size.steps,
        n_restarts=size.restarts,
        nt_samples_batch_size=_BATCH,
        target=targets,
        seed=_SEED,
        **PIXEL_RANGE,
    )
    # The cell of a pixel, so that the gradient map is compared by the same features as the smoothed one.
    layout = smoothed_map.layout
    plain = InterpretationAttack(model, method, **PIXEL_RANGE).attack(
        images, _RADIUS, k=K, step_num=size.steps, n_restarts=size.restarts, target=targets, seed=_SEED
    )
    [perturbed] = as_tuple(plain.perturbed)
    of_cells = [layout.flatten((_gradient(method, pixels, targets),), len(images)) for pixels in (images, perturbed)]
    before, after = (layout.unflatten(cells) for cells in of_cells)
    gradient_left = top_k_intersection(*of_cells, k=certificate.k)
    cells = Certifier().rank(smoothed_map, radius=_RADIUS).in_top_k(K)
    pictures = {
        "clean": images,
        "gradient": before,
        "gradient_attacked": after,
        "smoothed": smoothed_map.mean,
        "cells": cells,
        "smoothed_attacked": challenge.map.mean,
    }
    return [
        {
            "image": i,
            "gradient_left": float(gradient_left[i]),
            "smoothed_left": float(challenge.overlap[i]) / certificate.k,
            "certified": float(certificate.overlap_fraction[i]),
            **{
                name: packed(maps[i]) if name == "clean" else packed(heat(maps[i].double()))
                for name, maps in ((name, as_tuple(each)[0]) for name, each in pictures.items())
            },
        }
        for i in range(len(images))
    ]


def _gradient(method: Saliency, images: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    attribution: torch.Tensor = method.attribute(images.clone().requires_grad_(), target=targets)
    return attribution.detach()
