"""The command ``captum-certified pilot``."""

import argparse
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from captum_certified.cli.arguments import count_or_fraction, groups, listed, numbers, positive_integer, seed
from captum_certified.cli.image_files import expanded
from captum_certified.cli.methods import METHODS, MethodChoice, check_method_options, choice_of, sign_of
from captum_certified.cli.options import (
    Commands,
    Group,
    HelpFormatter,
    add_image_model,
    add_method_options,
    add_verbosity,
)
from captum_certified.cli.output import check_json, text_stream, write_json

if TYPE_CHECKING:  # these imports load PyTorch
    from captum_certified.certify.pilot import Pilot, PilotRow

__all__ = ["add_to", "run"]

_DONE = 0
# Options that the command certify has too, and their defaults there.
_USUAL = {"channels": 3, "device": "cpu", "dtype": "float32", "confidence": 0.95, "bound": "best"}
Value = TypeVar("Value")


def add_to(commands: Commands) -> None:
    """Add the command to the program."""
    parser = commands.add_parser(
        "pilot",
        help="try settings on a few images, and say which are worth a certificate",
        description="Try methods, noise, sparsity and groups on a few images, with few draws each. Forecast how much "
        "of the smoothed map's own top set and of the plain map's top set each setting would certify at --radius from "
        "--samples draws, and compare it with chance, brightness and random weights. Print the command that certifies "
        "with the best setting of each method. A pilot proves nothing.",
        epilog="Give other images than those to certify: settings chosen by looking at draws void the certificates of "
        "these draws. Methods have different plain maps, so methods are shown side by side and not ranked.",
        formatter_class=HelpFormatter,
    )
    parser.add_argument("images", nargs="+", type=Path, metavar="IMAGE", help="image files, arrays, or folders of them")
    add_image_model(parser)
    _add_settings(parser.add_argument_group("settings to try"))
    output = parser.add_argument_group("output")
    output.add_argument("--json", metavar="FILE", help="write the table as JSON after every row; - is standard output")
    output.add_argument("--figure", type=Path, metavar="FILE", help="draw the table as a PNG")
    add_verbosity(output)
    parser.set_defaults(run=run)


def _add_settings(group: Group) -> None:
    group.add_argument("--radius", type=float, required=True, metavar="N", help="L2 size of the perturbation")
    group.add_argument("--methods", type=listed(str), default=["Saliency"], metavar="A,B", help=", ".join(METHODS))
    add_method_options(group)
    group.add_argument("--sigmas", type=numbers, default=[0.05, 0.1, 0.2], metavar="N,N", help="noise levels σ to try")
    group.add_argument("--taus", type=numbers, default=[0.1, 0.2], metavar="N,N", help="values of --tau to try")
    group.add_argument(
        "--groups", type=listed(groups), default=["auto"], metavar="A,B", help="groups to try: see certify --help"
    )
    group.add_argument("--k", type=count_or_fraction, default=0.2, metavar="N", help="top set, as in certify")
    group.add_argument("--samples", type=positive_integer, default=1024, metavar="N", help="draws to certify with")
    group.add_argument("--pilot-samples", type=positive_integer, default=1024, metavar="N", help="draws of the pilot")
    group.add_argument("--confidence", type=float, default=0.95, metavar="N", help="confidence level for each image")
    group.add_argument("--bound", default="best", help="name of the bound to forecast")
    group.add_argument("--batch-size", type=positive_integer, metavar="N", help="draws computed together")
    group.add_argument("--seed", type=seed, metavar="N", help="seed of the noise; by default a fresh one")


