"""Beyond the paper: pixels certified by the test of Anani et al. and by simultaneous intervals."""

import functools
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from captum.attr import Saliency
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy import stats

from captum_certified import Certifier, SmoothedMap, SparsifiedSmoothGrad, sample_many
from captum_certified.benchmark.columns import half_width
from captum_certified.reproduce.certificate_rows import draw_bars, finish_over_values, offsets
from captum_certified.reproduce.experiment import (
    PRINTED_MODEL,
    Experiment,
    Part,
    Row,
    Scale,
    distinct,
    number,
    where,
)
from captum_certified.reproduce.networks_and_images import Material
from captum_certified.runs.results import file_digest
from captum_certified.storage import JsonObject
from captum_certified.visualization.colours import BESIDE, KINDS, MARKERS

__all__ = ["CertifiedPixels", "holm_decided"]

_SHARES = (0.5, 0.3, 0.1, 0.05)  # fractions of the pixels that are salient in each draw
_SIGMAS = (0.15, 0.25, 0.33)
_THRESHOLD = 0.75  # a decision must hold in more than this fraction of all possible draws at the input
_ALPHA = 0.001  # probability that any decision on an image is wrong
_GUESSES = 10  # draws that choose, for each pixel, the answer that is tested on other draws
_BATCH = 25


class _Size(NamedTuple):
    """The number of photographs, and the numbers of draws."""

    images: int
    draws: tuple[int, ...]


class CertifiedPixels(Experiment):
    """Beyond the paper: fraction of pixels that are certified salient or not salient, as in Anani et al. (2025)."""

    name = "pixels"
    uses = ("network",)
    default_model = PRINTED_MODEL
    title = "Pixels certified by the test of Anani et al. and by exact simultaneous intervals"
    claim = "Ours: intervals that hold for all pixels and radii at once decide about as many pixels as the test does."
    _sizes: Mapping[Scale, _Size] = {
        "smoke": _Size(images=2, draws=(20, 40)),
        "cpu": _Size(images=16, draws=(100, 1000)),
        "dry": _Size(images=2, draws=(8, 16)),
        "paper": _Size(images=100, draws=(100, 1000)),
    }

    def settings(self, scale: Scale) -> JsonObject:
        """Return the sizes, the noise levels, and the settings of the test."""
        levels = {"shares": _SHARES, "sigmas": _SIGMAS, "threshold": _THRESHOLD, "alpha": _ALPHA, "guesses": _GUESSES}
        return {**self._sizes[scale]._asdict(), **levels}

    def parts(self, material: Material, scale: Scale) -> Sequence[Part]:
        """Return a part for each photograph and σ."""
        size = self._sizes[scale]
        return [
            Part(
                f"{sigma}-{name}", functools.partial(_rows, material, name, path, sigma, size.draws), file_digest(path)
            )
            for sigma in _SIGMAS
            for name, path in material.photographs(size.images)
        ]

    def summary(self, rows: Sequence[Row]) -> JsonObject:
        """Return the mean fraction of certified pixels by method, number of draws, σ and fraction of salient pixels."""
        groups: dict[str, list[float]] = {}
        for row in rows:
            sigma, percent = number(row, "sigma"), 100 * number(row, "share")
            name = f"{row['method']}, {row['draws']} draws, σ = {sigma:g}, top {percent:g} %"
            groups.setdefault(name, []).append(number(row, "certified"))
        return {name: statistics.fmean(values) for name, values in groups.items()}

    def figure(self, rows: Sequence[Row]) -> Figure:
        """Plot how many more pixels the test of Anani et al. certifies, a panel for each σ.

        The difference is that of the shares of one image. A mark is its mean over the images, and a bar the 95 %
        interval of the mean by Student's t.
        """
        figure = Figure(figsize=(11.0, 4.4), layout="constrained")
        numbers = distinct(rows, "draws")
        images = len({row["image"] for row in rows})
        for axes, sigma in zip(figure.subplots(1, len(_SIGMAS), sharey=True), _SIGMAS, strict=True):
            for color, marker, offset, draws in zip(KINDS, MARKERS, offsets(len(numbers)), numbers, strict=False):
                of_draws = where(rows, sigma=sigma, draws=draws)
                found = [_more_than_ours(where(of_draws, share=share)) for share in _SHARES]
                places = [share * offset for share in _SHARES]
                middle = [mean for mean, _ in found]
                axes.plot(places, middle, f"{marker}-", color=color, label=f"{draws:g} draws")
                draw_bars(axes, places, [(mean - half, mean + half) for mean, half in found], color)
            title = f"σ = {sigma:g}, ρ = {sigma * stats.norm.ppf(_THRESHOLD):.3f}"
            finish_over_values(axes, _SHARES, "share of pixels salient in a draw", title)
            axes.axhline(0, color=BESIDE, linewidth=1)
        lines = (
            "more pixels certified by the test of Anani et al.",
            f"than by exact intervals, mean of {images} photographs",
        )
        figure.axes[0].set_ylabel("\n".join(lines))
        figure.axes[0].legend(frameon=False)
        return figure


