"""The settings that determine a result, as JSON values, and what differs between two sets of them."""

import functools
import json
import re
from collections.abc import Iterator, Mapping
from types import CellType, CodeType, FunctionType
from typing import Any

from torch import Tensor

from captum_certified.attr import SmoothedAttribution
from captum_certified.attr.request import SamplingRequest
from captum_certified.attr.setup import setup_of
from captum_certified.attr.soundness import reachable_modules, reachable_tensors, wrapped_chain
from captum_certified.smoothing import Regions, digest

__all__ = ["differences", "explanation_settings", "json_digest", "sampling_settings"]

_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
_DIGEST = re.compile(r"[0-9a-f]{16,}")
_EMPTY = CellType()  # of a name that has no value yet
_OPTIONS = (bool, int, float, str, type(None), list, tuple, Tensor)


def explanation_settings(explainer: SmoothedAttribution) -> dict[str, Any]:
    """What the setup of a map does not tell: the method's options, the model's architecture and all of its weights.

    Args:
        explainer: The explainer.

    Returns:
        JSON values.
    """
    method = explainer.attribution_method
    modules = list(reachable_modules(method))
    tensors = reachable_tensors(method)
    return {
        "options": [
            {name: _option(value) for name, value in sorted(vars(inner).items()) if isinstance(value, _OPTIONS)}
            for inner in wrapped_chain(method)
        ],
        "layers": [_layer_name(inner) for inner in wrapped_chain(method)],
        "architecture": digest([_ADDRESS.sub("", repr(module)) for module in modules])[:32] if modules else None,
        "weights": digest(tensors)[:32] if tensors else None,
        "function": _code(getattr(explainer, "forward_func", None)),
    }


def sampling_settings(
    explainer: SmoothedAttribution, request: SamplingRequest, explanation: Mapping[str, Any]
) -> dict[str, Any]:
    """Everything but the seed that determines the draws of one example.

    Versions of packages and the size of passes are no settings: a result keeps them, and stays valid when they change.

    Args:
        explainer: The explainer.
        request: The call.
        explanation: Its :func:`explanation_settings`.

    Returns:
        JSON values.
    """
    setup = setup_of(type(explainer).__name__, explainer.per_draw_map, explainer.attribution_method, request)
    for incidental in ("versions", "nt_samples_batch_size"):
        del setup[incidental]
    return {
        **setup,
        **explanation,
        "device": request.inputs[0].device.type,
        "nt_samples": request.plan.n_samples,
        "stdevs": list(request.plan.stdevs),
        "covariance": request.covariance,
        "region": _region_digest(request.region),
        "draw_baseline_from_distrib": request.draw_baseline_from_distrib,
    }


def differences(stored: Any, wanted: Any, name: str = "") -> Iterator[str]:
    """A few words for every setting that differs.

    Args:
        stored: Settings of a file, perhaps of another version.
        wanted: Settings of this run.
        name: What they are the value of.
    """
    if isinstance(stored, dict) and isinstance(wanted, dict):
        for key in sorted(stored.keys() | wanted.keys()):
            yield from differences(stored.get(key), wanted.get(key), key)
    elif json.dumps(stored, sort_keys=True) != json.dumps(wanted, sort_keys=True):  # 1 is a count, 1.0 a fraction
        readable = all(_is_readable(value) for value in (stored, wanted))
        yield f"{name} was {stored!r} and is {wanted!r}" if readable else f"{name} is another"


def json_digest(values: Mapping[str, Any]) -> str:
    """SHA-256 of JSON values, whatever their order."""
    return digest(json.dumps(values, sort_keys=True))


def _is_readable(value: Any) -> bool:
    return not isinstance(value, (list, dict)) and not (isinstance(value, str) and _DIGEST.fullmatch(value))


def _option(value: Any) -> Any:
    """An option of a method as a JSON value."""
    return digest(value)[:32] if isinstance(value, (list, tuple, Tensor)) else value


def _code(function: Any) -> str | None:
    """Identifies what a plain function does by its code and what it holds; ``None`` for anything else."""
    if isinstance(function, functools.partial):
        return digest(_code(function.func), _held(function.args), _held(function.keywords))[:32]
    code = getattr(function, "__code__", None)
    if code is None:
        return None
    cells = [cell.cell_contents for cell in function.__closure__ or () if cell != _EMPTY]
    return digest(_bytes_of(code), _held(function.__defaults__), _held(function.__kwdefaults__), _held(cells))[:32]


def _bytes_of(code: CodeType) -> tuple[Any, ...]:
    """What a code object does, wherever it is written: that of functions within it as well."""
    constants = [_bytes_of(item) if isinstance(item, CodeType) else repr(item) for item in code.co_consts]
    return code.co_code, constants, code.co_names


def _held(values: Any) -> Any:
    """Values that a function holds; of functions among them the code."""
    if isinstance(values, Mapping):
        return {name: _held(value) for name, value in values.items()}
    if isinstance(values, (list, tuple)):
        return [_held(value) for value in values]
    return _bytes_of(values.__code__) if isinstance(values, FunctionType) else values


def _layer_name(method: object) -> str | None:
    """The name of the layer that a method explains, in its model."""
    layer, model = getattr(method, "layer", None), getattr(method, "forward_func", None)
    named = getattr(model, "named_modules", None)
    if layer is None or named is None:
        return None
    return next((name for name, module in named() if module is layer), None)


def _region_digest(region: Regions) -> str | None:
    if region is None:
        return None
    masks: Tensor | tuple[Tensor, ...] | dict[str, Any]
    masks = {str(name): mask for name, mask in region.items()} if isinstance(region, Mapping) else region
    return digest(masks)[:32]
