"""The command ``captum-certified reproduce``."""

import argparse
import functools
from pathlib import Path
from typing import TYPE_CHECKING

from captum_certified.cli.arguments import part
from captum_certified.cli.options import Commands, HelpFormatter, add_model
from captum_certified.cli.output import check_folder
from captum_certified.exceptions import InvalidInputError

if TYPE_CHECKING:
    from torch import nn

    from captum_certified.images.framing import Framing

__all__ = ["add_to", "run"]

_SCALES = ("smoke", "cpu", "dry", "paper")
_DONE, _PARTS_MISSING = 0, 1


def add_to(commands: Commands) -> None:
    """Add the command to the program."""
    parser = commands.add_parser(
        "reproduce",
        help="repeat an experiment of the paper",
        description="Repeat an experiment of the paper, and write its table, figure and numbers. Run the same command "
        "again to continue an interrupted experiment. --shard splits the work among processes.",
        formatter_class=HelpFormatter,
    )
    parser.add_argument("name", metavar="NAME", help="name of the experiment, or list to print all names")
    parser.add_argument("--data", type=Path, default=Path("data"), metavar="DIR", help="folder of images and networks")
    parser.add_argument("--dataset", metavar="NAME", help="another data set, for rar: fashion-mnist, pneumonia, …")
    add_model(parser.add_argument_group("model for photographs (default: resnet50) or CIFAR-10"), required=False)
    parser.add_argument(
        "--scale",
        choices=_SCALES,
        default="cpu",
        help="smoke: seconds; cpu: hours on a few cores; paper: the protocol of the paper as printed, which "
        "trains its networks for CIFAR-10 if no --model is given; dry: the same protocol with every count cut down",
    )
    parser.add_argument("--out", type=Path, default=Path("results"), metavar="DIR", help="folder of the results")
    parser.add_argument("--shard", type=part, metavar="I/N", help="compute only part I of N; I is from 1 to N")
    parser.add_argument("-q", "--quiet", action="store_true", help="show no progress")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run an experiment, and print where its results are."""
    from captum_certified.cli.models import load_model, moved
    from captum_certified.reproduce import EXPERIMENTS, Material, run_experiment

    if arguments.name == "list":
        for experiment in EXPERIMENTS.values():
            print(f"{experiment.name}: {experiment.title}")
        return _DONE
    if arguments.name not in EXPERIMENTS:
        raise InvalidInputError(f"Expected one of {[*EXPERIMENTS]}, or list, got {arguments.name!r}.")

    check_folder(arguments.out)
    experiment = EXPERIMENTS[arguments.name]
    if arguments.dataset is not None:
        experiment = experiment.on(arguments.dataset)
    if arguments.model is None and experiment.default_model is not None:
        arguments.model, *arguments.model_arg = experiment.default_model

    @functools.cache
    def classifier() -> "tuple[nn.Module, Framing]":
        loaded = load_model(arguments)
        return moved(loaded.model, arguments), loaded.framing

    material = Material(
        data=arguments.data,
        classifier=None if arguments.model is None else classifier,
        networks=arguments.out / "networks",
        device=arguments.device,
    )
    if arguments.model is None and "network" in experiment.dependencies(material, arguments.scale):
        raise InvalidInputError(f"Expected `--model` for {experiment.name}, a classifier of CIFAR-10, got none.")
    record = run_experiment(
        experiment,
        material,
        scale=arguments.scale,
        out=arguments.out,
        shard=arguments.shard,
        show_progress=not arguments.quiet,
    )
    if record is None:
        print("Some parts are missing: run the other shards, or this one again without --shard.")
        return _PARTS_MISSING
    print(f"Results: {arguments.out / experiment.name}.csv, .png and .json")
    return _DONE
