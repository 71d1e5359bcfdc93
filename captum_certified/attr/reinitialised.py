"""Models with re-initialised weights, for the randomisation test of Adebayo et al. (2018)."""

import contextlib
import warnings
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn

from captum_certified.randomness import IsolatedRandomness

__all__ = ["can_reinitialise", "reinitialised"]


def can_reinitialise(models: Sequence[nn.Module]) -> bool:
    """Return whether models have parameters that can be replaced. Parameters of scripted models cannot be replaced."""
    parts = [part for model in models for part in model.modules()]
    if any(isinstance(part, torch.jit.ScriptModule) for part in parts):
        return False
    return any(True for model in models for _ in model.parameters())


@contextlib.contextmanager
def reinitialised(models: Sequence[nn.Module], *, seed: int) -> Iterator[None]:
    """Give models new random weights while a block of code runs, and put the old tensors back afterwards.

    Each layer with a method ``reset_parameters`` initialises its parameters and running statistics by this method. If a
    parameter is unchanged after that, its entries are shuffled.

    Args:
        models: The models. Their parameters and buffers are replaced by new tensors. The old tensors are not changed,
            because an autograd graph of the caller may hold them.
        seed: Seed of the new weights.

    Source:
        Adebayo, Gilmer, Muelly, Goodfellow, Hardt, and Kim (2018), Sanity Checks for Saliency Maps.

    Example:
        >>> layer = nn.Linear(2, 2)
        >>> before = layer.weight
        >>> with reinitialised([layer], seed=0):
        ...     torch.equal(layer.weight, before)
        False
        >>> layer.weight is before
        True
    """
    parts = list({id(part): part for model in models for part in model.modules()}.values())
    old: list[tuple[nn.Module, str, Tensor]] = []
    new: dict[int, Tensor] = {}  # if several layers share a tensor, they also share the new one
    device = next((p.device for part in parts for p in part.parameters()), torch.device("cpu"))
    try:
        for part in parts:
            for name, tensor in _own_tensors(part):
                old.append((part, name, tensor))
                setattr(part, name, new.setdefault(id(tensor), _copied(tensor)))
        with torch.no_grad(), IsolatedRandomness(device)(seed):
            for part in parts:
                _initialise(part)
            _shuffle_unchanged([(tensor, new[id(tensor)]) for _, _, tensor in old])
        yield
    finally:
        for part, name, tensor in old:
            setattr(part, name, tensor)


def _own_tensors(part: nn.Module) -> list[tuple[str, Tensor]]:
    """Return the parameters of a layer, and its buffers too if its ``reset_parameters`` may change them."""
    parameters: list[tuple[str, Tensor]] = list(part.named_parameters(recurse=False, remove_duplicate=False))
    if _reset_of(part) is None:
        return parameters
    return parameters + list(part.named_buffers(recurse=False, remove_duplicate=False))


def _copied(tensor: Tensor) -> Tensor:
    copy = tensor.detach().clone()
    return nn.Parameter(copy, requires_grad=tensor.requires_grad) if isinstance(tensor, nn.Parameter) else copy


def _reset_of(part: nn.Module) -> Callable[[], object] | None:
    reset = getattr(part, "reset_parameters", None)
    return reset if callable(reset) else None


def _initialise(part: nn.Module) -> None:
    reset = _reset_of(part)
    if reset is None:
        return
    # ``reset_parameters`` may need arguments or not fit the tensors. It may also warn about tensors without entries.
    with contextlib.suppress(TypeError, RuntimeError, ValueError), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        reset()


def _shuffle_unchanged(pairs: Sequence[tuple[Tensor, Tensor]]) -> None:
    """Shuffle the entries of new parameters that still equal the old ones."""
    for before, after in {id(now): (was, now) for was, now in pairs}.values():
        if isinstance(after, nn.Parameter) and torch.equal(before, after):
            order = torch.randperm(after.numel(), device="cpu").to(after.device)
            after.copy_(after.flatten()[order].reshape(after.shape))
