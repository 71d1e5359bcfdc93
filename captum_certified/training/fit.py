"""A training loop that can be interrupted anywhere, and then ends at the weights it would have ended at."""

import math
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset, default_collate

from captum_certified._captum import describe_progress, progress_bar
from captum_certified.checks import checked_integer
from captum_certified.exceptions import CaptumCertifiedError, InvalidInputError
from captum_certified.randomness import IsolatedRandomness, derived_seed, fresh_seed
from captum_certified.storage import digest
from captum_certified.training.loss import TrainingLoss
from captum_certified.training.saved_state import read_state, write_state

__all__ = ["FitResult", "fit"]

Loss = Callable[[nn.Module, Tensor, Tensor], Tensor]

# What is random belongs to one of these streams of the seed, and there to an epoch or a step.
_ORDER, _STEP = 0, 1
# What schedulers of torch change as they go.
_COUNTED = frozenset({"T_cur", "T_i", "best", "cooldown_counter", "last_epoch", "num_bad_epochs"})


@dataclass(frozen=True, kw_only=True)
class FitResult:
    """What a training did.

    Attributes:
        losses: The mean loss of every epoch.
        steps: Steps in all, before an interruption included.
        seed: Seed of the order of examples.
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

    The order of examples, dropout and augmentation depend on the seed and the number of the step alone, and a loss of
    this package on its own seed and the number of its call: a training that was killed goes on from its checkpoint to
    the same weights, and loses fewer than ``checkpoint_every`` steps. The global random generators are untouched; the
    model is in training mode in each step, and as it was afterwards, without gradients.

    Args:
        model: Returns logits of shape (N, classes).
        dataset: Its items are pairs of an input and a class; it has a length, as
            :class:`torch.utils.data.TensorDataset` and the data sets of torchvision. They are loaded in this process,
            and moved to the device and precision of the model's first parameter.
        loss: One of this package, or any function of model, inputs and targets.
        optimizer: Of the model's parameters.
        epochs: How often every example is seen, in all.
        batch_size: Examples in a step; an epoch's last batch may be smaller.
        scheduler: Stepped after every epoch; one that waits for a plateau is told the mean loss.
        seed: Seed of the training; ``None`` draws a fresh one.
        checkpoint: File that keeps the state of the training.
        checkpoint_every: Steps between two writes of it; it is also written after each epoch.
        resume: Go on from the checkpoint if it is there. ``False`` begins anew.
        on_epoch: Called after every epoch with its number, from 1, and its mean loss; not again for epochs that the
            checkpoint has.
        show_progress: Show a progress bar on stderr.

    Returns:
        The mean loss of every epoch.

    Raises:
        InvalidInputError: An argument is not what was expected, or the checkpoint is of another training.
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
    training = _Training(
        model=model,
        dataset=dataset,
        loss=loss,
        optimizer=optimizer,
        scheduler=scheduler,
        batch_size=checked_integer("batch_size", batch_size, at_least=1),
        seed=None if seed is None else checked_integer("seed", seed, below=2**64),
        path=None if checkpoint is None else Path(checkpoint),
        checkpoint_every=checked_integer("checkpoint_every", checkpoint_every, at_least=1),
    )
    epochs = checked_integer("epochs", epochs, at_least=1)
    if resume:
        training.go_on()
    if training.epoch > epochs:
        raise InvalidInputError(
            f"Expected `epochs` of at least the {training.epoch} that the checkpoint {checkpoint} has, got {epochs}."
        )
    modes = [(module, module.training) for module in model.modules()]
    try:
        with progress_bar(total=epochs * training.steps_per_epoch, description="training", show=show_progress) as bar:
            bar.update(training.step)
            while training.epoch < epochs:
                mean = training.finish_epoch(bar)
                describe_progress(bar, f"training, epoch {training.epoch}: mean loss {mean:.4g}")
                if on_epoch is not None:
                    on_epoch(training.epoch, mean)
    finally:
        model.zero_grad()
        for module, was_training in modes:
            module.training = was_training
    return FitResult(losses=tuple(training.losses), steps=training.step, seed=training.seed or 0)


@dataclass(kw_only=True, eq=False, repr=False)
class _Training:
    """A training between two steps.

    Attributes:
        step: Steps done.
        total: Sum of the losses of the present epoch over its examples.
        losses: Mean losses of the epochs done.
    """

    model: nn.Module
    dataset: Any
    loss: Loss
    optimizer: torch.optim.Optimizer
    scheduler: torch.optim.lr_scheduler.LRScheduler | None
    batch_size: int
    seed: int | None
    path: Path | None
    checkpoint_every: int
    step: int = 0
    total: float = 0.0
    losses: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        try:
            self.examples = len(self.dataset)
        except TypeError as error:
            raise InvalidInputError(
                f"Expected `dataset` with a length and items, got {type(self.dataset).__name__}."
            ) from error
        if not self.examples:
            raise InvalidInputError("Expected `dataset` to have at least one example, got none.")
        if not callable(self.loss):
            raise InvalidInputError(
                f"Expected `loss` to be a function of model, inputs and targets, got {self.loss!r}."
            )
        self.given_seed = self.seed
        self.seed = fresh_seed() if self.seed is None else self.seed
        first = next(self.model.parameters(), None)
        if first is None:
            raise InvalidInputError(f"Expected `model` to have parameters, got {type(self.model).__name__} without.")
        self.device, self.dtype = first.device, first.dtype
        # As they are given: what is scheduled changes while it trains.
        groups = [_constants_of(group) for group in self.optimizer.param_groups]
        self.rates = f"{type(self.optimizer).__name__} {groups}"
        self.schedule = f"{type(self.scheduler).__name__} {_constants(self.scheduler)}"

    @property
    def steps_per_epoch(self) -> int:
        return math.ceil(self.examples / self.batch_size)

    @property
    def epoch(self) -> int:
        """Epochs done."""
        return len(self.losses)

    def finish_epoch(self, bar: Any) -> float:
        """The steps that are left of this epoch; its mean loss."""
        for batch in self._batches():
            self._take_step(batch)
            bar.update(1)
            if self.path is not None and self.step % self.checkpoint_every == 0:
                self.save()
        self.losses.append(self.total / self.examples)
        self.total = 0.0
        if isinstance(self.scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau):
            self.scheduler.step(self.losses[-1])
        elif self.scheduler is not None:
            self.scheduler.step()
        self.save()
        return self.losses[-1]

    def _batches(self) -> Iterator[list[int]]:
        """The examples of every step that is left of this epoch."""
        generator = torch.Generator().manual_seed(self._seed_of(_ORDER, self.epoch))
        order = torch.randperm(self.examples, generator=generator, device="cpu")
        for batch in torch.split(order, self.batch_size)[self.step - self.epoch * self.steps_per_epoch :]:
            yield batch.tolist()

    def _take_step(self, batch: list[int]) -> None:
        with IsolatedRandomness(self.device)(self._seed_of(_STEP, self.step)):
            inputs, targets = default_collate([self.dataset[i] for i in batch])
            inputs, targets = inputs.to(self.device, self.dtype), targets.to(self.device)
            self.model.train()  # whoever looked on in between may have changed it
            self.model.zero_grad()
            self.optimizer.zero_grad()
            value = self.loss(self.model, inputs, targets)
            if not math.isfinite(float(value.detach())):
                raise CaptumCertifiedError(f"Expected a finite loss, got {float(value.detach())} at step {self.step}.")
            torch.autograd.backward(value)
            self.optimizer.step()
        self.step += 1
        self.total += float(value.detach()) * len(batch)

    def _seed_of(self, stream: int, number: int) -> int:
        return derived_seed(derived_seed(self.seed or 0, stream), number)

    def _settings(self) -> dict[str, Any]:
        return {
            "batch_size": self.batch_size,
            "examples": self.examples,
            "data": self.looked_at,
            "loss": repr(self.loss) if isinstance(self.loss, TrainingLoss) else _name_of(self.loss),
            "layer": self._name_of_layer(),
            "optimizer": self.rates,
            "scheduler": self.schedule,
            "seed": self.seed,
        }

    @cached_property
    def looked_at(self) -> str:
        """Identifies the data by its first, middle and last example; what is random in them is seeded."""
        with IsolatedRandomness(self.device)(0):
            return digest([self.dataset[i] for i in sorted({0, self.examples // 2, self.examples - 1})])

    def _name_of_layer(self) -> str | None:
        """The layer that the loss explains, by its name in the model."""
        layer = getattr(self.loss, "layer", None)
        return next((name for name, module in self.model.named_modules() if module is layer), None)

    def save(self) -> None:
        """Write the checkpoint, if there is one."""
        if self.path is None:
            return
        parts = {name: _state_of(getattr(self, name)) for name in ("model", "optimizer", "scheduler", "loss")}
        progress = {"step": self.step, "total": self.total, "losses": self.losses}
        write_state(self.path, {"settings": self._settings(), **parts, **progress})

    def go_on(self) -> None:
        """Load the checkpoint, if it is there.

        Raises:
            InvalidInputError: It is of another training.
            FileFormatError: It cannot be read.
        """
        if self.path is None or not self.path.exists():
            return
        state = read_state(self.path)
        if self.given_seed is None:
            self.seed = checked_integer("seed", state["settings"].get("seed"), below=2**64)
        self._check(state["settings"])
        try:
            for name in ("optimizer", "scheduler", "loss", "model"):
                _load(getattr(self, name), state[name])
        except (RuntimeError, ValueError, KeyError) as error:
            raise InvalidInputError(f"Expected `checkpoint` {self.path} to fit the model, got: {error}") from error
        self.step, self.total, self.losses = state["step"], state["total"], state["losses"]

    def _check(self, saved: Mapping[str, Any]) -> None:
        for name, value in self._settings().items():
            if saved.get(name) != value:
                raise InvalidInputError(
                    f"Expected `checkpoint` {self.path} to be of this training, but its {name} is {saved.get(name)!r}, "
                    f"not {value!r}; resume=False begins anew."
                )


def _state_of(part: Any) -> dict[str, Any]:
    """What a part must remember; plain functions have nothing."""
    state: dict[str, Any] = part.state_dict() if hasattr(part, "state_dict") else {}
    return state


def _constants(scheduler: Any) -> dict[str, Any]:
    """The numbers of a scheduler that stay, as ``step_size``."""
    state = scheduler.state_dict() if scheduler is not None else {}
    constant = {name: value for name, value in state.items() if name not in _COUNTED and name[0] != "_"}
    return {name: value for name, value in constant.items() if isinstance(value, (int, float))}


def _constants_of(group: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a group of parameters at the start: a scheduler changes the rate, and keeps the first one."""
    constants = {name: value for name, value in group.items() if name not in ("params", "initial_lr")}
    return {**constants, "lr": group.get("initial_lr", group["lr"])} if "lr" in group else constants


def _name_of(loss: Any) -> str:
    return str(getattr(loss, "__qualname__", type(loss).__qualname__))


def _load(part: Any, state: dict[str, Any]) -> None:
    if hasattr(part, "load_state_dict"):
        part.load_state_dict(state)
