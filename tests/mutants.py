"""Break every line of the theory in small ways, and check whether its tests notice.

Comparisons become strict or are no longer strict, integers move by one, lower and upper ends change places, factors of
two are dropped, and a level α is halved or doubled. A mutant that passes all tests is printed, unless
``surviving_mutants.json`` says why it is harmless.

Tests run in forks of a process that has imported everything but the package itself.
"""

import argparse
import ast
import copy
import importlib
import importlib.abc
import importlib.util
import io
import json
import os
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

ROOT = Path(__file__).parents[1]
THEORY = ROOT / "captum_certified" / "theory"
TESTS = ROOT / "tests" / "theory"
REASONS = ROOT / "tests" / "surviving_mutants.json"
SECONDS = 240
_PASSED = (0, 5)  # 5: there are no examples
_STRICT = {ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt}
_SWAPPED = {"lower": "upper", "upper": "lower", "minimum": "maximum", "maximum": "minimum", "min": "max", "max": "min"}
_LEVELS = {"alpha", "tail", "log"}


def mutants(source: str) -> Iterator[tuple[str, str]]:
    """Names and sources of all mutants of a module: the line, what becomes of it, and which of several that is."""
    tree, lines, seen = ast.parse(source), source.splitlines(), Counter()
    for number, node in enumerate(ast.walk(tree)):
        for what, change in _changes(node):
            mutated = copy.deepcopy(tree)
            target = next(n for i, n in enumerate(ast.walk(mutated)) if i == number)
            change(target)
            text = ast.unparse(ast.fix_missing_locations(mutated))
            name = f"{lines[node.lineno - 1].strip()} | {what}"
            seen[name] += 1
            yield name + (f" ({seen[name]})" if seen[name] > 1 else ""), text


def _changes(node):
    """What can be done to a node, as descriptions and functions that do it to its copy."""
    if isinstance(node, ast.Compare):
        for place, operator in enumerate(node.ops):
            if type(operator) in _STRICT:
                other = _STRICT[type(operator)]
                yield (
                    f"{ast.unparse(node)} with {other.__name__}",
                    lambda n, place=place, other=other: n.ops.__setitem__(place, other()),
                )
    if isinstance(node, ast.Constant) and type(node.value) is int:
        for step in (1, -1):
            yield f"{node.value} becomes {node.value + step}", lambda n, step=step: setattr(n, "value", n.value + step)
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
        if node.id in _SWAPPED:
            yield f"{node.id} becomes {_SWAPPED[node.id]}", lambda n: setattr(n, "id", _SWAPPED[n.id])
        if node.id in _LEVELS:
            for factor in (0.5, 2.0):
                yield f"{node.id} times {factor}", lambda n, factor=factor: _scaled(n, factor)
    if isinstance(node, ast.Attribute) and node.attr in _SWAPPED:
        yield f"{ast.unparse(node)} becomes {_SWAPPED[node.attr]}", lambda n: setattr(n, "attr", _SWAPPED[n.attr])
    if isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Mult, ast.Div)):
        for side, other in (("left", "right"), ("right", "left")):
            constant = getattr(node, side)
            divided = isinstance(node.op, ast.Div) and side == "left"
            if isinstance(constant, ast.Constant) and constant.value == 2 and not divided:
                yield (
                    f"{ast.unparse(node)} without its factor",
                    lambda n, side=side, other=other: setattr(n, side, ast.Constant(1.0)),
                )


def _scaled(node, factor):
    name = node.id
    node.__class__ = ast.BinOp
    node.__dict__.pop("id")
    node.left, node.op, node.right = ast.Name(name, ast.Load()), ast.Mult(), ast.Constant(factor)


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Loads one module from a source of ours."""

    def __init__(self, name, path, source):
        self.name, self.path, self.source = name, path, source

    def find_spec(self, fullname, path, target=None):
        return importlib.util.spec_from_loader(fullname, self, origin=self.path) if fullname == self.name else None

    def exec_module(self, module):
        module.__file__ = self.path
        exec(compile(self.source, self.path, "exec"), module.__dict__)  # noqa: S102


def survives(module: Path, source: str) -> bool:
    """Whether all tests of the theory pass with a mutated module."""
    child = os.fork()
    if child == 0:
        signal.alarm(SECONDS)
        name = f"captum_certified.theory.{module.stem}"
        sys.meta_path.insert(0, _Finder(name, str(module), source))
        try:  # now, or pytest would load the file itself for the examples in it
            importlib.import_module(name)
        except Exception:  # noqa: BLE001  a mutant that cannot be imported is noticed
            os._exit(1)
        os.chdir(ROOT)
        sink = io.StringIO()
        import pytest

        with redirect_stdout(sink), redirect_stderr(sink):
            # Most fall to the examples and tests of their own module or to the properties, far sooner than to all.
            stages = (module, TESTS / f"test_{module.stem}.py", TESTS / "test_properties.py", TESTS)
            quiet = ["-x", "-q", "-n", "0", "-p", "no:cacheprovider"]
            failed = any(pytest.main([*quiet, str(stage)]) not in _PASSED for stage in stages if stage.exists())
        os._exit(1 if failed else 0)
    _, status = os.waitpid(child, 0)
    return status == 0


def main() -> int:
    """Print the mutants that survive without a reason."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("modules", nargs="*", metavar="MODULE", help="names of modules of the theory; all by default")
    parser.add_argument("--out", type=Path, help="JSON of what is known already, which is not asked again")
    arguments = parser.parse_args()
    import captum  # noqa: F401  what takes long to import, and is not mutated
    import pytest  # noqa: F401
    import scipy.stats  # noqa: F401
    import torch

    torch.set_num_threads(1)
    known = json.loads(arguments.out.read_text()) if arguments.out and arguments.out.exists() else {}
    reasons = json.loads(REASONS.read_text())
    unchanged = THEORY / "shift.py"
    if not survives(unchanged, unchanged.read_text()):
        parser.error("The tests of the theory fail as it is.")
    unexplained = 0
    for path in sorted(THEORY.glob("*.py")):
        if path.stem == "__init__" or (arguments.modules and path.stem not in arguments.modules):
            continue
        for name, source in mutants(path.read_text()):
            key = f"{path.stem}: {name}"
            if key not in known:
                known[key] = survives(path, source)
                if arguments.out:
                    arguments.out.write_text(json.dumps(known, indent=1, ensure_ascii=False))
            if known[key] and key not in reasons:
                unexplained += 1
                print(key, flush=True)
    print(f"{sum(known.values())} of {len(known)} mutants survive, {unexplained} of them without a reason.")
    return int(unexplained > 0)


if __name__ == "__main__":
    sys.exit(main())