def run(arguments: argparse.Namespace) -> int:
    """Run the pilot on all images together."""
    import torch

    from captum_certified.attr import SparsifiedSmoothGrad
    from captum_certified.certify.pilot import Pilot, pilot
    from captum_certified.cli.explainers import arguments_of, check_arguments, framed_pictures, method_of
    from captum_certified.cli.image_groups import groups_by_name
    from captum_certified.cli.image_sources import prediction_of
    from captum_certified.cli.models import load_model, moved, placed
    from captum_certified.randomness import fresh_seed

    check_json(arguments.json)
    if arguments.seed is None:
        arguments.seed = fresh_seed()
    choices = [choice_of(name, "--methods") for name in dict.fromkeys(arguments.methods)]
    check_method_options(choices, arguments)
    check_arguments(choices, arguments)
    loaded = load_model(arguments)
    files = [path for path, _ in expanded(arguments.images, without=None)]
    images = framed_pictures(files, loaded.framing, arguments, named="images")
    inputs = placed(images, arguments)
    model = moved(loaded.model, arguments)
    targets = torch.tensor([prediction_of(model, one[None]) for one in inputs], device=inputs.device)
    stream, done = text_stream(arguments.json), list["PilotRow"]()

    chosen = groups_by_name(files, images, loaded, arguments)
    about: dict[str, Any] = {
        "k": arguments.k,
        "radius": arguments.radius,
        "nt_samples": arguments.samples,
        "pilot_samples": arguments.pilot_samples,
        "seed": arguments.seed,
    }

    def keep(row: "PilotRow") -> None:
        done.append(row)
        if arguments.json not in (None, "-"):
            write_json(Pilot(rows=tuple(done), **about).to_dict(), arguments.json)

    methods = [(choice, method_of(choice, loaded, arguments)) for choice in choices]
    chosen_by: dict[str, MethodChoice] = {}
    for choice, method in methods:
        explainers = [SparsifiedSmoothGrad(method, tau=tau, sign=sign_of(choice, arguments)) for tau in arguments.taus]
        # Methods that switch off whole groups need different arguments for every kind of groups.
        for together in [{name: group} for name, group in chosen.items()] if choice.cells else [chosen]:
            tried = pilot(
                explainers,
                inputs,
                **about,
                stdevs=arguments.sigmas,
                groups=together,
                target=targets,
                confidence=arguments.confidence,
                bound=arguments.bound,
                nt_samples_batch_size=arguments.batch_size,
                show_progress=not arguments.quiet,
                on_row=keep,
                **arguments_of(choice, inputs, loaded, arguments, next(iter(together.values()))),
            )
            chosen_by |= dict.fromkeys(tried.best, choice)
    table = Pilot(rows=tuple(done), **about)
    print(table, file=stream)
    for row in table.best.values():
        print(f"  {_command(row, chosen_by[row.method], arguments)}", file=stream)
    write_json(table.to_dict(), arguments.json)
    if arguments.figure is not None:
        _write_figure(table, arguments.figure)
    return _DONE


def _command(row: "PilotRow", choice: MethodChoice, arguments: argparse.Namespace) -> str:
    """Return the command that certifies with the settings of a row and a fresh seed."""
    given = [("--model", arguments.model)]
    given += [("--model-arg", value) for value in arguments.model_arg]
    given += [("--weights", arguments.weights)] if arguments.weights else []
    given += [("--denoiser", arguments.denoiser)] if arguments.denoiser else []
    given += [("--size", f"{arguments.size.resize},{arguments.size.crop}")] if arguments.size else []
    normalisation = (("--mean", arguments.mean), ("--std", arguments.std))
    given += [(option, ",".join(map(str, values))) for option, values in normalisation if values]
    given += [("--method", choice.name), *_method_options(choice, arguments)]
    given += [("--sigma", f"{row.sigma:g}"), ("--tau", f"{row.tau:g}")]
    given += [("--groups", row.groups), ("--k", arguments.k), ("--radius", arguments.radius)]
    given += [("--samples", arguments.samples)]
    values = {name: getattr(arguments, name) for name in _USUAL}
    given += [(f"--{name}", value) for name, value in values.items() if value != _USUAL[name]]
    words = ["captum-certified", "certify", "IMAGES", *(str(part) for pair in given for part in pair)]
    return shlex.join([*words, *(["--exif"] if arguments.exif else [])])


def _method_options(choice: MethodChoice, arguments: argparse.Namespace) -> list[tuple[str, str]]:
    """Return the options that a method takes, as they were given."""
    from captum_certified.cli.explainers import accepts

    given = [("--layer", arguments.layer)] if choice.layer else []
    if choice.baselines != "none" and arguments.baselines is not None:
        given.append(("--baselines", str(arguments.baselines)))
    if choice.window and arguments.window is not None:
        given.append(("--window", ",".join(map(str, arguments.window))))
    given += [("--method-arg", text) for text in arguments.method_arg if accepts(choice, text.partition("=")[0])]
    sign = sign_of(choice, arguments)
    return given if sign == choice.sign else [*given, ("--sign", sign)]


def _write_figure(table: "Pilot", path: Path) -> None:
    from captum_certified.storage import atomic_write
    from captum_certified.visualization import pilot_figure

    figure, _ = pilot_figure(table)
    with atomic_write(path) as file:
        figure.savefig(file, format="png", dpi=150)
