"""``captum-certified demo``."""

import argparse
import shlex
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

from captum_certified.cli.arguments import count_or_fraction, positive_integer, seed
from captum_certified.cli.options import Commands, HelpFormatter
from captum_certified.cli.output import check_folder

if TYPE_CHECKING:
    from captum_certified.demo import DemoReport, DigitResult

__all__ = ["add_to", "run"]


def add_to(commands: Commands) -> None:
    """Add the command to the program."""
    parser = commands.add_parser(
        "demo",
        help="train a small classifier of digits and certify its saliency maps (seconds, no download)",
        description="Train a small classifier on scikit-learn's digits, explain the predicted class of a few test "
        "digits by sparsified SmoothGrad, certify with 95 % confidence for each how much of the smoothed map survives "
        "every perturbation of L2 size --radius, and attack it. Pixels are in [0, 1].",
        formatter_class=HelpFormatter,
    )
    parser.add_argument("--out", type=Path, default=Path("captum-certified-demo"), metavar="DIR", help="folder made")
    parser.add_argument("--images", type=positive_integer, default=6, help="number of test digits", metavar="N")
    parser.add_argument("--samples", type=positive_integer, default=4096, help="draws of each digit", metavar="N")
    parser.add_argument("--sigma", type=float, default=0.25, help="standard deviation of the noise", metavar="N")
    parser.add_argument("--tau", type=float, default=0.2, help="fraction of pixels salient in a draw", metavar="N")
    parser.add_argument("--k", type=count_or_fraction, default=0.2, help="top set: a count or a fraction", metavar="N")
    parser.add_argument("--radius", type=float, default=0.2, help="L2 size of the perturbation", metavar="N")
    parser.add_argument("--seed", type=seed, default=0, help="seed of classifier and noise", metavar="N")
    parser.add_argument("-q", "--quiet", action="store_true", help="show no progress")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the demo, and print its table and the paths of its files."""
    from captum_certified.demo import DemoSettings, run_demo

    check_folder(arguments.out)
    settings = DemoSettings(**{field.name: getattr(arguments, field.name) for field in fields(DemoSettings)})
    report = run_demo(settings, arguments.out, show_progress=not arguments.quiet)
    print("\n".join(_lines(report, settings.radius, arguments.out)))
    return 0


def _lines(report: "DemoReport", radius: float, directory: Path) -> list[str]:
    from captum_certified.certify.written_numbers import rounded_down, written_confidence

    first = report.results[0].certificate
    best = "best" if first.bound == "best" else f"best ({first.bound})"
    columns = ["digit", "predicted", "theorem2", best, "attacked", "in the plain map", "plain map attacked"]
    columns += ["plain, certified", "margin"]
    rows = [columns, *(_row(result) for result in report.results)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(columns))]
    table = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    files = " ".join(shlex.quote(str(result.path)) for result in report.results[:1])
    return [
        f"The classifier gets {report.accuracy:.1%} of the test digits right.",
        f"Of the {first.k} most salient pixels of {first.map.layout.n_features} in the smoothed map, at least so many "
        f"stay among the {first.k} most salient",
        f"of the exact smoothed map under every perturbation of L2 size {rounded_down(radius)} (pixels in [0, 1]):",
        "",
        *table,
        "",
        f"Columns theorem2 and best: {written_confidence(first.confidence, percent=True)} % confidence for each digit "
        "and each column by itself; do not take the larger of the two.",
        "Attacked: how many stay when Algorithm 1 of the paper attacks the map within the same radius. For the",
        "smoothed map they are counted in a map of fresh draws.",
        f"Plain, certified: how many of the plain map's top {first.k} are proved to be in the smoothed map's top "
        f"{first.k}, whatever",
        "is done to the picture. Margin: this overlap minus the largest overlap by chance, brightness or random "
        "weights, in points.",
        first.held_fixed,
        f"Figures: {report.figure} {report.attacks}",
        f"Results: {directory}/digit-*.json, each with its map in the .npz beside it",
        f"Check:   captum-certified verify {files}",
    ]


def _row(result: "DigitResult") -> list[str]:
    certificate = result.certificate
    plain, of_plain = certificate.plain_overlap, certificate.of_plain
    return [
        str(result.label),
        str(result.prediction),
        _share(result.paper, certificate.k),
        _share(int(certificate.overlap[0]), certificate.k),
        _share_left(result.attacked.smoothed, certificate.k),
        "" if plain is None else _share(int(plain[0]), certificate.k),
        _share_left(result.attacked.plain, certificate.k),
        "" if of_plain is None else f"{int(of_plain.overlap)}/{int(of_plain.reference_size)}",
        "" if of_plain is None else f"{100 * float(of_plain.margin):+.0f}",
    ]


def _share(count: int, k: int) -> str:
    """Format a certified share. It is a lower bound, so it is rounded down."""
    return f"{count}/{k} = {100 * count // k} %"


def _share_left(count: int, k: int) -> str:
    """Format the share that is left after an attack. It is an upper bound, so it is rounded up."""
    return f"{count}/{k} = {-(-100 * count // k)} %"
