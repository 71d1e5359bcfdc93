"""What every training loss is: a callable of model, inputs and targets that keeps count of its own randomness."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from captum_certified.checks import checked_integer
from captum_certified.exceptions import InvalidInputError
from captum_certified.randomness import derived_seed, fresh_seed

__all__ = ["TrainingLoss", "at_least_single", "cross_entropies", "evaluation_mode"]


@dataclass(kw_only=True, eq=False)
class TrainingLoss(ABC):
    """A loss of a classifier on a batch, for any training loop: ``loss(model, inputs, targets)``.

    What is random in a call depends on the seed and on how many calls there were before; both are in
    :meth:`state_dict`, so that training goes on as if it had not been interrupted. The global random generators, the
    model's mode and its parameters' gradients are untouched.

    Args:
        seed: Seed of everything random; ``None`` draws a fresh one.
    """

    seed: int | None = field(default=None, repr=False)
    calls: int = field(default=0, init=False, repr=False)

    def __post_init__(self) -> None:
        self.seed = fresh_seed() if self.seed is None else checked_integer("seed", self.seed, below=2**64)

    def __call__(self, model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        """The mean loss of a batch, with the graph to the model's weights.

        Args:
            model: Returns logits of shape (N, classes).
            inputs: Shape (N, …), floating point.
            targets: Classes of shape (N,), int64.

        Returns:
            A scalar.

        Raises:
            InvalidInputError: An argument is not what was expected.
        """
        _check(inputs, targets)
        self.calls += 1
        with torch.enable_grad():
            return self.mean(model, inputs.detach(), targets, derived_seed(self.seed or 0, self.calls))

    @abstractmethod
    def mean(self, model: nn.Module, inputs: Tensor, targets: Tensor, seed: int) -> Tensor:
        """The mean loss of a batch under the seed of this call."""

    def state_dict(self) -> dict[str, int]:
        """What the next call depends on."""
        return {"seed": self.seed or 0, "calls": self.calls}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on where another loss was."""
        self.seed = checked_integer("seed", state["seed"], below=2**64)
        self.calls = checked_integer("calls", state["calls"])


def cross_entropies(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """The cross-entropy of every row, shape (N,).

    Raises:
        InvalidInputError: The model does not return logits of shape (N, classes).
    """
    logits: Any = model(inputs)
    if not isinstance(logits, Tensor) or logits.dim() != 2 or len(logits) != len(targets):
        got = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise InvalidInputError(f"Expected `model` to return logits of shape ({len(targets)}, classes), got {got}.")
    low, high = int(targets.min()), int(targets.max())
    if low < 0 or high >= logits.shape[1]:
        raise InvalidInputError(f"Expected `targets` from 0 to {logits.shape[1] - 1}, got {low} to {high}.")
    return functional.cross_entropy(logits, targets, reduction="none")


def at_least_single(values: Tensor) -> Tensor:
    """Half precisions as float32: decompositions have no version for them."""
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Within the block the model is in evaluation mode, as when it is explained; its own mode is for the entropy alone.

    Searches and penalties must neither feed batch norms nor meet dropout, and the gradient of a batch norm in
    training mode is one of the whole batch.
    """
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


def _check(inputs: Any, targets: Any) -> None:
    if not isinstance(inputs, Tensor) or not inputs.is_floating_point() or inputs.dim() < 2 or not inputs.numel():
        got = f"{inputs.dtype} of shape {tuple(inputs.shape)}" if isinstance(inputs, Tensor) else repr(type(inputs))
        raise InvalidInputError(f"Expected `inputs` to be a floating point tensor of shape (N, ...), got {got}.")
    if not isinstance(targets, Tensor) or targets.dtype != torch.int64 or targets.shape != inputs.shape[:1]:
        got = f"{targets.dtype} of shape {tuple(targets.shape)}" if isinstance(targets, Tensor) else repr(type(targets))
        raise InvalidInputError(f"Expected `targets` to be int64 of shape ({len(inputs)},), got {got}.")
