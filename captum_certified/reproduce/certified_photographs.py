"""What the certificate figures share: maps of photographs for many τ, γ and σ, and every bound for each map."""

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

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
from captum_certified.attr import SmoothedAttribution
from captum_certified.reproduce.experiment import PRINTED_MODEL, Experiment, Part, Row, Scale
from captum_certified.reproduce.networks_and_images import Material
from captum_certified.runs.results import file_digest
from captum_certified.sampling import CovarianceRequest
from captum_certified.storage import JsonObject
from captum_certified.theory import fraction_to_count, lecuyer_overlap

__all__ = ["GAMMA", "PEAK_SIGMA", "PEAK_TAU", "RADII", "RADIUS", "TAUS", "CertificateExperiment"]

K = 0.2  # size of the top set, as a fraction of all features
CONFIDENCE = 0.95
TAUS = (0.02, 0.05, 0.1, 0.2, 0.5)
GAMMA = 0.01
PEAK_SIGMA, PEAK_TAU = 0.2, 0.1  # where the paper certifies most
RADIUS = 0.03  # ρ at which maps are compared
RADII = (0.01, 0.02, 0.03, 0.04, 0.06, 0.08, 0.1, 0.15, 0.2)
HALF = 0.5  # fraction of the top K that is certified up to the radius in the column half_radius
_BATCH = 64
_SEED = 0
_FIXED: JsonObject = {
    "k": K,
    "confidence": CONFIDENCE,
    "taus": TAUS,
    "gamma": GAMMA,
    "radii": RADII,
    "half": HALF,
    "batch": _BATCH,
    "seed": _SEED,
}


class _Map(NamedTuple):
    """A kind of map with its parameters. The fields are the columns ``map``, ``tau`` and ``gamma`` of the table."""

    map: str
    tau: float | None = None
    gamma: float | None = None

    def explainer(self, method: Saliency) -> SmoothedAttribution:
        """Return the attribution method that computes the map."""
        if self.tau is None:
            return ScaledSmoothGrad(method) if self.map == "scaled" else ScaledQuadraticSmoothGrad(method)
        if self.gamma is None:
            return SparsifiedSmoothGrad(method, tau=self.tau)
        return RelaxedSparsifiedSmoothGrad(method, tau=self.tau, gamma=self.gamma)


_SPARSIFIED = [_Map("sparsified", tau) for tau in TAUS]
_RELAXED = [_Map("relaxed", tau, GAMMA) for tau in TAUS]
_PEAKS = [_Map("sparsified", PEAK_TAU), _Map("relaxed", PEAK_TAU, GAMMA)]
# Maps without clipping: the values of each draw are divided by the largest value of that draw.
_UNCLIPPED = [*(_Map("unclipped", tau, 0.0) for tau in TAUS), _Map("scaled"), _Map("quadratic")]


class _Size(NamedTuple):
    """The number of photographs, and the settings of two samplings: at the peak, and in a sweep over τ and σ.

    Smaller covariance blocks take less time and memory. They make the spectral bound a little weaker, because the top
    eigenvalue of a smaller block exceeds the top eigenvalue of the exact covariance by more.
    """

    images: int
    draws: int  # number at the peak, which is σ = 0.2 and τ = 0.1, for the sparsified and the relaxed map
    fewer: tuple[int, ...]  # smaller numbers of draws at the peak, for the sparsified map
    sweep_draws: int
    sweep_block: int  # draws in each covariance block
    sigmas: tuple[float, ...]


_CPU = _Size(
    images=16,
    draws=8192,
    fewer=(512, 1024, 2048, 4096),
    sweep_draws=2048,
    sweep_block=512,
    sigmas=(0.02, 0.05, 0.1, PEAK_SIGMA, 0.5),
)
_DRY = _CPU._replace(images=2, draws=4, fewer=(2,), sweep_draws=4, sweep_block=2, sigmas=(PEAK_SIGMA,))
_SIZES: Mapping[Scale, _Size] = {
    "smoke": _Size(images=2, draws=64, fewer=(16, 32), sweep_draws=32, sweep_block=16, sigmas=(0.05, PEAK_SIGMA)),
    "cpu": _CPU,
    "dry": _DRY,
    "paper": _CPU._replace(images=64, sweep_draws=8192, sweep_block=2048),
}


