"""The objectives of attacks. An objective computes a number D from every map. The attack maximises D."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from captum_certified.exceptions import InvalidInputError
from captum_certified.maps import FeatureLayout
from captum_certified.maps.regions import feature_mask

__all__ = ["CleanMaps", "Objective", "Reference", "check_objective", "objective_named", "shares_of"]

_TINY = 1e-12  # keeps the logarithm finite if the fraction is 0

Reference = Tensor | tuple[Tensor, ...] | None
# A function D that an attack maximises. The first argument has the magnitudes of R maps, shape (R, n). The second
# argument has, for each map, the index of its example, shape (R,). The result has shape (R,).
Objective = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True, eq=False, repr=False)
class CleanMaps:
    """The maps at the clean inputs.

    Args:
        magnitudes: The magnitudes of the features, shape (N, n).
        top_k: Which features are in the top K, shape (N, n).
        layout: The layout of the features in the map.
    """

    magnitudes: Tensor
    top_k: Tensor
    layout: FeatureLayout

    @property
    def shares(self) -> Tensor:
        """The magnitudes scaled to sum 1, shape (N, n)."""
        return shares_of(self.magnitudes)

    def reference_set(self, reference: Reference) -> Tensor:
        """Return the features that a mask marks, shape (N, n), or raise an InvalidInputError if it is invalid."""
        if not isinstance(reference, (Tensor, tuple)):
            raise InvalidInputError(f"Expected `reference` to be one bool mask, got {type(reference).__name__}.")
        marked = feature_mask(reference, self.layout, len(self.magnitudes), name="reference")
        return marked.expand(len(self.magnitudes), -1).to(self.magnitudes.device)


def objective_named(name: str, clean: CleanMaps, reference: Reference) -> Objective:
    """Return the objective ``name`` for N examples.

    Args:
        name: ``"top_k"``, ``"reference"``, ``"mass_center"``, ``"region"``, ``"manipulate"`` or ``"sensitivity"``;
            ``"random"`` is the same as ``"top_k"``.
        clean: The clean maps.
        reference: A boolean mask for ``"reference"`` and ``"region"``, or a map for ``"manipulate"``. It is structured
            like the explanation, with first dimension 1 or N. ``None`` for other objectives.

    Raises:
        InvalidInputError: ``name`` is not an objective, or the reference does not fit the objective.
    """
    check_objective(name)
    if reference is None and name in _NEEDS_REFERENCE:
        raise InvalidInputError(f"Expected `reference` for the objective {name!r}: {_NEEDS_REFERENCE[name]}, got None.")
    if reference is not None and name not in _NEEDS_REFERENCE:
        raise InvalidInputError(f"Expected no `reference` for the objective {name!r}, got one.")
    objective = _OBJECTIVES[name](clean, reference)
    if name in _OF_MAGNITUDES:
        return objective
    return lambda magnitudes, rows: objective(shares_of(magnitudes), rows)


def check_objective(name: str) -> None:
    """Refuse unknown objectives.

    Raises:
        InvalidInputError: ``name`` is not an objective.
    """
    if name not in _OBJECTIVES:
        raise InvalidInputError(f"Expected `objective` to be one of {sorted(_OBJECTIVES)}, got {name!r}.")


def _top_k(clean: CleanMaps, reference: Reference) -> Objective:  # noqa: ARG001
    """Return the objective of Algorithm 1: minus the logarithm of the saliency fraction inside the clean top K.

    The logarithm does not change which maps are better for the attack. Without it, the gradient would shrink together
    with the fraction. The steps would then shrink too, because Algorithm 1 sets the ratio of step to gradient only
    once, at the start.
    """
    return _away_from(clean.top_k)


def _reference(clean: CleanMaps, reference: Reference) -> Objective:
    """Return the objective of Algorithm 1 with a reference set in place of the clean top K."""
    return _away_from(clean.reference_set(reference))


def _away_from(members: Tensor) -> Objective:
    return lambda shares, rows: -(shares * members[rows]).sum(dim=1).clamp_min(_TINY).log()


def _mass_center(clean: CleanMaps, reference: Reference) -> Objective:  # noqa: ARG001
    """Return the objective that is the squared distance from the clean centre of mass (Ghorbani et al., 2019)."""
    positions = _positions(clean.layout, len(clean.shares)).to(clean.shares)
    center = _mass_centers(clean.shares, positions)
    return lambda shares, rows: (_mass_centers(shares, positions[rows]) - center[rows]).square().sum(dim=1)


def _region(clean: CleanMaps, reference: Reference) -> Objective:
    """Return the objective that is the saliency fraction inside a region (targeted attack, Ghorbani et al., 2019)."""
    mask = clean.reference_set(reference)
    return lambda shares, rows: (shares * mask[rows]).sum(dim=1)


def _manipulate(clean: CleanMaps, reference: Reference) -> Objective:
    """Return the objective that is minus the squared distance from the map ``reference`` (Dombrowski et al., 2019)."""
    maps = reference if isinstance(reference, tuple) else (reference,)
    expected = [(len(clean.shares), *shape) for shape in clean.layout.shapes]
    try:
        whole = [torch.as_tensor(m).expand(shape) for m, shape in zip(maps, expected, strict=True)]
    except (RuntimeError, ValueError, TypeError) as error:
        got = [tuple(getattr(m, "shape", ())) for m in maps]
        raise InvalidInputError(f"Expected `reference` of shapes {expected}, got {got}.") from error
    features = clean.layout.group_means([m.to(clean.shares) for m in whole])
    if not bool(torch.isfinite(features).all()):
        raise InvalidInputError("Expected `reference` to be finite, got NaN or infinity.")
    wanted = shares_of(features)
    return lambda shares, rows: -(shares - wanted[rows]).square().sum(dim=1)


def _sensitivity(clean: CleanMaps, reference: Reference) -> Objective:  # noqa: ARG001
    """Return the objective that is the squared relative change of the map in the L2 norm.

    The change is that of ``captum.metrics.sensitivity_max``. As there, the change of an all-zero map is not divided.
    The square does not change the order of maps, and its gradient is finite where the change is zero.
    """
    norms = clean.magnitudes.square().sum(dim=1)
    norms = torch.where(norms > 0, norms, torch.ones_like(norms))
    return lambda magnitudes, rows: (magnitudes - clean.magnitudes[rows]).square().sum(dim=1) / norms[rows]


# Each of these functions returns an objective of shares, except those named in ``_OF_MAGNITUDES``.
_OBJECTIVES: dict[str, Callable[[CleanMaps, Reference], Objective]] = {
    "top_k": _top_k,
    "random": _top_k,
    "reference": _reference,
    "mass_center": _mass_center,
    "region": _region,
    "manipulate": _manipulate,
    "sensitivity": _sensitivity,
}
_OF_MAGNITUDES = frozenset({"sensitivity"})
_NEEDS_REFERENCE = {
    "reference": "a boolean mask of the reference set",
    "region": "a boolean mask of the region",
    "manipulate": "the map to imitate",
}


def shares_of(features: Tensor) -> Tensor:
    """Scale the magnitudes of every map so that their sum is 1. An all-zero map stays zero.

    If the magnitudes were divided by their maximum instead, an attack could succeed by raising a single feature.
    """
    total = features.sum(dim=1, keepdim=True)
    return features / torch.where(total > 0, total, torch.ones_like(total))


def _positions(layout: FeatureLayout, rows: int) -> Tensor:
    """Compute the coordinates of every feature, shape (rows, n, axes). A group gets the mean over its entries.

    If one example has three or more axes, the first axis holds channels and gives no coordinate.
    """
    if len(layout.shapes) != 1:
        raise InvalidInputError(
            f"Expected a map of one tensor for the objective 'mass_center', got {len(layout.shapes)}."
        )
    [shape] = layout.shapes
    axes = shape[1:] if len(shape) > 2 else shape
    grid = torch.meshgrid(*(torch.arange(s, dtype=torch.float64, device="cpu") for s in axes), indexing="ij")
    return torch.stack([layout.group_means([axis.expand(rows, *shape)]) for axis in grid], dim=-1)


def _mass_centers(shares: Tensor, positions: Tensor) -> Tensor:
    """Compute the centres of mass, shape (R, axes). An all-zero map gets the mean position of its features."""
    centers = torch.einsum("rn,rna->ra", shares, positions)
    return torch.where(shares.any(dim=1, keepdim=True), centers, positions.mean(dim=1))
