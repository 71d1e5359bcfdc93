"""One run: a checked request, sampled range by range, and the probe that says whether it may be certified."""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor

from captum_certified._captum import progress_bar
from captum_certified.attr.fingerprint import DeclaredSettings, declared_settings, probe_inputs, setup_of
from captum_certified.attr.memory import WithinMemory
from captum_certified.attr.probe import Probe, changed_buffers, digests_of_buffers
from captum_certified.attr.reachable import Reachable, called_modules
from captum_certified.attr.refusals import check_method, check_reachable, check_scale
from captum_certified.attr.request import SamplingRequest
from captum_certified.attr.wrapped_method import WrappedMethod
from captum_certified.exceptions import CertificationError, InvalidInputError
from captum_certified.smoothing import (
    Attributions,
    FeatureLayout,
    SmoothedMap,
    checked_magnitudes,
    noisy_inputs,
    same_behaviour,
    setup_of_rows,
    smooth,
)

if TYPE_CHECKING:
    from captum_certified.attr.base import SmoothedAttribution

__all__ = ["Beginning", "SamplingRun", "last_of"]

Item = TypeVar("Item")


@dataclass(frozen=True)
class Beginning:
    """What a run finds out before its first draw.

    Attributes:
        declared: What the method says of itself.
        layout: What its features are.
        setups: For every map what it is of.
        plain: Feature magnitudes at the clean input, float64, shape (N, n).
        probes: For every map its probe draw, shape (N, n).
    """

    declared: DeclaredSettings
    layout: FeatureLayout
    setups: list[dict[str, Any]]
    plain: Tensor
    probes: list[Tensor]


