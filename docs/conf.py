"""Sphinx configuration."""

import os
import re
from pathlib import Path

import captum_certified

project = "captum_certified"
author = "The captum_certified authors"
copyright = "the captum_certified authors"
version = release = captum_certified.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "sphinxcontrib.bibtex",
]
exclude_patterns = ["_build", "generated", "jupyter_execute", "conf.py", "benchmarks/table.md"]
nitpicky = True

html_theme = "furo"
html_title = f"captum_certified {release}"

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
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
    ("py:.*", r"(torch|numpy|np|captum|matplotlib|scipy|pathlib|collections|typing|argparse|os)(\..*)?"),
    ("py:.*", r"(Tensor|NDArray|ArrayLike|Path|Figure|Axes|Attribution|Module|Any|Callable|Iterator|Mapping|Sequence)"),
    (
        "py:.*",
        r"(Floats|Integers|Maps|Groups|CovarianceRequest|NoiseLaw|Provenance|TensorOrTuple|Self|Setup"
        r"|MethodArguments|Target|Reference|(.*\.)?(DrawRange|Map|MapData|Prover))",
    ),
]
if os.environ.get("READTHEDOCS"):
    extensions.append("sphinx.ext.intersphinx")
    intersphinx_mapping = {
        "python": ("https://docs.python.org/3", None),
        "numpy": ("https://numpy.org/doc/stable", None),
        "torch": ("https://docs.pytorch.org/docs/stable", None),
        "matplotlib": ("https://matplotlib.org/stable", None),
    }


# Sphinx reads only what lies in its own folder.
HERE = Path(__file__).parent
for tutorial in sorted((HERE.parent / "tutorials").glob("*.py")):
    copied = HERE / "tutorials" / tutorial.name
    if not copied.is_file() or copied.read_bytes() != tutorial.read_bytes():
        copied.write_bytes(tutorial.read_bytes())
for copied in (HERE / "tutorials").glob("*.py"):
    if not (HERE.parent / "tutorials" / copied.name).is_file():
        copied.unlink()


PUBLIC = "|".join(map(re.escape, captum_certified.__all__))


def skip_documented_above(app, _what, name, obj, _skip, _options):
    """On the pages of the subpackages, leave out what the page of the package itself documents."""
    above = name in captum_certified.__all__ and obj is getattr(captum_certified, name)
    return True if above and app.env.docname != "api/index" else None


def read_as_text(_app, what, _name, _obj, _options, lines):
    """Docstrings are written to be read in a terminal: |g| is a magnitude there, and ``*shape`` unpacks."""
    for number, line in enumerate(lines):
        if not line.lstrip().startswith((">>>", "...")):
            line = "".join(
                part if part.startswith("``") else re.sub(r"\||\*(?=\w+[,)])", r"\\\g<0>", part)
                for part in re.split(r"(``.*?``)", line)
            )
            lines[number] = re.sub(rf":(\w+):`({PUBLIC})\b", r":\1:`~captum_certified.\2", line)
    if what in {"attribute", "property"}:
        lines[0] = lines[0].replace(": ", " – ")  # Napoleon would take the words before a colon for a type


def setup(app):
    """Connect the hooks, the second before Napoleon's."""
    app.connect("autodoc-skip-member", skip_documented_above)
    app.connect("autodoc-process-docstring", read_as_text, priority=400)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
