"""Wrappers that add types to functions of Captum. No other module imports Captum's private modules."""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias, TypeVar, cast

from captum._utils import common as _common
from captum._utils.progress import NullProgress, Progress, progress
from captum._utils.typing import BaselineType, TargetType
from captum.log import log_usage as _log_usage
from torch import Tensor

from captum_certified.exceptions import InvalidInputError

__all__ = [
    "MethodArguments",
    "Progress",
    "Target",
    "advance_progress",
    "as_tuple",
    "describe_progress",
    "drawn_baselines",
    "log_usage",
    "progress_bar",
    "run_forward",
    "selected_outputs",
]

# The keyword arguments of a Captum method. Their names and types differ between methods.
MethodArguments: TypeAlias = Mapping[str, Any]
# The output to explain: a target as in Captum, or "argmax".
Target: TypeAlias = TargetType | str

Function = TypeVar("Function", bound=Callable[..., Any])


def log_usage(function: Function) -> Function:
    """Decorate a function with Captum's usage logging.

    The decorator sets ``__wrapped__``, which wrappers such as NoiseTunnel read.
    """
    return cast(Function, _log_usage()(function))


def as_tuple(tensors: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Return a tuple as it is, and a single tensor as a tuple of one."""
    return tensors if isinstance(tensors, tuple) else (tensors,)


def drawn_baselines(baselines: BaselineType, inputs: tuple[Tensor, ...], draws: int) -> BaselineType:
    """Choose a random baseline for every draw of every example, as ``draw_baseline_from_distrib`` does in Captum."""
    arguments = {"baselines": baselines}
    _common._expand_and_update_baselines(inputs, draws, arguments, draw_baseline_from_distrib=True)
    return arguments["baselines"]


def run_forward(
    forward_func: Callable[..., Tensor], inputs: tuple[Tensor, ...], arguments: MethodArguments
) -> Any:  # the callers check what a model returns
    """Return the model's output for ``inputs`` and the ``additional_forward_args`` among ``arguments``."""
    return _common._run_forward(forward_func, inputs, None, arguments.get("additional_forward_args"))


def selected_outputs(
    forward_func: Callable[..., Tensor],
    inputs: Tensor | tuple[Tensor, ...],
    target: TargetType,
    additional_forward_args: Any,
) -> Tensor:
    """Return the output that ``target`` selects in every row: the output that Captum's methods differentiate.

    Raises:
        InvalidInputError: ``target`` does not select exactly one output of each row.
    """
    outputs = cast(Tensor, _common._run_forward(forward_func, inputs, target, additional_forward_args))
    if outputs[0].numel() != 1:
        raise InvalidInputError(
            f"Expected `target` to select one output of each row, got {target!r} and outputs of shape "
            f"{tuple(outputs.shape)}."
        )
    return outputs


def progress_bar(*, total: int | None, description: str, show: bool) -> Progress:
    """Return Captum's progress bar on stderr, or a progress bar that shows nothing if ``show`` is false."""
    return progress(desc=description, total=total) if show else NullProgress()


def advance_progress(bar: Progress, amount: int) -> None:
    """Move a progress bar on by ``amount``."""
    bar.update(amount)


def describe_progress(bar: Progress, description: str) -> None:
    """Change the description of a progress bar. A bar that shows nothing has no description."""
    if hasattr(bar, "set_description"):
        bar.set_description(description)
