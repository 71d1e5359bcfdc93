"""``--groups`` with superpixels and with regions from files: in ``certify``, ``attack`` and ``pilot``."""

import importlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from captum_certified import Certificate, superpixels
from captum_certified.cli import main
from captum_certified.images.framing import Framing, load_image

SAMPLES = ["--samples", "64", "--seed", "1", "--sigma", "0.2", "-q"]


def run(command, folder, *words):
    return main([command, *words, "--model", f"{folder}:made", "--model-arg", "12", "--size", "12", *SAMPLES])


def ids_of(result):
    """The group of every pixel, shape (12, 12), and the number of groups."""
    layout = Certificate.load(result).map.layout
    [ids] = layout.group_ids
    assert bool((ids == ids[:, :1]).all())  # a region holds all channels of its pixels
    return ids[0, 0], layout.n_features


def save_columns(path, parts, size=(30, 20)):
    """Save regions of a file of 30 × 20 pixels: as many bands from left to right as ``parts``."""
    width, height = size
    bands = np.arange(width) * parts // width
    Image.fromarray(np.tile(bands.astype(np.uint8), (height, 1))).save(path)


@pytest.fixture
def needs_superpixels():
    pytest.importorskip("skimage")


@pytest.mark.usefixtures("needs_superpixels")
def test_superpixels_are_those_of_the_framed_clean_image(folder, capsys):
    words = ["one.png", "two.jpg", "--groups", "superpixels:9", "--report", "--out", "results"]
    assert run("certify", folder, *words) == 0
    for name in ("one.png", "two.jpg"):
        ids, regions = ids_of(f"results/{Path(name).stem}.npz")
        assert regions == 9
        image, _ = load_image(name, Framing(resize=12, crop=12))
        assert torch.equal(ids, superpixels(image, 9)[0, 0])
    assert json.loads(Path("results/one.json").read_text())["groups"] == "superpixels:9"
    assert "of 9 regions" in Path("results/one.html").read_text()
    assert main(["verify", "results"]) == 0


def test_regions_from_a_file_are_framed_with_the_image(folder, capsys):
    save_columns("bands.png", 2)
    assert run("certify", folder, "one.png", "--groups", "bands.png", "--out", "results") == 0
    ids, regions = ids_of("results/one.npz")
    assert regions == 2
    # 30 × 20 is resized to 18 × 12 and cropped to 12 × 12 in the centre, so the middle stays the middle.
    assert torch.equal(ids, torch.tensor([[0] * 6 + [1] * 6] * 12))
    assert main(["verify", "results"]) == 0


