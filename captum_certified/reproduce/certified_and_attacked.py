"""Beyond the paper: certified overlap of the sparsified map of CIFAR-10 images, and the overlap that attacks leave."""

import functools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from captum.attr import Saliency
from matplotlib.figure import Figure
from numpy.typing import NDArray

from captum_certified import Certifier, SmoothedMap, SparsifiedSmoothGrad
from captum_certified._captum import as_tuple
from captum_certified.reproduce.certificate_rows import BOUND_NAMES, RADIUS_LABEL
from captum_certified.reproduce.cifar_networks import BETA, only
from captum_certified.reproduce.compared_maps import SIGMA, TAU, K, attacked, explanations, map_settings
from captum_certified.reproduce.experiment import Experiment, Part, Row, Scale, distinct, mean, number, where
from captum_certified.reproduce.networks_and_images import PIXEL_RANGE, Material
from captum_certified.robust import challenge_certificate
from captum_certified.storage import JsonObject
from captum_certified.theory import clopper_pearson_interval, fraction_to_count, top_k_mask
from captum_certified.visualization.colours import ATTACKED, BESIDE, BOUNDS, MARKERS

__all__ = ["CertifiedAndAttacked", "shared_top"]

_BOUNDS = ("spectral", "best", "clopper_pearson", "theorem2")
_MEASURED = ("remeasured", "own", "transferred", "attacked")
_ATTACK_DRAWS = 64  # with fewer draws of zeros and ones, many features of the smoothed map are tied
_BATCH = 16  # images that are attacked together
_PASS = 128  # noisy copies in a forward pass
_ERROR = 1e-6  # probability that the intervals around a measured map miss the exact map


class _Size(NamedTuple):
    """The number of images and of draws, and the L2 radii and steps of the attacks."""

    images: int
    draws: int  # for the certificate, and for each map that is measured under attack
    radii: tuple[float, ...]
    steps: int  # P, the steps of Algorithm 1
    restarts: int  # T, the starts of Algorithm 1


_SIZES: Mapping[Scale, _Size] = {
    "smoke": _Size(images=2, draws=64, radii=(0.05,), steps=1, restarts=1),
    "dry": _Size(images=2, draws=64, radii=(0.05,), steps=1, restarts=1),
    "cpu": _Size(images=32, draws=2048, radii=(0.02, 0.05, 0.1), steps=10, restarts=1),
    "paper": _Size(images=256, draws=8192, radii=(0.01, 0.03, 0.06, 0.1, 0.15, 0.2), steps=20, restarts=5),
}


class CertifiedAndAttacked(Experiment):
    """Beyond the paper: the certified overlap of the sparsified map, and the overlap that attacks leave, on CIFAR-10.

    One attack is Algorithm 1 on the sparsified map, the other is Algorithm 1 on SmoothGrad. Both attacks may change the
    predicted class, because certificates also hold where the class changes. A certificate is about the exact smoothed
    map, but the map under attack is measured from finitely many draws. So an attack refutes a certificate only if every
    map within the exact confidence intervals of these draws has less than the certified overlap.
    """

    name = "headroom"
    uses = ("network", "cifar")
    title = "Certified overlap of the sparsified map, and the overlap that attacks leave"
    claim = "Ours: no attack refutes a certificate. There is a gap between the certificate and what attacks leave."

    def settings(self, scale: Scale) -> JsonObject:
        """Return the sizes, and the settings of the map."""
        return {**_SIZES[scale]._asdict(), **map_settings("cpu"), "attack_draws": _ATTACK_DRAWS, "error": _ERROR}

    def parts(self, material: Material, scale: Scale) -> Sequence[Part]:
        """Return a part for each batch of images."""
        size = _SIZES[scale]
        return [
            Part(f"{first}", functools.partial(_rows, material, size, first)) for first in range(0, size.images, _BATCH)
        ]

    def summary(self, rows: Sequence[Row]) -> JsonObject:
        """Return mean overlaps by radius, certified divided by attacked overlap, and counts of refuted certificates.

        ``remeasured`` is the overlap with a map of fresh draws at the unperturbed input. If an attack leaves a larger
        overlap than this, it has no measurable effect.
        """
        means = {name: _by_radius(rows, name) for name in (*_MEASURED, *_BOUNDS)}
        shares = {
            bound: {radius: means[bound][radius] / of for radius, of in means["attacked"].items() if of}
            for bound in _BOUNDS
        }
        refuted = {bound: sum(number(row, bound) > number(row, "possible") for row in rows) for bound in _BOUNDS}
        return {"mean": means, "certified_of_attacked": shares, "cases": len(rows), "refuted": refuted}

    def figure(self, rows: Sequence[Row]) -> Figure:
        """Plot mean overlaps over the radius: after the worse of both attacks, and as certified by each bound."""
        figure = Figure(figsize=(6.4, 4.4), layout="constrained")
        axes = figure.subplots()
        radii = distinct(rows, "radius")
        means = {name: list(_by_radius(rows, name).values()) for name in (*_MEASURED, *_BOUNDS)}
        axes.plot(radii, means["remeasured"], ":", color=BESIDE, label="fresh draws, no attack")
        axes.plot(radii, means["attacked"], "s-", color=ATTACKED, label="left by the worse attack")
        for place, (bound, marker) in enumerate(zip(_BOUNDS, MARKERS, strict=False)):
            color = BOUNDS[bound]
            ends = [0.0, *radii]  # what is certified at a radius is certified at every smaller one
            steps = [means[bound][0], *means[bound]]
            axes.plot(ends, steps, "-", drawstyle="steps-pre", color=color, linewidth=1)
            axes.plot([radius - 0.001 * place for radius in radii], means[bound], marker, color=color)
            axes.plot([], [], f"{marker}-", color=color, label=f"certified: {BOUND_NAMES[bound]}")
        axes.set_xticks(radii)
        axes.set_xlabel(RADIUS_LABEL)
        axes.set_ylabel(f"overlap of the top quarter,\nmean of {len({row['image'] for row in rows})} images")
        axes.set_ylim(-0.02, 1)
        axes.spines[["top", "right"]].set_visible(False)
        figure.legend(loc="outside lower center", ncols=2, frameon=False)
        return figure


