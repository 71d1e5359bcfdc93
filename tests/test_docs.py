"""Every public name is on an API page."""

import importlib
import inspect
import pkgutil
import re
from pathlib import Path

import pytest

import captum_certified

DOCS = Path(__file__).parents[1] / "docs"
SUBMODULES = [
    importlib.import_module(f"captum_certified.{module.name}")
    for module in pkgutil.iter_modules(captum_certified.__path__)
    if not module.name.startswith("_")
]
PUBLIC_MODULES = ["captum_certified", *(module.__name__ for module in SUBMODULES if getattr(module, "__all__", []))]


def page_of(module):
    return DOCS / "api" / ("index.md" if module == "captum_certified" else f"{module.split('.')[1]}.md")


@pytest.mark.parametrize("module", PUBLIC_MODULES)
def test_every_public_name_is_documented(module):
    """Autodoc lists the names of ``__all__`` that have a docstring. The page itself must list the other names."""
    page, loaded = page_of(module).read_text(), importlib.import_module(module)
    assert re.search(rf"^\.\. automodule:: {module}\n   :members:$", page, flags=re.MULTILINE)
    assert ":exclude-members:" not in page
    for name in loaded.__all__:
        value = getattr(loaded, name)
        documented = (inspect.isclass(value) or inspect.isfunction(value)) and value.__doc__
        assert documented or name == "__version__" or re.search(rf"^\.\. .*:: {name}$", page, flags=re.MULTILINE), name


@pytest.mark.parametrize("module", PUBLIC_MODULES)
def test_all_is_sorted_and_complete(module):
    loaded = importlib.import_module(module)
    assert sorted(set(loaded.__all__)) == list(loaded.__all__)
    assert all(hasattr(loaded, name) for name in loaded.__all__)


def listed_in(index):
    """Yield the pages in the tables of contents of an index, relative to the documentation."""
    for block in re.findall(r"^```\{toctree\}\n(.*?)^```$", index.read_text(), flags=re.DOTALL | re.MULTILINE):
        for entry in re.findall(r"^(?!:)(\S+)$", block, flags=re.MULTILINE):
            yield (index.parent / entry).relative_to(DOCS).as_posix()


def test_every_page_is_in_a_table_of_contents_once():
    listed = sorted(entry for index in DOCS.rglob("index.md") for entry in listed_in(index))
    included = {"index", "benchmarks/table"}
    pages = {path.relative_to(DOCS).with_suffix("").as_posix() for path in DOCS.rglob("*.md")} - included
    tutorials = {f"tutorials/{path.stem}" for path in (DOCS.parent / "tutorials").glob("*.py")}
    assert listed == sorted({page for page in pages if not page.startswith("_build/")} | tutorials)
