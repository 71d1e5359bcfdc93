"""Sequential runs over data sets can be continued, and their certificates equal those of single examples."""

import json

import pytest
import torch
from captum.attr import Saliency

from captum_certified import Certifier, InvalidInputError, SparsifiedSmoothGrad
from captum_certified.runs import certify_dataset, verify
from captum_certified.runs.example_files import ExampleFiles

BLOCK = 64
SETTINGS = {"k": 4, "radius": 0.1, "stdevs": 0.25, "seed": 3, "covariance": BLOCK, "nt_samples": 1000}


@pytest.fixture(scope="module")
def explainer():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Linear(12, 16), torch.nn.Tanh(), torch.nn.Linear(16, 3)).eval()
    return SparsifiedSmoothGrad(Saliency(model), tau=0.25)


@pytest.fixture(scope="module")
def data():
    return [(torch.rand(1, 12, generator=torch.Generator().manual_seed(i)), 0) for i in range(4)]


def record(path):
    stored = json.loads(path.read_text())
    return {name: value for name, value in stored.items() if name not in ("created", "versions")}


def test_examples_stop_as_they_do_for_the_certifier(explainer, data, tmp_path):
    summary = certify_dataset(explainer, data, overlap=4, out=tmp_path, **SETTINGS)
    sampled = []
    for result, (inputs, target) in zip(summary, data, strict=True):
        alone = Certifier(explainer).certify(inputs, target=target, overlap=4, **SETTINGS)
        for name in ("overlap", "n_samples", "stopped", "asked_overlap", "most_draws"):
            assert result.record[name] == alone.to_dict()[name]
        assert verify(result.path).agrees
        sampled += result.record["n_samples"]
    assert len(set(sampled)) > 1  # some examples stop early, some later


def test_an_interrupted_example_continues_to_the_same_result(explainer, data, tmp_path, monkeypatch):

    whole = certify_dataset(explainer, data, overlap=4, out=tmp_path / "whole", **SETTINGS)
    original = ExampleFiles.write_checkpoint

    def killed(*arguments):
        original(*arguments)
        killed.left -= 1
        if killed.left == 0:
            raise KeyboardInterrupt

    for left in (1, 2, 3, 5):
        out = tmp_path / str(left)
        killed.left = left
        with monkeypatch.context() as patch:
            patch.setattr(ExampleFiles, "write_checkpoint", lambda *arguments: killed(*arguments))
            with pytest.raises(KeyboardInterrupt):
                certify_dataset(explainer, data, overlap=4, out=out, **SETTINGS)
        certify_dataset(explainer, data, overlap=4, out=out, **SETTINGS)
        for result in whole:
            assert record(out / result.path.name) == record(result.path)


@pytest.mark.filterwarnings("ignore:Results in .* replace others of the same inputs:UserWarning")
def test_another_overlap_needs_new_draws(explainer, data, tmp_path):
    certify_dataset(explainer, data[:1], overlap=2, out=tmp_path, **SETTINGS)
    [kept] = certify_dataset(explainer, data[:1], overlap=2, out=tmp_path, **SETTINGS)
    assert kept.outcome == "kept"
    with pytest.warns(UserWarning, match="redone"):
        [redone] = certify_dataset(explainer, data[:1], overlap=3, out=tmp_path, **SETTINGS)
    assert redone.outcome == "sampled"
    with pytest.warns(UserWarning, match="redone"):
        [fixed] = certify_dataset(explainer, data[:1], out=tmp_path, **SETTINGS)
    assert fixed.record["stopped"] is None
    assert fixed.record["n_samples"] == [1000]


def test_an_invalid_overlap_is_refused(explainer, data):
    with pytest.raises(InvalidInputError, match="Expected `overlap`"):
        certify_dataset(explainer, data, overlap=1.5, out=None, **SETTINGS)


def test_the_first_block_gives_a_forecast(explainer, data, capsys):
    certify_dataset(explainer, data[:1], out=None, show_progress=True, **SETTINGS)
    assert "forecast after 64 draws: ~" in capsys.readouterr().err
    certify_dataset(explainer, data[:1], out=None, **SETTINGS)
    assert "forecast" not in capsys.readouterr().err
