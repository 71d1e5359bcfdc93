"""Certificates for every example of a data set, with results on disk."""

import os
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any

from captum_certified._captum import MethodArguments
from captum_certified.attr import SmoothedAttribution
from captum_certified.attr.request import CallSettings
from captum_certified.certify import Certifier
from captum_certified.certify.goal import Goal
from captum_certified.certify.reference import Reference
from captum_certified.exceptions import CaptumCertifiedError, FileFormatError, InvalidInputError
from captum_certified.maps import Groups, Regions
from captum_certified.runs.example_files import leftovers
from captum_certified.runs.example_run import ExampleRun
from captum_certified.runs.examples import SUMMARY, Source, sources_of
from captum_certified.runs.job import Job, OnFailure
from captum_certified.runs.processes import LostProcessError, Processes, belongs_to, checked_shard, number_in_part
from captum_certified.runs.progress import RunProgress, run_progress
from captum_certified.runs.results import read_result
from captum_certified.runs.resume import KeptResults, RunState, check_trust
from captum_certified.runs.summary import DatasetSummary, ExampleResult
from captum_certified.sampling import CovarianceRequest
from captum_certified.storage import atomic_write, write_json

__all__ = ["FAILURES", "certify_dataset", "run_job"]

Numbered = tuple[int, Source]

# Errors that a bad file, a model that does not fit the inputs, or a full disk can raise.
FAILURES = (
    *(CaptumCertifiedError, OSError, RuntimeError, AssertionError, MemoryError),
    *(TypeError, ValueError, IndexError, KeyError),
)


