"""``--model FILE``: TorchScript and archives of ``torch.export``, the methods that they allow, and other files."""

import json
import shutil
import warnings
import zipfile
from pathlib import Path

import pytest
import torch

from captum_certified.cli import main
from captum_certified.cli.model_files import Exported

QUICK = ["--size", "8", "--samples", "64", "--seed", "1", "-q"]


SOURCE = """
import torch
from torch import nn


def small():
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Softplus(), nn.Flatten(), nn.Linear(144, 3)]
    return nn.Sequential(*layers).eval()
"""


def small():
    namespace = {}
    exec(SOURCE, namespace)  # noqa: S102
    return namespace["small"]()


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """One network in every kind of file."""
    folder, network, images = tmp_path_factory.mktemp("files"), small(), torch.zeros(2, 3, 8, 8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # newer versions of PyTorch discourage TorchScript
        torch.jit.trace(network, images).save(folder / "scripted.pt")
        any_batch = torch.export.export(network, (images,), dynamic_shapes=({0: torch.export.Dim("batch")},))
        torch.export.save(any_batch, folder / "exported.pt2")
        torch.export.save(torch.export.export(network, (images,)), folder / "fixed.pt2")
    shutil.copy(folder / "exported.pt2", folder / "exported.pt")
    torch.save(network, folder / "whole.pt2")
    return folder


@pytest.fixture
def model(folder, files, monkeypatch):
    """The current folder, with the network as a callable beside its files."""
    for path in files.iterdir():
        shutil.copy(path, path.name)
    Path("same_network.py").write_text(SOURCE)
    return "same_network:small"


def run(model, *arguments, command="certify"):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript is deprecated
        return main([command, "one.png", "--model", model, *QUICK, *arguments])


def certified(capsys, model, *arguments):
    assert run(model, *arguments, "--json", "-") == 0
    return json.loads(capsys.readouterr().out)[0]


@pytest.mark.parametrize(
    "words",
    [
        ["--method", "Saliency", "--mean", "0.5", "--std", "0.25"],
        ["--method", "Occlusion"],
        ["--method", "IntegratedGradients", "--method-arg", "n_steps=4"],
        ["--method", "GradientShap", "--baselines", "two.jpg"],
    ],
)
def test_a_file_gives_the_certificate_of_its_network(model, capsys, words):
    own = certified(capsys, model, *words)
    for file in ("scripted.pt", "exported.pt2"):
        of_file = certified(capsys, file, *words)
        assert of_file["overlap"] == own["overlap"]
        assert of_file["plain_overlap"] == own["plain_overlap"]


def test_an_exported_model_is_attacked(model, capsys):
    quick = ["--steps", "2", "--restarts", "1", "--attack-draws", "2"]
    assert run("exported.pt2", *quick, "--json", "-", command="attack") == 0
    [record] = json.loads(capsys.readouterr().out)
    assert record["overlap_fraction"][0] <= record["attack"]["overlap_fraction"][0]


@pytest.mark.parametrize("file", ["scripted.pt", "exported.pt2"])
@pytest.mark.parametrize(
    "words", [["GuidedBackprop"], ["DeepLift"], ["LRP"], ["GradCAM", "--layer", "0"], ["GuidedGradCam", "--layer", "0"]]
)
def test_methods_that_set_hooks_are_refused(model, capsys, file, words):
    assert run(file, "--method", *words) == 2
    printed = capsys.readouterr().err
    assert f"Expected a model of ordinary modules for {words[0]}, which sets hooks on them" in printed
    assert "Give the model as package.module:callable, or choose a method such as Saliency or Occlusion." in printed


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--model", "fixed.pt2"],
            "to take batches of any size, got one that was exported for batches of 2. Export",
        ),
        (["--model", "fixed.pt2"], 'dynamic_shapes=({0: torch.export.Dim("batch")},)'),
        (["--model", "exported.pt"], "got an archive of torch.export under another name. Let its name end in .pt2."),
        (["--model", "whole.pt2"], "got a pickled object, such as a whole model, which could execute code when it is"),
        (["--model", "exported.pt2", "--model-arg", "3"], "Expected no `--model-arg` for the exported model exported."),
        (["--weights", "exported.pt2"], "got an exported model. Give it to `--model` instead."),
        (["--model", "damaged.pt2"], "to be an archive of torch.export that loads, got "),
    ],
)
def test_files_that_do_not_fit_are_refused(model, capsys, words, message):
    with zipfile.ZipFile("damaged.pt2", "w") as archive:
        archive.writestr("damaged/archive_format", "pt2")
    assert run(model, *words) == 2
    printed = capsys.readouterr().err
    assert message in printed.splitlines()[-1]  # PyTorch logs why an archive does not load


def test_an_image_of_another_size_is_reported(model, capsys):
    assert run("exported.pt2", "--size", "9") == 1
    assert "Expected a model that takes images of 9 × 9 pixels with 3 channels; see `--size`" in capsys.readouterr().out


def test_an_exported_network_keeps_its_mode(files):
    network = Exported(torch.export.load(files / "exported.pt2").module())
    assert network.train() is network
    assert network.training
    assert not network.eval().training
    images = torch.rand(5, 3, 8, 8)
    torch.testing.assert_close(network(images), small()(images))
