"""The command ``captum-certified certify``."""

import argparse
import functools
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from captum_certified.cli.arguments import box, count_or_fraction, part
from captum_certified.cli.class_names import class_named
from captum_certified.cli.image_files import check_outputs, expanded
from captum_certified.cli.methods import check_method_options, choice_of
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
    compared,
    conditions_of,
    set_of,
    text_stream,
    units_of,
    write_json,
)
from captum_certified.cli.process import process_group

if TYPE_CHECKING:  # these imports load PyTorch
    from captum_certified.attr import SmoothedAttribution
    from captum_certified.runs import ExampleResult
    from captum_certified.runs.job import Job

__all__ = ["add_to", "run"]

_DONE, _SOME_FAILED = 0, 1


def add_to(commands: Commands) -> None:
    """Add the command to the program."""
    parser = commands.add_parser(
        "certify",
        help="certify saliency maps of image files",
        description="Explain image files by sparsified SmoothGrad. Certify, with --confidence for each image, how much "
        "of each smoothed map's top set survives every perturbation of L2 size --radius. Pixels are in [0, 1], and "
        "--sigma and --radius are in the same units, because the model's normalisation becomes part of the model. To "
        "continue an interrupted run, run the same command again. Under torchrun all processes share the work.",
        epilog="A certificate is about the map of the class that --target names. This class is held fixed at every "
        "perturbed image, also where the prediction changes. With --target argmax the certificate is about the class "
        f"predicted at each noisy copy, whichever that is. {ADVICE}",
        formatter_class=HelpFormatter,
    )
    parser.add_argument(
        "images",
        nargs="+",
        type=Path,
        metavar="IMAGE",
        help="image files, .npy or .pt arrays, or folders; images in a folder, at any depth, are taken in the order of "
        "their names; with a folder, a summary table and figure are written",
    )
    add_image_model(parser)
    explanation = parser.add_argument_group("explanation and certificate")
    add_explanation(explanation)
    explanation.add_argument(
        "--overlap",
        type=count_or_fraction,
        metavar="N",
        help="stop sampling an image when this overlap (a count or a fraction of the top set) is certified or, by a "
        "forecast, out of reach; --samples is then the largest number of draws",
    )
    explanation.add_argument(
        "--region",
        type=box,
        metavar="X0,Y0,X1,Y1",
        help="also certify the mean fraction of the saliency in this rectangle, as a separate statement with a "
        "confidence of its own; in pixels of the file as it is stored, and turned with the picture by --exif",
    )
    _add_output(parser.add_argument_group("output"))
    parser.set_defaults(run=run)


def _add_output(group: Group) -> None:
    group.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        default=argparse.SUPPRESS,
        help="folder for .json, .npz and .png of each image (default: captum-certified-results, or none with --json)",
    )
    group.add_argument(
        "--resume",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="keep the results in --out that have the same settings, and continue unfinished images",
    )
    group.add_argument(
        "--shard", type=part, metavar="I/N", help="certify only part I of N, for job arrays; I is from 1 to N"
    )
    group.add_argument("--json", metavar="FILE", help="write all results as one JSON list; - is standard output")
    group.add_argument("--csv", action="store_true", help="also write a table of all features of each image")
    group.add_argument(
        "--report",
        action="store_true",
        help="also write an HTML page for each image, with a slider for the radius",
    )
    add_verbosity(group)


def run(arguments: argparse.Namespace) -> int:
    """Certify every image, and continue after an image that fails."""
    with process_group(arguments.device):
        return _run(arguments)


def _run(arguments: argparse.Namespace) -> int:
    from captum_certified.cli.explainers import explainer_of
    from captum_certified.cli.image_sources import image_sources
    from captum_certified.cli.models import load_model
    from captum_certified.runs.dataset import run_job
    from captum_certified.runs.processes import Processes

    arguments.out = getattr(arguments, "out", None if arguments.json else Path("captum-certified-results"))
    check_method_options([choice_of(arguments.method)], arguments)
    files = expanded(arguments.images, without=arguments.out)
    check_outputs(files, arguments.out, (".png", ".json", ".npz", ".csv", ".html"))
    check_json(arguments.json)
    if arguments.out is not None:
        check_folder(arguments.out)
        arguments.out.mkdir(parents=True, exist_ok=True)
    loaded = load_model(arguments)
    job = _job(explainer_of(loaded, arguments), loaded.class_names, arguments)
    stream = text_stream(arguments.json)

    def say(result: "ExampleResult") -> None:
        if arguments.verbose and result.traceback:
            print(result.traceback, file=sys.stderr)
        print(_sentence(result, loaded.class_names), file=stream, flush=True)

    summary = run_job(
        job,
        image_sources(files, loaded, arguments),
        total=len(files),
        shard=arguments.shard,
        show_progress=not arguments.quiet,
        summary_files=any(path.is_dir() for path in arguments.images),
        on_result=say,
    )
    everyone = Processes.current()

    def conclude() -> None:
        if everyone.is_first:
            if len(summary) != 1:
                print(summary, file=stream, flush=True)
            records = [result.record for result in summary]
            for line in (*conditions_of(records), *units_of(records)):
                print(line, file=stream, flush=True)
            if arguments.out is not None:
                print(f"Results: {arguments.out}", file=stream, flush=True)
            write_json([dict(result.record) for result in summary], arguments.json)

    # All processes wait until the first process has written. Otherwise torchrun would stop the first process when
    # another process exits with a failure.
    everyone.together(conclude)
    return _SOME_FAILED if any(result.failed for result in summary) else _DONE


