"""Runs that are killed, continued, changed or damaged give the results of an uninterrupted run."""

import json
import os
import re
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch
from captum.attr import Saliency
from digits_run import BLOCKS, SETTINGS, certifier, certify, contents, digits, small_model
from matplotlib.figure import Figure

from captum_certified import Certifier, FileFormatError, SmoothedMap, SparsifiedSmoothGrad
from captum_certified.attr.run import SamplingRun
from captum_certified.runs import DatasetSummary, certify_dataset, verify
from captum_certified.runs.example_files import ExampleFiles
from captum_certified.runs.example_run import ExampleRun
from captum_certified.runs.results import file_digest
from captum_certified.storage import write_archive

HERE = Path(__file__).parent
KILLS = int(os.environ.get("CAPTUM_CERTIFIED_KILLS", "3"))


@pytest.fixture(autouse=True)
def _no_figures():
    """Replace the figures, because drawing takes longer than the runs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DatasetSummary, "figure", lambda _: Figure(figsize=(1, 1)))
        yield


@pytest.fixture(scope="module")
def data():
    images, labels = digits(2)
    return [(images, labels)]


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    certify(data, folder)
    return contents(folder)


class Killed(BaseException):
    """An exception that no code catches."""


@pytest.fixture
def killed_at(monkeypatch):
    """Let a method of ExampleFiles raise when it is called for the n-th time."""

    def set_up(name, calls, *, after=False):
        function, left = getattr(ExampleFiles, name), [calls]

        def counted(*arguments, **named):
            left[0] -= 1
            if left[0] == 0 and not after:
                raise Killed
            result = function(*arguments, **named)
            if left[0] == 0:
                raise Killed
            return result

        monkeypatch.setattr(ExampleFiles, name, counted)

    return set_up


def outcomes(results):
    return [result.outcome for result in results]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_run_killed_at_random_moments_has_the_results_of_an_uninterrupted_run(tmp_path):
    torch.save(digits(10), tmp_path / "digits.pt")
    command = [sys.executable, HERE / "killed.py", tmp_path, tmp_path / "digits.pt", str(KILLS), "11"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  this program
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[0]) >= 1, done.stdout
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")
    assert len(list((tmp_path / "whole").glob("0*.json"))) == 10


@pytest.mark.parametrize("block", range(1, BLOCKS + 1))
@pytest.mark.parametrize("after", [False, True])
def test_an_image_is_continued_from_its_last_block(data, whole, tmp_path, killed_at, monkeypatch, block, after):
    killed_at("write_checkpoint", block, after=after)
    with pytest.raises(Killed):
        certify(data, tmp_path)
    monkeypatch.undo()
    drawn = []
    block_of = ExampleRun._block
    monkeypatch.setattr(ExampleRun, "_block", lambda run, *rest: drawn.append(run.source.name) or block_of(run, *rest))
    results = certify(data, tmp_path)
    saved = block if after else block - 1
    assert drawn.count("000000") == BLOCKS - saved
    assert outcomes(results) == ["continued" if saved else "sampled", "sampled"]
    assert contents(tmp_path) == whole


@pytest.mark.parametrize("after", [False, True])
def test_a_kill_while_a_result_is_written_costs_no_draws(data, whole, tmp_path, killed_at, monkeypatch, after):
    killed_at("write_result", 2, after=after)
    with pytest.raises(Killed):
        certify(data, tmp_path)
    monkeypatch.undo()
    assert outcomes(certify(data, tmp_path)) == ["kept", "kept" if after else "continued"]
    assert set(contents(tmp_path)) - set(whole) == ({"000001.checkpoint"} if after else set())


def test_the_fresh_seed_of_an_unfinished_image_is_continued(data, tmp_path, killed_at, monkeypatch):
    killed_at("write_checkpoint", 3, after=True)
    with pytest.raises(Killed):
        certify(data, tmp_path, seed=None)
    monkeypatch.undo()
    certify(data, tmp_path, seed=None)
    seeds = {json.loads((tmp_path / f"00000{i}.json").read_text())["seed"] for i in range(2)}
    assert len(seeds) == 2
    seed = json.loads((tmp_path / "000000.json").read_text())["seed"]
    again = certify([(data[0][0][:1], data[0][1][:1])], tmp_path / "again", seed=seed)
    assert (tmp_path / "again" / "000000.json").read_bytes() == (tmp_path / "000000.json").read_bytes()
    assert outcomes(certify(data, tmp_path, seed=None)) == ["kept"] * 2
    assert len(again) == 1


def test_temporary_files_of_a_killed_process_are_removed(data, whole, tmp_path):
    for name in (".000001.json.abcdefgh", ".000000.checkpoint.abc_1234", ".summary.csv.abcdefgh"):
        (tmp_path / name).write_bytes(b"{")
    (tmp_path / ".another.json.abcdefgh").write_bytes(b"{")
    certify(data, tmp_path)
    assert set(contents(tmp_path)) - set(whole) == {".another.json.abcdefgh"}


def contents_without_the_mark(folder):
    """Return the contents of a folder without the mark that a result was looked at before."""
    found = contents(folder)
    for name in [name for name in found if name.endswith(".json")]:
        record = json.loads(found[name])
        found[name] = {key: value for key, value in record.items() if key not in ("looked_before", "notes_digest")}
    return found


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"nt_samples": 65}, "redone. The first of them is '000000': nt_samples was 129 and is 65"),
        ({"stdevs": 0.3}, "redone. .* stdevs changed"),
        ({"seed": 8}, "redone. .* seed was 7 and is 8"),
        ({"covariance": False}, "redone. .* covariance was 64 and is False"),
        ({"groups": "channels"}, "redone. .* groups was None and is 'channels'"),
        ({"region": torch.ones(1, 1, 8, 8, dtype=torch.bool)}, "redone. .* region changed"),
        ({"attribution_kwargs": {"abs": False}}, "redone. .* arguments changed"),
    ],
)
def test_results_of_other_settings_are_redone(data, tmp_path, changes, message):
    certify(data, tmp_path / "one")
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        assert outcomes(certify(data, tmp_path / "one", **changes)) == ["sampled"] * 2
    replaced = [w for w in said if "replace others of the same inputs" in str(w.message)]
    assert len(said) == 1 + len(replaced)
    assert re.search(message, str(said[0].message))
    assert len(replaced) == ("seed" not in changes)
    certify(data, tmp_path / "two", **changes)
    assert contents_without_the_mark(tmp_path / "one") == contents_without_the_mark(tmp_path / "two")


def test_results_with_another_pass_size_are_kept(data, tmp_path):
    certify(data, tmp_path)
    assert outcomes(certify(data, tmp_path, nt_samples_batch_size=7)) == ["kept"] * 2


def other_weights():
    model = small_model()
    with torch.no_grad():
        model[0].weight.mul_(1.01)
    return certifier(model)


def other_architecture():
    model = small_model()
    model[1] = torch.nn.Tanh()
    return certifier(model)


def other_map():
    return Certifier(SparsifiedSmoothGrad(Saliency(small_model()), tau=0.3))


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (other_weights, "model changed"),
        (other_architecture, "the model behaves differently"),
        (other_map, "tau was 0.2 and is 0.3"),
    ],
)
@pytest.mark.filterwarnings("ignore:Results in .* replace others of the same inputs:UserWarning")
def test_results_of_another_explanation_are_redone(data, tmp_path, other, message):
    certify(data, tmp_path)
    with pytest.warns(UserWarning, match=message):
        assert outcomes(certify(data, tmp_path, certifier=other())) == ["sampled"] * 2


@pytest.mark.filterwarnings("ignore:Results in .* replace others of the same inputs:UserWarning")
def test_results_of_another_image_are_redone(data, tmp_path):
    certify(data, tmp_path)
    images, labels = data[0][0].clone(), data[0][1]
    images[1] *= 0.9
    with pytest.warns(UserWarning, match="The first of them is '000001': inputs changed"):
        assert outcomes(certify([(images, labels)], tmp_path)) == ["kept", "sampled"]
    with pytest.warns(UserWarning, match="target changed"):
        assert outcomes(certify([(images, labels.roll(1))], tmp_path)) == ["sampled"] * 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"k": 5}, "certified anew, without new draws. The first of them is '000000': k was 0.2 and is 5"),
        ({"radius": 0.1}, "radius was 0.05 and is 0.1"),
        ({"radii": [0.2]}, "radii changed"),
        ({"certifier": "theorem2"}, "bound was 'best' and is 'theorem2'"),
    ],
)
@pytest.mark.filterwarnings("ignore:Results in .* replace others of the same inputs:UserWarning")
def test_another_certificate_needs_no_new_draws(data, tmp_path, monkeypatch, changes, message):
    if "certifier" in changes:
        changes = {"certifier": certifier(bound=changes["certifier"])}
    certify(data, tmp_path / "one")
    certify(data, tmp_path / "two", **changes)
    monkeypatch.setattr(SamplingRun, "maps", None)
    with pytest.warns(UserWarning, match=message):
        assert outcomes(certify(data, tmp_path / "one", **changes)) == ["recertified"] * 2
    assert contents_without_the_mark(tmp_path / "one") == contents_without_the_mark(tmp_path / "two")


def test_a_kill_while_a_certificate_is_replaced_costs_no_draws(data, tmp_path, killed_at, monkeypatch):
    certify(data, tmp_path)

    def torn(files, *arguments):
        files.json.with_suffix(".npz").write_bytes(b"half")
        raise Killed

    monkeypatch.setattr(ExampleFiles, "write_result", torn)
    with pytest.warns(UserWarning, match="radius was"), pytest.raises(Killed):
        certify(data, tmp_path, radius=0.1)
    monkeypatch.undo()
    unusable = pytest.warns(UserWarning, match="The result of '000000' cannot be used, and is redone. Expected")
    with pytest.warns(UserWarning, match="radius was"), unusable:
        assert outcomes(certify(data, tmp_path, radius=0.1)) == ["continued", "recertified"]


def test_a_run_without_resume_redoes_everything(data, tmp_path):
    certify(data, tmp_path)
    assert outcomes(certify(data, tmp_path, resume=False)) == ["sampled"] * 2


def changed(path, **entries):
    record = json.loads(path.read_text())
    path.write_text(json.dumps({**record, **entries}))


def flipped(path):
    content = bytearray(path.read_bytes())
    content[100] ^= 1  # a byte of data, because other bytes of an archive may have no meaning
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda json_, npz: json_.write_bytes(json_.read_bytes()[:500]), "to be a result in JSON, but it is corrupt"),
        (lambda json_, npz: json_.write_bytes(b""), "but it is corrupt"),
        (lambda json_, npz: json_.write_text("[]"), "to be a result in JSON, got list"),
        (lambda json_, npz: json_.write_text("{}"), "to name the npz file beside it"),
        (lambda json_, npz: npz.unlink(), "as it was written with 000001.json, got another file or none"),
        (lambda json_, npz: flipped(npz), "as it was written with 000001.json, got another file or none"),
        (lambda json_, npz: changed(json_, overlap=[12]), "as it was written, got entries that were changed"),
        (lambda json_, npz: changed(json_, curve={"radii": [0.1], "overlap": [1]}), "entries that were changed"),
        (lambda json_, npz: changed(json_, label=3), "entries that were changed"),
        (lambda json_, npz: changed(json_, settings=None), "to be a result with its settings, got a result without"),
    ],
)
def test_a_damaged_result_is_redone(data, whole, tmp_path, damage, message):
    certify(data, tmp_path)
    damage(tmp_path / "000001.json", tmp_path / "000001.npz")
    with pytest.warns(UserWarning, match=f"The result of '000001' cannot be used, and is redone. .*{message}"):
        assert outcomes(certify(data, tmp_path)) == ["kept", "sampled"]
    assert contents(tmp_path) == whole


def test_a_result_with_a_forged_map_digest_is_redone(data, whole, tmp_path):
    certify(data, tmp_path)
    (tmp_path / "000001.npz").write_bytes(b"no archive")
    changed(tmp_path / "000001.json", map_digest=file_digest(tmp_path / "000001.npz"))
    with pytest.warns(UserWarning, match="to hold a certificate, got another file: .* corrupt"):
        certify(data, tmp_path)
    assert contents(tmp_path) == whole


def save_map_of(draws, path):
    smoothed_map = SmoothedMap.from_counts(torch.zeros(1, 1, 8, 8, dtype=torch.int64), n_samples=draws, stdevs=0.2)
    ExampleFiles(path.parent, path.stem).write_checkpoint(smoothed_map, {})


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.write_bytes(b"PK"), "to be a checkpoint file, but it is corrupt or truncated"),
        (lambda path: path.write_bytes(path.read_bytes()[:-40]), "but it is corrupt or truncated"),
        (flipped, "corrupt"),
        (lambda path: write_archive(path, kind="SmoothedMap", header={}, arrays={}), "to hold a checkpoint"),
        (lambda path: save_map_of(64, path), "to hold whole blocks of draws of one example, got draws None"),
    ],
)
def test_a_damaged_checkpoint_is_redone(data, whole, tmp_path, killed_at, monkeypatch, damage, message):
    killed_at("write_checkpoint", 2, after=True)
    with pytest.raises(Killed):
        certify(data, tmp_path)
    monkeypatch.undo()
    damage(tmp_path / "000000.checkpoint")
    with pytest.warns(UserWarning, match=f"The checkpoint of '000000' cannot be used, and is redone. .*{message}"):
        assert outcomes(certify(data, tmp_path)) == ["sampled"] * 2
    assert contents(tmp_path) == whole


def test_a_checkpoint_of_other_settings_is_redone(data, tmp_path, killed_at, monkeypatch):
    killed_at("write_checkpoint", 2, after=True)
    with pytest.raises(Killed):
        certify(data, tmp_path)
    monkeypatch.undo()
    with pytest.warns(UserWarning, match="stdevs changed"):
        assert outcomes(certify(data, tmp_path, stdevs=0.4)) == ["sampled"] * 2


def test_a_checkpoint_without_settings_is_refused(tmp_path):
    smoothed_map = SmoothedMap.from_counts(torch.zeros(1, 4, dtype=torch.int64), n_samples=64, stdevs=0.2)
    ExampleFiles(tmp_path, "a").write_checkpoint(smoothed_map, {})
    with pytest.raises(FileFormatError, match="whole blocks of draws of one example, got draws None"):
        ExampleFiles(tmp_path, "a").read_checkpoint([range(64)])
    write_archive(tmp_path / "b.checkpoint", kind="checkpoint", header={"settings": 3}, arrays={})
    with pytest.raises(FileFormatError, match="to hold a map and its settings, got something else"):
        ExampleFiles(tmp_path, "b").read_checkpoint([range(64)])


def test_a_failed_image_is_tried_again(data, tmp_path):
    images, labels = data[0]
    broken = torch.cat([images[:1], torch.full_like(images[:1], torch.nan)])
    results = certify([(broken, labels)], tmp_path, on_failure="record")
    assert outcomes(results) == ["sampled", "failed"]
    assert json.loads((tmp_path / "000001.json").read_text())["kind"] == "failure"
    assert outcomes(certify(data, tmp_path)) == ["kept", "sampled"]


def test_kept_results_verify_and_equal_a_single_certificate(data, tmp_path):
    results = certify(data, tmp_path)
    assert all(verify(result.path).agrees for result in results)
    settings = {name: value for name, value in SETTINGS.items() if name not in ("k", "radius")}
    one = certifier().certify(data[0][0][:1], target=int(data[0][1][0]), k=0.2, radius=0.05, **settings)
    stored = results[0].certificate()
    assert json.loads(stored.to_json()) == json.loads(one.to_json())
    assert torch.equal(stored.map.feature_counts, one.map.feature_counts)
    for name, value in one.map.covariance.parts().items():
        assert torch.equal(value, stored.map.covariance.parts()[name])


def test_a_call_as_in_the_documentation_keeps_its_results(data, tmp_path):
    explainer = SparsifiedSmoothGrad(Saliency(small_model()), tau=0.2)
    results = certify_dataset(explainer, data, k=3, radius=0.05, nt_samples=32, stdevs=0.2, out=tmp_path, seed=0)
    assert repr(results).startswith("2 examples: mean certified overlap ")
