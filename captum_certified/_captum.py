"""The only door to Captum's private modules; everything here keeps Captum's meaning and adds types."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar, cast

from captum._utils import common as _common
from captum._utils.progress import NullProgress, progress
from captum.log import log_usage as _log_usage
from torch import Tensor

from captum_certified.exceptions import InvalidInputError

__all__ = [
    "as_tuple",
    "describe_progress",
    "expand_arguments",
    "log_usage",
    "progress_bar",
    "run_forward",
    "selected_outputs",
]

Function = TypeVar("Function", bound=Callable[..., Any])


def log_usage(function: Function) -> Function:
    """Captum's usage logging, typed; wrappers such as NoiseTunnel rely on the ``__wrapped__`` it leaves."""
    return cast(Function, _log_usage()(function))


def as_tuple(tensors: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """A single tensor as a tuple of one."""
    return tensors if isinstance(tensors, tuple) else (tensors,)


def expand_arguments(
    arguments: Mapping[str, Any],
    inputs: tuple[Tensor, ...],
    draws: int,
    *,
    draw_baseline_from_distrib: bool = False,
) -> dict[str, Any]:
    """Repeat per-example arguments of a Captum method for every draw, in the order of NoiseTunnel.

    Baselines whose first dimension is neither 1 nor the batch are a reference distribution and stay whole,
    unless one of them is to be drawn for every row.
    """
    expanded = dict(arguments)
    _common._expand_and_update_additional_forward_args(draws, expanded)
    _common._expand_and_update_target(draws, expanded)
    _common._expand_and_update_feature_mask(draws, expanded)
    if draw_baseline_from_distrib or not _is_distribution(expanded.get("baselines"), len(inputs[0])):
        _common._expand_and_update_baselines(
            inputs, draws, expanded, draw_baseline_from_distrib=draw_baseline_from_distrib
        )
        if isinstance(expanded.get("baselines"), tuple) and not isinstance(arguments["baselines"], tuple):
            expanded["baselines"] = expanded["baselines"][0]
    return expanded


def _is_distribution(baselines: Any, rows: int) -> bool:
    if callable(baselines):
        return True
    return any(
        isinstance(b, Tensor) and b.dim() > 0 and len(b) not in (1, rows) for b in _common._format_inputs(baselines)
    )


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
