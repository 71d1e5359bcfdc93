"""What there already is of an example on disk, and what of it can be used."""

import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from captum_certified.exceptions import FileFormatError
from captum_certified.runs.checkpoint import read_checkpoint
from captum_certified.runs.examples import Example
from captum_certified.runs.job import Job
from captum_certified.runs.settings import differences
from captum_certified.runs.stored import StoredResult, read_result
from captum_certified.runs.summary import Outcome
from captum_certified.smoothing import SmoothedMap, fresh_seed

__all__ = ["Beginning", "ResultFiles", "beginning", "leftovers"]

_TEMPORARY = re.compile(r"\.(.+)\.(?:json|npz|checkpoint|png|csv|html)\.[a-z0-9_]{8}")


@dataclass(frozen=True)
class ResultFiles:
    """The files of one example.

    Args:
        folder: Where they are.
        name: What they are called.
    """

    folder: Path
    name: str

    @property
    def json(self) -> Path:
        """The result."""
        return self.folder / f"{self.name}.json"

    @property
    def stem(self) -> Path:
        """The files' path without a suffix."""
        return self.folder / self.name

    @property
    def checkpoint(self) -> Path:
        """The map so far."""
        return self.folder / f"{self.name}.checkpoint"


def leftovers(folder: Path) -> dict[str, list[Path]]:
    """What killed processes were writing under temporary names, by the names of the examples."""
    found: dict[str, list[Path]] = {}
    for path in folder.iterdir():
        match = _TEMPORARY.fullmatch(path.name)
        if match:
            found.setdefault(match[1], []).append(path)
    return found


@dataclass(frozen=True)
class Beginning:
    """Where to begin.

    Attributes:
        seed: Seed of the draws.
        outcome: What the result will be said to be.
        smoothed_map: The map of the first draws, or of all of them.
        finished: A result that can stay as it is.
    """

    seed: int
    outcome: Outcome = "sampled"
    smoothed_map: SmoothedMap | None = None
    finished: StoredResult | None = None


def beginning(job: Job, example: Example, files: ResultFiles | None, notices: set[str]) -> Beginning:
    """Where to begin with an example.

    Args:
        job: The run.
        example: The example.
        files: Its files, if results are written.
        notices: What was said already about files that are not used; more is added.
    """
    fresh = Beginning(fresh_seed() if job.seed is None else job.seed)
    if files is None or not job.resume:
        return fresh
    notice = _Notices(files, notices)
    request = job.request(example, seed=job.seed)
    wanted = job.sampling_settings(request)
    stored = _stored(job, files, wanted, notice)
    if stored is not None:
        smoothed_map = stored.certificate.map
        changed = list(differences(stored.settings.get("certificate"), job.certificate_settings))
        if not changed:
            return Beginning(smoothed_map.seed or 0, "kept", finished=stored)
        notice.of_settings("certified anew, without new draws", changed)
        return Beginning(smoothed_map.seed or 0, "recertified", smoothed_map)
    return _from_checkpoint(job, files, wanted, list(request.plan.blocks()), notice) or fresh


def _stored(job: Job, files: ResultFiles, wanted: Mapping[str, Any], notice: "_Notices") -> StoredResult | None:
    try:
        stored = read_result(files.json)
    except FileNotFoundError:
        return None
    except (FileFormatError, OSError) as error:
        notice.of_file("The result", error)
        return None
    if stored is None:
        return None
    changed = [*differences(stored.settings.get("sampling"), wanted), *_other_seed(job, stored.certificate.map)]
    if changed:
        notice.of_settings("redone", changed)
    return None if changed else stored


def _from_checkpoint(
    job: Job, files: ResultFiles, wanted: Mapping[str, Any], blocks: list[range], notice: "_Notices"
) -> Beginning | None:
    try:
        smoothed_map, settings = read_checkpoint(files.checkpoint, blocks)
    except FileNotFoundError:
        return None
    except (FileFormatError, OSError) as error:
        notice.of_file("The checkpoint", error)
        return None
    changed = [*differences(settings, wanted), *_other_seed(job, smoothed_map)]
    if changed:
        notice.of_settings("redone", changed)
        return None
    return Beginning(smoothed_map.seed or 0, "continued", smoothed_map)


def _other_seed(job: Job, smoothed_map: SmoothedMap) -> list[str]:
    """Any seed will do where none is asked for."""
    if job.seed is None or smoothed_map.seed == job.seed:
        return []
    return [f"seed was {smoothed_map.seed} and is {job.seed}"]


class _Notices:
    """Says once for all examples why files are not used."""

    def __init__(self, files: ResultFiles, said: set[str]) -> None:
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

    def of_file(self, what: str, error: Exception) -> None:
        warnings.warn(
            f"{what} of {self.files.name!r} cannot be used, and is redone. {error}", UserWarning, stacklevel=2
        )