def certify_dataset(
    certifier: Certifier | SmoothedAttribution,
    data: Iterable[Any],
    *,
    k: float,
    radius: float,
    nt_samples: int,
    stdevs: float | tuple[float, ...],
    out: str | os.PathLike[str] | None,
    overlap: float | None = None,
    reference: Reference = None,
    radii: Sequence[float] | None = None,
    names: Iterable[str] | None = None,
    resume: bool = True,
    shard: tuple[int, int] | None = None,
    on_failure: OnFailure = "raise",
    nt_samples_batch_size: int | None = None,
    groups: Groups = None,
    covariance: CovarianceRequest = "auto",
    region: Regions = None,
    attribution_kwargs: MethodArguments | None = None,
    draw_baseline_from_distrib: bool = False,
    check_rows: bool = True,
    seed: int | None = None,
    show_progress: bool = False,
    **kwargs: Any,
) -> DatasetSummary:
    """Certify every example of a data set. A run can be stopped at any time, and resumed by the same call.

    :func:`write_result` writes a JSON file and an npz file for every example. A checkpoint is saved after every block
    of draws. A repeated call keeps results with equal settings, continues from checkpoints, and redoes all other
    results. If only ``k``, the radii or the certifier changed, the repeated call certifies the stored map without new
    draws. With ``overlap`` this is done only if nothing but the radii changed, because the other settings decide how
    many draws are made. A warning tells what changed. An interrupted and resumed run gives the same results, bit for
    bit, as an uninterrupted run with the same number of draws in a pass.

    If ``torch.distributed`` is initialised and all processes make the same call, the processes split the examples. If
    there are fewer examples than processes, the processes split the blocks of draws of each example. All processes
    return the same results, which equal the results of a single process.

    Args:
        certifier: A certifier with a smoothed attribution, or the smoothed attribution alone.
        data: A ``Dataset`` of pairs (input, target), or an iterable of batches of pairs such as a ``DataLoader``, in a
            fixed order, on the device of the model. An input is a tensor or a tuple of tensors. The target ``"argmax"``
            is the class with the largest output at each noisy input.
        k: Size K of the top set: an int is a number of features, a float a fraction of all features.
        radius: L2 size ρ ≥ 0 of the perturbation, in the units of the inputs.
        nt_samples: Number of draws of each example; with ``overlap`` the largest allowed number.
        stdevs: Standard deviation of the noise, in the units of the inputs.
        out: Folder of the results, made if needed; ``None`` writes nothing. At the end ``summary.csv`` and
            ``summary.png`` are written there.
        overlap: Stop sampling an example once this overlap is certified or out of reach; see
            :meth:`Certifier.certify`.
        reference: Set of features. Certify how many of these features stay in the top K; see :meth:`Certifier.top_k`.
            The first dimension of a mask is 1.
        radii: More radii for the summary; by default half of ``radius`` and twice ``radius``.
        names: Names of the examples' files; by default the positions of the examples in ``data``.
        resume: Use the results and checkpoints in ``out``. ``False`` redoes everything.
        shard: (I, N) certifies only part I of N, that is every N-th example, with I from 1 to N. When all parts are
            done, a run without ``shard`` makes the summary of all examples.
        on_failure: ``"raise"`` ends the run at an example that cannot be certified. ``"record"`` writes the reason
            as the result and goes on. The next run tries such an example again.
        nt_samples_batch_size: As for :meth:`SmoothedAttribution.attribute`. If it is not given, all processes take the
            smallest size that any of them would take alone. A continued run also takes no larger size than its
            checkpoint.
        groups: Groups of entries that form one feature.
        covariance: Whether to take the covariance of the draws, or the number of draws in a block of the covariance.
        region: Regions to certify in all examples: one mask, or a dictionary of masks by name.
        attribution_kwargs: Arguments of the wrapped method whose names are also arguments of this function.
        draw_baseline_from_distrib: As in NoiseTunnel.
        check_rows: As in :meth:`SmoothedAttribution.sample`.
        seed: Seed of the noise of every example. ``None`` chooses and records a fresh seed for each example, and keeps
            stored results of any seed.
        show_progress: Show a progress bar on stderr, with the time left and the mean overlap so far.
        **kwargs: Arguments of the wrapped method, for every example.

    Returns:
        The results, in the order of the data.

    Raises:
        InvalidInputError: An argument is invalid.
        CertificationError: The guarantee would be unsound.
        CaptumCertifiedError: Another process failed.
        OSError: A file cannot be written.

    Example:
        >>> import tempfile, torch
        >>> from captum.attr import Saliency
        >>> from captum_certified import SparsifiedSmoothGrad
        >>> from captum_certified.runs import certify_dataset
        >>> model = torch.nn.Sequential(torch.nn.Linear(8, 3), torch.nn.Softplus())
        >>> data = [(torch.rand(2, 8), torch.tensor([0, 2])), (torch.rand(1, 8), 1)]
        >>> explainer = SparsifiedSmoothGrad(Saliency(model), tau=0.25)
        >>> with tempfile.TemporaryDirectory() as out:
        ...     settings = {"k": 2, "radius": 0.01, "nt_samples": 64, "stdevs": 0.2, "out": out}
        ...     first = certify_dataset(explainer, data, **settings)
        ...     [result.outcome for result in certify_dataset(explainer, data, **settings)]
        ['kept', 'kept', 'kept']
    """
    if "target" in kwargs:
        raise InvalidInputError(f"Expected targets only in `data`, got also `target` {kwargs['target']!r}.")
    job = Job(
        certifier=certifier if isinstance(certifier, Certifier) else Certifier(certifier),
        goal=Goal(k=k, radius=radius, overlap=overlap, reference=reference),
        sampling=CallSettings(
            nt_samples=nt_samples,
            nt_samples_batch_size=nt_samples_batch_size,
            stdevs=stdevs,
            draw_baseline_from_distrib=draw_baseline_from_distrib,
            groups=groups,
            covariance=covariance,
            region=region,
            attribution_kwargs=attribution_kwargs,
            seed=seed,
            check_rows=check_rows,
            kwargs=kwargs,
        ),
        radii=radii,
        out=None if out is None else Path(out),
        resume=resume,
        on_failure=on_failure,
    )
    sources, total = sources_of(data, names=names)
    return run_job(job, sources, total=total, shard=shard, show_progress=show_progress)


