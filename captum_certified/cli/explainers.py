"""Build the explanation that the command line names: a Captum method, its layer, baselines and other arguments."""

import argparse
import difflib
import importlib.util
import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import captum.attr
import torch
from captum.attr import Attribution, LayerAttribution
from torch import Tensor, nn

from captum_certified._captum import MethodArguments
from captum_certified.attr import Shared, SmoothedAttribution, SparsifiedSmoothGrad, Upsampled
from captum_certified.attr.captum_methods import hook_setting_method
from captum_certified.attr.refusals import ignores_hooks
from captum_certified.cli.callables import parsed_arguments
from captum_certified.cli.image_files import expanded
from captum_certified.cli.image_groups import cell_side
from captum_certified.cli.methods import MethodChoice, choice_of, sign_of
from captum_certified.cli.models import LoadedModel, moved, placed
from captum_certified.exceptions import InvalidInputError
from captum_certified.images.framing import Framing, load_image
from captum_certified.maps import FeatureLayout
from captum_certified.maps.feature_layout import Groups
from captum_certified.storage import Json

__all__ = ["accepts", "arguments_of", "check_arguments", "explainer_of", "framed_pictures", "method_of", "options_note"]

# Arguments of Captum's `attribute` that other options set, or that would change what the method returns.
_TAKEN = frozenset(
    {
        *("self", "inputs", "target", "additional_forward_args", "baselines", "feature_mask", "kwargs"),
        *("sliding_window_shapes", "strides", "stdevs", "show_progress", "return_convergence_delta"),
        *("custom_attribution_func", "return_input_shape", "attr_dim_summation"),
    }
)
_NAMES_SHOWN = 3


def explainer_of(loaded: LoadedModel, arguments: argparse.Namespace) -> SmoothedAttribution:
    """Move the model to its device, and return the smoothed attribution that the command line names."""
    choice = choice_of(arguments.method)
    check_arguments([choice], arguments)
    method = method_of(choice, loaded, arguments)
    return SparsifiedSmoothGrad(method, tau=arguments.tau, sign=sign_of(choice, arguments))


def check_arguments(choices: Sequence[MethodChoice], arguments: argparse.Namespace) -> None:
    """Refuse a ``--method-arg`` that none of the methods takes, and ``--baselines`` that do not exist.

    Raises:
        InvalidInputError: An argument has no name, no method takes an argument, or the pictures do not exist.
    """
    positional, named = parsed_arguments(arguments.method_arg)
    known = set[str]().union(*map(_accepted, choices))
    unknown = [*map(str, positional), *(name for name in named if name not in known)]
    if unknown:
        raise InvalidInputError(
            f"Expected `--method-arg` NAME=VALUE with NAME one of {sorted(known)} for "
            f"{' and '.join(choice.name for choice in choices)}, got {unknown[0]!r}."
        )
    if arguments.baselines is not None:
        expanded([arguments.baselines], without=None)


def method_of(choice: MethodChoice, loaded: LoadedModel, arguments: argparse.Namespace) -> Attribution:
    """Move the model to its device, and return the Captum method that explains it.

    Raises:
        InvalidInputError: The layer is missing or unknown, the model does not allow the method, or scikit-learn is not
            installed.
    """
    if choice.needs_scikit_learn and importlib.util.find_spec("sklearn") is None:
        raise InvalidInputError(f"Expected scikit-learn for {choice.name}, got none: pip install scikit-learn.")
    kind: Callable[..., Attribution] = getattr(captum.attr, choice.captum_name)
    model = moved(loaded.model, arguments)
    if ignores_hooks(loaded.network) and (choice.layer or hook_setting_method(kind(model)) is not None):
        raise InvalidInputError(
            f"Expected a model of ordinary modules for {choice.name}, which sets hooks on them, got a scripted, "
            "exported or compiled one, which ignores hooks. Give the model as package.module:callable, or choose a "
            "method such as Saliency or Occlusion."
        )
    if choice.name == "LRP" and loaded.model is not loaded.network:
        raise InvalidInputError(
            "Expected a model without normalisation or denoiser in front of it for LRP, which has no rule for them. "
            "The model may normalise its input by a layer that LRP knows, such as torch.nn.BatchNorm2d."
        )
    if not choice.layer:
        return kind(model)
    layer = _layer(choice, loaded.network, arguments.layer)
    if not choice.upsampled:
        return kind(model, layer)
    layer_kind: Callable[..., LayerAttribution] = getattr(captum.attr, choice.captum_name)
    return Upsampled(layer_kind(model, layer), sum_channels=True)


def arguments_of(
    choice: MethodChoice, image: Tensor, loaded: LoadedModel, arguments: argparse.Namespace, groups: Groups
) -> MethodArguments:
    """Return the keyword arguments of the method for images of one size.

    Args:
        choice: The method.
        image: The framed images, shape (N, C, H, W).
        loaded: The model, for the framing of its images.
        arguments: ``window``, ``baselines``, ``method_arg``, ``channels``, ``exif``, ``device``, ``dtype``.
        groups: The groups of the map.

    Raises:
        InvalidInputError: The baselines or the window do not fit the images.
        OSError: A file cannot be opened.
    """
    given: dict[str, Any] = _given(choice, arguments)
    if choice.baselines != "none" and arguments.baselines is not None:
        given["baselines"] = _baselines(choice, image, loaded.framing, arguments)
    if choice.window:
        side, stride = _window(image, arguments)
        given |= {"sliding_window_shapes": (len(image[0]), side, side), "strides": (len(image[0]), stride, stride)}
    if choice.cells and groups is not None:
        [ids] = FeatureLayout.of([image], is_tuple=False, rows=len(image), groups=groups).group_ids or ()
        mask = ids.to(arguments.device)
        given["feature_mask"] = Shared(mask) if len(mask) == 1 else mask
    return given


