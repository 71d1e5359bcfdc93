"""Half-spaces whose covariance is known exactly, two-point laws, and draws summarised in blocks.

For f_i = 1[w_i·z > b_i] with unit w_i and correlation ϱ = w_i·w_j, the covariance of f_i and f_j is the orthant
probability of a bivariate normal minus the product of its margins, which is
(1/2π) ∫ exp(−(c_i² + c_j² − 2 c_i c_j sin θ) / (2 cos² θ)) dθ over θ from 0 to arcsin ϱ, where c are the scores.
"""

from dataclasses import dataclass

import numpy as np
import torch
from ensembles import HalfSpaces
from scipy.special import ndtr, ndtri

from captum_certified import CovarianceSummary
from captum_certified.sampling.block_covariance import BlockCovariance

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(200)
_NEVER = 38.0  # features with scores beyond this are constant


def covariance_matrix(exact: HalfSpaces) -> np.ndarray:
    """Return Σ = Cov f(x + σε), shape (n, n)."""
    scores = np.clip((exact.weights @ exact.x - exact.offsets) / exact.sigma, -_NEVER, _NEVER)
    correlation = np.clip(exact.weights @ exact.weights.T, -1.0, 1.0)
    one, two = scores[:, None], scores[None, :]
    half = np.arcsin(correlation) / 2
    each = np.zeros_like(correlation)
    for node, weight in zip(_NODES, _WEIGHTS, strict=True):
        angle = half * (1 + node)
        sine, cosine = np.sin(angle), np.cos(angle)
        with np.errstate(divide="ignore", over="ignore"):
            exponent = (one - two) ** 2 / (2 * cosine**2) + one * two / (1 + sine)
        each += weight * half * np.exp(-exponent) / (2 * np.pi)
    p, q = ndtr(one), ndtr(two)
    each = np.where(correlation > 1 - 1e-12, np.minimum(p, q) - p * q, each)
    each = np.where(correlation < -1 + 1e-12, np.maximum(p + q - 1, 0) - p * q, each)
    n = exact.n_features
    return each.reshape(n, exact.parts, n, exact.parts).mean(axis=(1, 3))


def layered(n: int = 30, *, sigma: float = 0.5) -> HalfSpaces:
    """Thresholds along one direction. Their sum is nearly linear in the noise, so S1 is nearly an equality."""
    weights = np.zeros((n, 2))
    weights[:, 0] = 1.0
    return HalfSpaces(weights, -sigma * np.linspace(2.2, -2.2, n), np.zeros(2), sigma)


def mixed(*, sigma: float = 0.5) -> HalfSpaces:
    """Aligned, opposed and random directions, features that are equal, and features that never change."""
    rng = np.random.default_rng(3)
    aligned = np.zeros((10, 12))
    aligned[:, 0] = [1, 1, 1, 1, -1, -1, -1, -1, -1, -1]
    random = rng.standard_normal((10, 12))
    random /= np.linalg.norm(random, axis=1, keepdims=True)
    scores = ndtri(np.r_[0.9, 0.8, 0.8, 0.7, 0.6, 0.5, 0.3, 0.3, 0.2, 0.1, np.linspace(0.95, 0.05, 10)])
    weights = np.concatenate([aligned, random, random[:1], aligned[:3]])
    scores = np.concatenate([scores, scores[10:11], [_NEVER, _NEVER, -_NEVER]])
    return HalfSpaces(weights, -sigma * scores, np.zeros(12), sigma)


def farthest(exact: HalfSpaces, ratio: float, rng: np.random.Generator, *, starts: int = 250) -> np.ndarray:
    """Return inputs within ratio·σ of x where h is far from h(x), found by gradient ascent, shape (m, d)."""
    radius, base = ratio * exact.sigma, exact.population(exact.x[None])
    directions = np.concatenate([rng.standard_normal((starts, len(exact.x))), exact.weights])
    found = []
    for _ in range(6):
        lengths = np.linalg.norm(directions, axis=1, keepdims=True)
        points = exact.x + radius * directions / np.where(lengths > 0, lengths, 1.0)
        found.append(points)
        moved = np.repeat(exact.population(points) - base, exact.parts, axis=1)
        scores = (points @ exact.weights.T - exact.offsets) / exact.sigma
        directions = (moved * np.exp(-(scores**2) / 2)) @ exact.weights
    return np.concatenate(found)


@dataclass(frozen=True)
class TwoPointLaw:
    """f is one 0/1 map with probability ε, and otherwise a disjoint 0/1 map. Each has s ones.

    Σ = ε(1 − ε) d dᵀ with ‖d‖² = 2s, so that (u·(f − f′))²/2 takes its largest possible value s when f ≠ f′.
    """

    epsilon: float
    ones: int

    @property
    def top_eigenvalue(self) -> float:
        return 2 * self.ones * self.epsilon * (1 - self.epsilon)

    def draws(self, rows: int, draws: int, rng: np.random.Generator) -> np.ndarray:
        """Return f in ``rows`` independent runs, shape (rows, draws, 2s)."""
        rare = rng.random((rows, draws, 1)) < self.epsilon
        return np.concatenate([np.repeat(rare, self.ones, axis=2), np.repeat(~rare, self.ones, axis=2)], axis=2) * 1.0

    def evidence(self, rows: int, draws: int, block: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Return the statistics for S3 of ``rows`` runs in equal blocks, computed from the numbers of rare draws."""
        rare = rng.binomial(block, self.epsilon, (rows, draws // block))
        top, fourth = _two_point_block(rare, block, 2.0 * self.ones)
        total = rare.sum(axis=1)
        evidence = {"top_eigenvalue": top.mean(axis=1), "frobenius_norm": top.mean(axis=1)}
        return evidence | {
            "n_samples": np.full(rows, float(draws)),
            "pairs": np.full(rows, float(draws // block * (block // 2))),
            "fourth_moment": fourth.mean(axis=1),
            "trace": total * (draws - total) / (draws * (draws - 1.0)) * 2.0 * self.ones,
            "rare": total,
        }


def _two_point_block(rare: np.ndarray, block: int, squared: float) -> tuple[np.ndarray, np.ndarray]:
    """Return λ̂ and κ̂ of a block whose ``rare`` draws differ from the others by a vector of squared norm ``squared``."""
    share = rare / block
    top = rare * (block - rare) / (block * (block - 1.0)) * squared
    farther = np.where(rare == 0, 0.0, np.where(rare == block, 0.0, np.maximum(share, 1 - share)))
    return top, farther**2 * squared * top / 2 + 1.5 * top**2


def summarised(draws: np.ndarray, *, block: int = 512) -> CovarianceSummary:
    """Return the covariance summary of draws of shape (rows, draws, n), in blocks."""
    binary = bool(np.isin(draws, (0.0, 1.0)).all())
    rows, total, n = draws.shape
    values = torch.from_numpy(draws)
    collected = BlockCovariance(rows, n, binary=binary, block=block, device=torch.device("cpu"))
    for start in range(0, total, block):
        part = values[:, start : start + block]
        collected.add(part.bool() if binary else part, range(start, start + part.shape[1]))
    collected.finish_block()
    assert collected.summary is not None
    return collected.summary
