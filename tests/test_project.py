"""The files around the package: workflows, hooks, citation, archives and drafts name what exists, and agree."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import captum_certified

ROOT = Path(__file__).parents[1]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
FORMS = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("[0-9]*.yml"))
PROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
VERSION = captum_certified.__version__
# The dependencies of the package, as "name>=release".
[_BLOCK] = re.findall(r"^dependencies = \[\n(.*?)^\]", PROJECT, flags=re.MULTILINE | re.DOTALL)
DEPENDENCIES = re.findall(r'"(.*?)"', _BLOCK)


def loaded(path):
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def steps(workflow):
    return [step for job in loaded(workflow)["jobs"].values() for step in job["steps"]]


# -- workflows and forms -------------------------------------------------------------------------------------------


def test_there_are_two_workflows():
    assert [path.name for path in WORKFLOWS] == ["checks.yml", "release.yml"]


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_names_only_files_that_exist(workflow):
    commands = "\n".join(step.get("run", "") for step in steps(workflow))
    named = set(re.findall(r"(?<![\w/.])(\.ci/\w+)", commands))
    assert named
    for name in named:
        assert (ROOT / name).is_file()
    for path in re.findall(r"cache-dependency-path: (\S+)", workflow.read_text(encoding="utf-8")):
        assert (ROOT / path).is_file()


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_a_job_may_read_only_and_ends(workflow):
    assert loaded(workflow)["permissions"] == {"contents": "read"}
    for name, job in loaded(workflow)["jobs"].items():
        assert job["timeout-minutes"] <= 120
        assert job.get("permissions") == ({"id-token": "write"} if name == "publish" else None)
        assert all(needed in loaded(workflow)["jobs"] for needed in [job.get("needs", name)])


def test_only_a_tag_publishes_and_only_what_was_tested():
    release = loaded(ROOT / ".github" / "workflows" / "release.yml")
    assert release[True] == {"push": {"tags": ["v*"]}}  # YAML reads the key `on` as true
    publish = release["jobs"]["publish"]
    assert (publish["needs"], publish["environment"]) == ("test", "pypi")
    assert publish["if"] == "startsWith(github.ref, 'refs/tags/v')"
    assert release["jobs"]["test"]["needs"] == "build"
    assert not any("password" in step.get("with", {}) for step in publish["steps"])


def test_the_oldest_python_and_three_systems_are_tested():
    checks = loaded(ROOT / ".github" / "workflows" / "checks.yml")["jobs"]
    versions = {row["releases"]: row["python"] for row in checks["dependencies"]["strategy"]["matrix"]["include"]}
    assert f'requires-python = ">={versions["oldest"]}"' in PROJECT
    assert f'"Programming Language :: Python :: {versions["newest"]}"' in PROJECT
    assert checks["systems"]["strategy"]["matrix"]["system"] == ["macos-latest", "windows-latest"]


@pytest.mark.parametrize("form", FORMS, ids=lambda path: path.stem)
def test_a_form_has_what_the_platform_demands(form):
    content = loaded(form)
    assert {"name", "description", "body"} <= content.keys()
    fields = [field for field in content["body"] if field["type"] != "markdown"]
    assert len({field["id"] for field in fields}) == len(fields) > 0
    assert all(field["attributes"]["label"] for field in fields)


def test_hooks_run_the_tools_of_the_project():
    hooks = {hook["id"]: hook for repo in loaded(ROOT / ".pre-commit-config.yaml")["repos"] for hook in repo["hooks"]}
    assert set(hooks) == {"ruff", "ruff-format", "mypy", "codespell", "large-files", "binaries"}
    stray = re.compile(hooks["binaries"]["files"])
    assert stray.search("certificate.npz")
    assert not stray.search("docs/images/demo.png")
    assert not [path.name for path in ROOT.iterdir() if path.is_file() and stray.search(path.name)]


# -- releases ------------------------------------------------------------------------------------------------------


def test_the_oldest_releases_are_the_lower_bounds():
    done = subprocess.run(  # noqa: S603  this program
        [sys.executable, str(ROOT / ".ci" / "oldest_dependencies")], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == [bound.replace(">=", "==") for bound in DEPENDENCIES]
    assert len(DEPENDENCIES) == 5


def check_release(folder, tag):
    """Run the check of a release in a folder, and return the last line that it prints."""
    done = subprocess.run(["bash", ".ci/check_release", tag], capture_output=True, text=True, cwd=folder)  # noqa: S603, S607
    return (done.stdout + done.stderr).strip()


@pytest.mark.skipif(sys.platform == "win32", reason="needs bash")
def test_a_release_needs_one_version_and_a_date(tmp_path):
    for name in (".ci/check_release", "CITATION.cff", "CHANGELOG.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    (tmp_path / "captum_certified").mkdir()
    (tmp_path / "captum_certified" / "__init__.py").write_text(f'__version__ = "{VERSION}"\n', encoding="utf-8")
    changelog = (tmp_path / "CHANGELOG.md").read_text(encoding="utf-8")
    heading = re.compile(rf"^## \[{re.escape(VERSION)}\] - .*$", flags=re.MULTILINE)
    assert len(heading.findall(changelog)) == 1

    (tmp_path / "CHANGELOG.md").write_text(heading.sub(f"## [{VERSION}] - unreleased", changelog), encoding="utf-8")
    refused = f"Expected the heading '## [{VERSION}] - YYYY-MM-DD' in CHANGELOG.md."
    assert check_release(tmp_path, f"v{VERSION}") == refused
    (tmp_path / "CHANGELOG.md").write_text(heading.sub(f"## [{VERSION}] - 2026-01-31", changelog), encoding="utf-8")
    assert check_release(tmp_path, f"v{VERSION}") == f"{VERSION} is ready"
    assert check_release(tmp_path, "v9").startswith(f"Expected the tag v{VERSION}")
    citation = (tmp_path / "CITATION.cff").read_text(encoding="utf-8")
    (tmp_path / "CITATION.cff").write_text(citation.replace(f"version: {VERSION}", "version: 9"), encoding="utf-8")
    assert check_release(tmp_path, f"v{VERSION}") == f"Expected 'version: {VERSION}' in CITATION.cff."


def test_the_citation_is_complete():
    citation = loaded(ROOT / "CITATION.cff")
    assert str(citation["version"]) == VERSION
    assert citation["cff-version"] == "1.2.0"
    assert f'license = "{citation["license"]}"' in PROJECT
    assert {"title", "message", "abstract", "authors", "keywords", "type"} <= citation.keys()
    assert "date-released" not in citation, "the date is in CHANGELOG.md alone"
    works = {reference["title"] for reference in citation["references"]}
    assert "Certifiably Robust Interpretation in Deep Learning" in works


def archived():
    """The files of the source archive, as the build backend lists them."""
    sdist = pytest.importorskip("hatchling.builders.sdist")
    return {Path(file.relative_path).as_posix() for file in sdist.SdistBuilder(str(ROOT)).recurse_included_files()}


def test_the_source_archive_has_what_tests_and_documentation_read():
    files = archived()
    needed = [
        *("README.md", "LICENSE", "CITATION.cff", "SECURITY.md", "CODE_OF_CONDUCT.md", "docs/references.bib"),
        *("captum_certified/py.typed", "captum_certified/visualization/report.html", "tests/conftest.py"),
        *("docs/results/index.md", "docs/results/spectral.png", ".ci/run", ".github/dependabot.yml"),
    ]
    assert set(needed) <= files
    assert {path.relative_to(ROOT).as_posix() for path in ROOT.glob("tutorials/*.py")} <= files


def test_the_source_archive_leaves_out_rows_of_results_and_what_was_built():
    files = archived()
    assert not [name for name in files if re.fullmatch(r"docs/results/.*\.(csv|json)", name)]
    built = ("docs/_build/", "dist/", ".venv", "docs/tutorials/1_")
    assert not [name for name in files if name.startswith(built) or name.endswith((".pyc", ".npz"))]
    assert sum((ROOT / name).stat().st_size for name in files if (ROOT / name).is_file()) < 6_000_000


# -- drafts --------------------------------------------------------------------------------------------------------


def test_the_recipe_asks_for_the_same_releases():
    recipe = loaded(ROOT / "docs" / "recipe" / "recipe.yaml")
    assert recipe["context"]["version"] == VERSION
    assert f'requires-python = ">={recipe["context"]["python_min"]}"' in PROJECT
    conda = [bound.replace("torch>", "pytorch>").replace(">=", " >=") for bound in DEPENDENCIES]
    assert recipe["requirements"]["run"][1:] == conda
    assert f'captum-certified = "{recipe["build"]["python"]["entry_points"][0].split(" = ")[1]}"' in PROJECT


def test_the_draft_of_the_paper_cites_what_is_in_the_bibliography():
    paper = (ROOT / "docs" / "paper_draft" / "paper.md").read_text(encoding="utf-8")
    entries = set(
        re.findall(r"^@\w+\{(\w+),", (ROOT / "docs" / "references.bib").read_text(encoding="utf-8"), re.MULTILINE)
    )
    cited = set(re.findall(r"@(\w+)", paper))
    assert len(cited) > 8
    assert cited <= entries
    assert {"# Summary", "# Statement of need", "# What is new", "# References"} <= set(paper.splitlines())
