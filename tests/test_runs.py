"""Results on disk: their contents, and the detection of every changed number and file."""

import json
import os

import numpy as np
import pytest
import torch
from captum.attr import Saliency
from torch import nn

from captum_certified import Certifier, FileFormatError, InvalidInputError, SmoothedMap, SparsifiedSmoothGrad
from captum_certified.runs import input_digest, verify, write_result
from captum_certified.storage import digest


@pytest.fixture(scope="module")
def example():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.Tanh(), nn.Linear(8, 3))
        image = torch.rand(1, 1, 4, 4)
    certifier = Certifier(SparsifiedSmoothGrad(Saliency(model), tau=0.25), bound="hoeffding")
    return certifier.certify(image, target=1, k=4, radius=0.02, nt_samples=500, stdevs=0.2, seed=5), image


@pytest.fixture
def result(example, tmp_path):
    certificate, image = example
    return write_result(tmp_path / "image.json", certificate, image, notes={"label": 2, "prediction": 1})


def rewritten(path, change):
    """Change the JSON of a file."""
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record))
    return path


def test_result_holds_the_certificate_its_files_and_the_notes(example, result):
    certificate, _ = example
    record = json.loads(result.read_text())
    assert {name: record[name] for name in certificate.to_dict()} == json.loads(certificate.to_json())
    assert (record["label"], record["prediction"], record["map_file"]) == (2, 1, "image.npz")
    assert record["versions"]["torch"]
    assert sorted(path.name for path in result.parent.iterdir()) == ["image.json", "image.npz"]


def test_the_input_digest_begins_with_the_digest_recorded_when_sampling(example, result):
    certificate, image = example
    assert json.loads(result.read_text())["input_digest"] == input_digest(image[0])
    assert input_digest(image[0]).startswith(certificate.map.setup["inputs"][0])
    assert input_digest((image[0],)) == input_digest(image[0])
    assert input_digest(image[0]) != input_digest(image[0].double())
    assert input_digest(torch.zeros(0)) != input_digest(torch.zeros(0, 1))
    assert digest((1, 1, 11)) != digest((1, 11, 1)) != digest((11, 1, 1))
    assert digest(("a", "b")) != digest(("ab",)) != digest(["ab"])
    assert digest({"a": 1, "b": {}}) == digest({"b": {}, "a": 1}) != digest({"a": {"b": 1}})
    assert digest(np.int64(5)) == digest(5) != digest(np.int64(6))
    assert digest(np.zeros(3)) != digest(np.ones(3)) != digest(np.ones(3, np.float32))
    assert digest({3, 1}) == digest({1, 3}) != digest({1, 4})
    assert digest(torch.float32) != digest(torch.float64)
    assert input_digest(torch.tensor(5).expand(1)) == input_digest(torch.tensor([5]))


@pytest.mark.parametrize("name", ["image.json", "image.npz"])
def test_a_written_result_agrees(result, name):
    verified = verify(result.parent / name)
    assert verified.agrees
    assert verified.differences == ()


def test_a_certificate_is_verified_under_any_name(example, tmp_path):
    certificate, _ = example
    certificate.save(tmp_path / "certificate")
    assert verify(tmp_path / "certificate").agrees


def test_results_agree_after_their_files_are_moved_together(result, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    for path in (result, result.with_suffix(".npz")):
        path.rename(tmp_path / "elsewhere" / path.name)
    assert verify(tmp_path / "elsewhere" / "image.json").agrees


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("overlap", [3]),
        ("overlap_fraction", [0.75]),
        ("plain_overlap", [0]),
        ("k", 5),
        ("radius", 0.5),
        ("confidence", 0.99),
        ("violations", 1),
        ("bound", "theorem2"),
        ("n_samples", [501]),
        ("n_features", 17),
        ("stdevs", 0.3),
        ("seed", 6),
        ("draws", [[[0, 501]]]),
        ("kind", "rank"),
        ("map_digest", "0" * 64),
        ("input_digest", "0" * 64),
        ("input_digest", None),
        ("overlap", [True]),
        ("overlap", [1, 1]),
        ("radius", float("nan")),
    ],
)
def test_every_tampered_entry_is_reported(result, name, value):
    assert json.loads(result.read_text())[name] != value
    verified = verify(rewritten(result, lambda record: record.update({name: value})))
    assert not verified.agrees
    assert all(difference.startswith(name) for difference in verified.differences)


def test_tampered_setup_is_reported_by_its_path(result):
    verified = verify(rewritten(result, lambda record: record["setup"].update(tau=0.5, extra=1)))
    assert verified.differences == ("setup.extra: not expected", "setup.tau: stored 0.5, recomputed 0.25")


