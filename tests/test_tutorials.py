"""Every tutorial runs as a script in its smoke mode, and the documentation lists it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TUTORIALS = sorted((ROOT / "tutorials").glob("*.py"))


def test_the_documentation_lists_the_tutorials():
    contents = (ROOT / "docs" / "tutorials" / "index.md").read_text()
    listed = contents.split("```{toctree}")[1].split("```")[0].split()[2:]
    assert listed == [path.stem for path in TUTORIALS]
    assert len(listed) == 7


@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_tutorial_runs(path, tmp_path):
    """In a process of its own: figures, generators and warnings filters of one must not reach another."""
    environment = {**os.environ, "CAPTUM_CERTIFIED_SMOKE": "1", "MPLBACKEND": "Agg", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "error::UserWarning", str(path)]
    run = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)  # noqa: S603
    assert run.returncode == 0, run.stderr
    assert not list(tmp_path.iterdir())