def options_note(choice: MethodChoice, image: Tensor, arguments: argparse.Namespace) -> dict[str, Json]:
    """Return the options of the method by name, for the record of an image; empty if there are none."""
    options: dict[str, Json] = {}
    if choice.layer:
        options["layer"] = arguments.layer
    if choice.window:
        options["window"] = list(_window(image, arguments))
    if choice.baselines != "none" and arguments.baselines is not None:
        options["baselines"] = str(arguments.baselines)
    options |= _given(choice, arguments)
    return {"method_options": options} if options else {}


def _given(choice: MethodChoice, arguments: argparse.Namespace) -> dict[str, Json]:
    """Return what ``--method-arg`` gives to a method."""
    accepted = _accepted(choice)
    return {name: value for name, value in parsed_arguments(arguments.method_arg)[1].items() if name in accepted}


def accepts(choice: MethodChoice, name: str) -> bool:
    """Return whether ``--method-arg`` may give an argument of this name to a method."""
    return name in _accepted(choice)


def _accepted(choice: MethodChoice) -> set[str]:
    """Return the names of the arguments that ``--method-arg`` may give to a method."""
    return set(inspect.signature(getattr(captum.attr, choice.captum_name).attribute).parameters) - _TAKEN


def _layer(choice: MethodChoice, network: nn.Module, name: str | None) -> nn.Module:
    """Return a layer of the user's own network by its name in ``named_modules``."""
    modules: dict[str, nn.Module] = dict(network.named_modules())
    convolutions = [known for known, module in modules.items() if isinstance(module, nn.Conv2d)]
    last = f"the last convolution is {convolutions[-1]!r}" if convolutions else ""
    if name is None:
        hint = f": {last}" if last else ""
        raise InvalidInputError(f"Expected `--layer` for {choice.name}, which explains a layer of the model{hint}.")
    if name in modules:
        return modules[name]
    close = difflib.get_close_matches(name, modules, n=_NAMES_SHOWN, cutoff=0.4)
    hints = [f"close to it are {', '.join(map(repr, close))}"] if close else []
    hints += [last] if last and choice.captum_name in ("LayerGradCam", "GuidedGradCam") else []
    hints = hints or [f"the model has {', '.join(map(repr, list(modules)[1 : _NAMES_SHOWN + 1]))} and more"]
    raise InvalidInputError(
        f"Expected `--layer` to be a name among the model's named_modules(), got {name!r}; {'; '.join(hints)}."
    )


def _window(image: Tensor, arguments: argparse.Namespace) -> tuple[int, int]:
    """Return side and stride, in pixels, of the window that Occlusion moves. By default both are a cell's side."""
    given: tuple[int, int] | None = arguments.window
    if given is None:
        side = cell_side(image)
        return side, side
    if given[0] > min(image.shape[2:]):
        raise InvalidInputError(
            f"Expected `--window` to fit into the image of {image.shape[2]} × {image.shape[3]} pixels, got a side of "
            f"{given[0]}."
        )
    return given


def _baselines(choice: MethodChoice, image: Tensor, framing: Framing, arguments: argparse.Namespace) -> Tensor:
    files = [file for file, _ in expanded([arguments.baselines], without=None)]
    pictures = framed_pictures(files, framing, arguments, named="`--baselines`")
    if choice.baselines == "one" and len(pictures) != 1:
        raise InvalidInputError(
            f"Expected `--baselines` to be one picture for {choice.name}, got {len(pictures)} in "
            f"{arguments.baselines}. Methods such as GradientShap take several."
        )
    if choice.captum_name.endswith("DeepLiftShap") and len(pictures) < 2:
        raise InvalidInputError(
            f"Expected `--baselines` to be at least two pictures for {choice.name}, got {arguments.baselines}: give a "
            "folder."
        )
    if pictures.shape[1:] != image.shape[1:]:
        raise InvalidInputError(
            f"Expected `--baselines` of the size of the image, {image.shape[2]} × {image.shape[3]} pixels, got "
            f"{pictures.shape[2]} × {pictures.shape[3]}; see `--size`."
        )
    return placed(pictures, arguments)


def framed_pictures(files: Sequence[Path], framing: Framing, arguments: argparse.Namespace, *, named: str) -> Tensor:
    """Read pictures, and resize and crop them like the images, shape (B, C, H, W).

    Raises:
        InvalidInputError: The framed pictures, which the message calls ``named``, differ in size.
        OSError: A file cannot be opened.
    """
    pictures = [load_image(file, framing, channels=arguments.channels, exif=arguments.exif)[0] for file in files]
    sizes = sorted({tuple(picture.shape[2:]) for picture in pictures})
    if len(sizes) > 1:
        raise InvalidInputError(f"Expected {named} of one size, got {sizes[0]} and {sizes[1]}; see `--size`.")
    return torch.cat(pictures)
