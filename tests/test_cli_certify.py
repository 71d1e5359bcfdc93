"""``captum-certified certify``: numbers and files for image files, and messages for bad calls."""

import json
import re
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from captum_certified import Certificate, Certifier
from captum_certified.cli import main
from captum_certified.cli.output import conditions_of
from captum_certified.exceptions import InvalidInputError
from captum_certified.images.framing import Framing, load_image, region_mask

EVERY_VALUE = ["--groups", "none", "--sigma", "0.2", "--tau", "0.1"]


def call(folder, *arguments, model="made", model_args=("12",), samples=64, size="12"):
    words = ["certify", *EVERY_VALUE, *arguments, "--model", f"{folder}:{model}", "--samples", str(samples)]
    words += ["--seed", "1", "-q"]
    words += [part for value in model_args for part in ("--model-arg", value)]
    return main(words + (["--size", size] if size else []))


def test_each_image_gets_a_json_an_npz_and_a_picture(folder, capsys):
    assert call(folder, "one.png", "two.jpg", "--out", "results") == 0
    assert sorted(p.name for p in Path("results").iterdir()) == [
        f"{name}.{suffix}" for name in ("one", "two") for suffix in ("json", "npz", "png")
    ]
    record = json.loads(Path("results/one.json").read_text())
    assert record["image"] == "one.png"
    assert record["setup"]["target"] == [record["prediction"]]
    assert record["n_features"] == 3 * 12 * 12
    assert "at least" in capsys.readouterr().out
    certificate = Certificate.load("results/one.npz")
    assert certificate.overlap.tolist() == record["overlap"]
    assert main(["verify", "results/one.json", "results/two.json"]) == 0


def test_the_folder_of_results_has_a_default_name(folder):
    assert call(folder, "one.png") == 0
    assert Path("captum-certified-results/one.json").is_file()


def test_json_on_standard_output_makes_no_folder(folder, capsys):
    assert call(folder, "one.png", "two.jpg", "--json", "-") == 0
    records = json.loads(capsys.readouterr().out)
    assert [record["image"] for record in records] == ["one.png", "two.jpg"]
    assert not Path("captum-certified-results").exists()


def test_json_to_a_file_and_a_table_of_features(folder):
    assert call(folder, "one.png", "--json", "all.json", "--csv", "--out", "results") == 0
    assert len(json.loads(Path("all.json").read_text())) == 1
    assert Path("results/one.csv").read_text().startswith('example,feature,mean,lower,upper,rank,radius\n0,"0,0,0",')


def test_a_report_is_written_for_new_and_for_kept_results(folder):
    assert call(folder, "one.png", "--out", "results") == 0
    assert not Path("results/one.html").exists()
    for _ in range(2):
        assert call(folder, "one.png", "two.jpg", "--report", "--out", "results") == 0
        for name, file in (("one", "one.png"), ("two", "two.jpg")):
            page = Path(f"results/{name}.html").read_text()
            explained = json.loads(Path(f"results/{name}.json").read_text())["explained"]
            assert f"<title>{file}: explanation of class {explained}</title>" in page
            assert f"The program answered: class {explained}. This page" in page
            assert "the top 87 of 432 colour values (20.2 %)" in page


@pytest.mark.parametrize("command", ["certify", "attack"])
def test_a_missing_image_is_refused_before_anything_is_written(folder, capsys, command):
    assert main([command, "one.png", "missing.png", "--model", f"{folder}:already", "--out", "results"]) == 2
    assert "Expected an image or a folder of images, got missing.png, which does not exist." in capsys.readouterr().err
    assert not Path("results").exists()


@pytest.mark.filterwarnings("default:Results in:UserWarning")
def test_existing_reports_and_tables_are_updated_with_their_result(folder):
    assert call(folder, "one.png", "--report", "--csv", "--radius", "0.01", "--out", "results") == 0
    before = {suffix: Path(f"results/one.{suffix}").read_text() for suffix in ("html", "csv")}
    assert call(folder, "one.png", "--radius", "0.02", "--out", "results", samples=128) == 0
    for suffix, text in before.items():
        assert Path(f"results/one.{suffix}").read_text() != text
    assert "0.02" in Path("results/one.html").read_text()


