"""Two processes under torchrun give the results of one process, and neither process waits forever for the other."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from digits_run import BLOCKS, certify, contents, digits
from PIL import Image

from captum_certified import CaptumCertifiedError
from captum_certified.cli.process import process_group
from captum_certified.runs.example_run import ExampleRun
from captum_certified.runs.processes import LostProcessError, Processes

HERE = Path(__file__).parent
MODEL = """
import torch
from torch import nn


def small():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 2, 3), nn.Softplus(), nn.Flatten(), nn.Linear(200, 3))
"""

pytestmark = [
    pytest.mark.skipif(not torch.distributed.is_available(), reason="needs torch.distributed"),
    pytest.mark.skipif(sys.platform == "win32", reason="torchrun is not tested on Windows"),
]


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    """The folder, the output of the command, and the reports of both processes. Starting torchrun takes seconds."""
    folder = tmp_path_factory.mktemp("distributed")
    torch.save(digits(3), folder / "digits.pt")
    (folder / "models_for_torchrun.py").write_text(MODEL)
    (folder / "images").mkdir()
    generator = np.random.default_rng(0)
    for number in range(3):
        array = generator.integers(0, 256, (12, 12, 3), dtype=np.uint8)
        Image.fromarray(array).save(folder / "images" / f"{number}.png")
    in_two_processes(folder, HERE / "distributed_run.py", folder, folder / "digits.pt")
    printed = in_two_processes(
        folder,
        *("-m", "captum_certified", "certify", "images", "--model", "models_for_torchrun:small"),
        *("--samples", "32", "--out", "results", "-q"),
    )
    return folder, printed, [json.loads((folder / f"{rank}.json").read_text()) for rank in range(2)]


def in_two_processes(folder, *program, succeed=True):
    """Run a program in two processes under torchrun, and return their output."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(  # noqa: S603  this program
        [*torchrun, *program], capture_output=True, text=True, check=False, cwd=folder, timeout=300
    )
    assert (done.returncode == 0) == succeed, done.stderr
    return done.stdout


def test_images_are_shared_if_there_are_enough(reports, tmp_path):
    folder, _, (first, second) = reports
    assert first["many"] == second["many"] == 3
    assert set(first["many_drawn"]) == {"000000", "000002"}
    assert set(second["many_drawn"]) == {"000001"}
    certify([digits(3)], tmp_path)
    assert contents(folder / "many") == contents(tmp_path)


def test_the_blocks_of_a_single_image_are_shared(reports, tmp_path):
    folder, _, (first, second) = reports
    assert len(first["one_drawn"]) == 2  # one round of two blocks, and one of one block
    assert first["kept"] == second["kept"] == ["kept"]
    summary = certify([digits(1)], tmp_path)
    assert contents(folder / "one") == contents(tmp_path)
    assert first["nothing_written"] == second["nothing_written"] == summary[0].record["overlap"]


def test_references_are_certified_alike_by_several_processes(reports, tmp_path):
    folder, _, _ = reports
    certify([digits(1)], tmp_path / "plain", reference="plain")
    assert contents(folder / "plain") == contents(tmp_path / "plain")
    certify([digits(3)], tmp_path / "sequential", reference="plain", overlap=0.5)
    assert contents(folder / "sequential") == contents(tmp_path / "sequential")


def test_all_processes_use_the_fresh_seed_of_the_first(reports):
    _, _, (first, second) = reports
    assert first["fresh_seed"] == second["fresh_seed"]


def test_a_failure_in_one_process_is_raised_in_all(reports):
    folder, _, (first, second) = reports
    for kind in ("many_failure", "one_failure"):
        said = (
            "Expected all processes to succeed, but process 1 failed: CertificationError: Expected a model that takes"
        )
        assert first[kind].startswith(f"CaptumCertifiedError: {said}")
        assert second[kind].startswith("CertificationError: Expected a model that takes")
    assert first["recorded"] == second["recorded"] == ""
    assert "this network is broken" in json.loads((folder / "recorded" / "000000.json").read_text())["error"]


def test_a_run_continues_after_a_process_was_killed(tmp_path, monkeypatch):
    torch.save(digits(3), tmp_path / "digits.pt")
    out = tmp_path / "out"
    in_two_processes(tmp_path, HERE / "killed_process.py", out, tmp_path / "digits.pt", succeed=False)
    assert not (out / "000001.json").exists()
    block, drawn = ExampleRun._block, []
    monkeypatch.setattr(ExampleRun, "_block", lambda run, *rest: drawn.append(run.source.name) or block(run, *rest))
    certify([digits(3)], out)
    assert drawn.count("000001") == BLOCKS - 1  # all blocks but the finished one
    monkeypatch.undo()
    certify([digits(3)], tmp_path / "whole")
    assert contents(out) == contents(tmp_path / "whole")


def test_the_command_shares_its_images_and_prints_its_summary_once(reports):
    folder, printed, _ = reports
    assert printed.count("features survive") == 3
    assert printed.count("3 examples: mean certified overlap") == 1
    assert {path.name for path in (folder / "results").glob("*.json")} == {"0.json", "1.json", "2.json"}
    assert (folder / "results" / "summary.csv").is_file()


def test_a_single_process_needs_no_group(monkeypatch):
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    with process_group("cpu"):
        assert Processes.current() == Processes(0, 1)
    assert Processes().together(lambda: 3) == [3]


def test_errors_of_other_processes_are_raised(monkeypatch):
    def exchange(reports, own):
        reports[:] = [own, (None, "OSError: disk full")]

    monkeypatch.setattr(torch.distributed, "all_gather_object", exchange)
    with pytest.raises(
        CaptumCertifiedError, match="all processes to succeed, but process 1 failed: OSError: disk full"
    ):
        Processes(0, 2).together(lambda: 3)

    def lost(reports, own):
        raise RuntimeError("Connection closed by peer")

    monkeypatch.setattr(torch.distributed, "all_gather_object", lost)
    with pytest.raises(LostProcessError, match="to go on, but one has ended: Connection closed by peer"):
        Processes(0, 2).together(lambda: 3)
