"""Maps and predicted classes at points near the clean inputs, for any of the examples of a batch."""

import warnings
from collections.abc import Callable

import torch
from captum.attr import Attribution, GradientAttribution, NoiseTunnel
from torch import Tensor

from captum_certified._captum import MethodArguments, as_tuple, run_forward
from captum_certified.attr import SmoothedAttribution
from captum_certified.attr.captum_methods import wrapped_chain
from captum_certified.attr.row_arguments import (
    arguments_of_rows,
    has_reference_distribution,
    masks_of_rows,
    unshared,
)
from captum_certified.randomness import IsolatedRandomness, derived_seed
from captum_certified.robust.differentiable import differentiable

__all__ = ["PointExplainer"]

Compute = Callable[[Tensor, Tensor], tuple[Tensor, ...]]


class PointExplainer:
    """An explanation of N examples as a function of points.

    A point is a vector of length d: all floating-point entries of one example, over all of its input tensors. All maps
    and classes are computed under one seed. Methods that use random numbers get one point at a time, so the result at a
    point never depends on the other points in the batch.

    Args:
        forward_func: The model.
        attribution_method: The attribution.
        inputs: Clean inputs of shape (N, …).
        is_tuple: Whether the caller gave a tuple.
        arguments: Keyword arguments of the attribution for the N examples. The target ``None`` becomes the class
            predicted at the clean input.
        seed: Seed of the attribution's own randomness.

    Attributes:
        centers: The clean inputs as points, shape (N, d).
        all_rows: The indices 0, …, N − 1 of all examples, shape (N,).
        clean_classes: The classes predicted at the clean inputs, shape (N,); ``None`` for a model without classes.
    """

    def __init__(
        self,
        forward_func: Callable[..., Tensor],
        attribution_method: Attribution,
        inputs: tuple[Tensor, ...],
        *,
        is_tuple: bool,
        arguments: MethodArguments,
        seed: int,
    ) -> None:
        self.forward_func = forward_func
        self.method = attribution_method
        self.inputs = tuple(tensor.detach() for tensor in inputs)
        self.is_tuple = is_tuple
        self.seed = seed
        self.takes_gradients = any(isinstance(one, GradientAttribution) for one in wrapped_chain(attribution_method))
        rows = len(inputs[0])
        self.centers = torch.cat([t.reshape(rows, -1) for t in self.inputs if t.is_floating_point()], dim=1)
        self.all_rows = torch.arange(rows, device="cpu")
        self.arguments = dict(arguments)
        self.clean_classes = self._classes(self.centers, self.all_rows)
        if self.arguments.get("target") is None and self.clean_classes is not None:
            self.arguments["target"] = self.clean_classes

    def maps(self, points: Tensor, rows: Tensor) -> tuple[Tensor, ...]:
        """Compute the maps at points of shape (R, d), without a graph. Point i belongs to the example ``rows[i]``."""
        return self._repeatable(self._attribute, points, rows)

    def maps_with_graph(self, points: Tensor, rows: Tensor, *, step: int) -> tuple[Tensor, ...]:
        """Compute the maps at points with an autograd graph. Smoothed maps use fresh draws in every attack step.

        An attack that used the same draws in every step would mainly change the map of these draws.
        """
        fresh = {"seed": derived_seed(self.seed, step)} if self._is_smoothed() else {}
        with differentiable(self.method) as attribute, IsolatedRandomness(points.device)(self.seed):
            return as_tuple(attribute(self.structured(points, rows), **{**self._arguments(rows), **fresh}))

    def keeps_class(self, points: Tensor, rows: Tensor) -> Tensor:
        """Return whether each point has the class of its clean input, shape (R,); true for a model without classes."""
        classes = self._classes(points, rows)
        if classes is None or self.clean_classes is None:
            return torch.ones(len(rows), dtype=torch.bool, device="cpu")
        return (classes == self.clean_classes[rows.to(classes.device)]).cpu()

    def structured(self, points: Tensor, rows: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Bring points into the structure of the caller's inputs, and add the integer tensors of their examples."""
        entries = [t[0].numel() for t in self.inputs if t.is_floating_point()]
        parts = iter(torch.split(points, entries, dim=1))
        tensors = tuple(
            next(parts).reshape(len(rows), *t.shape[1:]).to(t.dtype) if t.is_floating_point() else t[rows.to(t.device)]
            for t in self.inputs
        )
        return tensors if self.is_tuple else tensors[0]

    def _arguments(self, rows: Tensor) -> MethodArguments:
        arguments, hidden = self.arguments, self.arguments.get("attribution_kwargs")
        total, numbers = len(self.all_rows), rows.tolist()
        distribution = has_reference_distribution(self.method, {**arguments, **(hidden or {})})
        chosen = arguments_of_rows(arguments, total, numbers, distribution=distribution)
        if hidden is not None:
            chosen["attribution_kwargs"] = arguments_of_rows(hidden, total, numbers, distribution=distribution)
        if isinstance(self.method, SmoothedAttribution):
            chosen["groups"] = masks_of_rows(arguments.get("groups"), total, numbers)
            return chosen  # the smoothed attribution handles arguments marked as Shared itself
        return {name: unshared(value) for name, value in chosen.items()}

    def _repeatable(self, compute: Compute, points: Tensor, rows: Tensor) -> tuple[Tensor, ...]:
        """Return ``compute(points, rows)`` under the seed. The result at a point does not depend on other points."""
        randomness = IsolatedRandomness(points.device)
        with randomness(self.seed):
            results = compute(points, rows)
        if not randomness.used or len(rows) == 1:
            return results
        # In a batch, the random numbers of a point would depend on its position. So each point is computed alone.
        alone = [self._repeatable(compute, points[i : i + 1], rows[i : i + 1]) for i in range(len(rows))]
        return tuple(torch.cat(parts) for parts in zip(*alone, strict=True))

    def _attribute(self, points: Tensor, rows: Tensor) -> tuple[Tensor, ...]:
        inputs = self.structured(points.detach().clone(), rows)
        if self.takes_gradients:
            for tensor in as_tuple(inputs):
                if tensor.is_floating_point():
                    tensor.requires_grad_()
        seeds_itself = isinstance(self.method, SmoothedAttribution) and self.arguments.get("seed") is None
        given = {"seed": self.seed} if seeds_itself else {}
        with warnings.catch_warnings():  # a search uses few draws, so ties between features are common and harmless
            warnings.filterwarnings("ignore", message=".*chosen by their position among equal attributions")
            returned = self.method.attribute(inputs, **self._arguments(rows), **given)
        return tuple(m.detach() for m in as_tuple(returned))

    def _classes(self, points: Tensor, rows: Tensor) -> Tensor | None:
        """Return the predicted classes, shape (R,); ``None`` for outputs that are not of shape (R, classes)."""
        classes = self._repeatable(self._predict, points, rows)
        return classes[0] if classes else None

    def _predict(self, points: Tensor, rows: Tensor) -> tuple[Tensor, ...]:
        with torch.no_grad():
            arguments = {name: unshared(value) for name, value in self._arguments(rows).items()}
            outputs = run_forward(self.forward_func, as_tuple(self.structured(points, rows)), arguments)
        return (outputs.argmax(dim=1),) if isinstance(outputs, Tensor) and outputs.dim() == 2 else ()

    def _is_smoothed(self) -> bool:
        return isinstance(self.method, (SmoothedAttribution, NoiseTunnel))
