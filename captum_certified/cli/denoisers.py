"""Load the denoiser that the command line names."""

from pathlib import Path

from torch import nn

from captum_certified.cli.callables import module_from_callable
from captum_certified.denoising.small_denoiser import restored_denoiser
from captum_certified.exceptions import FileFormatError, InvalidInputError
from captum_certified.storage import load_tensors

__all__ = ["load_denoiser"]


def load_denoiser(name: str) -> nn.Module:
    """Load the denoiser that ``--denoiser`` names: a file of ``train-denoiser``, or package.module:callable.

    Returns:
        The denoiser in evaluation mode. Its weights need no gradients.

    Raises:
        InvalidInputError: There is no such file or callable, or the file was not written by ``train-denoiser``.
    """
    if Path(name).is_file():
        denoiser = _from_file(Path(name))
    elif ":" in name:
        denoiser = module_from_callable("--denoiser", name, [], {})
    else:
        raise InvalidInputError(
            "Expected `--denoiser` to be a file that train-denoiser wrote, or package.module:callable that returns a "
            f"torch.nn.Module, got {name!r}."
        )
    for parameter in denoiser.parameters():  # scripted modules refuse requires_grad_
        parameter.requires_grad_(False)
    return denoiser.eval()


def _from_file(path: Path) -> nn.Module:
    with path.open("rb") as file:
        try:
            state = load_tensors(file)
        except FileFormatError as error:
            raise InvalidInputError(f"Expected `--denoiser` {path} to be a file of train-denoiser: {error}") from error
    try:
        return restored_denoiser(state)
    except InvalidInputError as error:
        raise InvalidInputError(
            f"Expected `--denoiser` {path} to have the weights of a denoiser of train-denoiser, got others. Name "
            "package.module:callable for a denoiser of your own."
        ) from error
