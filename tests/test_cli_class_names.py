"""``--class-names``: names beside the numbers of classes in every output, and files that do not fit."""

import argparse
import html
import json
from pathlib import Path

import pytest
import torch
import torchvision

from captum_certified import Certificate, InvalidInputError
from captum_certified.cli import main
from captum_certified.cli.class_names import class_named, class_title, load_class_names, named
from captum_certified.cli.models import load_model
from captum_certified.cli.options import add_explanation, add_model
from captum_certified.visualization import attack_figure, certificate_figure, report

NAMES = ("dog", "<b>cat</b> $5", "hen")
QUICK = ["--model-arg", "12", "--size", "12", "--samples", "32", "--seed", "1", "-q"]


@pytest.fixture
def names(folder):
    Path("names.txt").write_text("\n".join(NAMES) + "\n")
    return "names.txt"


def run(folder, *arguments, command="certify"):
    return main([command, "one.png", "--model", f"{folder}:made", *QUICK, *arguments])


def test_names_are_in_every_output_of_certify(folder, names, capsys):
    words = ["--class-names", names, "--target", "1", "--out", "results", "--report", "--json", "all.json"]
    assert run(folder, *words) == 0
    record = json.loads(Path("results/one.json").read_text())
    assert record["explained_name"] == NAMES[1]
    assert record["prediction_name"] == NAMES[record["prediction"]]
    assert json.loads(Path("all.json").read_text())[0]["explained_name"] == NAMES[1]
    printed = capsys.readouterr().out
    predicted = f"{record['prediction']} ({record['prediction_name']})"
    assert f"class 1 ({NAMES[1]}){'' if record['prediction'] == 1 else f' explained, {predicted} predicted'}" in printed
    page = Path("results/one.html").read_text()
    assert "<title>one.png: explanation of class 1 (&lt;b&gt;cat&lt;/b&gt; $5)</title>" in page
    number = record["prediction"]
    assert f"The program answered: class {number}, {html.escape(NAMES[number])}." in page
    assert ("another answer: class 1, &lt;b&gt;cat&lt;/b&gt; $5." in page) == (number != 1)
    assert "<b>cat" not in page
    assert main(["verify", "results/one.json"]) == 0


def test_a_kept_result_is_printed_with_names(folder, names, capsys):
    assert run(folder, "--out", "results") == 0
    stored = Path("results/one.json").read_text()
    assert "_name" not in stored
    capsys.readouterr()
    assert run(folder, "--out", "results", "--class-names", names) == 0
    prediction = json.loads(stored)["prediction"]
    assert f"class {prediction} ({NAMES[prediction]})" in capsys.readouterr().out
    assert Path("results/one.json").read_text() == stored


def test_the_class_of_noisy_copies_has_no_name(folder, names, capsys):
    assert run(folder, "--class-names", names, "--target", "argmax", "--json", "-") == 0
    printed = capsys.readouterr()
    [record] = json.loads(printed.out)
    assert "explained_name" not in record
    assert f"class argmax explained, {record['prediction']} ({record['prediction_name']}) predicted" in printed.err


@pytest.mark.filterwarnings("ignore:The map has no gradient where the search begins:UserWarning")
def test_names_are_in_every_output_of_attack(folder, names, capsys):
    quick = ["--steps", "2", "--restarts", "1", "--attack-draws", "2"]
    words = ["--class-names", names, "--out", "attacks", "--json", "all.json"]
    assert run(folder, *words, *quick, command="attack") == 0
    [record] = json.loads(Path("all.json").read_text())
    assert record["prediction_name"] == record["explained_name"] == NAMES[record["prediction"]]
    assert record["attack"]["prediction_name"] == NAMES[record["attack"]["prediction"]]
    assert f"one.png: class {record['prediction']} ({record['prediction_name']}), within" in capsys.readouterr().out


def test_titles_of_figures_show_the_class(folder):
    certificate = certificate_of(folder)
    image = torch.rand(1, 3, 12, 12)
    _, axes = certificate_figure(certificate, image, labels=[class_title(1, NAMES)])
    assert axes[0, 0].get_title() == "class 1\n(<b>cat</b> \\$5)"
    maps = torch.rand(1, 1, 12, 12)
    _, axes = attack_figure(image, image, maps, maps, k=3, labels=[class_title(0, NAMES)])
    assert axes[0, 0].get_title() == "class 0\n(dog)"


def certificate_of(folder, *words):
    assert run(folder, *words, "--out", "results") == 0
    return Certificate.load("results/one.npz")


