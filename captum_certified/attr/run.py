"""A sampling run: sample the draws of a checked request, and check by probes whether the maps may be certified."""

from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property, partial

import torch
from torch import Tensor

from captum_certified._captum import advance_progress, progress_bar
from captum_certified.attr.captum_methods import check_method
from captum_certified.attr.fingerprint import DeclaredSettings, declared_settings, options_of, probe_inputs, setup_of
from captum_certified.attr.memory import PassesWithinMemory, explained_memory_errors
from captum_certified.attr.private_generators import check_not_drawn_from
from captum_certified.attr.probe import CallConditions, Probe
from captum_certified.attr.reachable import BufferDigests, Reachable, called_modules
from captum_certified.attr.refusals import check_evaluation_mode, check_hooks, check_scale
from captum_certified.attr.request import SamplingRequest
from captum_certified.attr.run_start import RunStart
from captum_certified.attr.wrapped_method import WrappedMethod
from captum_certified.attr.yardsticks import Yardsticks
from captum_certified.exceptions import CertificationError, InvalidInputError
from captum_certified.maps import FeatureLayout, Setup, SmoothedMap
from captum_certified.sampling import Attributions, checked_magnitudes, noisy_inputs, smooth

__all__ = ["SamplingRun"]


class SamplingRun:
    """Samples the draws of a request, all at once or one range after another.

    Args:
        request: The call.
        on_pass: Called after every pass with the number of its draws, in place of the progress bar.
        declared: Settings of the method, if another run has read them already.

    Raises:
        CertificationError: The request is for certificates, and the method, model or noise does not allow them.
    """

    def __init__(
        self,
        request: SamplingRequest,
        *,
        on_pass: Callable[[int], None] | None = None,
        declared: DeclaredSettings | None = None,
    ) -> None:
        # The inputs are detached, so that no gradient of the caller flows through thousands of draws.
        self.request = replace(request, inputs=tuple(tensor.detach() for tensor in request.inputs))
        self.on_pass = on_pass
        self.declared = declared
        self.dtypes: tuple[torch.dtype, ...] = ()
        self.device = request.inputs[0].device
        self.wrapped = WrappedMethod(request.method, self.request)
        self.passes = PassesWithinMemory(self._attribute_part)
        self.probed = request.check_rows
        self.probe: Probe | None = None
        self._unchecked_calls: tuple[tuple[tuple[Tensor, ...], Attributions], ...] = ()
        if request.for_certificates:
            self.reachable = Reachable(request.method, request.arguments)
            self._generator_states = self.reachable.generator_states()
            self._options = options_of(request.method)
            self._check_certifiable()

    def __iter__(self) -> Iterator[list[SmoothedMap]]:
        """Yield the maps after every block of draws. Check before each yield that the method has not changed."""
        return self.maps(check_each=True)

    def last(self, draws: range | None = None, *, check_later: bool = True) -> list[SmoothedMap]:
        """Return the maps of a range of draws, by default of all draws."""
        return deque(self.maps(draws, check_later=check_later), maxlen=1).pop()

    def maps(
        self, draws: range | None = None, *, check_each: bool = False, check_later: bool = True
    ) -> Generator[list[SmoothedMap], None, None]:
        """Yield maps each time a block of draws is complete. They are the means over all draws of ``draws`` so far.

        Args:
            draws: Numbers of the draws; all draws of the request by default.
            check_each: Call :meth:`check_later` after every block, and add the :class:`Yardsticks` to every map.
            check_later: Call :meth:`check_later` after the last block, and add the :class:`Yardsticks` to the last map.
        """
        request = self.request if draws is None else self.request.of_draws(draws)
        # The start is computed before the progress bar begins, because the bar counts only draws.
        start = self.start if request.for_certificates else None
        with explained_memory_errors(request.inputs), self._progress(request.plan.n_samples) as on_pass:
            blocks = smooth(
                self._attribute_pass,
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
                complete = check_each or (check_later and is_last)
                if complete:
                    self.check_later()
                # This is read after the block, because a method may draw random numbers in some passes only.
                stochastic = self.wrapped.randomness.used
                if start is not None:
                    maps = start.add_to(maps, stochastic=stochastic, probed=self.probed)
                yield self.yardsticks.add_to(maps) if complete and start is not None else maps

    def check_later(self) -> None:
        """Raise a CertificationError if the method has changed since the first draw or used a private generator."""
        if self.probe is not None:
            with explained_memory_errors(self.request.inputs):
                self.probe.check_first_call(self._compute_magnitudes, self._call_conditions)
            check_not_drawn_from(self.reachable.generators, self._generator_states)

    def settle_covariance(self, *, taken: bool) -> None:
        """Say whether the covariance of later draws is summed, if the request has ``covariance="auto"``."""
        self.request = self.request.with_covariance(taken)

    def of_rows(self, rows: Tensor) -> "SamplingRun | None":
        """Return a run of some of the examples, or ``None`` if their maps depend on the other examples.

        The new run uses the start of this run. Examples depend on each other if they share random numbers or a
        reference distribution, or if their maps change when the other examples are left out.
        """
        if self.rows_belong_together:
            return None
        chosen = replace(self.request.of_rows(rows.tolist()), check_rows=False)
        part = SamplingRun(chosen, on_pass=self.on_pass, declared=self.declared)
        start = self.start.of_rows(rows)
        if not part.start.behaves_like(start) or part.rows_belong_together:
            return None
        part.start, part.yardsticks, part.probed = start, self.yardsticks.of_rows(rows), self.probed
        return part

    @property
    def setups(self) -> list[Setup]:
        """Setup of every explainer's map. The model is called only if the method's settings are not known yet."""
        if self.declared is None or "start" in vars(self):
            return self.start.setups
        return [setup_of(explainer, self.declared, self.request) for explainer in self.request.explainers]

    @property
    def rows_belong_together(self) -> bool:
        """Whether the examples share random numbers or a reference distribution."""
        return self.wrapped.has_distribution or self.wrapped.randomness.used or self.request.draw_baseline_from_distrib

    @property
    def convergence_delta(self) -> Tensor:
        """Convergence deltas of all draws, those of example 0 first."""
        return torch.cat(self.wrapped.deltas, dim=1).reshape(-1)

    @cached_property
    def start(self) -> RunStart:
        """Facts about the method, computed before the first draw by calls at the clean input and at a probe draw."""
        with explained_memory_errors(self.request.inputs):
            return self._computed_start()

    def _computed_start(self) -> RunStart:
        buffers, rows = self.reachable.buffer_digests(), self.request.rows
        # The modules of a compiled model are not watched, because a hook would make the model compile again.
        with called_modules(watch=not self.reachable.compiled) as called:
            clean = _cloned(self.wrapped.clean())
        options = self._options, options_of(self.request.method)
        self.reachable.add(called)
        self._check_modules()
        layout = FeatureLayout.of(clean.maps, is_tuple=clean.is_tuple, rows=rows, groups=self.request.groups)
        plain = checked_magnitudes(layout.flatten(clean.maps, rows), where="at the clean input").cpu()
        inputs = probe_inputs(self.request.inputs, self.request.plan.stdevs, self.request.plan.law)
        drawn = _cloned(self.wrapped.under_fixed_seed(inputs))
        magnitudes = checked_magnitudes(layout.flatten(drawn.maps, rows), where="in the probe draw")
        if self.declared is None:
            state = frozenset(id(buffer) for buffer in self.reachable.changed_buffers(buffers).values())
            self.declared = declared_settings(self.request.method, self.reachable, options=options, state=state)
        if self.probed:
            check_not_drawn_from(self.reachable.generators, self._generator_states)
            self._generator_states = self.reachable.generator_states()
            self._unchecked_calls = (self.request.inputs, clean), (inputs, drawn)
            if self.wrapped.repeats_arguments():
                # Arguments that must not be repeated for every draw may raise less clear errors in the first pass.
                self._check_duplicates()
            self.probe = self._new_probe(buffers)
        return RunStart(
            layout,
            [setup_of(explainer, self.declared, self.request) for explainer in self.request.explainers],
            plain,
            [explainer.per_draw_map(magnitudes).values.cpu() for explainer in self.request.explainers],
        )

    @cached_property
    def yardsticks(self) -> Yardsticks:
        """Maps and counts that show what a certificate is worth. They are computed once, after the first draws."""
        return Yardsticks.of(self.wrapped, self.request, self.start.layout, self.reachable, self.passes.most_draws)

    def _check_duplicates(self) -> None:
        """Raise a CertificationError if the maps change when a call contains every example twice."""
        calls, self._unchecked_calls = self._unchecked_calls, ()
        if not calls or self.wrapped.randomness.used or self.request.plan.largest_pass == 1:
            return
        # Rounding depends on the number of rows in a call, and may change a map near a kink of the network. But the
        # clean input and the probe draw are hardly both near kinks.
        if any(self.wrapped.duplicates_agree(inputs, attributions) for inputs, attributions in calls):
            return
        if self.wrapped.repeats_arguments():
            raise CertificationError(
                "Expected arguments whose first dimension is the number of examples to have one entry for each "
                "example, got attributions that change when every example and every entry is repeated. Mark a tensor "
                "that belongs to no example as captum_certified.Shared(tensor)."
            )
        raise CertificationError(
            "Expected attributions that depend on one input alone, got attributions that change when every example is "
            "repeated: the model uses the number of rows of its input."
        )

    def _attribute_pass(self, noisy: tuple[Tensor, ...], draws: range) -> Attributions:
        """Attribute the noisy inputs of one pass. Check once that the rows of a pass do not influence one another."""
        outputs = self.passes(noisy, draws)
        if self.probe is not None and self.probe.rows_unchecked and self.wrapped.rows_in_a_call(draws) > 1:
            outputs = _cloned(outputs)
            reorder = not self.wrapped.randomness.used
            self.probe.check_other_rows(draws, self._magnitudes(outputs), self._compute_magnitudes, reorder=reorder)
            self._check_duplicates()
        self.dtypes, self.device = tuple(m.dtype for m in outputs.maps), outputs.maps[0].device
        return outputs

    def _attribute_part(self, noisy: tuple[Tensor, ...], draws: range) -> Attributions:
        """Attribute a pass, or a part of it if the pass did not fit into memory, and record the first call."""
        outputs = self.wrapped(noisy, draws)
        if self.probe is not None and not self.probe.has_first_call:
            self.probe.record_first_call(draws, self._magnitudes(outputs), self._call_conditions)
        return outputs

    def _compute_magnitudes(self, noisy: tuple[Tensor, ...], draws: range) -> Tensor:
        """Compute the feature magnitudes of a pass."""
        return self._magnitudes(self.passes(noisy, draws))

    def _magnitudes(self, outputs: Attributions) -> Tensor:
        """Return the feature magnitudes of attributions, in newly allocated memory."""
        return self.start.layout.flatten(outputs.maps, self.request.rows)

    @property
    def _call_conditions(self) -> CallConditions:
        return CallConditions(self.passes.most_draws, draw_by_draw=self.wrapped.randomness.used)

    def _new_probe(self, buffers: BufferDigests) -> Probe:
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
        self._check_modules()

    def _check_modules(self) -> None:
        check_evaluation_mode(self.reachable)
        check_hooks(self.request.method, self.reachable)


def _cloned(outputs: Attributions) -> Attributions:
    """Return copies of attributions, because a method may return the same memory in every call."""
    return outputs._replace(maps=tuple(m.clone() for m in outputs.maps))
