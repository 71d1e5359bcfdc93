"""``captum-certified attack``: attacks on both maps beside the certificate, and messages for bad calls."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from captum_certified.cli import main
from captum_certified.cli.attack import ATTACKS
from captum_certified.robust.named_attacks import ATTACK_NAMES
from captum_certified.runs import verify

QUICK = ["--samples", "64", "--steps", "3", "--restarts", "1", "--attack-draws", "4", "--seed", "1", "-q"]


EVERY_VALUE = ["--groups", "none", "--sigma", "0.2", "--tau", "0.1"]


def call(folder, *arguments, model="made", model_args=("12",)):
    words = ["attack", *EVERY_VALUE, *arguments, "--model", f"{folder}:{model}", "--size", "12", *QUICK]
    return main(words + [part for value in model_args for part in ("--model-arg", value)])


def test_each_image_gets_a_certificate_a_figure_and_the_attacked_image(folder, capsys):
    assert call(folder, "one.png", "two.jpg", "--radius", "0.5", "--out", "results") == 0
    assert sorted(path.name for path in Path("results").iterdir()) == [
        f"{name}{rest}" for name in ("one", "two") for rest in ("-attacked.npy", ".json", ".npz", ".png")
    ]
    record = json.loads(Path("results/one.json").read_text())
    assert verify(Path("results/one.json")).agrees
    attacked, clean = np.load("results/one-attacked.npy"), record["attack"]
    assert attacked.shape == (3, 12, 12)
    assert 0 <= attacked.min() <= attacked.max() <= 1
    assert clean["prediction"] == record["prediction"]
    assert record["overlap_fraction"][0] <= clean["overlap_fraction"][0] <= 1
    assert 0 <= clean["plain_overlap_fraction"][0] <= 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("one.png: class ")
    assert "of the smoothed one's, measured from 64 fresh draws; " in lines[0]
    assert lines[0].endswith("% is certified of the exact smoothed map (best, confidence 0.95)")
    assert "are held fixed at every perturbed input, also where the prediction changes." in lines[2]


def test_the_attacked_image_is_within_the_radius(folder):
    assert call(folder, "one.png", "--radius", "0.25", "--out", "results") == 0
    assert call(folder, "one.png", "--radius", "0", "--out", "still") == 0
    moved = np.load("results/one-attacked.npy").astype(np.float64) - np.load("still/one-attacked.npy")
    assert 0.2 < np.linalg.norm(moved) <= 0.25


def test_channels_can_be_grouped_into_pixels(folder):
    assert call(folder, "one.png", "--groups", "channels", "--out", "results") == 0
    record = json.loads(Path("results/one.json").read_text())
    assert record["n_features"] == 144


def test_results_as_json_go_to_standard_output_alone(folder, capsys):
    assert call(folder, "one.png", "--json", "-", "--target", "argmax", "--out", "results") == 0
    printed = capsys.readouterr()
    [record] = json.loads(printed.out)
    assert record["image"] == "one.png"
    assert "is certified" in printed.err


def test_the_same_seed_finds_the_same_attacked_image(folder):
    for out in ("first", "second"):
        assert call(folder, "one.png", "--out", out) == 0
    torch.testing.assert_close(np.load("first/one-attacked.npy"), np.load("second/one-attacked.npy"), rtol=0, atol=0)


def test_a_failing_image_does_not_stop_the_others(folder, capsys):
    Path("broken.png").write_bytes(b"nothing")
    assert call(folder, "broken.png", "one.png", "--out", "results") == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("broken.png: failed: ")
    assert lines[1].startswith("one.png: class ")


@pytest.mark.parametrize("method", ["DeepLift", "GradCAM", "Occlusion"])
def test_a_method_that_cannot_be_differentiated_is_refused(folder, capsys, method):
    assert call(folder, "one.png", "--method", method, "--out", "results") == 2
    printed = capsys.readouterr().err
    assert "Expected `--method` among Saliency, InputXGradient, IntegratedGradients for attack" in printed
    assert f"got {method}, whose map cannot be differentiated. The command certify takes every method." in printed
    assert not Path("results").exists()


def test_the_names_of_attacks_are_those_of_the_package():
    assert ATTACKS == ATTACK_NAMES


LENGTHS = {
    "interpretation": {"steps": 3, "restarts": 1},
    "ghorbani": {"steps": 3},
    "fast_gradient": {},
    "black_box": {"queries": 5},
}


@pytest.mark.parametrize("attack", list(LENGTHS))
def test_every_attack_is_recorded_with_how_long_it_searched(folder, attack):
    assert call(folder, "one.png", "--attack", attack, "--queries", "5", "--radius", "0.5", "--out", "results") == 0
    record = json.loads(Path("results/one.json").read_text())
    known = record["attack"]
    assert {name: known[name] for name in ("steps", "restarts", "queries") if name in known} == LENGTHS[attack]
    assert known["name"] == attack
    assert record["overlap_fraction"][0] <= known["overlap_fraction"][0] <= 1
    assert (known["surrogate"] == "none: a random search takes no gradients") == (attack == "black_box")


@pytest.mark.parametrize("method", ["FeatureAblation", "DeepLift"])
def test_black_box_attacks_a_method_that_cannot_be_differentiated(folder, method):
    words = ["--method", method, "--groups", "patches:4", "--attack", "black_box", "--queries", "4"]
    assert call(folder, "one.png", *words, "--out", "results") == 0
    assert json.loads(Path("results/one.json").read_text())["attack"]["queries"] == 4


@pytest.mark.parametrize("beta", ["0", "-1", "nan", "some"])
def test_a_surrogate_is_a_number_auto_or_none(folder, capsys, beta):
    assert call(folder, "one.png", "--beta", beta) == 2
    assert f"argument --beta: expected auto, none, or a number above 0, got {beta}" in capsys.readouterr().err


RELUS = """
import torch
from torch import nn


def load():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(400, 3)).eval()


def scripted():
    return torch.jit.trace(load(), torch.zeros(1, 3, 12, 12))
"""


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning", "ignore:.*torch.jit:FutureWarning")
@pytest.mark.filterwarnings("ignore:The map has no gradient where the search begins:UserWarning")
@pytest.mark.parametrize(
    ("model", "words", "beta", "surrogate"),
    [
        ("relus:load", [], 30.0, "softplus with β = 30 in place of ReLU"),
        ("relus:load", ["--beta", "10"], 10.0, "softplus with β = 10 in place of ReLU"),
        ("relus:load", ["--beta", "none"], None, "none: turned off"),
        ("relus:scripted", [], None, "none: the ReLUs of a scripted Sequential cannot be replaced"),
        ("{folder}:already", [], None, "none: no ReLU was seen"),
    ],
)
def test_the_surrogate_is_chosen_by_the_network_and_recorded(folder, tmp_path, model, words, beta, surrogate):
    (tmp_path / "relus.py").write_text(RELUS)
    words = ["attack", "one.png", "--model", model.format(folder=folder), "--size", "12", *QUICK, *words]
    assert main([*words, "--out", "results"]) == 0
    attack = json.loads(Path("results/one.json").read_text())["attack"]
    assert (attack["beta"], attack["plain_beta"], attack["surrogate"]) == (beta, beta, surrogate)
