"""Resumption: find the stored result or the checkpoint of an example, and decide whether to reuse it."""

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
# Settings that change the draws but not what is explained and how.
_OF_THE_DRAWS = ("nt_samples", "stdevs", "sequential")
# Settings that decide for which draws a certificate is wrong. If intervals may miss their scores, K and the reference
# also decide this.
_OF_THE_EVENT = ("bound", "confidence", "violations")


class KeptResults:
    """Decides which stored results of a folder are compared with new maps before they are kept.

    Settings do not include the code of a network or of a closure. So a stored result may come from another model
    although its settings are equal. Up to five results are compared with maps that the explainer computes now: the
    first result that could be kept, the last result, and three others. As soon as one result differs, all further
    results are compared.

    Args:
        folder: The folder of the results, or ``None``.
    """

    def __init__(self, folder: Path | None) -> None:
        there = () if folder is None else folder.glob("*.json")
        names = sorted(path.stem for path in there if path.with_suffix(".npz").is_file())
        self.chosen = {*names[-1:], *sorted(names, key=digest)[:_CHOSEN]}
        self.doubted = False
        self.first_seen = False
        self.on_trust: list[str] = []

    def must_compare(self, name: str) -> bool:
        """Return whether a result must be compared. Other results are kept on trust, because of their settings."""
        compared = self.doubted or not self.first_seen or name in self.chosen
        self.first_seen = True
        return compared


def check_trust(kept: Sequence[KeptResults]) -> None:
    """Refuse results that were kept without a comparison if other results came from another explainer.

    Args:
        kept: The decisions of each process.

    Raises:
        CertificationError: Some results came from another explainer, and some were not compared.
    """
    on_trust = sorted(name for one in kept for name in one.on_trust)
    if on_trust and any(one.doubted for one in kept):
        raise CertificationError(
            "Expected all results in a folder to come from one explainer, got some from another. These are redone, but "
            f"{len(on_trust)} others were kept without a comparison, such as {on_trust[0]!r}. Redo all results with "
            "`resume`=False."
        )


@dataclass
class RunState:
    """The state that all examples of a run share.

    Attributes:
        job: The settings of the run.
        kept: Decides which stored results are compared before they are kept.
        notices: The reasons of earlier warnings. A reason is not repeated for further examples.
        declared: The settings of the explainer, kept from the first example so that the weights are hashed only once.
    """

    job: Job
    kept: KeptResults
    notices: set[str] = field(default_factory=set)
    declared: DeclaredSettings | None = None

    def sampling_settings(self, job: Job, run: SamplingRun) -> dict[str, Json]:
        """Return the settings that determine the draws of one example's run."""
        settings = job.sampling_settings(run)
        self.declared = run.declared
        return settings


@dataclass(frozen=True)
class StartingPoint:
    """The state from which the run of an example starts.

    Attributes:
        seed: Seed of the draws.
        outcome: The outcome that the run will report for the example.
        smoothed_map: The map of the first draws, or of all draws; ``None`` if nothing can be used.
        finished: A stored result that can be kept, or ``None``.
        looked_before: Whether the settings may have been chosen after seeing an earlier result of the same input.
    """

    seed: int
    outcome: Outcome = "sampled"
    smoothed_map: SmoothedMap | None = None
    finished: StoredResult | None = None
    looked_before: bool = False


# Takes the seed, and the map of earlier draws if there is one.
RunOf = Callable[[int, SmoothedMap | None], SamplingRun]


def starting_point(state: RunState, example: Example, files: ExampleFiles | None, run_of: RunOf) -> StartingPoint:
    """Find the starting point of an example in its earlier files.

    Args:
        state: The state that all examples of the run share.
        example: The example.
        files: The files of the example; ``None`` if results are not written.
        run_of: Returns the run that samples the draws of a seed. Its arguments are the seed and, if there is one, the
            map of earlier draws of the seed.
    """
    job = state.job.for_example(example)
    fresh = StartingPoint(fresh_seed() if job.sampling.seed is None else job.sampling.seed)
    if files is None:
        return fresh
    found = _EarlierFiles(state, job, files, run_of)
    start = fresh
    if job.resume:
        blocks = list(job.request(example, seed=job.sampling.seed).plan.blocks())
        start = found.result() or found.checkpoint(blocks) or fresh
    return start if start.finished is not None else replace(start, looked_before=found.was_looked_at(start))


