"""What is certified of a map beside what an attack leaves of it: how far the proofs are from the truth."""

import functools
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from captum.attr import Saliency
from matplotlib.figure import Figure

from captum_certified import Certifier, SparsifiedSmoothGrad
from captum_certified.reproduce.experiment import Experiment, Part, Row, Scale
from captum_certified.reproduce.explanations import BETA, BOX, SIGMA, TAU, K
from captum_certified.reproduce.material import Material
from captum_certified.robust import challenge_certificate
from captum_certified.visualization.palette import CURVES, STAYED

__all__ = ["CertifiedAndAttacked"]

_BOUNDS = ("spectral", "best", "clopper_pearson", "theorem2")
_BATCH = 16
_PASS = 128  # noisy copies in a pass


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
    "cpu": _Size(images=32, draws=4096, radii=(0.01, 0.03, 0.06, 0.1, 0.15), steps=10, restarts=2),
    "paper": _Size(images=256, draws=8192, radii=(0.01, 0.03, 0.06, 0.1, 0.15, 0.2), steps=20, restarts=5),
}


class CertifiedAndAttacked(Experiment):
    """Figure 5. The certificate of the sparsified map and what Algorithm 1 leaves of it, CIFAR-10."""

    name = "headroom"
    uses = ("network", "cifar")
    title = "Figure 5: certified overlap beside the overlap that Algorithm 1 leaves, sparsified map"
    claim = "The certificate is never above what the attack leaves; between them is a gap."

    def settings(self, scale: Scale) -> Mapping[str, Any]:
        """Sizes, and the map."""
        return {**asdict(_SIZES[scale]), "k": K, "tau": TAU, "sigma": SIGMA, "beta": BETA}

    def parts(self, material: Material, scale: Scale) -> Sequence[Part]:
        """One for each batch of images."""
        size = _SIZES[scale]
        return [
            Part(f"{first}", functools.partial(_rows, material, size, first)) for first in range(0, size.images, _BATCH)
        ]

    def summary(self, rows: Sequence[Row]) -> dict[str, Any]:
        """Means at each radius, what share of the attacked overlap is certified, and how often too much was."""
        radii = sorted({row["radius"] for row in rows})
        means = {
            name: {f"{radius:g}": _mean(rows, radius, name) for radius in radii} for name in ("attacked", *_BOUNDS)
        }
        shares = {
            bound: {radius: means[bound][radius] / of for radius, of in means["attacked"].items() if of}
            for bound in _BOUNDS
        }
        refuted = {bound: sum(row[bound] > row["attacked"] for row in rows) for bound in _BOUNDS}
        return {"mean": means, "certified_of_attacked": shares, "cases": len(rows), "certified_too_much": refuted}

    def figure(self, rows: Sequence[Row]) -> Figure:
        """What the attack leaves above, what is certified below, means over images."""
        figure = Figure(figsize=(6.4, 4.4), layout="constrained")
        axes = figure.subplots()
        radii = sorted({row["radius"] for row in rows})
        attacked = [_mean(rows, radius, "attacked") for radius in radii]
        axes.plot(radii, attacked, "s-", color=STAYED, label="left by the attack")
        certified = zip((color for color in CURVES if color != STAYED), _BOUNDS, strict=False)
        for color, bound in certified:
            axes.plot(radii, [_mean(rows, radius, bound) for radius in radii], "o-", color=color, label=bound)
        axes.fill_between(
            radii, [_mean(rows, radius, "best") for radius in radii], attacked, color="#999999", alpha=0.15, linewidth=0
        )
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
    explainer = SparsifiedSmoothGrad(Saliency(model), tau=TAU)
    targets = model(images).argmax(dim=1)
    smoothed = explainer.sample(
        images, nt_samples=size.draws, nt_samples_batch_size=_PASS // len(images), stdevs=SIGMA, target=targets, seed=0
    )
    k = math.ceil(round(K * smoothed.layout.n_features, 9))
    certified = {
        bound: Certifier(bound=bound).top_k_curve(smoothed, k=K, radii=size.radii).double() / k for bound in _BOUNDS
    }
    rows: list[Row] = []
    for place, radius in enumerate(size.radii):
        challenge = challenge_certificate(
            Certifier().top_k(smoothed, k=K, radius=radius),
            explainer,
            images,
            step_num=size.steps,
            n_restarts=size.restarts,
            nt_samples_batch_size=_PASS // len(images),
            **BOX,
            surrogate_beta=BETA,
            target=targets,
            seed=1,
        )
        rows += [
            {
                "image": first + i,
                "radius": radius,
                "attacked": float(challenge.overlap_fraction[i]),
                **{bound: float(of[i, place]) for bound, of in certified.items()},
            }
            for i in range(len(images))
        ]
    return rows
