"""The options that several commands share."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from captum_certified.cli.arguments import (
    count_or_fraction,
    groups,
    numbers,
    positive_integer,
    positive_number,
    seed,
    size,
    target,
    window,
)
from captum_certified.cli.methods import METHODS

if TYPE_CHECKING:
    pass

__all__ = [
    "ADVICE",
    "Commands",
    "Group",
    "HelpFormatter",
    "add_exif",
    "add_explanation",
    "add_image_model",
    "add_method_options",
    "add_model",
    "add_verbosity",
]

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
Group: TypeAlias = argparse._ArgumentGroup

# Printed by every command that certifies: which options must be fixed before looking at the draws.
ADVICE = (
    "A certificate compares the map that was computed from --samples draws with the exact smoothed map of every "
    "perturbed image, not with another sampled map. Fix the images and all of --samples, --seed, --sigma, --tau, --k, "
    "--bound, --confidence, --groups, --method, --target and all other options except --radius before looking at "
    "anything computed from these draws: a map, a forecast or a certificate. To choose options, use another --seed, "
    "and other images if you can, because all images of a seed share its noise. Then certify once. Options chosen by "
    "looking at draws void the certificates from the same draws. Another --radius does not void them."
)
_DTYPES = ("float32", "float64", "float16", "bfloat16")


class HelpFormatter(argparse.ArgumentDefaultsHelpFormatter):
    """Print the defaults of options, except of those that are off or unset by default."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        if action.default is None or action.default is False or action.default == []:
            return action.help
        return super()._get_help_string(action)


def add_model(group: Group, *, required: bool = True) -> None:
    """Add the options for the model, and for resizing and cropping images for it."""
    group.add_argument(
        "--model",
        required=required,
        metavar="NAME",
        help="a torchvision classifier, package.module:callable that returns a torch.nn.Module (modules in this folder "
        "count too), a TorchScript file, or a .pt2 archive of torch.export with a dynamic batch dimension (load only "
        "files that you trust); a torchvision classifier gets the normalisation of its weights, the others only that "
        "of --mean and --std",
    )
    group.add_argument(
        "--model-arg",
        action="append",
        default=[],
        metavar="VALUE",
        help="an argument of the callable, or of the torchvision classifier such as weights=IMAGENET1K_V1, as VALUE or "
        "NAME=VALUE; VALUE is a number, True, False, None or JSON, and is otherwise taken as text; may be repeated",
    )
    group.add_argument(
        "--weights", type=Path, metavar="FILE", help="a state dict to load into the model, as torch.save writes it"
    )
    group.add_argument(
        "--size",
        type=size,
        metavar="CROP|RESIZE,CROP",
        help="resize the shorter side to RESIZE (or CROP) pixels, then crop the centre square of side CROP; by default "
        "as the weights of the torchvision model ask",
    )
    group.add_argument("--mean", type=numbers, metavar="R,G,B", help="channel means to normalise with")
    group.add_argument("--std", type=numbers, metavar="R,G,B", help="channel standard deviations to normalise with")
    group.add_argument("--channels", type=int, choices=(1, 3), default=3, help="channels of the model's images")
    group.add_argument("--device", default="cpu", help="where the model runs")
    group.add_argument("--dtype", choices=_DTYPES, default="float32", help="precision of the model")


def _add_denoiser(group: Group) -> None:
    """Add the option for a denoiser in front of the model."""
    group.add_argument(
        "--denoiser",
        metavar="FILE|NAME",
        help="denoise images in [0, 1] before the model gets them: a file that train-denoiser wrote, or "
        "package.module:callable that returns a torch.nn.Module; the explanation, the attack and the certificate are "
        "then about denoiser and model together",
    )


def add_exif(group: Group) -> None:
    """Add the option that turns pictures upright."""
    group.add_argument(
        "--exif",
        action="store_true",
        help="turn pictures as their EXIF orientation says; without this option they are read as they are stored",
    )


def add_image_model(parser: argparse.ArgumentParser) -> None:
    """Add the options for a model of images, for a denoiser in front of it, and for turning pictures upright."""
    group = parser.add_argument_group("model")
    add_model(group)
    _add_denoiser(group)
    add_exif(group)


