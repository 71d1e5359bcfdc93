"""Combine maps: merge draws, stack and select examples, and compare the explanations of two maps."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

import torch
from torch import Tensor

from captum_certified.exceptions import InvalidInputError
from captum_certified.maps.covariance import CovarianceSummary
from captum_certified.maps.map_data import MapData
from captum_certified.maps.provenance import joined_draws, merged_setup, setup_of_rows, stacked_setup
from captum_certified.maps.regions import merged_regions, regions_of_rows, stacked_regions

__all__ = ["difference_in_limits", "merged", "same_behaviour", "select_rows", "stacked"]

Map = TypeVar("Map", bound=MapData)

# Two maps count as equal if each row differs by at most 0.1 %. The arithmetic of two machines may differ that much.
_TOLERANCE = 1e-3
_BEHAVIOUR = {"plain": "plain maps", "probe": "probe draws"}


def merged(one: Map, two: Map, *, assume_independent: bool) -> Map:
    """Return the map of all draws of two maps; see :meth:`~captum_certified.SmoothedMap.merge`."""
    _check_compatible(one, two)
    if len(one) != len(two):
        raise InvalidInputError(f"Expected maps of the same examples, got {len(one)} and {len(two)} rows.")
    if any(looks is not None and bool((looks > 0).any()) for looks in (one.looks, two.looks)):
        raise InvalidInputError(
            "Expected maps whose numbers of draws were fixed beforehand, got one of a sequential run, whose draws "
            "decided when it ended; repeat the run with a larger `nt_samples`."
        )
    provenance = None
    if one.provenance is not None and two.provenance is not None:
        provenance = joined_draws(one.provenance, two.provenance)
    elif not assume_independent:
        raise InvalidInputError(
            "Expected maps whose draws are known, got one made from numbers; "
            "pass `assume_independent=True` if its draws are distinct from the other map's."
        )
    setup = merged_setup(one.setup, two.setup)
    _check_same_behaviour(one, two, assume=assume_independent)
    samples = one.n_samples + two.n_samples

    def averaged(a: Tensor | None, b: Tensor | None) -> Tensor | None:
        if a is None or b is None:
            return None
        weights = (one.n_samples.double() / samples).unsqueeze(1)
        return a + (1 - weights) * (b - a)

    counts = None
    if one.feature_counts is not None and two.feature_counts is not None:
        counts = one.feature_counts + two.feature_counts
    return replace(
        one,
        n_samples=samples,
        feature_counts=counts,
        feature_mean=averaged(one.features, two.features) if counts is None else None,
        second_moment=averaged(one.second_moment, two.second_moment),
        given_trace=_merged_trace(one, two),
        covariance=_merged_covariance(one, two),
        regions=merged_regions(one.regions, two.regions),
        provenance=provenance,
        setup=setup,
        class_votes=_merged_votes(one, two),
    )


def stacked(maps: Sequence[Map]) -> Map:
    """Return the map of all examples of several maps; see :meth:`~captum_certified.SmoothedMap.stack`."""
    if not maps:
        raise InvalidInputError("Expected at least one map in `maps`, got none.")
    first, setup, layout, rows = maps[0], maps[0].setup, maps[0].layout, len(maps[0])
    for other in maps[1:]:
        _check_compatible(first, other, same_groups=False)
        setup = stacked_setup(setup, other.setup)
        layout = layout.stack(rows, other.layout, len(other))
        rows += len(other)

    def joined(name: str) -> Tensor | None:
        tables = [getattr(m, name) for m in maps]
        return None if any(table is None for table in tables) else torch.cat(tables)

    covariances = [m.covariance for m in maps if m.covariance is not None]
    looks = [torch.zeros_like(m.n_samples) if m.looks is None else m.looks for m in maps]
    provenances = [m.provenance for m in maps if m.provenance is not None]
    return replace(
        first,
        layout=layout,
        n_samples=torch.cat([m.n_samples for m in maps]),
        feature_counts=joined("feature_counts"),
        feature_mean=joined("feature_mean"),
        second_moment=joined("second_moment"),
        plain=joined("plain"),
        probe=joined("probe"),
        reference=joined("reference"),
        brightness=joined("brightness"),
        randomised=joined("randomised"),
        class_votes=joined("class_votes"),
        given_trace=joined("trace") if any(m.given_trace is not None for m in maps) else None,
        covariance=CovarianceSummary.stack(covariances) if len(covariances) == len(maps) else None,
        regions=stacked_regions([(m.regions, len(m)) for m in maps]),
        provenance=tuple(row for rows in provenances for row in rows) if len(provenances) == len(maps) else None,
        setup=setup,
        looks=torch.cat(looks) if any(m.looks is not None for m in maps) else None,
    )


def select_rows(smoothed_map: Map, rows: Tensor) -> Map:
    """Return the map of the examples with the numbers ``rows``, in this order.

    Example:
        >>> import torch
        >>> from captum_certified import SmoothedMap
        >>> smoothed_map = SmoothedMap.from_counts(torch.tensor([[3, 0], [1, 2]]), n_samples=4, stdevs=0.1)
        >>> select_rows(smoothed_map, torch.tensor([1])).counts
        tensor([[1, 2]])
    """
    covariance, provenance = smoothed_map.covariance, smoothed_map.provenance

    def chosen(table: Tensor | None) -> Tensor | None:
        return None if table is None else table[rows]

    return replace(
        smoothed_map,
        n_samples=smoothed_map.n_samples[rows],
        feature_counts=chosen(smoothed_map.feature_counts),
        feature_mean=chosen(smoothed_map.feature_mean),
        second_moment=chosen(smoothed_map.second_moment),
        given_trace=chosen(smoothed_map.given_trace),
        plain=chosen(smoothed_map.plain),
        probe=chosen(smoothed_map.probe),
        looks=chosen(smoothed_map.looks),
        reference=chosen(smoothed_map.reference),
        brightness=chosen(smoothed_map.brightness),
        randomised=chosen(smoothed_map.randomised),
        class_votes=chosen(smoothed_map.class_votes),
        layout=smoothed_map.layout.of_rows(rows),
        covariance=covariance and CovarianceSummary(**{name: v[rows] for name, v in covariance.parts().items()}),
        regions=regions_of_rows(smoothed_map.regions, rows),
        provenance=provenance and tuple(provenance[row] for row in rows.tolist()),
        setup=setup_of_rows(smoothed_map.setup, rows.tolist()),
    )


def difference_in_limits(one: Tensor, two: Tensor) -> Tensor:
    """Compute how much each row of two maps differs, in multiples of the tolerance for differences in arithmetic.

    The tolerance is 0.1 % of the sum of the row in ``one``. For a 0/1 map it is rounded up to a whole number.

    Args:
        one: Shape (rows, n), bool or non-negative.
        two: Another map of this shape.

    Returns:
        The sum of increases or of decreases, whichever is larger, divided by the tolerance; float64, shape (rows,).
    """
    if one.dtype == two.dtype == torch.bool:
        decrease, increase = (one & ~two).sum(dim=1).double(), (two & ~one).sum(dim=1).double()
        tolerance = (_TOLERANCE * one.sum(dim=1).double()).ceil()
    else:
        difference = one.double() - two.double()
        decrease, increase = difference.clamp_min(0).sum(dim=1), (-difference).clamp_min(0).sum(dim=1)
        tolerance = _TOLERANCE * one.double().sum(dim=1)
    change = torch.maximum(decrease, increase)
    return torch.where(change > 0, change / tolerance, change)


def same_behaviour(one: Tensor, two: Tensor) -> bool:
    """Return whether two maps of the same inputs are equal up to the tolerance for differences in arithmetic."""
    return one.shape == two.shape and bool((difference_in_limits(one, two) <= 1).all())


def _check_compatible(one: MapData, two: MapData, *, same_groups: bool = True) -> None:
    """Raise an InvalidInputError if two maps differ in shape, noise, kind, or groups."""
    if one.layout.shapes != two.layout.shapes or one.layout.is_tuple != two.layout.is_tuple:
        raise InvalidInputError(f"Expected maps of the same shapes, got {one.layout.shapes} and {two.layout.shapes}.")
    if same_groups and not one.layout.same_as(two.layout):
        raise InvalidInputError("Expected maps with the same `groups`, got different ones.")
    for name in ("stdevs", "binary", "max_squared_norm"):
        if getattr(one, name) != getattr(two, name):
            raise InvalidInputError(
                f"Expected maps of the same {name}, got {getattr(one, name)} and {getattr(two, name)}."
            )


def _check_same_behaviour(one: MapData, two: MapData, *, assume: bool) -> None:
    """Raise an InvalidInputError if the plain maps or the probe draws of two maps differ.

    Unknown plain maps or probe draws raise an error too, unless ``assume`` is true.
    """
    for name, what in _BEHAVIOUR.items():
        first, second = getattr(one, name), getattr(two, name)
        if first is not None and second is not None:
            if not same_behaviour(first, second):
                raise InvalidInputError(
                    f"Expected maps of one explanation, got maps of equal settings whose {what} differ: their "
                    "models, or functions among their arguments, are different."
                )
        elif not assume and (one.setup or two.setup):
            raise InvalidInputError(
                f"Expected maps whose {what} are known, got one without, which an earlier version made; pass "
                "`assume_independent=True` if both maps have the same explanation and distinct draws."
            )


def _merged_covariance(one: MapData, two: MapData) -> CovarianceSummary | None:
    """Return the covariance summary of the blocks of both maps, or ``None`` if a summary is missing.

    A map of one draw needs no summary. If one of the maps has one draw, the result is the summary of the other map.
    """
    if one.covariance is not None and two.covariance is not None:
        return one.covariance.merge(two.covariance)
    if bool((two.n_samples == 1).all()):
        return one.covariance
    return two.covariance if bool((one.n_samples == 1).all()) else None


def _merged_votes(one: MapData, two: MapData) -> Tensor | None:
    """Return the class votes of the map with the earlier draws. The order of merging then does not matter.

    The class votes of a map count how many noisy copies keep the predicted class. The votes of two maps cannot be
    added, because two maps with the same seed count the same noisy copies.
    """
    if one.class_votes is None or two.class_votes is None or one.provenance is None or two.provenance is None:
        return one.class_votes if two.class_votes is None else two.class_votes
    return min((one.provenance, one.class_votes), (two.provenance, two.class_votes), key=lambda pair: pair[0])[1]


def _merged_trace(one: MapData, two: MapData) -> Tensor | None:
    """Return the trace of all draws, or ``None`` if neither map was given one: the merged moments then give it."""
    if one.given_trace is None and two.given_trace is None:
        return None
    first, second = one.trace, two.trace
    if first is None or second is None:
        return None
    q1, q2 = one.n_samples.double(), two.n_samples.double()
    between = (one.features - two.features).square().sum(1)
    return ((q1 - 1) * first + (q2 - 1) * second + q1 * q2 / (q1 + q2) * between) / (q1 + q2 - 1)
