"""``captum-certified train``."""

import argparse
import dataclasses
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from captum_certified.cli.arguments import positive_integer, seed
from captum_certified.cli.options import add_model, write_json
from captum_certified.exceptions import InvalidInputError

if TYPE_CHECKING:
    from torch import nn

    from captum_certified.training import TrainingLoss

__all__ = ["add_to", "run"]

_LOSSES = {
    "adversarial": "AdversarialLoss",
    "curvature": "CurvatureLoss",
    "ddn": "DDNLoss",
    "gaussian": "GaussianAugmentationLoss",
    "ig-norm": "IGNormLoss",
    "ig-sum-norm": "IGSumNormLoss",
    "saliency": "SaliencyAdversarialLoss",
    "smooth-surface": "SmoothSurfaceLoss",
    "spectral-norm": "SpectralNormLoss",
}
_TEST_BATCH = 500


def add_to(commands: Any) -> None:
    """Add the command to the program."""
    parser = commands.add_parser(
        "train",
        help="train a classifier so that its explanations hold",
        description="Train a classifier of images with one of the losses of captum_certified.training, write its "
        "weights, and say how many test images it gets right. Interrupted, it goes on with --resume and ends at the "
        "same weights. Pixels are in [0, 1].",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    number: dict[str, Any] = {"metavar": "N"}
    add_model(parser.add_argument_group("model; --weights are where training begins"))
    data = parser.add_argument_group("data")
    data.add_argument(
        "--data",
        required=True,
        metavar="SOURCE",
        help="an .npz archive, a folder of one folder a class, or mnist, fashion-mnist, cifar10, cifar100",
    )
    data.add_argument("--test", metavar="SOURCE", help="another source to test on; by default the test part of --data")
    data.add_argument("--root", type=Path, default=Path("data"), metavar="DIR", help="of torchvision's data sets")
    data.add_argument("--download", action="store_true", help="let torchvision fetch its data sets")
    data.add_argument("--limit", type=positive_integer, help="train on the first images only", **number)
    training = parser.add_argument_group("training")
    training.add_argument("--loss", choices=sorted(_LOSSES), required=True, help="what is minimised")
    training.add_argument(
        "--loss-arg",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="an argument of the loss, such as radius=0.5; may be repeated",
    )
    training.add_argument("--epochs", type=positive_integer, default=10, help="passes over the images", **number)
    training.add_argument("--batch-size", type=positive_integer, default=64, help="images in a step", **number)
    training.add_argument("--lr", type=float, default=1e-3, help="learning rate of Adam", **number)
    training.add_argument("--seed", type=seed, default=0, help="of order and loss", **number)
    output = parser.add_argument_group("output")
    output.add_argument(
        "--out", type=Path, required=True, metavar="FILE", help="state dict; FILE.checkpoint while it trains"
    )
    output.add_argument("--resume", action="store_true", help="go on from the checkpoint, if it is there")
    output.add_argument("--json", metavar="FILE", help="write what was done as JSON; - is standard output")
    output.add_argument("-q", "--quiet", action="store_true", help="show no progress")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Train, test, and write the weights."""
    import torch
    from torch.utils.data import Subset

    from captum_certified.cli.models import Normalized, load_model
    from captum_certified.runs import labelled_images
    from captum_certified.smoothing import atomic_write
    from captum_certified.training import fit

    loaded = load_model(arguments)
    loss = _loss(arguments)
    source: dict[str, Any] = {
        "root": arguments.root,
        "download": arguments.download,
        "framing": loaded.framing,
        "channels": arguments.channels,
    }
    images: Any = labelled_images(arguments.data, train=True, **source)
    if arguments.limit is not None:
        images = Subset(images, range(min(arguments.limit, len(images))))
    tested: Any = labelled_images(arguments.test or arguments.data, train=False, **source)
    model = loaded.model.to(arguments.device, getattr(torch, arguments.dtype)).requires_grad_(True)
    checkpoint = arguments.out.with_name(f"{arguments.out.name}.checkpoint")
    result = fit(
        model,
        images,
        loss,
        optimizer=torch.optim.Adam(model.parameters(), lr=arguments.lr),
        epochs=arguments.epochs,
        batch_size=arguments.batch_size,
        seed=arguments.seed,
        checkpoint=checkpoint,
        resume=arguments.resume,
        show_progress=not arguments.quiet,
    )
    network = model.model if isinstance(model, Normalized) else model
    with atomic_write(arguments.out) as file:
        torch.save(network.state_dict(), file)
    checkpoint.unlink(missing_ok=True)
    accuracy = _accuracy(model.eval(), tested, arguments.device)
    record = {
        "loss": repr(loss),
        "losses": result.losses,
        "steps": result.steps,
        "images": len(images),
        "accuracy": accuracy,
        "tested": len(tested),
        "seed": result.seed,
        "weights": str(arguments.out),
    }
    write_json(record, arguments.json)
    print(
        f"{accuracy:.2%} of {len(tested)} test images are right. Weights: {arguments.out}",
        file=sys.stderr if arguments.json == "-" else sys.stdout,
    )
    return 0


def _loss(arguments: argparse.Namespace) -> "TrainingLoss":
    """The loss that the command line asks for."""
    from captum_certified import training
    from captum_certified.cli.models import parsed_arguments

    name = _LOSSES[arguments.loss]
    kind: Any = getattr(training, name)
    known = [field.name for field in dataclasses.fields(kind) if field.init and field.name not in ("seed", "layer")]
    positional, given = parsed_arguments(arguments.loss_arg)
    unknown = [*map(str, positional), *(set(given) - set(known))]
    if unknown:
        raise InvalidInputError(f"Expected `--loss-arg` NAME=VALUE with NAME one of {known}, got {unknown[0]!r}.")
    missing = _required(kind) - set(given)
    if missing:
        raise InvalidInputError(f"Expected `--loss-arg` {sorted(missing)[0]}=VALUE for {arguments.loss}, got none.")
    loss: TrainingLoss = kind(**given, seed=arguments.seed)
    return loss


def _required(kind: Any) -> set[str]:
    return {field.name for field in dataclasses.fields(kind) if field.init and field.default is dataclasses.MISSING}


def _accuracy(model: "nn.Module", images: Any, device: str) -> float:
    """The share of images whose class the model predicts."""
    import torch
    from torch.utils.data import DataLoader

    dtype = next(model.parameters()).dtype
    right = 0
    with torch.no_grad():
        for inputs, targets in DataLoader(images, batch_size=_TEST_BATCH):
            right += int((model(inputs.to(device, dtype)).argmax(dim=1).cpu() == targets).sum())
    return right / len(images)