def _by_radius(rows: Sequence[Row], column: str) -> dict[str, float]:
    return {f"{radius:g}": mean(where(rows, radius=radius), column) for radius in distinct(rows, "radius")}


def _rows(material: Material, size: _Size, first: int) -> list[Row]:
    model, images = material.small_images(first, min(_BATCH, size.images - first))
    method, targets = Saliency(model), model(images).argmax(dim=1)
    explainer = SparsifiedSmoothGrad(method, tau=TAU)
    pass_size = max(1, _PASS // len(images))
    sample = functools.partial(
        explainer.sample, nt_samples=size.draws, nt_samples_batch_size=pass_size, stdevs=SIGMA, target=targets
    )
    smoothed = sample(images, seed=0)
    k = fraction_to_count(K, smoothed.layout.n_features)
    members = top_k_mask(smoothed.features.numpy(), k)[0]
    certified = {
        bound: Certifier(bound=bound).top_k_curve(smoothed, k=K, radii=size.radii).double() / k for bound in _BOUNDS
    }
    remeasured = shared_top(members, sample(images, seed=2, covariance=False), k)[0]
    smoothgrad = explanations(method, targets, "cpu")["SmoothGrad"]
    smoothgrad = smoothgrad._replace(arguments={**smoothgrad.arguments, "nt_samples": _ATTACK_DRAWS})
    rows: list[Row] = []
    for place, radius in enumerate(size.radii):
        challenge = challenge_certificate(
            Certifier().top_k(smoothed, k=K, radius=radius),
            explainer,
            images,
            attack_draws=_ATTACK_DRAWS,
            step_num=size.steps,
            n_restarts=size.restarts,
            nt_samples_batch_size=pass_size,
            surrogate_beta=BETA,
            keep_class=False,
            target=targets,
            seed=1,
            **PIXEL_RANGE,
        )
        on_smoothgrad = attacked(
            only(model), smoothgrad, images, radius=radius, steps=size.steps, restarts=size.restarts, keep_class=False
        )
        [perturbed] = as_tuple(on_smoothgrad.perturbed)
        own, own_possible = shared_top(members, challenge.map, k)
        other, other_possible = shared_top(members, sample(perturbed, seed=3, covariance=False), k)
        rows += [
            {
                "image": first + i,
                "radius": radius,
                "remeasured": float(remeasured[i]),
                "own": float(own[i]),
                "transferred": float(other[i]),
                "attacked": float(min(own[i], other[i])),
                "possible": float(min(own_possible[i], other_possible[i])),
                **{bound: float(of[i, place]) for bound, of in certified.items()},
            }
            for i in range(len(images))
        ]
    return rows


def shared_top(
    members: NDArray[np.bool_], measured: SmoothedMap, k: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the overlap of a top K with the top K of another map: as measured, and the largest possible.

    Args:
        members: Mask of the top K, shape (N, n).
        measured: The other map, averaged over draws of zeros and ones.
        k: The number K.

    Returns:
        Both overlaps as fractions of K, shape (N,). The largest possible overlap is that of the map within the exact
        confidence intervals of ``measured`` that contains most of the top K.
    """
    draws = int(measured.n_samples[0])
    counts = np.rint(measured.features.numpy() * draws).astype(np.int64)
    low, high = clopper_pearson_interval(counts, draws, tail=_ERROR / (2 * counts[0].size))
    seen = top_k_mask(counts / draws, k)[0]
    kindest = top_k_mask(np.where(members, high, low) + 1e-15 * members, k)[0]
    return (members & seen).sum(axis=1) / k, (members & kindest).sum(axis=1) / k