def _job(explainer: "SmoothedAttribution", names: Sequence[str] | None, arguments: argparse.Namespace) -> "Job":
    from captum_certified.attr.request import CallSettings
    from captum_certified.certify import Certifier
    from captum_certified.certify.goal import Goal
    from captum_certified.cli.image_sources import write_pictures
    from captum_certified.runs.job import Job

    return Job(
        certifier=Certifier(explainer, confidence=arguments.confidence, bound=arguments.bound),
        goal=Goal(
            k=arguments.k,
            radius=arguments.radius,
            overlap=arguments.overlap,
            reference="plain" if arguments.reference == "plain" else None,
        ),
        sampling=CallSettings(
            nt_samples=arguments.samples,
            nt_samples_batch_size=arguments.batch_size,
            stdevs=arguments.sigma,
            covariance="auto",
            seed=arguments.seed,
        ),
        out=arguments.out,
        resume=arguments.resume,
        on_failure="record",
        beside=functools.partial(write_pictures, csv=arguments.csv, page=arguments.report, names=names),
    )


def _explained(result: "ExampleResult", names: Sequence[str] | None) -> str:
    """Name the explained class, and the predicted class if the two differ."""
    target, prediction = result.record.get("explained"), result.record["prediction"]
    predicted = class_named(prediction, names)
    if target in (None, prediction):
        return predicted
    explained = class_named(target, names) if isinstance(target, int) else f"class {target}"
    return f"{explained} explained, {predicted.removeprefix('class ')} predicted"


def _advice(result: "ExampleResult") -> str:
    """Say what to do if nothing is certified. Settings must not be chosen by looking at the draws of a certificate."""
    from captum_certified.certify.few_draws import too_few_draws
    from captum_certified.theory import look_level

    record = result.record
    stdevs, looks = record["stdevs"], record["looks"]
    sigma = next((s for s in stdevs if s > 0), 0.0) if isinstance(stdevs, list) else stdevs
    alpha = 1 - record["confidence"]
    few = too_few_draws(
        record["bound"],
        n_samples=record["n_samples"][0],
        n_features=record["n_features"],
        ratio=record["radius"] / sigma,
        level=look_level(alpha, looks[0]) if looks and looks[0] else alpha,
        violations=record["violations"],
        of_counts=True,
    )
    choose = "choose --samples, --sigma and --radius with another --seed, on other images if you can, then certify once"
    return choose if few is None else few


def _sentence(result: "ExampleResult", names: Sequence[str] | None) -> str:
    from captum_certified.certify.written_numbers import floored_percent, rounded_down, written_confidence

    record = result.record
    if "error" in record:
        return f"{record['image']}: failed: {record['error']}"
    text = (
        f"{record['image']}: {_explained(result, names)}, at least "
        f"{floored_percent(record['overlap_fraction'][0])}% of {set_of(record)} survive L2 radius "
        f"{rounded_down(record['radius'])} ({record['bound']}, confidence {written_confidence(record['confidence'])})"
    )
    plain = record["of_plain"]
    if record["reference"] != "own":
        text += f" {compared(record)}"
    elif plain is not None:
        text += f"; at least {floored_percent(plain['overlap_fraction'][0])}% of the plain map's {compared(plain)}"
    if record["plain_overlap"]:
        shared = floored_percent(record["plain_overlap"][0] / record["k"])
        text += f"; {shared}% of the smoothed map's top {record['k']} are in the plain map's"
    if not record["overlap"][0]:
        text += f"; nothing is proved: {_advice(result)}"
    if record["class_kept"]:
        text += f"; {floored_percent(record['class_kept'][0])}% of noisy copies keep the class"
        if record["class_radius"][0]:
            radius = rounded_down(record["class_radius"][0], digits=3)
            text += f" (certified, with a confidence of its own: most copies keep it up to L2 radius {radius})"
    text += "".join(f"; caution: {caution}" for caution in record["cautions"][0])
    if record["stopped"]:
        text += f", {record['stopped'][0]} after {record['n_samples'][0]} draws"
    if "region" in record:
        region = record["region"]
        text += (
            f"; and, with another {written_confidence(region['confidence'])} of its own, at least "
            f"{floored_percent(region['mass'][0])}% of the saliency stays in the region, on average over noisy copies"
        )
    return text
