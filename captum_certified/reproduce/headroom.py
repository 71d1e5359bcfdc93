"""What is certified of a map beside what attacks leave of it: how far the proofs are from the truth at most."""

import functools
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from captum.attr import Saliency
from matplotlib.figure import Figure
from numpy.typing import NDArray

from captum_certified import Certifier, SmoothedMap, SparsifiedSmoothGrad
from captum_certified.reproduce.experiment import Experiment, Part, Row, Scale
from captum_certified.reproduce.explanations import BETA, SETTINGS, SIGMA, TAU, K, attacked, explanations
from captum_certified.reproduce.material import BOX, Material
from captum_certified.robust import challenge_certificate
from captum_certified.theory import clopper_pearson_interval, fraction_to_count, top_k_mask
from captum_certified.visualization.panels import BESIDE, BOUNDS

__all__ = ["CertifiedAndAttacked", "shared_top"]

_BOUNDS = ("spectral", "best", "clopper_pearson", "theorem2")
_ATTACK_DRAWS = 64  # 0/1 draws: with fewer, many features are tied
_BATCH = 16
_PASS = 128  # noisy copies in a pass
_ERROR = 1e-6  # probability that the measurement of an attack is wrong


@dataclass(frozen=True, kw_only=True)
class _Size:
    """How much is sampled and attacked.

    Attributes:
        images: Images.
        draws: Of the certificate, and of the measurement of the attack.
        radii: L2 sizes of the perturbation.
        steps: Steps P of Algorithm 1.
        restarts: Its starts T.
    """

    images: int
    draws: int
    radii: tuple[float, ...]
    steps: int
    restarts: int


_SIZES: dict[Scale, _Size] = {
    "smoke": _Size(images=2, draws=64, radii=(0.05,), steps=1, restarts=1),
    "cpu": _Size(images=32, draws=2048, radii=(0.02, 0.05, 0.1), steps=10, restarts=1),
    "paper": _Size(images=256, draws=8192, radii=(0.01, 0.03, 0.06, 0.1, 0.15, 0.2), steps=20, restarts=5),
}


class CertifiedAndAttacked(Experiment):
    """Figure 5. The certificate of the sparsified map and what attacks leave of it, CIFAR-10.

    The attacks are Algorithm 1 on the map itself and on SmoothGrad; they need not keep the class, as certificates hold
    without. A certificate is about the map of all draws, an attack is measured by finitely many: it refutes the
    certificate if no map within the exact intervals of those draws keeps as much.
    """

    name = "headroom"
    uses = ("network", "cifar")
    title = "Figure 5: certified overlap beside the overlap that attacks leave, sparsified map"
    claim = "No attack refutes a certificate; between them is a gap."

    def settings(self, scale: Scale) -> Mapping[str, Any]:
        """Sizes, and the map."""
        return {**asdict(_SIZES[scale]), **SETTINGS, "attack_draws": _ATTACK_DRAWS, "error": _ERROR}

    def parts(self, material: Material, scale: Scale) -> Sequence[Part]:
        """One for each batch of images."""
        size = _SIZES[scale]
        return [
            Part(f"{first}", functools.partial(_rows, material, size, first)) for first in range(0, size.images, _BATCH)
        ]

    def summary(self, rows: Sequence[Row]) -> dict[str, Any]:
        """Means at each radius, what share of the attacked overlap is certified, and how often one was refuted.

        ``remeasured`` is what fresh draws at the input itself have in common with the map: less cannot be told apart.
        """
        radii = sorted({row["radius"] for row in rows})
        means = {
            name: {f"{radius:g}": _mean(rows, radius, name) for radius in radii}
            for name in ("remeasured", "own", "transferred", "attacked", *_BOUNDS)
        }
        shares = {
            bound: {radius: means[bound][radius] / of for radius, of in means["attacked"].items() if of}
            for bound in _BOUNDS
        }
        refuted = {bound: sum(row[bound] > row["possible"] for row in rows) for bound in _BOUNDS}
        return {"mean": means, "certified_of_attacked": shares, "cases": len(rows), "refuted": refuted}

    def figure(self, rows: Sequence[Row]) -> Figure:
        """What the worse of both attacks leaves above, what is certified below, means over images."""
        figure = Figure(figsize=(6.4, 4.4), layout="constrained")
        axes = figure.subplots()
        radii = sorted({row["radius"] for row in rows})
        attacked_overlap = [_mean(rows, radius, "attacked") for radius in radii]
        floor = [_mean(rows, radius, "remeasured") for radius in radii]
        axes.plot(radii, floor, ":", color=BESIDE, label="fresh draws, no attack")
        axes.plot(radii, attacked_overlap, "ks-", label="left by the worse attack")
        for bound in _BOUNDS:
            axes.plot(radii, [_mean(rows, radius, bound) for radius in radii], "o-", color=BOUNDS[bound], label=bound)
        best = [_mean(rows, radius, "best") for radius in radii]
        axes.fill_between(radii, best, attacked_overlap, color=BESIDE, alpha=0.15, linewidth=0)
        axes.set_xlabel("radius ρ (pixels in [0, 1])")
        axes.set_ylabel("overlap of the top quarter, mean over images")
        axes.set_ylim(-0.02, 1)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False)
        return figure


