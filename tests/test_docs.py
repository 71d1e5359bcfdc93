"""Every public name is on an API page, every page in a table of contents, and every link leads somewhere."""

import importlib
import inspect
import pkgutil
import re
import sys
from pathlib import Path

import pytest

import captum_certified

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
sys.path.insert(0, str(DOCS))
generated_pages = importlib.import_module("generated_pages")
sys.path.remove(str(DOCS))
SUBMODULES = [
    importlib.import_module(f"captum_certified.{module.name}")
    for module in pkgutil.iter_modules(captum_certified.__path__)
    if not module.name.startswith("_")
]
PUBLIC_MODULES = ["captum_certified", *(module.__name__ for module in SUBMODULES if getattr(module, "__all__", []))]


def page_of(module):
    return DOCS / "api" / f"{module.split('.')[1]}.md"


@pytest.mark.parametrize("module", PUBLIC_MODULES[1:])
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


def test_every_name_of_the_package_is_in_a_table_by_task_and_has_a_page():
    listed = re.findall(r"^   ~captum_certified\.(\w+)$", page_of("captum_certified.index").read_text(), re.MULTILINE)
    names = [name for name in captum_certified.__all__ if name != "__version__"]
    assert sorted(listed) == names
    pages = generated_pages.name_pages()
    assert len({page.lower() for page in pages}) == len(names)
    assert "class:: Certifier\n   :members:" in pages["Certifier.rst"]
    assert "   ~Certifier.top_k_curve\n" in pages["Certifier.rst"]
    assert "methods and attributes of :class:`Certificate`" in pages["TopKCertificate.rst"]
    assert "autofunction:: captum_certified.pilot\n" in pages["pilot-function.rst"]


# -- the command line ----------------------------------------------------------------------------------------------


def test_every_option_of_every_command_is_on_its_page_once():
    pages = generated_pages.command_pages()
    assert "   captum-certified certify IMAGE [IMAGE ...] --model NAME [options]\n" in pages["certify.rst"]
    for name, (about, parser) in generated_pages.commands().items():
        assert f":doc:`{name} </api/commands/{name}>`" in pages["table.inc"]
        assert about
        options = re.findall(r"^\.\. option:: (.*)$", pages[f"{name}.rst"], flags=re.MULTILINE)
        found = [option for line in options for option in re.findall(r"--[a-z][\w-]*", line)]
        expected = [option for action in parser._actions for option in action.option_strings if option[:2] == "--"]
        assert sorted(found) == sorted(set(expected) - {"--help"})


def test_defaults_are_stated_where_they_say_something():
    for _, parser in generated_pages.commands().values():
        shown = " ".join(parser.format_help().split())
        assert not re.search(r"\(default: (None|False|\[\])\)", shown)
    page = generated_pages.command_pages()["certify.rst"]
    assert ".. option:: --sigma N\n\n   Standard deviation of the noise. Default: 0.1.\n" in page
    assert ".. option:: --shard I/N\n\n   Certify only part I of N, for job arrays; I is from 1 to N.\n" in page
    assert ".. option:: --sign\n" in page
    assert "One of ``float32``, ``float64``, ``float16``, ``bfloat16``. Default: float32." in page


def test_pages_of_what_is_gone_are_deleted(tmp_path):
    generated_pages.write_folder(tmp_path / "pages", {"one.rst": "1", "two.rst": "2"})
    generated_pages.write_folder(tmp_path / "pages", {"two.rst": "two"})
    assert {path.name: path.read_text() for path in (tmp_path / "pages").iterdir()} == {"two.rst": "two"}


# -- pages and links -----------------------------------------------------------------------------------------------


def listed_in(index):
    """Yield the pages in the tables of contents of an index, relative to the documentation."""
    for block in re.findall(r"^```\{toctree\}\n(.*?)^```$", index.read_text(), flags=re.DOTALL | re.MULTILINE):
        for entry in re.findall(r"^(?!:)(\S+)$", block, flags=re.MULTILINE):
            if not entry.startswith("names/"):  # pages that are written when the documentation is built
                yield (index.parent / entry).relative_to(DOCS).as_posix()


def test_every_page_is_in_a_table_of_contents_once():
    listed = sorted(entry for index in DOCS.rglob("index.md") for entry in listed_in(index))
    included = {"index", "benchmarks/table", "benchmarks/accelerator", "paper_draft/paper"}
    pages = {path.relative_to(DOCS).with_suffix("").as_posix() for path in DOCS.rglob("*.md")} - included
    tutorials = {f"tutorials/{path.stem}" for path in (DOCS.parent / "tutorials").glob("*.py")}
    assert listed == sorted({page for page in pages if not page.startswith("_build/")} | tutorials)


WRITTEN = sorted({ROOT / "README.md", ROOT / "CONTRIBUTING.md", *DOCS.rglob("*.md")})
CODE = re.compile(r"^(`{3,})(?!\{(?:figure|image)\}).*?^\1$|`[^`\n]+`", flags=re.DOTALL | re.MULTILINE)


