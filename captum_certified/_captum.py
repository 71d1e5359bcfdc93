"""The only door to Captum's private modules; everything here keeps Captum's meaning and adds types."""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias, TypeVar, cast

from captum._utils import common as _common
from captum._utils.progress import NullProgress, progress
from captum._utils.typing import TargetType
from captum.log import log_usage as _log_usage
from torch import Tensor

from captum_certified.exceptions import InvalidInputError

__all__ = [
    "MethodArguments",
    "Target",
    "as_tuple",
    "describe_progress",
    "drawn_baselines",
    "log_usage",
    "progress_bar",
    "run_forward",
    "selected_outputs",
]

# The keyword arguments of a Captum method, whose types are its own.
MethodArguments: TypeAlias = Mapping[str, Any]
# What selects an output, as in Captum, or "argmax".
Target: TypeAlias = TargetType | str

Function = TypeVar("Function", bound=Callable[..., Any])


def log_usage(function: Function) -> Function:
    """Captum's usage logging, typed; wrappers such as NoiseTunnel rely on the ``__wrapped__`` it leaves."""
    return cast(Function, _log_usage()(function))


def as_tuple(tensors: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """A single tensor as a tuple of one."""
    return tensors if isinstance(tensors, tuple) else (tensors,)


def drawn_baselines(baselines: Any, inputs: tuple[Tensor, ...], draws: int) -> tuple[Any, ...]:
    """One of the baselines for every row, drawn as NoiseTunnel's ``draw_baseline_from_distrib`` does."""
    arguments = {"baselines": baselines}
    _common._expand_and_update_baselines(inputs, draws, arguments, draw_baseline_from_distrib=True)
    return cast(tuple[Any, ...], arguments["baselines"])


def run_forward(forward_func: Callable[..., Any], inputs: tuple[Tensor, ...], arguments: Mapping[str, Any]) -> Any:
    """The model's output for ``inputs`` and the ``additional_forward_args`` among ``arguments``."""
    return _common._run_forward(forward_func, inputs, None, arguments.get("additional_forward_args"))


def selected_outputs(
    forward_func: Callable[..., Any], inputs: Any, target: Any, additional_forward_args: Any
) -> Tensor:
    """The output of every row that ``target`` selects, as Captum's methods differentiate it."""
    outputs = cast(Tensor, _common._run_forward(forward_func, inputs, target, additional_forward_args))
    if outputs[0].numel() != 1:
        raise InvalidInputError(
            f"Expected `target` to select one output of each row, got {target!r} and outputs of shape "
            f"{tuple(outputs.shape)}."
        )
    return outputs


def progress_bar(*, total: int | None, description: str, show: bool) -> Any:
    """Captum's progress bar on stderr, or one that shows nothing."""
    return progress(desc=description, total=total) if show else NullProgress()


def describe_progress(bar: Any, description: str) -> None:
    """Change the description of a progress bar; one that shows nothing has none."""
    if hasattr(bar, "set_description"):
        bar.set_description(description)
