"""The state of an unfinished training on disk: written whole or not at all, read without executing anything."""

import io
import os
from pathlib import Path
from typing import Any

import torch

from captum_certified.exceptions import FileFormatError, InvalidInputError
from captum_certified.storage import atomic_write, load_tensors

__all__ = ["read_state", "write_state"]

_VERSION = 1
_PARTS = {
    "settings": dict,
    "model": dict,
    "optimizer": dict,
    "scheduler": dict,
    "loss": dict,
    "step": int,
    "total": float,
    "losses": list,
}


def write_state(path: str | os.PathLike[str], state: dict[str, Any]) -> None:
    """Write the parts of a state.

    Raises:
        InvalidInputError: A part holds other things than tensors and plain numbers, and could not be read again.
    """
    contents = io.BytesIO()
    torch.save({"version": _VERSION, **state}, contents)
    contents.seek(0)
    try:
        load_tensors(contents)
    except FileFormatError as error:
        raise InvalidInputError(
            "Expected model, optimizer, scheduler and loss with states of tensors and plain numbers, which a "
            f"checkpoint can hold, got others: {error}."
        ) from error
    with atomic_write(path) as file:
        file.write(contents.getbuffer())


def read_state(path: Path) -> dict[str, Any]:
    """The parts of a state, its tensors on the CPU.

    Raises:
        FileFormatError: The file is corrupt, of a newer version, or holds something else.
        OSError: The file cannot be opened.
    """
    with path.open("rb") as file:
        try:
            state = load_tensors(file)
        except FileFormatError as error:
            raise FileFormatError(f"Expected {path} to hold a training's state, but {error}.") from error
    whole = isinstance(state, dict) and all(isinstance(state.get(name), kind) for name, kind in _PARTS.items())
    if not whole or state.get("version") != _VERSION:
        found = state.get("version") if isinstance(state, dict) else type(state).__name__
        raise FileFormatError(f"Expected {path} to hold a training's state of version {_VERSION}, got {found}.")
    return {name: state[name] for name in _PARTS}
