"""Robust Attribution Regularization: every data set at its smallest, and what the stored record says."""

import copy
import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset
from torchvision import datasets
from torchvision_files import write_flowers, write_idx, write_traffic_signs

from captum_certified.cli import main
from captum_certified.demo import load_digits
from captum_certified.reproduce import EXPERIMENTS, Material
from captum_certified.reproduce.losses_compared import integrated_gradients_under_attack
from captum_certified.reproduce.mnist_networks import accuracy, plain_loss
from captum_certified.reproduce.networks_and_images import PIXEL_RANGE
from captum_certified.training import AdversarialLoss, IGNormLoss, IGSumNormLoss, IGWassersteinLoss, fit
from captum_certified.training.loss import cross_entropies

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


@pytest.fixture(scope="module")
def trained_on_digits():
    """Accuracy, accuracy under attack, IN and CC on the digits of scikit-learn, for each loss of the protocol."""
    digits = load_digits()
    images, classes = digits.train_images, digits.train_labels
    search = {"n_steps": 4, "search_n_steps": 2, "step_num": 3, "seed": 0, **PIXEL_RANGE}
    losses = {
        "natural": plain_loss(0),
        "adversarial": AdversarialLoss(radius=0.1, step_num=5, seed=0, **PIXEL_RANGE),
        "IG-NORM": IGNormLoss(radius=0.1, **search),
        "IG-SUM-NORM": IGSumNormLoss(radius=0.1, weight=0.1, **search),
        "Wasserstein": IGWassersteinLoss(cost=30.0, **search),
    }
    torch.manual_seed(0)
    first = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.Softplus(beta=5), nn.Linear(32, 10))

    def trained(model, loss, epochs, rate):
        optimizer = torch.optim.Adam(model.parameters(), lr=rate)
        fit(model, TensorDataset(images, classes), loss, optimizer=optimizer, epochs=epochs, batch_size=64, seed=0)
        return model.eval().requires_grad_(True)

    trained(first, plain_loss(0), 20, 3e-3)
    measured = {}
    for name, loss in losses.items():
        model = trained(copy.deepcopy(first), loss, 4, 1e-2).requires_grad_(False)
        right = model(digits.test_images).argmax(dim=1) == digits.test_labels
        attack = AdversarialLoss(radius=0.1, step_num=10, seed=0, **PIXEL_RANGE)
        perturbed = attack.ascend(
            lambda points, model=model: cross_entropies(model, points, digits.test_labels), digits.test_images, 0
        )
        stable = integrated_gradients_under_attack(
            model, digits.test_images[right][:64], radius=0.2, k=16, step_num=20, step_size=0.03
        )
        measured[name] = {
            "accuracy": float(right.double().mean()),
            "attacked": accuracy(model, perturbed, digits.test_labels),
            **dict(zip(("intersection", "correlation"), stable, strict=True)),
        }
    return measured


@pytest.mark.parametrize("loss", ["IG-NORM", "IG-SUM-NORM", "Wasserstein"])
def test_attribution_regularization_makes_integrated_gradients_of_digits_stable(trained_on_digits, loss):
    """The ordering of Chen et al., and the same for their Wasserstein objective, at little cost in accuracy."""
    natural, regularized = trained_on_digits["natural"], trained_on_digits[loss]
    assert regularized["intersection"] >= natural["intersection"] + 0.03
    assert regularized["correlation"] >= natural["correlation"] + 0.05
    assert regularized["attacked"] >= natural["attacked"] + 0.1
    assert regularized["accuracy"] >= natural["accuracy"] - 0.05


def test_the_wasserstein_objective_is_as_stable_as_ig_norm_on_digits(trained_on_digits):
    for measure in ("intersection", "correlation"):
        ours, theirs = (trained_on_digits[loss][measure] for loss in ("Wasserstein", "IG-NORM"))
        assert ours == pytest.approx(theirs, abs=0.03)


def test_adversarial_training_of_digits_resists_attacks_on_the_class(trained_on_digits):
    assert trained_on_digits["adversarial"]["attacked"] >= trained_on_digits["natural"]["attacked"] + 0.15


# -- the published record ---------------------------------------------------------------------------------------------

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "results" / "rar.md").read_text()
RECORDS = {name: json.loads((DOCS / "results" / f"{name}.json").read_text()) for name in ("rar", "rar-pneumonia")}
LOSSES = ["natural", "adversarial", "IG-NORM", "IG-SUM-NORM", "Wasserstein"]
SHOWN = ("accuracy", "attacked", "intersection", "correlation", "worst_class")


def rows(name):
    """The rows of a stored table, with numbers where there are numbers."""
    with (DOCS / "results" / f"{name}.csv").open() as file:
        found = list(csv.DictReader(file))
    return [{c: t if c == "loss" else float(t) for c, t in row.items()} for row in found]


def cell(values):
    return f"{values['mean']:.3f} ({values['lowest']:.3f}–{values['highest']:.3f})"


def table_of(name):
    summary = RECORDS[name]["summary"]
    return [f"| {loss} | " + " | ".join(cell(summary[loss][measure]) for measure in SHOWN) + " |" for loss in LOSSES]


def test_the_tables_of_the_page_are_those_of_the_records():
    starts = tuple(f"| {loss} |" for loss in LOSSES)
    found = [line for line in PAGE.splitlines() if line.startswith(starts)]
    assert found == table_of("rar") + table_of("rar-pneumonia")


@pytest.mark.parametrize("name", RECORDS)
def test_the_record_is_the_summary_of_its_table(name):
    record, experiment = RECORDS[name], EXPERIMENTS["rar"].on("mnist" if name == "rar" else "pneumonia")
    summary = experiment.summary(rows(name))
    for loss in LOSSES:
        for measure, values in record["summary"][loss].items():
            assert summary[loss][measure] == pytest.approx(values), (loss, measure)
    settings = json.loads(json.dumps(experiment.settings("cpu")))
    assert {**settings, "material": record["settings"]["material"]} == record["settings"]
    assert len(rows(name)) == 15
    assert {row["explained_right"] for row in rows(name)} == {48.0}


@pytest.mark.parametrize("name", RECORDS)
def test_the_wasserstein_objective_bounds_the_penalty_of_ig_norm(name):
    """N(ε) ≤ γ ε² + P(γ), for the means over 96 images of every trained network."""
    settings = RECORDS[name]["settings"]
    cost = float(settings["losses"]["Wasserstein"].partition("cost=")[2].partition(",")[0])
    for row in rows(name):
        assert row["in_ball"] <= cost * settings["radius"] ** 2 + row["penalty"], row


def test_the_objectives_raise_in_and_cc_on_mnist():
    summary = RECORDS["rar"]["summary"]
    for loss in ("IG-NORM", "IG-SUM-NORM", "Wasserstein"):
        assert summary[loss]["intersection"]["change"] > 0.02
        assert summary[loss]["correlation"]["change"] > 0.02
        assert summary[loss]["correlation"]["lowest"] > summary["natural"]["correlation"]["highest"]
    assert max(LOSSES, key=lambda loss: summary[loss]["attacked"]["mean"]) == "adversarial"
    within = summary["Wasserstein within the interval of IG-NORM"]
    assert all(within[measure]["within"] for measure in ("attacked", "intersection", "correlation"))


def test_two_losses_end_with_a_constant_class_on_chest_x_rays():
    summary = RECORDS["rar-pneumonia"]["summary"]
    constant = [loss for loss in LOSSES if summary[loss]["worst_class"]["highest"] == 0]
    assert constant == ["adversarial", "IG-SUM-NORM"]
