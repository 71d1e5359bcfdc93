"""Options that commands on image files share, and what they mean."""

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from captum_certified.cli.arguments import (
    count_or_fraction,
    numbers,
    positive_integer,
    positive_number,
    seed,
    size,
    target,
)
from captum_certified.exceptions import InvalidInputError

if TYPE_CHECKING:
    from torch import nn

    from captum_certified.cli.models import LoadedModel

__all__ = [
    "ADVICE",
    "add_exif",
    "add_explanation",
    "add_model",
    "check_folder",
    "check_json",
    "explainer_of",
    "moved",
    "write_json",
]

# What every command that certifies says about choosing.
ADVICE = (
    "A certificate compares the map that was computed from --samples draws with the exact smoothed map of every "
    "perturbed image, not with another sampled map. Fix the images and all of --samples, --seed, --sigma, --tau, --k, "
    "--bound, --confidence, --groups, --method, --target and the other options but --radius before looking at anything "
    "computed from these draws: a map, a forecast or a certificate. Choose with another --seed, on other images if you "
    "can, then certify once: all images of a seed share its noise. What was chosen by looking at the same draws voids "
    "their certificates; another --radius does not."
)
_METHODS = ("Saliency", "InputXGradient", "IntegratedGradients", "GuidedBackprop", "Deconvolution", "DeepLift")
_DTYPES = ("float32", "float64", "float16", "bfloat16")


def add_model(group: Any, *, required: bool = True) -> None:
    """Which model, and how images are framed for it."""
    group.add_argument(
        "--model",
        required=required,
        metavar="NAME",
        help="a torchvision classifier, which gets the normalisation of its weights; or package.module:callable (also "
        "in this folder) that returns a module, or a TorchScript file, which get none but --mean and --std",
    )
    group.add_argument(
        "--model-arg",
        action="append",
        default=[],
        metavar="VALUE",
        help="an argument of the callable, or NAME=VALUE: a number, True, False, None, JSON, or else text; may be "
        "repeated",
    )
    group.add_argument(
        "--weights", type=Path, metavar="FILE", help="a state dict to load into the model, as torch.save writes it"
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


def add_exif(group: Any) -> None:
    """Whether pictures are turned upright."""
    group.add_argument(
        "--exif",
        action="store_true",
        help="turn pictures as their EXIF orientation says; without, they are read as they are stored",
    )


def add_explanation(group: Any) -> None:
    """What is explained and certified, and how."""
    number: dict[str, Any] = {"metavar": "N"}
    group.add_argument("--method", choices=_METHODS, default="Saliency", help="the attribution that is smoothed")
    group.add_argument(
        "--target",
        type=target,
        default="predicted",
        help="class explained: predicted (for the clean image), a number from 0, or argmax (of each noisy copy)",
    )
    group.add_argument(
        "--k", type=count_or_fraction, default=0.2, help="top set: 1 is a count, 1.0 or 0.2 a fraction", **number
    )
    group.add_argument("--radius", type=float, default=0.03, help="L2 size of the perturbation", **number)
    group.add_argument("--samples", type=positive_integer, default=1024, help="draws of each image", **number)
    group.add_argument("--sigma", type=positive_number, default=0.2, help="standard deviation of the noise", **number)
    group.add_argument("--tau", type=float, default=0.1, help="fraction of features salient in a draw", **number)
    group.add_argument("--groups", choices=("channels",), help="make the channels of a pixel one feature")
    group.add_argument("--confidence", type=float, default=0.95, help="for each image", **number)
    group.add_argument("--bound", default="best", help="the bound that proves it")
    group.add_argument("--batch-size", type=positive_integer, help="draws computed together", **number)
    group.add_argument("--seed", type=seed, help="of the noise; a fresh one by default", **number)


def explainer_of(loaded: "LoadedModel", arguments: argparse.Namespace) -> Any:
    """The explanation of a model, which is moved to its device and precision."""
    import captum.attr

    from captum_certified.attr import SparsifiedSmoothGrad

    method = getattr(captum.attr, arguments.method)(moved(loaded.model, arguments))
    return SparsifiedSmoothGrad(method, tau=arguments.tau)


def moved(model: "nn.Module", arguments: argparse.Namespace) -> "nn.Module":
    """The model on the device and in the precision that the command line asks for.

    Raises:
        InvalidInputError: There is no such device.
    """
    import torch

    try:
        return model.to(arguments.device, getattr(torch, arguments.dtype))
    except (RuntimeError, AssertionError) as error:
        raise InvalidInputError(f"Expected `--device` to be available, got {arguments.device!r}: {error}") from error


def check_folder(path: Path) -> None:
    """Refuse a folder of results that cannot be made, before there are results.

    Raises:
        InvalidInputError: It, or a folder that it is in, is a file.
    """
    for folder in (path, *path.parents):
        if folder.exists() and not folder.is_dir():
            raise InvalidInputError(f"Expected `--out` to be a folder, got {path}, but {folder} is a file.")


def check_json(destination: str | Path | None) -> None:
    """Refuse a file that cannot be written, before there is something to write.

    Raises:
        InvalidInputError: It is a folder, or its folder does not exist.
    """
    if destination in (None, "-"):
        return
    path = Path(destination)
    if path.is_dir() or not path.parent.is_dir():
        raise InvalidInputError(f"Expected `--json` to be a file in a folder that exists, got {destination}.")


def write_json(value: Any, destination: str | Path | None) -> None:
    """Write JSON to a file, to standard output for ``-``, or nowhere."""
    from captum_certified.storage import atomic_write

    if destination is None:
        return
    text = json.dumps(value, indent=2) + "\n"
    if destination == "-":
        sys.stdout.write(text)
    else:
        with atomic_write(destination) as file:
            file.write(text.encode())
