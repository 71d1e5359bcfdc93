"""Reading a damaged or malicious file ends in one of our own errors, within little time and memory."""

import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


def complaints(folder, count, seed):
    program = [sys.executable, str(HERE / "fuzzed_files.py"), str(folder), str(count), str(seed)]
    run = subprocess.run(program, capture_output=True, text=True, timeout=1800, check=False)  # noqa: S603  our own program
    assert run.returncode == 0, run.stderr
    return run.stdout


@pytest.mark.skipif(sys.platform != "linux", reason="limits memory as Linux does")
def test_six_hundred_damaged_files_end_in_our_errors(tmp_path):
    assert complaints(tmp_path, 600, 0) == ""


@pytest.mark.slow
def test_ten_thousand_damaged_files_end_in_our_errors(tmp_path):
    assert complaints(tmp_path, 10_000, 1) == ""
