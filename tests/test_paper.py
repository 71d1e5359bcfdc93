"""docs/paper.md names every numbered result, an object that implements it, and a test that exists."""

import ast
import importlib
import inspect
import re
from pathlib import Path

import pytest

import captum_certified

ROOT = Path(__file__).parents[1]
PACKAGE = Path(captum_certified.__file__).parent  # wherever it is installed

RESULTS = [
    *("Eq. 2.4", "Eq. 2.5", "Lemma 1", "Theorem 1", "Corollary 1", "Theorem 2", "Definition 3.1", "Theorem 3"),
    *("A.20–A.22", "Algorithm 1", "Appendix D.1", "Appendix K"),
    *(
        f"Figure {number}"
        for number in ("1(a)", "1(b)", "1(c)", "2(a)", "2(b)", 3, 4, 5, "6(a)", "6(b)", *range(7, 16))
    ),
    *("Table 1", "Table 2"),
]
ADDED = [f"{kind}{number}" for kind in "BS" for number in range(1, 7)] + ["Q1", "R1", "R2"]
LABEL = re.compile(
    r"(Eq\. \d+\.\d+|(?:Lemma|Theorem|Corollary|Algorithm) \d+|Definition \d+\.\d+|Appendix [A-Z](?:\.\d+)?"
    r"|A\.\d+–A\.\d+|Figure \d+(?:\([a-z]\))?|Table \d|[BSQR]\d)\. "
)
# The cells of a result that is a case of another one.
CASE = re.compile(r"as (.+)")


# The papers of whose claims a section of the page has a table, each claim with its test.
OTHER_PAPERS = "## Claims of two other papers"
PAGE, _, CLAIMS = (ROOT / "docs" / "paper.md").read_text().partition(OTHER_PAPERS)


def rows(text=PAGE):
    lines = text.splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")]
    return [row for row in cells if row[0] not in ("Result", "Claim")]


TABLE = {label: (code.strip("`"), test.strip("`")) for label, *_, code, test in rows()}
IMPLEMENTED = [label for label, (code, _) in TABLE.items() if code.startswith("captum_certified.")]


def labelled_objects():
    """(label, module, name) of every class and function of the package whose docstring begins with a label."""
    for path in sorted(PACKAGE.rglob("*.py")):
        module = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef):
                found = LABEL.match((ast.get_docstring(node) or "") + " ")
                if found:
                    yield found[1], module, node.name


def resolved(dotted):
    module, _, name = dotted.rpartition(".")
    return getattr(importlib.import_module(module), name)


def test_every_numbered_result_has_one_row():
    assert [label for label, *_ in rows()] == [*RESULTS, *ADDED]


@pytest.mark.parametrize("label", IMPLEMENTED)
def test_object_exists_and_begins_with_its_label(label):
    assert inspect.getdoc(resolved(TABLE[label][0])).startswith(f"{label}. ")


@pytest.mark.parametrize("label", IMPLEMENTED)
def test_test_exists(label):
    assert_test_exists(TABLE[label][1])


@pytest.mark.parametrize("row", rows(CLAIMS), ids=lambda row: row[0])
def test_every_claim_of_another_paper_has_a_test(row):
    _, here, test = row
    assert here
    assert_test_exists(test.strip("`"))


def assert_test_exists(test):
    path, _, function = test.partition("::")
    tree = ast.parse((ROOT / path).read_text())
    assert function in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    assert function.startswith("test_")


def test_no_two_results_share_a_test():
    """A test of several results at once hardly asserts what each of them says."""
    tests = [TABLE[label][1] for label in IMPLEMENTED]
    assert [test for test in tests if tests.count(test) > 1] == []


@pytest.mark.parametrize("label", [label for label in TABLE if label.startswith("Figure") and label in IMPLEMENTED])
def test_every_figure_has_its_measured_numbers_and_a_test_of_its_claim(label):
    [(paper, here)] = [cells for name, *cells, _, _ in rows() if name == label]
    assert paper
    assert here
    assert re.search(rf"::test_{label.lower().replace(' ', '_').replace('(', '').replace(')', '')}_", TABLE[label][1])


@pytest.mark.parametrize("label", [label for label in TABLE if label not in IMPLEMENTED])
def test_other_rows_are_a_case_of_another(label):
    code, test = TABLE[label]
    assert code == test
    assert CASE.fullmatch(code)[1] in IMPLEMENTED


def test_every_labelled_object_is_in_the_table():
    found = list(labelled_objects())
    labels = [label for label, *_ in found]
    assert len(set(labels)) == len(labels), "one object for each result"
    for label, module, name in found:
        implementation = getattr(importlib.import_module(module), name)
        assert TABLE[label][0].startswith("captum_certified."), f"{label} is implemented by {module}.{name}"
        assert resolved(TABLE[label][0]) is implementation
    assert set(labels) == set(IMPLEMENTED)
