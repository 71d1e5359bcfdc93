"""What the certificate figures share: maps of photographs at many τ, γ and σ, and every bound of each of them."""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from captum.attr import Saliency
from torch import Tensor

from captum_certified import (
    Certifier,
    RelaxedSparsifiedSmoothGrad,
    ScaledQuadraticSmoothGrad,
    ScaledSmoothGrad,
    SmoothedMap,
    SparsifiedSmoothGrad,
    sample_many,
)
from captum_certified.reproduce.experiment import Experiment, Part, Row, Scale
from captum_certified.reproduce.material import Material
from captum_certified.runs.results import file_digest
from captum_certified.sampling import CovarianceRequest
from captum_certified.theory import fraction_to_count, lecuyer_overlap

__all__ = ["CertificateExperiment"]

K = 0.2
CONFIDENCE = 0.95
TAUS = (0.02, 0.05, 0.1, 0.2, 0.5)
GAMMA = 0.01
PEAK_SIGMA, PEAK_TAU = 0.2, 0.1
RADIUS = 0.03
RADII = (0.01, 0.02, 0.03, 0.04, 0.06, 0.08, 0.1, 0.15, 0.2)
HALF = 0.5
_BATCH = 64
_SEED = 0
_FIXED: Mapping[str, Any] = {
    "k": K,
    "confidence": CONFIDENCE,
    "taus": TAUS,
    "gamma": GAMMA,
    "radii": RADII,
    "half": HALF,
    "batch": _BATCH,
    "seed": _SEED,
}

Explainers = Callable[[Saliency], list[tuple[Row, Any]]]


@dataclass(frozen=True, kw_only=True)
class _Size:
    """How much is sampled.

    Attributes:
        images: Photographs.
        draws: Of the sparsified and relaxed maps with τ = 0.1 at σ = 0.2.
        fewer: Smaller numbers of draws of the sparsified one.
        sweep_draws: Of all maps that are sampled for several τ or σ, and of those beside them.
        sweep_block: Draws in a block of their covariance. Small blocks take less time and memory, and their top
            eigenvalue is further above that of the covariance, so the spectral bound is a little weaker.
        sigmas: Standard deviations at which both are sampled for every τ.
    """

    images: int
    draws: int
    fewer: tuple[int, ...]
    sweep_draws: int
    sweep_block: int
    sigmas: tuple[float, ...]


_SIZES: dict[Scale, _Size] = {
    "smoke": _Size(images=2, draws=64, fewer=(16, 32), sweep_draws=32, sweep_block=16, sigmas=(0.05, PEAK_SIGMA)),
    "cpu": _Size(
        images=16,
        draws=8192,
        fewer=(512, 1024, 2048, 4096),
        sweep_draws=2048,
        sweep_block=512,
        sigmas=(0.02, 0.05, 0.1, PEAK_SIGMA, 0.5),
    ),
    "paper": _Size(
        images=64,
        draws=8192,
        fewer=(512, 1024, 2048, 4096),
        sweep_draws=8192,
        sweep_block=2048,
        sigmas=(0.02, 0.05, 0.1, PEAK_SIGMA, 0.5),
    ),
}


class CertificateExperiment(Experiment):
    """An experiment on certificates of photographs. All of them share their parts.

    Attributes:
        needs: Which parts it is made of: ``"peak"``, ``"fewer"``, ``"sweep"`` or ``"unclipped"``.
        only_sigma: The only σ of them that it shows; ``None``: all.
    """

    store = "certificates"
    uses = ("network",)
    default_model = "resnet50"
    needs: tuple[str, ...] = ("peak",)
    only_sigma: float | None = None

    def settings(self, scale: Scale) -> Mapping[str, Any]:
        """Sizes, and what is certified."""
        return {**asdict(_SIZES[scale]), **_FIXED, "sigma": PEAK_SIGMA}

    def parts(self, material: Material, scale: Scale) -> Sequence[Part]:
        """One for each photograph and kind."""
        size = _SIZES[scale]
        photographs = material.photographs(size.images)
        sweep, block = size.sweep_draws, size.sweep_block
        kinds: dict[str, list[tuple[str, float, int, CovarianceRequest, Explainers]]] = {
            "peak": [("peak", PEAK_SIGMA, size.draws, "auto", functools.partial(_both, taus=(PEAK_TAU,)))],
            "fewer": [(f"draws-{draws}", PEAK_SIGMA, draws, "auto", _sparsified_at_peak) for draws in size.fewer],
            "sweep": [
                (f"sigma-{sigma}", sigma, sweep, block, functools.partial(_both, taus=TAUS)) for sigma in size.sigmas
            ],
            "unclipped": [(f"unclipped-{sigma}", sigma, sweep, block, _unclipped) for sigma in size.sigmas],
        }
        return [
            Part(
                f"{kind}-{name}",
                functools.partial(_rows, material, name, path, sigma, draws, covariance, make),
                file_digest(path),
                {**_FIXED, "kind": need, "sigma": sigma, "draws": draws, "covariance": covariance},
            )
            for need in self.needs
            for kind, sigma, draws, covariance, make in kinds[need]
            if self.only_sigma in (None, sigma)
            for name, path in photographs
        ]


