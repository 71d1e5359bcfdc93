"""One run: a checked request, sampled range by range, and the probe that says whether it may be certified."""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property, partial
from typing import TypeVar

import torch
from torch import Tensor

from captum_certified._captum import advance_progress, progress_bar
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
from captum_certified.attr.run_start import RunStart
from captum_certified.attr.wrapped_method import WrappedMethod
from captum_certified.exceptions import CertificationError, InvalidInputError
from captum_certified.maps import FeatureLayout, Setup, SmoothedMap
from captum_certified.sampling import Attributions, checked_magnitudes, noisy_inputs, smooth

__all__ = ["SamplingRun", "last_of"]

Item = TypeVar("Item")


class SamplingRun:
    """Samples the draws of a request, all of them or one range after another.

    Args:
        request: The call.
        on_pass: Called with the number of draws of every finished pass, in place of a progress bar of its own.
        declared: What the method says of itself, if another run has asked.

    Raises:
        CertificationError: No sound certificate could come of it.
        InvalidInputError: Convergence deltas are asked for.
    """

    def __init__(
        self,
        request: SamplingRequest,
        *,
        on_pass: Callable[[int], None] | None = None,
        declared: DeclaredSettings | None = None,
    ) -> None:
        # A gradient that the caller's inputs ask for must not flow through thousands of draws.
        self.request = replace(request, inputs=tuple(tensor.detach() for tensor in request.inputs))
        self.on_pass = on_pass
        self.declared = declared
        self.dtypes: tuple[torch.dtype, ...] = ()
        self.device = request.inputs[0].device
        self.wrapped = WrappedMethod(request.method, self.request)
        self.within_memory = WithinMemory(self._call)
        self.probed = request.check_rows
        self.probe: Probe | None = None
        self._copies: tuple[tuple[tuple[Tensor, ...], Attributions], ...] = ()
        if request.for_certificates:
            self.reachable = Reachable(request.method, request.arguments)
            self._generators, self._options = self.reachable.states(), options_of(request.method)
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
        request = self.request if draws is None else self.request.of_draws(draws)
        # Before the bar: the start is not part of it.
        start = self.start if request.for_certificates else None
        with self._progress(request.plan.n_samples) as on_pass:
            blocks = smooth(
                self._attribute,
                [explainer.per_draw_map for explainer in request.explainers],
                request.inputs,
                request.plan,
                groups=request.groups,
                region=request.region,
                covariance=request.covariance,
                on_pass=on_pass,
            )
            for maps in blocks:
                is_last = int(maps[0].n_samples[0]) == request.plan.n_samples
                if check_each or (check_later and is_last):
                    self.check_later()
                # Known only now: a method may draw random numbers in some passes alone.
                stochastic = self.wrapped.randomness.used
                yield maps if start is None else start.add_to(maps, stochastic=stochastic, probed=self.probed)

    def check_later(self) -> None:
        """Refuse a method that has become another since the first draw of this run.

        Raises:
            CertificationError: The maps of the first call have changed, or numbers were drawn from another generator.
        """
        if self.probe is not None:
            self.probe.check_later(self._magnitudes, self._circumstances)
            check_generators(self._generators, self.reachable)

    def settle_covariance(self, *, taken: bool) -> None:
        """Take the covariance of all later draws, or of none, where the call leaves that open."""
        self.request = self.request.with_covariance(taken)

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
        chosen = replace(self.request.of_rows(rows.tolist()), check_rows=False)
        part = SamplingRun(chosen, on_pass=self.on_pass, declared=self.declared)
        start = self.start.of_rows(rows)
        if not part.start.behaves_like(start) or part.rows_belong_together:
            return None
        part.start, part.probed = start, self.probed
        return part

    @property
    def setups(self) -> list[Setup]:
        """For every explainer what its maps are of; it calls the model only if no other run has done so."""
        if self.declared is None or "start" in vars(self):
            return self.start.setups
        return [setup_of(explainer, self.declared, self.request) for explainer in self.request.explainers]

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
        buffers, rows = digests_of_buffers(self.reachable), self.request.rows
        # A hook would make a compiled model compile again.
        with called_modules(watch=not self.reachable.compiled) as called:
            clean = _copied(self.wrapped.clean())
        once = options_of(self.request.method)
        self.reachable.add(called)
        check_reachable(self.request.method, self.reachable)
        layout = FeatureLayout.of(clean.maps, is_tuple=clean.is_tuple, rows=rows, groups=self.request.groups)
        plain = checked_magnitudes(layout.flatten(clean.maps, rows), where="at the clean input").cpu()
        inputs = probe_inputs(self.request.inputs, self.request.plan.stdevs, self.request.plan.law)
        drawn = _copied(self.wrapped.under_fixed_seed(inputs))
        magnitudes = checked_magnitudes(layout.flatten(drawn.maps, rows), where="in the probe draw")
        if self.declared is None:
            state = frozenset(id(buffer) for buffer in changed_buffers(self.reachable, buffers).values())
            self.declared = declared_settings(
                self.request.method, self.reachable, options=(self._options, once), state=state
            )
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
            [setup_of(explainer, self.declared, self.request) for explainer in self.request.explainers],
            plain,
            [explainer.per_draw_map(magnitudes).values.cpu() for explainer in self.request.explainers],
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
        return self.start.layout.flatten(outputs.maps, self.request.rows)

    @property
    def _circumstances(self) -> tuple[object, ...]:
        return self.within_memory.most, self.wrapped.randomness.used

    def _probe(self, buffers: dict[tuple[int, str], str]) -> Probe:
        plan = self.request.plan
        return Probe(
            partial(noisy_inputs, self.request.inputs, plan=plan),
            [stdev > 0 for stdev in plan.stdevs],
            [explainer.per_draw_map for explainer in self.request.explainers],
            seed=plan.seed,
            most_draws=plan.largest_pass,
            reachable=self.reachable,
            buffers=buffers,
        )

    @contextmanager
    def _progress(self, draws: int) -> Iterator[Callable[[int], None]]:
        title = " + ".join(type(explainer).__name__ for explainer in self.request.explainers)
        with progress_bar(total=draws, description=title, show=self.request.show_progress) as bar:
            yield self.on_pass or partial(advance_progress, bar)

    def _check_certifiable(self) -> None:
        for explainer in self.request.explainers:
            explainer.check_certifiable()
        if not any(self.request.plan.stdevs):
            raise CertificationError("Expected `stdevs` > 0 for at least one input, got no noise.")
        check_scale(self.request.inputs, self.request.plan.stdevs)
        if self.request.arguments.get("return_convergence_delta"):
            raise InvalidInputError("Expected no `return_convergence_delta` here, got True; `attribute` returns it.")
        check_method(self.request.method)
        check_reachable(self.request.method, self.reachable)


def _copied(outputs: Attributions) -> Attributions:
    """Attributions in memory of their own: a method may hand out the same memory in every call."""
    return outputs._replace(maps=tuple(m.clone() for m in outputs.maps))


def last_of(items: Iterable[Item]) -> Item:
    """The last item; the others are let go as soon as the next one is there."""
    return deque(items, maxlen=1).pop()