def run_job(
    job: Job,
    sources: Iterator[Source],
    *,
    total: int | None,
    shard: tuple[int, int] | None = None,
    show_progress: bool = False,
    summary_files: bool = True,
    on_result: Callable[[ExampleResult], None] | None = None,
) -> DatasetSummary:
    """Run a job over examples.

    Args:
        job: The settings.
        sources: The examples.
        total: Number of examples, if it is known.
        shard: (I, N) for part I of N.
        show_progress: Show a progress bar.
        summary_files: Write the table and the figure of the summary at the end.
        on_result: Called with every result, in the process that writes it.
    """
    part, parts = checked_shard(shard)
    everyone = Processes.current()
    if job.out is not None:
        job.out.mkdir(parents=True, exist_ok=True)
    chosen = (numbered for numbered in enumerate(sources) if belongs_to(numbered[0], part, parts))
    own, workers = _shared_out(chosen, everyone)
    examples = None if total is None else number_in_part(total, part, parts)
    if examples is not None and workers.size < everyone.size:
        examples = number_in_part(examples, everyone.rank, everyone.size)

    def work() -> list[tuple[int, ExampleResult]]:
        with run_progress(
            examples=examples, nt_samples=job.sampling.nt_samples, show=show_progress and everyone.is_first
        ) as progress:
            return list(_results(state, own, workers, progress, on_result))

    state = RunState(job, KeptResults(job.out if job.resume and workers.is_first else None))
    found = {position: result for share in everyone.together(work) for position, result in share}
    check_trust(everyone.together(lambda: state.kept))
    results = tuple(found[position] for position in sorted(found))
    summary = DatasetSummary(results, job.goal.radius, job.all_radii, job.certifier.confidence)
    if job.out is not None and summary_files:
        path = job.out / (SUMMARY if shard is None else f"{SUMMARY}-{part + 1}-of-{parts}")
        everyone.together(lambda: _write_summary(summary, path) if everyone.is_first else None)
    return summary


def _shared_out(chosen: Iterator[Numbered], everyone: Processes) -> tuple[Iterator[Numbered], Processes]:
    """Return the examples of this process, and the processes that together sample each of these examples.

    If there are at least as many examples as processes, each process takes different examples and samples them alone.
    The total number of examples may be unknown.
    """
    first = list(islice(chosen, everyone.size))
    if len(first) < everyone.size or everyone.size == 1:
        return chain(first, chosen), everyone
    return islice(chain(first, chosen), everyone.rank, None, everyone.size), Processes()


def _results(
    state: RunState,
    own: Iterator[Numbered],
    workers: Processes,
    progress: RunProgress,
    on_result: Callable[[ExampleResult], None] | None,
) -> Iterator[tuple[int, ExampleResult]]:
    job = state.job
    temporary = leftovers(job.out) if job.out is not None and workers.is_first else {}
    for position, source in own:
        for path in temporary.get(source.name, ()):
            path.unlink(missing_ok=True)
        try:
            result = ExampleRun(state, source, workers, progress).result()
        except LostProcessError:
            raise
        except FAILURES as error:
            if job.on_failure == "raise":
                raise
            result = _failure(job, source, error, write=workers.is_first)
        progress.finish(result.overlap_fraction)
        if on_result is not None and workers.is_first:
            on_result(result)
        yield position, result


def _failure(job: Job, source: Source, error: Exception, *, write: bool) -> ExampleResult:
    record = {"kind": "failure", **source.notes, "error": f"{type(error).__name__}: {error}"}
    path = None if job.out is None else job.out / f"{source.name}.json"
    if path is not None and write and not _holds_result(path):
        write_json(path, record)
    return ExampleResult(
        name=source.name,
        record=record,
        outcome="failed",
        path=path,
        traceback="".join(traceback.format_exception(error)),
    )


def _holds_result(path: Path) -> bool:
    """Return whether the file is a complete result, which the record of a failure must not replace."""
    try:
        return read_result(path) is not None
    except (OSError, FileFormatError):
        return False


def _write_summary(summary: DatasetSummary, path: Path) -> None:
    for leftover in leftovers(path.parent).get(path.name, ()):
        leftover.unlink(missing_ok=True)
    summary.to_csv(path.with_name(f"{path.name}.csv"))
    if summary.certified:
        figure = summary.figure()
        with atomic_write(path.with_name(f"{path.name}.png")) as file:
            figure.savefig(file, format="png", dpi=150)
