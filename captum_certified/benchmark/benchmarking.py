"""The benchmark: methods × maps × noise levels × groups, resumable and sharded."""

import functools
import os
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from pathlib import Path

from captum.attr import Attribution
from torch import Tensor

from captum_certified.attr import SparsifiedSmoothGrad
from captum_certified.attr.row_arguments import check_targets
from captum_certified.benchmark.attacked_maps import Attacker
from captum_certified.benchmark.cell_run import CellRun, Runner
from captum_certified.benchmark.cells import Cell, Entry, Images, Smoothing, named_groups
from captum_certified.benchmark.leaderboard import FAILURE, Leaderboard
from captum_certified.benchmark.pages import write_pages
from captum_certified.benchmark.settings import BenchmarkSettings
from captum_certified.benchmark.shams import shams_of
from captum_certified.exceptions import InvalidInputError
from captum_certified.maps import Groups
from captum_certified.runs.dataset import FAILURES
from captum_certified.runs.examples import checked_names
from captum_certified.runs.job import OnFailure
from captum_certified.runs.processes import belongs_to, checked_shard
from captum_certified.storage import JsonObject, write_json

__all__ = ["benchmark"]

_MAPS: Mapping[str, Smoothing] = {"sparsified": functools.partial(SparsifiedSmoothGrad, tau=0.2)}


