"""The bounds by name, and the best bound for a map."""

from captum_certified.certify.bounds.intervals import INTERVAL_BOUNDS, Bound, IntervalBound, Theorem2Bound
from captum_certified.certify.bounds.spectral import BestBound, SpectralBound
from captum_certified.exceptions import CertificationError, InvalidInputError
from captum_certified.maps import SmoothedMap

__all__ = ["BEST", "BOUNDS", "bound_named", "interval_bound_of"]

BEST = "best"

_ALL: tuple[Bound, ...] = (*INTERVAL_BOUNDS, SpectralBound(), Theorem2Bound())
BOUNDS = {bound.name: bound for bound in _ALL}


def bound_named(name: str, smoothed_map: SmoothedMap) -> Bound:
    """Return the bound of the given name, after checking that it applies to the map.

    ``"best"`` is S4 (the better of two bounds) if the spectral bound and an interval bound apply. Otherwise ``"best"``
    is the first bound that applies.

    Raises:
        InvalidInputError: No bound has that name.
        CertificationError: The bound does not apply to the map.
    """
    if name == BEST:
        return _best(smoothed_map)
    if name not in BOUNDS:
        raise InvalidInputError(f"Expected `bound` to be one of {[BEST, *BOUNDS]}, got {name!r}.")
    refusal = BOUNDS[name].refusal(smoothed_map)
    if refusal is not None:
        raise CertificationError(f"Expected {refusal}; `bound`={name!r} does not apply.")
    return BOUNDS[name]


def interval_bound_of(bound: Bound) -> IntervalBound:
    """Return the interval bound that proves statements about maps of fresh draws.

    Raises:
        InvalidInputError: The bound does not rest on intervals.
    """
    if isinstance(bound, BestBound):
        return bound.interval_bound
    if not isinstance(bound, IntervalBound):
        raise InvalidInputError(f"Expected a `bound` from intervals for `fresh_draws`, got {bound.name!r}.")
    return bound


def _best(smoothed_map: SmoothedMap) -> Bound:
    refusals = [bound.refusal(smoothed_map) for bound in INTERVAL_BOUNDS]
    best = next((bound for bound, refusal in zip(INTERVAL_BOUNDS, refusals, strict=True) if refusal is None), None)
    spectral = SpectralBound()
    if spectral.refusal(smoothed_map) is None:
        return spectral if best is None else BestBound(best)
    if best is None:
        raise CertificationError(f"Expected {refusals[-1]}; no bound applies.")
    return best
