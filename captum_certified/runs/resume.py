"""Finds an example's stored result or checkpoint, and decides whether to reuse it."""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from captum_certified.attr.fingerprint import DeclaredSettings
from captum_certified.attr.run import SamplingRun
from captum_certified.exceptions import CertificationError, FileFormatError
from captum_certified.maps import SmoothedMap
from captum_certified.randomness import fresh_seed
from captum_certified.runs.example_files import ExampleFiles
from captum_certified.runs.examples import Example
from captum_certified.runs.job import Job
from captum_certified.runs.results import StoredResult, read_result
from captum_certified.runs.run_fingerprint import differences
from captum_certified.runs.summary import Outcome
from captum_certified.storage import Json, digest

__all__ = [
    "LOOKED_BEFORE",
    "KeptResults",
    "RunState",
    "StartingPoint",
    "check_trust",
    "starting_point",
]

_CHOSEN = 3
LOOKED_BEFORE = "looked_before"
# Settings by which a result of the same explanation has other draws.
_OF_THE_DRAWS = ("nt_samples", "stdevs", "sequential")
# Settings by which a certificate of the same map fails for other draws. K is one of them where intervals may miss.
_OF_THE_EVENT = ("bound", "confidence", "violations")


class KeptResults:
    """Which results of a folder are looked at before they are kept.

    Equal settings do not say that the model is the same: a closure, or a network's code, is no setting. The first
    result that would be kept, the last and three others are compared with what the explainer does now; and all of
    them once one was of another explainer.

    Args:
        folder: Where the results are, or ``None``.
    """

    def __init__(self, folder: Path | None) -> None:
        there = () if folder is None else folder.glob("*.json")
        names = sorted(path.stem for path in there if path.with_suffix(".npz").is_file())
        self.chosen = {*names[-1:], *sorted(names, key=digest)[:_CHOSEN]}
        self.doubted = False
        self.first_seen = False
        self.on_trust: list[str] = []

    def are_checked(self, name: str) -> bool:
        """Whether this one is to be compared; otherwise it is kept on trust."""
        checked = self.doubted or not self.first_seen or name in self.chosen
        self.first_seen = True
        return checked


def check_trust(kept: Sequence[KeptResults]) -> None:
    """Refuse a folder in which a result was of another explainer and others were kept without a comparison.

    Args:
        kept: What was kept in each process.

    Raises:
        CertificationError: It is one.
    """
    on_trust = sorted(name for one in kept for name in one.on_trust)
    if on_trust and any(one.doubted for one in kept):
        raise CertificationError(
            "Expected results of one explainer in a folder, got some of another, which are redone; but "
            f"{len(on_trust)} were kept without being compared, such as {on_trust[0]!r}. Redo all of them with "
            "`resume`=False."
        )


@dataclass
class RunState:
    """What the examples of one run share.

    Attributes:
        job: What to do with every example.
        kept: Which results are compared before they are kept.
        notices: What was said already about files that are not used.
        declared: What the explainer says of itself, once an example was explained: all weights are hashed once.
    """

    job: Job
    kept: KeptResults
    notices: set[str] = field(default_factory=set)
    declared: DeclaredSettings | None = None

    def sampling_settings(self, run: SamplingRun) -> dict[str, Json]:
        """Return the settings that determine the draws of a run."""
        settings = self.job.sampling_settings(run)
        self.declared = run.declared
        return settings


@dataclass(frozen=True)
class StartingPoint:
    """Where to begin.

    Attributes:
        seed: Seed of the draws.
        outcome: What the result will be said to be.
        smoothed_map: The map of the first draws, or of all of them.
        finished: A result that can stay as it is.
        looked_before: Whether an earlier result of this input existed, so that the settings may have been chosen by
            looking at it.
    """

    seed: int
    outcome: Outcome = "sampled"
    smoothed_map: SmoothedMap | None = None
    finished: StoredResult | None = None
    looked_before: bool = False


def starting_point(
    state: RunState,
    example: Example,
    files: ExampleFiles | None,
    run_of: Callable[[int], SamplingRun],
) -> StartingPoint:
    """Where to begin with an example.

    Args:
        state: What the examples of the run share.
        example: The example.
        files: Its files, if results are written.
        run_of: What would sample the example's draws of a seed.
    """
    job = state.job
    fresh = StartingPoint(fresh_seed() if job.sampling.seed is None else job.sampling.seed)
    if files is None:
        return fresh
    found = _EarlierFiles(state, files, run_of)
    start = fresh
    if job.resume:
        blocks = list(job.request(example, seed=job.sampling.seed).plan.blocks())
        start = found.result() or found.checkpoint(blocks) or fresh
    return start if start.finished is not None else replace(start, looked_before=found.was_looked_at(start))


