"""The denoiser that the command line names, and its file."""

from pathlib import Path

import torch
from torch import Tensor, nn

from captum_certified.cli.callables import module_from_callable
from captum_certified.denoising import small_denoiser
from captum_certified.exceptions import FileFormatError, InvalidInputError
from captum_certified.storage import atomic_write, load_tensors

__all__ = ["load_denoiser", "save_denoiser"]

# Names of tensors in the state dict of a small denoiser, from which its channels, width and depth are read.
_HEAD, _TAIL, _BLOCK = "head.weight", "tail.weight", "coarse."
_CELL_VALUES = 16


def load_denoiser(name: str) -> nn.Module:
    """Load the denoiser that ``--denoiser`` names: a file of ``train-denoiser``, or package.module:callable.

    Returns:
        The denoiser in evaluation mode. Its weights need no gradients.

    Raises:
        InvalidInputError: There is no such file or callable, or the file is not one of ``train-denoiser``.
    """
    if Path(name).is_file():
        denoiser = _from_file(Path(name))
    elif ":" in name:
        denoiser = module_from_callable("--denoiser", name, [], {})
    else:
        raise InvalidInputError(
            f"Expected `--denoiser` to be a file that train-denoiser wrote, or package.module:callable that returns a "
            f"torch.nn.Module, got {name!r}."
        )
    for parameter in denoiser.parameters():
        parameter.requires_grad_(False)
    return denoiser.eval()


def save_denoiser(denoiser: nn.Module, path: Path) -> None:
    """Write the weights of a small denoiser to a file that :func:`load_denoiser` reads."""
    with atomic_write(path) as file:
        torch.save(denoiser.state_dict(), file)


def _from_file(path: Path) -> nn.Module:
    with path.open("rb") as file:
        try:
            state = load_tensors(file)
        except FileFormatError as error:
            raise InvalidInputError(f"Expected `--denoiser` {path} to be a file of train-denoiser: {error}") from error
    try:
        if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
            raise KeyError(_HEAD)
        width, values = state[_HEAD].shape[:2]
        depth = len({name.split(".")[1] for name in state if name.startswith(_BLOCK)})
        denoiser = small_denoiser(values // _CELL_VALUES, width=width, depth=depth, seed=0)
        denoiser.load_state_dict(state)
    except (KeyError, IndexError, RuntimeError, ValueError) as error:
        raise InvalidInputError(
            f"Expected `--denoiser` {path} to have the weights of a denoiser of train-denoiser, got others. Name "
            "package.module:callable for a denoiser of your own."
        ) from error
    return denoiser
