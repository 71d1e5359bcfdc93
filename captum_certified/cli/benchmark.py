"""The command ``captum-certified benchmark``."""

import argparse
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from captum_certified.cli.arguments import (
    count_or_fraction,
    groups,
    listed,
    numbers,
    part,
    positive_integer,
    positive_number,
    seed,
)
from captum_certified.cli.image_files import expanded
from captum_certified.cli.methods import METHODS, MethodChoice, check_method_options, choice_of, sign_of
from captum_certified.cli.options import (
    ADVICE,
    Commands,
    Group,
    HelpFormatter,
    add_image_model,
    add_method_options,
    add_verbosity,
)
from captum_certified.cli.output import check_folder
from captum_certified.exceptions import InvalidInputError

if TYPE_CHECKING:  # these imports load PyTorch
    from torch import Tensor

    from captum_certified.benchmark import Entry
    from captum_certified.benchmark.cells import Smoothing
    from captum_certified.cli.models import LoadedModel
    from captum_certified.storage import JsonObject

__all__ = ["add_to", "run"]

_DONE, _SOME_FAILED = 0, 1
_BLACK, _WHITE = 0.0, 1.0
_GAMMA = 0.1  # γ / τ of the relaxed map
_MAPS = ("sparsified", "relaxed", "scaled", "quadratic", "normalized")


def add_to(commands: Commands) -> None:
    """Add the command to the program."""
    parser = commands.add_parser(
        "benchmark",
        help="certify and attack the explanations of several methods, and write a leaderboard",
        description="Certify the smoothed maps of several methods on the same images, at --radius and --radii, attack "
        "them at --radius, and measure empirical metrics of the plain maps. Write a JSON file for each cell (a method "
        "with a map, a noise level and groups), the saved maps beside it, and a leaderboard as Markdown and HTML. To "
        "continue an interrupted run, run the same command again. Commands with other methods, noise levels or groups "
        "add their cells to the same --out. The command verify recomputes every number of the folder.",
        epilog="Two shams are compared as well, a constant map and an edge detector, which look at no model. Every "
        f"image has its certificates with --confidence, at all radii together. {ADVICE}",
        formatter_class=HelpFormatter,
    )
    parser.add_argument("images", nargs="+", type=Path, metavar="IMAGE", help="image files, arrays, or folders of them")
    add_image_model(parser)
    _add_settings(parser.add_argument_group("what is compared"))
    _add_measures(parser.add_argument_group("attacks and empirical metrics"))
    _add_output(parser.add_argument_group("output"))
    parser.set_defaults(run=run)


def _add_settings(group: Group) -> None:
    group.add_argument(
        "--methods", type=listed(str), default=["Saliency", "InputXGradient"], metavar="A,B", help=", ".join(METHODS)
    )
    add_method_options(group)
    group.add_argument("--maps", type=listed(_map), default=["sparsified"], metavar="A,B", help=", ".join(_MAPS))
    group.add_argument(
        "--tau", type=float, default=0.2, metavar="N", help="τ of the maps sparsified and relaxed, with γ = τ/10"
    )
    group.add_argument("--sigmas", type=numbers, default=[0.1], metavar="N,N", help="noise levels σ")
    group.add_argument("--groups", type=listed(groups), default=["auto"], metavar="A,B", help="groups, as in certify")
    group.add_argument("--no-shams", action="store_true", help="leave the shams out")
    group.add_argument("--k", type=count_or_fraction, default=0.2, metavar="N", help="top set, as in certify")
    group.add_argument("--radius", type=float, required=True, metavar="N", help="L2 size of the perturbation")
    group.add_argument(
        "--radii", type=numbers, metavar="N,N", help="more sizes to certify; by default half of --radius and twice it"
    )
    group.add_argument("--samples", type=positive_integer, default=1024, metavar="N", help="draws of each image")
    group.add_argument("--confidence", type=float, default=0.95, metavar="N", help="confidence level for each image")
    group.add_argument("--bound", default="best", help="name of the bound that proves the certificates")
    group.add_argument("--batch-size", type=positive_integer, metavar="N", help="draws computed together")
    group.add_argument(
        "--seed", type=seed, metavar="N", help="seed of the noise; by default a fresh one for each image of each cell"
    )


def _add_measures(group: Group) -> None:
    group.add_argument("--steps", type=positive_integer, default=10, metavar="N", help="gradient steps from each start")
    group.add_argument("--restarts", type=positive_integer, default=1, metavar="N", help="number of random starts")
    group.add_argument("--attack-draws", type=positive_integer, default=16, metavar="N", help="draws for each gradient")
    group.add_argument(
        "--attack-samples",
        type=positive_integer,
        metavar="N",
        help="draws of the smoothed map at an attacked image; by default --samples",
    )
    group.add_argument(
        "--neighbours", type=positive_integer, default=10, metavar="N", help="random neighbours for empirical metrics"
    )
    group.add_argument(
        "--neighbour-radius",
        type=positive_number,
        default=0.02,
        metavar="N",
        help="largest change of a pixel value in a neighbour",
    )


def _add_output(group: Group) -> None:
    group.add_argument(
        "--out",
        type=Path,
        default=Path("captum-certified-benchmark"),
        metavar="DIR",
        help="folder of the cells, their maps and the leaderboard",
    )
    group.add_argument(
        "--shard", type=part, metavar="I/N", help="compute only part I of N cells, for job arrays; I is from 1 to N"
    )
    group.add_argument(
        "--submit", type=Path, metavar="FILE.zip", help="at the end pack settings, versions, digests, numbers and maps"
    )
    add_verbosity(group)


