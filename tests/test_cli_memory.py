"""The program keeps freed memory for later use, unless its user has decided otherwise."""

import os
import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource
import torch
from captum_certified.cli.process import keep_freed_memory
{call}
def faults():
    for _ in range(10):
        torch.ones(2**24)  # 64 MiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
before = faults()
print(faults() - before)
"""

gnu = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")


def page_faults(call, **environment):
    program = [sys.executable, "-c", FAULTS.format(call=call)]
    run = subprocess.run(program, capture_output=True, text=True, check=True, env={**os.environ, **environment})  # noqa: S603
    return int(run.stdout)


@gnu
def test_freed_memory_is_used_again():
    assert page_faults("keep_freed_memory()") < 100


@gnu
@pytest.mark.parametrize(
    ("call", "environment"),
    [("", {}), ("keep_freed_memory()", {"MALLOC_TRIM_THRESHOLD_": "131072", "MALLOC_MMAP_THRESHOLD_": "131072"})],
    ids=["by default", "where the user says so"],
)
def test_freed_memory_returns_to_the_system_by_default_and_if_the_user_says_so(call, environment):
    assert page_faults(call, **environment) > 100


def test_memory_is_kept_only_in_a_process_of_the_program_itself(monkeypatch, capsys):
    from captum_certified.cli import main, program

    called = []
    monkeypatch.setattr(program, "keep_freed_memory", lambda: called.append(True))
    assert main(["--version"]) == 0
    assert not called
    monkeypatch.setattr(sys, "argv", ["captum-certified", "--version"])
    assert main() == 0
    assert called
    capsys.readouterr()
