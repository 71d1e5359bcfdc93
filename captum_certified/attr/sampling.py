"""One run of the sampling loop for one or several explainers around one method."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor

from captum_certified._captum import progress_bar
from captum_certified.attr.memory import WithinMemory
from captum_certified.attr.request import SamplingRequest
from captum_certified.attr.setup import setup_of
from captum_certified.attr.soundness import check_evaluation_mode, check_method, check_scale
from captum_certified.attr.wrapped import WrappedMethod
from captum_certified.exceptions import CertificationError, InvalidInputError
from captum_certified.smoothing import Attributions, SmoothedMap, checked_magnitudes, smooth

if TYPE_CHECKING:
    from captum_certified.attr.base import SmoothedAttribution

__all__ = ["Sampling", "last_of"]

Item = TypeVar("Item")


class Sampling:
    """One run of the loop, as an iterator of the maps after every block.

    Args:
        explainers: Explainers around one method.
        request: The call.
        for_certificates: Refuse what cannot be certified, and record the plain map and the setup.
        check_rows: Check on the first pass that a row attributed alone is what it is in the pass.
        on_pass: Called with the number of draws of every finished pass, in place of a progress bar of its own.
    """

    def __init__(
        self,
        explainers: "Sequence[SmoothedAttribution]",
        request: SamplingRequest,
        *,
        for_certificates: bool = True,
        check_rows: bool = False,
        on_pass: Callable[[int], object] | None = None,
    ) -> None:
        self.explainers = explainers
        # A gradient that the caller's inputs ask for must not flow through thousands of draws.
        self.request = replace(
            request,
            inputs=tuple(tensor.detach() for tensor in request.inputs),
            # Nobody wants a mean alone before its last draw.
            plan=request.plan if for_certificates else replace(request.plan, block=request.plan.stop),
        )
        self.for_certificates = for_certificates
        self.rows_unchecked = check_rows
        self.on_pass = on_pass
        self.method = explainers[0].attribution_method
        self.dtype = torch.float32
        self.device = request.inputs[0].device
        if for_certificates:
            self._check_certifiable()
        self.wrapped = WrappedMethod(
            self.method,
            self.request.inputs,
            is_tuple=request.is_tuple,
            arguments=request.arguments,
            seed=request.plan.seed,
            draw_baseline_from_distrib=request.draw_baseline_from_distrib,
        )

        self.within_memory = WithinMemory(self.wrapped)

    def __iter__(self) -> Iterator[list[SmoothedMap]]:
        plain = self.wrapped.clean() if self.for_certificates else None
        setups = [self._setup(explainer) for explainer in self.explainers]
        plan, total = self.request.plan, self.request.plan.n_samples
        with progress_bar(total=total, description=_title(self.explainers), show=self.request.show_progress) as bar:
            maps = [explainer.per_draw_map for explainer in self.explainers]
            blocks = smooth(
                self._attribute,
                maps,
                self.request.inputs,
                plan,
                groups=self.request.groups,
                region=self.request.region,
                covariance=self.request.covariance,
                on_pass=self.on_pass or bar.update,
            )
            for fields_of_maps in blocks:
                yield [
                    self._smoothed(setup, fields, plain) for setup, fields in zip(setups, fields_of_maps, strict=True)
                ]

    def last(self) -> list[SmoothedMap]:
        """The maps of all draws."""
        return last_of(self)

    @property
    def convergence_delta(self) -> Tensor:
        """Deltas of all draws, those of example 0 first."""
        return torch.cat(self.wrapped.deltas, dim=1).reshape(-1)

    def _attribute(self, noisy: tuple[Tensor, ...], draws: range) -> Attributions:
        outputs = self.within_memory(noisy, draws)
        if self.rows_unchecked:
            self.rows_unchecked = False
            self.wrapped.check_rows(noisy, outputs, draws)
        self.dtype, self.device = outputs.maps[0].dtype, outputs.maps[0].device
        return outputs

    def _setup(self, explainer: "SmoothedAttribution") -> dict[str, Any]:
        """Digests the inputs and the model, so once for all blocks; a mean alone needs none."""
        if not self.for_certificates:
            return {}
        return setup_of(type(explainer).__name__, explainer.per_draw_map, self.method, self.request)

    def _smoothed(self, setup: dict[str, Any], fields: dict[str, Any], plain: Attributions | None) -> SmoothedMap:
        if plain is not None:
            columns = fields["layout"].flatten(plain.maps, len(self.request.inputs[0]))
            fields["plain"] = checked_magnitudes(columns, where="at the clean input").cpu()
        # Known only now: a method may draw random numbers in some passes alone.
        return SmoothedMap(**fields, setup={**setup, "stochastic": self.wrapped.randomness.used})

    def _check_certifiable(self) -> None:
        for explainer in self.explainers:
            explainer.check_certifiable()
        if not any(self.request.plan.stdevs):
            raise CertificationError("Expected `stdevs` > 0 for at least one input, got no noise.")
        check_scale(self.request.inputs, self.request.plan.stdevs)
        if self.request.arguments.get("return_convergence_delta"):
            raise InvalidInputError("Expected no `return_convergence_delta` here, got True; `attribute` returns it.")
        check_method(self.method)
        check_evaluation_mode(self.method)


def last_of(items: Iterable[Item]) -> Item:
    """The last item; the others are let go as soon as the next one is there."""
    return deque(items, maxlen=1).pop()


def _title(explainers: "Sequence[SmoothedAttribution]") -> str:
    return " + ".join(type(explainer).__name__ for explainer in explainers)
