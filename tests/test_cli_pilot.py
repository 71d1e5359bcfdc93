"""``captum-certified pilot``, ``--reference`` and ``--groups``: tables, files, and messages for bad calls."""

import json
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from captum_certified import Certificate
from captum_certified.cli import main

QUICK = ["--model-arg", "12", "--size", "12", "--seed", "1", "-q"]


def certify(folder, *arguments):
    return main(["certify", *arguments, "--model", f"{folder}:made", "--samples", "64", *QUICK])


def run_pilot(folder, *arguments):
    return main(
        ["pilot", *arguments, "--model", f"{folder}:made", "--pilot-samples", "256", "--radius", "0.05", *QUICK]
    )


def test_a_pilot_prints_a_table_and_a_command_that_runs(folder, capsys):
    settings = ["--sigmas", "0.1,0.4", "--taus", "0.2", "--methods", "Saliency,InputXGradient", "--samples", "64"]
    assert run_pilot(folder, "one.png", "two.jpg", *settings, "--json", "pilot.json", "--figure", "pilot.png") == 0
    printed = capsys.readouterr().out
    assert "It proves nothing." in printed
    record = json.loads(Path("pilot.json").read_text())
    assert [(row["method"], row["sigma"]) for row in record["rows"]] == [
        ("Saliency", 0.1), ("Saliency", 0.4), ("InputXGradient", 0.1), ("InputXGradient", 0.4),
    ]  # fmt: skip
    assert {row["groups"] for row in record["rows"]} == {"patches:4"}
    assert all(row["examples"] == 2 for row in record["rows"])
    assert Path("pilot.png").read_bytes().startswith(b"\x89PNG")
    commands = [line.strip() for line in printed.splitlines() if line.strip().startswith("captum-certified certify")]
    assert len(commands) == 2
    for command in commands:
        words = [word for word in shlex.split(command)[1:] if word != "IMAGES"]
        assert main([*words[:1], "one.png", *words[1:], "--json", "certified.json", "-q"]) == 0
        [certified] = json.loads(Path("certified.json").read_text())
        assert certified["stdevs"] == record["best"][certified["setup"]["method"]]["sigma"]


def test_a_pilot_is_the_same_for_the_same_seed(folder, capsys):
    settings = ["one.png", "--sigmas", "0.2", "--taus", "0.2", "--json", "-"]
    tables = []
    for _ in range(2):
        assert run_pilot(folder, *settings) == 0
        [row] = json.loads(capsys.readouterr().out)["rows"]
        tables.append({name: value for name, value in row.items() if name != "seconds"})
    assert tables[0] == tables[1]


def test_images_of_several_sizes_and_unknown_methods_are_refused(folder, capsys):
    Image.new("RGB", (9, 9)).save("small.png")
    words = ["pilot", "one.png", "small.png", "--model", f"{folder}:already", "--radius", "0.1", "-q"]
    assert main(words) == 2
    assert "Expected images of one size, got" in capsys.readouterr().err
    assert run_pilot(folder, "one.png", "--methods", "Saliency,Guess") == 2
    assert "Expected `--methods` among Saliency, InputXGradient" in capsys.readouterr().err


def test_a_pilot_without_a_radius_is_refused(folder, capsys):
    assert main(["pilot", "one.png", "--model", f"{folder}:made", *QUICK]) == 2
    assert "--radius" in capsys.readouterr().err


# -- a reference -----------------------------------------------------------------------------------------------


def test_the_plain_map_is_the_reference(folder, capsys):
    assert certify(folder, "one.png", "--reference", "plain", "--groups", "none", "--out", "results") == 0
    record = json.loads(Path("results/one.json").read_text())
    assert record["reference"] == "plain"
    assert "% of the plain map's top 87 features survive L2 radius 0.03" in capsys.readouterr().out
    assert main(["verify", "results"]) == 0


def a_mask(folder, box):
    """Write a mask of the size of one.png whose box X0, Y0, X1, Y1 is marked."""
    with Image.open("one.png") as image:
        width, height = image.size
    mask = np.zeros((height, width), dtype=np.uint8)
    mask[box[1] : box[3], box[0] : box[2]] = 255
    return Image.fromarray(mask), (width, height)


