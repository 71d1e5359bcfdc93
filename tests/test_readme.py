"""The README's commands and code do what the README says, and a package index shows it without broken links."""

import importlib
import re
import sys
from pathlib import Path

import pytest
import torch

from captum_certified import TopKCertificate

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def block(name):
    """The code block right after a marker, found as the continuous integration finds it."""
    found = re.findall(rf"^<!-- {name} -->\n```bash\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)
    assert len(found) == 1
    return found[0]


def test_there_are_two_commands_for_continuous_integration():
    assert README.count("```bash") == 2
    assert "pip install '.[demo]'" in block("demo")
    assert block("demo").strip().endswith(".venv/bin/captum-certified demo")
    assert "pip install -e '.[test,docs]'" in block("tests")
    assert block("tests").strip().endswith(".venv/bin/pytest")


def test_python_runs_as_written_and_certifies(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    [code] = re.findall(r"^```python\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)
    names = {}
    exec(compile(code, "README.md", "exec"), names)  # noqa: S102  the README's own code
    assert isinstance(names["certificate"], TopKCertificate)
    assert bool((names["certificate"].overlap > 0).all())
    assert names["curve"].shape == (3, 3)
    torch.testing.assert_close(names["curve"][:, 1], names["certificate"].overlap)
    assert "at least" in capsys.readouterr().out
    assert {path.name for path in tmp_path.iterdir()} == {"certificate.npz", "certificate.png", "report.html"}


def test_the_oldest_versions_are_those_of_the_project():
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    text, page = " ".join(README.split()).lower(), (ROOT / "docs" / "install.md").read_text(encoding="utf-8").lower()
    [dependencies] = re.findall(r"^dependencies = \[\n(.*?)^\]", project, flags=re.MULTILINE | re.DOTALL)
    bounds = dict(re.findall(r'"(\w+)>=([\d.]+)"', dependencies))
    bounds["python"] = re.search(r'requires-python = ">=([\d.]+)"', project)[1]
    bounds["pytorch"] = bounds.pop("torch")
    assert len(bounds) == 6
    for name, version in bounds.items():
        assert f"{name} {version}" in text
        assert f"| {name} | {version} |" in page


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md"])
def test_links_lead_to_files(name):
    text = (ROOT / name).read_text()
    targets = [target for target in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in target]
    assert all((ROOT / target).is_file() for target in targets)


def test_picture_is_small():
    pictures = re.findall(r"!\[.*?\]\((docs/images/[^)]+\.png)\)", README)
    assert pictures
    assert all((ROOT / picture).stat().st_size < 300_000 for picture in pictures)


# -- the description on a package index ----------------------------------------------------------------------------

RELATIVE = re.compile(r"\]\((?!https?://)")
PROSE = re.compile(r"^```.*?^```$", flags=re.DOTALL | re.MULTILINE)


@pytest.fixture
def description(monkeypatch):
    pytest.importorskip("hatchling")
    monkeypatch.syspath_prepend(ROOT / "docs")
    yield importlib.import_module("package_description").description
    del sys.modules["package_description"]


def test_without_an_address_relative_links_become_text(description):
    text = description(README, source=None, version="1.2.3")
    assert not RELATIVE.search(PROSE.sub("", text))
    assert "![" not in text
    assert " · " not in text
    assert "https://captum.ai" in text
    assert PROSE.findall(text) == PROSE.findall(README)


def test_links_alone_in_brackets_go_with_their_brackets(description):
    text = "Wrap ([how](a.md), [why](b.md#c)) the [table](t.md) ([paper](https://example.org)).\n\n![A b](c.png)\n"
    assert description(text, source=None, version="1") == "Wrap the table ([paper](https://example.org))."


def test_with_an_address_links_lead_to_the_files_of_the_version(description):
    text = "![A b](c.png) [d](e/f.md#g) [h](https://example.org) [i](#j)\n\n```\n[k](l.md)\n```"
    assert description(text, source="https://example.org/p/", version="1.2") == (
        "![A b](https://example.org/p/raw/v1.2/c.png) [d](https://example.org/p/blob/v1.2/e/f.md#g) "
        "[h](https://example.org) [i](#j)\n\n```\n[k](l.md)\n```"
    )
