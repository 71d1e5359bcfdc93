"""The bounds by name."""

from captum_certified.certify.bounds.intervals import BOXES, Bound, BoxBound, Theorem2Bound
from captum_certified.certify.bounds.spectral import BestBound, SpectralBound
from captum_certified.exceptions import CertificationError, InvalidInputError
from captum_certified.maps import SmoothedMap

__all__ = ["BEST", "BOUNDS", "bound_named", "box_of"]

BEST = "best"

_ALL: tuple[Bound, ...] = (*BOXES, SpectralBound(), Theorem2Bound())
BOUNDS = {bound.name: bound for bound in _ALL}


def bound_named(name: str, smoothed_map: SmoothedMap) -> Bound:
    """The bound of that name; for ``"best"`` S4 where the map has a covariance, else the sharpest box for its kind.

    Raises:
        InvalidInputError: There is no bound of that name.
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


def box_of(bound: Bound) -> BoxBound:
    """The intervals of a bound, for statements about freshly sampled maps.

    Raises:
        InvalidInputError: It has none.
    """
    if isinstance(bound, BestBound):
        return bound.box
    if not isinstance(bound, BoxBound):
        raise InvalidInputError(f"Expected a `bound` from intervals for `fresh_draws`, got {bound.name!r}.")
    return bound


def _best(smoothed_map: SmoothedMap) -> Bound:
    refusals = [box.refusal(smoothed_map) for box in BOXES]
    box = next((box for box, refusal in zip(BOXES, refusals, strict=True) if refusal is None), None)
    spectral = SpectralBound()
    if spectral.refusal(smoothed_map) is None:
        return spectral if box is None else BestBound(box)
    if box is None:
        raise CertificationError(f"Expected {refusals[-1]}; no bound applies.")
    return box
