"""Unusual image files on the command line: the right pixels, or one line with the reason."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from captum_certified.attr.fingerprint import input_digests
from captum_certified.cli import main

GREY = np.linspace(0, 1, 144, dtype=np.float32).reshape(12, 12)
COLOURS = np.random.default_rng(0).integers(0, 256, (12, 12, 3), dtype=np.uint8)
RGB = Image.fromarray(COLOURS)
QUICK = ["--samples", "8", "--seed", "1", "-q"]


def call(folder, *words):
    return main(["certify", *words, "--model", f"{folder}:already", *QUICK])


def pixels(values):
    """The expected input of the model, shape (1, 3, 12, 12)."""
    values = torch.from_numpy(np.array(values)).float()
    return (values.permute(2, 0, 1) if values.dim() == 3 else values.expand(3, -1, -1)).unsqueeze(0).contiguous()


def test_unusual_files_are_certified_with_the_right_pixels_or_refused_in_one_line(folder, capsys):
    odd = Path("odd")
    odd.mkdir()
    transparent = RGB.quantize(16)
    transparent.info["transparency"] = bytes(range(0, 256, 16))
    deep = (GREY * 65535).astype(np.uint16)
    Image.fromarray(GREY).save(odd / "float.tif")
    Image.fromarray(GREY * 255).save(odd / "float255.tif")
    Image.fromarray(GREY * np.nan).save(odd / "nan.tif")
    Image.fromarray((GREY * 255).astype(np.int32)).save(odd / "int.tif")
    Image.fromarray(deep).save(odd / "deep.png")
    np.save(odd / "big.npy", GREY.astype(">f4"))
    np.save(odd / "empty.npy", np.zeros((0, 12, 3)))
    np.save(odd / "objects.npy", np.array([[{}]]))
    RGB.convert("CMYK").save(odd / "cmyk.tif")
    transparent.save(odd / "palette.png")
    certified = {
        "float": pixels(GREY),
        "deep": pixels(deep.astype(np.float32)) / 65535,
        "big": pixels(GREY),
        "cmyk": pixels(np.asarray(RGB.convert("CMYK").convert("RGB"))) / 255,
        "palette": pixels(np.asarray(RGB.quantize(16).convert("RGB"))) / 255,
    }
    refused = {
        "float255.tif": "in [0, 1], got 0 to 255. Divide the pixels by",
        "nan.tif": "in [0, 1], got NaN or infinity",
        "int.tif": "got other integers from 0 to 255, whose scale is unknown. Divide the pixels by",
        "empty.npy": "to have pixels, got an empty array of shape (0, 12, 3)",
        "objects.npy": "it holds objects",
    }
    assert call(folder, "odd", "--out", "results") == 1
    printed = capsys.readouterr()
    for name, expected in certified.items():
        record = json.loads(Path(f"results/{name}.json").read_text())
        assert record["setup"]["inputs"] == input_digests((expected,)), name
    for name, message in refused.items():
        [line] = [line for line in printed.out.splitlines() if line.startswith(f"odd/{name}: ")]
        assert line.startswith(f"odd/{name}: failed: InvalidInputError: Expected ")
        assert message in line
    assert len(list(Path("results").glob("*.npz"))) == 5
    assert printed.err == ""
    # One line for each file, two lines of summary, and the folder of the results.
    assert len(printed.out.splitlines()) <= 10 + 4


def save_turned(path, orientation=6):
    exif = Image.Exif()
    exif[0x0112] = orientation
    RGB.save(path, exif=exif)


@pytest.mark.parametrize("command", ["certify", "attack"])
@pytest.mark.filterwarnings("default:turned.png has EXIF orientation:UserWarning")
def test_an_orientation_is_reported_in_one_line_and_applied_with_exif(folder, capsys, command):
    save_turned("turned.png")
    words = [command, "turned.png", "--model", f"{folder}:already", "--groups", "none", *QUICK]
    words += ["--steps", "1", "--restarts", "1", "--attack-draws", "2"] if command == "attack" else []
    assert main([*words, "--out", "stored"]) == 0
    [line] = capsys.readouterr().err.splitlines()
    assert re.fullmatch(
        r"captum-certified: turned.png has EXIF orientation 6, but is read as .* Give `--exif` .*", line
    )
    assert main([*words, "--exif", "--out", "upright"]) == 0
    assert capsys.readouterr().err == ""
    for out, expected in (("stored", COLOURS), ("upright", np.rot90(COLOURS, -1))):
        record = json.loads(Path(out, "turned.json").read_text())
        assert record["setup"]["inputs"] == input_digests((pixels(expected) / 255,))


@pytest.mark.parametrize("command", ["certify", "attack", "pilot", "train", "train-denoiser"])
def test_every_command_that_reads_pictures_offers_to_turn_them(capsys, command):
    assert main([command, "--help"]) == 0
    assert "--exif" in capsys.readouterr().out


@pytest.mark.filterwarnings("default:turned.png has EXIF orientation:UserWarning")
@pytest.mark.filterwarnings("default:Results in results of other settings are redone:UserWarning")
def test_exif_given_later_redoes_the_result(folder, capsys):
    save_turned("turned.png")
    digests = []
    for words in ([], ["--exif"]):
        assert call(folder, "turned.png", "--out", "results", *words) == 0
        digests.append(json.loads(Path("results/turned.json").read_text())["setup"]["inputs"])
    assert digests[0] != digests[1]


def test_a_region_is_turned_with_its_picture(folder, capsys):
    save_turned("turned.png")
    assert call(folder, "turned.png", "--exif", "--region", "0,0,12,3", "--json", "-") == 0
    turned = json.loads(capsys.readouterr().out)[0]["region"]
    Image.fromarray(np.rot90(COLOURS, -1).copy()).save("upright.png")
    assert call(folder, "upright.png", "--region", "9,0,12,12", "--json", "-") == 0
    assert turned == json.loads(capsys.readouterr().out)[0]["region"]