@pytest.mark.filterwarnings("ignore:The map has no gradient where the search begins:UserWarning")
@pytest.mark.parametrize(
    ("command", "words"), [("certify", []), ("attack", ["--steps", "1", "--restarts", "1", "--attack-draws", "2"])]
)
def test_the_commands_give_names_to_their_figures(folder, names, command, words):
    pictures = []
    for out, more in (("bare", []), ("again", []), ("named", ["--class-names", names])):
        assert run(folder, *words, *more, "--out", out, command=command) == 0
        pictures.append(Path(out, "one.png").read_bytes())
    assert pictures[0] == pictures[1] != pictures[2]


@pytest.mark.parametrize("command", ["certify", "attack"])
def test_another_number_of_names_is_an_error(folder, capsys, command):
    Path("two.txt").write_text("dog\ncat\n")
    assert run(folder, "--class-names", "two.txt", "--out", "results", command=command) == 1
    message = "Expected `--class-names` to have 3 names, one for each output of the model, got 2."
    assert message in capsys.readouterr().out


def test_a_report_needs_the_name_of_its_class(folder, names, tmp_path):
    assert run(folder, "--target", "2", "--out", "results") == 0
    certificate = Certificate.load("results/one.npz")
    with pytest.raises(InvalidInputError, match="Expected `class_names` with a name for class 2, got 2 names"):
        report(certificate, tmp_path / "page.html", image=torch.rand(1, 3, 12, 12), class_names=NAMES[:2])


# -- files -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("names.txt", "dog\ncat\nhen"),
        ("names.txt", "\ufeffdog \r\n  cat\nhen\n\n"),
        ("names.txt", "dog\nc\x1bat\thouse\nhen"),
        ("names.json", '["dog", "cat", "hen"]'),
        ("names.json", '{"2": "hen", "0": "dog", "1": "cat"}'),
        ("names.json", '{"0": ["n01", "dog"], "1": ["n02", "cat"], "2": ["n03", "hen"]}'),
    ],
)
def test_names_are_lines_or_json(tmp_path, file, text):
    path = tmp_path / file
    path.write_text(text, encoding="utf-8")
    first, second, third = load_class_names(path)
    assert (first, third) == ("dog", "hen")
    assert second in ("cat", "c at house")


def test_a_text_may_begin_with_a_bracket(tmp_path):
    path = tmp_path / "names.txt"
    path.write_text("[unknown]\ndog\n")
    assert load_class_names(path) == ("[unknown]", "dog")


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("names.txt", b"", "to have a name for every class, got none"),
        ("names.txt", b"dog\n\nhen\n", "to have a name for every class, got an empty one for class 1"),
        ("names.txt", b"\xff\xfe\x00", "to be a text or JSON file, got another"),
        ("names.json", b"[1,", "to be JSON, got Expecting value"),
        ("names.json", b'{"1": "dog", "2": "cat"}', 'to have the keys "0" to "1", got \'2\''),
    ],
)
def test_other_files_are_refused(tmp_path, file, content, message):
    path = tmp_path / file
    path.write_bytes(content)
    with pytest.raises(InvalidInputError) as caught:
        load_class_names(path)
    assert message in str(caught.value)


def test_words_for_a_class():
    assert class_named(1, None) == "class 1"
    assert class_named(2, NAMES) == "class 2 (hen)"
    assert class_named(3, NAMES) == "class 3"
    assert class_title(0, ["x" * 40]) == f"class 0\n({'x' * 25}…)"
    assert named({"prediction": 0, "explained": "argmax", "other": 7}, NAMES) == {"prediction_name": "dog"}
    assert named({"prediction": 0}, None) == {}


# -- torchvision -----------------------------------------------------------------------------------------------


@pytest.fixture
def squeezenet(tmp_path, monkeypatch):
    """A folder of downloaded weights, in which those of a small torchvision model are random ones."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    weights = torchvision.models.SqueezeNet1_1_Weights.DEFAULT
    path = tmp_path / "hub" / "checkpoints" / Path(weights.url).name
    path.parent.mkdir(parents=True)
    torch.save(torchvision.models.squeezenet1_1(weights=None).state_dict(), path)
    return weights, path


def loaded(*words):
    parser = argparse.ArgumentParser()
    add_model(parser.add_argument_group())
    add_explanation(parser.add_argument_group())
    return load_model(parser.parse_args(["--model", "squeezenet1_1", *words]))


def test_default_weights_of_torchvision_have_names(squeezenet, names):
    weights, path = squeezenet
    assert loaded().class_names == weights.meta["categories"]
    assert class_named(281, loaded().class_names) == "class 281 (tabby)"
    assert loaded("--weights", str(path)).class_names is None
    assert loaded("--class-names", names).class_names == NAMES