def anchors_of(page):
    """Return the anchors of a page's titles, as MyST and code hosts name them, and of its labels."""
    text = page.read_text()
    titles = re.findall(r"^#+ (.*)$", CODE.sub(lambda found: found[0].strip("`"), text), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", WRITTEN, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_to_pages_and_anchors(page):
    text = CODE.sub("", page.read_text())
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"\w+:", target):
            continue
        name, _, anchor = target.partition("#")
        found = page if not name else (page.parent / name).resolve()
        assert found.is_file(), target
        assert not anchor or anchor in anchors_of(found), target


@pytest.mark.parametrize("page", WRITTEN, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_pictures_exist_and_have_a_text_for_those_who_do_not_see_them(page):
    text = page.read_text()
    pictures = re.findall(r"!\[([^\]]*)\]\((?!\w+:)([^)\s]+)\)", text)
    for target, options in re.findall(r"^```\{(?:image|figure)\} (\S+)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE):
        alt = re.search(r"^:alt: (.+)$", options, flags=re.MULTILINE)
        pictures.append((alt[1] if alt else "", target))
    for alt, target in pictures:
        assert (page.parent / target).is_file(), target
        assert len(alt.split()) >= 3, target


@pytest.mark.parametrize("page", WRITTEN, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_numbers_have_a_zero_before_the_point(page):
    """As the commands print them and the tables of experiments have them."""
    assert re.findall(r"(?<![\w.)\]}/\\])\.\d+", CODE.sub("", page.read_text())) == []


CELLS = re.compile(r"^```\{code-cell\} \w+\n(?:---\n(.*?)^---\n)?(.*?)^```$", re.DOTALL | re.MULTILINE)
TUTORIALS = sorted((ROOT / "tutorials").glob("*.py"))


def cells_of(page):
    """Yield metadata and code of every executed cell."""
    text = page.read_text()
    if page.suffix == ".md":
        yield from CELLS.findall(text)
    else:
        for cell in re.split(r"^# %%", text, flags=re.MULTILINE)[1:]:
            metadata, _, code = cell.partition("\n")
            if "[markdown]" not in metadata:
                yield metadata, code


def alternative_texts(page):
    """Return the alternative text, or ``None``, of every executed cell that shows a figure."""
    shown = [about for about, code in cells_of(page) if re.search(r"subplots\(|^figure$", code, re.MULTILINE)]
    return [found and found[1] for found in (re.search(r'"?alt"?: "?([^"\n]+)', about) for about in shown)]


@pytest.mark.parametrize("page", [*WRITTEN, *TUTORIALS], ids=lambda page: page.relative_to(ROOT).as_posix())
def test_executed_figures_have_a_text_for_those_who_do_not_see_them(page):
    assert [text for text in alternative_texts(page) if text is None or len(text.split()) < 8] == []


def test_the_pages_with_executed_figures_are_found():
    found = {page.name: len(alternative_texts(page)) for page in [*WRITTEN, *TUTORIALS]}
    assert found["gallery.md"] == 9
    assert found["idea.md"] == 5
    assert found["2_attack_it.py"] == 3


def test_the_gallery_has_every_public_function_of_the_room_of_pictures():
    text = (DOCS / "guide" / "gallery.md").read_text()
    visualization = importlib.import_module("captum_certified.visualization")
    for name in visualization.__all__:
        assert f"[`{name}`](#" in text, name
        assert re.search(rf"^(figure, _ = )?{name}\(", text, flags=re.MULTILINE), name


def test_the_gallery_embeds_a_report_that_is_written_with_the_documentation(tmp_path):
    page = tmp_path / "sample_report.html"
    generated_pages.write_sample_report(page)
    assert page.read_text().startswith("<!DOCTYPE html>")
    assert page.stat().st_size < 100_000
    text = (DOCS / "guide" / "gallery.md").read_text()
    assert '<iframe src="../_static/sample_report.html" title="' in text


def test_the_version_to_cite_is_this_one():
    for name in ("docs/install.md", "CITATION.cff"):
        assert re.search(r"^\s*version\s*[:=] \{?([\d.]+)\}?,?$", (ROOT / name).read_text(), re.MULTILINE)[1] == (
            captum_certified.__version__
        )


def test_the_glossary_has_the_words_that_certificates_and_tables_print():
    text = (DOCS / "glossary.md").read_text()
    terms = {term for line in re.findall(r"^(\S.*)\n  \S", text, re.MULTILINE) for term in line.split(", ")}
    printed = """block bound brightness cap caution certified chance confidence draw feature forecast groups hopeless K
    level look margin overlap pass pilot radius reference seed sigma tau violations ρ σ τ"""
    assert set(printed.split()) <= terms
    assert {"class kept", "class radius", "random weights", "own set", "plain set", "held fixed"} <= terms