def test_a_mask_is_framed_as_the_image_and_follows_groups(folder, capsys):
    mask, (width, height) = a_mask(folder, (0, 0, 10**6, 10**6))
    mask.save("everything.png")
    assert certify(folder, "one.png", "--reference", "everything.png", "--groups", "patches:4", "--out", "all") == 0
    certificate = Certificate.load("all/one.npz")
    assert certificate.reference == "mask"
    assert bool(certificate.members.all())
    assert certificate.overlap_fraction.tolist() == [1.0]  # nothing else can be in the top set
    left, _ = a_mask(folder, (0, 0, width // 2, height))
    left.save("left.png")
    assert certify(folder, "one.png", "--reference", "left.png", "--groups", "patches:2", "--out", "left") == 0
    cells = Certificate.load("left/one.npz").members.reshape(6, 6)
    assert torch.equal(cells, torch.tensor([[True] * 3 + [False] * 3] * 6))
    assert "% of the 18 features of the reference survive" in capsys.readouterr().out
    assert main(["verify", "left"]) == 0


def test_every_image_may_have_a_mask_of_its_own(folder, capsys):
    Path("masks").mkdir()
    mask, _ = a_mask(folder, (0, 0, 10**6, 10**6))
    mask.save("masks/one.png")
    assert certify(folder, "one.png", "two.jpg", "--reference", "masks", "--out", "results") == 1
    printed = capsys.readouterr().out
    assert "one.png: class" in printed
    assert "two.jpg: failed: InvalidInputError: Expected one mask named two in `--reference` masks, got 0." in printed


def test_masks_that_do_not_fit_are_refused(folder, capsys):
    Image.new("L", (3, 3), 255).save("small.png")
    assert certify(folder, "one.png", "--reference", "small.png") == 1
    assert "Expected the mask small.png to have the " in capsys.readouterr().out
    mask, _ = a_mask(folder, (0, 0, 0, 0))
    mask.save("nothing.png")
    assert certify(folder, "one.png", "--reference", "nothing.png") == 1
    assert "to mark a pixel of the cropped image, got none" in capsys.readouterr().out


@pytest.mark.filterwarnings("default:Results in:UserWarning")
def test_another_mask_is_certified_anew_without_new_draws(folder, capsys):
    mask, (width, height) = a_mask(folder, (0, 0, 10**6, 10**6))
    mask.save("mask.png")
    words = ["one.png", "--reference", "mask.png", "--groups", "patches:2", "--out", "results"]
    assert certify(folder, *words) == 0
    assert certify(folder, *words) == 0
    a_mask(folder, (0, 0, width // 2, height))[0].save("mask.png")
    assert certify(folder, *words) == 0
    assert "certified anew, without new draws" in capsys.readouterr().err
    assert int(Certificate.load("results/one.npz").members.sum()) == 18


@pytest.mark.filterwarnings("ignore:The map has no gradient")
def test_a_reference_is_attacked(folder, capsys):
    words = ["--steps", "2", "--restarts", "1", "--attack-draws", "2", "--samples", "32", "--groups", "patches:2"]
    call = [
        "attack",
        "one.png",
        "--model",
        f"{folder}:made",
        "--reference",
        "plain",
        "--out",
        "attacks",
        *words,
        *QUICK,
    ]
    assert main(call) == 0
    assert "of the plain map's top 8 features in the smoothed map's, measured from" in capsys.readouterr().out


# -- groups and units ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "features"), [("auto", 9), ("none", 432), ("channels", 144), ("patches:6", 4), ("patches:5", 9)]
)
def test_groups_by_name(folder, name, features):
    assert certify(folder, "one.png", "--groups", name, "--out", "results") == 0
    assert json.loads(Path("results/one.json").read_text())["n_features"] == features


def test_an_unknown_group_is_refused(folder, capsys):
    assert certify(folder, "one.png", "--groups", "patches:0") == 2
    assert "patches:S with a side S from 1 in pixels, superpixels:S with a number S" in capsys.readouterr().err


def test_the_radius_is_compared_with_everyday_changes(folder, capsys):
    assert certify(folder, "one.png", "two.jpg", "--radius", "0.5", "--out", "results") == 0
    printed = capsys.readouterr().out
    assert printed.count("L2 radius 0.5: 6.1 grey levels in every value; rounding to 8 bits is 0.024; JPEG 95 ") == 1
    units = json.loads(Path("results/one.json").read_text())["everyday_units"]
    assert sorted(units) == ["grey_levels", "jpeg", "rounding", "shift"]
