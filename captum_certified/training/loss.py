"""The base class of training losses, and functions that several losses use."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional

from captum_certified.checks import checked_integer
from captum_certified.exceptions import InvalidInputError
from captum_certified.randomness import derived_seed, fresh_seed
from captum_certified.sampling import make_noise

__all__ = ["TrainingLoss", "at_least_single", "cross_entropies", "evaluation_mode", "with_noise"]


@dataclass(kw_only=True, eq=False)
class TrainingLoss(ABC):
    """A loss of a classifier on a batch, for use in any training loop: ``loss(model, inputs, targets)``.

    The random numbers of a call depend on the seed and on the number of earlier calls. :meth:`state_dict` holds both,
    so an interrupted training can continue as if it had not been interrupted. The global random generators, the mode of
    the model and the gradients of its parameters are untouched.

    Args:
        seed: Seed of everything random; ``None`` draws a fresh one.
    """

    seed: int | None = field(default=None, repr=False)
    calls: int = field(default=0, init=False, repr=False)

    def __post_init__(self) -> None:
        self.seed = fresh_seed() if self.seed is None else checked_integer("seed", self.seed, below=2**64)

    def __call__(self, model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean loss of a batch, with a graph to the model's weights.

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
        """Return the mean loss of a batch under the seed of this call."""

    def state_dict(self) -> dict[str, int]:
        """Return the seed and the number of calls so far. They determine the random numbers of the next call."""
        return {"seed": self.seed or 0, "calls": self.calls}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Restore the seed and the number of calls from a :meth:`state_dict`."""
        self.seed = checked_integer("seed", state["seed"], below=2**64)
        self.calls = checked_integer("calls", state["calls"])


def cross_entropies(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """Return the cross-entropy of every example, shape (N,).

    Raises:
        InvalidInputError: The model does not return logits of shape (N, classes), or a target is not one of the
            classes.
    """
    logits: Tensor = model(inputs)
    if not isinstance(logits, Tensor) or logits.dim() != 2 or len(logits) != len(targets):
        got = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise InvalidInputError(f"Expected `model` to return logits of shape ({len(targets)}, classes), got {got}.")
    low, high = int(targets.min()), int(targets.max())
    if low < 0 or high >= logits.shape[1]:
        raise InvalidInputError(f"Expected `targets` from 0 to {logits.shape[1] - 1}, got {low} to {high}.")
    return functional.cross_entropy(logits, targets, reduction="none")


def with_noise(inputs: Tensor, stdev: float, seed: int) -> Tensor:
    """Add Gaussian noise of standard deviation ``stdev`` to inputs of shape (N, …). Each example has its own noise."""
    noise = make_noise(
        tuple(inputs.shape[1:]),
        seed=seed,
        draws=range(len(inputs)),
        tensor=0,
        dtype=torch.float64 if inputs.dtype == torch.float64 else torch.float32,
        device=inputs.device,
    )
    return (inputs + stdev * noise).to(inputs.dtype)


def at_least_single(values: Tensor) -> Tensor:
    """Convert tensors of half precision to float32, because matrix decompositions do not support half precision."""
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Put the model into evaluation mode within the block, for searches and penalties.

    Explanations are computed in evaluation mode. In training mode, a search would update the batch-norm statistics,
    dropout would change between the steps of a search, and the gradient of an example would depend on the whole batch.
    """
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


def _check(inputs: Tensor, targets: Tensor) -> None:
    if not isinstance(inputs, Tensor) or not inputs.is_floating_point() or inputs.dim() < 2 or not inputs.numel():
        got = f"{inputs.dtype} of shape {tuple(inputs.shape)}" if isinstance(inputs, Tensor) else repr(type(inputs))
        raise InvalidInputError(f"Expected `inputs` to be a floating point tensor of shape (N, ...), got {got}.")
    if not isinstance(targets, Tensor) or targets.dtype != torch.int64 or targets.shape != inputs.shape[:1]:
        got = f"{targets.dtype} of shape {tuple(targets.shape)}" if isinstance(targets, Tensor) else repr(type(targets))
        raise InvalidInputError(f"Expected `targets` to be int64 of shape ({len(inputs)},), got {got}.")
