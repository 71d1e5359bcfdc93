"""Names of the classes of a model, which texts, records and figures show beside the class numbers."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from captum_certified.exceptions import InvalidInputError

if TYPE_CHECKING:
    from captum_certified.storage import Json

__all__ = ["class_named", "class_title", "load_class_names", "named"]

_LONGEST = 26  # characters that fit above a panel


def load_class_names(path: Path) -> tuple[str, ...]:
    """Read names of classes, in the order of the model's outputs.

    Args:
        path: A text file with one name a line, a JSON list of names, or a JSON object with the numbers of the classes
            as keys. A name may also be a list of texts, such as an identifier and a name. The last text is then the
            name.

    Raises:
        InvalidInputError: The file has no names, an empty name, or does not name every class from 0.
        OSError: The file cannot be opened.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidInputError(
            f"Expected `--class-names` {path} to be a text or JSON file, got another kind."
        ) from error
    names = [_printable(name) for name in _listed(text, path)]
    if not names or not all(names):
        where = f"an empty one for class {names.index('')}" if names else "none"
        raise InvalidInputError(f"Expected `--class-names` {path} to have a name for every class, got {where}.")
    return tuple(names)


def class_named(number: int, names: Sequence[str] | None) -> str:
    """Return the words for a class, such as ``class 281 (tabby)``, or ``class 281`` without names."""
    if names is None or number >= len(names):  # a class that the model lacks is refused later, when it is explained
        return f"class {number}"
    return f"class {number} ({names[number]})"


def class_title(number: int, names: Sequence[str]) -> str:
    """Return :func:`class_named` as the title of a panel, in two lines. A long name is cut."""
    name = names[number]
    return f"class {number}\n({name if len(name) <= _LONGEST else f'{name[: _LONGEST - 1]}…'})"


def named(classes: "Mapping[str, Json]", names: Sequence[str] | None) -> "dict[str, Json]":
    """Return the names of classes as entries of a record. A name's key is the number's key plus ``_name``.

    Args:
        classes: Numbers of classes by their keys. A value that is not a number gets no name.
        names: The names, or ``None`` if they are unknown.
    """
    known = names or ()
    return {f"{key}_name": known[n] for key, n in classes.items() if isinstance(n, int) and 0 <= n < len(known)}


def _listed(text: str, path: Path) -> list[str]:
    given: Json = None
    if text.lstrip().startswith(("[", "{")):
        try:
            given = json.loads(text)
        except ValueError as error:
            if path.suffix == ".json":
                raise InvalidInputError(f"Expected `--class-names` {path} to be JSON, got {error}.") from error
    if isinstance(given, dict):
        numbers = [str(number) for number in range(len(given))]
        if set(given) != set(numbers):
            raise InvalidInputError(
                f'Expected `--class-names` {path} to have the keys "0" to "{len(given) - 1}", got '
                f"{sorted(set(given) - set(numbers))[0]!r}."
            )
        given = [given[number] for number in numbers]
    if not isinstance(given, list):
        return text.strip().splitlines()
    return [str(name[-1] if isinstance(name, list) and name else name) for name in given]


def _printable(name: str) -> str:
    """Return a name in one line, without characters that control a terminal."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in name).split())