@pytest.mark.filterwarnings("default:Results in:UserWarning")
def test_tables_and_pages_of_other_programs_are_left_alone(folder):
    Path("two.csv").write_text("label,x,y\n")
    Path("two.html").write_text("<!DOCTYPE html><title>mine</title>")
    for radius in ("0.01", "0.02"):
        assert call(folder, "one.png", "--radius", radius, "--out", ".") == 2
        assert call(folder, "two.jpg", "--radius", radius, "--out", ".") == 0
    assert Path("two.csv").read_text() == "label,x,y\n"
    assert "mine" in Path("two.html").read_text()


def test_an_image_stops_once_its_overlap_is_certified(folder, capsys):
    assert call(folder, "one.png", "--overlap", "1", "--radius", "0", "--out", "results", samples=5000) == 0
    record = json.loads(Path("results/one.json").read_text())
    assert (record["stopped"], record["looks"], record["n_samples"]) == (["certified"], [1], [2048])
    assert (record["asked_overlap"], record["most_draws"]) == (1, 5000)
    assert "certified after 2048 draws" in capsys.readouterr().out
    assert main(["verify", "results/one.json"]) == 0


def test_images_with_the_same_name_do_not_overwrite_each_other(folder):
    Path("other").mkdir()
    Path("other/one.png").write_bytes(Path("one.png").read_bytes())
    assert call(folder, "one.png", "other/one.png", "--out", "results") == 0
    assert Path("results/one.json").is_file()
    assert Path("results/one-2.json").is_file()


@pytest.mark.parametrize(("target", "recorded"), [("argmax", "argmax"), ("2", 2)])
def test_the_target_is_recorded(folder, target, recorded, capsys):
    assert call(folder, "one.png", "--target", target, "--json", "-") == 0
    assert json.loads(capsys.readouterr().out)[0]["setup"]["target"] == [recorded]


def test_a_seed_determines_the_result_and_a_region_is_certified(folder, capsys):
    outputs = []
    for _ in range(2):
        assert call(folder, "one.png", "--region", "5,0,20,20", "--json", "-") == 0
        outputs.append(json.loads(capsys.readouterr().out))
    assert outputs[0] == outputs[1]
    region = outputs[0][0]["region"]
    assert 0 <= region["mass"][0] <= region["observed_mass"][0] <= 1


@pytest.mark.filterwarnings("ignore:In .* draws more than 1 %:UserWarning")  # bfloat16 has few values
def test_features_can_be_pixels_and_models_can_have_another_precision(folder, capsys):
    assert call(folder, "one.png", "--groups", "channels", "--dtype", "bfloat16", "--json", "-") == 0
    assert json.loads(capsys.readouterr().out)[0]["n_features"] == 144


def test_a_model_can_be_a_module_and_take_keyword_arguments_and_grey_images(folder, capsys):
    assert call(folder, "one.png", "--json", "-", model="already", model_args=()) == 0
    assert call(folder, "one.png", "--json", "-", "--channels", "1", model="grey", model_args=("size=12",)) == 0
    assert "one.png" in capsys.readouterr().out


def test_normalisation_becomes_part_of_the_model(folder, capsys):
    assert call(folder, "one.png", "--json", "-", "--mean", "0.5,0.5,0.5", "--std", "0.25,0.25,0.25") == 0
    normalised = json.loads(capsys.readouterr().out)[0]
    assert call(folder, "one.png", "--json", "-") == 0
    assert normalised["overlap"] != json.loads(capsys.readouterr().out)[0]["overlap"]


def test_a_torchvision_model_takes_local_weights(folder, capsys):
    from torchvision.models import get_model

    torch.manual_seed(0)
    torch.save({"state_dict": get_model("squeezenet1_1", num_classes=4).state_dict()}, "weights.pt")
    words = [
        "certify",
        "one.png",
        "--model",
        "squeezenet1_1",
        "--weights",
        "weights.pt",
        "--model-arg",
        "num_classes=4",
    ]
    assert main([*words, "--samples", "4", "--size", "32", "--json", "-", "-q", *EVERY_VALUE]) == 0
    record = json.loads(capsys.readouterr().out)[0]
    assert record["n_features"] == 3 * 32 * 32
    assert 0 <= record["prediction"] < 4


