"""Parts that both training commands use: options, early checks, the training loop, and the file of weights."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from captum_certified.cli.arguments import positive_integer, seed
from captum_certified.cli.options import Group
from captum_certified.cli.output import check_json
from captum_certified.exceptions import InvalidInputError

if TYPE_CHECKING:  # these imports load PyTorch
    from torch import Tensor, nn
    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LRScheduler
    from torch.utils.data import Dataset

    from captum_certified.training import FitResult
    from captum_certified.training.training_run import Loss

__all__ = ["add_steps", "add_training_output", "checked_rate", "fitted", "save_weights"]


def add_steps(group: Group, *, epochs: int, batch_size: int, seeded: str) -> None:
    """Add the options for the steps of a training.

    Args:
        group: The group of options.
        epochs: Default number of epochs.
        batch_size: Default number of images in a step.
        seeded: What the seed determines.
    """
    group.add_argument("--epochs", type=positive_integer, default=epochs, help="passes over the images", metavar="N")
    group.add_argument("--batch-size", type=positive_integer, default=batch_size, help="images in a step", metavar="N")
    group.add_argument("--lr", type=float, default=1e-3, help="learning rate of Adam", metavar="N")
    group.add_argument("--seed", type=seed, default=0, help=f"seed of {seeded}", metavar="N")


def add_training_output(parser: argparse.ArgumentParser) -> None:
    """Add the options for the weights, the checkpoint and the record of a training."""
    group = parser.add_argument_group("output")
    group.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="FILE",
        help="state dict to write; --resume continues from FILE.checkpoint",
    )
    group.add_argument("--resume", action="store_true", help="continue from the checkpoint, if there is one")
    group.add_argument("--json", metavar="FILE", help="write a record of the training as JSON; - is standard output")
    group.add_argument("-q", "--quiet", action="store_true", help="show no progress")


def checked_rate(arguments: argparse.Namespace) -> float:
    """Return the learning rate, after checking that it is positive and that the results can be written.

    Raises:
        InvalidInputError: The rate is not positive, or a result cannot be written.
    """
    from captum_certified.checks import checked_number

    rate = checked_number("--lr", arguments.lr, above=0)
    if arguments.out.is_dir() or not arguments.out.parent.is_dir():
        raise InvalidInputError(f"Expected `--out` to be a file in a folder that exists, got {arguments.out}.")
    check_json(arguments.json)
    return rate


def fitted(
    model: "nn.Module",
    images: "Dataset[tuple[Tensor, int]]",
    loss: "Loss",
    optimizer: "Optimizer",
    arguments: argparse.Namespace,
    *,
    scheduler: "LRScheduler | None" = None,
) -> "FitResult":
    """Train a network by the options of the command line. The checkpoint is written beside the weights."""
    from captum_certified.training import fit

    return fit(
        model,
        images,
        loss,
        optimizer=optimizer,
        scheduler=scheduler,
        epochs=arguments.epochs,
        batch_size=arguments.batch_size,
        seed=arguments.seed,
        checkpoint=arguments.out.with_name(f"{arguments.out.name}.checkpoint"),
        resume=arguments.resume,
        show_progress=not arguments.quiet,
    )


def save_weights(network: "nn.Module", path: Path) -> None:
    """Write the state dict of a network."""
    import torch

    from captum_certified.storage import atomic_write

    with atomic_write(path) as file:
        torch.save(network.state_dict(), file)