def test_missing_entry_is_reported(result):
    verified = verify(rewritten(result, lambda record: record.pop("overlap")))
    assert verified.differences == ("overlap: missing",)


def test_swapped_map_is_reported(example, result):
    certificate, _ = example
    other = Certifier(bound="hoeffding").top_k(certificate.map, k=4, radius=0.01)
    other.save(result.with_suffix(".npz"))
    verified = verify(result)
    assert verified.differences[0] == "map_digest: image.npz is not the file that was written with this result"
    assert "radius: stored 0.02, recomputed 0.01" in verified.differences


def test_forged_certificate_is_reported(example, tmp_path):
    certificate, _ = example
    forged = Certifier(bound="hoeffding").top_k(certificate.map, k=4, radius=0.02)
    object.__setattr__(forged, "overlap", torch.tensor([77]))
    forged.save(tmp_path / "forged.npz")
    assert verify(tmp_path / "forged.npz").differences == (
        f"overlap[0]: stored 77, recomputed {int(certificate.overlap[0])}",
    )


def test_only_the_first_differences_are_listed(tmp_path):
    smoothed_map = SmoothedMap.from_counts(torch.arange(20)[None], n_samples=20, stdevs=0.1)
    ranks = Certifier(bound="hoeffding").rank(smoothed_map, radius=0.1)
    object.__setattr__(ranks, "feature_rank", torch.zeros_like(ranks.feature_rank))
    ranks.save(tmp_path / "ranks.npz")
    assert verify(tmp_path / "ranks.npz").differences[-1] == "… and 15 more"


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"", "to be a result in JSON, but it is corrupt"),
        (b'{"kind": "top_k", "overl', "to be a result in JSON, but it is corrupt"),
        (b"\xff\xfe\x00\xd8", "to be a result in JSON, but it is corrupt"),
        (b"[" * 100_000, "to be a result in JSON, but it is corrupt"),
        (b'{"k": 1, "k": 2}', "an entry is there twice"),
        (b"[1, 2]", "to be a result in JSON, got list"),
        (b"{}", "to name the npz file beside it as `map_file`, got None"),
        (b'{"map_file": "../image.npz"}', "to name the npz file beside it"),
        (b'{"map_file": "/etc/passwd"}', "to name the npz file beside it"),
    ],
)
def test_corrupt_json_is_refused(tmp_path, content, match):
    (tmp_path / "bad.json").write_bytes(content)
    with pytest.raises(FileFormatError, match=match):
        verify(tmp_path / "bad.json")


def test_corrupt_and_truncated_maps_are_refused(result):
    map_file = result.with_suffix(".npz")
    whole = map_file.read_bytes()
    map_file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(FileFormatError, match="corrupt or truncated"):
        verify(result)


def test_missing_map_is_an_os_error(result):
    result.with_suffix(".npz").unlink()
    with pytest.raises(FileNotFoundError):
        verify(result)


def test_impossible_settings_in_a_certificate_are_refused(example, tmp_path):
    certificate, _ = example
    forged = Certifier(bound="hoeffding").top_k(certificate.map, k=4, radius=0.02)
    object.__setattr__(forged, "bound", ["hoeffding"])
    forged.save(tmp_path / "forged.npz")
    with pytest.raises(FileFormatError, match="to hold the settings of a certificate"):
        verify(tmp_path / "forged.npz")


def test_invalid_results_are_refused_before_anything_is_written(example, tmp_path):
    certificate, image = example
    with pytest.raises(InvalidInputError, match=r"to end in \.json, got 'image\.txt'"):
        write_result(tmp_path / "image.txt", certificate, image)
    with pytest.raises(InvalidInputError, match="of one example, got 1 and 2"):
        write_result(tmp_path / "image.json", certificate, torch.cat([image, image]))
    with pytest.raises(InvalidInputError, match=r"names that no other entry has, got \['overlap', 'seed'\]"):
        write_result(tmp_path / "image.json", certificate, image, notes={"seed": 1, "overlap": 2, "label": 3})
    with pytest.raises(InvalidInputError, match="of JSON values"):
        write_result(tmp_path / "image.json", certificate, image, notes={"label": np.int64(3)})
    with pytest.raises(InvalidInputError, match="of JSON values"):
        write_result(tmp_path / "image.json", certificate, image, notes={"score": float("nan")})
    assert list(tmp_path.iterdir()) == []


def test_no_partial_file_is_written(example, result, monkeypatch):
    certificate, image = example
    before = result.read_bytes()

    def fail(descriptor):
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        write_result(result, certificate, image)
    assert result.read_bytes() == before
    assert sorted(path.name for path in result.parent.iterdir()) == ["image.json", "image.npz"]
