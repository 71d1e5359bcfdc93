"""The command ``captum-certified train``."""

import argparse
import dataclasses
import functools
from collections.abc import Callable, Sized
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from captum_certified.cli.arguments import positive_integer
from captum_certified.cli.options import Commands, HelpFormatter, add_exif, add_model
from captum_certified.cli.output import text_stream, write_json
from captum_certified.cli.training_options import add_steps, add_training_output, checked_rate, fitted, save_weights
from captum_certified.exceptions import InvalidInputError

if TYPE_CHECKING:  # these imports load PyTorch
    from torch import Tensor, nn
    from torch.utils.data import Dataset

    from captum_certified.images.framing import Framing
    from captum_certified.storage import Json
    from captum_certified.training import TrainingLoss

__all__ = ["add_to", "run"]

_PLAIN = "cross-entropy"
_LOSSES = {
    "adversarial": "AdversarialLoss",
    "curvature": "CurvatureLoss",
    "ddn": "DDNLoss",
    "gaussian": "GaussianAugmentationLoss",
    "ig-norm": "IGNormLoss",
    "ig-sum-norm": "IGSumNormLoss",
    "ig-wasserstein": "IGWassersteinLoss",
    "saliency": "SaliencyAdversarialLoss",
    "smooth-surface": "SmoothSurfaceLoss",
    "spectral-norm": "SpectralNormLoss",
}
_TEST_BATCH = 500

_Images: TypeAlias = "Dataset[tuple[Tensor, int]]"
_Loss: TypeAlias = "Callable[[nn.Module, Tensor, Tensor], Tensor]"


