"""Runs over data sets of every kind: inputs, files, and arguments that are refused."""

import csv
import json
import re

import numpy as np
import pytest
import torch
from captum.attr import IntegratedGradients, Saliency
from digits_run import certifier, certify, contents, digits, small_model
from torch import nn
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    DistributedSampler,
    IterableDataset,
    RandomSampler,
    TensorDataset,
)

from captum_certified import Certificate, CertificationError, Certifier, InvalidInputError, SparsifiedSmoothGrad
from captum_certified.certify.written_numbers import floored_percent
from captum_certified.runs import certify_dataset, verify, write_result
from captum_certified.runs.example_run import ExampleRun
from captum_certified.storage import digest
from captum_certified.visualization import overlap_figure


@pytest.fixture(scope="module")
def data():
    return digits(3)


class Lazy(Dataset):
    """A data set that records which items are read."""

    def __init__(self, images, labels):
        self.items, self.read = TensorDataset(images, labels), []

    def __len__(self):
        return len(self.items)

    def __getitem__(self, index):
        self.read.append(index)
        return self.items[index]


class Stream(IterableDataset):
    def __init__(self, images, labels):
        self.items = TensorDataset(images, labels)

    def __iter__(self):
        return (self.items[index] for index in range(len(self.items)))


@pytest.mark.parametrize(
    "kind",
    [
        lambda images, labels: TensorDataset(images, labels),
        lambda images, labels: Stream(images, labels),
        lambda images, labels: DataLoader(TensorDataset(images, labels), batch_size=2),
        lambda images, labels: DataLoader(TensorDataset(images, labels), batch_size=None),
        lambda images, labels: [(images[:2], labels[:2].tolist()), (images[2:], int(labels[2]))],
        lambda images, labels: ((images[i : i + 1], labels[i]) for i in range(3)),
    ],
)
def test_every_kind_of_data_gives_the_same_results(data, kind):
    summary = certify(kind(*data), None, nt_samples=16)
    expected = certify([data], None, nt_samples=16)
    assert [result.name for result in summary] == ["000000", "000001", "000002"]
    assert [result.record for result in summary] == [result.record for result in expected]


def test_tuples_of_inputs_and_named_regions():
    class Two(nn.Module):
        def forward(self, one, two):
            return torch.cat([one.tanh() * two, two.sin()], dim=1)

    inputs = (torch.rand(2, 6), torch.rand(2, 6))
    explainer = SparsifiedSmoothGrad(IntegratedGradients(Two()), tau=0.25)
    mask = (torch.arange(6).lt(3).unsqueeze(0), torch.zeros(1, 6, dtype=torch.bool))
    settings = {"k": 3, "radius": 0.02, "nt_samples": 16, "out": None, "seed": 0, "n_steps": 4}
    summary = certify_dataset(
        explainer, [(inputs, [1, "argmax"])], stdevs=(0.1, 0.2), region={"left": mask}, **settings
    )
    assert summary[1].record["setup"]["target"] == ["argmax"]
    assert summary[0].record["stdevs"] == [0.1, 0.2]
    assert 0 <= summary[0].record["regions"]["left"]["mass"][0] <= 1
    unnamed = certify_dataset(explainer, [(inputs, 1)], stdevs=0.1, region=mask, **settings)
    assert 0 <= unnamed[0].record["region"]["mass"][0] <= 1


def test_targets_of_several_dimensions(data):
    class Grid(nn.Module):
        def forward(self, images):
            return torch.stack([images.sin().sum((1, 2, 3)), images.square().sum((1, 2, 3))], dim=1).unsqueeze(2)

    of = Certifier(SparsifiedSmoothGrad(Saliency(Grid()), tau=0.2))
    summary = certify([(data[0][:2], torch.tensor([[0, 0], [1, 0]]))], None, certifier=of, nt_samples=8)
    assert [result.record["setup"]["target"] for result in summary] == [[[0, 0]], [[1, 0]]]


