"""The how-to pages and the guide run as they are printed."""

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"
HOWTO = DOCS / "howto"
# A cell may begin with its metadata, between lines of dashes.
CELL = re.compile(r"^```\{code-cell\} python\n(?:---\n.*?^---\n)?(.*?)^```$", re.DOTALL | re.MULTILINE)
PAGES = sorted(
    page.relative_to(DOCS).as_posix()
    for folder in ("howto", "guide")
    for page in (DOCS / folder).glob("*.md")
    if CELL.search(page.read_text())
)


def test_there_are_pages():
    named = ("units", "sequential", "hugging_face", "tabular", "text", "wrap_your_own", "own_objective")
    guide = ("maps", "choosing", "gallery")
    assert {f"howto/{name}.md" for name in named} | {f"guide/{name}.md" for name in guide} <= set(PAGES)


@pytest.mark.parametrize("page", PAGES)
def test_page_runs(page):
    names = {"__name__": "howto"}
    for number, cell in enumerate(CELL.findall((DOCS / page).read_text()), start=1):
        exec(compile(cell, f"{page}, cell {number}", "exec"), names)  # noqa: S102


def test_a_tabular_table_has_the_names_and_an_order_that_agrees_with_the_certificate():
    names = {"__name__": "howto"}
    for cell in CELL.findall((HOWTO / "tabular.md").read_text())[:4]:
        exec(compile(cell, "tabular.md", "exec"), names)  # noqa: S102
    frame = names["frame"]
    staying = frame[frame["rank"] <= 5]
    assert len(staying) <= int(names["certificate"].overlap[0])
    assert set(frame["feature"]) == set(names["data"].feature_names)
