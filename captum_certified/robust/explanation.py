"""The explanation under attack: maps, classes and gradients at points near the inputs, for some of the rows."""

import contextlib
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import torch
from captum.attr import Attribution, GradientAttribution, NoiseTunnel
from torch import Tensor

from captum_certified._captum import as_tuple, run_forward
from captum_certified.attr import SmoothedAttribution
from captum_certified.attr.captum_methods import wrapped_chain
from captum_certified.attr.memory import is_out_of_memory
from captum_certified.attr.row_arguments import (
    arguments_of_rows,
    has_reference_distribution,
    masks_of_rows,
    unshared,
)
from captum_certified.exceptions import CertificationError
from captum_certified.maps import FeatureLayout
from captum_certified.randomness import IsolatedRandomness, derived_seed
from captum_certified.robust.differentiable import differentiable
from captum_certified.robust.objectives import Clean, Objective, Reference, objective_named, shares_of
from captum_certified.robust.surrogate import AUTO, RectifierWatch, Surrogate, SurrogateBeta, softplus_surrogate
from captum_certified.sampling import top_k_rows

__all__ = ["AttackedExplanation"]

Compute = Callable[[Tensor, Tensor], tuple[Tensor, ...]]


class AttackedExplanation:
    """What an attack may ask of the explanation of N examples, whose inputs are rows of one table.

    Every map of it is computed under one seed, so that it is a fixed function of the input, whatever else is in the
    batch.

    Args:
        forward_func: The model.
        attribution_method: The attribution.
        inputs: Clean inputs of shape (N, …).
        is_tuple: Whether the caller gave a tuple.
        arguments: Keyword arguments of the attribution for the N examples; the target ``None`` becomes the class
            predicted at the clean input.
        surrogate_beta: β of the softplus surrogate that gradients are taken of; ``None``: of the model itself;
            ``"auto"``: as :meth:`Surrogate.automatic` decides once ReLUs were seen to run.
        seed: Seed of the attribution's own randomness.
    """

    def __init__(
        self,
        forward_func: Callable[..., Any],
        attribution_method: Attribution,
        inputs: tuple[Tensor, ...],
        *,
        is_tuple: bool,
        arguments: Mapping[str, Any],
        surrogate_beta: SurrogateBeta,
        seed: int,
    ) -> None:
        self.forward_func = forward_func
        self.method = attribution_method
        self.inputs = tuple(tensor.detach() for tensor in inputs)
        self.is_tuple = is_tuple
        self.arguments = dict(arguments)
        self.chooses_surrogate = surrogate_beta == AUTO
        self.surrogate = Surrogate.fixed(None if surrogate_beta == AUTO else surrogate_beta)
        self.seed = seed
        self.takes_gradients = any(isinstance(one, GradientAttribution) for one in wrapped_chain(attribution_method))
        self.rows = len(inputs[0])
        self.centers = torch.cat([t.reshape(self.rows, -1) for t in self.inputs if t.is_floating_point()], dim=1)
        self.clean_classes = self._outputs(self.centers, torch.arange(self.rows, device="cpu"))
        if self.arguments.get("target") is None and self.clean_classes is not None:
            self.arguments["target"] = self.clean_classes
        self.objective: Objective
        self.layout: FeatureLayout
        self.clean: Clean

    def aim(self, objective: str, reference: Reference, k_of: Callable[[int], int]) -> None:
        """Explain the clean inputs, and set what the attack drives up.

        Args:
            objective: Name of the objective.
            reference: Its mask or map.
            k_of: K for a map of n features.

        Raises:
            CertificationError: The clean map is not finite.
            InvalidInputError: The reference does not fit.
        """
        with RectifierWatch() if self.chooses_surrogate else contextlib.nullcontext() as watch:
            maps = self._attributions(self.centers, torch.arange(self.rows, device="cpu"))
        if objective == "random":
            self.surrogate = Surrogate(None, "a random search takes no gradients")
        elif watch is not None:
            self.surrogate = Surrogate.automatic(self.method, seen=watch.seen)
        groups = self.arguments.get("groups") if isinstance(self.method, SmoothedAttribution) else None
        self.layout = FeatureLayout.of(maps, is_tuple=len(maps) > 1, rows=self.rows, groups=groups)
        features = self._features_of(maps, torch.arange(self.rows, device="cpu"))
        if not bool(torch.isfinite(features).all()):
            raise CertificationError("Expected finite attributions at the clean inputs, got NaN or infinity.")
        self.k = k_of(self.layout.n_features)
        self.clean = Clean(shares_of(features), top_k_rows(features, self.k)[0], self.layout)
        self.objective = objective_named(objective, self.clean, reference)

    def values(self, points: Tensor, rows: Tensor) -> Tensor:
        """D of the real model's maps, shape (R,); −∞ where a map is not finite."""
        values = self.objective(shares_of(self._features(points, rows)), rows)
        return torch.where(torch.isfinite(values), values, torch.full_like(values, -torch.inf)).cpu().double()

    def overlap(self, points: Tensor) -> Tensor:
        """How many features of the clean top K stay in it at points of shape (N, d), shape (N,)."""
        features = self._features(points, torch.arange(self.rows, device="cpu")).nan_to_num()
        return (top_k_rows(features, self.k)[0] & self.clean.members).sum(dim=1).cpu()

    def gradients(self, points: Tensor, rows: Tensor, *, step: int) -> Tensor:
        """∇D at points of shape (R, d); zero where it is not finite.

        Args:
            points: Where.
            rows: Whose points they are.
            step: Number of the step: smoothed explanations are differentiated over fresh draws in each.
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
        with torch.enable_grad(), self._surrogate(), differentiable(self.method) as attribute:
            with IsolatedRandomness(points.device)(self.seed):
                arguments = {**self._arguments(rows), **self._fresh(step)}
                maps = as_tuple(attribute(self._structured(leaf, rows), **arguments))
            value = self.objective(shares_of(self._features_of(maps, rows)), rows).sum()
        if not value.requires_grad:
            return torch.zeros_like(points, dtype=torch.float64)
        [gradient] = torch.autograd.grad(value, leaf, allow_unused=True)
        gradient = torch.zeros_like(leaf) if gradient is None else gradient
        finite = torch.isfinite(gradient).all(dim=1, keepdim=True)
        return torch.where(finite, gradient, torch.zeros_like(gradient)).double()

    def keeps_class(self, points: Tensor, rows: Tensor) -> Tensor:
        """Whether the model predicts what it does at the clean inputs, shape (R,); always without classes."""
        classes = self._outputs(points, rows)
        if classes is None or self.clean_classes is None:
            return torch.ones(len(rows), dtype=torch.bool, device="cpu")
        return (classes == self.clean_classes[rows.to(classes.device)]).cpu()

    def structured(self, points: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Points of all rows as the caller's inputs were structured."""
        return self._structured(points, torch.arange(self.rows, device="cpu"))

    def _structured(self, points: Tensor, rows: Tensor) -> Tensor | tuple[Tensor, ...]:
        sizes = [t[0].numel() for t in self.inputs if t.is_floating_point()]
        parts = iter(torch.split(points, sizes, dim=1))
        tensors = tuple(
            next(parts).reshape(len(rows), *t.shape[1:]).to(t.dtype) if t.is_floating_point() else t[rows.to(t.device)]
            for t in self.inputs
        )
        return tensors if self.is_tuple else tensors[0]

    def _arguments(self, rows: Tensor) -> dict[str, Any]:
        arguments, hidden = self.arguments, self.arguments.get("attribution_kwargs")
        given = {**arguments, **(hidden or {})}
        distribution = has_reference_distribution(self.method, given)
        chosen = arguments_of_rows(arguments, self.rows, rows.tolist(), distribution=distribution)
        if hidden is not None:
            chosen["attribution_kwargs"] = arguments_of_rows(
                hidden, self.rows, rows.tolist(), distribution=distribution
            )
        if isinstance(self.method, SmoothedAttribution):
            chosen["groups"] = masks_of_rows(arguments.get("groups"), self.rows, rows.tolist())
            return chosen  # it has to know which arguments are shared
        return {name: unshared(value) for name, value in chosen.items()}

    def _repeatable(self, compute: Compute, points: Tensor, rows: Tensor) -> tuple[Tensor, ...]:
        """What ``compute`` returns for points of ``rows`` under the seed, the same for a row in any batch."""
        randomness = IsolatedRandomness(points.device)
        with randomness(self.seed):
            results = compute(points, rows)
        if not randomness.used or len(rows) == 1:
            return results
        # Random numbers are handed out along the batch, so that a row's would depend on its place: each goes alone.
        alone = [self._repeatable(compute, points[i : i + 1], rows[i : i + 1]) for i in range(len(rows))]
        return tuple(torch.cat(parts) for parts in zip(*alone, strict=True))

    def _attributions(self, points: Tensor, rows: Tensor) -> tuple[Tensor, ...]:
        return self._repeatable(self._attributed, points, rows)

    def _attributed(self, points: Tensor, rows: Tensor) -> tuple[Tensor, ...]:
        inputs = self._structured(points.detach().clone(), rows)
        if self.takes_gradients:
            for tensor in as_tuple(inputs):
                if tensor.is_floating_point():
                    tensor.requires_grad_()
        with warnings.catch_warnings():  # a few draws of a search may tie by chance, which is no news to anyone
            warnings.filterwarnings("ignore", message=".*chosen by their position among equal attributions")
            returned = self.method.attribute(inputs, **self._arguments(rows), **self._seeded())
        return tuple(m.detach() for m in as_tuple(returned))

    def _features(self, points: Tensor, rows: Tensor) -> Tensor:
        return self._features_of(self._attributions(points, rows), rows)

    def _features_of(self, maps: tuple[Tensor, ...], rows: Tensor) -> Tensor:
        """Magnitudes of features, shape (R, n); all entries of a group have its value."""
        return self.layout.of_rows(rows).group_means(maps)

    def _outputs(self, points: Tensor, rows: Tensor) -> Tensor | None:
        """Predicted classes, shape (R,); ``None`` for outputs that are not of shape (R, classes)."""
        classes = self._repeatable(self._predicted, points, rows)
        return classes[0] if classes else None

    def _predicted(self, points: Tensor, rows: Tensor) -> tuple[Tensor, ...]:
        with torch.no_grad():
            arguments = {name: unshared(value) for name, value in self._arguments(rows).items()}
            outputs = run_forward(self.forward_func, as_tuple(self._structured(points, rows)), arguments)
        return (outputs.argmax(dim=1),) if isinstance(outputs, Tensor) and outputs.dim() == 2 else ()

    def _seeded(self) -> dict[str, Any]:
        ours = isinstance(self.method, SmoothedAttribution) and self.arguments.get("seed") is None
        return {"seed": self.seed} if ours else {}

    def _fresh(self, step: int) -> dict[str, Any]:
        """Draws of this step alone: an attack on fixed draws would fit their noise."""
        if not isinstance(self.method, (SmoothedAttribution, NoiseTunnel)):
            return {}
        return {"seed": derived_seed(self.seed, step)}

    def _surrogate(self) -> contextlib.AbstractContextManager[None]:
        beta = self.surrogate.beta
        return contextlib.nullcontext() if beta is None else softplus_surrogate(beta)
