"""``captum-certified certify``."""

import argparse
import json
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from captum_certified.cli.arguments import box, count_or_fraction, numbers, positive_integer, seed, size, target
from captum_certified.exceptions import CaptumCertifiedError, InvalidInputError

if TYPE_CHECKING:
    from captum_certified.certify import Certifier, TopKCertificate
    from captum_certified.cli.models import LoadedModel

__all__ = ["add_to", "run"]

_DONE, _SOME_FAILED = 0, 1
_METHODS = ("Saliency", "InputXGradient", "IntegratedGradients", "GuidedBackprop", "Deconvolution", "DeepLift")
_DTYPES = ("float32", "float64", "float16", "bfloat16")


def add_to(commands: Any) -> None:
    """Add the command to the program."""
    parser = commands.add_parser(
        "certify",
        help="certify saliency maps of image files",
        description="Explain image files by sparsified SmoothGrad and certify how much of each explanation survives "
        "every perturbation. Pixels are in [0, 1] and so are the units of --sigma and --radius: the model's "
        "normalisation becomes part of the model.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("images", nargs="+", type=Path, metavar="IMAGE", help="image files, .npy or .pt arrays")
    _add_model(parser.add_argument_group("model"))
    _add_explanation(parser.add_argument_group("explanation and certificate"))
    _add_output(parser.add_argument_group("output"))
    parser.set_defaults(run=run)


def _add_model(group: Any) -> None:
    group.add_argument(
        "--model",
        required=True,
        metavar="NAME",
        help="a torchvision classifier, or package.module:callable (also in this folder) that returns a module",
    )
    group.add_argument(
        "--model-arg",
        action="append",
        default=[],
        metavar="VALUE",
        help="an argument of the callable, or NAME=VALUE; may be repeated",
    )
    group.add_argument(
        "--weights", type=Path, metavar="FILE", help="a local state dict instead of torchvision's weights"
    )
    group.add_argument(
        "--size",
        type=size,
        metavar="CROP|RESIZE,CROP",
        help="side of the centre square, after resizing the shorter side; by default the torchvision model's",
    )
    group.add_argument("--mean", type=numbers, metavar="R,G,B", help="normalisation to put into the model")
    group.add_argument("--std", type=numbers, metavar="R,G,B", help="normalisation to put into the model")
    group.add_argument("--channels", type=int, choices=(1, 3), default=3, help="channels of the model's images")
    group.add_argument("--device", default="cpu", help="where the model runs")
    group.add_argument("--dtype", choices=_DTYPES, default="float32", help="precision of the model")


def _add_explanation(group: Any) -> None:
    number: dict[str, Any] = {"metavar": "N"}
    group.add_argument("--method", choices=_METHODS, default="Saliency", help="the attribution that is smoothed")
    group.add_argument(
        "--target",
        type=target,
        default="predicted",
        help="class explained: predicted (for the clean image), a number, or argmax (of each noisy copy)",
    )
    group.add_argument("--k", type=count_or_fraction, default=0.2, help="top set: a count or a fraction", **number)
    group.add_argument("--radius", type=float, default=0.03, help="L2 size of the perturbation", **number)
    group.add_argument("--samples", type=positive_integer, default=1024, help="draws of each image", **number)
    group.add_argument("--sigma", type=float, default=0.2, help="standard deviation of the noise", **number)
    group.add_argument("--tau", type=float, default=0.1, help="fraction of features salient in a draw", **number)
    group.add_argument("--groups", choices=("channels",), help="make the channels of a pixel one feature")
    group.add_argument("--confidence", type=float, default=0.95, help="for each image", **number)
    group.add_argument("--bound", default="best", help="the bound that proves it")
    group.add_argument("--region", type=box, metavar="X0,Y0,X1,Y1", help="pixels of the file: certify its saliency too")
    group.add_argument("--batch-size", type=positive_integer, help="draws computed together", **number)
    group.add_argument("--seed", type=seed, help="of the noise; a fresh one by default", **number)


def _add_output(group: Any) -> None:
    group.add_argument("--out", type=Path, metavar="DIR", help="folder for a JSON, an npz and a PNG of each image")
    group.add_argument("--json", metavar="FILE", help="write all results as one JSON list; - is standard output")
    group.add_argument("--csv", action="store_true", help="also write a table of all features of each image")
    noise = group.add_mutually_exclusive_group()
    noise.add_argument("-q", "--quiet", action="store_true", help="show no progress")
    noise.add_argument("-v", "--verbose", action="store_true", help="say why an image failed in full")


def run(arguments: argparse.Namespace) -> int:
    """Certify every image, whatever the others are like."""
    from captum_certified.certify import Certifier
    from captum_certified.cli.models import load_model

    if arguments.out is None and arguments.json is None:
        arguments.out = Path("captum-certified-results")
    if arguments.out is not None:
        arguments.out.mkdir(parents=True, exist_ok=True)
    loaded = load_model(arguments)
    certifier = Certifier(_explainer(loaded, arguments), confidence=arguments.confidence, bound=arguments.bound)
    records = []
    for path, name in zip(arguments.images, _names(arguments.images), strict=True):
        record = _certified(path, name, certifier, loaded, arguments)
        records.append(record)
        print(_sentence(record), file=sys.stderr if arguments.json == "-" else sys.stdout, flush=True)
    _write_json(records, arguments.json)
    return _SOME_FAILED if any("error" in record for record in records) else _DONE


def _explainer(loaded: "LoadedModel", arguments: argparse.Namespace) -> Any:
    import captum.attr
    import torch

    from captum_certified.attr import SparsifiedSmoothGrad

    try:
        loaded.model.to(arguments.device, getattr(torch, arguments.dtype))
    except (RuntimeError, AssertionError) as error:
        raise InvalidInputError(f"Expected `--device` to be available, got {arguments.device!r}: {error}") from error
    return SparsifiedSmoothGrad(getattr(captum.attr, arguments.method)(loaded.model), tau=arguments.tau)


def _certified(
    path: Path, name: str, certifier: "Certifier", loaded: "LoadedModel", arguments: argparse.Namespace
) -> dict[str, Any]:
    """The record of one image; of its failure, if it fails."""
    try:
        return _certify(path, name, certifier, loaded, arguments)
    except (CaptumCertifiedError, OSError, RuntimeError, AssertionError, TypeError, IndexError) as error:
        if arguments.verbose:
            traceback.print_exc()
        record = {"kind": "failure", "image": str(path), "error": f"{type(error).__name__}: {error}"}
        if arguments.out is not None:
            _write_json(record, arguments.out / f"{name}.json")
        return record


def _certify(
    path: Path, name: str, certifier: "Certifier", loaded: "LoadedModel", arguments: argparse.Namespace
) -> dict[str, Any]:
    import torch

    from captum_certified.cli.images import load_image, region_mask

    image, file_size = load_image(path, loaded.framing, channels=arguments.channels)
    inputs = image.to(arguments.device, getattr(torch, arguments.dtype))
    prediction = _prediction(loaded.model, inputs)
    region = None
    if arguments.region is not None:
        region = region_mask(arguments.region, loaded.framing, file_size).expand(1, arguments.channels, -1, -1)
    certificate = certifier.certify(
        inputs,
        target=prediction if arguments.target == "predicted" else arguments.target,
        k=arguments.k,
        radius=arguments.radius,
        nt_samples=arguments.samples,
        stdevs=arguments.sigma,
        nt_samples_batch_size=arguments.batch_size,
        groups=arguments.groups,
        region=region,
        seed=arguments.seed,
        show_progress=not arguments.quiet,
    )
    notes: dict[str, Any] = {"image": str(path), "prediction": prediction}
    if region is not None:
        notes["region"] = certifier.region(certificate.map, radius=arguments.radius).to_dict()
    if arguments.out is not None:
        _write_files(arguments.out / name, certificate, image, inputs, notes, csv=arguments.csv)
    return {**certificate.to_dict(), **notes}


def _write_files(
    stem: Path, certificate: "TopKCertificate", image: Any, inputs: Any, notes: dict[str, Any], *, csv: bool
) -> None:
    from captum_certified.runs import write_result
    from captum_certified.smoothing import atomic_write
    from captum_certified.visualization import certificate_figure

    figure, _ = certificate_figure(certificate, image)
    with atomic_write(stem.with_name(f"{stem.name}.png")) as file:
        figure.savefig(file, format="png", dpi=150)
    if csv:
        certificate.to_csv(stem.with_name(f"{stem.name}.csv"))
    write_result(stem.with_name(f"{stem.name}.json"), certificate, inputs, notes=notes)


def _prediction(model: Any, inputs: Any) -> int:
    import torch

    with torch.no_grad():
        outputs = model(inputs)
    if not isinstance(outputs, torch.Tensor) or outputs.dim() != 2 or len(outputs) != 1:
        got = tuple(outputs.shape) if isinstance(outputs, torch.Tensor) else type(outputs).__name__
        raise InvalidInputError(f"Expected a model that returns a tensor of shape (N, classes), got {got}.")
    return int(outputs.argmax())


def _names(paths: list[Path]) -> Iterator[str]:
    """A file name for each image: its own without the suffix, numbered where two images share it."""
    seen: dict[str, int] = {}
    for path in paths:
        seen[path.stem] = seen.get(path.stem, 0) + 1
        yield path.stem if seen[path.stem] == 1 else f"{path.stem}-{seen[path.stem]}"


def _sentence(record: dict[str, Any]) -> str:
    if "error" in record:
        return f"{record['image']}: failed: {record['error']}"
    text = (
        f"{record['image']}: class {record['prediction']}, at least {record['overlap_fraction'][0]:.1%} of the top "
        f"{record['k']} features survive radius {record['radius']:g} ({record['bound']})"
    )
    if "region" in record:
        text += f", at least {record['region']['mass'][0]:.1%} of the saliency stays in the region"
    return text


def _write_json(value: Any, destination: str | Path | None) -> None:
    from captum_certified.smoothing import atomic_write

    if destination is None:
        return
    text = json.dumps(value, indent=2) + "\n"
    if destination == "-":
        sys.stdout.write(text)
    else:
        with atomic_write(destination) as file:
            file.write(text.encode())