def benchmark(
    methods: Mapping[str, Attribution | Entry],
    inputs: Tensor,
    *,
    target: int | Sequence[int] | Tensor,
    k: float,
    radius: float,
    nt_samples: int,
    stdevs: float | Sequence[float],
    out: str | os.PathLike[str],
    forward_func: Callable[..., Tensor] | None = None,
    maps: Mapping[str, Smoothing] = _MAPS,
    groups: Sequence[Groups] | Mapping[str, Groups] = (None,),
    radii: Sequence[float] | None = None,
    names: Sequence[str] | None = None,
    shams: bool = True,
    confidence: float = 0.95,
    bound: str = "best",
    attack_steps: int = 10,
    attack_restarts: int = 1,
    attack_draws: int = 16,
    attack_samples: int | None = None,
    neighbours: int = 10,
    neighbour_radius: float = 0.02,
    lower_bound: float = float("-inf"),
    upper_bound: float = float("inf"),
    shard: tuple[int, int] | None = None,
    on_failure: OnFailure = "raise",
    nt_samples_batch_size: int | None = None,
    seed: int | None = None,
    show_progress: bool = False,
    on_cell: Callable[[JsonObject], None] | None = None,
) -> Leaderboard:
    """Certify and attack the explanations of several methods on the same examples, and write a leaderboard.

    A cell is one method with one map, one noise level and one grouping. For every cell, ``out`` gets a JSON file with
    the numbers of each example, and a folder with the saved maps, from which :func:`verify_benchmark` recomputes the
    numbers. A repeated call keeps what is finished with equal settings, as
    :func:`~captum_certified.runs.certify_dataset` does. Calls with other methods, noise levels or groups add their
    cells to the same folder. ``leaderboard.md`` and ``leaderboard.html`` show all cells of the folder.

    Args:
        methods: Captum attributions by the name that the table shows, or entries with their arguments.
        inputs: Examples, a tensor of shape (N, …).
        target: Class to explain, one for all examples or one for each.
        k: Size of the top set: an int is a number of features, a float a fraction of all features.
        radius: L2 size ρ ≥ 0 of the perturbation, in the units of ``inputs``. Maps are attacked at this size.
        nt_samples: Number of draws of each example.
        stdevs: Standard deviations of the noise, in the units of ``inputs``.
        out: Folder of the results, made if needed.
        forward_func: The model; by default that of the first method.
        maps: Smoothed attributions by the name that the table shows. Each is called with the method and ``sign``; by
            default ``SparsifiedSmoothGrad`` with τ = 0.2.
        groups: Groups of entries that form one feature. A dict names them in the table.
        radii: More sizes to certify; by default half of ``radius`` and twice ``radius``.
        names: Names of the examples' files; by default their positions.
        shams: Whether to add explanations that look at no model: a constant map and, for images, an edge detector.
        confidence: Confidence of the certificates of one example, at all radii together.
        bound: Bound of the certificates.
        attack_steps: Number of steps of an attack from each start.
        attack_restarts: Number of starts of an attack.
        attack_draws: Number of draws for each gradient of an attack on a smoothed map.
        attack_samples: Number of draws of the smoothed map at an attacked input, by default ``nt_samples``.
        neighbours: Number of random neighbours of each example for the empirical metrics.
        neighbour_radius: Largest change of a value of the input in a neighbour.
        lower_bound: Smallest value of an input, for attacks and neighbours.
        upper_bound: Largest value of an input, for attacks and neighbours.
        shard: (I, N) computes only part I of N, that is every N-th cell, with I from 1 to N.
        on_failure: ``"raise"`` ends the run at a cell that cannot be certified; ``"record"`` writes the reason and goes
            on.
        nt_samples_batch_size: As for :meth:`SmoothedAttribution.attribute`.
        seed: Seed of the noise of every example. ``None`` draws and records a fresh seed for each example of each cell,
            and keeps stored results whatever their seed is. Attacks on plain maps and neighbours use the seed 0 then.
        show_progress: Show progress bars on stderr.
        on_cell: Called with the record of every cell as soon as it is finished.

    Returns:
        The leaderboard of all cells in ``out``.

    Raises:
        InvalidInputError: An argument is invalid.
        CertificationError: The guarantee would be unsound.
        OSError: A file cannot be written.

    Example:
        >>> import tempfile, torch
        >>> from captum.attr import InputXGradient, Saliency
        >>> from captum_certified.benchmark import benchmark
        >>> _ = torch.manual_seed(0)
        >>> model = torch.nn.Sequential(torch.nn.Linear(16, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
        >>> methods = {"Saliency": Saliency(model), "InputXGradient": InputXGradient(model)}
        >>> with tempfile.TemporaryDirectory() as out:
        ...     board = benchmark(
        ...         methods, torch.rand(2, 16), target=0, k=4, radius=0.02, nt_samples=64, stdevs=0.2, out=out, seed=0
        ...     )
        >>> sorted(row["method"] for row in board.rows)
        ['InputXGradient', 'Saliency', 'sham: constant']
    """
    entries = {name: one if isinstance(one, Entry) else Entry(method=one) for name, one in methods.items()}
    sigmas = [float(stdevs)] if isinstance(stdevs, int | float) else [float(stdev) for stdev in stdevs]
    if not entries or not sigmas or not maps:
        raise InvalidInputError(
            f"Expected `methods`, `stdevs` and `maps` to compare, got {len(entries)}, {len(sigmas)} and {len(maps)}."
        )
    images = _images(inputs, target, names)
    model = forward_func or next(iter(entries.values())).method.forward_func
    own = {name: Entry(method=method) for name, method in shams_of(model, inputs).items()} if shams else {}
    settings = BenchmarkSettings(
        k=k,
        radius=radius,
        radii=BenchmarkSettings.all_radii(radius, radii),
        nt_samples=nt_samples,
        confidence=confidence,
        bound=bound,
        steps=attack_steps,
        restarts=attack_restarts,
        attack_draws=attack_draws,
        attack_samples=attack_samples,
        neighbours=neighbours,
        neighbour_radius=neighbour_radius,
        lower_bound=lower_bound,
        upper_bound=upper_bound,
    )
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    runner = Runner(
        images=images,
        settings=settings,
        out=folder,
        attacker=Attacker(model, settings, seed=seed or 0),
        seed=seed,
        pass_size=nt_samples_batch_size,
        show_progress=show_progress,
    )
    part, parts = checked_shard(shard)
    every = product({**entries, **own}.items(), maps.items(), sigmas, named_groups(groups).items())
    for number, ((name, entry), (map_name, smoothing), sigma, (groups_name, each)) in enumerate(every):
        if belongs_to(number, part, parts):
            cell = Cell(
                name=name,
                entry=entry,
                map_name=map_name,
                smoothing=smoothing,
                sigma=sigma,
                groups_name=groups_name,
                groups=each,
                sham=name in own,
            )
            record = _record_of(CellRun(runner, cell), on_failure)
            if on_cell is not None:
                on_cell(record)
    board = Leaderboard.load(folder)
    write_pages(board, folder)
    return board


def _record_of(run: CellRun, on_failure: OnFailure) -> JsonObject:
    """Return the record of a cell, or of the reason why it cannot be computed."""
    try:
        return run.record()
    except FAILURES as error:
        if on_failure == "raise":
            raise
        record = {**run.name_of_cell(), "kind": FAILURE, "error": f"{type(error).__name__}: {error}"}
    if not run.is_finished:  # the record of a failure must not replace a result
        write_json(run.path, record)
    return record


def _images(inputs: Tensor, target: int | Sequence[int] | Tensor, names: Sequence[str] | None) -> Images:
    if not isinstance(inputs, Tensor) or inputs.dim() < 2 or not len(inputs):
        raise InvalidInputError(f"Expected `inputs` to be a tensor of shape (N, …), got {type(inputs).__name__}.")
    given = target.tolist() if isinstance(target, Tensor) else target
    targets = [given] * len(inputs) if isinstance(given, int) else list(given)
    check_targets(targets, len(inputs))
    known = [f"{row:06d}" for row in range(len(inputs))] if names is None else checked_names(names)
    if len(known) != len(inputs):
        raise InvalidInputError(f"Expected a name for each of {len(inputs)} `inputs`, got {len(known)}.")
    return Images(inputs=inputs, names=known, targets=[int(one) for one in targets])
