"""The run of one cell: certify all examples, attack them, and write the record of the cell."""

import functools
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from captum_certified.attr.request import CallSettings
from captum_certified.benchmark.attacked_maps import AttackedMaps, Attacker
from captum_certified.benchmark.cells import Cell, Images
from captum_certified.benchmark.plain_maps import PlainMaps, plain_maps_of
from captum_certified.benchmark.saved_maps import ATTACKED, CERTIFICATE, SavedMaps, explanation_of, numbers_of
from captum_certified.benchmark.settings import BenchmarkSettings
from captum_certified.certify import Certificate, Certifier, TopKCertificate
from captum_certified.certify.goal import Goal
from captum_certified.exceptions import FileFormatError
from captum_certified.maps import same_behaviour
from captum_certified.randomness import derived_seed
from captum_certified.runs.dataset import run_job
from captum_certified.runs.examples import Example, Source
from captum_certified.runs.job import Job
from captum_certified.runs.results import file_digest, versions
from captum_certified.runs.summary import ExampleResult
from captum_certified.storage import Json, JsonObject, json_digest, read_json, write_json

__all__ = ["CELL", "PLAIN", "CellRun", "Runner"]

CELL = "benchmark cell"  # the kind of a record
PLAIN = "plain"  # the folder of the plain maps
_VERSION = 1
Maps = TypeVar("Maps", AttackedMaps, PlainMaps)


@dataclass(frozen=True, kw_only=True, eq=False)
class Runner:
    """What the runs of all cells share.

    Attributes:
        images: The examples.
        settings: The settings of the benchmark.
        out: Folder of the results.
        attacker: Attacks the examples.
        seed: Seed of the noise; ``None`` for a fresh seed for each example of each cell.
        pass_size: Number of draws computed together; ``None`` for the default.
        show_progress: Whether to show a progress bar on stderr.
    """

    images: Images
    settings: BenchmarkSettings
    out: Path
    attacker: Attacker
    seed: int | None
    pass_size: int | None
    show_progress: bool


