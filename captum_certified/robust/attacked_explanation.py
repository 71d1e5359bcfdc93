"""The explanation under attack: the objective D, the gradient of D, and the overlap with the clean top K."""

import contextlib

import torch
from torch import Tensor

from captum_certified.attr import SmoothedAttribution
from captum_certified.attr.memory import is_out_of_memory
from captum_certified.checks import resolved_count
from captum_certified.exceptions import CertificationError
from captum_certified.maps import FeatureLayout
from captum_certified.robust.objectives import CleanMaps, Reference, objective_named
from captum_certified.robust.point_explainer import PointExplainer
from captum_certified.robust.surrogate import AUTO, ReLUMode, Surrogate, SurrogateBeta, softplus_surrogate
from captum_certified.sampling import top_k_rows

__all__ = ["AttackedExplanation"]


class AttackedExplanation:
    """The explanation under attack. Its methods evaluate the objective D and the overlap at points near the inputs.

    Args:
        explainer: Computes maps and predicted classes at points. :class:`PointExplainer` says what a point is.
        objective: Name of the objective.
        k: Number of features in the top K: an int is a count, a float a fraction of the features.
        reference: The mask for ``"reference"`` or ``"region"``, or the map for ``"manipulate"``; ``None`` otherwise.
        surrogate_beta: β of the softplus that replaces ReLUs in gradients. ``None`` differentiates the model itself.
            ``"auto"`` uses this surrogate if the model runs a ReLU at the clean inputs.
        takes_gradients: Whether the search takes gradients; otherwise there is no surrogate.

    Attributes:
        k: Number of features in the top K, as a count.
        surrogate: The surrogate in use. Its ``beta`` is ``None`` if the model itself is differentiated.
        members: The features to push out of the top K, shape (N, n): the clean top K, or the reference set.
        chooses_surrogate: Whether ``surrogate_beta`` is ``"auto"``.

    Raises:
        CertificationError: A map at a clean input is not finite.
        InvalidInputError: ``k`` is out of range, or the reference does not fit the objective or the map.
    """

    def __init__(
        self,
        explainer: PointExplainer,
        objective: str,
        *,
        k: float,
        reference: Reference,
        surrogate_beta: SurrogateBeta,
        takes_gradients: bool = True,
    ) -> None:
        self.explainer = explainer
        self.centers, self.all_rows = explainer.centers, explainer.all_rows
        self.chooses_surrogate = surrogate_beta == AUTO
        with ReLUMode() if self.chooses_surrogate else contextlib.nullcontext() as watch:
            maps = explainer.maps(self.centers, self.all_rows)
        if not takes_gradients:
            self.surrogate = Surrogate(None, "a random search takes no gradients")
        elif watch is not None:
            self.surrogate = Surrogate.automatic(explainer.method, seen=watch.seen)
        else:
            self.surrogate = Surrogate.fixed(None if surrogate_beta == AUTO else surrogate_beta)
        groups = explainer.arguments.get("groups") if isinstance(explainer.method, SmoothedAttribution) else None
        self.layout = FeatureLayout.of(maps, is_tuple=len(maps) > 1, rows=len(self.all_rows), groups=groups)
        features = self._features(maps, self.all_rows)
        if not bool(torch.isfinite(features).all()):
            raise CertificationError("Expected finite attributions at the clean inputs, got NaN or infinity.")
        self.k = resolved_count("k", k, self.layout.n_features)
        self.clean = CleanMaps(features, top_k_rows(features, self.k)[0], self.layout)
        self.objective = objective_named(objective, self.clean, reference)
        self.members = self.clean.reference_set(reference) if objective == "reference" else self.clean.top_k

    def values(self, points: Tensor, rows: Tensor) -> Tensor:
        """Return D of the original model at points of shape (R, d), shape (R,); −∞ where D is not finite."""
        values = self.objective(self._features(self.explainer.maps(points, rows), rows), rows)
        return torch.where(torch.isfinite(values), values, torch.full_like(values, -torch.inf)).cpu().double()

    def overlap(self, points: Tensor) -> Tensor:
        """Return how many of :attr:`members` are in the top K at the point of each example, shape (N,)."""
        features = self._features(self.explainer.maps(points, self.all_rows), self.all_rows).nan_to_num()
        return (top_k_rows(features, self.k)[0] & self.members).sum(dim=1).cpu()

    def keeps_class(self, points: Tensor, rows: Tensor) -> Tensor:
        """Return whether each point has the class of its clean input, shape (R,); true for a model without classes."""
        return self.explainer.keeps_class(points, rows)

    def gradients(self, points: Tensor, rows: Tensor, *, step: int) -> Tensor:
        """Return ∇D, shape (R, d), with zeros in place of a gradient that is not finite.

        Args:
            points: Points of shape (R, d).
            rows: For each point, the index of its example, shape (R,).
            step: Number of the attack step. A smoothed explanation is differentiated over fresh draws in each step.
        """
        try:
            return self._gradients(points, rows, step)
        except (RuntimeError, TypeError) as error:
            if self.surrogate.beta is None or not self.chooses_surrogate or is_out_of_memory(error):
                raise
            self.surrogate = Surrogate(None, f"the network does not run with softplus in place of ReLU: {error}")
        return self._gradients(points, rows, step)

    def _gradients(self, points: Tensor, rows: Tensor, step: int) -> Tensor:
        leaf = points.detach().clone().requires_grad_()
        beta = self.surrogate.beta
        with torch.enable_grad(), contextlib.nullcontext() if beta is None else softplus_surrogate(beta):
            maps = self.explainer.maps_with_graph(leaf, rows, step=step)
            value = self.objective(self._features(maps, rows), rows).sum()
        if not value.requires_grad:
            return torch.zeros_like(points, dtype=torch.float64)
        [gradient] = torch.autograd.grad(value, leaf, allow_unused=True)
        gradient = torch.zeros_like(leaf) if gradient is None else gradient
        finite = torch.isfinite(gradient).all(dim=1, keepdim=True)
        return torch.where(finite, gradient, torch.zeros_like(gradient)).double()

    def _features(self, maps: tuple[Tensor, ...], rows: Tensor) -> Tensor:
        """Return the feature magnitudes, shape (R, n). Every entry of a group has the magnitude of the group."""
        return self.layout.of_rows(rows).group_means(maps)
