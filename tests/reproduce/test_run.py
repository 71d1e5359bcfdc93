"""Every part is computed once, and the results are written when all parts are there."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from scipy import stats
from torch import nn

from captum_certified import FileFormatError
from captum_certified.cli import main
from captum_certified.images.framing import Framing
from captum_certified.reproduce import EXPERIMENTS, Experiment, Material, Part, run_experiment
from captum_certified.reproduce.certificate_rows import reached
from captum_certified.reproduce.certified_pixels import holm_decided


class Squares(Experiment):
    name = "squares"
    title = "Squares of small numbers"
    claim = "They grow."

    def __init__(self, limit=4):
        self.limit = limit
        self.computed = []
        self.names, self.about = "square-{}", ""

    def settings(self, scale):
        return {"limit": self.limit, "scale": scale}

    def parts(self, material, scale):
        return [
            Part(self.names.format(number), lambda number=number: self.square(number), about=self.about)
            for number in range(self.limit)
        ]

    def square(self, number):
        self.computed.append(number)
        return [{"number": number, "square": number**2}]

    def summary(self, rows):
        return {"largest": max(row["square"] for row in rows)}

    def figure(self, rows):
        figure = Figure()
        figure.subplots().plot([row["square"] for row in rows])
        return figure


def table(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def test_results_are_a_table_a_figure_and_a_record(tmp_path):
    record = run_experiment(Squares(), Material(data=tmp_path), scale="smoke", out=tmp_path / "out")
    assert record == json.loads((tmp_path / "out" / "squares.json").read_text())
    assert record["summary"] == {"largest": 9}
    [computed_by] = record["computed_by"]
    assert {"captum", "torch", "python", "threads"} <= set(computed_by)
    assert "rows" not in record
    assert table(tmp_path / "out" / "squares.csv") == [{"number": str(n), "square": str(n**2)} for n in range(4)]
    assert (tmp_path / "out" / "squares.png").read_bytes().startswith(b"\x89PNG")


def test_stored_parts_are_not_computed_again(tmp_path):
    first, second = Squares(), Squares()
    first.square = lambda number: (
        (_ for _ in ()).throw(KeyboardInterrupt) if number == 2 else Squares.square(first, number)
    )
    with pytest.raises(KeyboardInterrupt):
        run_experiment(first, Material(data=tmp_path), scale="smoke", out=tmp_path)
    assert run_experiment(second, Material(data=tmp_path), scale="smoke", out=tmp_path) is not None
    assert (first.computed, second.computed) == ([0, 1], [2, 3])
    network = nn.Linear(2, 2)
    changes = (
        {"scale": "cpu"},
        {"about": "another image"},
        {"network": network},
        {"network": network, "framing": Framing(resize=16)},
        {"network": nn.Sequential(network)},
    )
    for change in changes:
        other = Squares()
        other.about = change.get("about", "")
        network, framing = change.get("network"), change.get("framing", Framing())
        other.uses = ("network",) if network else ()
        material = Material(data=tmp_path, classifier=None if network is None else lambda: (network, framing))  # noqa: B023
        run_experiment(other, material, scale=change.get("scale", "smoke"), out=tmp_path)
        assert other.computed == [0, 1, 2, 3]


def test_parts_with_the_same_name_are_refused(tmp_path):
    squares = Squares()
    squares.names = "square"
    with pytest.raises(ValueError, match="Expected parts of different names, got"):
        run_experiment(squares, Material(data=tmp_path), scale="smoke", out=tmp_path)


def test_shards_share_the_parts_and_the_last_shard_writes_the_results(tmp_path, capsys):
    one, two = Squares(), Squares()
    run = {"scale": "smoke", "out": tmp_path}
    assert run_experiment(one, Material(data=tmp_path), shard=(1, 2), **run) is None
    assert not (tmp_path / "squares.json").exists()
    assert run_experiment(two, Material(data=tmp_path), shard=(2, 2), show_progress=True, **run) is not None
    assert (one.computed, two.computed) == ([0, 2], [1, 3])
    assert "squares: 100%" in capsys.readouterr().err


def test_bad_shards_and_damaged_parts_are_refused(tmp_path):
    run = {"scale": "smoke", "out": tmp_path}
    with pytest.raises(ValueError, match=r"`shard` \(I, N\) with I from 1 to N, got \(3, 2\)"):
        run_experiment(Squares(), Material(data=tmp_path), shard=(3, 2), **run)
    run_experiment(Squares(), Material(data=tmp_path), **run)
    part = tmp_path / "squares-parts" / "square-1.json"
    record = json.loads(part.read_text())
    for damaged, message in (
        ("{", "but it is corrupt"),
        ("[1]", "got list"),
        ("{}", "got something else"),
        (json.dumps({**record, "rows": [1]}), "to hold rows, got int"),
        (json.dumps({**record, "rows": [{"number": [1]}]}), "to hold numbers and texts, got list"),
    ):
        part.write_text(damaged)
        with pytest.raises(FileFormatError, match=message):
            run_experiment(Squares(), Material(data=tmp_path), **run)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_runs_at_its_smallest(name, arguments, tmp_path, capsys):
    assert main(["reproduce", name, *arguments, "--out", str(tmp_path)]) == 0
    assert f"{name}.csv, .png and .json" in capsys.readouterr().out
    record = json.loads((tmp_path / f"{name}.json").read_text())
    assert table(tmp_path / f"{name}.csv")
    assert record["summary"]
    assert (
        EXPERIMENTS[name].settings("smoke") != EXPERIMENTS[name].settings("cpu") != EXPERIMENTS[name].settings("paper")
    )


def test_the_program_lists_the_experiments_and_says_that_parts_are_missing(tmp_path, capsys, monkeypatch):
    assert main(["reproduce", "list"]) == 0
    assert capsys.readouterr().out.splitlines() == [f"{e.name}: {e.title}" for e in EXPERIMENTS.values()]
    assert main(["reproduce", "figure 9", "--data", "."]) == 2
    assert "or list, got 'figure 9'" in capsys.readouterr().err
    monkeypatch.setitem(EXPERIMENTS, "squares", Squares())
    assert main(["reproduce", "squares", "--out", str(tmp_path), "--shard", "1/2", "-q"]) == 1
    assert "Some parts are missing" in capsys.readouterr().out


def test_missing_images_and_networks_are_named(tmp_path, capsys):
    assert main(["reproduce", "training", "--data", str(tmp_path), "--scale", "smoke", "--out", str(tmp_path)]) == 2
    assert "Expected mnist in `root`" in capsys.readouterr().err
    assert main(["reproduce", "attacks", "--data", str(tmp_path), "--scale", "smoke", "--out", str(tmp_path)]) == 2
    assert "Expected `--model` for attacks, a classifier of CIFAR-10, got none" in capsys.readouterr().err
    with pytest.raises(ValueError, match="at least 2 photographs in a folder imagenet or imagenet64"):
        Material(data=tmp_path).photographs(2)


def test_photographs_with_the_same_name_in_two_folders_get_different_names(tmp_path):
    for folder in ("cat", "dog"):
        (tmp_path / "imagenet" / folder).mkdir(parents=True)
        (tmp_path / "imagenet" / folder / "0.png").touch()
    assert [name for name, _ in Material(data=tmp_path).photographs(2)] == ["cat-0", "dog-0"]


def test_certificate_experiments_share_their_parts(arguments, tmp_path):
    assert main(["reproduce", "spectral", *arguments, "--out", str(tmp_path)]) == 0
    parts = {path: path.stat().st_mtime_ns for path in (tmp_path / "certificates-parts").iterdir()}
    assert len(parts) == 2
    assert main(["reproduce", "lecuyer", *arguments, "--out", str(tmp_path)]) == 0
    assert {path: path.stat().st_mtime_ns for path in parts} == parts
    summary = json.loads((tmp_path / "lecuyer.json").read_text())["summary"]
    assert summary["lecuyer_larger"] == 0


def test_an_experiment_at_one_sigma_computes_no_other_sigma(arguments, tmp_path):
    assert main(["reproduce", "maps", *arguments, "--out", str(tmp_path)]) == 0
    rows = table(tmp_path / "maps.csv")
    assert {row["sigma"] for row in rows} == {"0.2"}
    assert {row["map"] for row in rows} == {"sparsified", "relaxed", "unclipped", "scaled", "quadratic"}
    assert len(list((tmp_path / "certificates-parts").iterdir())) == 4


def test_the_value_that_a_share_of_images_reaches():
    """Six of ten images reach the sixth largest value; the authors' code takes the value that four reach."""
    values = [0.1 * n for n in range(10)]
    assert reached(values) == pytest.approx(0.4)
    assert sum(value >= reached(values) for value in values) == 6
    assert reached([0.3]) == 0.3
    assert reached(values, share=0.4) == pytest.approx(0.6)


def test_photographs_need_a_network(arguments):
    material = Material(data=Path(arguments[1]))
    [(_, path), *_] = material.photographs(3)
    with pytest.raises(ValueError, match="Expected a network for this experiment, got none"):
        material.photograph(path)


def test_the_test_of_anani_et_al_corrects_as_holm_does():
    """By hand: the smallest of three p-values is compared with α/3, the next one with α/2."""
    counts, guesses = np.array([40, 0, 38, 30, 40]), np.array([True, False, True, True, False])
    decided = holm_decided(counts, 40, guesses, alpha=0.05)
    assert decided.tolist() == [True, True, True, False, False]
    p_values = stats.binom.sf(np.array([40, 40, 38, 30, 0]) - 1, 40, 0.75)
    assert p_values[2] <= 0.05 / 3 < p_values[3]


def test_nothing_is_decided_where_every_share_is_at_the_threshold():
    counts = np.random.default_rng(0).binomial(100, 0.75, 2000)
    assert not holm_decided(counts, 100, np.ones(2000, dtype=bool), alpha=0.001).any()