class _EarlierFiles:
    """The earlier files of an example, compared with the settings of the present run."""

    def __init__(self, state: RunState, job: Job, files: ExampleFiles, run_of: RunOf) -> None:
        self.state = state
        self.job = job
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
        """Return the starting point if a stored result can be kept or certified anew, else ``None``."""
        stored = self.stored
        if stored is None:
            return None
        smoothed_map = stored.certificate.map
        recertified = list(differences(stored.certificate_settings, self.job.certificate_settings))
        looked_at = bool(recertified) or self.kept.must_compare(self.files.name)
        if not self._is_of_this_run(smoothed_map, stored.sampling_settings, looked_at=looked_at):
            return None
        if not recertified:
            if not looked_at:
                self.kept.on_trust.append(self.files.name)
            return StartingPoint(smoothed_map.seed or 0, "kept", finished=stored)
        self.notice.of_settings("certified anew, without new draws", recertified)
        return StartingPoint(smoothed_map.seed or 0, "recertified", smoothed_map)

    def checkpoint(self, blocks: list[range]) -> StartingPoint | None:
        """Return the starting point if a checkpoint can be continued, else ``None``."""
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
        """Return whether the present settings may have been chosen after seeing the stored result of the same input.

        For new draws the answer is yes if the number of draws, σ or the goal of a sequential run has changed. It is
        also yes if the explanation has changed but the seed is the same. For a new certificate of the same map the
        answer is yes if the bound, the confidence or the violations have changed. If intervals may miss their scores,
        it is also yes if K or the reference has changed. Radii do not matter, because the statements at all radii hold
        together.
        """
        if self.stored is None:
            return False
        if start.outcome == "recertified":
            return bool(self.stored.record.get(LOOKED_BEFORE)) or self._other_events(self.stored)
        before, run = self.stored.certificate.map, self.run_of(start.seed, start.smoothed_map)
        now, then = self.state.sampling_settings(self.job, run), self.stored.sampling_settings
        if now["inputs"] != then.get("inputs"):
            return False
        other_draws = any(now.get(name) != then.get(name) for name in _OF_THE_DRAWS)
        the_same = not any(differences(then, now)) and run.start.is_of(before)
        looked = other_draws or (before.seed == start.seed and not the_same)
        if looked:
            self.notice.of_looking()
        return looked

    def _other_events(self, stored: StoredResult) -> bool:
        """Return whether a new certificate of the same map can be wrong although the stored certificate is right."""
        now, then = self.job.certificate_settings, stored.certificate_settings
        looked = any(now[name] != then.get(name) for name in _OF_THE_EVENT)
        if not looked and any(now.get(name) != then.get(name) for name in ("k", "reference")):
            goal = self.job.goal
            fresh = self.job.certifier.top_k(
                stored.certificate.map, k=goal.k, radius=goal.radius, reference=goal.reference
            )
            looked = bool(stored.certificate.violations or fresh.violations)  # the bound "spectral" allows none
        if looked:
            self.notice.of_looking()
        return looked

    def _is_of_this_run(self, smoothed_map: SmoothedMap, settings: Json, *, looked_at: bool) -> bool:
        run = self.run_of(smoothed_map.seed or 0, smoothed_map)
        changed = [
            *differences(settings, self.state.sampling_settings(self.job, run)),
            *_other_seed(self.job, smoothed_map),
        ]
        if not changed and smoothed_map.probe is None:
            changed = ["the behaviour of the model was not recorded"]
        elif not changed and looked_at and not run.start.is_of(smoothed_map):
            self.kept.doubted = True
            changed = ["the model behaves differently"]
        if changed:
            self.notice.of_settings("redone", changed)
        return not changed


def _other_seed(job: Job, smoothed_map: SmoothedMap) -> list[str]:
    """Describe the difference between the seeds, if there is one. A run without a seed accepts every seed."""
    if job.sampling.seed is None or smoothed_map.seed == job.sampling.seed:
        return []
    return [f"seed was {smoothed_map.seed} and is {job.sampling.seed}"]


class _Notices:
    """Warns about earlier files that are redone or certified anew. Each reason is given only once in a run."""

    def __init__(self, files: ExampleFiles, said: set[str]) -> None:
        self.files = files
        self.said = said

    def of_settings(self, what: str, changed: list[str]) -> None:
        reasons = ", ".join(changed)
        if reasons not in self.said:
            self.said.add(reasons)
            warnings.warn(
                f"Results in {self.files.folder} of other settings are {what}. The first of them is "
                f"{self.files.name!r}: {reasons}.",
                UserWarning,
                stacklevel=2,
            )

    def of_looking(self) -> None:
        if LOOKED_BEFORE not in self.said:
            self.said.add(LOOKED_BEFORE)
            warnings.warn(
                f"Results in {self.files.folder} replace others of the same inputs, and are marked {LOOKED_BEFORE!r}. "
                f"The first of them is {self.files.name!r}. A certificate does not hold if its settings were chosen by "
                "looking at another certificate of the same input. Choose settings with another seed, then certify "
                "once.",
                UserWarning,
                stacklevel=2,
            )

    def of_file(self, what: str, error: Exception) -> None:
        warnings.warn(
            f"{what} of {self.files.name!r} cannot be used, and is redone. {error}", UserWarning, stacklevel=2
        )
