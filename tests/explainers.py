"""The smoothed attributions, each beside a literal NumPy version of its per-draw map; adding a class takes one line."""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from captum.attr import Attribution

from captum_certified import (
    NormalizedSmoothGrad,
    RelaxedSparsifiedSmoothGrad,
    ScaledQuadraticSmoothGrad,
    ScaledSmoothGrad,
    SmoothedAttribution,
    SparsifiedSmoothGrad,
)


class Explainer(NamedTuple):
    """A smoothed attribution under test.

    Attributes:
        make: From the wrapped method.
        literal: Per-draw map of one example's magnitudes, shape (n,) to (n,).
        binary: Whether the map is of zeros and ones.
    """

    make: Callable[[Attribution], SmoothedAttribution]
    literal: Callable[[np.ndarray], np.ndarray]
    binary: bool = False


def places(g: np.ndarray) -> dict[int, int]:
    """Rank of every positive entry by value and then by index, counted from 1."""
    positive = [i for i in range(len(g)) if g[i] > 0]
    return {i: rank for rank, i in enumerate(sorted(positive, key=lambda i: (-g[i], i)), start=1)}


def portion(fraction: float, n: int) -> int:
    return math.ceil(round(fraction * n, 9))


def sparsified(tau: float) -> Callable[[np.ndarray], np.ndarray]:
    def f(g: np.ndarray) -> np.ndarray:
        rank = places(g)
        return np.array([float(i in rank and rank[i] <= portion(tau, len(g))) for i in range(len(g))])

    return f


def relaxed(tau: float, gamma: float) -> Callable[[np.ndarray], np.ndarray]:
    def f(g: np.ndarray) -> np.ndarray:
        rank, full = places(g), max(1, portion(gamma, len(g)))
        level = np.sort(g)[::-1][full - 1]
        values = np.zeros(len(g))
        for i, place in rank.items():
            if place <= full:
                values[i] = 1.0
            elif place <= portion(tau, len(g)):
                values[i] = g[i] / level
        return values

    return f


def scaled(g: np.ndarray) -> np.ndarray:
    return g / g.max() if g.max() > 0 else np.zeros(len(g))


def normalized(g: np.ndarray) -> np.ndarray:
    length = math.sqrt(math.fsum(v * v for v in g.tolist()))
    return g / length if length > 0 else np.zeros(len(g))


EXPLAINERS = {
    "sparsified": Explainer(lambda m: SparsifiedSmoothGrad(m, tau=0.1), sparsified(0.1), binary=True),
    "sparsified .5": Explainer(lambda m: SparsifiedSmoothGrad(m, tau=0.5), sparsified(0.5), binary=True),
    "sparsified all": Explainer(lambda m: SparsifiedSmoothGrad(m, tau=1.0), sparsified(1.0), binary=True),
    "relaxed": Explainer(lambda m: RelaxedSparsifiedSmoothGrad(m, tau=0.4, gamma=0.1), relaxed(0.4, 0.1)),
    "relaxed gamma 0": Explainer(lambda m: RelaxedSparsifiedSmoothGrad(m, tau=1.0, gamma=0.0), relaxed(1.0, 0.0)),
    "scaled": Explainer(ScaledSmoothGrad, scaled),
    "scaled quadratic": Explainer(ScaledQuadraticSmoothGrad, lambda g: scaled(g) ** 2),
    "normalized": Explainer(NormalizedSmoothGrad, normalized),
}
