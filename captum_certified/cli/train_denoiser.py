"""The command ``captum-certified train-denoiser``."""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from captum_certified.cli.arguments import positive_integer, positive_number
from captum_certified.cli.image_files import expanded
from captum_certified.cli.options import Commands, HelpFormatter, add_exif, add_model
from captum_certified.cli.output import text_stream, write_json
from captum_certified.cli.training_options import add_steps, add_training_output, checked_rate, fitted, save_weights
from captum_certified.exceptions import InvalidInputError

if TYPE_CHECKING:  # these imports load PyTorch
    from torch import nn

    from captum_certified.cli.models import LoadedModel
    from captum_certified.storage import Json

__all__ = ["add_to", "run"]

_HELD_OUT = 10  # every tenth image is held out of the training
_NOISY_COPIES = 4  # number of copies of each held-out image


def add_to(commands: Commands) -> None:
    """Add the command to the program."""
    parser = commands.add_parser(
        "train-denoiser",
        help="train a denoiser to put in front of a model",
        description="Train a small denoiser on image files for noise of --sigma, write its weights, and print how many "
        "noisy copies of held-out images keep their class with and without the denoiser. The other commands put the "
        "denoiser in front of their model by --denoiser FILE. With --model, the denoiser also learns to keep the "
        "model's output. With --resume an interrupted training continues, and ends at the same weights.",
        formatter_class=HelpFormatter,
    )
    data = parser.add_argument_group("images")
    data.add_argument("images", nargs="+", type=Path, metavar="IMAGE", help="image files, arrays, or folders of them")
    data.add_argument(
        "--crop", type=positive_integer, metavar="S", help="train on random squares of S × S pixels of the images"
    )
    add_exif(data)
    model = parser.add_argument_group("model (optional)")
    add_model(model, required=False)
    training = parser.add_argument_group("training")
    training.add_argument(
        "--sigma", type=positive_number, default=0.2, metavar="N", help="standard deviation of the noise to remove"
    )
    training.add_argument(
        "--start",
        type=Path,
        metavar="FILE",
        help="go on from the weights of this file of train-denoiser, whose width and depth are kept",
    )
    training.add_argument(
        "--stability", type=float, default=10.0, metavar="N", help="weight of the change of the model's scores"
    )
    training.add_argument(
        "--width", type=positive_integer, default=64, metavar="N", help="channels of the denoiser: larger is slower"
    )
    training.add_argument("--depth", type=positive_integer, default=3, metavar="N", help="blocks of the denoiser")
    add_steps(training, epochs=60, batch_size=16, seeded="everything random")
    add_training_output(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Train a denoiser, write its weights, and measure it on every tenth image, which is not used for training."""
    import torch

    from captum_certified.cli.models import moved
    from captum_certified.images.random_crops import RandomCrops
    from captum_certified.training import DenoisingLoss

    rate = checked_rate(arguments)
    loaded = _loaded(arguments)
    seen, tested = _files(arguments)
    denoiser = moved(_denoiser(arguments), arguments)
    optimizer = torch.optim.Adam(denoiser.parameters(), lr=rate)
    result = fitted(
        denoiser,
        RandomCrops(seen, loaded.framing, arguments.crop, channels=arguments.channels, exif=arguments.exif),
        DenoisingLoss(
            stdev=arguments.sigma,
            classifier=None if arguments.model is None else loaded.model,
            stability=arguments.stability,
            seed=arguments.seed,
        ),
        optimizer,
        arguments,
        scheduler=torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, arguments.epochs),
    )
    save_weights(denoiser, arguments.out)
    measured = _measured(denoiser, loaded, tested, arguments)
    record: dict[str, Json] = {
        "sigma": arguments.sigma,
        "losses": result.losses,
        "steps": result.steps,
        "images": len(seen),
        "measured": len(tested),
        **measured,
        "seed": result.seed,
        "weights": str(arguments.out),
    }
    write_json(record, arguments.json)
    print(_sentence(record), file=text_stream(arguments.json))
    return 0


def _loaded(arguments: argparse.Namespace) -> "LoadedModel":
    """Return the model on its device. Without ``--model``, the identity stands in for it, framed by ``--size``."""
    from torch import nn

    from captum_certified.cli.models import LoadedModel, load_model, moved
    from captum_certified.images.framing import Framing

    if arguments.model is None:
        return LoadedModel(nn.Identity(), nn.Identity(), arguments.size or Framing())
    loaded = load_model(arguments)
    return replace(loaded, model=moved(loaded.model, arguments))


def _denoiser(arguments: argparse.Namespace) -> "nn.Module":
    """Return the denoiser to train: a new one, or the one that ``--start`` names."""
    from captum_certified.cli.denoisers import load_denoiser
    from captum_certified.denoising import small_denoiser

    if arguments.start is None:
        return small_denoiser(arguments.channels, width=arguments.width, depth=arguments.depth, seed=arguments.seed)
    return load_denoiser(str(arguments.start)).requires_grad_(True)


def _files(arguments: argparse.Namespace) -> tuple[list[Path], list[Path]]:
    """Return the image files to train on, and the image files to measure with, which are every tenth file."""
    files = [path for path, _ in expanded(arguments.images, without=None)]
    seen = [path for number, path in enumerate(files) if number % _HELD_OUT]
    if not seen:
        raise InvalidInputError(f"Expected at least 2 images, got {len(files)}: every tenth is held out to measure.")
    return seen, files[::_HELD_OUT]


def _measured(
    denoiser: "nn.Module", loaded: "LoadedModel", files: Sequence[Path], arguments: argparse.Namespace
) -> "dict[str, Json]":
    """Measure the error of the denoiser, and the fraction of noisy copies that keep the class of the clean image.

    Returns:
        The mean square error in units of σ². If there is a model, also the fractions without and with the denoiser.
    """
    import torch

    from captum_certified.cli.models import placed
    from captum_certified.images.framing import load_image
    from captum_certified.randomness import derived_seed
    from captum_certified.training.loss import with_noise

    errors: list[float] = []
    kept: list[tuple[float, float]] = []
    with torch.no_grad():
        for number, path in enumerate(files):
            image, _ = load_image(path, loaded.framing, channels=arguments.channels, exif=arguments.exif)
            image = placed(image, arguments)
            copies = image.expand(_NOISY_COPIES, -1, -1, -1)
            noisy = with_noise(copies, arguments.sigma, derived_seed(arguments.seed, number))
            restored = denoiser(noisy)
            errors.append(float((restored - copies).square().mean()) / arguments.sigma**2)
            if arguments.model is not None:
                clean = loaded.model(image).argmax(dim=1)
                before, after = (
                    float((loaded.model(x).argmax(dim=1) == clean).double().mean()) for x in (noisy, restored)
                )
                kept.append((before, after))
    measured: dict[str, Json] = {"error": sum(errors) / len(errors)}
    for position, name in enumerate(("kept_without", "kept_with") if kept else ()):
        measured[name] = sum(shares[position] for shares in kept) / len(kept)
    return measured


def _sentence(record: "Mapping[str, Json]") -> str:
    text = (
        f"Held-out images: {record['measured']}. The mean square error of the denoised images is {record['error']:.1%} "
        "of the variance of the noise."
    )
    if "kept_with" in record:
        text += (
            f" {record['kept_with']:.1%} of the noisy copies keep the class of the clean image, and "
            f"{record['kept_without']:.1%} do without the denoiser."
        )
    return f"{text} Weights: {record['weights']}"
