"""One example of a run: found finished, continued from a checkpoint, or sampled; then written."""

import functools
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, TypeVar, cast

from captum_certified.attr.run import SamplingRun
from captum_certified.certify import TopKCertificate
from captum_certified.certify.sequential import Goal, at_look
from captum_certified.checks import resolved_count
from captum_certified.exceptions import CaptumCertifiedError
from captum_certified.maps import SmoothedMap
from captum_certified.runs.checkpoint import write_checkpoint
from captum_certified.runs.examples import Example, Source
from captum_certified.runs.job import Job
from captum_certified.runs.processes import Processes
from captum_certified.runs.progress import RunProgress
from captum_certified.runs.results import write_result
from captum_certified.runs.resume import LOOKED_BEFORE, Beginning, KeptResults, ResultFiles, beginning
from captum_certified.runs.sharing import rounds
from captum_certified.runs.stored import sealed
from captum_certified.runs.summary import ExampleResult
from captum_certified.storage import json_digest, read_json

__all__ = ["ExampleRun"]

Value = TypeVar("Value")


class ExampleRun:
    """Certifies one example, alone or together with other processes.

    Args:
        job: What to do.
        source: The example.
        workers: The processes that share its draws; the first of them reads and writes its files.
        progress: Told of every pass.
        kept: Which results are looked at before they are kept.
        notices: What was said already about files that are not used.
    """

    def __init__(
        self,
        job: Job,
        source: Source,
        workers: Processes,
        progress: RunProgress,
        *,
        kept: KeptResults,
        notices: set[str],
    ) -> None:
        self.job = job
        self.source = source
        self.workers = workers
        self.progress = progress
        self.kept = kept
        self.notices = notices
        self._run: SamplingRun | None = None
        self.files = None if job.out is None else ResultFiles(job.out, source.name)

    @cached_property
    def example(self) -> Example:
        """Read once, in every process."""
        return self.source.load()

    def result(self) -> ExampleResult:
        """Certify it, unless that is done already."""
        start = cast(Beginning, self.workers.together(self._begin)[0])
        if start.finished is not None:
            return self._in_first(lambda: self._keep(start))
        smoothed_map = start.smoothed_map
        # A map whose draws have ended is not looked at again.
        ended = start.outcome == "recertified" or (smoothed_map is not None and smoothed_map.looks is not None)
        if smoothed_map is None or not ended:
            smoothed_map = self._sampled(start)
        return self._in_first(lambda: self._finish(smoothed_map, start))

    def _in_first(self, step: Callable[[], Value]) -> Value:
        """What a step returns in the first process, where alone it runs."""
        return cast(Value, self.workers.together(lambda: step() if self.workers.is_first else None)[0])

    def _begin(self) -> Beginning | None:
        example = self.example  # read by all processes, so that all know if it cannot be
        if not self.workers.is_first:
            return None
        return beginning(self.job, example, self.files, kept=self.kept, notices=self.notices, run_of=self._run_of)

    def _run_of(self, seed: int | None) -> SamplingRun:
        """What samples the draws of a seed; made once, so that it knows its first draw when the last is made."""
        if self._run is None or self._run.request.plan.seed != seed:
            self._run = self.job.run(self.job.request(self.example, seed=seed), on_pass=self.progress.add)
        return self._run

    def _sampled(self, start: Beginning) -> SmoothedMap:
        """The map of all draws that are needed: maps of single blocks, merged in the order of their draws.

        Whoever samples a block, and whenever, the sums are formed in one order, so that all results are equal.
        """
        run = self._run_of(start.seed)
        goal = self.job.goal(run.request)
        so_far = start.smoothed_map
        if goal is None:
            return self._sampled_until(run.request.plan.stop, run, so_far)
        for look, size in enumerate(goal.sizes, start=1):
            if so_far is not None and int(so_far.n_samples[0]) > size:
                continue  # looked at before an interruption, and gone on from
            so_far = self._sampled_until(size, run, so_far)
            looked_at = at_look(so_far, look)
            if self._in_first(functools.partial(_is_done, goal, looked_at)):
                return looked_at
        raise AssertionError("the last look ends the draws")

    def _sampled_until(self, stop: int, run: SamplingRun, so_far: SmoothedMap | None) -> SmoothedMap:
        """The map of all draws before ``stop``, the end of a block."""
        request = run.request
        done = 0 if so_far is None else int(so_far.n_samples[0])
        self.progress.reach(done)
        blocks = [block for block in request.plan.blocks() if block.stop <= stop]
        for shared in rounds(blocks, done=done, processes=self.workers.size):
            parts = self.workers.together(functools.partial(self._block, run, shared))
            self._check_later(run)
            for part in parts[: len(shared)]:
                new = cast(SmoothedMap, part)
                so_far = new if so_far is None else so_far.merge(new)
            self.progress.reach(shared[-1].stop)
            self._in_first(functools.partial(self._save, run, cast(SmoothedMap, so_far)))
            self.job.certifier.check(cast(SmoothedMap, so_far), k=self.job.k)
            if done == 0 and shared[0].start == 0 and shared[-1].stop < request.plan.stop:
                self.progress.expect(
                    self.source.name,
                    functools.partial(self._forecast, cast(SmoothedMap, so_far), request.plan.stop),
                    shared[-1].stop,
                )
        return cast(SmoothedMap, so_far)

    def _forecast(self, smoothed_map: SmoothedMap, draws: int) -> float:
        """The share of the top set to expect from so many draws."""
        job = self.job
        expected = job.certifier.forecast(smoothed_map, k=job.k, radius=job.radius, nt_samples=draws)
        return float(expected[0]) / resolved_count("k", job.k, smoothed_map.layout.n_features)

    def _block(self, run: SamplingRun, blocks: list[range]) -> SmoothedMap | None:
        """The map of this process's block of a round, if there is one."""
        if self.workers.rank >= len(blocks):
            return None
        self.job.declared_by(run)
        return run.last(blocks[self.workers.rank], check_later=False)[0]

    def _check_later(self, run: SamplingRun) -> None:
        """Refuse a method that has become another, before what it gave is saved; what was saved is given up."""
        try:
            self.workers.together(run.check_later)
        except CaptumCertifiedError:
            if self.files is not None and self.workers.is_first:
                self.files.checkpoint.unlink(missing_ok=True)
            raise

    def _save(self, run: SamplingRun, smoothed_map: SmoothedMap) -> None:
        if self.files is not None:
            write_checkpoint(self.files.checkpoint, smoothed_map, self.job.sampling_settings(run))

    def _keep(self, start: Beginning) -> ExampleResult:
        stored, files = start.finished, self.files
        assert stored is not None and files is not None  # noqa: S101, PT018  for the type checker: it was found there
        if self.job.beside is not None:
            self.job.beside(files.stem, stored.certificate, self.example, False)
        return ExampleResult(name=self.source.name, record=stored.record, outcome="kept", path=files.json)

    def _finish(self, smoothed_map: SmoothedMap, start: Beginning) -> ExampleResult:
        job, files, outcome = self.job, self.files, start.outcome
        goal = job.goal(self._run_of(smoothed_map.seed).request)
        if goal is None:
            certificate = job.certifier.top_k(smoothed_map, k=job.k, radius=job.radius)
        else:
            certificate = goal.certificate(smoothed_map)
        notes = sealed({**self._notes(certificate), LOOKED_BEFORE: start.looked_before})
        if files is None:
            record = {**certificate.to_dict(), **notes}
            return ExampleResult(name=self.source.name, record=record, outcome=outcome)
        if outcome == "recertified":  # or a kill between the two files of the result would cost all draws
            self._save(self._run_of(smoothed_map.seed), smoothed_map)
        if job.beside is not None:
            job.beside(files.stem, certificate, self.example, True)
        path = write_result(files.json, certificate, self.example.inputs, notes=notes)
        files.checkpoint.unlink(missing_ok=True)
        return ExampleResult(name=self.source.name, record=read_json(path), outcome=outcome, path=path)

    def _notes(self, certificate: TopKCertificate) -> dict[str, Any]:
        job, smoothed_map = self.job, certificate.map
        radii = list(job.radii or ())
        curve = job.certifier.top_k_curve(smoothed_map, k=job.k, radii=radii)
        sampling = job.sampling_settings(self._run_of(smoothed_map.seed))
        settings = {"sampling": sampling, "certificate": job.certificate_settings}
        return {
            **self.source.notes,
            **self.example.notes,
            **self._region_notes(smoothed_map),
            "curve": {"radii": radii, "overlap": curve[0].tolist()},
            "settings": settings,
            "settings_digest": json_digest({**settings, "seed": smoothed_map.seed}),
        }

    def _region_notes(self, smoothed_map: SmoothedMap) -> dict[str, Any]:
        """Certificates of the regions: of a single mask, or by name."""
        job, region = self.job, self.example.region
        given = job.sampling.get("region") if region is None else region
        certified = {
            name: job.certifier.region(smoothed_map, name=name, radius=job.radius).to_dict()
            for name in smoothed_map.regions
        }
        if isinstance(given, Mapping):
            return {"regions": certified}
        return {"region": next(iter(certified.values()))} if certified else {}


def _is_done(goal: Goal, smoothed_map: SmoothedMap) -> bool:
    return bool(goal.done(smoothed_map).all())
