"""A model by name, taking images in [0, 1]: its normalisation becomes its first layer."""

import argparse
import difflib
import importlib
import json
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import Tensor, nn

from captum_certified.exceptions import FileFormatError, InvalidInputError
from captum_certified.runs.images import Framing
from captum_certified.smoothing import load_tensors

__all__ = ["LoadedModel", "Normalized", "load_model", "parsed_arguments"]

_CONSTANTS = {"True": True, "False": False, "None": None}
_ZOO: Any = torchvision.models  # its registry is public, but not typed


class Normalized(nn.Module):
    """A model behind the normalisation it was trained with, so that its inputs are pixels in [0, 1].

    Args:
        model: The network.
        mean: One number for each channel.
        std: One number for each channel.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, model: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(-1, 1, 1))

    def forward(self, images: Tensor) -> Any:
        """Outputs for images of shape (N, C, H, W) in [0, 1]."""
        return self.model((images - self.mean) / self.std)


@dataclass(frozen=True)
class LoadedModel:
    """A model in evaluation mode, and how images are framed for it."""

    model: nn.Module
    framing: Framing


def load_model(arguments: argparse.Namespace) -> LoadedModel:
    """The model that the command line asks for.

    Args:
        arguments: ``model``, ``model_arg``, ``weights``, ``size``, ``mean``, ``std``.

    Returns:
        The model, its normalisation inside, and the framing of its images.

    Raises:
        InvalidInputError: There is no such model, or its weights do not fit.
    """
    positional, named = parsed_arguments(arguments.model_arg)
    if ":" in arguments.model:
        network = _from_callable(arguments.model, positional, named)
        framing, mean, std = Framing(), None, None
    else:
        unweighted = arguments.weights is not None or getattr(arguments, "from_scratch", False)
        network, framing, mean, std = _from_torchvision(arguments.model, positional, named, unweighted)
    if arguments.weights is not None:
        _load_weights(network, arguments.weights)
    mean, std = arguments.mean or mean, arguments.std or std
    if (mean is None) != (std is None):
        raise InvalidInputError("Expected `--mean` and `--std` both or neither, got one of them.")
    if mean is not None and std is not None:
        network = Normalized(network, mean, std)
    return LoadedModel(network.eval().requires_grad_(False), arguments.size or framing)


def _from_torchvision(
    name: str, positional: list[Any], named: dict[str, Any], unweighted: bool
) -> tuple[nn.Module, Framing, list[float], list[float]]:
    known = _ZOO.list_models(module=torchvision.models)
    if name not in known:
        close = difflib.get_close_matches(name, known, n=3)
        hint = f"; did you mean {' or '.join(close)}?" if close else ""
        raise InvalidInputError(
            f"Expected `--model` to be a torchvision classifier or package.module:callable, got {name!r}{hint}"
        )
    if positional:
        raise InvalidInputError(f"Expected `--model-arg` NAME=VALUE for a torchvision model, got {positional[0]!r}.")
    default = _ZOO.get_model_weights(name).DEFAULT
    preset = default.transforms()
    framing = Framing(resize=preset.resize_size[0], crop=preset.crop_size[0], interpolation=preset.interpolation.value)
    try:
        network = _ZOO.get_model(name, weights=None if unweighted else default, **named)
    except (TypeError, ValueError, OSError) as error:
        raise InvalidInputError(f"Expected `--model` {name} to load, got {type(error).__name__}: {error}") from error
    return network, framing, list(preset.mean), list(preset.std)


def _from_callable(name: str, positional: list[Any], named: dict[str, Any]) -> nn.Module:
    module_name, _, attribute = name.partition(":")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        found: Any = importlib.import_module(module_name)
        for part in attribute.split("."):
            found = getattr(found, part)
        network = found if isinstance(found, nn.Module) else found(*positional, **named)
    except Exception as error:
        raise InvalidInputError(f"Expected `--model` {name} to load, got {type(error).__name__}: {error}") from error
    if not isinstance(network, nn.Module):
        raise InvalidInputError(f"Expected `--model` {name} to return a torch.nn.Module, got {type(network).__name__}.")
    return network


def parsed_arguments(texts: Sequence[str]) -> tuple[list[Any], dict[str, Any]]:
    """NAME=VALUE is a keyword argument, anything else a positional one; values are JSON or constants where they can."""
    positional, named = [], {}
    for text in texts:
        keyword = re.match(r"([A-Za-z_]\w*)=(.*)$", text, re.DOTALL)
        if keyword:
            named[keyword[1]] = _value(keyword[2])
        else:
            positional.append(_value(text))
    return positional, named


def _value(text: str) -> Any:
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    try:
        return json.loads(text)
    except ValueError:
        return text


def _load_weights(network: nn.Module, path: str | os.PathLike[str]) -> None:
    with Path(path).open("rb") as file:
        try:
            state = load_tensors(file)
        except FileFormatError as error:
            raise InvalidInputError(
                f"Expected `--weights` {path} to be a state dict, but it cannot be read."
            ) from error
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise InvalidInputError(f"Expected `--weights` {path} to be a state dict of tensors, got something else.")
    # Networks trained in parallel carry this prefix.
    state = {str(name).removeprefix("module."): value for name, value in state.items()}
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise InvalidInputError(f"Expected `--weights` {path} to fit the model: {error}") from error