def test_a_failing_image_is_recorded_and_the_others_are_certified(folder, capsys):
    Path("junk.png").write_bytes(b"no image")
    Path("empty.png").write_bytes(b"")
    assert call(folder, "one.png", "junk.png", "empty.png", "two.jpg", "--out", "results") == 1
    assert "failed" in capsys.readouterr().out
    for name in ("junk", "empty"):
        record = json.loads(Path(f"results/{name}.json").read_text())
        assert record["kind"] == "failure"
        assert record["error"]
    assert Path("results/two.npz").is_file()


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("Named", "returns a tensor of shape (N, classes), got dict"),
        ("Broken", "this network is broken"),
    ],
)
def test_a_model_that_cannot_be_explained_is_recorded(folder, capsys, model, message):
    assert call(folder, "one.png", "--json", "-", model=model, model_args=()) == 1
    assert message in json.loads(capsys.readouterr().out)[0]["error"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--model", "resnet5"],
            "package.module:callable or a file of TorchScript or torch.export, got 'resnet5'; did you mean",
        ),
        (["--model", "no_such_module:load"], "Expected `--model` no_such_module:load to load, got ModuleNotFoundError"),
        (["--model", "{folder}:nothing"], "AttributeError"),
        (["--model", "{folder}:number"], "not callable"),
        (["--model", "{folder}:made"], "TypeError"),
        (["--model", "{folder}:small", "--weights", "none.pt"], "none.pt"),
        (["--model", "{folder}:small", "--weights", "one.png"], "to be a state dict, but it cannot be read"),
        (["--model", "{folder}:already", "--mean", "0.5"], "`--mean` and `--std` both or neither"),
        (["--model", "{folder}:already", "--bound", "magic"], "Expected `bound` to be one of"),
        (["--model", "{folder}:already", "--tau", "2"], "Expected `tau`"),
        (["--model", "{folder}:already", "--confidence", "1"], "Expected `confidence`"),
        (["--model", "{folder}:already", "--device", "moon"], "Expected `--device` to be available, got 'moon'"),
        (["--model", "{folder}:already", "--region", "1,2,3"], "expected X0,Y0,X1,Y1"),
        (["--model", "{folder}:already", "--samples", "0"], "expected an integer from 1"),
        (["--model", "{folder}:already", "--sigma", "0"], "argument --sigma: expected a number above 0, got 0"),
        (["--model", "{folder}:already", "--sigma", "much"], "argument --sigma: expected a number above 0, got much"),
        (["--model", "{folder}:already", "--out", "one.png"], "`--out` to be a folder, got one.png, but one.png is a"),
        (["--model", "{folder}:already", "--out", "one.png/results"], "got one.png/results, but one.png is a file."),
        (["--model", "{folder}:already", "--json", "nowhere/all.json"], "in a folder that exists, got nowhere/all"),
        (
            ["--model", "{folder}:already", "--json", "."],
            "Expected `--json` to be a file in a folder that exists, got .",
        ),
        (
            ["--model", "{folder}:already", "--overlap", "0"],
            "argument --overlap: expected a count from 1, such as 13, or",
        ),
        (["--model", "{folder}:already", "--overlap", "1.5"], "or a fraction from above 0 to 1, such as 0.2, got 1.5"),
        (["--model", "{folder}:already", "--k", "0"], "argument --k: expected a count from 1, such as 13, or"),
        (["--model", "{folder}:already", "--k", "nan"], "such as 0.2, got nan"),
        (["--model", "{folder}:already", "--target", "-1"], "or the number of a class from 0, got -1"),
        (["--model", "{folder}:already", "--target", "cat"], "or the number of a class from 0, got cat"),
        (["--model", "{folder}:already", "--mean", "0", "--std", "0"], "Expected `--std` above 0, because images are"),
        (["--model", "{folder}:already", "--mean", "0", "--std", "-1"], "Expected `--std` above 0, because images are"),
        (["--model", "{folder}:already", "--mean", "0", "--std", "nan"], "Expected `--std` to be finite, got [nan]"),
        (["--model", "{folder}:already", "--mean", "0,0", "--std", "1,1"], "`--mean` to be one number, or 3 for the"),
        (
            ["--model", "{folder}:already", "--mean", "half", "--std", "1"],
            "expected numbers separated by commas, got half",
        ),
        (["--model", "one.png"], "of torch.export, got another kind of file. Give a state dict to `--weights`, and"),
        ([], "--model"),
    ],
)
def test_a_bad_call_prints_its_reason_and_writes_nothing(folder, capsys, arguments, message):
    before = {p.name for p in Path().iterdir()}
    words = [argument.format(folder=folder) for argument in arguments]
    assert main(["certify", "one.png", "--samples", "8", "--size", "12", "-q", *words]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
    assert {p.name for p in Path().iterdir()} - before <= {"__pycache__", "captum-certified-results"}
    assert not list(Path().glob("captum-certified-results/*"))


@pytest.fixture
def saved(folder):
    """The network of the folder, saved in every kind of file."""
    import importlib

    network = importlib.import_module(folder).made(12)
    torch.save(network, "whole.pt")
    torch.save(network.state_dict(), "weights.pt")
    torch.save([1, 2], "list.pt")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # newer versions of PyTorch discourage it
        torch.jit.trace(network, torch.zeros(1, 3, 12, 12)).save("scripted.pt")
    return network


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--weights", "whole.pt"], "got a pickled object, such as a whole model, which could execute code when it is"),
        (["--weights", "whole.pt"], "Save one by torch.save(model.state_dict(), FILE)."),
        (["--weights", "list.pt"], "of tensors, got something else. Save one by torch.save(model.state_dict(), FILE)."),
        (["--weights", "one.png"], "cannot be read. Save one by torch.save(model.state_dict(), FILE)."),
        (["--weights", "scripted.pt"], "got a TorchScript file. Give it to `--model` instead."),
        (["--model", "weights.pt"], "got another kind of file. Give a state dict to `--weights`, and name its network"),
        (["--model", "whole.pt"], "Expected `--model` whole.pt to be a TorchScript file or a .pt2 archive of torch.ex"),
        (["--model", "whole.pt"], "which could execute code when it is loaded. Name the code of the model by package."),
        (
            ["--model", "scripted.pt", "--model-arg", "3"],
            "Expected no `--model-arg` for the TorchScript file scripted.pt",
        ),
    ],
)
def test_a_file_given_to_the_wrong_option_is_refused_with_the_right_option(folder, saved, capsys, arguments, message):
    assert main(["certify", "one.png", "--model", f"{folder}:already", "-q", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1


def test_a_model_can_be_a_torchscript_file_or_a_function_that_returns_one(folder, saved, capsys):
    overlaps = []
    Path("scripts.py").write_text("import torch\n\ndef load():\n    return torch.jit.load('scripted.pt')\n")
    for model in (f"{folder}:already", "scripted.pt", "scripts:load"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            words = ["certify", "one.png", "--model", model, "--size", "12", "--samples", "64", "--seed", "1"]
            assert main([*words, "--mean", "0.5", "--std", "0.25", "--json", "-", "-q"]) == 0
        overlaps.append(json.loads(capsys.readouterr().out)[0]["plain_overlap"])
    assert overlaps[0] == overlaps[1] == overlaps[2]


def test_an_interrupted_run_keeps_its_finished_results(folder, capsys, monkeypatch):
    top_k, calls = Certifier.top_k, []

    def interrupted(self, *arguments, **named):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return top_k(self, *arguments, **named)

    monkeypatch.setattr(Certifier, "top_k", interrupted)
    assert call(folder, "one.png", "two.jpg", "--out", "results") == 130
    assert Path("results/one.json").is_file()
    assert not Path("results/two.json").exists()
    assert "interrupted" in capsys.readouterr().err


def test_a_folder_stands_for_its_images_and_gets_a_summary(folder, capsys):
    for name in ("photos/b.png", "photos/a.jpg", "photos/more/a.png", "photos/.hidden/c.png", "photos/summary.png"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(Path("one.png").read_bytes())
    Path("photos/notes.txt").write_text("no image")
    assert call(folder, "photos", "--out", "photos/results", samples=16) == 0
    printed = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in printed[:4]] == [
        f"photos/{name}" for name in ("a.jpg", "b.png", "more/a.png", "summary.png")
    ]
    assert printed[4].startswith("4 examples: mean certified overlap")
    names = {path.stem for path in Path("photos/results").glob("*.json")}
    assert names == {"a", "b", "more-a", "image-summary"}
    assert Path("photos/results/summary.csv").read_text().startswith("name,k,overlap,")
    assert Path("photos/results/summary.png").is_file()
    # The pictures among the results are not taken as images of the folder.
    assert call(folder, "photos", "--out", "photos/results", samples=16) == 0
    assert "4 examples (4 kept)" in capsys.readouterr().out


def test_a_folder_without_images_is_refused(folder, capsys):
    Path("empty").mkdir()
    assert call(folder, "empty", "--out", "results") == 2
    assert "Expected images in the folder empty, got none." in capsys.readouterr().err


@pytest.mark.filterwarnings("default:Results in:UserWarning")
def test_the_same_command_keeps_its_results_and_writes_missing_files(folder, capsys):
    assert call(folder, "one.png", "--out", "results") == 0
    before = {path.name: path.stat().st_mtime_ns for path in Path("results").iterdir()}
    Path("results/one.png").unlink()
    assert call(folder, "one.png", "--out", "results", "--csv", "--region", "5,0,20,20", samples=32) == 0
    assert "Results in results of other settings are redone" in capsys.readouterr().err
    assert call(folder, "one.png", "--out", "results", "--region", "5,0,20,20", samples=32) == 0
    after = {path.name: path.stat().st_mtime_ns for path in Path("results").iterdir()}
    assert set(after) - set(before) == {"one.csv"}
    Path("results/one.csv").unlink()
    Path("results/one.png").unlink()
    assert call(folder, "one.png", "--out", "results", "--csv", "--region", "5,0,20,20", samples=32) == 0
    assert Path("results/one.csv").is_file()
    assert Path("results/one.png").is_file()
    assert Path("results/one.json").stat().st_mtime_ns == after["one.json"]
    assert call(folder, "one.png", "--out", "results", "--region", "5,0,20,20", "--no-resume", samples=32) == 0
    assert Path("results/one.json").stat().st_mtime_ns > after["one.json"]
    capsys.readouterr()


def test_shards_of_a_command_certify_each_image_once(folder, capsys):
    for index in ("1/2", "2/2"):
        assert call(folder, "one.png", "two.jpg", "--out", "results", "--shard", index, samples=16) == 0
    printed = capsys.readouterr().out.splitlines()
    fixed = "Target, baselines, reference distributions, groups, regions and further arguments are held fixed at every"
    assert [line.split(":")[0] for line in printed if not line.startswith(fixed)] == [
        "one.png", "L2 radius 0.03", "Results", "two.jpg", "L2 radius 0.03", "Results",
    ]  # fmt: skip
    assert [line.startswith(fixed) for line in printed] == [False, True, False, False] * 2
    assert call(folder, "one.png", "two.jpg", "--out", "results", samples=16) == 0
    assert "2 examples (2 kept)" in capsys.readouterr().out
    for wrong in ("0/2", "3/2", "2", "a/b"):
        assert call(folder, "one.png", "--shard", wrong) == 2
        assert f"expected I/N with I from 1 to N, got {wrong}" in capsys.readouterr().err


def test_verbose_prints_the_traceback_of_a_failure(folder, capsys):
    Path("junk.png").write_bytes(b"no image")
    words = ["certify", "junk.png", "--model", f"{folder}:already", "--samples", "8", "--size", "12", "--json", "-"]
    assert main([*words, "-v"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_names_of_results_are_unique(folder):
    from captum_certified.cli.image_files import expanded

    paths = [Path(name) for name in ("a/x.png", "b/x.png", "x-2.png", "c/x.png", "summary-1.png", ".png")]
    for path in paths:
        path.parent.mkdir(exist_ok=True)
        path.touch()
    names = [name for _, name in expanded(paths, without=None)]
    assert names == ["x", "x-2", "x-2-2", "x-3", "image-summary-1", "png"]


def save(name, array):
    path = Path(name)
    if path.suffix == ".npy":
        np.save(path, array)
    elif path.suffix == ".pt":
        torch.save(torch.from_numpy(array), path)
    else:
        Image.fromarray(array).save(path)
    return path


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("name", "shape", "dtype", "most"),
    [
        ("rgb.png", (8, 6, 3), np.uint8, 255),
        ("rgba.png", (8, 6, 4), np.uint8, 255),
        ("grey.png", (8, 6), np.uint8, 255),
        ("deep.png", (8, 6), np.uint16, 65535),
        ("bytes.npy", (8, 6, 3), np.uint8, 255),
        ("planes.npy", (3, 8, 6), np.uint8, 255),
        ("deep.npy", (8, 6), np.uint16, 65535),
        ("floats.npy", (8, 6, 3), np.float64, 1),
        ("floats.pt", (3, 8, 6), np.float32, 1),
    ],
)
def test_every_kind_of_image_becomes_pixels_in_the_unit_interval(tmp_path, name, shape, dtype, most, channels):
    array = np.full(shape, most // 3 if most > 1 else 1 / 3).astype(dtype)
    image, size = load_image(save(tmp_path / name, array), Framing(), channels=channels)
    assert size == (8, 6)
    assert image.dtype == torch.float32
    torch.testing.assert_close(image, torch.full((1, channels, 8, 6), 1 / 3), rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("big.npy", np.full((4, 4), 7.0), "in [0, 1], got 7 to 7"),
        ("nan.npy", np.full((4, 4), np.nan), "in [0, 1]"),
        ("flat.npy", np.zeros(5), "of shape (H, W), (H, W, C) or (C, H, W)"),
        ("five.npy", np.zeros((6, 6, 5)), "1, 3 or 4 channels, got 5"),
        ("signed.npy", np.zeros((4, 4), dtype=np.int64), "8 or 16-bit unsigned integers or floats, got torch.int64"),
        ("bytes.npy", np.full((4, 4), 200, np.int32), "8 or 16-bit unsigned integers or floats, got torch.int32"),
    ],
)
def test_arrays_that_are_not_images_are_refused(tmp_path, name, array, message):
    import re

    with pytest.raises(InvalidInputError, match=re.escape(message)):
        load_image(save(tmp_path / name, array), Framing())


def test_nothing_in_an_array_file_is_executed(tmp_path):
    np.save(tmp_path / "objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    torch.save({"image": Path("x")}, tmp_path / "objects.pt")
    for name in ("objects.npy", "objects.pt"):
        with pytest.raises(InvalidInputError, match="but it cannot be read"):
            load_image(tmp_path / name, Framing())


def test_images_of_too_many_pixels_are_refused_before_they_are_decoded(tmp_path):
    path = save(tmp_path / "one.bmp", np.zeros((1, 1, 3), dtype=np.uint8))
    data = bytearray(path.read_bytes())
    data[18:26] = (9000).to_bytes(4, "little") * 2  # width and height
    path.write_bytes(bytes(data))
    with pytest.raises(InvalidInputError, match=r"to have at most 60 million pixels, got \(9000, 9000\)"):
        load_image(path, Framing())


def test_an_image_that_does_not_fit_into_memory_is_refused(tmp_path, monkeypatch):
    path = save(tmp_path / "one.png", np.zeros((1, 1, 3), dtype=np.uint8))

    def load(_self):
        raise MemoryError

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", load)
    with pytest.raises(InvalidInputError, match="it cannot be read: MemoryError"):
        load_image(path, Framing())


def test_a_photograph_is_framed_as_torchvision_does(tmp_path):
    from torchvision import transforms

    array = np.random.default_rng(0).integers(0, 256, (40, 61, 3), dtype=np.uint8)
    Image.fromarray(array).save(tmp_path / "photo.png")
    image, _ = load_image(tmp_path / "photo.png", Framing(resize=32, crop=28))
    steps = [transforms.Resize(32), transforms.CenterCrop(28), transforms.ToTensor()]
    expected = transforms.Compose(steps)(Image.fromarray(array))
    assert torch.equal(image[0], expected)


def test_a_region_is_resized_and_cropped_with_its_image():
    # A file of 40 × 80 pixels, resized to 20 × 40; the crop shows columns 20 to 60 of the file.
    mask = region_mask((0, 0, 40, 20), Framing(resize=20, crop=20), (40, 80))
    assert mask.shape == (1, 1, 20, 20)
    assert torch.equal(mask[0, 0], torch.arange(20)[:, None].lt(10) & torch.arange(20).lt(10))
    with pytest.raises(InvalidInputError, match="`--region` to show in the cropped image"):
        region_mask((0, 0, 10, 40), Framing(resize=20, crop=20), (40, 80))
    for box in ((0, 0, 81, 40), (0, 0, 80, 41), (-1, 0, 80, 40)):
        with pytest.raises(InvalidInputError, match="`--region` within the 80 × 40 pixels"):
            region_mask(box, Framing(), (40, 80))


@pytest.mark.parametrize("size", range(25, 40))
def test_a_region_is_rounded_as_the_crop_is(tmp_path, size):
    """Torchvision rounds differently where it pads and where it crops."""
    array = np.zeros((size, size + 3, 3), np.uint8)
    array[10:15, 15:19] = 255
    Image.fromarray(array).save(tmp_path / "photo.png")
    image, stored = load_image(tmp_path / "photo.png", Framing(crop=32))
    mask = region_mask((15, 10, 19, 15), Framing(crop=32), stored)
    assert torch.equal(mask, image[:, :1] > 0.5)


@pytest.mark.slow
def test_the_reference_run_through_the_command_line(shared_data, tmp_path, monkeypatch):
    """MobileNet v1, image 207, σ = .2, τ = .1, K = .2 n, 8192 draws: .59 at ρ = .03 and .15 at ρ = .10."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(shared_data))
    image = next((shared_data / "imagenet64").glob("207_*"))
    model = ["--model", "models:load", "--model-arg", "mobilenet_v1_075", "--size", "256,224"]
    run = ["--samples", "8192", "--target", "argmax", "--bound", "theorem2", "--seed", "0", "-q", "--out", "results"]
    assert main(["certify", str(image), *model, *run]) == 0
    certificate = Certificate.load(Path("results", image.stem).with_suffix(".npz"))
    overlaps = Certifier(bound="theorem2").top_k_curve(certificate.map, k=0.2, radii=[0.03, 0.10])
    fractions = overlaps.double() / certificate.k
    torch.testing.assert_close(fractions, torch.tensor([[0.59, 0.15]], dtype=torch.float64), rtol=0, atol=0.02)


@pytest.mark.parametrize("command", ["certify", "attack"])
def test_no_image_is_overwritten_by_its_figure(folder, command, capsys):
    before = Path("one.png").read_bytes()
    arguments = ["--model", f"{folder}:made", "--model-arg", "20", "--samples", "8", "-q", "--out", "."]
    assert main([command, "one.png", *arguments]) == 2
    assert "a folder where no image is overwritten, got ., which has one.png" in capsys.readouterr().err
    assert Path("one.png").read_bytes() == before


def test_a_folder_of_images_cannot_be_the_folder_of_results(folder, capsys):
    Path("images").mkdir()
    Path("one.png").rename("images/one.png")
    assert main(["certify", "images", "--model", f"{folder}:made", "--out", "images", "-q"]) == 2
    assert "got none but those of `--out`, which is not read" in capsys.readouterr().err


def test_an_explained_class_that_is_not_predicted_is_printed(folder, capsys):
    arguments = ["--model", f"{folder}:already", "--size", "12", "--samples", "8", "-q", *EVERY_VALUE]
    main(["certify", "one.png", *arguments])
    predicted = int(re.search(r"class (\d), at least", capsys.readouterr().out)[1])
    other = (predicted + 1) % 3
    main(["certify", "one.png", *arguments, "--target", str(other), "--out", "other"])
    printed = capsys.readouterr().out
    assert f"class {other} explained, {predicted} predicted, at least" in printed
    others = r"\d+\.\d% by chance, \d+\.\d% by brightness, \d+\.\d% by random weights: margin [+-]\d+\.\d points"
    shared = (
        rf"confidence 0.95\); at least \d+\.\d% of the plain map's \({others}\); "
        r"\d+\.\d% of the smoothed map's top 87 are in the plain map's"
    )
    assert re.search(shared, printed)


def test_too_few_draws_are_named_where_nothing_is_proved(folder, capsys):
    main(
        [
            "certify",
            "one.png",
            "--model",
            f"{folder}:already",
            "--size",
            "12",
            "--samples",
            "4",
            "--radius",
            "9",
            "-q",
            *EVERY_VALUE,
        ]
    )
    assert "at least 0.0%" in (printed := capsys.readouterr().out)
    few = "under bound 'best' no map of 432 features can have a certified overlap above 2K − n at this radius"
    assert f"nothing is proved: {few}" in printed


def test_another_seed_is_advised_where_enough_draws_prove_nothing(folder, capsys):
    settings = ["--size", "12", "--samples", "64", "--radius", "0", "--k", "1", "--bound", "theorem2", "-q"]
    main(["certify", "one.png", "--model", f"{folder}:already", *settings])
    assert (
        "; nothing is proved: choose --samples, --sigma and --radius with another --seed, on other images if you can, "
        "then certify once"
    ) in capsys.readouterr().out


def test_an_image_that_the_model_does_not_take_is_reported_with_its_size(folder, capsys):
    main(["certify", "one.png", "--model", f"{folder}:already", "--samples", "8", "-q"])
    assert "takes images of 20 × 30 pixels with 3 channels; see `--size` and `--channels`" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--k", "20%", "expected a count from 1, such as 13, or a fraction from above 0 to 1, such as 0.2, got 20%"),
        ("--samples", "1e3", "expected an integer from 1, got 1e3"),
    ],
)
def test_malformed_numbers_are_refused(folder, option, value, message, capsys):
    assert main(["certify", "one.png", "--model", f"{folder}:already", option, value]) == 2
    assert message in capsys.readouterr().err


def test_a_region_has_a_confidence_of_its_own(folder, capsys):
    words = [
        "--size",
        "12",
        "--samples",
        "64",
        "--radius",
        "0.01",
        "--region",
        "0,0,15,20",
        "--confidence",
        "0.9",
        "-q",
    ]
    main(["certify", "one.png", "--model", f"{folder}:already", *words])
    text = capsys.readouterr().out
    assert re.search(r"confidence 0\.9\).*; and, with another 0\.9 of its own, at least \d+\.\d% of the saliency", text)
    assert "stays in the region, on average over noisy copies\n" in text


def test_conditions_are_printed_once_for_each_kind_of_target():
    of = {"setup": {"target": 1}, "stdevs": 0.2}
    argmax = {"setup": {"target": ["argmax"]}, "stdevs": 0.2}
    lines = conditions_of([of, {"error": "broken"}, argmax, of, {"setup": {}, "stdevs": [0.0, 0.2]}])
    assert [line.split()[0] for line in lines] == ["Target,", "It", "Target,"]
    assert lines[2] == f"{lines[0]} Input tensor 0 is held fixed too, because its σ is 0."
    assert conditions_of([{"error": "broken"}]) == []


@pytest.mark.parametrize("command", ["certify", "attack"])
def test_the_help_names_the_options_to_fix_before_looking(command, capsys):
    main([command, "--help"])
    text = " ".join(capsys.readouterr().out.split())
    named = re.search(r"Fix the images and all of (.*) before looking at anything computed from these draws", text)[1]
    for option in ("samples", "seed", "sigma", "tau", "k", "bound", "confidence", "groups", "method", "target"):
        assert f"--{option}" in named
    assert "all images of a seed share its noise" in text