def test_every_image_may_have_regions_of_its_own_in_a_folder(folder, capsys):
    Path("regions").mkdir()
    save_columns("regions/one.png", 2)
    np.save("regions/two.npy", np.arange(600).reshape(20, 30) // 200)
    assert run("certify", folder, "one.png", "two.jpg", "--groups", "regions", "--out", "results") == 0
    assert [ids_of(f"results/{name}.npz")[1] for name in ("one", "two")] == [2, 3]
    Path("regions/two.npy").unlink()
    assert run("certify", folder, "one.png", "two.jpg", "--groups", "regions", "--out", "other") == 1
    assert "two.jpg: failed: InvalidInputError: Expected one mask named two in `--groups` regions, got 0." in (
        capsys.readouterr().out
    )


@pytest.mark.filterwarnings("default:Results in:UserWarning")
def test_other_regions_are_sampled_anew_and_the_same_are_kept(folder, capsys):
    save_columns("bands.png", 3)
    words = ["one.png", "--groups", "bands.png", "--out", "results"]
    assert run("certify", folder, *words) == 0
    before = Path("results/one.npz").read_bytes()
    assert run("certify", folder, *words) == 0
    assert Path("results/one.npz").read_bytes() == before
    assert "groups" not in capsys.readouterr().err
    save_columns("bands.png", 2)
    assert run("certify", folder, *words) == 0
    assert "groups changed" in capsys.readouterr().err
    assert ids_of("results/one.npz")[1] == 2


def test_a_reference_marks_whole_regions(folder, capsys):
    save_columns("bands.png", 3)
    left = np.zeros((20, 30), np.uint8)
    left[:, :13] = 255
    Image.fromarray(left).save("left.png")
    words = ["--groups", "bands.png", "--reference", "left.png", "--k", "1", "--out", "results"]
    assert run("certify", folder, "one.png", *words) == 0
    assert Certificate.load("results/one.npz").members.tolist() == [[True, False, False]]


@pytest.mark.usefixtures("needs_superpixels")
def test_regions_are_attacked(folder, capsys):
    quick = ["--steps", "1", "--restarts", "1", "--attack-draws", "16", "--tau", "0.5", "--out", "attacks"]
    assert run("attack", folder, "one.png", "--groups", "superpixels:9", *quick) == 0
    record = json.loads(Path("attacks/one.json").read_text())
    assert (record["n_features"], record["groups"]) == (9, "superpixels:9")
    image, _ = load_image("one.png", Framing(resize=12, crop=12))
    assert torch.equal(ids_of("attacks/one.npz")[0], superpixels(image, 9)[0, 0])


@pytest.mark.usefixtures("needs_superpixels")
def test_a_pilot_tries_regions_and_names_them_in_its_command(folder, capsys):
    save_columns("bands.png", 4)
    words = ["one.png", "two.jpg", "--radius", "0.01", "--sigmas", "0.2", "--taus", "0.3", "--pilot-samples", "256"]
    words += ["--groups", "patches:4,superpixels:9,bands.png", "--json", "pilot.json", "--k", "1", "-q"]
    given = ["--model", f"{folder}:made", "--model-arg", "12", "--size", "12", "--samples", "64", "--seed", "1"]
    assert main(["pilot", *words, *given]) == 0
    rows = json.loads(Path("pilot.json").read_text())["rows"]
    assert [(row["groups"], row["n_features"]) for row in rows] == [
        ("patches:4", 9),
        ("superpixels:9", 9),
        ("bands.png", 4),
    ]
    command = capsys.readouterr().out
    assert any(f"--groups {row['groups']} " in command for row in rows)


def test_a_pilot_needs_the_same_number_of_regions_in_every_image(folder, capsys):
    Path("regions").mkdir()
    save_columns("regions/one.png", 2)
    save_columns("regions/two.png", 3)
    words = ["one.png", "two.jpg", "--radius", "0.01", "--groups", "regions", "--k", "1"]
    assert main(["pilot", *words, "--model", f"{folder}:made", "--model-arg", "12", "--size", "12", "-q"]) == 2
    assert "same number of groups for every example, got 2 to 3" in capsys.readouterr().err


def test_regions_that_do_not_fit_are_refused(folder, capsys):
    save_columns("small.png", 2, size=(29, 20))
    assert run("certify", folder, "one.png", "--groups", "small.png") == 1
    assert "Expected the regions small.png to have the 30 × 20 pixels of one.png" in capsys.readouterr().out
    assert run("certify", folder, "one.png", "--groups", "two.jpg") == 1
    assert "Expected two.jpg to hold one integer for each pixel" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["superpixels:0", "superpixels:", "superpixels:many", "missing.png"])
def test_names_that_mean_nothing_are_refused(folder, capsys, name):
    assert run("certify", folder, "one.png", "--groups", name) == 2
    assert f"or a file or folder that exists, got {name}" in capsys.readouterr().err


def test_the_package_to_install_is_named_before_anything_is_computed(folder, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "skimage", None)
    assert run("certify", folder, "one.png", "--groups", "superpixels:9", "--out", "results") == 2
    assert 'not installed; run: pip install "captum-certified[superpixels]"' in capsys.readouterr().err
    assert not Path("results").exists()


def test_regions_are_switched_off_whole_in_every_image(folder):
    Path("regions").mkdir()
    save_columns("regions/one.png", 3)
    np.save("regions/two.npy", np.arange(600).reshape(20, 30) // 200)
    words = ["--groups", "regions", "--radius", "0.05"]
    assert run("certify", folder, "one.png", "--method", "FeatureAblation", *words, "--out", "results") == 0
    ids, regions = ids_of("results/one.npz")
    image, _ = load_image("one.png", Framing(resize=12, crop=12))
    without = torch.cat([image, *(image * (ids != number) for number in range(regions))])
    outputs = importlib.import_module(folder).made(12)(without)
    target = int(outputs[0].argmax())
    effects = (outputs[0] - outputs[1:])[:, target].abs()  # of every entry of the region
    entries = 3 * torch.bincount(ids.flatten())
    torch.testing.assert_close(Certificate.load("results/one.npz").map.plain[0].float(), (effects * entries).detach())
    settings = ["--methods", "FeatureAblation", "--sigmas", "0.2", "--taus", "0.4", "--pilot-samples", "256"]
    assert run("pilot", folder, "one.png", "two.jpg", *settings, *words, "--json", "table.json") == 0
    [row] = json.loads(Path("table.json").read_text())["rows"]
    assert (row["method"], row["examples"], row["n_features"]) == ("FeatureAblation", 2, 3)
