"""Yardsticks for what a certificate is worth: maps that do not depend on the trained model, and class counts.

A certified overlap with a set of features means something only if simpler maps overlap less with this set. The simpler
maps are one that needs no model (the brightness of the input), and several that need no training (the same method on
copies of the model with re-initialised weights). The overlap also means little if most noisy copies have another
predicted class than the clean input.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from captum_certified._captum import run_forward
from captum_certified.attr.reachable import Reachable
from captum_certified.attr.reinitialised import can_reinitialise, reinitialised
from captum_certified.attr.request import SamplingRequest
from captum_certified.attr.row_arguments import expanded_arguments
from captum_certified.attr.wrapped_method import WrappedMethod
from captum_certified.maps import FeatureLayout, SmoothedMap
from captum_certified.randomness import IsolatedRandomness, derived_seed
from captum_certified.sampling import noisy_inputs

__all__ = ["Yardsticks", "brightness_of", "class_votes_of", "randomised_of"]

_COPIES = 5
_MOST_VOTES = 256
# Numbers from which the seeds of further random numbers are derived. They are far larger than the number of any draw,
# so these seeds differ from the seeds of all draws.
_VOTES_STREAM = 2**31 - 3
_WEIGHTS_SEED = derived_seed(0x5EED, 2**31 - 4)


@dataclass(frozen=True)
class Yardsticks:
    """Maps and counts that show what a certificate is worth, as fields of :class:`SmoothedMap`.

    Attributes:
        brightness: Magnitudes of the input in the layout of the map, shape (N, n).
        randomised: Maps of the method on copies of the model with re-initialised weights, shape (N, copies, n).
        class_votes: How many noisy copies keep the predicted class of the clean input, and the number of noisy copies,
            int64, shape (N, 2).
    """

    brightness: Tensor | None
    randomised: Tensor | None
    class_votes: Tensor | None

    @classmethod
    def of(
        cls,
        wrapped: WrappedMethod,
        request: SamplingRequest,
        layout: FeatureLayout,
        reachable: Reachable,
        most_draws: float,
    ) -> "Yardsticks":
        """Compute the maps and counts for a call, with at most ``most_draws`` draws in a pass."""
        return cls(
            brightness_of(request.inputs, layout),
            randomised_of(wrapped, request, layout, reachable),
            class_votes_of(request, most_draws),
        )

    def of_rows(self, rows: Tensor) -> "Yardsticks":
        """Return the yardsticks of some of the examples."""
        tables = (self.brightness, self.randomised, self.class_votes)
        return Yardsticks(*(None if table is None else table[rows] for table in tables))

    def add_to(self, maps: Sequence[SmoothedMap]) -> list[SmoothedMap]:
        """Return copies of the maps with these yardsticks."""
        return [
            replace(m, brightness=self.brightness, randomised=self.randomised, class_votes=self.class_votes)
            for m in maps
        ]


def brightness_of(inputs: tuple[Tensor, ...], layout: FeatureLayout) -> Tensor | None:
    """Return the magnitudes of the inputs as features of a map, shape (N, n).

    Returns:
        The magnitudes, or ``None`` if the map is not structured like the inputs, or the inputs are not finite floating
        point numbers. If the map has one channel and the input has several, the magnitudes of all channels are added.
    """
    if len(inputs) != len(layout.shapes):
        return None
    parts = []
    for tensor, shape in zip(inputs, layout.shapes, strict=True):
        magnitudes = tensor.detach().abs()
        if tuple(tensor.shape[1:]) != shape and tensor.dim() > 2 and shape == (1, *tensor.shape[2:]):
            magnitudes = magnitudes.sum(dim=1, keepdim=True)
        if not tensor.is_floating_point() or tuple(magnitudes.shape[1:]) != shape:
            return None
        parts.append(magnitudes)
    features = layout.flatten(parts, len(inputs[0])).float().cpu()
    return features if bool(torch.isfinite(features).all()) else None


def randomised_of(
    wrapped: WrappedMethod, request: SamplingRequest, layout: FeatureLayout, reachable: Reachable
) -> Tensor | None:
    """Return plain maps of copies of the model with re-initialised weights, shape (N, copies, n).

    Returns:
        The maps, or ``None`` if the weights cannot be replaced, or if a copy raises an error or its attributions are
        not finite.
    """
    if reachable.compiled or not can_reinitialise(reachable.modules):
        return None
    # One tensor is allocated for all maps. For large pictures a list of the maps and their stack would take twice the
    # memory.
    table = torch.empty((request.rows, _COPIES, layout.n_features), device="cpu")
    for copy in range(_COPIES):
        with reinitialised(reachable.modules, seed=derived_seed(_WEIGHTS_SEED, copy)):
            try:
                outputs = wrapped.under_fixed_seed(tuple(x.detach().clone() for x in request.inputs))
            except Exception:  # noqa: BLE001  the certificate does not need these maps
                return None
        table[:, copy] = layout.flatten(outputs.maps, request.rows).cpu()
    return table if bool(torch.isfinite(table).all()) else None


def class_votes_of(request: SamplingRequest, most_draws: float) -> Tensor | None:
    """For every example, count the noisy copies that have the predicted class of the clean input.

    The seed of this noise is derived from the seed of the run.

    Returns:
        The count and the number of copies, int64, shape (N, 2); ``None`` if the outputs of the model are not scores of
        two or more classes, or if the model raises an error.
    """
    copies = min(_MOST_VOTES, request.plan.n_samples)
    plan = replace(request.plan, seed=derived_seed(request.plan.seed, _VOTES_STREAM), first_draw=0, n_samples=copies)
    size = int(min(plan.pass_size, most_draws))
    try:
        with torch.no_grad(), IsolatedRandomness(request.inputs[0].device)(plan.seed):
            clean = _predicted(request, tuple(x.detach().clone() for x in request.inputs), 1)
            kept = torch.zeros(request.rows, dtype=torch.int64, device="cpu")
            for start in range(0, copies, size):
                draws = range(start, min(start + size, copies))
                kept += (_predicted(request, noisy_inputs(request.inputs, draws, plan), len(draws)) == clean).sum(dim=1)
    except Exception:  # noqa: BLE001  the certificate does not need these counts
        return None
    return torch.stack([kept, torch.full_like(kept, copies)], dim=1)


def _predicted(request: SamplingRequest, noisy: tuple[Tensor, ...], draws: int) -> Tensor:
    """Return the predicted class of every noisy copy, shape (N, draws); raise a ValueError if there are no classes."""
    given = {name: value for name, value in request.arguments.items() if name == "additional_forward_args"}
    outputs = run_forward(request.method.forward_func, noisy, expanded_arguments(given, request.inputs, draws))
    if not isinstance(outputs, Tensor) or outputs.dim() != 2 or outputs.shape[1] < 2:
        raise ValueError
    return outputs.argmax(dim=1).reshape(request.rows, draws).cpu()