def run(arguments: argparse.Namespace) -> int:
    """Run all cells, and continue after a cell that fails."""
    import torch

    from captum_certified.benchmark import benchmark, write_submission
    from captum_certified.cli.explainers import check_arguments, framed_pictures
    from captum_certified.cli.image_groups import groups_by_name
    from captum_certified.cli.image_sources import prediction_of
    from captum_certified.cli.models import load_model, moved, placed

    check_folder(arguments.out)
    choices = [choice_of(name, "--methods") for name in dict.fromkeys(arguments.methods)]
    check_method_options(choices, arguments)
    check_arguments(choices, arguments)
    if arguments.submit is not None and arguments.submit.suffix != ".zip":
        raise InvalidInputError(f"Expected `--submit` to be a file that ends in .zip, got {arguments.submit}.")
    loaded = load_model(arguments)
    files = expanded(arguments.images, without=arguments.out)
    images = framed_pictures([path for path, _ in files], loaded.framing, arguments, named="images")
    inputs = placed(images, arguments)
    model = moved(loaded.model, arguments)
    failed = 0

    def say(record: "JsonObject") -> None:
        nonlocal failed
        failed += "error" in record
        print(_sentence(record), flush=True)

    benchmark(
        _entries(choices, inputs, loaded, arguments),
        inputs,
        target=torch.tensor([prediction_of(model, one[None]) for one in inputs]),
        forward_func=model,
        maps=_smoothings(arguments),
        groups=groups_by_name([path for path, _ in files], images, loaded, arguments),
        names=[name for _, name in files],
        k=arguments.k,
        radius=arguments.radius,
        radii=arguments.radii,
        nt_samples=arguments.samples,
        stdevs=arguments.sigmas,
        out=arguments.out,
        shams=not arguments.no_shams,
        confidence=arguments.confidence,
        bound=arguments.bound,
        attack_steps=arguments.steps,
        attack_restarts=arguments.restarts,
        attack_draws=arguments.attack_draws,
        attack_samples=arguments.attack_samples,
        neighbours=arguments.neighbours,
        neighbour_radius=arguments.neighbour_radius,
        lower_bound=_BLACK,
        upper_bound=_WHITE,
        shard=arguments.shard,
        on_failure="record",
        nt_samples_batch_size=arguments.batch_size,
        seed=arguments.seed,
        show_progress=not arguments.quiet,
        on_cell=say,
    )
    if arguments.submit is not None:
        print(f"Submission: {write_submission(arguments.out, arguments.submit, about=arguments.model)}")
    print(f"Leaderboard: {arguments.out / 'leaderboard.md'} and {arguments.out / 'leaderboard.html'}")
    return _SOME_FAILED if failed else _DONE


def _entries(
    choices: Sequence[MethodChoice], inputs: "Tensor", loaded: "LoadedModel", arguments: argparse.Namespace
) -> "dict[str, Entry]":
    """Return the methods of the benchmark by name."""
    from captum_certified.benchmark import Entry
    from captum_certified.cli.explainers import arguments_of, method_of

    return {
        choice.name: Entry(
            method=method_of(choice, loaded, arguments),
            sign=sign_of(choice, arguments),
            arguments=functools.partial(arguments_of, choice, inputs, loaded, arguments),
        )
        for choice in choices
    }


def _smoothings(arguments: argparse.Namespace) -> "dict[str, Smoothing]":
    """Return the smoothed attributions that ``--maps`` names."""
    from captum_certified import attr

    tau = arguments.tau
    known: dict[str, Smoothing] = {
        "sparsified": functools.partial(attr.SparsifiedSmoothGrad, tau=tau),
        "relaxed": functools.partial(attr.RelaxedSparsifiedSmoothGrad, tau=tau, gamma=_GAMMA * tau),
        "scaled": attr.ScaledSmoothGrad,
        "quadratic": attr.ScaledQuadraticSmoothGrad,
        "normalized": attr.NormalizedSmoothGrad,
    }
    return {name: known[name] for name in dict.fromkeys(arguments.maps)}


def _map(text: str) -> str:
    if text not in _MAPS:
        raise argparse.ArgumentTypeError(f"expected maps among {', '.join(_MAPS)}, got {text}")
    return text


def _sentence(record: "JsonObject") -> str:
    """Say what came out for a cell."""
    from captum_certified.benchmark import Leaderboard
    from captum_certified.certify.written_numbers import floored_percent, rounded_down

    cell = f"{record['method']}, {record['map']}, σ = {record['sigma']:g}, {record['groups']}"
    if "error" in record:
        return f"{cell}: failed: {record['error']}"
    board = Leaderboard((record,))
    [row] = board.rows
    means = {c.name: mean for c, mean in zip(board.columns, row.means, strict=True) if c.radius in (None, board.radius)}
    parts = [
        f"{floored_percent(mean.value)}% of the {what} map's top set"
        for what, mean in (("smoothed", means["own"]), ("plain", means["plain"]))
        if mean is not None
    ]
    margin = means["margin"]
    text = f"{cell}: mean certified at L2 radius {rounded_down(board.radius)} over {row.examples} images: "
    return text + " and ".join(parts) + ("" if margin is None else f", margin {100 * margin.value:+.1f} points")
