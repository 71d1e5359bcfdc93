"""Refuse models and inputs whose per-draw map would not be a function of one noisy input."""

import math
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, fx, nn

from captum_certified.attr.captum_methods import hook_setting_method
from captum_certified.attr.memory import is_out_of_memory
from captum_certified.attr.reachable import Reachable
from captum_certified.exceptions import CertificationError, InvalidInputError

__all__ = ["check_evaluation_mode", "check_hooks", "check_outputs", "check_scale", "ignores_hooks", "shapes_in_errors"]

# Errors that Captum and PyTorch raise if inputs, targets and outputs do not fit each other.
_CALL_ERRORS = (RuntimeError, ValueError, IndexError, AssertionError)
# Warn if inputs span more than 500 standard deviations of the noise and exceed 20, as pixels up to 255 do.
_LARGE_RANGE, _LARGE_VALUE = 500, 20
_OTHERWISE_IN_TRAINING = (nn.modules.batchnorm._BatchNorm, nn.modules.dropout._DropoutNd, nn.RReLU)


def check_evaluation_mode(reachable: Reachable) -> None:
    """Raise a CertificationError if a layer in training mode would make maps random or dependent on other rows."""
    for name, module in reachable.named_modules():
        if module.training and _differs_in_training(module):
            raise CertificationError(
                f"Expected the model in evaluation mode, got {_class_name(module)} {name!r} in training mode; "
                "call model.eval() first."
            )


def check_hooks(method: object, reachable: Reachable) -> None:
    """Raise a CertificationError if a method sets hooks on modules and a module ignores them."""
    setter = hook_setting_method(method)
    if setter is None:
        return
    for _, module in reachable.named_modules():
        if ignores_hooks(module):
            raise CertificationError(
                f"Expected a model of ordinary modules for {type(setter).__name__}, which sets hooks on them, got "
                f"{_class_name(module)}, which is scripted, exported or compiled and ignores hooks."
            )


def ignores_hooks(module: nn.Module) -> bool:
    """Return whether hooks have no effect: the module does not call its parts as modules, or runs outside Python."""
    if isinstance(module, fx.GraphModule):  # a graph that was traced with its modules, or exported as operators
        return any(isinstance(node.target, torch._ops.OpOverload) for node in module.graph.nodes)
    return isinstance(module, torch.jit.ScriptModule) or hasattr(module, "_orig_mod")


def check_scale(inputs: tuple[Tensor, ...], stdevs: tuple[float, ...]) -> None:
    """Raise an InvalidInputError for inputs that are not finite, and warn if noise is tiny compared to inputs."""
    for tensor, stdev in zip(inputs, stdevs, strict=True):
        if stdev == 0:
            continue
        low, high = float(tensor.min()), float(tensor.max())
        if not (math.isfinite(low) and math.isfinite(high)):
            raise InvalidInputError("Expected finite `inputs`, got NaN or infinity.")
        if high - low > _LARGE_RANGE * stdev and max(abs(low), abs(high)) > _LARGE_VALUE:
            warnings.warn(
                f"Inputs from {low:g} to {high:g} are sampled under noise of standard deviation {stdev:g}. `stdevs` "
                "and the radius are in the units of the inputs. Pixels are usually brought into [0, 1] first.",
                UserWarning,
                stacklevel=2,
            )


@contextmanager
def shapes_in_errors(inputs: tuple[Tensor, ...], *, hint: str = "") -> Iterator[None]:
    """Replace errors of the model by a CertificationError that names the shapes of the inputs, and add a hint.

    Out-of-memory errors and errors of this package pass unchanged.
    """
    try:
        yield
    except _CALL_ERRORS as error:
        if type(error) not in _CALL_ERRORS or is_out_of_memory(error):
            raise
        shapes = ", ".join(str(tuple(tensor.shape)) for tensor in inputs)
        raise CertificationError(
            f"Expected a model that takes `inputs` of shape {shapes}, whose first dimension is the batch, and that has "
            f"the `target`, but it raised {type(error).__name__}: {error}{hint}"
        ) from error


def check_outputs(outputs: object) -> None:
    """Raise a CertificationError unless the output of a model is a tensor, of which methods select an entry."""
    if isinstance(outputs, Tensor):
        return
    parts = dict(outputs) if isinstance(outputs, Mapping) else getattr(outputs, "__dict__", {})
    name = next((name for name, value in parts.items() if isinstance(value, Tensor)), None)
    if isinstance(outputs, Mapping):
        tensor = f"model(x)[{name!r}]"
    elif isinstance(outputs, (tuple, list)):
        tensor = "model(x)[0]"
    else:
        tensor = f"model(x).{name}" if name is not None else "model(x).logits"
    raise CertificationError(
        f"Expected a model that returns a tensor, got {type(outputs).__name__}. Wrap the model in a function "
        f"that returns a tensor, such as `lambda x: {tensor}`."
    )


def _differs_in_training(module: nn.Module) -> bool:
    if isinstance(module, (nn.RNNBase, nn.MultiheadAttention)):
        return module.dropout > 0
    if isinstance(module, nn.modules.instancenorm._InstanceNorm):
        return module.track_running_stats
    # All modules inside a scripted model have the same class, but each keeps the name of its original class.
    scripted = isinstance(module, torch.jit.ScriptModule)
    kind = getattr(nn, _class_name(module), type(module)) if scripted else type(module)
    return issubclass(kind, _OTHERWISE_IN_TRAINING)


def _class_name(module: nn.Module) -> str:
    return str(getattr(module, "original_name", type(module).__name__))