def test_the_summary_agrees_with_the_results(data, tmp_path):
    summary = certify([data], tmp_path / "new" / "folder", radii=[0.0, 0.1], names=["zero", "one", "two"])
    assert len(summary) == 3
    assert summary.radii == (0.0, 0.05, 0.1)
    assert [result.path.name for result in summary] == ["zero.json", "one.json", "two.json"]
    fractions = [result.certificate().overlap_fraction for result in summary]
    mean = torch.cat(fractions).mean()
    torch.testing.assert_close(torch.tensor(summary.mean_overlap_fraction).double(), mean)
    torch.testing.assert_close(summary.curves[:, 1], torch.cat(fractions))
    for row, result in enumerate(summary):
        stored = result.certificate()
        curve = certifier().top_k_curve(stored.map, k=0.2, radii=summary.radii)[0]
        assert list(result.curve.values()) == curve.tolist()
        torch.testing.assert_close(summary.curves[row], curve.double() / stored.k)
        assert result.overlap == int(stored.overlap[0])
    with (tmp_path / "new" / "folder" / "summary.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows] == ["zero", "one", "two"]
    assert [int(row["overlap_at_0.05"]) for row in rows] == [result.overlap for result in summary]
    assert (tmp_path / "new" / "folder" / "summary.png").read_bytes().startswith(b"\x89PNG")
    plain, margin = summary.of_plain("overlap_fraction"), summary.of_plain("margin")
    assert plain == pytest.approx(float(summary.plain_curves[:, 1].mean()))
    assert [float(row["plain_margin"]) for row in rows] == [r.record["of_plain"]["margin"][0] for r in summary]
    assert repr(summary) == (
        f"3 examples: mean certified overlap {floored_percent(summary.mean_overlap_fraction)}% at L2 radius 0.05, over "
        f"the 3 certified, each at confidence 0.95; of the plain map's top set {floored_percent(plain)}%, mean margin "
        f"{100 * margin:+.1f} points"
    )
    assert list(summary) == list(summary[:])


def test_shards_are_a_partition_and_a_last_run_summarises_them(data, tmp_path):
    images, labels = data
    parts = [Lazy(images, labels) for _ in range(2)]
    summaries = [certify(part, tmp_path, shard=(index, 2)) for index, part in enumerate(parts, start=1)]
    assert [[result.name for result in summary] for summary in summaries] == [["000000", "000002"], ["000001"]]
    assert [sorted(set(part.read)) for part in parts] == [[0, 2], [1]]
    assert {"summary-1-of-2.csv", "summary-2-of-2.csv"} <= {path.name for path in tmp_path.iterdir()}
    whole = certify([data], tmp_path)
    assert [result.outcome for result in whole] == ["kept"] * 3
    certify([data], tmp_path / "one")
    assert contents(tmp_path / "one").items() <= {p.name: p.read_bytes() for p in tmp_path.glob("*.*")}.items()


def test_more_shards_than_examples_leave_some_shards_empty(data, tmp_path):
    summary = certify([(data[0][:1], data[1][:1])], tmp_path, shard=(2, 2))
    assert len(summary) == 0
    assert summary.mean_overlap_fraction is None
    assert repr(summary) == "0 examples"
    with pytest.raises(InvalidInputError, match=re.escape("(examples, 3) with an example, got (0, 3)")):
        summary.figure()


def test_an_example_that_fails_ends_the_run_or_is_recorded(data, tmp_path):
    images = torch.cat([data[0][:1], torch.full_like(data[0][:1], torch.nan), data[0][1:2]])
    with pytest.raises(InvalidInputError, match="Expected finite `inputs`"):
        certify([(images, data[1])], tmp_path)
    assert (tmp_path / "000000.json").is_file()
    summary = certify([(images, data[1])], tmp_path, on_failure="record")
    assert [result.outcome for result in summary] == ["kept", "failed", "sampled"]
    failure = summary[1]
    assert failure.failed
    assert failure.overlap is None
    assert failure.overlap_fraction is None
    assert failure.curve == {}
    assert "InvalidInputError" in failure.traceback
    assert "Expected finite `inputs`" in json.loads(failure.path.read_text())["error"]
    assert repr(summary).startswith("3 examples (1 kept, 1 failed): mean certified overlap")
    assert ", over the 2 certified, each at confidence 0.95; of the plain map's top set " in repr(summary)
    with pytest.raises(InvalidInputError, match="Expected a result with files, got '000001', which has none"):
        failure.certificate()
    with pytest.raises(InvalidInputError, match="which has none"):
        certify([data], None, nt_samples=8)[0].certificate()


def test_progress_shows_draws_and_the_mean(data, tmp_path, capsys):
    certify([data], tmp_path, show_progress=True)
    summary = certify([data], tmp_path, show_progress=True)
    shown = capsys.readouterr().err
    assert f"mean certified overlap {floored_percent(summary.mean_overlap_fraction)}%: 100%" in shown
    assert "387/387" in shown


def test_results_verify(data, tmp_path):
    assert all(verify(result.path).agrees for result in certify([data], tmp_path, seed=None))


LEFT = torch.zeros(1, 1, 8, 8, dtype=torch.bool)
LEFT[..., :4] = True


def changed_curve(record):
    record["curve"]["overlap"][0] += 1


def changed_region(record):
    record["region"]["mass"] = [0.99]


def changed_regions(record):
    record["regions"]["b"]["radius"] = 9.0


@pytest.mark.parametrize("sealed", [True, False])
@pytest.mark.parametrize(
    ("region", "change", "difference"),
    [
        (None, changed_curve, r"curve\.overlap\[0\]: stored \d+, recomputed \d+"),
        (None, lambda r: r["curve"]["radii"].__setitem__(2, 0.0), r"curve\.overlap\[2\]: .*"),
        (None, lambda r: r["curve"].update(radii=[-1.0, 0.05, 0.1]), r"curve\.overlap: .*"),
        (None, lambda r: r["curve"].update(radii="all"), r"curve\.overlap: .*"),
        (LEFT, changed_region, r"region\.mass\[0\]: stored 0\.99, recomputed .*"),
        (LEFT, lambda r: r["region"].update(name="heart"), r"region\.name: stored 'heart', .*"),
        ({"a": LEFT, "b": ~LEFT}, changed_regions, r"regions\.b\.radius: stored 9\.0, recomputed 0\.05"),
        ({"a": LEFT, "b": ~LEFT}, lambda r: r["regions"].pop("b"), r"regions\.b: missing"),
        (None, lambda r: r.update(region={"kind": "region", "mass": [1.0]}), r"region: stored .*, recomputed None"),
    ],
)
def test_a_changed_curve_or_region_does_not_verify(data, tmp_path, region, change, difference, sealed):
    [result] = certify([(data[0][:1], data[1][:1])], tmp_path, region=region, nt_samples=1024, covariance=False)
    assert verify(result.path).agrees
    record = json.loads(result.path.read_text())
    if not sealed:
        del record["notes_digest"]
    change(record)
    result.path.write_text(json.dumps(record))
    found = verify(result.path).differences
    assert re.fullmatch(difference, found[0]), found


@pytest.mark.parametrize("name", ["curve", "regions"])
def test_a_result_of_a_run_without_its_curve_or_regions_does_not_verify(data, tmp_path, name):
    [result] = certify([(data[0][:1], data[1][:1])], tmp_path, region={"a": LEFT, "b": ~LEFT}, nt_samples=64)
    record = json.loads(result.path.read_text())
    del record[name]
    result.path.write_text(json.dumps(record))
    assert verify(result.path).differences == (f"{name}: missing",)


def test_notes_with_these_names_in_other_results_are_not_verified(data, tmp_path):
    certificate = certifier().certify(
        data[0][:1], target=data[1][:1], k=0.2, radius=0.05, nt_samples=64, stdevs=0.25, seed=0
    )
    notes = {"curve": "not of a run", "region": "left lung", "regions": {"a": 1}}
    assert verify(write_result(tmp_path / "one.json", certificate, data[0][:1], notes=notes)).agrees
    Certifier().rank(certificate.map, radius=0.05).save(tmp_path / "rank.npz")
    assert verify(tmp_path / "rank.npz").agrees


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"radius": -1}, "`radius` to be a finite number >= 0"),
        ({"radii": [-1]}, "`radii` to be a finite number >= 0"),
        ({"k": 0}, "`k` to be a number of features"),
        ({"shard": (3, 2)}, "`shard` (I, N) with I from 1 to N"),
        ({"on_failure": "ignore"}, "`on_failure` to be 'raise' or 'record', got 'ignore'"),
        ({"certifier": Certifier()}, "a Certifier with an `attribution_method`"),
        ({"names": ["a", "a", "b"]}, "distinct `names`, got ['a'] more than once"),
        ({"names": ["a/b", "c", "d"]}, "names of files, got 'a/b'"),
        ({"names": ["..", "c", "d"]}, "names of files, got '..'"),
        ({"names": ["summary", "c", "d"]}, "other than 'summary', which is taken, got 'summary'"),
        ({"names": ["a", "b"]}, "one of `names` for each example, got 2 names and more examples"),
        ({"names": ["a", "b", "c", "d"]}, "one of `names` for each example, got 4 names for 3 examples"),
        ({"target": 3}, "Expected targets only in `data`, got also `target` 3"),
    ],
)
def test_invalid_arguments_are_refused(data, tmp_path, changes, message):
    with pytest.raises(InvalidInputError, match=re.escape(message)):
        certify([data], tmp_path, **{"nt_samples": 8, **changes})


