"""Pages that are written from the code whenever the documentation is built.

``api/commands`` has a page for each command of the program, from its parser. ``api/names`` has a page for each name
that is imported from ``captum_certified`` itself. ``_static/sample_report.html`` is the report that the gallery shows.
"""

import argparse
import inspect
import re
from functools import cached_property
from pathlib import Path

from captum.attr import Saliency

import captum_certified
from captum_certified import Certifier, SparsifiedSmoothGrad
from captum_certified.cli.options import HelpFormatter
from captum_certified.cli.program import build_parser
from captum_certified.demo import load_digits, train_classifier
from captum_certified.visualization import report

PROGRAM = "captum-certified"


def write_pages(docs: Path) -> None:
    """Write all pages, and delete the pages of commands and names that no longer exist."""
    write_folder(docs / "api" / "commands", command_pages())
    write_folder(docs / "api" / "names", name_pages())
    write_sample_report(docs / "_static" / "sample_report.html")


def write_sample_report(path: Path) -> None:
    """Write the report of a certificate of a digit."""
    digits = load_digits()
    images, labels = digits.test_images[:1], digits.test_labels[:1]
    explainer = SparsifiedSmoothGrad(Saliency(train_classifier(digits, sigma=0.25, seed=0)), tau=0.2)
    certificate = Certifier(explainer).certify(
        images, target=labels, k=0.2, radius=0.2, nt_samples=1024, stdevs=0.25, seed=0
    )
    names = [f"the digit {number}" for number in range(10)]
    report(certificate, path, image=images, label="A digit", class_names=names, stored="certificate.npz")


def write_folder(folder: Path, pages: dict[str, str]) -> None:
    """Write files into a folder. Unchanged files are left alone, so that Sphinx does not read them again."""
    folder.mkdir(exist_ok=True)
    for name, text in pages.items():
        path = folder / name
        if not path.is_file() or path.read_text() != text:
            path.write_text(text)
    for path in folder.iterdir():
        if path.name not in pages:
            path.unlink()


def titled(title: str, underline: str = "=") -> str:
    """Return a title of reStructuredText."""
    return f"{title}\n{underline * len(title)}\n"


# -- commands ------------------------------------------------------------------------------------------------------


def commands() -> dict[str, tuple[str, argparse.ArgumentParser]]:
    """Return the summary and the parser of every command."""
    [action] = [each for each in build_parser()._actions if isinstance(each, argparse._SubParsersAction)]
    return {each.dest: (each.help or "", action.choices[each.dest]) for each in action._choices_actions}


def command_pages() -> dict[str, str]:
    """Return the page of every command, and the table of all commands."""
    found = commands()
    table = ".. list-table::\n   :widths: 20 80\n\n"
    for name, (about, _) in found.items():
        table += f"   * - :doc:`{name} </api/commands/{name}>`\n     - {escaped(about)}\n"
    return {"table.inc": table, **{f"{name}.rst": command_page(name, parser) for name, (_, parser) in found.items()}}


def command_page(name: str, parser: argparse.ArgumentParser) -> str:
    """Return the page of a command: what it does, its arguments and options by group, and what to keep in mind."""
    title = f"{PROGRAM} {name}"
    parts = [titled(title), f".. program:: {title}\n", f"{escaped(parser.description or '')}\n"]
    parts.append(f".. code-block:: text\n\n   {usage(title, parser)}\n")
    for group in parser._action_groups:
        shown = [action for action in group._group_actions if action.dest != "help"]
        if shown:
            parts += [titled((group.title or "").capitalize(), "-"), *map(option, shown)]
    if parser.epilog:
        parts += [titled("What a certificate of this command is about", "-"), f"{escaped(parser.epilog)}\n"]
    return "\n".join(parts)


def usage(title: str, parser: argparse.ArgumentParser) -> str:
    """Return a call of a command with its arguments and the options that it requires."""
    words, formatter = [title], HelpFormatter(PROGRAM)
    for action in sorted(parser._actions, key=lambda action: bool(action.option_strings)):
        value = formatter._format_args(action, action.dest.upper())
        if not action.option_strings:
            words.append(value)
        elif action.required:
            words.append(f"{action.option_strings[-1]} {value}")
    return " ".join([*words, "[options]"])


def option(action: argparse.Action) -> str:
    """Return the entry of an argument or option, with its default if that says anything."""
    formatter = HelpFormatter(PROGRAM)
    text, given, default = formatter._expand_help(action).partition(" (default: ")
    parts = [f"Default: {escaped(default.removesuffix(')'))}."] if given else []
    names = formatter._format_action_invocation(action)
    if action.choices and not action.metavar:
        names, listed = names.partition("{")[0].rstrip() or action.dest, ", ".join(f"``{c}``" for c in action.choices)
        parts.insert(0, f"One of {listed}.")
    about = escaped(text[:1].upper() + text[1:]).rstrip(".") + "."
    return f".. option:: {names}\n\n   {' '.join([about, *parts])}\n"


def escaped(text: str) -> str:
    """Return plain text as reStructuredText, with the names of options as code."""
    text = re.sub(r"([\\*`|])", r"\\\1", " ".join(text.split()))
    text = re.sub(r"(\w)_(?!\w)", r"\1\\_", text)
    return re.sub(r"(?<![\w`-])(--?[a-z][\w-]*)", r"``\1``", text)


# -- names ---------------------------------------------------------------------------------------------------------


def name_pages() -> dict[str, str]:
    """Return the page of every public name of the package itself.

    Names of functions get an ending, because some file systems do not distinguish ``pilot`` from ``Pilot``.
    """
    names = [name for name in captum_certified.__all__ if name != "__version__"]
    classes = {name: inspect.isclass(getattr(captum_certified, name)) for name in names}
    return {f"{name}{'' if is_class else '-function'}.rst": name_page(name) for name, is_class in classes.items()}


def name_page(name: str) -> str:
    """Return the page of a class, with a table of its methods and properties, or of a function."""
    value = getattr(captum_certified, name)
    if not inspect.isclass(value):
        return f"{titled(name)}\n.. autofunction:: captum_certified.{name}\n"
    parts, members = [titled(name), ".. currentmodule:: captum_certified\n"], own_members(value)
    if members:
        parts.append(autosummary([f"~{name}.{member}" for member in members]))
    above = [base.__name__ for base in value.__mro__[1:] if base.__name__ in captum_certified.__all__]
    if above:
        links = " and ".join(f":class:`{base}`" for base in above)
        parts.append(f"It also has the methods and attributes of {links}.\n")
    parts.append(f".. autoclass:: {name}\n   :members:\n")
    return "\n".join(parts)


def own_members(kind: type) -> list[str]:
    """Return the documented public methods and properties that a class defines itself."""
    kinds = (property, cached_property, staticmethod, classmethod)
    return [
        name
        for name, value in vars(kind).items()
        if not name.startswith("_") and (inspect.isfunction(value) or isinstance(value, kinds)) and value.__doc__
    ]


def autosummary(names: list[str]) -> str:
    """Return a table of names with the first sentences of their docstrings."""
    return ".. autosummary::\n   :nosignatures:\n\n" + "".join(f"   {name}\n" for name in names)
