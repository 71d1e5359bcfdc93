"""The command ``card``: a section for a model card about a stored result."""

import hashlib
import json
import re

import pytest
import torch
from captum.attr import Saliency

from captum_certified import Certifier, InvalidInputError, SmoothedMap, SparsifiedSmoothGrad
from captum_certified.cli import main
from captum_certified.runs import model_card, verify, write_result


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    """A JSON result and its npz file, of an image whose name would break a table."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 8), torch.nn.Softplus(), torch.nn.Linear(8, 3))
    image = torch.rand(1, 1, 4, 4)
    certificate = Certifier(SparsifiedSmoothGrad(Saliency(model.eval()), tau=0.25)).certify(
        image, target=1, k=4, radius=0.01, nt_samples=256, stdevs=0.2, seed=7
    )
    notes = {"image": "a|b`c\nd.png", "prediction": 2}
    return write_result(tmp_path_factory.mktemp("card") / "scan.json", certificate, image, notes=notes)


def rows_of(card):
    return dict(re.findall(r"^\| (.*?) \| (.*) \|$", card, flags=re.MULTILINE))


def test_the_card_has_what_the_result_has(result, capsys):
    assert main(["card", str(result)]) == 0
    card = capsys.readouterr().out
    rows, certificate = rows_of(card), verify(result).certificate
    record = json.loads(result.read_text())
    assert rows["Model, digest of its parameters and buffers"] == f"`{certificate.map.setup['model']}`"
    assert rows["Input, digest"] == f"`{record['input_digest']}`"
    assert rows["Input"] == "`a\\|b'c d.png`"
    assert (rows["Explained class"], rows["Predicted class"]) == ("`1`", "`2`")
    assert rows["Explanation"] == "`SparsifiedSmoothGrad` of `Saliency`"
    assert (rows["Noise σ"], rows["Draws"], rows["Seed"], rows["L2 radius ρ"]) == ("`0.2`", "256", "`7`", "0.01")
    assert rows["Confidence for each example"] == "95 %"
    assert f"torch {torch.__version__}" in rows["Versions"]
    assert f"- {certificate.summaries()[0]}\n" in card
    assert certificate.held_fixed in card
    for path in (result, result.with_suffix(".npz")):
        assert rows[f"`{path.name}`"] == f"`{hashlib.sha256(path.read_bytes()).hexdigest()}`"


def test_the_card_cautions_where_the_margin_is_not_positive(result):
    verification = verify(result)
    assert ("no more of the plain map is certified" in model_card(verification)) == (
        float(verification.certificate.of_plain.margin[0]) <= 0
    )


def test_a_certificate_of_several_examples_without_a_model(tmp_path):
    smoothed_map = SmoothedMap.from_counts(
        torch.tensor([[990, 980, 5, 2], [500, 500, 500, 500]]), n_samples=1000, stdevs=0.5
    )
    Certifier().top_k(smoothed_map, k=2, radius=0.1).save(tmp_path / "two.npz")
    card = model_card(verify(tmp_path / "two.npz"))
    assert rows_of(card)["Model, digest of its parameters and buffers"] == "not recorded"
    assert "- Example 0: at least 2 of the top 2 features (100.0%)" in card
    assert "- Example 1: nothing is proved. That does not mean that nothing is stable." in card
    assert "- Example 1: the plain map is unknown" in card


def test_out_takes_the_card(result, tmp_path, capsys):
    assert main(["card", str(result), "--out", str(tmp_path / "card.md")]) == 0
    assert capsys.readouterr().out == ""
    assert (tmp_path / "card.md").read_text() == model_card(verify(result))


def test_no_card_of_a_result_that_does_not_follow_from_its_map(result, tmp_path, capsys):
    changed = tmp_path / "scan.json"
    changed.write_text(result.read_text().replace('"radius": 0.01', '"radius": 0.02'))
    changed.with_suffix(".npz").write_bytes(result.with_suffix(".npz").read_bytes())
    assert main(["card", str(changed), "--out", str(tmp_path / "card.md")]) == 1
    assert "radius: stored 0.02, recomputed 0.01" in capsys.readouterr().err
    assert not (tmp_path / "card.md").exists()
    with pytest.raises(InvalidInputError, match="agrees with its map, got 1 differences"):
        model_card(verify(changed))


def test_a_file_that_is_no_result_is_refused(tmp_path, capsys):
    (tmp_path / "notes.json").write_text("{}")
    assert main(["card", str(tmp_path / "notes.json")]) == 2
    assert "map_file" in capsys.readouterr().err
