"""``captum-certified train``: weights for the other commands, and a training that can be resumed."""

import json
import re

import numpy as np
import pytest
import torch
from PIL import Image

from captum_certified.cli import main, train
from captum_certified.training import TrainingLoss, fit

MODELS = """
import torch
from torch import nn


def small():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3, stride=2), nn.Softplus(), nn.Flatten(), nn.Linear(36, 2))


def unseeded():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 2))
"""
GAUSSIAN = ["--loss", "gaussian", "--loss-arg", "stdev=0.1"]


@pytest.fixture
def data(tmp_path, monkeypatch):
    """Images whose class is the brighter half, and a module with a network for them."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    name = f"networks_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(MODELS)
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 2, 120)
    images = generator.integers(0, 60, (120, 8, 8), dtype=np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[:, 4 * label : 4 * label + 4] += 150
    parts = {"train_images": images[:80], "train_labels": labels[:80]}
    np.savez(tmp_path / "halves.npz", **parts, test_images=images[80:], test_labels=labels[80:])
    Image.fromarray(images[100]).save(tmp_path / "half.png")
    return ["train", "--model", f"{name}:small", "--channels", "1", "--data", "halves.npz", "-q", "--lr", "0.01"]


def test_trained_weights_can_be_used_by_other_commands(data, tmp_path, capsys):
    assert main([*data, *GAUSSIAN, "--epochs", "15", "--batch-size", "16", "--out", "weights.pt", "--json", "-"]) == 0
    printed = capsys.readouterr()
    record = json.loads(printed.out)
    assert record["accuracy"] >= 0.95
    assert (record["images"], record["measured"], record["steps"], len(record["losses"])) == (80, 40, 75, 15)
    assert record["measured_on"] == "test images"
    assert record["loss"] == "GaussianAugmentationLoss(stdev=0.1, nt_samples=1)"
    assert "of 40 test images are right. Weights: weights.pt" in printed.err
    once = (tmp_path / "weights.pt").read_bytes()
    assert main([*data, *GAUSSIAN, "--epochs", "15", "--batch-size", "16", "--out", "weights.pt", "--resume"]) == 0
    assert (tmp_path / "weights.pt").read_bytes() == once  # nothing was left to do
    certify = ["certify", "half.png", *data[1:5], "--weights", "weights.pt", "--samples", "16", "-q", "--out", "out"]
    assert main(certify) == 0


@pytest.mark.parametrize("loss", ["cross-entropy", *sorted(train._LOSSES)])
def test_every_loss_can_be_chosen(data, loss):
    needed = {"adversarial": ["radius=0.1"], "ddn": ["max_norm=0.5"], "ig-norm": ["radius=0.1"]}
    needed |= {"gaussian": ["stdev=0.1"], "ig-sum-norm": ["radius=0.1"], "saliency": ["radius=0.1"]}
    needed |= {"ig-wasserstein": ["cost=10.0"]}
    steps = {"ig-norm": ["n_steps=2"], "ddn": ["step_num=2"], "saliency": ["step_num=1"], "adversarial": ["norm=L2"]}
    given = [word for text in (*needed.get(loss, ()), *steps.get(loss, ())) for word in ("--loss-arg", text)]
    assert main([*data, "--loss", loss, *given, "--epochs", "1", "--limit", "8", "--out", "weights.pt"]) == 0


def test_an_interrupted_training_is_resumed(data, tmp_path, monkeypatch, capsys):
    command = [*data, "--loss", "adversarial", "--loss-arg", "radius=0.2", "--epochs", "3"]
    assert main([*command, "--out", "whole.pt"]) == 0
    call = TrainingLoss.__call__

    def interrupted(loss, *arguments):
        if loss.calls == 4:  # the third epoch begins
            raise KeyboardInterrupt
        return call(loss, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(TrainingLoss, "__call__", interrupted)
        assert main([*command, "--out", "again.pt"]) == 130
    assert (tmp_path / "again.pt.checkpoint").exists()
    assert main([*command, "--out", "again.pt", "--resume"]) == 0
    whole, again = (torch.load(tmp_path / name, weights_only=True) for name in ("whole.pt", "again.pt"))
    for name, value in whole.items():
        torch.testing.assert_close(again[name], value, rtol=0, atol=0)


def test_weights_of_a_normalised_network_are_saved_without_the_normalisation(data, tmp_path):
    assert main([*data, *GAUSSIAN, "--mean", "0.5", "--std", "0.5", "--epochs", "1", "--out", "weights.pt"]) == 0
    assert "0.weight" in torch.load(tmp_path / "weights.pt", weights_only=True)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--loss", "saliency"], "Expected `--loss-arg` radius=VALUE for saliency, got none"),
        (["--loss", "ddn", "--loss-arg", "radius=1"], r"NAME one of \['max_norm', .*\], got 'radius'"),
        (
            ["--loss", "gaussian", "--loss-arg", "0.5"],
            "Expected `--loss-arg` NAME=VALUE with NAME one of .*, got '0.5'",
        ),
        (["--loss", "gaussian", "--loss-arg", "stdev=wide"], "`stdev` to be a finite number >= 0, got 'wide'"),
        ([*GAUSSIAN, "--lr", "-1"], "`--lr` to be a finite number > 0, got -1.0"),
        (
            [*GAUSSIAN, "--out", "nowhere/weights.pt"],
            "`--out` to be a file in a folder that exists, got nowhere/weights.pt",
        ),
        ([*GAUSSIAN, "--out", "."], r"`--out` to be a file in a folder that exists, got \."),
        ([*GAUSSIAN, "--json", "."], r"`--json` to be a file in a folder that exists, got \."),
        (
            [*GAUSSIAN, "--mean", "0.5,0.5,0.5", "--std", "1,1,1"],
            r"images of shape \(1, 1, 8, 8\), but it raised",
        ),
        ([*GAUSSIAN, "--device", "cuda:7"], "`--device` to be available, got 'cuda:7'"),
        (["--loss", "adversarial", "--loss-arg", "radius=1", "--loss-arg", "lower_bound=a"], "to be a number, got 'a'"),
        (["--loss", "saliency", "--loss-arg", "radius=1", "--loss-arg", "k=2.0"], "Expected `k` to be a number"),
        ([*GAUSSIAN, "--data", "svhn"], "`source` to be an .npz archive"),
        ([*GAUSSIAN, "--data", "missing.npz"], "No such file or directory: 'missing.npz'"),
    ],
)
def test_bad_calls_print_the_reason(data, capsys, words, message):
    assert main([*data, "--out", "weights.pt", *words]) == 2
    assert re.search(message, capsys.readouterr().err)


def test_the_command_trains_by_fit(data, monkeypatch):
    seen = {}

    def recorded(*arguments, **settings):
        seen.update(settings)
        return fit(*arguments, **settings)

    monkeypatch.setattr("captum_certified.training.fit", recorded)
    assert main([*data, *GAUSSIAN, "--epochs", "1", "--limit", "20", "--seed", "7", "--out", "weights.pt"]) == 0
    assert (seen["seed"], seen["epochs"], seen["batch_size"]) == (7, 1, 64)


def test_initial_weights_depend_on_the_seed(data, tmp_path):
    data[2] = data[2].replace(":small", ":unseeded")
    for name, seed in (("one.pt", "1"), ("again.pt", "1"), ("two.pt", "2")):
        assert main([*data, "--epochs", "1", "--seed", seed, "--out", name]) == 0
    one, again, two = (torch.load(tmp_path / f"{n}.pt", weights_only=True) for n in ("one", "again", "two"))
    assert torch.equal(one["1.weight"], again["1.weight"])
    assert not torch.equal(one["1.weight"], two["1.weight"])


def test_images_of_the_training_are_not_called_test_images(data, tmp_path, capsys):
    with np.load("halves.npz") as parts:
        np.savez("whole.npz", images=parts["train_images"], labels=parts["train_labels"])
    assert main([*data, "--data", "whole.npz", "--epochs", "1", "--out", "weights.pt"]) == 0
    assert "of 80 training images are right" in capsys.readouterr().out


def test_folders_have_parts_with_the_same_classes(data, tmp_path, capsys):
    with np.load("halves.npz") as parts:
        for part in ("train", "val"):
            for label in (0, 1):
                (tmp_path / "folder" / part / f"class{label}").mkdir(parents=True)
                for number in np.flatnonzero(parts["train_labels"] == label)[:4]:
                    name = tmp_path / "folder" / part / f"class{label}" / f"{number}.png"
                    Image.fromarray(parts["train_images"][number]).save(name)
    command = [*data, "--data", "folder", "--epochs", "1", "--out", "weights.pt", "--limit", "4"]
    assert main(command) == 0
    assert "of 8 test images are right" in capsys.readouterr().out
    (tmp_path / "folder" / "val" / "class0").rename(tmp_path / "folder" / "val" / "another")
    assert main(command) == 2
    assert "test images of the classes ['class0', 'class1'], got ['another', 'class1']" in capsys.readouterr().err


def test_a_folder_can_be_tested_on_an_archive(data, tmp_path, capsys):
    with np.load("halves.npz") as parts:
        for label in (0, 1):
            (tmp_path / "folder" / f"class{label}").mkdir(parents=True)
            image = parts["train_images"][np.flatnonzero(parts["train_labels"] == label)[0]]
            Image.fromarray(image).save(tmp_path / "folder" / f"class{label}" / "0.png")
    assert main([*data, "--data", "folder", "--test", "halves.npz", "--epochs", "1", "--out", "weights.pt"]) == 0
    assert "of 40 test images are right" in capsys.readouterr().out


def test_a_torchvision_model_can_be_trained_from_scratch(data, tmp_path):
    command = ["train", "--model", "squeezenet1_1", "--from-scratch", "--model-arg", "num_classes=2", "-q"]
    pixels = np.random.default_rng(0).integers(0, 256, (2, 40, 40, 3), dtype=np.uint8)
    np.savez("colours.npz", images=pixels, labels=np.array([0, 1]))
    assert main([*command, "--data", "colours.npz", "--epochs", "1", "--out", "weights.pt"]) == 0
