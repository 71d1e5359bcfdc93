"""Output of the commands: early checks of output paths, JSON, and the lines printed after all certificates."""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from captum_certified.exceptions import InvalidInputError

if TYPE_CHECKING:
    from captum_certified.storage import Json

__all__ = [
    "check_folder",
    "check_json",
    "compared",
    "conditions_of",
    "set_of",
    "text_stream",
    "units_of",
    "write_json",
]

STDOUT = "-"


def check_folder(path: Path) -> None:
    """Refuse, before any computation, a folder of results that cannot be created.

    Raises:
        InvalidInputError: ``path``, or a folder above it, is a file.
    """
    for folder in (path, *path.parents):
        if folder.exists() and not folder.is_dir():
            raise InvalidInputError(f"Expected `--out` to be a folder, got {path}, but {folder} is a file.")


def check_json(destination: str | None) -> None:
    """Refuse, before any computation, a JSON file that cannot be written.

    Raises:
        InvalidInputError: ``destination`` is a folder, or in a folder that does not exist.
    """
    if destination in (None, STDOUT):
        return
    path = Path(destination)
    if path.is_dir() or not path.parent.is_dir():
        raise InvalidInputError(f"Expected `--json` to be a file in a folder that exists, got {destination}.")


def write_json(value: "Json", destination: str | None) -> None:
    """Write JSON to a file, to standard output for ``-``, or nowhere for ``None``."""
    from captum_certified.storage import atomic_write

    if destination is None:
        return
    text = json.dumps(value, indent=2) + "\n"
    if destination == STDOUT:
        sys.stdout.write(text)
    else:
        with atomic_write(destination) as file:
            file.write(text.encode())


def text_stream(destination: str | None) -> TextIO:
    """Return the stream for text: standard output, or standard error if the JSON is written to standard output."""
    return sys.stderr if destination == STDOUT else sys.stdout


def conditions_of(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return lines, each only once, that say what the certificates hold fixed and what exactly they are about.

    Args:
        records: Certificates and failures as JSON values.
    """
    from captum_certified.certify.conditions import held_fixed

    certified = [record for record in records if "error" not in record]
    fixed = [held_fixed(record["setup"].get("target"), record["stdevs"]) for record in certified]
    behind = [
        f"Explained is the model behind the denoiser {record['denoiser']}, both as one function. Nothing is certified "
        "about the model without it."
        for record in certified
        if "denoiser" in record
    ]
    return list(dict.fromkeys([*fixed, *behind, *_about_method(certified)]))


def _about_method(certified: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield lines about the explained layer, and about the sign of the attributions that count."""
    for record in certified:
        layer, sign = record.get("method_options", {}).get("layer"), record["setup"].get("sign")
        if layer is not None:
            yield f"The explained layer is {layer}."
        if sign is not None:
            yield f"Only {sign} attributions count (--sign {sign})."


def set_of(record: Mapping[str, Any]) -> str:
    """Name the set of features that a certificate is about.

    Args:
        record: A certificate of one example as JSON values.
    """
    size = record["reference_size"][0]
    named = {"own": f"the smoothed map's top {record['k']} features", "plain": f"the plain map's top {size} features"}
    return named.get(record["reference"], f"the {size} features of the reference")


def compared(record: Mapping[str, Any]) -> str:
    """Return, in brackets, the overlaps of chance, brightness and random weights with a set, and the margin.

    Args:
        record: A certificate of one example as JSON values, or its entry ``of_plain``.
    """
    from captum_certified.certify.written_numbers import ceiled_percent

    known = (("chance", "chance"), ("brightness", "brightness"), ("randomised", "random weights"))
    reached = {name: round(record[key][0], 12) for key, name in known if record[key] is not None}
    others = [f"{ceiled_percent(share)}% by {name}" for name, share in reached.items()]
    others += ["random weights unknown"] if record["randomised"] is None else []
    return f"({', '.join(others)}: margin {100 * record['margin'][0]:+.1f} points)"


def units_of(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a line that compares the radius with familiar changes of an image, if the records have such sizes.

    Args:
        records: Certificates and failures as JSON values.
    """
    import torch

    from captum_certified.images.everyday_units import EverydayUnits

    sizes = [(record["radius"], record["everyday_units"]) for record in records if "everyday_units" in record]
    if not sizes:
        return []
    radius, first = sizes[0]
    each = {name: torch.tensor([units[name] for _, units in sizes], dtype=torch.float64) for name in ("jpeg", "shift")}
    return [str(EverydayUnits(radius, first["grey_levels"], first["rounding"], **each))]