class CellRun:
    """Runs one cell. Examples and maps that an earlier run has finished with equal settings are kept.

    Args:
        runner: What all cells share.
        cell: The cell.
    """

    def __init__(self, runner: Runner, cell: Cell) -> None:
        self.runner = runner
        self.cell = cell
        entry = cell.entry
        samples = runner.settings.nt_samples if entry.nt_samples is None else entry.nt_samples
        self.settings = replace(runner.settings, nt_samples=samples)
        self.folder = runner.out / cell.file_name
        self.plain_folder = runner.out / PLAIN / cell.plain_name
        self.path = runner.out / f"{cell.file_name}.json"
        self._begun = 0.0

    def record(self) -> JsonObject:
        """Run the cell, write its record, and return it."""
        for folder in (self.folder / ATTACKED, self.plain_folder):
            folder.mkdir(parents=True, exist_ok=True)
        rows = self.cell.rows(self.runner.images)
        self._begun = self._clock()
        run_job(
            self._job(),
            (self._source(row) for row in rows),
            total=len(rows),
            show_progress=self.runner.show_progress,
            summary_files=False,
            on_result=self._finish,
        )
        record = {**self._about(), "images": [self._image(self.runner.images.names[row]) for row in rows]}
        # Versions say what wrote the record. A record that would be the same is not written again.
        if self._stored() != record:
            write_json(self.path, {**record, "versions": versions()})
        return read_json(self.path)

    def _clock(self) -> float:
        """Return the processor time of a model on the CPU, which other programs do not change, else the time."""
        return time.process_time() if self.runner.images.inputs.device.type == "cpu" else time.perf_counter()

    def _job(self) -> Job:
        settings = self.settings
        return Job(
            certifier=Certifier(self.cell.explainer, confidence=settings.confidence, bound=settings.bound),
            goal=Goal(k=settings.k, radius=settings.radius),
            sampling=CallSettings(
                nt_samples=settings.nt_samples,
                nt_samples_batch_size=self.runner.pass_size,
                stdevs=self.cell.sigma,
                covariance="auto",
                seed=self.runner.seed,
            ),
            radii=settings.radii,
            out=self.folder,
        )

    def _source(self, row: int) -> Source:
        images = self.runner.images
        return Source(images.names[row], functools.partial(self.cell.example, images, row))

    def _finish(self, result: ExampleResult) -> None:
        """Attack an example whose certificate is finished, and explain its neighbours."""
        seconds = self._clock() - self._begun if result.outcome == "sampled" else None
        row = list(self.runner.images.names).index(result.name)
        example, certificate = self.cell.example(self.runner.images, row), result.certificate()
        assert isinstance(certificate, TopKCertificate)  # noqa: S101  for the type checker: the job certifies overlaps
        self._attack(row, example, certificate, seconds)
        self._explain_neighbours(row, example, certificate)
        self._begun = self._clock()

    def _attack(self, row: int, example: Example, certificate: TopKCertificate, seconds: float | None) -> None:
        name = self.runner.images.names[row]
        path = self.folder / ATTACKED / f"{name}.npz"
        wanted = {**self.settings.of_attack(), CERTIFICATE: file_digest(self.folder / f"{name}.npz")}
        if _kept(AttackedMaps.load, path, wanted) is not None:
            return
        found = self.runner.attacker.attacked(self.cell, example, certificate, row=row)
        replace(found, seconds=seconds).save(path, wanted)

    def _explain_neighbours(self, row: int, example: Example, certificate: TopKCertificate) -> None:
        path = self.plain_folder / f"{self.runner.images.names[row]}.npz"
        setup = certificate.map.setup
        explained = {key: setup.get(key) for key in ("method", "model", "sign", "inputs", "target", "arguments")}
        wanted = {**self.settings.of_neighbours(), **explained}
        kept, known = _kept(PlainMaps.load, path, wanted), certificate.map.plain
        # The code of a model is not among the settings, so the map at the input is compared as well.
        if kept is not None and known is not None:
            fits = kept.clean.shape[1:] == certificate.map.layout.shapes[0]
            if fits and same_behaviour(certificate.map.layout.flatten([kept.clean], 1), known):
                return
        seed = derived_seed(self.runner.attacker.seed, row)
        plain_maps_of(self.cell.explainer, example, self.settings, seed=seed).save(path, wanted)

    def name_of_cell(self) -> dict[str, Json]:
        """Return what a record says about which cell it is."""
        cell = self.cell
        return {
            "kind": CELL,
            "version": _VERSION,
            "method": cell.name,
            "map": cell.map_name,
            "sigma": cell.sigma,
            "groups": cell.groups_name,
            "sham": cell.sham,
        }

    def _about(self) -> dict[str, Json]:
        return {
            **self.name_of_cell(),
            "plain_maps": self.cell.plain_name,
            "settings": self.settings.to_dict(),
            "explanation": self._explanation(),
        }

    def _explanation(self) -> dict[str, Json]:
        name = self.runner.images.names[self.cell.rows(self.runner.images)[0]]
        return explanation_of(Certificate.load(self.folder / f"{name}.npz").map)

    def _image(self, name: str) -> dict[str, Json]:
        saved = SavedMaps.load(self.folder, self.plain_folder, name)
        return {
            "name": name,
            "input_digest": read_json(self.folder / f"{name}.json")["input_digest"],
            "seconds": saved.attacked.seconds,
            **numbers_of(saved, self.settings.radii),
        }

    @property
    def is_finished(self) -> bool:
        """Whether an earlier run has finished the cell, with whatever settings."""
        stored = self._stored()
        return stored is not None and stored.get("kind") == CELL

    def _stored(self) -> JsonObject | None:
        """Return the record of an earlier run without its versions, or ``None``."""
        try:
            return {name: value for name, value in read_json(self.path).items() if name != "versions"}
        except (FileFormatError, OSError):
            return None


def _kept(load: Callable[[Path], tuple[Maps, JsonObject]], path: Path, wanted: JsonObject) -> Maps | None:
    """Return the maps that a file holds if it was written with the wanted settings, else ``None``."""
    try:
        found, settings = load(path)
    except (FileFormatError, OSError):
        return None
    return found if json_digest(settings) == json_digest(wanted) else None