def test_one_draw_is_refused(data, tmp_path):
    with pytest.raises(CertificationError, match="`nt_samples` of at least 2 draws to certify, got 1"):
        certify([data], tmp_path, nt_samples=1)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (lambda data: DataLoader(data, shuffle=True), "got a DataLoader with a RandomSampler"),
        (lambda data: DataLoader(data, sampler=DistributedSampler(data, 2, 0)), "with a DistributedSampler"),
        (lambda data: DataLoader(data, batch_sampler=BatchSampler(RandomSampler(data), 2, False)), "a RandomSampler"),
        (lambda data: 3, "`data` to be a Dataset, a DataLoader or an iterable of (inputs, target), got int"),
        (lambda data: [data[0][0]], "`data` of pairs (inputs, target), got Tensor"),
        (lambda data: iter([data[0][0]]), "`data` of pairs (inputs, target), got Tensor"),
        (lambda data: [("image", 3)], "with tensors as inputs, got 'image'"),
        (lambda data: [(data.tensors[0], [1, 2])], "a target for each of 3 inputs, got 2"),
    ],
)
def test_invalid_data_are_refused(data, kind, message):
    with pytest.raises(InvalidInputError, match=re.escape(message)):
        certify(kind(TensorDataset(*data)), None, nt_samples=8)


