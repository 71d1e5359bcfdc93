"""The run of one example: reuse its stored result, or sample its draws and write a new result.

Sampling continues from a checkpoint if there is one.
"""

import functools
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import TypeVar, cast

from torch import Tensor

from captum_certified._captum import as_tuple
from captum_certified.attr.memory import explained_memory_errors
from captum_certified.attr.request import SamplingRequest
from captum_certified.attr.run import SamplingRun
from captum_certified.certify import TopKCertificate
from captum_certified.certify.sequential import sample_in_looks
from captum_certified.certify.verification import curve_of
from captum_certified.exceptions import CaptumCertifiedError
from captum_certified.maps import SmoothedMap
from captum_certified.runs.example_files import ExampleFiles
from captum_certified.runs.examples import Example, Source
from captum_certified.runs.job import Job
from captum_certified.runs.processes import Processes, rounds
from captum_certified.runs.progress import RunProgress
from captum_certified.runs.results import with_notes_digest
from captum_certified.runs.resume import LOOKED_BEFORE, RunState, StartingPoint, starting_point
from captum_certified.runs.summary import ExampleResult
from captum_certified.storage import Json, json_digest, read_json

__all__ = ["ExampleRun"]

Value = TypeVar("Value")


class ExampleRun:
    """Certifies one example, alone or together with other processes.

    Args:
        state: The job, and the state that all examples of the run share.
        source: The example.
        workers: The processes that split the draws. The first process reads and writes the files.
        progress: The progress bar of the run.
    """

    def __init__(self, state: RunState, source: Source, workers: Processes, progress: RunProgress) -> None:
        self.source = source
        self.workers = workers
        self.progress = progress
        self.state = state
        self._run: SamplingRun | None = None
        self.most_draws: int | None = None
        self.files = None if state.job.out is None else ExampleFiles(state.job.out, source.name)

    @cached_property
    def example(self) -> Example:
        """The example, which every process reads once."""
        return self.source.load()

    @cached_property
    def job(self) -> Job:
        """The settings of the run, with the reference set of the example if it has one."""
        return self.state.job.for_example(self.example)

    def result(self) -> ExampleResult:
        """Return the result of the example: the stored result if it can be kept, otherwise a new result."""
        # All processes take the smallest of their default pass sizes, so that all draws are rounded alike.
        self.most_draws = min(self.workers.together(lambda: self._request(None).plan.pass_size))
        start = cast(StartingPoint, self.workers.together(self._begin)[0])
        if start.finished is not None:
            return self._in_first(lambda: self._keep(start))
        smoothed_map = start.smoothed_map
        # A sequential run that has stopped adds no draws to its map.
        ended = start.outcome == "recertified" or (smoothed_map is not None and smoothed_map.looks is not None)
        if smoothed_map is None or not ended:
            smoothed_map = self._sampled(start)
        with explained_memory_errors(as_tuple(self.example.inputs)):
            return self._in_first(lambda: self._finish(smoothed_map, start))

    def _in_first(self, step: Callable[[], Value]) -> Value:
        """Run a step in the first process only, and return its value in all processes."""
        return cast(Value, self.workers.together(lambda: step() if self.workers.is_first else None)[0])

    def _begin(self) -> StartingPoint | None:
        example = self.example  # read in every process, so that an unreadable example fails in every process
        if not self.workers.is_first:
            return None
        return starting_point(self.state, example, self.files, self._run_of)

    def _request(self, seed: int | None, continued: SmoothedMap | None = None) -> SamplingRequest:
        """Return the request for the draws of a seed, with no larger passes than any process would take.

        If a map is continued, the passes are also no larger than those of this map, so that all draws are rounded
        alike.
        """
        sizes = [self.most_draws, None if continued is None else continued.setup.get("nt_samples_batch_size")]
        request = self.job.request(self.example, seed=seed)
        return request.with_passes_of_at_most(
            min([size for size in sizes if isinstance(size, int)], default=request.plan.pass_size)
        )

    def _run_of(self, seed: int | None, continued: SmoothedMap | None = None) -> SamplingRun:
        """Return the run that samples all draws of a seed, and that notices if the method changes meanwhile."""
        if self._run is None or self._run.request.plan.seed != seed:
            request = self._request(seed, continued)
            self._run = SamplingRun(request, on_pass=self.progress.add, declared=self.state.declared)
        return self._run

    def _sampled(self, start: StartingPoint) -> SmoothedMap:
        """Sample all draws that are needed, and return their map.

        Every block is sampled as a separate map, and the maps are merged in the order of the draws. So the sums have
        the same bits, no matter when and in which process each block is sampled.
        """
        run = self._run_of(start.seed, start.smoothed_map)
        if run.request.default_pass is not None:
            self.progress.tell_passes(self.source.name, run.request.default_pass)
        rule = self.job.stopping_rule(run.request)
        if rule is None:
            return self._sampled_until(start.smoothed_map, run.request.plan.stop)
        return sample_in_looks(
            self._sampled_until,
            rule,
            rows=1,
            start=start.smoothed_map,
            decide=lambda looked_at: self._in_first(functools.partial(rule.done, looked_at)),
        )

    def _sampled_until(
        self,
        so_far: SmoothedMap | None,
        stop: int,
        rows: Tensor | None = None,  # noqa: ARG002  an example has one row
    ) -> SmoothedMap:
        """Return the map of all draws before ``stop``, the end of a block; see :class:`SampleUntil`."""
        assert self._run is not None  # noqa: S101  for the type checker: the caller has made the run
        run, done = self._run, 0 if so_far is None else int(so_far.n_samples[0])
        self.progress.reach(done)
        blocks = [block for block in run.request.plan.blocks() if block.stop <= stop]
        for shared in rounds(blocks, done=done, processes=self.workers.size):
            parts = self.workers.together(functools.partial(self._block, run, shared))
            self._check_later(run)
            for part in parts:
                if part is not None:
                    so_far = part if so_far is None else so_far.merge(part)
            assert so_far is not None  # noqa: S101  for the type checker: the first process has sampled a block
            self.progress.reach(shared[-1].stop)
            self._in_first(functools.partial(self._save, run, so_far))
            self.job.certifier.check(so_far, k=self.job.goal.k)
            if done == 0 and shared[0].start == 0 and shared[-1].stop < run.request.plan.stop:
                self.progress.expect(self.source.name, functools.partial(self._forecast, so_far), shared[-1].stop)
        assert so_far is not None  # noqa: S101  for the type checker: there is at least one block
        return so_far

    def _forecast(self, smoothed_map: SmoothedMap) -> float:
        """Return the fraction of the top set to expect from all draws."""
        goal = self.job.goal
        certificate = self.job.certifier.top_k(
            smoothed_map.as_if_of(self.job.sampling.nt_samples), k=goal.k, radius=goal.radius, reference=goal.reference
        )
        return float(certificate.overlap_fraction[0])

    def _block(self, run: SamplingRun, blocks: list[range]) -> SmoothedMap | None:
        """Sample this process's block of a round, and return its map, or ``None`` if the process has no block."""
        if self.workers.rank >= len(blocks):
            return None
        [smoothed] = run.last(blocks[self.workers.rank], check_later=False)
        self.state.declared = run.declared
        return smoothed

    def _check_later(self, run: SamplingRun) -> None:
        """Refuse a method that changed during the run, and remove the checkpoint, which may hold wrong draws."""
        try:
            self.workers.together(run.check_later)
        except CaptumCertifiedError:
            if self.files is not None and self.workers.is_first:
                self.files.remove_checkpoint()
            raise

    def _save(self, run: SamplingRun, smoothed_map: SmoothedMap) -> None:
        if self.files is not None:
            self.files.write_checkpoint(smoothed_map, self.state.sampling_settings(self.job, run))

    def _keep(self, start: StartingPoint) -> ExampleResult:
        stored, files = start.finished, self.files
        assert stored is not None and files is not None  # noqa: S101, PT018  for the type checker: it was found on disk
        if self.job.beside is not None:
            self.job.beside(files.stem, stored.certificate, self.example, False)
        return ExampleResult(name=self.source.name, record=stored.record, outcome="kept", path=files.json)

    def _finish(self, smoothed_map: SmoothedMap, start: StartingPoint) -> ExampleResult:
        job, files, outcome = self.job, self.files, start.outcome
        run = self._run_of(smoothed_map.seed)
        rule = job.stopping_rule(run.request)
        if smoothed_map.class_votes is None:  # the map of an earlier result already has the votes
            [smoothed_map] = run.yardsticks.add_to([smoothed_map])
        if rule is None:
            certificate = job.certifier.top_k(
                smoothed_map, k=job.goal.k, radius=job.goal.radius, reference=job.goal.reference
            )
        else:
            certificate = rule.certificate(smoothed_map)
        notes = with_notes_digest({**self._notes(certificate), LOOKED_BEFORE: start.looked_before})
        if files is None:
            record = {**certificate.to_dict(), **notes}
            return ExampleResult(name=self.source.name, record=record, outcome=outcome)
        if outcome == "recertified":  # keeps the draws if the process is killed before both result files are written
            self._save(run, smoothed_map)
        if job.beside is not None:
            job.beside(files.stem, certificate, self.example, True)
        files.write_result(certificate, self.example.inputs, notes)
        files.remove_checkpoint()
        return ExampleResult(name=self.source.name, record=read_json(files.json), outcome=outcome, path=files.json)

    def _notes(self, certificate: TopKCertificate) -> dict[str, Json]:
        job, smoothed_map = self.job, certificate.map
        sampling = self.state.sampling_settings(job, self._run_of(smoothed_map.seed))
        settings = {"sampling": sampling, "certificate": job.certificate_settings}
        return {
            **self.source.notes,
            **self.example.notes,
            **self._region_notes(smoothed_map),
            "curve": {"radii": list(job.all_radii), "overlap": curve_of(certificate, job.all_radii)},
            "plain_curve": None if certificate.of_plain is None else curve_of(certificate.of_plain, job.all_radii),
            "settings": settings,
            "settings_digest": json_digest({**settings, "seed": smoothed_map.seed}),
        }

    def _region_notes(self, smoothed_map: SmoothedMap) -> dict[str, Json]:
        """Return the certificate of a region given as one mask, or the certificates of named regions by name."""
        job, region = self.job, self.example.region
        given = job.sampling.region if region is None else region
        certified = {
            name: job.certifier.region(smoothed_map, name=name, radius=job.goal.radius).to_dict()
            for name in smoothed_map.regions
        }
        if isinstance(given, Mapping):
            return {"regions": certified}
        return {"region": next(iter(certified.values()))} if certified else {}
