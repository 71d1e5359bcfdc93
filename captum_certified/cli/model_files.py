"""Models and weights in files: TorchScript, archives of torch.export, and state dicts."""

import warnings
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from captum_certified.exceptions import FileFormatError, InvalidInputError
from captum_certified.storage import load_tensors

__all__ = ["Exported", "load_weights", "model_from_file"]

_SAVE_IT = "Save one by torch.save(model.state_dict(), FILE)."
_EXPORT_IT = (
    'torch.export.export(model, (images,), dynamic_shapes=({0: torch.export.Dim("batch")},)) with two or more images, '
    "then torch.export.save"
)
# Members of an archive that show which kind of file it is, with the names of older and newer versions of PyTorch.
_SCRIPT, _PICKLE = "/constants.pkl", "/data.pkl"
_PROGRAM = ("archive_format", "serialized_exported_program.json")


class Exported(nn.Module):
    """A network that ``torch.export`` has exported. It always stays in the mode in which it was exported.

    Args:
        program: The module of the exported program.
    """

    def __init__(self, program: nn.Module) -> None:
        super().__init__()
        self.program = program

    def forward(self, images: Tensor) -> Any:
        """Return what the exported network returns."""
        return self.program(images)

    def train(self, mode: bool = True) -> "Exported":
        """Do nothing, because an exported network refuses to change its mode."""
        self.training = mode
        return self


def model_from_file(path: Path, model_arguments: Sequence[str]) -> nn.Module:
    """Load a TorchScript file, or an archive of ``torch.export`` whose name ends in .pt2.

    Args:
        path: The file.
        model_arguments: The values of ``--model-arg``. There must be none.

    Raises:
        InvalidInputError: The file holds no model, or an exported model that takes only batches of one size.
    """
    if model_arguments:
        kind = "exported model" if path.suffix == ".pt2" else "TorchScript file"
        raise InvalidInputError(
            f"Expected no `--model-arg` for the {kind} {path}, which takes none, got {model_arguments[0]!r}."
        )
    members = _members(path)
    if path.suffix == ".pt2" and any(name.endswith(_PROGRAM) for name in members):
        return _from_export(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # newer versions of PyTorch warn that TorchScript is deprecated
            load: Any = torch.jit.load  # not typed
            network: nn.Module = load(path, map_location="cpu")
    except RuntimeError as error:
        raise InvalidInputError(
            f"Expected `--model` {path} to be a TorchScript file or a .pt2 archive of torch.export, "
            f"{_instead_of_model(path, members)}"
        ) from error
    return network


def _from_export(path: Path) -> Exported:
    try:
        program = torch.export.load(path)
        network = program.module()
    except Exception as error:
        raise InvalidInputError(
            f"Expected `--model` {path} to be an archive of torch.export that loads, got {type(error).__name__}: "
            f"{str(error).partition(chr(10))[0]}"
        ) from error
    inputs = program.graph_signature.user_inputs
    values = [node.meta.get("val") for node in program.graph.nodes if node.name in inputs]
    if len(values) == 1 and isinstance(values[0], Tensor) and isinstance(values[0].shape[0], int):
        raise InvalidInputError(
            f"Expected `--model` {path} to take batches of any size, got one that was exported for batches of "
            f"{values[0].shape[0]}. Export it with a dynamic batch dimension: {_EXPORT_IT}."
        )
    return Exported(network)


def load_weights(network: nn.Module, path: Path) -> None:
    """Load a state dict from a file into a network.

    Raises:
        InvalidInputError: The file is not a state dict, or the state dict does not fit the network.
    """
    with path.open("rb") as file:
        try:
            state = load_tensors(file)
        except FileFormatError as error:
            raise InvalidInputError(
                f"Expected `--weights` {path} to be a state dict, {_instead_of_weights(path)}"
            ) from error
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise InvalidInputError(
            f"Expected `--weights` {path} to be a state dict of tensors, got something else. {_SAVE_IT}"
        )
    # The weights of networks trained in parallel have this prefix.
    state = {str(name).removeprefix("module."): value for name, value in state.items()}
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise InvalidInputError(f"Expected `--weights` {path} to fit the model: {error}") from error


def _members(path: Path) -> list[str]:
    """Return the names of the parts of a file. Nothing in the file is executed."""
    return zipfile.ZipFile(path).namelist() if zipfile.is_zipfile(path) else []


def _instead_of_weights(path: Path) -> str:
    """Say what a file is if it is not a state dict, and what the user can do."""
    names = _members(path)
    if any(name.endswith((_SCRIPT, *_PROGRAM)) for name in names):
        kind = "a TorchScript file" if any(name.endswith(_SCRIPT) for name in names) else "an exported model"
        return f"got {kind}. Give it to `--model` instead."
    if any(name.endswith(_PICKLE) for name in names):
        return f"got a pickled object, such as a whole model, which could execute code when it is loaded. {_SAVE_IT}"
    return f"but it cannot be read. {_SAVE_IT}"


def _instead_of_model(path: Path, members: Sequence[str]) -> str:
    """Say what a file is if it is not a model, and what the user can do."""
    if any(name.endswith(_PROGRAM) for name in members):
        return "got an archive of torch.export under another name. Let its name end in .pt2."
    try:
        with path.open("rb") as file:
            load_tensors(file)
    except FileFormatError:
        if any(name.endswith(_PICKLE) for name in members):
            return (
                "got a pickled object, such as a whole model, which could execute code when it is loaded. Name the "
                "code of the model by package.module:callable and save its weights for `--weights`, or export it: "
                f"{_EXPORT_IT}."
            )
    return "got another kind of file. Give a state dict to `--weights`, and name its network by `--model`."