@pytest.mark.parametrize(
    ("of", "changes", "message"),
    [
        ({}, {"k": 65}, "`k` to be a number of features from 1 to 64"),
        ({"violations": 14}, {}, "`violations` to be a number of features from 0 to 13"),
        ({"bound": "spectral"}, {"covariance": False}, "a map with `covariance` and a trace"),
    ],
)
def test_maps_that_cannot_be_certified_are_refused_after_one_block(data, monkeypatch, of, changes, message):
    blocks, sample = [], ExampleRun._block
    monkeypatch.setattr(ExampleRun, "_block", lambda *arguments: blocks.append(1) or sample(*arguments))
    with pytest.raises((InvalidInputError, CertificationError), match=message):
        certify([data], None, certifier=certifier(**of), **{"nt_samples": 5000, "covariance": 64, **changes})
    assert len(blocks) == 1


def test_numbers_of_numpy_are_equal_settings(data, tmp_path):
    results = certify([data], tmp_path, certifier=certifier(violations=np.int64(1)), covariance=np.int64(64))
    again = certify([data], tmp_path, certifier=certifier(violations=1), covariance=64)
    assert {result.outcome for result in results} == {"sampled"}
    assert {result.outcome for result in again} == {"kept"}


def test_the_figure_needs_a_column_for_each_radius():
    with pytest.raises(InvalidInputError, match=re.escape("`overlaps` of shape (examples, 2) with an example")):
        overlap_figure(torch.rand(3, 1), radii=[0.1, 0.2], confidence=0.95)
    with pytest.raises(InvalidInputError, match="Expected finite `overlaps`"):
        overlap_figure(torch.tensor([[0.5], [torch.nan]]), radii=[0.1], confidence=0.95)
    _, axes = overlap_figure(torch.tensor([[0.2], [0.6]]), radii=[0.1], confidence=0.95)
    steps, mean = axes.lines
    torch.testing.assert_close(
        torch.tensor(steps.get_ydata()), torch.tensor([60.0, 20.0, 20.0]).double(), rtol=1e-6, atol=0
    )
    torch.testing.assert_close(torch.tensor(mean.get_ydata()), torch.tensor([40.0, 40.0]).double(), rtol=1e-6, atol=0)