def _more_than_ours(rows: Sequence[Row]) -> tuple[float, float]:
    """Return the mean over images of the difference of both methods, and half the length of its 95 % interval."""
    ours = {row["image"]: number(row, "certified") for row in where(rows, method="ours")}
    more = [number(row, "certified") - ours[row["image"]] for row in where(rows, method="Anani et al.")]
    return statistics.fmean(more), half_width(more) if len(more) > 1 else 0.0


def holm_decided(
    counts: NDArray[np.int64], n_samples: int, guesses: NDArray[np.bool_], *, alpha: float
) -> NDArray[np.bool_]:
    """Test which guesses hold in more than 3/4 of all possible draws, as Anani et al. do, with Holm's correction.

    Args:
        counts: Number of draws in which each pixel is salient, shape (n,).
        n_samples: Number of draws that were counted.
        guesses: Whether each pixel is expected to be salient, shape (n,). The guesses must come from other draws.
        alpha: Largest probability that any decision is wrong.

    Returns:
        Mask of the pixels whose guess is confirmed, shape (n,).
    """
    agreeing = np.where(guesses, counts, n_samples - counts)
    p_values = stats.binom.sf(agreeing - 1, n_samples, _THRESHOLD)
    order = np.argsort(p_values, kind="stable")
    passed = p_values[order] <= alpha / np.arange(len(order), 0, -1)
    decided = np.zeros(len(order), dtype=bool)
    decided[order[: len(order) if passed.all() else int(np.argmin(passed))]] = True
    return decided


def _rows(material: Material, name: str, path: Path, sigma: float, draws: Sequence[int]) -> list[Row]:
    model, image = material.photograph(path)
    method = Saliency(model)
    sample = functools.partial(
        sample_many,
        [SparsifiedSmoothGrad(method, tau=share) for share in _SHARES],
        image,
        target=int(model(image).argmax()),
        nt_samples_batch_size=_BATCH,
        stdevs=sigma,
        groups="channels",
        covariance=False,
    )
    guesses = sample(nt_samples=_GUESSES, seed=1)
    rows: list[Row] = []
    for n_samples in draws:
        maps = sample(nt_samples=n_samples, seed=0)
        for share, smoothed_map, guess in zip(_SHARES, maps, guesses, strict=True):
            shared: Row = {"image": name, "sigma": sigma, "draws": n_samples, "share": share}
            for kind, certified in _decided(smoothed_map, guess, n_samples, sigma).items():
                rows.append({**shared, "method": kind, "certified": certified})
    return rows


def _decided(smoothed_map: SmoothedMap, guess: SmoothedMap, draws: int, sigma: float) -> dict[str, float]:
    """Return the fraction of pixels that each method certifies as salient or not salient."""
    radius = float(sigma * stats.norm.ppf(_THRESHOLD))
    certifier = Certifier(confidence=1 - _ALPHA, bound="clopper_pearson")
    ours = float(certifier.selection(smoothed_map, radius=radius).certified_fraction[0])
    counts = np.rint(smoothed_map.features[0].numpy() * draws).astype(np.int64)
    theirs = holm_decided(counts, draws, guess.features[0].numpy() > 0.5, alpha=_ALPHA)
    return {"ours": ours, "Anani et al.": float(theirs.mean())}
