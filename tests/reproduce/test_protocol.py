"""The scale ``paper`` is the protocol as printed. The scale ``dry`` runs it on files in the data sets' own formats."""

import json

import pytest
import torch
from data_set_files import WNIDS, write_cifar10, write_imagenet, write_mnist
from torch import nn
from torchvision.models import resnet18, resnet50

from captum_certified.cli import main
from captum_certified.images.labelled_images import _TORCHVISION
from captum_certified.reproduce import EXPERIMENTS, Material
from captum_certified.reproduce.certificate_rows import bar_at, reached_at
from captum_certified.reproduce.cifar_networks import _Best, cifar_network, in_pixels
from captum_certified.reproduce.experiment import PROTOCOL_SCALES

ON_CIFAR = ("gallery", "robustness", "attacks", "attacks-on-smoothgrad", "small-radii", "small-images")
ON_MNIST = ("ddn", "digits", "digits-by-weight", "weights")
ON_IMAGENET = ("sparsified", "relaxed", "maps", "unclipped", "scaled", "lecuyer", "photographs")


def printed(name):
    return EXPERIMENTS[name].settings("paper")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A folder with all data sets, and the class that reads CIFAR-10 there."""
    folder = tmp_path_factory.mktemp("data")
    write_mnist(folder)
    write_imagenet(folder)
    return folder, write_cifar10(folder)


@pytest.fixture
def dry_run(data, tmp_path_factory, monkeypatch):
    """Run an experiment at the scale ``dry``, and return its record and the folder of the results."""
    folder, cifar = data
    monkeypatch.setitem(_TORCHVISION, "cifar10", cifar)
    out = tmp_path_factory.getbasetemp() / "dry"

    def run(name, *arguments):
        places = ["--data", str(folder), "--out", str(out)]
        assert main(["reproduce", name, *places, "--scale", "dry", "-q", *arguments]) == 0
        return json.loads((out / f"{name}.json").read_text()), out

    return run


# -- the printed numbers -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["sparsified", "relaxed", "maps", "unclipped", "scaled", "lecuyer"])
def test_certificates_are_of_64_photographs_by_a_resnet_50_from_8192_draws(name):
    settings = printed(name)
    assert EXPERIMENTS[name].default_model == ("resnet50", "weights=IMAGENET1K_V1")
    assert (settings["images"], settings["draws"], settings["sweep_draws"]) == (64, 8192, 8192)
    assert (settings["k"], settings["confidence"], settings["gamma"]) == (0.2, 0.95, 0.01)
    assert settings["taus"] == (0.02, 0.05, 0.1, 0.2, 0.5)
    assert 0.03 in settings["radii"]


def test_a_line_is_what_60_percent_reach_and_its_bar_goes_from_72_to_48_percent():
    rows = [{"overlap_0.03": place / 64} for place in range(1, 65)]
    assert sum(row["overlap_0.03"] >= reached_at(rows) for row in rows) == 39  # 60 % of 64, rounded up
    assert [sum(row["overlap_0.03"] >= end for row in rows) for end in bar_at(rows)] == [47, 31]


@pytest.mark.parametrize("name", ["robustness", "attacks", "attacks-on-smoothgrad", "small-radii"])
def test_attacks_are_on_144_images_by_the_printed_training(name):
    settings = printed(name)
    assert (settings["images"], settings["k"]) == (144, 0.25)
    assert (settings["steps"], settings["restarts"]) == (20, 5)
    training = settings["training"]
    assert (training["images"], training["held_out"], training["epochs"]) == (40000, 10000, 375)
    assert (training["rate"], training["second_rate_from"], training["batch_size"]) == (0.1, 150, 128)
    assert (training["momentum"], training["weight_decay"], training["blocks"]) == (0.9, 5e-4, (2, 2, 2, 2))
    assert EXPERIMENTS[name].dependencies(Material(data="."), "paper") == ("cifar", "cifar-training")
    for radius in settings["radii"]:  # radii are round numbers of standard deviations
        assert radius / 0.2516 == pytest.approx(round(radius / 0.2516, 2), abs=1e-5)


@pytest.mark.parametrize("name", ["robustness", "small-radii"])
def test_maps_of_8192_draws_are_attacked_through_512(name):
    settings = printed(name)
    assert (settings["draws"], settings["attack_draws"], settings["few"]) == (8192, 512, 64)
    assert (settings["taus"], settings["gamma"], settings["sigma"]) == ((0.05, 0.1, 0.2), 0.01, 0.2)


@pytest.mark.parametrize("name", ON_MNIST)
def test_digits_are_trained_as_printed(name):
    settings = printed(name)
    assert (settings["images"], settings["epochs"], settings["first_epochs"]) == (48000, 30, 0)
    assert (settings["batch_size"], settings["rates"][1:], settings["k"]) == (512, [1e-3, 1.0], 0.25)
    assert settings["radius"] == pytest.approx(10 * 0.3081, abs=0.002)
    if name in ("weights", "ddn"):
        assert settings["attacked"] == 10000
    if name == "weights":
        assert [round(784 * weight) for weight in settings["weights"]] == list(range(0, 1001, 100))
        assert "step_num=15, n_restarts=3, n_draws=100" in settings["loss"]


# -- the networks for CIFAR-10 -------------------------------------------------------------------------------------


def test_the_network_is_the_resnet_18_of_torchvision_with_another_first_convolution():
    ours, theirs = cifar_network("relu", 0)[1].state_dict(), resnet18(num_classes=10).state_dict()
    shapes = {name: (of.shape, theirs[name].shape) for name, of in ours.items()}
    assert list(ours) == list(theirs)
    assert {name for name, (own, other) in shapes.items() if own != other} == {"conv1.weight"}
    assert ours["conv1.weight"].shape == (64, 3, 3, 3)


def test_the_two_networks_differ_in_their_activation_alone():
    relu, softplus = cifar_network("relu", 0), cifar_network("softplus", 0)
    assert not any(isinstance(module, nn.ReLU) for module in softplus.modules())
    assert sum(isinstance(m, nn.ReLU) for m in relu.modules()) == sum(
        isinstance(m, nn.Softplus) for m in softplus.modules()
    )
    for of_relu, of_softplus in zip(relu.parameters(), softplus.parameters(), strict=True):
        torch.testing.assert_close(of_relu, of_softplus, rtol=0, atol=0)


def test_pixels_are_standardised_and_radii_are_standard_deviations():
    images = torch.rand(2, 3, 32, 32)
    standardise = cifar_network("relu", 0)[0]
    moved = standardise(images + in_pixels(2.0) * torch.nn.functional.normalize(torch.rand(2, 3072)).view_as(images))
    torch.testing.assert_close((moved - standardise(images)).flatten(1).norm(dim=1), torch.full((2,), 2.0))


def test_the_weights_of_the_best_epoch_are_kept_in_a_file_or_in_memory(tmp_path):
    network, path = nn.Linear(1, 1), tmp_path / "best.pt"
    best, in_memory = _Best(path), _Best(None)
    for accuracy, weight in ((0.5, 1.0), (0.75, 2.0), (0.6, 3.0)):
        network.weight.data.fill_(weight)
        best.offer(accuracy, network)
        in_memory.offer(accuracy, network)
    in_memory.load_into(network)
    assert network.weight.item() == 2.0
    again = _Best(path)
    again.offer(0.7, network)
    again.load_into(network)
    assert (again.accuracy, network.weight.item()) == (0.75, 2.0)


# -- dry runs ------------------------------------------------------------------------------------------------------


def test_the_networks_are_trained_once_and_kept(dry_run):
    _, out = dry_run("robustness")
    kept = {path.name: path.stat().st_mtime_ns for path in (out / "networks").iterdir()}
    assert {f"resnet18-{name}-dry-best.pt" for name in ("relu", "softplus")} <= set(kept)
    dry_run("gallery")
    assert {path.name: path.stat().st_mtime_ns for path in (out / "networks").iterdir()} == kept


@pytest.mark.parametrize("name", ON_CIFAR)
def test_the_protocol_runs_on_python_batches_of_cifar_10(name, dry_run):
    record, _ = dry_run(name)
    assert set(record["settings"]["material"]) == {"cifar", "cifar-training"}
    assert record["summary"]


def test_the_maps_of_figure_4_are_the_printed_ones(dry_run):
    record, _ = dry_run("robustness")
    [names] = {tuple(record["summary"][kind]) for kind in ("own", "worst", "random")}
    smoothgrad = ("SmoothGrad, 3 draws", "SmoothGrad, 2 draws")
    assert names == (*smoothgrad, "gradient", "quadratic", *(f"relaxed, τ = {tau}" for tau in (0.05, 0.1, 0.2)))


@pytest.mark.parametrize("name", ON_MNIST)
def test_the_protocol_runs_on_idx_files_of_mnist(name, dry_run):
    record, _ = dry_run(name)
    assert set(record["settings"]["material"]) == {"mnist"}
    assert record["summary"]


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A file with random weights of torchvision's ResNet-50."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "resnet50.pt"
    torch.save(resnet50().state_dict(), path)
    return path


@pytest.mark.parametrize("name", ON_IMAGENET)
def test_the_protocol_runs_on_a_folder_of_imagenet(name, weights, dry_run):
    record, out = dry_run(name, "--weights", str(weights), "--size", "18,16")
    parts = {path.stem for path in (out / f"{EXPERIMENTS[name].store or name}-parts").iterdir()}
    assert {wnid for wnid in WNIDS if any(wnid in part for part in parts)} == {WNIDS[0], WNIDS[-1]}
    assert record["summary"]


def test_every_experiment_has_both_scales_of_the_protocol():
    for experiment in EXPERIMENTS.values():
        dry, paper = (experiment.settings(scale) for scale in PROTOCOL_SCALES)
        assert set(dry) == set(paper), experiment.name
        assert dry != paper, experiment.name