def test_a_count_and_a_fraction_are_different_settings(tmp_path):
    data = [(torch.rand(1, 1, 8, 8), 0)]
    explainer = SparsifiedSmoothGrad(Saliency(small_model()), tau=0.2)
    settings = {"radius": 0.01, "nt_samples": 16, "stdevs": 0.2, "seed": 0, "out": tmp_path}
    [one] = certify_dataset(explainer, data, k=1, **settings)
    with pytest.warns(UserWarning, match=r"k was 1 and is 1\.0"):
        [whole] = certify_dataset(explainer, data, k=1.0, **settings)
    assert (one.record["k"], whole.record["k"]) == (1, 64)


@pytest.mark.filterwarnings("ignore:Results in .* replace others of the same inputs:UserWarning")
def test_a_run_that_checks_rows_redoes_results_that_were_not_checked(tmp_path):
    data = [(torch.rand(1, 1, 8, 8), 0)]
    explainer = SparsifiedSmoothGrad(Saliency(small_model()), tau=0.2)
    settings = {"k": 4, "radius": 0.01, "nt_samples": 16, "stdevs": 0.2, "seed": 0, "out": tmp_path}
    certify_dataset(explainer, data, check_rows=False, **settings)
    with pytest.warns(UserWarning, match="check_rows was False and is True"):
        certify_dataset(explainer, data, **settings)


def test_an_input_that_cannot_be_read_does_not_replace_a_result(tmp_path):
    explainer = SparsifiedSmoothGrad(Saliency(small_model()), tau=0.2)
    settings = {"k": 4, "radius": 0.01, "nt_samples": 16, "stdevs": 0.2, "seed": 0, "out": tmp_path}
    image, readable = torch.rand(1, 8, 8), [True]

    class Files(torch.utils.data.Dataset):
        def __len__(self):
            return 1

        def __getitem__(self, index):
            if not readable[0]:
                raise OSError("the disk is away")
            return image, 0

    for readable[0], outcome in ((True, "sampled"), (False, "failed"), (True, "kept")):
        [result] = certify_dataset(explainer, Files(), on_failure="record", **settings)
        assert result.outcome == outcome


@pytest.mark.parametrize("overlap", [None, 0.4])
@pytest.mark.parametrize("reference", ["plain", "mask"])
def test_results_with_a_reference_are_kept_resumed_and_verified(data, tmp_path, reference, overlap):
    mask = (torch.arange(64).reshape(1, 1, 8, 8) % 5 == 0) if reference == "mask" else "plain"
    settings = {"reference": mask, "overlap": overlap, "nt_samples": 256, "covariance": 64}
    data = [(data[0][:2], data[1][:2])]
    named = "plain" if reference == "plain" else digest(mask)[:32]
    results = certify(data, tmp_path, **settings)
    for result in results:
        record = json.loads(result.path.read_text())
        assert record["reference"] == reference
        assert record["settings"]["certificate"]["reference"] == named
        assert verify(result.path).agrees
        certificate = Certificate.load(result.path.with_suffix(".npz"))
        at = record["curve"]["radii"].index(0.05)
        assert record["curve"]["overlap"][at] == record["overlap"][0] == int(certificate.overlap)
    assert [result.outcome for result in certify(data, tmp_path, **settings)] == ["kept"] * len(results)
    with pytest.warns(UserWarning, match="reference"):
        changed = certify(data, tmp_path, **{**settings, "reference": None})
    assert {result.outcome for result in changed} == {"recertified" if overlap is None else "sampled"}
