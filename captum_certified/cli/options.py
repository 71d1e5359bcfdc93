"""The options that several commands share."""

import argparse
from pathlib import Path
from typing import TypeAlias, get_args

from torch import Tensor

from captum_certified.attr.request import Sign
from captum_certified.cli.arguments import (
    count_or_fraction,
    groups,
    numbers,
    positive_integer,
    positive_number,
    seed,
    size,
    target,
)

__all__ = [
    "ADVICE",
    "METHODS",
    "Commands",
    "Group",
    "add_exif",
    "add_explanation",
    "add_model",
    "add_sign",
    "add_verbosity",
    "groups_for",
]

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
Group: TypeAlias = argparse._ArgumentGroup

# The advice of every command that certifies, on what to choose when.
ADVICE = (
    "A certificate compares the map that was computed from --samples draws with the exact smoothed map of every "
    "perturbed image, not with another sampled map. Fix the images and all of --samples, --seed, --sigma, --tau, --k, "
    "--bound, --confidence, --groups, --method, --target and the other options but --radius before looking at anything "
    "computed from these draws: a map, a forecast or a certificate. Choose with another --seed, on other images if you "
    "can, then certify once: all images of a seed share its noise. What was chosen by looking at the same draws voids "
    "their certificates; another --radius does not."
)
METHODS = ("Saliency", "InputXGradient", "IntegratedGradients", "GuidedBackprop", "Deconvolution", "DeepLift")
_LARGE, _COARSE, _FINE = 112, 8, 4  # pixels: of the shorter side, and of the cells above and below it
_DTYPES = ("float32", "float64", "float16", "bfloat16")


def add_model(group: Group, *, required: bool = True) -> None:
    """Add the options of the model, and of how images are framed for it."""
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


def add_exif(group: Group) -> None:
    """Add the option that turns pictures upright."""
    group.add_argument(
        "--exif",
        action="store_true",
        help="turn pictures as their EXIF orientation says; without, they are read as they are stored",
    )


def add_explanation(group: Group) -> None:
    """Add the options of the explanation and of its certificate."""
    group.add_argument("--method", choices=METHODS, default="Saliency", help="the attribution that is smoothed")
    add_sign(group)
    group.add_argument(
        "--target",
        type=target,
        default="predicted",
        help="class explained: predicted (for the clean image), a number from 0, or argmax (of each noisy copy)",
    )
    group.add_argument(
        "--k", type=count_or_fraction, default=0.2, metavar="N", help="top set: 1 is a count, 1.0 or 0.2 a fraction"
    )
    group.add_argument("--radius", type=float, default=0.03, metavar="N", help="L2 size of the perturbation")
    group.add_argument("--samples", type=positive_integer, default=1024, metavar="N", help="draws of each image")
    group.add_argument(
        "--sigma", type=positive_number, default=0.1, metavar="N", help="standard deviation of the noise"
    )
    group.add_argument("--tau", type=float, default=0.2, metavar="N", help="fraction of features salient in a draw")
    group.add_argument(
        "--groups",
        type=groups,
        default="auto",
        metavar="auto|none|channels|patches:S",
        help="make the channels of a pixel, or a cell of S × S pixels, one feature; auto: cells of 8 × 8 pixels, or "
        "4 × 4 where the shorter side has less than 112, or none with --region; none: every colour value of a pixel "
        "is a feature",
    )
    group.add_argument(
        "--reference",
        metavar="plain|FILE",
        help="certify how much of this set stays in the top set: of the plain map's top set, or of the pixels that a "
        "mask marks (an image or array of the size of the file, or a folder with a mask of each image's name); without "
        "it, both the smoothed map's own top set and the plain map's are certified",
    )
    group.add_argument("--confidence", type=float, default=0.95, metavar="N", help="for each image")
    group.add_argument("--bound", default="best", help="the bound that proves it")
    group.add_argument("--batch-size", type=positive_integer, metavar="N", help="draws computed together")
    group.add_argument("--seed", type=seed, metavar="N", help="of the noise; a fresh one by default")


def add_sign(group: Group) -> None:
    """Add the option that says which attributions count."""
    group.add_argument(
        "--sign",
        choices=get_args(Sign),
        default="both",
        help="which attributions count, for methods that give signs: all magnitudes, or those of one sign",
    )


def add_verbosity(group: Group) -> None:
    """Add the options that show less or more than usual."""
    either = group.add_mutually_exclusive_group()
    either.add_argument("-q", "--quiet", action="store_true", help="show no progress")
    either.add_argument("-v", "--verbose", action="store_true", help="say why an image failed in full")


def groups_for(name: str, images: Tensor, *, region: bool = False) -> str | None:
    """Return the groups that a name of the command line stands for.

    Args:
        name: ``"auto"``, ``"none"``, or a name of groups.
        images: Shape (N, C, H, W).
        region: Whether a region of pixels is recorded, which cells would cut.
    """
    if name == "auto" and region:
        return None
    if name == "auto":
        return f"patches:{_FINE if min(images.shape[2:]) < _LARGE else _COARSE}"
    return None if name == "none" else name
