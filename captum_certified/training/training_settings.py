"""The settings that identify a training, so that a checkpoint of another training is refused."""

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler

from captum_certified.training.loss import TrainingLoss
from captum_certified.training.saved_state import StateDict

__all__ = ["Loss", "layer_name", "loss_settings", "optimizer_settings", "scheduler_settings", "state_of"]

Loss: TypeAlias = Callable[[nn.Module, Tensor, Tensor], Tensor]

# Entries of a scheduler's state that change during training.
_COUNTERS = frozenset({"T_cur", "T_i", "best", "cooldown_counter", "last_epoch", "num_bad_epochs"})


def optimizer_settings(optimizer: torch.optim.Optimizer) -> str:
    """Return the class of an optimizer and the settings of its groups of parameters."""
    return f"{type(optimizer).__name__} {[_group_settings(group) for group in optimizer.param_groups]}"


def scheduler_settings(scheduler: LRScheduler | None) -> str:
    """Return the class of a scheduler and the numbers that stay the same during training, as ``step_size``."""
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
    """Return the name in the model of the layer that the loss explains; ``None`` without such a layer."""
    layer = getattr(loss, "layer", None)
    return next((name for name, module in model.named_modules() if module is layer), None)


def state_of(part: nn.Module | torch.optim.Optimizer | LRScheduler | Loss | None) -> StateDict:
    """Return the state of a part of a training; plain functions have none."""
    state: StateDict = part.state_dict() if part is not None and hasattr(part, "state_dict") else {}
    return state


def _group_settings(group: StateDict) -> StateDict:
    """Return the settings of a group at the start: a scheduler changes the rate and keeps the first one."""
    constants = {name: value for name, value in group.items() if name not in ("params", "initial_lr")}
    return {**constants, "lr": group.get("initial_lr", group["lr"])} if "lr" in group else constants
