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
from captum_certified.attr.fingerprint import (
    DeclaredSettings,
    declared_settings,
    options_of,
    probe_inputs,
    setup_of,
)
from captum_certified.attr.memory import WithinMemory
from captum_certified.attr.probe import Probe, changed_buffers, digests_of_buffers
from captum_certified.attr.reachable import Reachable, called_modules
from captum_certified.attr.refusals import check_generators, check_method, check_reachable, check_scale
from captum_certified.attr.request import SamplingRequest
from captum_certified.attr.wrapped_method import WrappedMethod
from captum_certified.exceptions import CertificationError, InvalidInputError
from captum_certified.maps import FeatureLayout, SmoothedMap, same_behaviour, setup_of_rows
from captum_certified.sampling import Attributions, block_draws, checked_magnitudes, noisy_inputs, smooth

if TYPE_CHECKING:
    from captum_certified.attr.smoothed_attribution import SmoothedAttribution

__all__ = ["RunStart", "SamplingRun", "last_of", "request_of"]

Item = TypeVar("Item")


@dataclass(frozen=True)
class RunStart:
    """What a run finds out before its first draw.

    Attributes:
        declared: What the method says of itself.
        layout: What its features are.
        setups: For every map what it is of.
        plain: Feature magnitudes at the clean input, shape (N, n).
        probes: For every map its probe draw, shape (N, n).
    """

    declared: DeclaredSettings
    layout: FeatureLayout
    setups: list[dict[str, Any]]
    plain: Tensor
    probes: list[Tensor]

    def of_rows(self, rows: Tensor) -> "RunStart":
        """The start of some of the rows."""
        return replace(
            self,
            layout=self.layout.of_rows(rows),
            setups=[setup_of_rows(setup, rows.tolist()) for setup in self.setups],
            plain=self.plain[rows],
            probes=[probe[rows] for probe in self.probes],
        )

    def behaves_like(self, other: "RunStart") -> bool:
        """Whether two runs explain the same, as far as their plain maps and probe draws say."""
        pairs = zip((self.plain, *self.probes), (other.plain, *other.probes), strict=True)
        return all(same_behaviour(one, two) for one, two in pairs)


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
            # `attribute` returns only the final mean, so one block is enough.
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
        self.probed = check_rows
        self.probe: Probe | None = None
        self._copies: tuple[tuple[tuple[Tensor, ...], Attributions], ...] = ()
        if for_certificates:
            self.reachable = Reachable(self.method, request.arguments)
            self._generators, self._options = self.reachable.states(), options_of(self.method)
            self._check_certifiable()

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
        # Before the bar: the start is not part of it.
        start = self.start if self.for_certificates else None
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
                yield self._smoothed(fields_of_maps, start)

    def check_later(self) -> None:
        """Refuse a method that has become another since the first draw of this run.

        Raises:
            CertificationError: The maps of the first call have changed, or numbers were drawn from another generator.
        """
        if self.probe is not None:
            self.probe.check_later(self._magnitudes, self._circumstances)
            check_generators(self._generators, self.reachable)

    def behaves_like(self, smoothed_map: SmoothedMap) -> bool:
        """Whether a map is of what this run samples, as far as its plain map and its probe draw say."""
        known = ((smoothed_map.plain, self.start.plain), (smoothed_map.probe, self.start.probes[0]))
        return all(one is not None and same_behaviour(one, two) for one, two in known)

    def of_rows(self, rows: Tensor) -> "SamplingRun | None":
        """A run of some of the rows, with the start of this one.

        Args:
            rows: Their numbers.

        Returns:
            The run; ``None`` where the rows must be sampled together to be the same: they share random numbers or a
            reference distribution, or without the other rows they have other maps.
        """
        if self.rows_belong_together:
            return None
        chosen = self.request.of_rows(rows.tolist(), distribution=False)
        part = SamplingRun(self.explainers, chosen, check_rows=False, on_pass=self.on_pass, declared=self.declared)
        start = self.start.of_rows(rows)
        if not part.start.behaves_like(start) or part.rows_belong_together:
            return None
        part.start, part.probed = start, self.probed
        return part

    @property
    def rows_belong_together(self) -> bool:
        """Whether rows share random numbers or a reference distribution."""
        return self.wrapped.has_distribution or self.wrapped.randomness.used or self.request.draw_baseline_from_distrib

    @property
    def convergence_delta(self) -> Tensor:
        """Deltas of all draws, those of example 0 first."""
        return torch.cat(self.wrapped.deltas, dim=1).reshape(-1)

    @cached_property
    def start(self) -> RunStart:
        """What is found out before the first draw.

        Raises:
            CertificationError: A model that was called cannot be certified, or does not take inputs or arguments.
        """
        buffers, rows = digests_of_buffers(self.reachable), len(self.request.inputs[0])
        # A hook would make a compiled model compile again.
        with called_modules(watch=not self.reachable.compiled) as called:
            clean = _copied(self.wrapped.clean())
        once = options_of(self.method)
        self.reachable.add(called)
        check_reachable(self.method, self.reachable)
        layout = FeatureLayout.of(clean.maps, is_tuple=clean.is_tuple, rows=rows, groups=self.request.groups)
        plain = checked_magnitudes(layout.flatten(clean.maps, rows), where="at the clean input").cpu()
        inputs = probe_inputs(self.request.inputs, self.request.plan.stdevs, self.request.plan.law)
        drawn = _copied(self.wrapped.under_fixed_seed(inputs))
        magnitudes = checked_magnitudes(layout.flatten(drawn.maps, rows), where="in the probe draw")
        if self.declared is None:
            state = frozenset(id(buffer) for buffer in changed_buffers(self.reachable, buffers).values())
            self.declared = declared_settings(self.method, self.reachable, options=(self._options, once), state=state)
        if self.probed:
            check_generators(self._generators, self.reachable)
            self._generators = self.reachable.states()
            self._copies = (self.request.inputs, clean), (inputs, drawn)
            if self.wrapped.repeats_arguments():  # a graph's edges, repeated, may end a pass with an error
                self._check_copies()
            self.probe = self._probe(buffers)
        return RunStart(
            self.declared,
            layout,
            [self._setup(explainer, self.declared) for explainer in self.explainers],
            plain,
            [explainer.per_draw_map(magnitudes).values.cpu() for explainer in self.explainers],
        )

    def _check_copies(self) -> None:
        """Refuse a method whose maps depend on how many rows a call has, or that repeats what belongs to no example."""
        copies, self._copies = self._copies, ()
        if not copies or self.wrapped.randomness.used or self.request.plan.largest_pass == 1:
            return
        # Rounding depends on the size of a call, and near a kink of the network it decides; hardly twice.
        if any(self.wrapped.check_copies(inputs, once) for inputs, once in copies):
            return
        if self.wrapped.repeats_arguments():
            raise CertificationError(
                "Expected arguments whose first dimension is the number of examples to have a row for each of them, "
                "got other attributions when every example and every row is there twice. Mark a tensor that belongs to "
                "no example as captum_certified.Shared(tensor)."
            )
        raise CertificationError(
            "Expected attributions that depend on one input alone, got others when every example is there twice: the "
            "model uses the number of rows of its input."
        )

    def _attribute(self, noisy: tuple[Tensor, ...], draws: range) -> Attributions:
        """Attributions of one pass."""
        outputs = self.within_memory(noisy, draws)
        if self.probe is not None and self.probe.rows_unchecked and self.wrapped.rows_in_a_call(draws) > 1:
            outputs = _copied(outputs)
            together = not self.wrapped.randomness.used
            self.probe.check_other_rows(draws, self._flat(outputs), self._magnitudes, move=together)
            self._check_copies()
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
        return self.start.layout.flatten(outputs.maps, len(self.request.inputs[0]))

    @property
    def _circumstances(self) -> tuple[object, ...]:
        return self.within_memory.most, self.wrapped.randomness.used

    def _probe(self, buffers: dict[tuple[int, str], str]) -> Probe:
        plan = self.request.plan
        return Probe(
            partial(noisy_inputs, self.request.inputs, plan=plan),
            [stdev > 0 for stdev in plan.stdevs],
            [explainer.per_draw_map for explainer in self.explainers],
            seed=plan.seed,
            most_draws=plan.largest_pass,
            reachable=self.reachable,
            buffers=buffers,
        )

    def _setup(self, explainer: "SmoothedAttribution", declared: DeclaredSettings) -> dict[str, Any]:
        return setup_of(type(explainer).__name__, explainer.per_draw_map, declared, self.request)

    def _smoothed(self, fields_of_maps: Sequence[dict[str, Any]], start: RunStart | None) -> list[SmoothedMap]:
        if start is None:
            return [SmoothedMap(**fields) for fields in fields_of_maps]
        # Known only now: a method may draw random numbers in some passes alone.
        sampled = {"stochastic": self.wrapped.randomness.used, "probed": self.probed}
        known = zip(fields_of_maps, start.setups, start.probes, strict=True)
        return [
            SmoothedMap(**fields, plain=start.plain, probe=probe, setup={**setup, **sampled})
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


def _copied(outputs: Attributions) -> Attributions:
    """Attributions in memory of their own: a method may hand out the same memory in every call."""
    return outputs._replace(maps=tuple(m.clone() for m in outputs.maps))


def request_of(
    explainer: "SmoothedAttribution", inputs: Tensor | tuple[Tensor, ...], **arguments: Any
) -> SamplingRequest:
    """The checked arguments of a call of an explainer.

    Args:
        explainer: The explainer.
        inputs: Its inputs.
        **arguments: Further arguments of :meth:`SamplingRequest.checked`.
    """
    block = block_draws(binary=explainer.per_draw_map.binary)
    return SamplingRequest.checked(inputs, block=block, law=explainer.noise_law, **arguments)


def last_of(items: Iterable[Item]) -> Item:
    """The last item; the others are let go as soon as the next one is there."""
    return deque(items, maxlen=1).pop()
