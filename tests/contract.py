"""Maps and limits for the tests that every bound of ``BOUNDS`` must pass.

A new bound is tested without a change here, unless it needs more than means and counts, has other limits, or is coarse.
Then add a line for it to ``MAPS``, ``REACHES`` or ``COARSE``.
"""

import dataclasses
from collections.abc import Callable, Iterator

import ensembles
import numpy as np
import torch
from ensembles import HalfSpaces
from spectral_ensembles import summarised

from captum_certified import RankCertificate, SmoothedMap
from captum_certified.certify.bounds.registry import BOUNDS

Draws = np.ndarray


def counted(draws: Draws, sigma: float) -> SmoothedMap:
    """Return the map of draws of shape (rows, draws, n): counts of 0/1 draws, otherwise means with second moments."""
    samples = draws.shape[1]
    if np.isin(draws, (0.0, 1.0)).all():
        counts = torch.from_numpy(draws.sum(axis=1).astype(np.int64))
        return SmoothedMap.from_counts(counts, n_samples=samples, stdevs=sigma)
    squares = torch.from_numpy((draws**2).mean(axis=1))
    return SmoothedMap.from_mean(
        torch.from_numpy(draws.mean(axis=1)), n_samples=samples, stdevs=sigma, second_moment=squares
    )


def of_any_draws(mean: torch.Tensor, **settings: object) -> SmoothedMap:
    """Return a map whose draws need not lie in [0, 1]. A method may sample such a map, but ``from_mean`` refuses it."""
    names = {"feature_mean": mean.double(), "n_samples": torch.full((len(mean),), settings.pop("n_samples"))}
    trace = settings.pop("trace", None)
    given = {"given_trace": None if trace is None else trace.double(), **names}
    return dataclasses.replace(
        SmoothedMap.from_mean(torch.zeros_like(mean), n_samples=1, stdevs=0.1), **given, **settings
    )


def with_covariance(draws: Draws, sigma: float) -> SmoothedMap:
    """Return the map of draws with the covariance of their blocks."""
    return dataclasses.replace(counted(draws, sigma), covariance=summarised(draws, block=512))


# Bounds that need other statistics than ``counted`` collects.
MAPS: dict[str, Callable[[Draws, float], SmoothedMap]] = {"spectral": with_covariance}

# The largest overlap that a bound can certify, and the overlap that it always certifies, as functions of (k, n).
SHARP = (lambda k, n: k, lambda k, n: max(0, 2 * k - n))
REACHES = {"theorem2": (lambda k, n: k - 1, lambda k, n: max(0, 2 * k - n - 1))}

# Bounds that cannot tell two features apart with a thousand draws. Other tests measure how much they certify.
COARSE = frozenset({"spectral"})

ENSEMBLES: dict[str, Callable[[], HalfSpaces]] = {
    "aligned": ensembles.aligned,
    "incoherent": ensembles.incoherent,
    "graded": ensembles.graded,
}


def map_for(bound: str, draws: Draws, sigma: float) -> SmoothedMap:
    """Return the map of draws with the statistics that a bound needs."""
    return MAPS.get(bound, counted)(draws, sigma)


def guaranteed_ranks(certificate: RankCertificate) -> np.ndarray:
    """Return the rank that a certificate guarantees each feature, shape (N, n); n + 1 if it guarantees none."""
    stays = [certificate.in_top_k(k).flatten(1) for k in range(1, certificate.map.layout.n_features + 1)]
    return 1 + (~torch.stack(stays)).sum(dim=0).numpy()


def most_certified(bound: str, k: int, n: int) -> int:
    return REACHES.get(bound, SHARP)[0](k, n)


def always_certified(bound: str, k: int, n: int) -> int:
    return REACHES.get(bound, SHARP)[1](k, n)


def applicable() -> Iterator[tuple[str, str]]:
    """Yield the pairs of a bound and an ensemble to whose maps it applies."""
    for bound in BOUNDS:
        for name, make in ENSEMBLES.items():
            ensemble = make()
            few = map_for(bound, ensemble.draws(1, 8, np.random.default_rng(0)), ensemble.sigma)
            if BOUNDS[bound].refusal(few) is None:
                yield bound, name
