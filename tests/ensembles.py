"""Per-draw maps with exactly known smoothed maps, and the search for the worst perturbed input.

f_i(z) = 1[w_i·z > b_i] with unit w_i has h_i(x) = E f_i(x + σε) = Φ((w_i·x − b_i)/σ).
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr, ndtri


@dataclass(frozen=True)
class HalfSpaces:
    """Features that are means of ``parts`` half-spaces each. One part gives a 0/1 map.

    Attributes:
        weights: Unit normals, shape (n · parts, d).
        offsets: Shape (n · parts,).
        x: The observed input, shape (d,).
        sigma: Standard deviation of the noise.
        parts: Half-spaces averaged into one feature.
    """

    weights: np.ndarray
    offsets: np.ndarray
    x: np.ndarray
    sigma: float
    parts: int = 1

    @property
    def n_features(self) -> int:
        return len(self.offsets) // self.parts

    def population(self, inputs: np.ndarray) -> np.ndarray:
        """Return h at inputs of shape (m, d), shape (m, n)."""
        each = ndtr((inputs @ self.weights.T - self.offsets) / self.sigma)
        return each.reshape(len(inputs), -1, self.parts).mean(axis=2)

    def draws(self, rows: int, draws: int, rng: np.random.Generator) -> np.ndarray:
        """Return f at noisy copies of x in ``rows`` independent runs, shape (rows, draws, n)."""
        noise = rng.standard_normal((rows, draws, len(self.x)))
        active = (self.x + self.sigma * noise) @ self.weights.T > self.offsets
        return active.reshape(rows, draws, -1, self.parts).mean(axis=3)

    def adversaries(
        self, k: int, radius: float, rng: np.random.Generator, *, members: np.ndarray | None = None
    ) -> np.ndarray:
        """Return inputs within ``radius`` of x that may push features out of the top k, shape (m, d).

        The features to push out are the top k at x, or the ``members`` of a reference set, bool, shape (n,).

        The search starts in random directions, and in the direction that exchanges m features, for every m. From every
        start gradient ascent raises the scores outside the top k against the scores inside.
        """
        order = np.argsort(-self.population(self.x[None])[0], kind="stable")
        inside, outside = order[:k], order[k:]
        if members is not None:
            inside, outside = order[members[order]], order[~members[order]]
        normals = self.weights.reshape(-1, self.parts, len(self.x)).mean(axis=1)
        starts = [rng.standard_normal((30, len(self.x))), np.zeros((1, len(self.x)))]
        for m in range(1, min(len(inside), len(outside)) + 1):
            starts.append((normals[outside[:m]].sum(0) - normals[inside[-m:]].sum(0))[None])
        steps = np.concatenate(starts)
        found = [self.x + radius * _unit(steps)]
        for _ in range(25):
            found.append(self.x + radius * _unit(self._lead_gradient(found[-1], inside, outside)))
        return np.concatenate([self.x[None], *found])

    def _lead_gradient(self, inputs: np.ndarray, inside: np.ndarray, outside: np.ndarray) -> np.ndarray:
        """Return the gradient of Σ_outside h − Σ_inside h."""
        scores = (inputs @ self.weights.T - self.offsets) / self.sigma
        sign = np.zeros(self.n_features)
        sign[outside], sign[inside] = 1.0, -1.0
        return (np.exp(-(scores**2) / 2) * np.repeat(sign, self.parts)) @ self.weights


def least_overlap(population: np.ndarray, members: np.ndarray, k: int | None = None) -> np.ndarray:
    """Return the smallest overlap of each row's members with the top set of any population map, shape (rows,).

    Equal values count against the members.

    Args:
        population: Shape (m, n).
        members: Shape (rows, n).
        k: Size of the top set; by default the number of members, which is then the same in each row.
    """
    k = int(members[0].sum()) if k is None else k
    overlaps = np.empty((len(population), len(members)), dtype=np.int64)
    for i, h in enumerate(population):
        threshold = np.sort(h)[len(h) - k]
        above, level = h > threshold, h == threshold
        room = k - above.sum()
        outsiders = (level & ~members).sum(axis=1)
        overlaps[i] = (members & above).sum(axis=1) + np.maximum(room - outsiders, 0)
    return overlaps.min(axis=0)


def worst_ranks(population: np.ndarray) -> np.ndarray:
    """Return the worst rank of every feature in any population map, shape (n,). Equal values count against it."""
    return np.stack([(h[None, :] >= h[:, None]).sum(axis=1) for h in population]).max(axis=0)


def aligned(n: int = 24, *, sigma: float = 0.5) -> HalfSpaces:
    """One direction raises a third of the features and lowers the others. Interval bounds are exact here."""
    weights = np.zeros((n, 3))
    weights[:, 0] = np.where(np.arange(n) < n // 3, 1.0, -1.0)
    scores = ndtri(np.concatenate([np.linspace(0.95, 0.7, n // 3), np.linspace(0.5, 0.02, n - n // 3)]))
    return HalfSpaces(weights, -sigma * scores, np.zeros(3), sigma)


def incoherent(n: int = 24, *, sigma: float = 0.5) -> HalfSpaces:
    """Every feature has its own random direction, so no perturbation moves all features."""
    weights = _unit(np.random.default_rng(0).standard_normal((n, 16)))
    scores = ndtri(np.linspace(0.97, 0.05, n))
    return HalfSpaces(weights, -sigma * scores, np.zeros(16), sigma)


def graded(n: int = 24, *, sigma: float = 0.5) -> HalfSpaces:
    """Features that are means of two half-spaces: maps with values 0, ½ and 1."""
    rng = np.random.default_rng(1)
    weights = _unit(rng.standard_normal((2 * n, 8)))
    scores = np.repeat(ndtri(np.linspace(0.97, 0.05, n)), 2) + rng.choice([-0.2, 0.2], 2 * n)
    return HalfSpaces(weights, -sigma * scores, np.zeros(8), sigma, parts=2)


def rivals(*, sigma: float = 0.5, h: float = 0.8) -> HalfSpaces:
    """Two features h_1 = Φ(s + t) and h_2 = Φ(−s − t) along one direction, equal at distance σΦ⁻¹(h) from x."""
    score = float(ndtri(h))
    return HalfSpaces(np.array([[1.0], [-1.0]]), -sigma * np.array([score, -score]), np.zeros(1), sigma)


def _unit(vectors: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(lengths > 0, lengths, 1.0)