class _Sampling(NamedTuple):
    """Maps that are sampled from the same draws, and the settings of the sampling."""

    kind: str  # prefix of the part names
    sigma: float
    draws: int
    covariance: CovarianceRequest
    maps: Sequence[_Map]


class CertificateExperiment(Experiment):
    """An experiment on certificates of photographs. All such experiments share their parts.

    Attributes:
        needs: The samplings that the experiment uses: ``"peak"``, ``"fewer"``, ``"sweep"`` or ``"unclipped"``.
        only_sigma: The only σ that the experiment shows. ``None`` means all σ.
    """

    store = "certificates"
    uses = ("network",)
    default_model = PRINTED_MODEL
    needs: tuple[str, ...] = ("peak",)
    only_sigma: float | None = None

    def settings(self, scale: Scale) -> JsonObject:
        """Return the sizes, and the settings of the certificates."""
        return {**_SIZES[scale]._asdict(), **_FIXED, "sigma": PEAK_SIGMA}

    def parts(self, material: Material, scale: Scale) -> Sequence[Part]:
        """Return a part for each photograph and each sampling that the experiment needs."""
        size = _SIZES[scale]
        photographs, samplings = material.photographs(size.images), _samplings(size)
        return [
            Part(
                f"{sampling.kind}-{name}",
                functools.partial(_rows, material, name, path, sampling),
                file_digest(path),
                {
                    **_FIXED,
                    "kind": need,
                    "sigma": sampling.sigma,
                    "draws": sampling.draws,
                    "covariance": sampling.covariance,
                },
            )
            for need in self.needs
            for sampling in samplings[need]
            if self.only_sigma in (None, sampling.sigma)
            for name, path in photographs
        ]


def _samplings(size: _Size) -> dict[str, list[_Sampling]]:
    """Return the samplings for each value that ``needs`` of an experiment may contain."""
    peak = functools.partial(_Sampling, sigma=PEAK_SIGMA, covariance="auto")
    sweep = functools.partial(_Sampling, draws=size.sweep_draws, covariance=size.sweep_block)
    return {
        "peak": [peak(kind="peak", draws=size.draws, maps=_PEAKS)],
        "fewer": [peak(kind=f"draws-{draws}", draws=draws, maps=_PEAKS[:1]) for draws in size.fewer],
        "sweep": [sweep(kind=f"sigma-{sigma}", sigma=sigma, maps=_SPARSIFIED + _RELAXED) for sigma in size.sigmas],
        "unclipped": [sweep(kind=f"unclipped-{sigma}", sigma=sigma, maps=_UNCLIPPED) for sigma in size.sigmas],
    }


def _rows(material: Material, name: str, path: Path, sampling: _Sampling) -> list[Row]:
    """Sample all maps of one photograph, and compute every bound for each map."""
    model, image = material.photograph(path)
    method = Saliency(model)
    smoothed_maps = sample_many(
        [kind.explainer(method) for kind in sampling.maps],
        image,
        target="argmax",
        nt_samples=sampling.draws,
        nt_samples_batch_size=_BATCH,
        stdevs=sampling.sigma,
        seed=_SEED,
        covariance=sampling.covariance,
    )
    shared: Row = {"image": name, "sigma": sampling.sigma, "draws": sampling.draws}
    return [
        {**shared, **kind._asdict(), **row}
        for kind, smoothed_map in zip(sampling.maps, smoothed_maps, strict=True)
        for row in _bounds(smoothed_map)
    ]


def _bounds(smoothed_map: SmoothedMap) -> list[Row]:
    """Compute for each bound the certified overlap at all radii, and the largest radius for half of the top K."""
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
    """Compute the overlap that the bound of Appendix K certifies from the intervals that Theorem 2 uses."""
    means, draws = smoothed_map.features.numpy(), int(smoothed_map.n_samples[0])
    width = np.sqrt(np.log(2 * means.shape[1] / (1 - CONFIDENCE)) / (2 * draws))
    counts = [
        int(lecuyer_overlap(means, np.full((1, 1), width), k, ratio=radius / smoothed_map.sigma)[0]) for radius in RADII
    ]
    return Tensor(counts).double() / k