def _mean(rows: Sequence[Row], radius: float, name: str) -> float:
    return statistics.fmean(row[name] for row in rows if row["radius"] == radius)


def _rows(material: Material, size: _Size, first: int) -> list[Row]:
    model, images = material.small_images(first, min(_BATCH, size.images - first))
    method, targets = Saliency(model), model(images).argmax(dim=1)
    explainer = SparsifiedSmoothGrad(method, tau=TAU)
    sample = functools.partial(
        explainer.sample,
        nt_samples=size.draws,
        nt_samples_batch_size=max(1, _PASS // len(images)),
        stdevs=SIGMA,
        target=targets,
    )
    smoothed = sample(images, seed=0)
    k = fraction_to_count(K, smoothed.layout.n_features)
    members = top_k_mask(smoothed.features.numpy(), k)[0]
    certified = {
        bound: Certifier(bound=bound).top_k_curve(smoothed, k=K, radii=size.radii).double() / k for bound in _BOUNDS
    }
    remeasured = shared_top(members, sample(images, seed=2, covariance=False), k)[0]
    smoothgrad, arguments = explanations(method, targets)["SmoothGrad"]
    rows: list[Row] = []
    for place, radius in enumerate(size.radii):
        challenge = challenge_certificate(
            Certifier().top_k(smoothed, k=K, radius=radius),
            explainer,
            images,
            attack_draws=_ATTACK_DRAWS,
            step_num=size.steps,
            n_restarts=size.restarts,
            nt_samples_batch_size=max(1, _PASS // len(images)),
            surrogate_beta=BETA,
            keep_class=False,
            target=targets,
            seed=1,
            **BOX,
        )
        on_smoothgrad: Any = attacked(
            model,
            smoothgrad,
            images,
            {**arguments, "nt_samples": _ATTACK_DRAWS},
            radius=radius,
            steps=size.steps,
            restarts=size.restarts,
            keep_class=False,
        ).perturbed
        own, own_possible = shared_top(members, challenge.map, k)
        other, other_possible = shared_top(members, sample(on_smoothgrad, seed=3, covariance=False), k)
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


def shared_top(members: NDArray[np.bool_], measured: SmoothedMap, k: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """The share of the top K that another map has too: as measured, and at most in any map within exact intervals.

    Args:
        members: The top K, shape (N, n).
        measured: The other map, of 0/1 draws.
        k: K.

    Returns:
        Both shares, shape (N,).
    """
    draws = int(measured.n_samples[0])
    counts = np.rint(measured.features.numpy() * draws).astype(np.int64)
    low, high = clopper_pearson_interval(counts, draws, tail=_ERROR / (2 * counts[0].size))
    seen = top_k_mask(counts / draws, k)[0]
    kindest = top_k_mask(np.where(members, high, low) + 1e-15 * members, k)[0]
    return (members & seen).sum(axis=1) / k, (members & kindest).sum(axis=1) / k
