"""A training loop that can be interrupted: a resumed training ends at the weights of an uninterrupted one."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import Dataset

from captum_certified._captum import advance_progress, describe_progress, progress_bar
from captum_certified.checks import checked_integer
from captum_certified.exceptions import InvalidInputError
from captum_certified.training.training_run import Loss, TrainingRun

__all__ = ["FitResult", "fit"]


@dataclass(frozen=True, kw_only=True)
class FitResult:
    """The outcome of a training.

    Attributes:
        losses: The mean loss of every epoch.
        steps: Number of steps, including those before an interruption.
        seed: Seed of the training.
    """

    losses: tuple[float, ...]
    steps: int
    seed: int

    def __repr__(self) -> str:
        last = f", last mean loss {self.losses[-1]:.4g}" if self.losses else ""
        return f"FitResult({len(self.losses)} epochs, {self.steps} steps{last}, seed={self.seed})"


def fit(
    model: nn.Module,
    dataset: Dataset[Any],
    loss: Loss,
    *,
    optimizer: torch.optim.Optimizer,
    epochs: int,
    batch_size: int = 64,
    scheduler: torch.optim.lr_scheduler.LRScheduler | None = None,
    seed: int | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    checkpoint_every: int = 100,
    resume: bool = True,
    on_epoch: Callable[[int, float], object] | None = None,
    show_progress: bool = False,
) -> FitResult:
    """Train a network in place.

    A training that was killed continues from its checkpoint, repeats fewer than ``checkpoint_every`` steps, and ends at
    the same weights. This works because the order of examples, dropout and augmentation depend only on the seed and the
    step number. A loss of this package depends only on its own seed and the number of its earlier calls. The global
    random generators are untouched. The model is in training mode in each step. After the training, the modes of all
    modules are restored, and the gradients are cleared.

    Args:
        model: Returns logits of shape (N, classes).
        dataset: A data set with a length, such as :class:`torch.utils.data.TensorDataset` and the data sets of
            torchvision. Its items are pairs of an input and a class. Items are loaded in this process, and moved to the
            device of the model's first parameter. Inputs are also converted to the precision of this parameter.
        loss: A loss of this package, or any function of model, inputs and targets.
        optimizer: Optimizer of the model's parameters.
        epochs: Number of epochs, including those in the checkpoint.
        batch_size: Number of examples in a step; the last batch of an epoch may be smaller.
        scheduler: Learning-rate scheduler, stepped after every epoch. ``ReduceLROnPlateau`` gets the mean loss of the
            epoch.
        seed: Seed of the training; ``None`` draws a fresh one.
        checkpoint: File that keeps the state of the training.
        checkpoint_every: Number of steps between two checkpoints. One more checkpoint is written after each epoch.
        resume: Continue from the checkpoint if the file exists. ``False`` begins anew.
        on_epoch: Called after every epoch with the number of the epoch, from 1, and the mean loss of the epoch. It is
            not called for the epochs that are already in the checkpoint.
        show_progress: Show a progress bar on stderr.

    Returns:
        The mean loss of every epoch, the number of steps, and the seed.

    Raises:
        InvalidInputError: An argument is not what was expected, or the checkpoint belongs to another training.
        CaptumCertifiedError: A loss is not finite.
        FileFormatError: The checkpoint cannot be read.

    Example:
        >>> import torch
        >>> from torch.utils.data import TensorDataset
        >>> from captum_certified.training import GaussianAugmentationLoss, fit
        >>> model = torch.nn.Linear(4, 3)
        >>> dataset = TensorDataset(torch.rand(60, 4), torch.arange(60) % 3)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> loss = GaussianAugmentationLoss(stdev=0.1, seed=0)
        >>> fit(model, dataset, loss, optimizer=optimizer, epochs=2, batch_size=10, seed=0).steps
        12
    """
    training = TrainingRun(
        model=model,
        dataset=dataset,
        loss=loss,
        optimizer=optimizer,
        scheduler=scheduler,
        batch_size=checked_integer("batch_size", batch_size, at_least=1),
        given_seed=None if seed is None else checked_integer("seed", seed, below=2**64),
        path=None if checkpoint is None else Path(checkpoint),
        checkpoint_every=checked_integer("checkpoint_every", checkpoint_every, at_least=1),
    )
    epochs = checked_integer("epochs", epochs, at_least=1)
    if resume:
        training.resume()
    if training.epoch > epochs:
        raise InvalidInputError(
            f"Expected `epochs` >= {training.epoch}, the number in the checkpoint {checkpoint}, got {epochs}."
        )
    modes = [(module, module.training) for module in model.modules()]
    try:
        with progress_bar(total=epochs * training.steps_per_epoch, description="training", show=show_progress) as bar:
            bar.update(training.step)
            while training.epoch < epochs:
                mean = training.finish_epoch(on_step=lambda: advance_progress(bar, 1))
                describe_progress(bar, f"training, epoch {training.epoch}: mean loss {mean:.4g}")
                if on_epoch is not None:
                    on_epoch(training.epoch, mean)
    finally:
        model.zero_grad()
        for module, was_training in modes:
            module.training = was_training
    return FitResult(losses=tuple(training.losses), steps=training.step, seed=training.seed)