class _EarlierFiles:
    """What was found on disk of an example, compared with what is wanted."""

    def __init__(
        self,
        state: RunState,
        files: ExampleFiles,
        run_of: Callable[[int], SamplingRun],
    ) -> None:
        self.state = state
        self.job = state.job
        self.files = files
        self.kept = state.kept
        self.notice = _Notices(files, state.notices)
        self.run_of = run_of
        self.stored = self._stored()

    def _stored(self) -> StoredResult | None:
        try:
            return read_result(self.files.json)
        except FileNotFoundError:
            return None
        except (FileFormatError, OSError) as error:
            if self.job.resume:
                self.notice.of_file("The result", error)
            return None

    def result(self) -> StartingPoint | None:
        """A finished result, to be kept or certified anew."""
        stored = self.stored
        if stored is None:
            return None
        smoothed_map = stored.certificate.map
        recertified = list(differences(stored.certificate_settings, self.job.certificate_settings))
        looked_at = bool(recertified) or self.kept.are_checked(self.files.name)
        if not self._is_of_this_run(smoothed_map, stored.sampling_settings, looked_at=looked_at):
            return None
        if not recertified:
            if not looked_at:
                self.kept.on_trust.append(self.files.name)
            return StartingPoint(smoothed_map.seed or 0, "kept", finished=stored)
        self.notice.of_settings("certified anew, without new draws", recertified)
        return StartingPoint(smoothed_map.seed or 0, "recertified", smoothed_map)

    def checkpoint(self, blocks: list[range]) -> StartingPoint | None:
        """The first draws of an unfinished one."""
        try:
            smoothed_map, settings = self.files.read_checkpoint(blocks)
        except FileNotFoundError:
            return None
        except (FileFormatError, OSError) as error:
            self.notice.of_file("The checkpoint", error)
            return None
        if not self._is_of_this_run(smoothed_map, settings, looked_at=True):
            return None
        return StartingPoint(smoothed_map.seed or 0, "continued", smoothed_map)

    def was_looked_at(self, start: StartingPoint) -> bool:
        """Whether the result that is replaced may have decided what is asked now.

        It may if the draws are others, if σ is, if another explanation has the same seed, or if the same draws are
        certified by other events. Radii need no choice: all of them hold together.
        """
        if self.stored is None:
            return False
        if start.outcome == "recertified":
            return bool(self.stored.record.get(LOOKED_BEFORE)) or self._other_events(self.stored)
        before, run = self.stored.certificate.map, self.run_of(start.seed)
        now, then = self.state.sampling_settings(run), self.stored.sampling_settings
        if now["inputs"] != then.get("inputs"):
            return False
        other_draws = any(now.get(name) != then.get(name) for name in _OF_THE_DRAWS)
        the_same = not any(differences(then, now)) and run.start.is_of(before)
        looked = other_draws or (before.seed == start.seed and not the_same)
        if looked:
            self.notice.of_looking()
        return looked

    def _other_events(self, stored: StoredResult) -> bool:
        """Whether the certificate of the same map rests on other events than the one that is replaced."""
        now, then = self.job.certificate_settings, stored.certificate_settings
        looked = any(now[name] != then.get(name) for name in _OF_THE_EVENT)
        if not looked and now["k"] != then.get("k"):
            fresh = self.job.certifier.top_k(stored.certificate.map, k=self.job.goal.k, radius=self.job.goal.radius)
            looked = bool(stored.certificate.violations or fresh.violations)  # "spectral" allows none
        if looked:
            self.notice.of_looking()
        return looked

    def _is_of_this_run(self, smoothed_map: SmoothedMap, settings: Json, *, looked_at: bool) -> bool:
        run = self.run_of(smoothed_map.seed or 0)
        changed = [*differences(settings, self.state.sampling_settings(run)), *_other_seed(self.job, smoothed_map)]
        if not changed and smoothed_map.probe is None:
            changed = ["what the model did was not recorded"]
        elif not changed and looked_at and not run.start.is_of(smoothed_map):
            self.kept.doubted = True
            changed = ["the model does something else"]
        if changed:
            self.notice.of_settings("redone", changed)
        return not changed


def _other_seed(job: Job, smoothed_map: SmoothedMap) -> list[str]:
    """Any seed will do where none is asked for."""
    if job.sampling.seed is None or smoothed_map.seed == job.sampling.seed:
        return []
    return [f"seed was {smoothed_map.seed} and is {job.sampling.seed}"]


class _Notices:
    """Says once for all examples why files are not used."""

    def __init__(self, files: ExampleFiles, said: set[str]) -> None:
        self.files = files
        self.said = said

    def of_settings(self, what: str, changed: list[str]) -> None:
        reasons = ", ".join(changed)
        if reasons not in self.said:
            self.said.add(reasons)
            warnings.warn(
                f"Results in {self.files.folder} of other settings are {what}, {self.files.name!r} the first of them: "
                f"{reasons}.",
                UserWarning,
                stacklevel=2,
            )

    def of_looking(self) -> None:
        if LOOKED_BEFORE not in self.said:
            self.said.add(LOOKED_BEFORE)
            warnings.warn(
                f"Results in {self.files.folder} replace others of the same inputs, {self.files.name!r} the first of "
                f"them, and are marked {LOOKED_BEFORE!r}: a certificate does not hold if its settings were chosen by "
                "looking at another of the same input. Choose with another seed, then certify once.",
                UserWarning,
                stacklevel=2,
            )

    def of_file(self, what: str, error: Exception) -> None:
        warnings.warn(
            f"{what} of {self.files.name!r} cannot be used, and is redone. {error}", UserWarning, stacklevel=2
        )
