"""An independent implementation in NumPy and SciPy, one draw at a time, sharing no code with the package."""

import math
from collections.abc import Callable, Iterable

import numpy as np
from scipy.stats import norm


def sparsified_counts(
    gradient: Callable[[np.ndarray], np.ndarray],
    image: np.ndarray,
    noise: Iterable[np.ndarray],
    *,
    sigma: float,
    tau: float,
) -> np.ndarray:
    """Eq. 2.4 averaged: how often each pixel is among the ⌈τn⌉ largest positive gradient magnitudes."""
    counts = np.zeros(image.size, dtype=int)
    size = math.ceil(round(tau * image.size, 9))
    for epsilon in noise:
        magnitudes = np.abs(gradient(image + sigma * epsilon)).ravel()
        by_value_then_index = np.argsort(-magnitudes, kind="stable")[:size]
        counts[by_value_then_index[magnitudes[by_value_then_index] > 0]] += 1
    return counts


def hoeffding_c(n: int, *, draws: float, confidence: float) -> float:
    """Corollary 1's c."""
    return math.sqrt(math.log(2 * n / (1 - confidence)) / (2 * draws))


def theorem_2(mean: np.ndarray, *, c: float, k: int, ratio: float) -> int:
    """Theorem 2 as printed, evaluated literally for every i."""
    ranked = np.sort(mean)[::-1]
    certified = 0
    for i in range(1, k + 1):
        z = ranked[i - 1]
        lower = norm.cdf(norm.ppf(z - c) - 2 * ratio) - c if z > c else -c
        if 2 * k - i > mean.size or lower >= ranked[2 * k - i - 1]:
            certified = i
    return certified