def add_to(commands: Commands) -> None:
    """Add the command to the program."""
    parser = commands.add_parser(
        "train",
        help="train a classifier for steadier explanations",
        description="Train a classifier of images with one of the losses of captum_certified.training, write its "
        "weights, and print its accuracy on test images. With --resume an interrupted training continues, and ends at "
        "the same weights. Pixels are in [0, 1].",
        formatter_class=HelpFormatter,
    )
    model = parser.add_argument_group("model (training starts from --weights)")
    add_model(model)
    model.add_argument("--from-scratch", action="store_true", help="start a torchvision model from random weights")
    data = parser.add_argument_group("data")
    data.add_argument(
        "--data",
        required=True,
        metavar="SOURCE",
        help="an .npz archive; a folder with one subfolder for each class, or with such subfolders in train and test; "
        "or mnist, fashion-mnist, cifar10, cifar100, gtsrb or flowers102",
    )
    data.add_argument(
        "--test", metavar="SOURCE", help="another source to test on; by default the test part of --data, if it has one"
    )
    data.add_argument("--root", type=Path, default=Path("data"), metavar="DIR", help="folder of torchvision data sets")
    data.add_argument("--download", action="store_true", help="let torchvision download its data sets")
    data.add_argument(
        "--limit", type=positive_integer, help="train on only this many images, chosen at random", metavar="N"
    )
    add_exif(data)
    training = parser.add_argument_group("training")
    training.add_argument("--loss", choices=[_PLAIN, *sorted(_LOSSES)], default=_PLAIN, help="the loss to minimise")
    training.add_argument(
        "--loss-arg",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="an argument of the loss, such as radius=0.5; may be repeated",
    )
    add_steps(training, epochs=10, batch_size=64, seeded="initial weights, order and loss")
    add_training_output(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Train a network, write its weights, and measure its accuracy."""
    import torch

    from captum_certified.cli.models import Normalized, load_model, moved
    from captum_certified.randomness import IsolatedRandomness

    rate = checked_rate(arguments)
    with IsolatedRandomness(torch.device("cpu"))(arguments.seed):  # for initial weights
        loaded = load_model(arguments)
    loss = _loss(arguments)
    images, tested, held_out = _data(arguments, loaded.framing)
    model = moved(loaded.model, arguments)
    for parameter in model.parameters():  # scripted modules refuse requires_grad_
        parameter.requires_grad_(True)
    _check_fit(model, images)
    result = fitted(model, images, loss, torch.optim.Adam(model.parameters(), lr=rate), arguments)
    save_weights(model.model if isinstance(model, Normalized) else model, arguments.out)
    accuracy = _accuracy(model.eval(), tested)
    kind = "test" if held_out else "training"
    record: dict[str, Json] = {
        "loss": arguments.loss if loss is _cross_entropy else repr(loss),
        "losses": result.losses,
        "steps": result.steps,
        "images": _count(images),
        "accuracy": accuracy,
        "measured_on": f"{kind} images",
        "measured": _count(tested),
        "seed": result.seed,
        "weights": str(arguments.out),
    }
    write_json(record, arguments.json)
    line = f"{accuracy:.2%} of {_count(tested)} {kind} images are right. Weights: {arguments.out}"
    print(line, file=text_stream(arguments.json))
    return 0


def _data(arguments: argparse.Namespace, framing: "Framing") -> tuple[_Images, _Images, bool]:
    """Return the images to train on, the images to test on, and whether these are different images.

    Raises:
        InvalidInputError: The two data sets have different classes.
    """
    import torch
    from torch.utils.data import Subset

    from captum_certified.runs import labelled_images

    load = functools.partial(
        labelled_images,
        root=arguments.root,
        download=arguments.download,
        framing=framing,
        channels=arguments.channels,
        exif=arguments.exif,
    )
    images: _Images = load(arguments.data, train=True)
    tested: _Images = load(arguments.test or arguments.data, train=False)
    classes = [getattr(part, "classes", None) for part in (images, tested)]
    if None not in classes and classes[0] != classes[1]:
        raise InvalidInputError(f"Expected test images of the classes {classes[0]}, got {classes[1]}.")
    held_out = not _same(images, tested)
    if arguments.limit is not None:
        order = torch.randperm(_count(images), generator=torch.Generator().manual_seed(arguments.seed))
        images = Subset(images, order[: arguments.limit].tolist())
    return images, tested, held_out


def _count(images: _Images) -> int:
    """Return the number of images. Every data set of ``labelled_images`` has a length."""
    return len(images) if isinstance(images, Sized) else 0


def _same(one: _Images, two: _Images) -> bool:
    """Return whether two data sets hold the same images. They do if the source has no test part."""
    if hasattr(one, "samples") and hasattr(two, "samples"):
        return bool(one.samples == two.samples)
    return _count(one) == _count(two) and all(bool((one[i][0] == two[i][0]).all()) for i in (0, -1))


def _check_fit(model: "nn.Module", images: _Images) -> None:
    """Refuse a model that does not take the images, before it is trained.

    Raises:
        InvalidInputError: The model raises an error for the first image.
    """
    import torch

    first = next(model.parameters())
    image = images[0][0].unsqueeze(0).to(first)
    try:
        with torch.no_grad():
            model(image)
    except (RuntimeError, ValueError) as error:
        raise InvalidInputError(
            f"Expected `--model` to take images of shape {tuple(image.shape)}, but it raised: {error}"
        ) from error


def _cross_entropy(model: "nn.Module", inputs: "Tensor", targets: "Tensor") -> "Tensor":
    from captum_certified.training.loss import cross_entropies

    return cross_entropies(model, inputs, targets).mean()


def _loss(arguments: argparse.Namespace) -> _Loss:
    """Return the loss that the command line names.

    Raises:
        InvalidInputError: An argument of the loss is unknown, or a required argument is missing.
    """
    from captum_certified import training
    from captum_certified.cli.callables import parsed_arguments

    if arguments.loss == _PLAIN:
        return _cross_entropy
    name = _LOSSES[arguments.loss]
    kind: type[TrainingLoss] = getattr(training, name)
    known = [field.name for field in dataclasses.fields(kind) if field.init and field.name not in ("seed", "layer")]
    positional, given = parsed_arguments(arguments.loss_arg)
    unknown = [*map(str, positional), *(set(given) - set(known))]
    if unknown:
        raise InvalidInputError(f"Expected `--loss-arg` NAME=VALUE with NAME one of {known}, got {unknown[0]!r}.")
    required = {field.name for field in dataclasses.fields(kind) if field.init and field.default is dataclasses.MISSING}
    missing = required - set(given)
    if missing:
        raise InvalidInputError(f"Expected `--loss-arg` {sorted(missing)[0]}=VALUE for {arguments.loss}, got none.")
    make: Callable[..., TrainingLoss] = kind
    return make(**given, seed=arguments.seed)


def _accuracy(model: "nn.Module", images: _Images) -> float:
    """Return the fraction of images whose class the model predicts."""
    import torch
    from torch.utils.data import DataLoader

    first = next(model.parameters())
    right = 0
    with torch.no_grad():
        for inputs, targets in DataLoader(images, batch_size=_TEST_BATCH):
            right += int((model(inputs.to(first)).argmax(dim=1).cpu() == targets).sum())
    return right / _count(images)
