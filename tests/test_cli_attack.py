"""``captum-certified attack``: both maps attacked beside the certificate, and every wrong call said plainly."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from captum_certified.cli import main
from captum_certified.runs import verify

QUICK = ["--samples", "64", "--steps", "3", "--restarts", "1", "--attack-draws", "4", "--seed", "1", "-q"]


def call(folder, *arguments, model="made", model_args=("12",)):
    words = ["attack", *arguments, "--model", f"{folder}:{model}", "--size", "12", *QUICK]
    return main(words + [part for value in model_args for part in ("--model-arg", value)])


def test_a_certificate_a_figure_and_the_attacked_image_of_each_image(folder, capsys):
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
    line = capsys.readouterr().out.splitlines()[0]
    assert line.startswith("one.png: class ")
    assert "is certified" in line


def test_the_attacked_image_is_within_the_radius(folder):
    assert call(folder, "one.png", "--radius", "0.25", "--out", "results") == 0
    assert call(folder, "one.png", "--radius", "0", "--out", "still") == 0
    moved = np.load("results/one-attacked.npy").astype(np.float64) - np.load("still/one-attacked.npy")
    assert 0.2 < np.linalg.norm(moved) <= 0.25


def test_pixels_may_be_features(folder):
    assert call(folder, "one.png", "--groups", "channels", "--out", "results") == 0
    record = json.loads(Path("results/one.json").read_text())
    assert record["n_features"] == 144


def test_results_as_json_go_to_standard_output_alone(folder, capsys):
    assert call(folder, "one.png", "--json", "-", "--target", "argmax", "--out", "results") == 0
    printed = capsys.readouterr()
    [record] = json.loads(printed.out)
    assert record["image"] == "one.png"
    assert "is certified" in printed.err


def test_the_same_seed_finds_the_same_image(folder):
    for out in ("first", "second"):
        assert call(folder, "one.png", "--out", out) == 0
    torch.testing.assert_close(np.load("first/one-attacked.npy"), np.load("second/one-attacked.npy"), rtol=0, atol=0)


def test_a_failing_image_does_not_stop_the_others(folder, capsys):
    Path("broken.png").write_bytes(b"nothing")
    assert call(folder, "broken.png", "one.png", "--out", "results") == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("broken.png: failed: ")
    assert lines[1].startswith("one.png: class ")


@pytest.mark.parametrize(
    ("arguments", "match"),
    [(["--method", "DeepLift"], "cannot be differentiated"), (["--beta", "0"], "Expected `surrogate_beta`")],
)
def test_what_cannot_be_attacked_is_said(folder, capsys, arguments, match):
    assert call(folder, "one.png", *arguments, "--out", "results") == 1
    assert match in capsys.readouterr().out
