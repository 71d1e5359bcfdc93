"""The state of an unfinished training on disk: written whole or not at all, and read without executing code."""

import io
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import torch

from captum_certified.exceptions import FileFormatError, InvalidInputError
from captum_certified.storage import JsonObject, atomic_write, load_tensors

__all__ = ["SavedState", "StateDict", "read_state", "write_state"]

StateDict: TypeAlias = dict[str, Any]  # what ``state_dict`` of PyTorch's classes returns

_VERSION = 1


@dataclass(frozen=True, kw_only=True, eq=False)
class SavedState:
    """The state of a training between two steps, with the settings that identify the training.

    :class:`TrainingRun` describes ``step``, ``total`` and ``losses``.
    """

    settings: JsonObject
    model: StateDict
    optimizer: StateDict
    scheduler: StateDict
    loss: StateDict
    step: int
    total: float
    losses: list[float]


_DICTIONARIES = ("settings", "model", "optimizer", "scheduler", "loss")
_KINDS = {**dict.fromkeys(_DICTIONARIES, dict), "step": int, "total": float, "losses": list}


def write_state(path: str | os.PathLike[str], state: SavedState) -> None:
    """Write a state to a file.

    Raises:
        InvalidInputError: The state has values that are not tensors or plain numbers. Such values could not be read
            back.
    """
    contents = io.BytesIO()
    torch.save({"version": _VERSION, **vars(state)}, contents)
    contents.seek(0)
    try:
        load_tensors(contents)
    except FileFormatError as error:
        raise InvalidInputError(
            "Expected the states of model, optimizer, scheduler and loss to hold only tensors and plain numbers, but a "
            f"checkpoint of them could not be read back: {error}."
        ) from error
    with atomic_write(path) as file:
        file.write(contents.getbuffer())


def read_state(path: Path) -> SavedState:
    """Read a state from a file, with its tensors on the CPU.

    Raises:
        FileFormatError: The file is corrupt, has another version, or does not hold the state of a training.
        OSError: The file cannot be opened.
    """
    with path.open("rb") as file:
        try:
            state = load_tensors(file)
        except FileFormatError as error:
            raise FileFormatError(f"Expected {path} to hold a training's state, but {error}.") from error
    whole = isinstance(state, dict) and all(isinstance(state.get(name), kind) for name, kind in _KINDS.items())
    if not whole or state.get("version") != _VERSION:
        found = state.get("version") if isinstance(state, dict) else type(state).__name__
        raise FileFormatError(f"Expected {path} to hold a training's state of version {_VERSION}, got {found}.")
    return SavedState(**{name: state[name] for name in _KINDS})
