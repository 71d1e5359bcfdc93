"""Rules of the package's code: its types, the size of modules and functions, and no circular imports."""

import ast
import re
import tokenize
from collections import Counter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "captum_certified"
MODULES = sorted(PACKAGE.rglob("*.py"))
SHORT_BY_NATURE = ("__init__.py", "__main__.py", "exceptions.py")


def module_name(path):
    """The name by which a module is imported."""
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


# -- types ---------------------------------------------------------------------------------------------------------

COUNTED = ("Any", "dict[str, Any]", "object", "cast")


def type_counts(source):
    """How often a module says ``Any``, ``object`` or ``cast``, imports included, and maps names to ``Any``."""
    tokens = tokenize.generate_tokens(iter(source.splitlines(True)).__next__)
    counts = Counter(token.string for token in tokens if token.type == tokenize.NAME and token.string in COUNTED)
    counts["dict[str, Any]"] = len(re.findall(r"(?:dict|Mapping)\[str, Any\]", source))
    return counts


def report(room, lines, counts):
    return f"{room}: {lines} lines, " + ", ".join(f"{counts[name]} {name}" for name in COUNTED)


def test_untyped_values_stay_rare():
    """A value of type ``Any`` is one that neither the type checker nor a reader knows anything about."""
    rooms, lines = {}, Counter()
    for path in MODULES:
        room = path.relative_to(PACKAGE).parts[0]
        source = path.read_text()
        lines[room] += len(source.splitlines())
        rooms[room] = rooms.get(room, Counter()) + type_counts(source)
    total = sum(rooms.values(), Counter())
    told = "\n".join([*(report(room, lines[room], rooms[room]) for room in rooms), report("all", lines.total(), total)])
    print(f"\n{told}")
    assert 1000 * total["Any"] <= 10 * lines.total(), told
    assert total["dict[str, Any]"] <= 40, told
    assert total["object"] <= 62, told
    assert total["cast"] <= 12, told


# -- sizes ---------------------------------------------------------------------------------------------------------


def parameters(function):
    given = function.args
    return [*given.posonlyargs, *given.args, *given.kwonlyargs, *filter(None, (given.vararg, given.kwarg))]


def test_no_private_function_has_more_than_eight_parameters():
    long = [
        f"{path.relative_to(PACKAGE)} {node.name}: {len(parameters(node))}"
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef)
        if node.name.startswith("_") and not node.name.startswith("__") and len(parameters(node)) > 8
    ]
    assert long == []


def test_a_module_has_from_40_to_350_lines():
    lengths = {str(path.relative_to(PACKAGE)): len(path.read_text().splitlines()) for path in MODULES}
    assert {name: length for name, length in lengths.items() if length > 350} == {}
    assert {
        name: length for name, length in lengths.items() if length < 40 and Path(name).name not in SHORT_BY_NATURE
    } == {}


# -- imports -------------------------------------------------------------------------------------------------------


def imports_of(tree, *, inside_functions):
    """The names in a module's imports, those for the type checker included."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif inside_functions or not isinstance(node, ast.FunctionDef):
            yield from imports_of(node, inside_functions=inside_functions)


def import_graph():
    """The modules that each module of the package imports by name."""
    names = {module_name(path) for path in MODULES}
    graph = {}
    for path in MODULES:
        # The command line imports heavy modules where it needs them, so that --help is fast.
        inside_functions = "cli" not in path.parts
        imported = set(imports_of(ast.parse(path.read_text()), inside_functions=inside_functions))
        imported = {name if name in names else name.rpartition(".")[0] for name in imported}
        graph[module_name(path)] = sorted(imported & names)
    return graph


def cycle_in(graph):
    """The modules along one cycle, the first again at the end, or an empty list."""
    finished, path = set(), []

    def visit(module):
        if module in path:
            return [*path[path.index(module) :], module]
        if module in finished:
            return []
        path.append(module)
        found = next(filter(None, map(visit, graph[module])), [])
        path.pop()
        finished.add(module)
        return found

    return next(filter(None, map(visit, graph)), [])


def test_no_modules_import_each_other_in_a_circle():
    assert " -> ".join(cycle_in(import_graph())) == ""


@pytest.mark.parametrize(
    ("graph", "cycle"),
    [
        ({"a": ["b", "c"], "b": ["c"], "c": []}, []),
        ({"a": ["b"], "b": ["c"], "c": ["b"]}, ["b", "c", "b"]),
        ({"a": ["a"]}, ["a", "a"]),
    ],
)
def test_a_circle_is_found(graph, cycle):
    assert cycle_in(graph) == cycle


def test_imports_for_the_type_checker_and_inside_functions_count():
    source = "if TYPE_CHECKING:\n    import a.b\ndef f():\n    from c import d\nfrom e import f, g"
    assert set(imports_of(ast.parse(source), inside_functions=True)) == {"a.b", "c.d", "e.f", "e.g"}
    assert set(imports_of(ast.parse(source), inside_functions=False)) == {"a.b", "e.f", "e.g"}