def _sparsified(method: Saliency, tau: float) -> tuple[Row, Any]:
    return {"map": "sparsified", "tau": tau, "gamma": None}, SparsifiedSmoothGrad(method, tau=tau)


def _relaxed(method: Saliency, tau: float) -> tuple[Row, Any]:
    return {"map": "relaxed", "tau": tau, "gamma": GAMMA}, RelaxedSparsifiedSmoothGrad(method, tau=tau, gamma=GAMMA)


def _sparsified_at_peak(method: Saliency) -> list[tuple[Row, Any]]:
    return [_sparsified(method, PEAK_TAU)]


def _both(method: Saliency, *, taus: Sequence[float]) -> list[tuple[Row, Any]]:
    return [make(method, tau) for make in (_sparsified, _relaxed) for tau in taus]


def _unclipped(method: Saliency) -> list[tuple[Row, Any]]:
    """Maps in which every draw is divided by its largest gradient: γ = 0 for every τ, for all features, and squared."""
    return [
        *(
            ({"map": "unclipped", "tau": tau, "gamma": 0.0}, RelaxedSparsifiedSmoothGrad(method, tau=tau, gamma=0.0))
            for tau in TAUS
        ),
        ({"map": "scaled", "tau": None, "gamma": None}, ScaledSmoothGrad(method)),
        ({"map": "quadratic", "tau": None, "gamma": None}, ScaledQuadraticSmoothGrad(method)),
    ]


def _rows(
    material: Material, name: str, path: Any, sigma: float, draws: int, covariance: CovarianceRequest, make: Explainers
) -> list[Row]:
    """All bounds of all maps of one photograph at one σ."""
    model, image = material.photograph(path)
    described = make(Saliency(model))
    maps = sample_many(
        [explainer for _, explainer in described],
        image,
        target="argmax",
        nt_samples=draws,
        nt_samples_batch_size=_BATCH,
        stdevs=sigma,
        seed=_SEED,
        covariance=covariance,
    )
    shared: Row = {"image": name, "sigma": sigma, "draws": draws}
    return [
        {**shared, **description, **row}
        for (description, _), smoothed_map in zip(described, maps, strict=True)
        for row in _bounds(smoothed_map)
    ]


def _bounds(smoothed_map: SmoothedMap) -> list[Row]:
    """For each bound the certified shares at all radii, and the radius at which half of the top K is certified."""
    k = fraction_to_count(K, smoothed_map.layout.n_features)
    names = ["theorem2", "clopper_pearson" if smoothed_map.binary else "empirical_bernstein", "spectral", "best"]
    rows = []
    for bound in names:
        certifier = Certifier(confidence=CONFIDENCE, bound=bound)
        overlaps = certifier.top_k_curve(smoothed_map, k=K, radii=RADII)[0].double() / k
        half = float(certifier.radius(smoothed_map, k=K, overlap=HALF)[0])
        rows.append(_row(bound, overlaps, half))
    if smoothed_map.binary:
        rows.append(_row("lecuyer", _lecuyer(smoothed_map, k), None))
    return rows


def _row(bound: str, overlaps: Tensor, half: float | None) -> Row:
    shares = {f"overlap_{radius:g}": float(share) for radius, share in zip(RADII, overlaps, strict=True)}
    return {"bound": bound, "half_radius": half, **shares}


def _lecuyer(smoothed_map: SmoothedMap, k: int) -> Tensor:
    """Appendix K, from the same intervals as Theorem 2."""
    means, draws = smoothed_map.features.numpy(), int(smoothed_map.n_samples[0])
    width = np.sqrt(np.log(2 * means.shape[1] / (1 - CONFIDENCE)) / (2 * draws))
    counts = [
        int(lecuyer_overlap(means, np.full((1, 1), width), k, ratio=radius / smoothed_map.sigma)[0]) for radius in RADII
    ]
    return Tensor(counts).double() / k
