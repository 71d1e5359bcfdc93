"""The smoothed map: the statistics of the draws that certificates need, without the draws."""

import os
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from captum_certified.checks import checked_columns, checked_norm, checked_samples, checked_stdevs
from captum_certified.exceptions import InvalidInputError
from captum_certified.maps.combining import merged, stacked
from captum_certified.maps.covariance import CovarianceSummary
from captum_certified.maps.feature_layout import FeatureLayout
from captum_certified.maps.map_data import MapData, Maps
from captum_certified.maps.map_file import from_parts, parts_of
from captum_certified.maps.unit_interval import (
    check_unit_eigenvalue,
    checked_unit_mean,
    checked_unit_second_moment,
    checked_unit_trace,
)
from captum_certified.storage import read_archive, write_archive

__all__ = ["SmoothedMap"]

_KIND = "SmoothedMap"


class SmoothedMap(MapData):
    """Mean of a per-draw map over noisy copies of the input, with the statistics that certificates need.

    A map is made by :meth:`~captum_certified.SmoothedAttribution.sample`, or from your own numbers by
    :meth:`from_counts` and :meth:`from_mean`. Its tensors are on the CPU. It holds no draws.

    Attributes:
        layout: Rule by which the entries of the map become the n columns of a table.
        n_samples: Number of draws of each example, int64, shape (N,).
        stdevs: Standard deviation of the noise, in the units of the input; a tuple for a tuple of inputs.
        feature_counts: Number of draws in which each feature was 1, int64, shape (N, n); ``None`` for other maps.
        feature_mean: Mean of each feature, float64, shape (N, n); ``None`` for a 0/1 map.
        second_moment: Mean square of each feature, float64, shape (N, n), or ``None``.
        max_squared_norm: A bound on ‖f‖² that holds in every draw, or ``None`` if unknown.
        covariance: Summary of the draws' covariance, or ``None``.
        regions: The recorded regions by name: the mask of the features, bool, shape (1 or N, n), and the fraction T of
            every draw's map in the region, float64, shape (N, q). If an example has fewer than q draws, its row of T
            ends with NaN.
        plain: Feature magnitudes of the plain attribution at the clean input, shape (N, n), or ``None``.
        probe: The map of one extra draw under a seed that all runs share, shape (N, n), bool for a 0/1 map, or
            ``None``. This draw is not part of the mean. ``probe`` and ``plain`` show whether two maps have the same
            explanation.
        provenance: The draws of every example, or ``None`` if unknown.
        setup: What was sampled and how: class, method, target, digests, versions, device.
        reference: The set of features that is compared with the top K at perturbed inputs, bool, shape (N, n); ``None``
            for the top K of this map.
        brightness: Magnitudes of the input as features, shape (N, n); ``None`` if the map has another structure.
        randomised: Plain maps of copies of the model with re-initialised weights, shape (N, copies, n), or ``None``.
        class_votes: How many of up to 256 noisy copies keep the predicted class of the clean input, and the number of
            copies, int64, shape (N, 2); ``None`` if the outputs of the model are not scores of classes.
        class_kept: The fraction of these noisy copies that keep the class, float64, shape (N,), or ``None``.
        looks: Number of the interim look at which a sequential run stopped the example, int64, shape (N,). 0 means that
            the number of draws of the example was fixed. ``None`` means that it was fixed for all examples. An example
            that stopped at a look is certified at the level of this look.
        mean: Mean map in float64, structured like the wrapped method's output.
        counts: Counts of a 0/1 map in int64, structured like the wrapped method's output; else ``None``.
        binary: Whether every draw of the map is 0 or 1.
        features: Mean of each feature, float64, shape (N, n).
        trace: Trace of the unbiased sample covariance, float64, shape (N,); ``None`` if unknown or for one draw.
        sigma: Standard deviation σ by which a radius is divided to get ρ/σ: the first of ``stdevs`` above zero.
        seed: The seed of all draws; ``None`` if the seed is unknown or there are several.
        draws: Ranges ((start, stop), …) of the draws of every example; ``None`` if unknown.

    Example:
        >>> counts = torch.tensor([[90, 50, 10]])
        >>> smoothed_map = SmoothedMap.from_counts(counts, n_samples=100, stdevs=0.2)
        >>> smoothed_map.mean
        tensor([[0.9000, 0.5000, 0.1000]], dtype=torch.float64)
    """

    def __repr__(self) -> str:
        draws = sorted({int(q) for q in self.n_samples})
        kind = "0/1 map" if self.binary else "map"
        return (
            f"SmoothedMap({kind} of {len(self)} × {self.layout.n_features} features, "
            f"{'–'.join(str(q) for q in (draws[0], draws[-1])[: len(draws)])} draws, stdevs={self.stdevs})"
        )

    # -- made from numbers ---------------------------------------------------------------------------------

    @classmethod
    def from_counts(
        cls,
        counts: Maps,
        n_samples: int | Tensor,
        stdevs: float | tuple[float, ...],
        max_squared_norm: float | None = None,
        covariance: CovarianceSummary | None = None,
    ) -> "SmoothedMap":
        """Make a map of unknown provenance from the counts of your own 0/1 draws.

        Args:
            counts: How often each entry was 1, integers of shape (N, …), or a tuple of such tensors.
            n_samples: Number of draws, one for all examples or shape (N,).
            stdevs: Standard deviation of the noise, in the units of the input.
            max_squared_norm: The largest number of ones in any draw, if known.
            covariance: Summary of the draws' covariance, if known.

        Raises:
            InvalidInputError: ``counts`` are not integers in [0, n_samples], or another argument is malformed.

        Example:
            >>> SmoothedMap.from_counts(torch.tensor([[3, 0]]), n_samples=4, stdevs=0.1).features
            tensor([[0.7500, 0.0000]], dtype=torch.float64)
        """
        columns, tensors = checked_columns("counts", counts, torch.int64)
        samples = checked_samples("n_samples", n_samples, len(columns))
        if any(t.is_floating_point() or t.is_complex() or t.dtype == torch.bool for t in tensors):
            raise InvalidInputError(f"Expected `counts` of an integer dtype, got {tensors[0].dtype}.")
        if bool((columns < 0).any()) or bool((columns > samples.unsqueeze(1)).any()):
            raise InvalidInputError(
                f"Expected `counts` between 0 and `n_samples`, got {int(columns.min())} to {int(columns.max())}."
            )
        return cls(
            FeatureLayout.of(tensors, is_tuple=isinstance(counts, tuple), rows=len(columns)),
            samples,
            checked_stdevs(stdevs),
            feature_counts=columns,
            max_squared_norm=checked_norm(max_squared_norm),
            covariance=covariance,
        )

    @classmethod
    def from_mean(
        cls,
        mean: Maps,
        n_samples: int | Tensor,
        stdevs: float | tuple[float, ...],
        second_moment: Maps | None = None,
        max_squared_norm: float | None = None,
        trace: Tensor | None = None,
        covariance: CovarianceSummary | None = None,
    ) -> "SmoothedMap":
        """Make a map of unknown provenance from the mean of your own draws in [0, 1].

        Every entry of *every* draw must lie in [0, 1], because all certificates rest on this. Statistics that are
        impossible for such draws raise an error: means outside [0, 1], mean squares above the means, or a trace or
        eigenvalue that is too large. The statistics do not show every violation: draws of −2 and 3 can have a mean of
        ½. So it remains your task to make sure that all draws lie in [0, 1]. Take magnitudes of signed draws. Divide
        every draw by the largest possible value, not by the largest value that occurred.

        Args:
            mean: Mean of the draws, shape (N, …), or a tuple of such tensors.
            n_samples: Number of draws, one for all examples or shape (N,).
            stdevs: Standard deviation of the noise, in the units of the input.
            second_moment: Mean square of the draws, structured like ``mean``. Most draws outside [0, 1] are detected
                from it.
            max_squared_norm: A bound on ‖f‖² that holds in every draw, if known.
            trace: Trace of the unbiased sample covariance, shape (N,); computed from ``second_moment`` by default.
            covariance: Summary of the draws' covariance, if known.

        Raises:
            InvalidInputError: An argument is malformed, or draws in [0, 1] cannot have these statistics.

        Example:
            >>> SmoothedMap.from_mean(torch.tensor([[0.7, 0.2]]), n_samples=50, stdevs=0.1).binary
            False
        """
        columns, tensors = checked_columns("mean", mean, torch.float64)
        columns = checked_unit_mean(columns)
        samples = checked_samples("n_samples", n_samples, len(columns))
        squares = None
        if second_moment is not None:
            squares, _ = checked_columns("second_moment", second_moment, torch.float64)
            squares = checked_unit_second_moment(squares, columns)
        if covariance is not None:
            check_unit_eigenvalue(covariance.top_eigenvalue, columns.shape[1])
        return cls(
            FeatureLayout.of(tensors, is_tuple=isinstance(mean, tuple), rows=len(columns)),
            samples,
            checked_stdevs(stdevs),
            feature_mean=columns,
            second_moment=squares,
            max_squared_norm=checked_norm(max_squared_norm),
            given_trace=None if trace is None else checked_unit_trace(trace, columns, squares, samples),
            covariance=covariance,
        )

    def as_if_of(self, nt_samples: int) -> "SmoothedMap":
        """Return the map that ``nt_samples`` draws would give if the present means were exact.

        The map is for forecasts: its provenance is unknown, and its certificates are not valid.
        """
        samples = checked_samples("nt_samples", nt_samples, len(self))
        counts = None if self.feature_counts is None else _rounded(self.features, samples, self.max_squared_norm)
        covariance = self.covariance
        if covariance is not None:
            covariance = replace(covariance, pairs=(covariance.pairs * samples / self.n_samples).floor().clamp_min(1))
        return replace(
            self,
            n_samples=samples,
            feature_counts=counts,
            covariance=covariance,
            given_trace=self.trace,
            provenance=None,
            regions={},
        )

    # -- more draws, more rows -----------------------------------------------------------------------------

    def merge(self, other: "SmoothedMap", *, assume_independent: bool = False) -> "SmoothedMap":
        """Return the map of the draws of this map and of another.

        The number of draws must be fixed before looking at the result. It is unsound to merge more draws until a
        certificate holds, because each attempt may fail with the whole error probability. ``Certifier.certify`` with
        ``overlap`` adds draws soundly. The map of such a sequential run cannot be merged with other maps.

        Args:
            other: A map of other draws of the same explanation at the same inputs.
            assume_independent: Accept maps whose draws are unknown, and assume that their draws are distinct.

        Raises:
            InvalidInputError: The maps share draws, or their draws are unknown. Or their settings, shapes, noise, plain
                maps or probe draws differ. Or one of the maps is from a sequential run.

        Example:
            >>> one = SmoothedMap.from_counts(torch.tensor([[3, 0]]), n_samples=4, stdevs=0.1)
            >>> one.merge(one, assume_independent=True).n_samples
            tensor([8])
        """
        return merged(self, other, assume_independent=assume_independent)

    @staticmethod
    def stack(maps: "Sequence[SmoothedMap]") -> "SmoothedMap":
        """Return the map of the examples of one or more maps of the same explanation, one after another.

        Raises:
            InvalidInputError: ``maps`` is empty, or settings, shapes or noise of the maps differ.

        Example:
            >>> one = SmoothedMap.from_counts(torch.tensor([[3, 0]]), n_samples=4, stdevs=0.1)
            >>> len(SmoothedMap.stack([one, one, one]))
            3
        """
        return stacked(maps)

    # -- on disk -------------------------------------------------------------------------------------------

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the map to a file as a compressed npz archive, whole or not at all."""
        header, arrays = parts_of(self)
        write_archive(path, kind=_KIND, header=header, arrays=arrays)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "SmoothedMap":
        """Read a map from a file that :meth:`save` wrote; nothing in the file is executed.

        Raises:
            FileFormatError: The file is corrupt, truncated, or of a newer version.
            OSError: The file cannot be opened.
        """
        header, arrays = read_archive(path, kind=_KIND)
        return from_parts(cls, header, arrays)


def _rounded(mean: Tensor, samples: Tensor, most_ones: float | None) -> Tensor:
    """Round ``mean · samples`` to counts that are possible if every draw has at most ``most_ones`` ones.

    If rounding makes the sum of a row too large, the counts that were rounded up most are lowered by one. If the sum is
    already too large before rounding, the counts are only rounded.
    """
    exact = mean * samples.unsqueeze(1)
    counts = exact.round()
    if most_ones is not None:
        most = most_ones * samples
        excess = (counts.sum(dim=1) - most.floor()).clamp(0, counts.shape[1]).long() * (exact.sum(dim=1) <= most + 0.5)
        for row in torch.nonzero(excess)[:, 0].tolist():
            raised = (counts[row] - exact[row]).topk(int(excess[row])).indices
            counts[row, raised] -= 1
    return counts.long()
