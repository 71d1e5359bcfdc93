"""Sphinx configuration."""

import os
import re
import sys
from pathlib import Path

import captum_certified

# Sphinx reads only what lies in its own folder.
HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
from generated_pages import write_pages  # noqa: E402  found by the line above

project = "captum_certified"
author = "The captum_certified authors"
copyright = "the captum_certified authors"
version = release = captum_certified.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "sphinxcontrib.bibtex",
]
exclude_patterns = [
    *("_build", "jupyter_execute", "conf.py", "check_pages.py", "generated_pages.py", "package_description.py"),
    *("benchmarks/table.md", "benchmarks/accelerator.md"),  # tables of a page
    *("paper_draft", "recipe"),  # drafts for other places
]
nitpicky = True

html_theme = "furo"
html_title = f"captum_certified {release}"
html_static_path = ["_static"]
html_css_files = ["pages.css"]

myst_enable_extensions = ["attrs_block", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
if not (HERE / "results" / "sparsified.csv").is_file():  # the source archive has no rows of results to download
    suppress_warnings = ["download.not_readable"]
# Tutorials are scripts with cells. With CAPTUM_CERTIFIED_SMOKE=1 they run with few draws.
nb_custom_formats = {".py": ["jupytext.reads", {"fmt": "py:percent"}]}
# Progress bars of a notebook ask for widgets there.
nb_output_stderr = "remove"
# A cached output would stay after the code that made it has changed.
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 300
nb_merge_streams = True

bibtex_bibfiles = ["references.bib"]
bibtex_default_style = "plain"

autosummary_generate = False  # it only makes tables here
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False
napoleon_custom_sections = [("Source", "returns_style")]

# Elsewhere these lead to the other projects' pages; without a network they are plain text.
nitpick_ignore_regex = [
    ("py:.*", r"(torch|numpy|np|captum|matplotlib|scipy|pathlib|collections|typing|argparse|os|skimage)(\..*)?"),
    ("py:.*", r"(Tensor|NDArray|ArrayLike|Path|Figure|Axes|Attribution|Module|Any|Callable|Iterator|Mapping|Sequence)"),
    (
        "py:.*",
        r"(Floats|Integers|Maps|Groups|CovarianceRequest|NoiseLaw|Provenance|TensorOrTuple|Self|Setup"
        r"|MethodArguments|Target|Reference|(.*\.)?(DrawRange|Made|Map|MapData|Prover))",
    ),
]
if os.environ.get("READTHEDOCS"):
    # A build there may take 15 minutes, and all tutorials take about as long with all of their draws.
    os.environ.setdefault("CAPTUM_CERTIFIED_SMOKE", "1")
    extensions.append("sphinx.ext.intersphinx")
    intersphinx_mapping = {
        "python": ("https://docs.python.org/3", None),
        "numpy": ("https://numpy.org/doc/stable", None),
        "torch": ("https://docs.pytorch.org/docs/stable", None),
        "matplotlib": ("https://matplotlib.org/stable", None),
    }


write_pages(HERE)
for tutorial in sorted((HERE.parent / "tutorials").glob("*.py")):
    copied = HERE / "tutorials" / tutorial.name
    if not copied.is_file() or copied.read_bytes() != tutorial.read_bytes():
        copied.write_bytes(tutorial.read_bytes())
for copied in (HERE / "tutorials").glob("*.py"):
    if not (HERE.parent / "tutorials" / copied.name).is_file():
        copied.unlink()


PUBLIC = "|".join(map(re.escape, captum_certified.__all__))


def skip_documented_elsewhere(_app, _what, name, obj, _skip, _options):
    """On the pages of the subpackages, leave out what has a page of its own."""
    elsewhere = name in captum_certified.__all__ and obj is getattr(captum_certified, name)
    return True if elsewhere else None


def read_as_text(_app, what, name, _obj, _options, lines):
    """Docstrings are written to be read in a terminal: |g| is a magnitude there, and ``*shape`` unpacks."""
    for number, line in enumerate(lines):
        if not line.lstrip().startswith((">>>", "...")):
            line = "".join(
                part if part.startswith("``") else re.sub(r"\||\*(?=\w+[,)])", r"\\\g<0>", part)
                for part in re.split(r"(``.*?``)", line)
            )
            if what in {"method", "property", "attribute"}:  # tables show the line outside of its class
                line = re.sub(r":(meth|attr):`(\w+)`", rf":\1:`~{name.rpartition('.')[0]}.\2`", line)
            lines[number] = re.sub(rf":(\w+):`({PUBLIC})\b", r":\1:`~captum_certified.\2", line)
    if what in {"attribute", "property"}:
        lines[0] = lines[0].replace(": ", " – ")  # Napoleon would take the words before a colon for a type


FEW_DRAWS = """
#
# ```{note}
# This page was built with few draws, to save time, so its numbers are not those that the text is about. Run the
# script to get them.
# ```"""


def note_few_draws(_app, page, source):
    """Say below the title of a tutorial if it was run with few draws."""
    if page.startswith("tutorials/") and os.environ.get("CAPTUM_CERTIFIED_SMOKE") == "1":
        source[0] = re.sub(r"(?m)^# # .*$", rf"\g<0>{FEW_DRAWS}", source[0], count=1)


LONG_NAME = re.compile(r'(?<=<span class="pre">)[\w./:-]{20,}(?=</span>)')


def break_long_names(_app, _page, _template, context, _doctree):
    """Let long names in code break after dots, underscores, slashes and colons, so that columns of them stay narrow."""
    if "body" in context:
        context["body"] = LONG_NAME.sub(lambda name: re.sub(r"(::|[./_])(?=\w)", r"\1<wbr>", name[0]), context["body"])


def setup(app):
    """Connect the hooks, the last before Napoleon's."""
    app.connect("source-read", note_few_draws)
    app.connect("html-page-context", break_long_names)
    app.connect("autodoc-skip-member", skip_documented_elsewhere)
    app.connect("autodoc-process-docstring", read_as_text, priority=400)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
