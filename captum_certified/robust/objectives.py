"""What an attack drives up: a number D for every map, larger where less is left of the explanation."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from captum_certified.exceptions import InvalidInputError
from captum_certified.maps import FeatureLayout, region_masks

__all__ = ["Clean", "Objective", "Reference", "check_objective", "objective_named", "shares_of"]

_TINY = 1e-12  # a share of which nothing can be left

Reference = Tensor | tuple[Tensor, ...] | None


class Objective(Protocol):
    """D, to be driven up; maps are shares: magnitudes scaled to sum 1."""

    def __call__(self, shares: Tensor, rows: Tensor) -> Tensor:
        """D of maps of shape (R, n), which belong to examples ``rows``; shape (R,)."""


@dataclass(frozen=True, eq=False, repr=False)
class Clean:
    """The explanation at the clean inputs.

    Args:
        shares: Its magnitudes scaled to sum 1, shape (N, n).
        members: Its top K, shape (N, n).
        layout: How the features are laid out in the map.
    """

    shares: Tensor
    members: Tensor
    layout: FeatureLayout


@dataclass(frozen=True, eq=False, repr=False)
class _TopK:
    """Algorithm 1: minus the logarithm of the saliency that the features of the clean top K keep.

    The order of maps is that of the saliency itself, but steps do not shrink with what is left of it: Algorithm 1
    fixes their scale at the start.
    """

    members: Tensor

    def __call__(self, shares: Tensor, rows: Tensor) -> Tensor:
        return -(shares * self.members[rows]).sum(dim=1).clamp_min(_TINY).log()


@dataclass(frozen=True, eq=False, repr=False)
class _MassCenter:
    """Squared distance of the centre of mass from the clean one (Ghorbani et al., 2019)."""

    positions: Tensor
    center: Tensor

    def __call__(self, shares: Tensor, rows: Tensor) -> Tensor:
        return (_mass_center(shares, self.positions[rows]) - self.center[rows]).square().sum(dim=1)


@dataclass(frozen=True, eq=False, repr=False)
class _Region:
    """The share of the saliency that is in a region (the targeted attack of Ghorbani et al., 2019)."""

    mask: Tensor

    def __call__(self, shares: Tensor, rows: Tensor) -> Tensor:
        return (shares * self.mask[rows]).sum(dim=1)


@dataclass(frozen=True, eq=False, repr=False)
class _Manipulate:
    """Minus the squared distance from a map of the attacker's choice (Dombrowski et al., 2019)."""

    reference: Tensor

    def __call__(self, shares: Tensor, rows: Tensor) -> Tensor:
        return -(shares - self.reference[rows]).square().sum(dim=1)


def objective_named(name: str, clean: Clean, reference: Reference) -> Objective:
    """The objective ``name`` for the clean explanations of N examples.

    Args:
        name: ``"top_k"``, ``"mass_center"``, ``"region"``, ``"manipulate"``, or ``"random"``, which is measured as
            ``"top_k"`` is.
        clean: The clean explanations.
        reference: For ``"region"`` a boolean mask, for ``"manipulate"`` a map; structured like the explanation,
            with first dimension 1 or N. Nothing for the others.

    Raises:
        InvalidInputError: There is no such objective, or the reference does not fit it.
    """
    check_objective(name)
    if reference is None and name in _NEEDS_REFERENCE:
        raise InvalidInputError(f"Expected `reference` for the objective {name!r}: {_NEEDS_REFERENCE[name]}, got None.")
    if reference is not None and name not in _NEEDS_REFERENCE:
        raise InvalidInputError(f"Expected no `reference` for the objective {name!r}, got one.")
    return _OBJECTIVES[name](clean, reference)


def check_objective(name: str) -> None:
    """Refuse unknown objectives.

    Raises:
        InvalidInputError: There is no such objective.
    """
    if name not in _OBJECTIVES:
        raise InvalidInputError(f"Expected `objective` to be one of {sorted(_OBJECTIVES)}, got {name!r}.")


def _top_k(clean: Clean, reference: Reference) -> Objective:  # noqa: ARG001
    return _TopK(clean.members)


def _to_mass_center(clean: Clean, reference: Reference) -> Objective:  # noqa: ARG001
    positions = _positions(clean.layout, len(clean.shares)).to(clean.shares)
    return _MassCenter(positions, _mass_center(clean.shares, positions))


def _to_region(clean: Clean, reference: Reference) -> Objective:
    if not isinstance(reference, (Tensor, tuple)):
        raise InvalidInputError(f"Expected `reference` to be one bool mask, got {type(reference).__name__}.")
    [mask] = region_masks(reference, clean.layout, len(clean.shares)).values()
    return _Region(mask.expand(len(clean.shares), -1).to(clean.shares.device))


def _to_manipulate(clean: Clean, reference: Reference) -> Objective:
    rows = len(clean.shares)
    maps = reference if isinstance(reference, tuple) else (reference,)
    expected = [(rows, *shape) for shape in clean.layout.shapes]
    try:
        whole = [torch.as_tensor(m).expand(shape) for m, shape in zip(maps, expected, strict=True)]
    except (RuntimeError, ValueError, TypeError) as error:
        got = [tuple(getattr(m, "shape", ())) for m in maps]
        raise InvalidInputError(f"Expected `reference` of shapes {expected}, got {got}.") from error
    features = clean.layout.group_means([m.to(clean.shares) for m in whole])
    if not bool(torch.isfinite(features).all()):
        raise InvalidInputError("Expected `reference` to be finite, got NaN or infinity.")
    return _Manipulate(shares_of(features))


_OBJECTIVES: dict[str, Callable[[Clean, Reference], Objective]] = {
    "top_k": _top_k,
    "random": _top_k,
    "mass_center": _to_mass_center,
    "region": _to_region,
    "manipulate": _to_manipulate,
}
_NEEDS_REFERENCE = {"region": "a boolean mask of the region", "manipulate": "the map to imitate"}


def shares_of(features: Tensor) -> Tensor:
    """Magnitudes over their sum; an all-zero row stays.

    Not over their maximum: then the attack would spend itself on driving a single feature up.
    """
    total = features.sum(dim=1, keepdim=True)
    return features / torch.where(total > 0, total, torch.ones_like(total))


def _positions(layout: FeatureLayout, rows: int) -> Tensor:
    """The coordinates of every feature, shape (rows, n, axes), of a group their mean.

    Channels, the first of three axes or more, have none.
    """
    if len(layout.shapes) != 1:
        raise InvalidInputError(
            f"Expected a map of one tensor for the objective 'mass_center', got {len(layout.shapes)}."
        )
    [shape] = layout.shapes
    axes = shape[1:] if len(shape) > 2 else shape
    grid = torch.meshgrid(*(torch.arange(s, dtype=torch.float64, device="cpu") for s in axes), indexing="ij")
    return torch.stack([layout.group_means([axis.expand(rows, *shape)]) for axis in grid], dim=-1)


def _mass_center(shares: Tensor, positions: Tensor) -> Tensor:
    """Centres of mass, shape (R, axes); an all-zero map has its geometric centre."""
    centers = torch.einsum("rn,rna->ra", shares, positions)
    return torch.where(shares.any(dim=1, keepdim=True), centers, positions.mean(dim=1))
