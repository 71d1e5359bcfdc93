"""The model that the command line names. It takes images in [0, 1], because normalisation is its first layer."""

import argparse
import difflib
import math
import warnings
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import captum.attr
import torch
import torchvision
from torch import Tensor, nn

from captum_certified.attr import SmoothedAttribution, SparsifiedSmoothGrad
from captum_certified.cli.callables import module_from_callable, parsed_arguments
from captum_certified.cli.denoisers import load_denoiser
from captum_certified.denoising import Denoised
from captum_certified.exceptions import FileFormatError, InvalidInputError
from captum_certified.images.framing import Framing
from captum_certified.storage import Json, load_tensors

__all__ = ["LoadedModel", "Normalized", "explainer_of", "load_model", "moved"]

_SAVE_IT = "Save one by torch.save(model.state_dict(), FILE)."
_ZOO: Any = torchvision.models  # the registry of models is public, but not typed


class Normalized(nn.Module):
    """Normalisation followed by a network, so that the inputs are pixels in [0, 1].

    Args:
        model: The network.
        mean: One number for all channels, or one for each channel.
        std: One number for all channels, or one for each channel.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, model: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(-1, 1, 1))

    def forward(self, images: Tensor) -> Any:
        """Return what the network returns for images of shape (N, C, H, W) in [0, 1]."""
        return self.model((images - self.mean) / self.std)


@dataclass(frozen=True)
class LoadedModel:
    """A model in evaluation mode, and how images are resized and cropped for it."""

    model: nn.Module
    framing: Framing


def load_model(arguments: argparse.Namespace) -> LoadedModel:
    """Load the model that the command line names.

    Args:
        arguments: ``model``, ``model_arg``, ``weights``, ``size``, ``mean``, ``std``, ``channels``, ``denoiser``.

    Returns:
        The model with its normalisation, behind its denoiser if there is one, and the framing of its images.

    Raises:
        InvalidInputError: The model cannot be loaded, or its weights or its normalisation do not fit.
    """
    positional, named = parsed_arguments(arguments.model_arg)
    framing, mean, std = Framing(), None, None
    known = _ZOO.list_models(module=torchvision.models)
    if arguments.model not in known and Path(arguments.model).is_file():
        network = _from_script(Path(arguments.model), arguments.model_arg)
    elif ":" in arguments.model:
        network = module_from_callable("--model", arguments.model, positional, named)
    else:
        unweighted = arguments.weights is not None or getattr(arguments, "from_scratch", False)
        network, framing, mean, std = _from_torchvision(arguments.model, positional, named, unweighted)
    if arguments.weights is not None:
        _load_weights(network, arguments.weights)
    mean, std = arguments.mean or mean, arguments.std or std
    if (mean is None) != (std is None):
        raise InvalidInputError("Expected `--mean` and `--std` both or neither, got one of them.")
    if mean is not None and std is not None:
        _check_normalisation(mean, std, arguments.channels)
        network = Normalized(network, mean, std)
    if getattr(arguments, "denoiser", None) is not None:
        network = Denoised(load_denoiser(arguments.denoiser), network)
    for parameter in network.parameters():  # scripted modules refuse requires_grad_
        parameter.requires_grad_(False)
    return LoadedModel(network.eval(), arguments.size or framing)


def moved(model: nn.Module, arguments: argparse.Namespace) -> nn.Module:
    """Move a model to the device and the precision that the command line names.

    Raises:
        InvalidInputError: The device is not available.
    """
    try:
        return model.to(arguments.device, getattr(torch, arguments.dtype))
    except (RuntimeError, AssertionError) as error:
        raise InvalidInputError(f"Expected `--device` to be available, got {arguments.device!r}: {error}") from error


def explainer_of(loaded: LoadedModel, arguments: argparse.Namespace) -> SmoothedAttribution:
    """Move the model by :func:`moved`, and return the smoothed attribution that the command line names."""
    method = getattr(captum.attr, arguments.method)(moved(loaded.model, arguments))
    return SparsifiedSmoothGrad(method, tau=arguments.tau, sign=arguments.sign)


def _check_normalisation(mean: Sequence[float], std: Sequence[float], channels: int) -> None:
    for option, values in (("--mean", mean), ("--std", std)):
        if channels > 1 and len(values) not in (1, channels):
            raise InvalidInputError(
                f"Expected `{option}` to be one number, or {channels} for the channels of the images, got "
                f"{len(values)}."
            )
        if not all(map(math.isfinite, values)):
            raise InvalidInputError(f"Expected `{option}` to be finite, got {list(values)}.")
    if min(std) <= 0:
        raise InvalidInputError(f"Expected `--std` above 0, because images are divided by it, got {list(std)}.")


def _from_torchvision(
    name: str, positional: list[Json], named: dict[str, Json], unweighted: bool
) -> tuple[nn.Module, Framing, list[float], list[float]]:
    known = _ZOO.list_models(module=torchvision.models)
    if name not in known:
        close = difflib.get_close_matches(name, known, n=3)
        hint = f"; did you mean {' or '.join(close)}?" if close else ""
        raise InvalidInputError(
            "Expected `--model` to be a torchvision classifier, package.module:callable or a TorchScript file, got "
            f"{name!r}{hint}"
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


def _from_script(path: Path, model_arguments: Sequence[str]) -> nn.Module:
    if model_arguments:
        raise InvalidInputError(
            f"Expected no `--model-arg` for the TorchScript file {path}, which takes none, got {model_arguments[0]!r}."
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # newer versions of PyTorch warn that TorchScript is deprecated
            load: Any = torch.jit.load  # not typed
            network: nn.Module = load(path, map_location="cpu")
    except RuntimeError as error:
        raise InvalidInputError(
            f"Expected `--model` {path} to be a TorchScript file, got another. A state dict goes to `--weights`, and "
            "`--model` then says which network it is of."
        ) from error
    return network


def _load_weights(network: nn.Module, path: Path) -> None:
    with path.open("rb") as file:
        try:
            state = load_tensors(file)
        except FileFormatError as error:
            raise InvalidInputError(f"Expected `--weights` {path} to be a state dict, {_diagnosis(path)}") from error
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


def _diagnosis(path: Path) -> str:
    """Say what a file is instead of a state dict, and what to do about it. Nothing in the file is executed."""
    names = zipfile.ZipFile(path).namelist() if zipfile.is_zipfile(path) else []
    if any(name.endswith("/constants.pkl") for name in names):
        return "got a TorchScript file. Give it to `--model` instead."
    if any(name.endswith("/data.pkl") for name in names):
        return f"got a pickled object, such as a whole model, which could execute code when it is loaded. {_SAVE_IT}"
    return f"but it cannot be read. {_SAVE_IT}"
