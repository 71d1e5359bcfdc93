"""The program: its exit codes and messages, without partial files and tracebacks."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from captum_certified import Certifier, SmoothedMap, __version__
from captum_certified.cli import main
from captum_certified.cli.demo import _share, _share_left
from captum_certified.demo import DemoSettings, run_demo

FAST = ["--images", "2", "--samples", "64", "-q"]


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return [
        result.path for result in run_demo(DemoSettings(images=2, samples=64), tmp_path_factory.mktemp("d")).results
    ]


@pytest.fixture
def tampered(results, tmp_path):
    for path in results:
        for suffix in (".json", ".npz"):
            (tmp_path / path.with_suffix(suffix).name).write_bytes(path.with_suffix(suffix).read_bytes())
    path = tmp_path / results[0].name
    path.write_text(path.read_text().replace('"radius": 0.2', '"radius": 0.4'))
    return path


def run(*arguments, **options):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "captum_certified", *map(str, arguments)]
    return subprocess.run(  # noqa: S603  this program
        command, text=True, stderr=subprocess.PIPE, env=environment, check=False, **options
    )


def test_demo_prints_a_table_and_the_paths_of_its_files(tmp_path, capsys):
    assert main(["demo", "--out", str(tmp_path / "out"), *FAST]) == 0
    printed = capsys.readouterr()
    lines = printed.out.splitlines()
    header = next(index for index, line in enumerate(lines) if "theorem2" in line)
    assert len({len(line) for line in lines[header : header + 3]}) == 1
    assert "/13 = " in lines[header + 1]
    assert str(tmp_path / "out" / "certificates.png") in printed.out
    assert "95 % confidence for each digit and each column by itself; do not take the larger of the two." in printed.out
    assert "are held fixed at every perturbed input" in printed.out
    assert printed.err == ""


def test_certified_shares_are_rounded_down_and_attacked_shares_up():
    assert _share(2, 3) == "2/3 = 66 %"
    assert _share_left(2, 3) == "2/3 = 67 %"
    assert _share_left(3, 3) == _share(3, 3) == "3/3 = 100 %"


def test_demo_takes_its_settings_from_the_command_line(tmp_path, capsys):
    arguments = ["--k", "10", "--tau", "0.3", "--sigma", "0.3", "--radius", "0.05", "--seed", "4", "--images", "1"]
    assert main(["demo", "--out", str(tmp_path), *FAST, *arguments]) == 0
    assert "Of the 10 most salient pixels of 64" in capsys.readouterr().out
    record = (tmp_path / "digit-0.json").read_text()
    for entry in ('"k": 10', '"tau": 0.3', '"stdevs": 0.3', '"radius": 0.05', '"seed": 4'):
        assert entry in record


def test_demo_quotes_the_command_that_it_suggests(tmp_path, capsys):
    main(["demo", "--out", str(tmp_path / "with space"), *FAST])
    suggested = capsys.readouterr().out.splitlines()[-1]
    assert suggested == f"Check:   captum-certified verify '{tmp_path}/with space/digit-0.json'"


def test_verify_says_that_results_agree(results, capsys):
    assert main(["verify", *map(str, results), str(results[0].with_suffix(".npz"))]) == 0
    printed = capsys.readouterr()
    assert printed.out.count(": agrees (L2 radius 0.2, confidence 0.95)\n  at least ") == 3
    assert printed.err == ""


def test_verify_takes_certificates_of_every_kind(tmp_path, capsys):
    smoothed_map = SmoothedMap.from_counts(torch.tensor([[90, 50, 10]]), n_samples=100, stdevs=0.2, max_squared_norm=2)
    certifier = Certifier()
    kinds = {
        "selection": certifier.selection(smoothed_map, radius=0.1),
        "rank": certifier.rank(smoothed_map, radius=0.1),
        "distance": certifier.distance(smoothed_map, radius=0.1),
        "median": certifier.median_rank(smoothed_map, radius=0.1),
    }
    for name, certificate in kinds.items():
        certificate.save(tmp_path / f"{name}.npz")
    assert main(["verify", *(str(tmp_path / f"{name}.npz") for name in kinds)]) == 0
    assert capsys.readouterr().out.count(": agrees (L2 radius 0.1, confidence 0.95)") == len(kinds)


def test_verify_names_what_differs(tampered, results, capsys):
    assert main(["verify", str(tampered), str(results[1])]) == 1
    printed = capsys.readouterr().out
    assert f"{tampered}: DIFFERS from what its map gives\n  radius: stored 0.4, recomputed 0.2\n" in printed
    assert f"{results[1]}: agrees" in printed


def test_verify_continues_after_a_file_that_cannot_be_read(tampered, results, tmp_path, capsys):
    (tmp_path / "empty.json").write_bytes(b"")
    assert main(["verify", str(tmp_path / "empty.json"), "missing.json", str(tampered), str(results[0])]) == 2
    printed = capsys.readouterr()
    assert f"{tmp_path}/empty.json: cannot be verified: Expected" in printed.err
    assert "missing.json: cannot be verified: [Errno 2]" in printed.err
    assert "DIFFERS" in printed.out
    assert f"{results[0]}: agrees" in printed.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "required: command"),
        (["explode"], "invalid choice: 'explode'"),
        (["verify"], "required: FILE"),
        (["demo", "--images", "0"], "expected an integer from 1, got 0"),
        (["demo", "--samples", "many"], "expected an integer from 1, got many"),
        (["demo", "--seed", "-1"], "expected an integer from 0 to 2**63 - 1, got -1"),
        (
            ["demo", "--k", "big"],
            "expected a count from 1, such as 13, or a fraction from above 0 to 1, such as 0.2, got big",
        ),
        (["demo", "--images", "1000"], "Expected `images` from 1 to 297, got 1000"),
        (["demo", "--samples", "1"], "Expected at least 2 draws"),
        (["demo", "--tau", "2"], "Expected `tau`"),
        (["demo", "--k", "65"], "Expected `k`"),
        (["demo", "--radius", "nan"], "Expected `radius`"),
        (["demo", "--sigma", "-0.1"], "Expected `stdevs`"),
    ],
)
def test_bad_calls_print_the_reason_and_exit_with_2(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    printed = capsys.readouterr()
    assert message in printed.err
    assert printed.out == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", [["demo", *FAST], ["reproduce", "attacks", "--model", "resnet18"]])
def test_a_file_as_out_is_refused(tmp_path, capsys, command):
    (tmp_path / "taken").write_text("mine")
    assert main([*command, "--out", str(tmp_path / "taken")]) == 2
    assert "Expected `--out` to be a folder, got" in capsys.readouterr().err
    assert (tmp_path / "taken").read_text() == "mine"


def test_missing_scikit_learn_names_the_extra(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    assert main(["demo", "--out", str(tmp_path / "out"), *FAST]) == 2
    assert "pip install 'captum-certified[demo]'" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_interruption_exits_with_130_and_leaves_no_partial_file(tmp_path, monkeypatch, capsys):
    def interrupt(descriptor):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    assert main(["demo", "--out", str(tmp_path), *FAST]) == 130
    assert capsys.readouterr().err.splitlines()[-1] == "captum-certified: interrupted"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("arguments", [["--help"], ["demo", "--help"], ["verify", "--help"], ["--version"]])
def test_help_and_version_exit_with_0(arguments, capsys):
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    assert "usage: captum-certified" in printed or printed == f"captum-certified {__version__}\n"


def test_python_runs_the_package_as_the_program():
    done = run("--version", stdout=subprocess.PIPE)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"captum-certified {__version__}\n", "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_full_disk_is_reported_without_a_traceback(results):
    with Path("/dev/full").open("w") as full:
        done = run("verify", results[0], stdout=full)
    assert done.returncode == 2
    assert done.stderr == "captum-certified: [Errno 28] No space left on device\n"
