"""The command ``captum-certified attack``."""

import argparse
from pathlib import Path

from captum_certified.cli.arguments import positive_integer, surrogate
from captum_certified.cli.image_files import check_outputs, expanded
from captum_certified.cli.methods import check_attackable, check_method_options, choice_of
from captum_certified.cli.options import (
    ADVICE,
    Commands,
    Group,
    HelpFormatter,
    add_explanation,
    add_image_model,
    add_verbosity,
)
from captum_certified.cli.output import (
    check_folder,
    check_json,
    conditions_of,
    text_stream,
    units_of,
    write_json,
)

__all__ = ["add_to", "run"]

_DONE, _SOME_FAILED = 0, 1
# The names of robust.named_attacks, which is not imported here because PyTorch takes seconds to load.
ATTACKS = ("interpretation", "ghorbani", "fast_gradient", "black_box")


def add_to(commands: Commands) -> None:
    """Add the command to the program."""
    parser = commands.add_parser(
        "attack",
        help="attack the saliency maps of image files, and certify the maps",
        description="Certify the sparsified SmoothGrad map of image files. Attack this map and the plain map within "
        "the same L2 radius without changing the predicted class, and show how much of each map's top set is left. "
        "Pixels are in [0, 1].",
        epilog="How much of the smoothed map is left is measured from as many fresh draws as the certificate has. So "
        "this number has a sampling error. The certificate is about the exact smoothed map and holds with "
        f"--confidence for each image; the class of --target is held fixed. {ADVICE}",
        formatter_class=HelpFormatter,
    )
    parser.add_argument("images", nargs="+", type=Path, metavar="IMAGE", help="image files, arrays, or folders of them")
    add_image_model(parser)
    add_explanation(parser.add_argument_group("explanation and certificate"))
    _add_attack(parser.add_argument_group("attack"))
    _add_output(parser.add_argument_group("output"))
    parser.set_defaults(run=run)


def _add_attack(group: Group) -> None:
    group.add_argument(
        "--attack",
        choices=ATTACKS,
        default="interpretation",
        help="interpretation is Algorithm 1 of Levine et al.; ghorbani takes sign steps; fast_gradient takes one step; "
        "black_box takes no gradients and attacks every method",
    )
    group.add_argument(
        "--steps",
        type=positive_integer,
        default=20,
        help="gradient steps from each start, of interpretation and ghorbani",
        metavar="N",
    )
    group.add_argument(
        "--restarts", type=positive_integer, default=2, help="number of random starts, of interpretation", metavar="N"
    )
    group.add_argument(
        "--queries",
        type=positive_integer,
        default=1000,
        help="number of inputs whose map black_box asks for",
        metavar="N",
    )
    group.add_argument(
        "--attack-draws", type=positive_integer, default=16, help="draws for each gradient or query", metavar="N"
    )
    group.add_argument(
        "--beta",
        type=surrogate,
        default="auto",
        metavar="N",
        help="β of the softplus that replaces ReLUs in the gradients of the attack: a number, none for no replacement, "
        "or auto, which is 30 if the model has ReLUs",
    )
    group.add_argument(
        "--any-class", action="store_true", help="allow attacks that change the class; the certificate covers them too"
    )


def _add_output(group: Group) -> None:
    group.add_argument(
        "--out",
        type=Path,
        default=Path("captum-certified-attacks"),
        metavar="DIR",
        help="folder for the results of each image: certificate (.json, .npz), figure (.png), attacked image (.npy)",
    )
    group.add_argument("--json", metavar="FILE", help="write all results as one JSON list; - is standard output")
    add_verbosity(group)


def run(arguments: argparse.Namespace) -> int:
    """Attack every image, and continue after an image that fails."""
    from captum_certified.cli.attacked_images import attacked
    from captum_certified.cli.explainers import explainer_of
    from captum_certified.cli.models import load_model
    from captum_certified.randomness import fresh_seed

    choice = choice_of(arguments.method)
    if arguments.attack != "black_box":
        check_attackable(choice)
    check_method_options([choice], arguments)
    if arguments.seed is None:
        arguments.seed = fresh_seed()
    files = expanded(arguments.images, without=arguments.out)
    check_outputs(files, arguments.out, (".png", ".json", ".npz", "-attacked.npy"))
    check_json(arguments.json)
    check_folder(arguments.out)
    arguments.out.mkdir(parents=True, exist_ok=True)
    loaded = load_model(arguments)
    explainer = explainer_of(loaded, arguments)
    stream = text_stream(arguments.json)
    records = []
    for path, name in files:
        record, line = attacked(path, name, explainer, loaded, arguments)
        records.append(record)
        print(line, file=stream, flush=True)
    for condition in (*conditions_of(records), *units_of(records)):
        print(condition, file=stream, flush=True)
    print(f"Results: {arguments.out}", file=stream, flush=True)
    write_json(records, arguments.json)
    return _SOME_FAILED if any("error" in record for record in records) else _DONE
