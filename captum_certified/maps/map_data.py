"""The fields of a smoothed map, which are checked whenever a map is made."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from captum_certified.checks import checked_stdevs
from captum_certified.exceptions import InvalidInputError
from captum_certified.maps.covariance import CovarianceSummary, check_rows_and_pairs
from captum_certified.maps.feature_layout import FeatureLayout
from captum_certified.maps.provenance import Provenance, Setup, joined_draws

__all__ = ["MapData", "Maps"]

Maps = Tensor | tuple[Tensor, ...]

# Rounding may make a mean of squares this much smaller than the square of the mean.
_ROUNDING = 1e-9


@dataclass(frozen=True, eq=False, repr=False)
class MapData:
    """Fields of a smoothed map, which :class:`~captum_certified.SmoothedMap` describes, and derived properties.

    The fields are checked here, so that every map is consistent, whether it comes from draws, other maps, a file, or
    numbers.

    Raises:
        InvalidInputError: A field does not fit the other fields.
    """

    layout: FeatureLayout
    n_samples: Tensor
    stdevs: float | tuple[float, ...]
    feature_counts: Tensor | None = None
    feature_mean: Tensor | None = None
    second_moment: Tensor | None = None
    max_squared_norm: float | None = None
    given_trace: Tensor | None = None
    covariance: CovarianceSummary | None = None
    regions: Mapping[str, tuple[Tensor, Tensor]] = field(default_factory=dict)
    plain: Tensor | None = None
    probe: Tensor | None = None
    provenance: Provenance | None = None
    setup: Setup = field(default_factory=dict)
    looks: Tensor | None = None
    reference: Tensor | None = None
    brightness: Tensor | None = None
    randomised: Tensor | None = None
    class_votes: Tensor | None = None

    def __post_init__(self) -> None:
        rows, n = self._check_draws(), self.layout.n_features
        _require((self.feature_counts is None) != (self.feature_mean is None), "feature_counts or feature_mean")
        self._check_tables(rows, n)
        for i, ids in enumerate(self.layout.group_ids or ()):
            _require(ids.dtype == torch.int64 and tuple(ids.shape[1:]) == self.layout.shapes[i], "group_ids")
            _require(len(ids) in (1, rows) and bool(((ids >= 0) & (ids < n)).all()), "group_ids")
        if self.covariance is not None:
            check_rows_and_pairs(self.covariance, self.n_samples)
        for mask, shares in self.regions.values():
            self._check_region(mask, shares)
        checked_stdevs(self.stdevs)
        _require(self.max_squared_norm is None or self.max_squared_norm > 0, "max_squared_norm")
        _require(isinstance(self.setup, Mapping), "setup")

    def _check_draws(self) -> int:
        """Check the numbers of draws, the interim looks and the provenance, and return the number of examples."""
        samples = self.n_samples
        _require(samples.dtype == torch.int64 and samples.dim() == 1 and len(samples) > 0, "n_samples")
        _require(bool((samples > 0).all()), "n_samples")
        if self.looks is not None:
            _require(self.looks.dtype == torch.int64 and self.looks.shape == samples.shape, "looks")
            _require(bool((self.looks >= 0).all()), "looks")
        if self.provenance is not None:
            _require(len(self.provenance) == len(samples), "provenance")
            for row, q in zip(self.provenance, samples.tolist(), strict=True):
                _require(all(0 <= draws.start < draws.stop for draws in row), "provenance")
                _require(sum(draws.stop - draws.start for draws in row) == q, "provenance")
            joined_draws(self.provenance, ((),) * len(samples))  # raises an error if a draw occurs twice
        return len(samples)

    def _check_tables(self, rows: int, n: int) -> None:
        """Check the tables of shape (rows, n), and the traces."""
        counts, mean, square = self.feature_counts, self.feature_mean, self.second_moment
        if counts is not None:
            _require(counts.dtype == torch.int64 and counts.shape == (rows, n), "feature_counts")
            _require(bool(((counts >= 0) & (counts <= self.n_samples.unsqueeze(1))).all()), "feature_counts")
        for name, table in (("feature_mean", mean), ("second_moment", square)):
            if table is not None:
                _require(table.dtype == torch.float64 and table.shape == (rows, n), name)
                _require(bool(torch.isfinite(table).all()), name)
        if square is not None:
            _require(mean is not None, "second_moment")  # the second moment of a 0/1 map is its mean
            least = self.features.square() * (1 - _ROUNDING) - _ROUNDING
            _require(bool((square >= least).all()), "second_moment")
        if self.plain is not None:
            _require(self.plain.is_floating_point() and _is_magnitudes(self.plain, rows, n), "plain")
        if self.probe is not None:
            _require(_is_magnitudes(self.probe, rows, n), "probe")
        if self.brightness is not None:
            _require(_is_magnitudes(self.brightness, rows, n), "brightness")
        if self.randomised is not None:
            _require(self.randomised.dim() == 3 and len(self.randomised) == rows, "randomised")
            _require(_is_magnitudes(self.randomised.flatten(0, 1), self.randomised[:, :, 0].numel(), n), "randomised")
        if self.class_votes is not None:
            _require(self.class_votes.dtype == torch.int64 and self.class_votes.shape == (rows, 2), "class_votes")
            kept, copies = self.class_votes.unbind(1)
            _require(bool(((kept >= 0) & (kept <= copies) & (copies > 0)).all()), "class_votes")
        if self.reference is not None:
            _require(self.reference.dtype == torch.bool and self.reference.shape == (rows, n), "reference")
        if self.given_trace is not None:
            _require(self.given_trace.dtype == torch.float64 and self.given_trace.shape == (rows,), "given_trace")
            _require(bool((torch.isfinite(self.given_trace) & (self.given_trace >= 0)).all()), "given_trace")

    def _check_region(self, mask: Tensor, shares: Tensor) -> None:
        """Check a region's mask, and the fraction of every draw's map in the region, NaN for missing draws."""
        rows, n, samples = len(self.n_samples), self.layout.n_features, self.n_samples
        _require(mask.dtype == torch.bool and mask.shape in ((1, n), (rows, n)) and bool(mask.any(dim=1).all()), "mask")
        _require(shares.dtype == torch.float64 and shares.shape == (rows, int(samples.max())), "shares")
        drawn = torch.arange(shares.shape[1], device="cpu") < samples.unsqueeze(1)
        _require(torch.equal(drawn, (shares >= 0) & (shares <= 1)) and torch.equal(drawn, ~shares.isnan()), "shares")

    @property
    def binary(self) -> bool:
        """Whether every draw of the map is 0 or 1."""
        return self.feature_counts is not None

    @cached_property
    def features(self) -> Tensor:
        """Mean of each feature, float64, shape (N, n)."""
        if self.feature_counts is not None:
            return self.feature_counts.double() / self.n_samples.unsqueeze(1)
        assert self.feature_mean is not None  # noqa: S101  for the type checker: one of the two is given
        return self.feature_mean

    @property
    def mean(self) -> Maps:
        """Mean map in float64, structured like the wrapped method's output."""
        return self.layout.unflatten(self.features)

    @property
    def counts(self) -> Maps | None:
        """Counts of a 0/1 map in int64, structured like the wrapped method's output; else ``None``."""
        return None if self.feature_counts is None else self.layout.unflatten(self.feature_counts)

    @property
    def trace(self) -> Tensor | None:
        """Trace of the unbiased sample covariance, float64, shape (N,); ``None`` if unknown or for one draw."""
        if self.given_trace is not None:
            return self.given_trace
        square = self.features if self.binary else self.second_moment
        if square is None or bool((self.n_samples < 2).any()):
            return None
        q = self.n_samples.double()
        return (q / (q - 1) * (square.sum(1) - self.features.square().sum(1))).clamp_min(0.0)

    @property
    def class_kept(self) -> Tensor | None:
        """Fraction of up to 256 noisy copies that keep the predicted class of the clean input, float64, shape (N,).

        ``None`` if the outputs of the model are not scores of classes.
        """
        if self.class_votes is None:
            return None
        kept, copies = self.class_votes.double().unbind(1)
        return kept / copies

    @property
    def sigma(self) -> float:
        """Standard deviation σ by which a radius is divided to get ρ/σ: the first of ``stdevs`` above zero."""
        stdevs = self.stdevs if isinstance(self.stdevs, tuple) else (self.stdevs,)
        return next((s for s in stdevs if s > 0), 0.0)

    @property
    def seed(self) -> int | None:
        """Seed of all draws; ``None`` if the seed is unknown or there are several (see ``provenance``)."""
        seeds = {draws.seed for row in self.provenance or () for draws in row}
        return seeds.pop() if len(seeds) == 1 else None

    @property
    def draws(self) -> tuple[tuple[tuple[int, int], ...], ...] | None:
        """Ranges ((start, stop), …) of the draws of every example; ``None`` if unknown."""
        if self.provenance is None:
            return None
        return tuple(tuple((draws.start, draws.stop) for draws in row) for row in self.provenance)

    def __len__(self) -> int:
        return len(self.n_samples)


def _is_magnitudes(table: Tensor, rows: int, n: int) -> bool:
    """Return whether a table of shape (rows, n) is boolean, or finite and not negative."""
    if table.shape != (rows, n):
        return False
    return table.dtype == torch.bool or bool((torch.isfinite(table) & (table >= 0)).all())


def _require(holds: bool, name: str) -> None:
    """Raise an InvalidInputError about a field unless a condition holds."""
    if not holds:
        raise InvalidInputError(f"`{name}` does not fit the other parts of the map.")
