"""The steps of a training, and the checkpoints between the steps."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau
from torch.utils.data import default_collate

from captum_certified.checks import checked_integer
from captum_certified.exceptions import CaptumCertifiedError, InvalidInputError
from captum_certified.randomness import IsolatedRandomness, derived_seed, fresh_seed
from captum_certified.storage import JsonObject, digest
from captum_certified.training.loss import TrainingLoss
from captum_certified.training.saved_state import SavedState, StateDict, read_state, write_state

__all__ = ["Loss", "TrainingRun", "layer_name", "loss_settings", "optimizer_settings", "scheduler_settings", "state_of"]

# Two streams of seeds: _ORDER has one seed per epoch, for the order of the examples; _STEP has one seed per step,
# for all other randomness.
_ORDER, _STEP = 0, 1
# Entries of a scheduler's state that change during training.
_COUNTERS = frozenset({"T_cur", "T_i", "best", "cooldown_counter", "last_epoch", "num_bad_epochs"})

Loss: TypeAlias = Callable[[nn.Module, Tensor, Tensor], Tensor]


@dataclass(kw_only=True, eq=False, repr=False)
class TrainingRun:
    """The state of a training after some of its steps.

    Attributes:
        step: Number of finished steps.
        total: Sum of the losses of all examples that were used so far in the present epoch.
        losses: Mean loss of every finished epoch.
    """

    model: nn.Module
    dataset: Any
    loss: Loss
    optimizer: torch.optim.Optimizer
    scheduler: LRScheduler | None
    batch_size: int
    given_seed: int | None
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
        self.seed = fresh_seed() if self.given_seed is None else self.given_seed
        first = next(self.model.parameters(), None)
        if first is None:
            kind = type(self.model).__name__
            raise InvalidInputError(f"Expected `model` to have parameters, got {kind} without parameters.")
        self.device, self.dtype = first.device, first.dtype
        # The settings are recorded now, because the scheduler changes some of them during training.
        self.optimizer_settings = optimizer_settings(self.optimizer)
        self.scheduler_settings = scheduler_settings(self.scheduler)

    @property
    def steps_per_epoch(self) -> int:
        """Number of steps in an epoch."""
        return math.ceil(self.examples / self.batch_size)

    @property
    def epoch(self) -> int:
        """Number of finished epochs."""
        return len(self.losses)

    def finish_epoch(self, *, on_step: Callable[[], None]) -> float:
        """Take the remaining steps of this epoch, and return the mean loss of the epoch."""
        for batch in self._batches():
            self._take_step(batch)
            on_step()
            if self.step % self.checkpoint_every == 0:
                self._save()
        self.losses.append(self.total / self.examples)
        self.total = 0.0
        if isinstance(self.scheduler, ReduceLROnPlateau):
            self.scheduler.step(self.losses[-1])
        elif self.scheduler is not None:
            self.scheduler.step()
        self._save()
        return self.losses[-1]

    def resume(self) -> None:
        """Load the checkpoint, if its file exists.

        Raises:
            InvalidInputError: The checkpoint belongs to another training.
            FileFormatError: The checkpoint cannot be read.
        """
        if self.path is None or not self.path.exists():
            return
        state = read_state(self.path)
        if self.given_seed is None:
            self.seed = checked_integer("seed", state.settings.get("seed"), below=2**64)
        self._check(state.settings)
        try:
            _load(self.optimizer, state.optimizer)
            _load(self.scheduler, state.scheduler)
            _load(self.loss, state.loss)
            _load(self.model, state.model)
        except (RuntimeError, ValueError, KeyError) as error:
            raise InvalidInputError(f"Expected `checkpoint` {self.path} to fit the model, got: {error}") from error
        self.step, self.total, self.losses = state.step, state.total, state.losses

    def _batches(self) -> Iterator[list[int]]:
        """Yield the indices of the examples of each remaining step of this epoch."""
        generator = torch.Generator().manual_seed(self._seed_of(_ORDER, self.epoch))
        order = torch.randperm(self.examples, generator=generator, device="cpu")
        for batch in torch.split(order, self.batch_size)[self.step - self.epoch * self.steps_per_epoch :]:
            yield batch.tolist()

    def _take_step(self, batch: list[int]) -> None:
        with IsolatedRandomness(self.device)(self._seed_of(_STEP, self.step)):
            inputs, targets = default_collate([self.dataset[i] for i in batch])
            inputs, targets = inputs.to(self.device, self.dtype), targets.to(self.device)
            self.model.train()  # a callback may have left the model in evaluation mode
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
        return derived_seed(derived_seed(self.seed, stream), number)

    def _save(self) -> None:
        if self.path is None:
            return
        state = SavedState(
            settings=self._settings(),
            model=state_of(self.model),
            optimizer=state_of(self.optimizer),
            scheduler=state_of(self.scheduler),
            loss=state_of(self.loss),
            step=self.step,
            total=self.total,
            losses=self.losses,
        )
        write_state(self.path, state)

    def _settings(self) -> JsonObject:
        return {
            "batch_size": self.batch_size,
            "examples": self.examples,
            "data": self._data_digest,
            "loss": loss_settings(self.loss),
            "layer": layer_name(self.loss, self.model),
            "optimizer": self.optimizer_settings,
            "scheduler": self.scheduler_settings,
            "seed": self.seed,
        }

    @cached_property
    def _data_digest(self) -> str:
        """Digest of the first, middle and last example, loaded under a fixed seed because examples may be random."""
        with IsolatedRandomness(self.device)(0):
            return digest([self.dataset[i] for i in sorted({0, self.examples // 2, self.examples - 1})])

    def _check(self, saved: JsonObject) -> None:
        for name, value in self._settings().items():
            if saved.get(name) != value:
                raise InvalidInputError(
                    f"Expected `checkpoint` {self.path} to be of this training, but its {name} is {saved.get(name)!r}, "
                    f"not {value!r}; resume=False begins anew."
                )


def _load(part: nn.Module | torch.optim.Optimizer | LRScheduler | Loss | None, state: StateDict) -> None:
    if part is not None and hasattr(part, "load_state_dict"):
        part.load_state_dict(state)


def optimizer_settings(optimizer: torch.optim.Optimizer) -> str:
    """Return the class of an optimizer and the settings of its parameter groups."""
    return f"{type(optimizer).__name__} {[_group_settings(group) for group in optimizer.param_groups]}"


def scheduler_settings(scheduler: LRScheduler | None) -> str:
    """Return the class of a scheduler and the numbers that stay the same during training, such as ``step_size``."""
    state = state_of(scheduler)
    constant = {name: value for name, value in state.items() if name not in _COUNTERS and name[0] != "_"}
    numbers = {name: value for name, value in constant.items() if isinstance(value, (int, float))}
    return f"{type(scheduler).__name__} {numbers}"


def loss_settings(loss: Loss) -> str:
    """Return the settings of a loss of this package, or the name of any other function."""
    if isinstance(loss, TrainingLoss):
        return repr(loss)
    return str(getattr(loss, "__qualname__", type(loss).__qualname__))


def layer_name(loss: Loss, model: nn.Module) -> str | None:
    """Return the name of ``loss.layer`` in the model, or ``None`` if the model has no such layer."""
    layer = getattr(loss, "layer", None)
    return next((name for name, module in model.named_modules() if module is layer), None)


def state_of(part: nn.Module | torch.optim.Optimizer | LRScheduler | Loss | None) -> StateDict:
    """Return the ``state_dict`` of a part of a training. It is empty for a part that has none, such as a function."""
    state: StateDict = part.state_dict() if part is not None and hasattr(part, "state_dict") else {}
    return state


def _group_settings(group: StateDict) -> StateDict:
    """Return the initial settings of a parameter group. A scheduler stores the initial ``lr`` as ``initial_lr``."""
    constants = {name: value for name, value in group.items() if name not in ("params", "initial_lr")}
    return {**constants, "lr": group.get("initial_lr", group["lr"])} if "lr" in group else constants