def add_explanation(group: Group) -> None:
    """Add the options for the explanation and its certificate."""
    group.add_argument(
        "--method",
        choices=METHODS,
        default="Saliency",
        metavar="NAME",
        help=f"the attribution that is smoothed, one of {', '.join(METHODS)}",
    )
    add_method_options(group)
    group.add_argument(
        "--target",
        type=target,
        default="predicted",
        help="class to explain: its number, predicted (on the clean image), or argmax (predicted on each noisy copy)",
    )
    group.add_argument(
        "--class-names",
        type=Path,
        metavar="FILE",
        help="names to show beside the numbers of classes: one name a line, a JSON list, or a JSON object with the "
        "numbers as keys; the default weights of a torchvision model have names already",
    )
    group.add_argument(
        "--k", type=count_or_fraction, default=0.2, metavar="N", help="size of top set: 1 is a count, 1.0 a fraction"
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
        metavar="auto|none|channels|patches:S|superpixels:S|FILE|FOLDER",
        help="what counts as one feature. none: a colour value of a pixel; channels: a pixel with all of its channels; "
        "patches:S: a cell of S × S pixels; superpixels:S: one of S regions of similar pixels, found by scikit-image "
        "in the clean image; FILE: pixels with the same integer in this grey or palette picture or array, which has "
        "the size of the image file; FOLDER: the same, with one file in it named like each image; auto: none with "
        "--region, else patches:8, or patches:4 if the shorter side has less than 112 pixels",
    )
    group.add_argument(
        "--reference",
        metavar="plain|FILE|FOLDER",
        help="certify how much of this set of features is in the smoothed map's top set: plain is the plain map's top "
        "set; FILE marks pixels (an image or array of the size of the image file, or a folder with one mask named like "
        "each image); without this option, both the smoothed map's own and the plain map's top set are certified",
    )
    group.add_argument("--confidence", type=float, default=0.95, metavar="N", help="confidence level for each image")
    group.add_argument("--bound", default="best", help="name of the bound that proves the certificate")
    group.add_argument(
        "--batch-size",
        type=positive_integer,
        metavar="N",
        help="draws computed together; by default at most 64, and no more than half of the free memory is estimated to "
        "hold",
    )
    group.add_argument("--seed", type=seed, metavar="N", help="seed of the noise; by default a fresh one")


def add_method_options(group: Group) -> None:
    """Add the options of the methods."""
    group.add_argument(
        "--layer",
        metavar="NAME",
        help="the layer that GradCAM, GuidedGradCam, InternalInfluence and the Layer methods explain: its name in "
        "named_modules() of the model, such as layer4; the map of the layer is brought to the size of the image",
    )
    group.add_argument(
        "--baselines",
        type=Path,
        metavar="FILE|FOLDER",
        help="the picture that methods such as IntegratedGradients and Occlusion compare an image with, black without "
        "this option; GradientShap and the other Shap methods of gradients need it and take a folder too; pictures are "
        "resized and cropped like the images",
    )
    group.add_argument(
        "--window",
        type=window,
        metavar="SIDE|SIDE,STRIDE",
        help="side of the square that Occlusion hides, and by how many pixels it moves, by default its side; without "
        "this option the square has 8 pixels a side, or 4 if the shorter side of the image has less than 112 pixels",
    )
    group.add_argument(
        "--method-arg",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="an argument of the method's attribute(), such as n_steps=20 or n_samples=100; may be repeated",
    )
    group.add_argument(
        "--sign",
        choices=("both", "positive", "negative"),
        default=argparse.SUPPRESS,
        help="which attributions of a signed method count: all of them by their magnitudes, or only those of one sign "
        "(default: positive for GradCAM, otherwise both)",
    )


def add_verbosity(group: Group) -> None:
    """Add the options --quiet and --verbose."""
    either = group.add_mutually_exclusive_group()
    either.add_argument("-q", "--quiet", action="store_true", help="show no progress")
    either.add_argument("-v", "--verbose", action="store_true", help="print the traceback when an image fails")
