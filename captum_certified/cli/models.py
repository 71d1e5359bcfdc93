"""Load the model that the command line names. Its first layer normalises, so the model takes images in [0, 1]."""

import argparse
import difflib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import Tensor, nn

from captum_certified.cli.callables import module_from_callable, parsed_arguments
from captum_certified.cli.class_names import load_class_names
from captum_certified.cli.denoisers import load_denoiser
from captum_certified.cli.model_files import Exported, load_weights, model_from_file
from captum_certified.denoising import Denoised
from captum_certified.exceptions import InvalidInputError
from captum_certified.images.framing import Framing
from captum_certified.storage import Json

__all__ = ["LoadedModel", "Normalized", "load_model", "moved", "placed"]

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
    """A model in evaluation mode, and how images are resized and cropped for it.

    Attributes:
        model: The whole model: the denoiser if there is one, then the normalisation, then the network.
        network: The network that the user named.
        framing: Resize and crop.
        class_names: Names of the classes, in the order of the model's outputs; ``None`` if they are unknown.
    """

    model: nn.Module
    network: nn.Module
    framing: Framing
    class_names: Sequence[str] | None = None


def load_model(arguments: argparse.Namespace) -> LoadedModel:
    """Load the model that the command line names.

    Args:
        arguments: ``model``, ``model_arg``, ``weights``, ``size``, ``mean``, ``std``, ``channels``, ``denoiser``,
            ``class_names``.

    Returns:
        The whole model (the denoiser if there is one, the normalisation and the network), and the framing of its
        images.

    Raises:
        InvalidInputError: The model cannot be loaded, or the given weights or normalisation do not fit the model.
    """
    positional, named = parsed_arguments(arguments.model_arg)
    framing, mean, std, names = Framing(), None, None, None
    known = _ZOO.list_models(module=torchvision.models)
    if arguments.model not in known and Path(arguments.model).is_file():
        network = model_from_file(Path(arguments.model), arguments.model_arg)
    elif ":" in arguments.model:
        network = module_from_callable("--model", arguments.model, positional, named)
    else:
        unweighted = arguments.weights is not None or getattr(arguments, "from_scratch", False)
        network, framing, mean, std, names = _from_torchvision(arguments.model, positional, named, unweighted)
    if getattr(arguments, "class_names", None) is not None:
        names = load_class_names(arguments.class_names)
    if arguments.weights is not None:
        load_weights(network, arguments.weights)
    model, mean, std = network, arguments.mean or mean, arguments.std or std
    if (mean is None) != (std is None):
        raise InvalidInputError("Expected `--mean` and `--std` both or neither, got one of them.")
    if mean is not None and std is not None:
        _check_normalisation(mean, std, arguments.channels)
        model = Normalized(model, mean, std)
    if getattr(arguments, "denoiser", None) is not None:
        model = Denoised(load_denoiser(arguments.denoiser), model)
    for parameter in model.parameters():  # scripted modules refuse requires_grad_
        parameter.requires_grad_(False)
    own = network.program if isinstance(network, Exported) else network
    return LoadedModel(model.eval(), own, arguments.size or framing, names)


def moved(model: nn.Module, arguments: argparse.Namespace) -> nn.Module:
    """Move a model to the device and the precision that the command line names.

    Raises:
        InvalidInputError: The device is not available.
    """
    try:
        return model.to(arguments.device, getattr(torch, arguments.dtype))
    except (RuntimeError, AssertionError) as error:
        raise InvalidInputError(f"Expected `--device` to be available, got {arguments.device!r}: {error}") from error


def placed(images: Tensor, arguments: argparse.Namespace) -> Tensor:
    """Return images on the device and in the precision that the command line names."""
    return images.to(arguments.device, getattr(torch, arguments.dtype))


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
) -> tuple[nn.Module, Framing, list[float], list[float], Sequence[str] | None]:
    """Return a network, the framing and normalisation that belong to its weights, and the names of its classes."""
    known = _ZOO.list_models(module=torchvision.models)
    if name not in known:
        close = difflib.get_close_matches(name, known, n=3)
        hint = f"; did you mean {' or '.join(close)}?" if close else ""
        raise InvalidInputError(
            "Expected `--model` to be a torchvision classifier, package.module:callable or a file of TorchScript or "
            f"torch.export, got {name!r}{hint}"
        )
    if positional:
        raise InvalidInputError(f"Expected `--model-arg` NAME=VALUE for a torchvision model, got {positional[0]!r}.")
    default = _named_weights(name, named.pop("weights", "DEFAULT"))
    preset = default.transforms()
    framing = Framing(resize=preset.resize_size[0], crop=preset.crop_size[0], interpolation=preset.interpolation.value)
    try:
        network = _ZOO.get_model(name, weights=None if unweighted else default, **named)
    except (TypeError, ValueError, OSError) as error:
        raise InvalidInputError(f"Expected `--model` {name} to load, got {type(error).__name__}: {error}") from error
    names = None if unweighted else default.meta.get("categories")
    return network, framing, list(preset.mean), list(preset.std), names


def _named_weights(model: str, weights: Json) -> Any:
    """Return weights of a torchvision model by their name, such as ``IMAGENET1K_V1``."""
    known = _ZOO.get_model_weights(model)
    if not isinstance(weights, str) or weights not in known.__members__:
        raise InvalidInputError(f"Expected `--model-arg weights=` one of {[*known.__members__]}, got {weights!r}.")
    return known[weights]
