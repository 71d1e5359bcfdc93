"""Robust Attribution Regularization: every data set at its smallest, and what the stored record says."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from data_set_files import write_flowers, write_idx, write_traffic_signs
from torchvision import datasets

from captum_certified.cli import main
from captum_certified.reproduce import EXPERIMENTS, Material

ROOT = Path(__file__).parents[2]
GENERATOR = np.random.default_rng(0)
GREY = GENERATOR.integers(0, 256, (40, 28, 28), dtype=np.uint8)
COLOUR = GENERATOR.integers(0, 256, (24, 30, 34, 3), dtype=np.uint8)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with small files in the format of every data set."""
    write_idx(tmp_path, "MNIST", GREY, (np.arange(40) % 10).astype(np.uint8))
    write_idx(tmp_path, "FashionMNIST", GREY, (np.arange(40) % 10).astype(np.uint8))
    write_traffic_signs(tmp_path, COLOUR, [number % 3 for number in range(24)])
    parts = {"trnid": [*range(1, 17)], "valid": [17], "tstid": [*range(18, 25)]}
    files = write_flowers(tmp_path, COLOUR, [1 + number % 102 for number in range(24)], parts)
    for entry, expected in files.items():
        monkeypatch.setitem(datasets.Flowers102._file_dict, entry, expected)
    labels = (np.arange(40) % 2).astype(np.uint8)[:, None]
    np.savez(
        tmp_path / "pneumoniamnist.npz", train_images=GREY, train_labels=labels, test_images=GREY, test_labels=labels
    )
    return tmp_path


@pytest.mark.parametrize("data_set", EXPERIMENTS["rar"].data_sets[1:])
def test_every_other_data_set_runs_at_its_smallest(folder, data_set, capsys):
    command = ["reproduce", "rar", "--data", str(folder), "--dataset", data_set, "--scale", "smoke", "-q"]
    assert main([*command, "--out", str(folder / "out")]) == 0
    name = f"rar-{data_set}"
    assert f"{name}.csv, .png and .json" in capsys.readouterr().out
    record = json.loads((folder / "out" / f"{name}.json").read_text())
    losses = ["natural", "adversarial", "IG-NORM", "IG-SUM-NORM", "Wasserstein"]
    assert list(record["summary"])[:5] == list(record["settings"]["losses"]) == losses
    assert record["settings"]["data_set"] == data_set
    for loss in losses:
        for measure in ("accuracy", "attacked", "intersection", "correlation"):
            assert -1 <= record["summary"][loss][measure]["mean"] <= 1
    assert (folder / "out" / f"{name}-parts" / "ig-norm-0.json").is_file()


def test_the_images_have_the_size_of_the_network(folder):
    material = Material(data=folder)
    shapes = {"mnist": (1, 28, 28), "fashion-mnist": (1, 28, 28), "xrays": (1, 28, 28)}
    shapes |= {"gtsrb": (3, 32, 32), "flowers102": (3, 64, 64)}
    for name, shape in shapes.items():
        images, classes = material.labelled(name, train=True)
        assert tuple(images.shape[1:]) == shape
        assert len(images) == len(classes)


def test_another_data_set_is_refused(tmp_path, capsys):
    command = ["--data", str(tmp_path), "--out", str(tmp_path), "--scale", "smoke"]
    assert main(["reproduce", "rar", "--dataset", "svhn", *command]) == 2
    assert "Expected `--dataset` for rar to be one of ['mnist', 'fashion-mnist'," in capsys.readouterr().err
    assert main(["reproduce", "training", "--dataset", "mnist", *command]) == 2
    assert "Expected `--dataset` for training to be none, got 'mnist'" in capsys.readouterr().err
    assert main(["reproduce", "rar", "--dataset", "gtsrb", *command]) == 2
    assert "Expected gtsrb in `root`" in capsys.readouterr().err


def test_the_scale_of_the_paper_has_its_radius():
    """MNIST is attacked with ε = 0.3 in the paper, and with 0.1 on a CPU. γ is inversely proportional to ε."""
    losses = {scale: EXPERIMENTS["rar"].settings(scale)["losses"] for scale in ("cpu", "paper")}
    assert "radius=0.1," in losses["cpu"]["IG-NORM"]
    assert "radius=0.3," in losses["paper"]["IG-NORM"]
    assert EXPERIMENTS["rar"].settings("paper")["attack"] == [100, 0.01]

    def cost(scale):
        return float(losses[scale]["Wasserstein"].partition("cost=")[2].partition(",")[0])

    assert cost("paper") == pytest.approx(cost("cpu") / 3)


def test_the_list_of_results_names_tests_that_exist():
    section = (ROOT / "docs" / "paper.md").read_text().partition("## Robust Attribution Regularization")[2]
    named = re.findall(r"`(tests/\S+\.py)::(test_\w+)`", section)
    assert len(named) == 4
    for path, function in named:
        assert f"def {function}(" in (ROOT / path).read_text()
