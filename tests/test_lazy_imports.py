"""Importing the package and asking the program for help load neither PyTorch nor Captum."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import captum_certified
from captum_certified import robust
from captum_certified.cli.program import _COMMANDS

SOURCE = Path(captum_certified.__file__)
HEAVY = ("torch", "torchvision", "captum", "numpy", "scipy", "matplotlib")


def loaded_by(program):
    """The heavy packages that a program loads in a process of its own."""
    told = f"{program}\nimport sys\nprint([name for name in {HEAVY} if name in sys.modules], file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True)  # noqa: S603
    return ast.literal_eval(done.stderr)


def test_help_and_version_load_nothing_heavy():
    commands = [command.__name__.rpartition(".")[2].replace("_", "-") for command in _COMMANDS]
    calls = [["--help"], ["--version"], *([command, "--help"] for command in commands)]
    program = f"from captum_certified.cli import main\nfor words in {calls}:\n    assert main(words) == 0"
    assert loaded_by(program) == []


def test_names_are_imported_when_they_are_used():
    assert loaded_by("import captum_certified\ndir(captum_certified)\ncaptum_certified.__version__") == []
    assert loaded_by("from captum_certified import InvalidInputError") == []
    assert "torch" in loaded_by("from captum_certified import Certifier")
    assert "torch" in loaded_by("import captum_certified\nassert captum_certified.robust.InterpretationAttack")


def test_every_name_is_imported_from_the_module_that_type_checkers_see():
    [block] = [node for node in ast.parse(SOURCE.read_text()).body if isinstance(node, ast.If) and not node.orelse][:1]
    seen = {
        node.module.removeprefix("captum_certified."): tuple(alias.name for alias in node.names) for node in block.body
    }
    assert seen == captum_certified._NAMES_OF
    assert sorted([*sum(seen.values(), ()), "__version__"]) == sorted(captum_certified.__all__)
    assert set(captum_certified.__all__) <= set(dir(captum_certified))


def test_modules_are_attributes_and_other_names_are_errors():
    assert captum_certified.robust is robust
    with pytest.raises(AttributeError, match="module 'captum_certified' has no attribute 'Certifyer'"):
        _ = captum_certified.Certifyer
    with pytest.raises(ImportError, match="cannot import name 'Certifyer'"):
        exec("from captum_certified import Certifyer")  # noqa: S102
    assert not hasattr(captum_certified, "__main__")