class SamplingRun:
    """Samples the draws of a request, all of them or one range after another.

    Args:
        explainers: Explainers around one method.
        request: The call.
        for_certificates: Refuse what cannot be certified, and record what certificates need.
        check_rows: Probe whether the maps are one function of one noisy input.
        on_pass: Called with the number of draws of every finished pass, in place of a progress bar of its own.
        declared: What the method says of itself, if another run has asked.

    Raises:
        CertificationError: No sound certificate could come of it.
        InvalidInputError: Convergence deltas are asked for.
    """

    def __init__(
        self,
        explainers: "Sequence[SmoothedAttribution]",
        request: SamplingRequest,
        *,
        for_certificates: bool = True,
        check_rows: bool = True,
        on_pass: Callable[[int], object] | None = None,
        declared: DeclaredSettings | None = None,
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
        self.on_pass = on_pass
        self.declared = declared
        self.method = explainers[0].attribution_method
        self.dtypes: tuple[torch.dtype, ...] = ()
        self.device = request.inputs[0].device
        self.wrapped = WrappedMethod(
            self.method,
            self.request.inputs,
            is_tuple=request.is_tuple,
            arguments=request.arguments,
            seed=request.plan.seed,
            draw_baseline_from_distrib=request.draw_baseline_from_distrib,
        )
        self.within_memory = WithinMemory(self._call)
        self.probe: Probe | None = None
        if for_certificates:
            self.reachable = Reachable(self.method, request.arguments)
            self._check_certifiable()
            if check_rows:
                self.probe = self._probe()

    def __iter__(self) -> Iterator[list[SmoothedMap]]:
        """The maps after every block of draws, each checked."""
        return self.maps(check_each=True)

    def last(self, draws: range | None = None, *, check_later: bool = True) -> list[SmoothedMap]:
        """The maps of a range of draws; of all by default."""
        return last_of(self.maps(draws, check_later=check_later))

    def maps(
        self, draws: range | None = None, *, check_each: bool = False, check_later: bool = True
    ) -> Generator[list[SmoothedMap], None, None]:
        """The maps of a range of draws, after every block of them.

        Args:
            draws: Numbers of the draws; all of the request by default.
            check_each: Ask after every block whether the method is still what it was.
            check_later: Ask after the last one.
        """
        plan = self.request.plan if draws is None else self.request.plan.of_draws(draws)
        # Before the bar: the beginning is not part of it.
        beginning = self.beginning if self.for_certificates else None
        with self._progress(plan.n_samples) as on_pass:
            blocks = smooth(
                self._attribute,
                [explainer.per_draw_map for explainer in self.explainers],
                self.request.inputs,
                plan,
                groups=self.request.groups,
                region=self.request.region,
                covariance=self.request.covariance,
                on_pass=on_pass,
            )
            for fields_of_maps in blocks:
                is_last = fields_of_maps[0]["provenance"][0][-1].stop == plan.stop
                if check_each or (check_later and is_last):
                    self.check_later()
                yield self._smoothed(fields_of_maps, beginning)

    def check_later(self) -> None:
        """Refuse a method that has become another since the first draw of this run.

        Raises:
            CertificationError: It has.
        """
        if self.probe is not None:
            self.probe.check_later(self._magnitudes, self._circumstances)

    def behaves_like(self, smoothed_map: SmoothedMap) -> bool:
        """Whether a map is of what this run samples, as far as its plain map and its probe draw say."""
        known = ((smoothed_map.plain, self.beginning.plain), (smoothed_map.probe, self.beginning.probes[0]))
        return all(one is not None and same_behaviour(one, two) for one, two in known)

    def of_rows(self, rows: Tensor) -> "SamplingRun":
        """The run for some of its rows; what it found out before the first draw stays."""
        chosen = self.request.of_rows(rows.tolist(), distribution=self.wrapped.has_distribution)
        part = SamplingRun(self.explainers, chosen, check_rows=False, on_pass=self.on_pass, declared=self.declared)
        whole = self.beginning
        part.beginning = Beginning(
            whole.declared,
            whole.layout.of_rows(rows),
            [setup_of_rows(setup, rows.tolist()) for setup in whole.setups],
            whole.plain[rows],
            [probe[rows] for probe in whole.probes],
        )
        return part

    @property
    def rows_belong_together(self) -> bool:
        """Whether the rows must be sampled together to be the same: they share random numbers, or a distribution."""
        return self.wrapped.has_distribution or self.wrapped.randomness.used or self.request.draw_baseline_from_distrib

    @property
    def convergence_delta(self) -> Tensor:
        """Deltas of all draws, those of example 0 first."""
        return torch.cat(self.wrapped.deltas, dim=1).reshape(-1)

    @cached_property
    def beginning(self) -> Beginning:
        """What is found out before the first draw.

        Raises:
            CertificationError: A model that was called cannot be certified, or does not take the inputs.
        """
        before = digests_of_buffers(self.reachable)
        # A hook would make a compiled model compile again.
        with called_modules(watch=not self.reachable.compiled) as called:
            clean = self.wrapped.clean()
        clean = clean._replace(maps=tuple(m.clone() for m in clean.maps))  # the next call may reuse their memory
        self.reachable.add(called)
        check_reachable(self.method, self.reachable)
        if self.declared is None:
            state = frozenset(id(buffer) for buffer in changed_buffers(self.reachable, before).values())
            self.declared = declared_settings(self.method, self.reachable, state=state)
        rows = len(self.request.inputs[0])
        layout = FeatureLayout.of(clean.maps, is_tuple=clean.is_tuple, rows=rows, groups=self.request.groups)
        plain = checked_magnitudes(layout.flatten(clean.maps, rows), where="at the clean input").cpu()
        if self.probe is not None:
            self.wrapped.check_arguments(clean)
        inputs = probe_inputs(self.request.inputs, self.request.plan.stdevs, self.request.plan.law)
        drawn = layout.flatten(self.wrapped.under_fixed_seed(inputs).maps, rows)
        checked_magnitudes(drawn, where="in the probe draw")
        return Beginning(
            self.declared,
            layout,
            [self._setup(explainer, self.declared) for explainer in self.explainers],
            plain,
            [explainer.per_draw_map(drawn).values.cpu() for explainer in self.explainers],
        )

    def _attribute(self, noisy: tuple[Tensor, ...], draws: range) -> Attributions:
        """Attributions of one pass."""
        outputs = self.within_memory(noisy, draws)
        if self.probe is not None and self.probe.rows_unchecked and self.wrapped.rows_in_a_call(draws) > 1:
            # Copied: the method may hand out the same memory again.
            outputs = outputs._replace(maps=tuple(m.clone() for m in outputs.maps))
            together = not self.wrapped.randomness.used
            self.probe.check_other_rows(draws, self._flat(outputs), self._magnitudes, move=together)
        self.dtypes, self.device = tuple(m.dtype for m in outputs.maps), outputs.maps[0].device
        return outputs

    def _call(self, noisy: tuple[Tensor, ...], draws: range) -> Attributions:
        """One call of the method: a pass, or a part of one that is too large for the memory."""
        outputs = self.wrapped(noisy, draws)
        if self.probe is not None and not self.probe.remembers:
            self.probe.remember(draws, self._flat(outputs), self._circumstances)
        return outputs

    def _magnitudes(self, noisy: tuple[Tensor, ...], draws: range) -> Tensor:
        return self._flat(self.within_memory(noisy, draws))

    def _flat(self, outputs: Attributions) -> Tensor:
        """Feature magnitudes of a call, in memory of their own."""
        return self.beginning.layout.flatten(outputs.maps, len(self.request.inputs[0]))

    @property
    def _circumstances(self) -> tuple[object, ...]:
        return self.within_memory.most, self.wrapped.randomness.used

    def _probe(self) -> Probe:
        plan = self.request.plan
        return Probe(
            partial(noisy_inputs, self.request.inputs, plan=plan),
            [stdev > 0 for stdev in plan.stdevs],
            [explainer.per_draw_map for explainer in self.explainers],
            seed=plan.seed,
            most_draws=plan.largest_pass,
            reachable=self.reachable,
        )

    def _setup(self, explainer: "SmoothedAttribution", declared: DeclaredSettings) -> dict[str, Any]:
        return setup_of(type(explainer).__name__, explainer.per_draw_map, declared, self.request)

    def _smoothed(self, fields_of_maps: Sequence[dict[str, Any]], beginning: Beginning | None) -> list[SmoothedMap]:
        if beginning is None:
            return [SmoothedMap(**fields) for fields in fields_of_maps]
        # Known only now: a method may draw random numbers in some passes alone.
        stochastic = {"stochastic": self.wrapped.randomness.used}
        known = zip(fields_of_maps, beginning.setups, beginning.probes, strict=True)
        return [
            SmoothedMap(**fields, plain=beginning.plain, probe=probe, setup={**setup, **stochastic})
            for fields, setup, probe in known
        ]

    @contextmanager
    def _progress(self, draws: int) -> Iterator[Callable[[int], object]]:
        title = " + ".join(type(explainer).__name__ for explainer in self.explainers)
        with progress_bar(total=draws, description=title, show=self.request.show_progress) as bar:
            yield self.on_pass or bar.update

    def _check_certifiable(self) -> None:
        for explainer in self.explainers:
            explainer.check_certifiable()
        if not any(self.request.plan.stdevs):
            raise CertificationError("Expected `stdevs` > 0 for at least one input, got no noise.")
        check_scale(self.request.inputs, self.request.plan.stdevs)
        if self.request.arguments.get("return_convergence_delta"):
            raise InvalidInputError("Expected no `return_convergence_delta` here, got True; `attribute` returns it.")
        check_method(self.method)
        check_reachable(self.method, self.reachable)


def last_of(items: Iterable[Item]) -> Item:
    """The last item; the others are let go as soon as the next one is there."""
    return deque(items, maxlen=1).pop()
