"""Import modules that the command line names as package.module:callable, and parse arguments of callables."""

import importlib
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn

from captum_certified.exceptions import InvalidInputError
from captum_certified.storage import Json

__all__ = ["module_from_callable", "parsed_arguments"]

_CONSTANTS = {"True": True, "False": False, "None": None}


def module_from_callable(option: str, name: str, positional: list[Json], named: dict[str, Json]) -> nn.Module:
    """Return the torch module that ``package.module:callable`` is or returns, also from code in the working folder.

    Args:
        option: The option that names the callable, for messages.
        name: The text of the form package.module:callable.
        positional: Arguments of the callable.
        named: Keyword arguments of the callable.

    Raises:
        InvalidInputError: The callable is not found, or raises an error, or returns something else.
    """
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
        raise InvalidInputError(f"Expected `{option}` {name} to load, got {type(error).__name__}: {error}") from error
    if not isinstance(network, nn.Module):
        raise InvalidInputError(
            f"Expected `{option}` {name} to return a torch.nn.Module, got {type(network).__name__}."
        )
    return network


def parsed_arguments(texts: Sequence[str]) -> tuple[list[Json], dict[str, Json]]:
    """Return the positional arguments, and as keyword arguments the texts of the form NAME=VALUE.

    A value is read as a constant of Python or as JSON. If it is neither, it is kept as text.
    """
    positional: list[Json] = []
    named: dict[str, Json] = {}
    for text in texts:
        keyword = re.match(r"([A-Za-z_]\w*)=(.*)$", text, re.DOTALL)
        if keyword:
            named[keyword[1]] = _value(keyword[2])
        else:
            positional.append(_value(text))
    return positional, named


def _value(text: str) -> Json:
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    try:
        value: Json = json.loads(text)
    except ValueError:
        return text
    return value
