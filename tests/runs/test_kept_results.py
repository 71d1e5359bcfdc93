"""A run keeps only results of the same explanation, and marks results that replace others of the same input."""

import contextlib
import dataclasses
import functools
import json

import pytest
import torch
from captum.attr import GradientShap, IntegratedGradients, LayerGradCam, Saliency
from torch import nn

from captum_certified import (
    Certificate,
    CertificationError,
    Certifier,
    SmoothedMap,
    SparsifiedSmoothGrad,
    Upsampled,
)
from captum_certified.attr.request import CallSettings, SamplingRequest
from captum_certified.attr.run import SamplingRun
from captum_certified.runs import certify_dataset
from captum_certified.runs.resume import KeptResults
from captum_certified.storage import digest

X = torch.rand(12, 1, 8, 8, generator=torch.Generator().manual_seed(0))
SETTINGS = {"k": 8, "radius": 0.01, "nt_samples": 32, "stdevs": 0.2}
ANOTHER = "The first of them is .*: the model behaves differently"


def certify(forward, out, x=X[:2], *, method=Saliency, **settings):
    certifying = {name: settings.pop(name) for name in ("bound", "confidence", "violations") if name in settings}
    certifier = Certifier(SparsifiedSmoothGrad(method(forward), tau=0.25), **certifying)
    return [result.outcome for result in certify_dataset(certifier, [(x, 0)], out=out, **{**SETTINGS, **settings})]


def network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.Softplus(), nn.Conv2d(2, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(32, 3)
    )


WEIGHTS = [torch.randn(64, 3, generator=torch.Generator().manual_seed(seed)) for seed in range(2)]


def model_of(weights):
    return lambda x: torch.tanh(x.flatten(1) @ weights) ** 2


class Callable:
    def __init__(self, weights):
        self.weights = weights

    def __call__(self, x):
        return torch.tanh(x.flatten(1) @ self.weights) ** 2

    def method(self, x):
        return self(x)


def with_default(weights):
    def function(x, weights=weights):
        return model_of(weights)(x)

    return function


def with_weights(weights, x):
    return model_of(weights)(x)


FUNCTIONS = {
    "closure": model_of,
    "callable object": Callable,
    "bound method": lambda weights: Callable(weights).method,
    "default": with_default,
    "partial": lambda weights: functools.partial(with_weights, weights),
    "partial of a closure": lambda weights: functools.partial(model_of(weights)),
    "function within": lambda weights: lambda x: (lambda y: model_of(weights)(y))(x),
}


@pytest.mark.parametrize("kind", FUNCTIONS)
def test_results_of_another_function_are_redone(kind, tmp_path):
    made = FUNCTIONS[kind]
    assert certify(made(WEIGHTS[0]), tmp_path) == ["sampled"] * 2
    assert certify(made(WEIGHTS[0].clone()), tmp_path) == ["kept"] * 2
    with pytest.warns(UserWarning, match=ANOTHER):
        assert certify(made(WEIGHTS[1]), tmp_path) == ["sampled"] * 2
    assert certify(made(WEIGHTS[1]), tmp_path) == ["kept"] * 2


SETTINGS_OF_A_METHOD = {
    "one weight": (Saliency, lambda m: m[0].weight.data.view(-1)[1].zero_(), "model changed"),
    "activation": (Saliency, lambda m: m.__setitem__(1, nn.Tanh()), "the model behaves differently"),
}


@pytest.mark.parametrize("name", SETTINGS_OF_A_METHOD)
def test_results_of_another_network_are_redone(name, tmp_path):
    method, change, message = SETTINGS_OF_A_METHOD[name]
    certify(network(), tmp_path, method=method)
    other = network()
    change(other)
    with pytest.warns(UserWarning, match=message):
        assert certify(other, tmp_path, method=method) == ["sampled"] * 2


@pytest.mark.parametrize(
    ("one", "two", "message"),
    [
        (IntegratedGradients, lambda m: IntegratedGradients(m, multiply_by_inputs=False), "options changed"),
        (lambda m: Upsampled(LayerGradCam(m, m[1])), lambda m: Upsampled(LayerGradCam(m, m[3])), "layers changed"),
        (
            lambda m: Upsampled(LayerGradCam(m, m[3]), size=(8, 8)),
            lambda m: Upsampled(LayerGradCam(m, m[3]), size=(8, 8), mode="nearest"),
            "options changed",
        ),
    ],
    ids=["option", "layer", "interpolation"],
)
@pytest.mark.filterwarnings("ignore:In .* draws more than 1 %:UserWarning")
def test_results_of_another_method_are_redone(one, two, message, tmp_path):
    certify(network(), tmp_path, method=one)
    with pytest.warns(UserWarning, match=message):
        assert certify(network(), tmp_path, method=two) == ["sampled"] * 2


def test_results_of_another_baseline_function_are_redone(tmp_path):
    settings = {"method": GradientShap, "attribution_kwargs": {"n_samples": 2}}
    certify(network(), tmp_path, baselines=lambda x: torch.zeros_like(x[:1]), **settings)
    with pytest.warns(UserWarning, match=ANOTHER):
        certify(network(), tmp_path, baselines=lambda x: torch.full_like(x[:1], 3.0), **settings)


def test_an_unfinished_result_of_another_function_is_redone(tmp_path):
    class Interrupted(Callable):
        calls = 0

        def __call__(self, x):
            self.calls += 1
            if self.calls == 11:
                raise KeyboardInterrupt
            return super().__call__(x)

    settings = {"covariance": 8, "nt_samples_batch_size": 8, "x": X[:1]}
    with pytest.raises(KeyboardInterrupt):
        certify(Interrupted(WEIGHTS[0]), tmp_path, **settings)
    assert [path.suffix for path in tmp_path.iterdir()] == [".checkpoint"]
    with pytest.warns(UserWarning, match=ANOTHER):
        assert certify(Callable(WEIGHTS[1]), tmp_path, **settings) == ["sampled"]
    for path in tmp_path.iterdir():
        path.unlink()
    with pytest.raises(KeyboardInterrupt):
        certify(Interrupted(WEIGHTS[1]), tmp_path, **settings)
    uninterrupted = Interrupted(WEIGHTS[1])
    uninterrupted.calls = -1000
    assert certify(uninterrupted, tmp_path, **settings) == ["continued"]


def test_maps_of_another_function_are_not_certified_anew(tmp_path):
    certify(model_of(WEIGHTS[0]), tmp_path)
    with pytest.warns(UserWarning, match=ANOTHER):
        assert certify(model_of(WEIGHTS[1]), tmp_path, radius=0.02) == ["sampled"] * 2


def test_results_without_a_probe_draw_are_redone(tmp_path, monkeypatch):
    original = SmoothedMap.__init__
    with monkeypatch.context() as patch:  # earlier versions wrote results without a probe draw
        patch.setattr(SmoothedMap, "__init__", lambda self, *a, **k: original(self, *a, **{**k, "probe": None}))
        certify(network(), tmp_path)
    with pytest.warns(UserWarning, match="The first of them is '000000': the behaviour of the model was not recorded"):
        assert certify(network(), tmp_path) == ["sampled"] * 2


# -- which results are compared --------------------------------------------------------------------------------


class CountingRows(nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model, self.rows = model, 0

    def forward(self, x):
        self.rows += len(x)
        return self.model(x)


def test_the_first_the_last_and_three_other_results_are_compared(tmp_path):
    certify(CountingRows(network()), tmp_path, x=X)
    counting = CountingRows(network())
    assert certify(counting, tmp_path, x=X) == ["kept"] * 12
    names = [f"{number:06d}" for number in range(12)]
    looked_at = {names[0], names[-1], *sorted(names, key=digest)[:3]}
    assert counting.rows == 2 * len(looked_at)  # the clean input and the probe draw of each result
    assert KeptResults(tmp_path).chosen | {names[0]} == looked_at
    assert KeptResults(None).chosen == set()


def test_after_one_difference_all_results_are_compared(tmp_path):
    """A folder that was redone in part: the results of the present explainer are kept."""
    certify(model_of(WEIGHTS[0]), tmp_path, x=X)
    with pytest.warns(UserWarning, match=ANOTHER):
        certify(model_of(WEIGHTS[1]), tmp_path, x=X[:5])
    with pytest.warns(UserWarning, match=ANOTHER):
        assert certify(model_of(WEIGHTS[0]), tmp_path, x=X) == ["sampled"] * 5 + ["kept"] * 7


def test_results_kept_on_trust_before_a_difference_was_found_are_refused(tmp_path):
    certify(model_of(WEIGHTS[0]), tmp_path, x=X)
    later = certify_dataset(
        SparsifiedSmoothGrad(Saliency(model_of(WEIGHTS[1])), tau=0.25),
        [(X[-1:], 0)],
        out=tmp_path / "other",
        **SETTINGS,
    )
    for suffix in (".json", ".npz"):
        text = (tmp_path / "other" / f"000000{suffix}").read_bytes()
        (tmp_path / f"000011{suffix}").write_bytes(text.replace(b'"000000.npz"', b'"000011.npz"'))
    assert later[0].outcome == "sampled"
    refused = pytest.raises(
        CertificationError, match=r"redone, but 7 others were kept without a comparison, such as '000001'"
    )
    with pytest.warns(UserWarning, match=ANOTHER), refused:
        certify(model_of(WEIGHTS[0]), tmp_path, x=X)
    assert certify(model_of(WEIGHTS[0]), tmp_path, x=X, resume=False) == ["sampled"] * 12


def test_a_run_tells_whether_a_map_is_of_its_explanation():

    explainer = SparsifiedSmoothGrad(Saliency(network()), tau=0.25)
    settings = {"nt_samples": 8, "stdevs": 0.2}
    smoothed = explainer.sample(X[:2], target=0, seed=3, **settings)
    call = CallSettings(seed=5, kwargs={"target": 0}, **settings)
    start = SamplingRun(SamplingRequest.checked((explainer,), X[:2], call)).start
    assert start.is_of(smoothed)
    assert not start.is_of(dataclasses.replace(smoothed, probe=None))
    assert not start.is_of(dataclasses.replace(smoothed, plain=smoothed.plain.flip(1)))
    assert not start.is_of(dataclasses.replace(smoothed, probe=smoothed.probe.flip(1)))


# -- looking twice ---------------------------------------------------------------------------------------------

REPLACED = "replace others of the same inputs, and are marked 'looked_before'. The first of them is '000000'"


def looked(out):
    return [json.loads(path.read_text())["looked_before"] for path in sorted(out.glob("*.json"))]


@pytest.mark.filterwarnings("ignore:Results in .* of other settings are:UserWarning")
@pytest.mark.parametrize(
    ("first", "then", "marked"),
    [
        ({}, {"nt_samples": 64}, True),
        ({}, {"stdevs": 0.3}, True),
        ({"seed": 1}, {"seed": 1, "nt_samples": 64}, True),
        ({"overlap": 4}, {"overlap": 6}, True),
        ({"overlap": 4}, {}, True),
        ({"seed": 1}, {"seed": 1, "groups": torch.arange(64).view(1, 1, 8, 8) // 2}, True),
        ({"seed": 1}, {"seed": 2}, False),
        ({"seed": 1}, {"seed": 1, "resume": False}, False),
        ({}, {"resume": False}, False),
        ({}, {"groups": torch.arange(64).view(1, 1, 8, 8) // 2}, False),
        ({}, {"radius": 0.02}, False),
        ({}, {"bound": "clopper_pearson"}, True),
        ({}, {"confidence": 0.9}, True),
        ({}, {"violations": 1}, True),
        ({}, {"confidence": 0.9, "radius": 0.02, "k": 4}, True),
        ({}, {"k": 4}, False),  # "auto" allows no violations for so few features
        ({"violations": 0}, {"violations": 0, "k": 4}, False),
        ({"violations": 1}, {"violations": 1, "k": 4}, True),
        ({"violations": 0.2}, {"violations": 0.2, "k": 4}, True),  # 2 violations for 8 features, 1 for 4
        ({"violations": 1}, {"violations": 1, "radius": 0.02}, False),
        ({"violations": 1, "bound": "theorem2"}, {"violations": 1, "bound": "theorem2", "k": 4}, False),
        ({"violations": 1, "bound": "spectral"}, {"violations": 1, "bound": "spectral", "k": 4}, False),
    ],
)
def test_results_that_replace_others_of_the_same_input_are_marked(first, then, marked, tmp_path):
    certify(network(), tmp_path, **first)
    assert looked(tmp_path) == [False] * 2
    with pytest.warns(UserWarning, match=REPLACED) if marked else contextlib.nullcontext():
        certify(network(), tmp_path, **then)
    assert looked(tmp_path) == [marked] * 2


@pytest.mark.filterwarnings("ignore:Results in .* of other settings are:UserWarning")
def test_the_mark_stays_and_is_printed(tmp_path):
    certify(network(), tmp_path)
    explainer = SparsifiedSmoothGrad(Saliency(network()), tau=0.25)
    with pytest.warns(UserWarning, match=REPLACED):
        summary = certify_dataset(explainer, [(X[:2], 0)], out=tmp_path, **{**SETTINGS, "nt_samples": 64})
    assert "2 looked at before" in repr(summary)
    certify(network(), tmp_path, nt_samples=64)  # kept
    certify(network(), tmp_path, nt_samples=64, radius=0.02)  # certified anew
    assert looked(tmp_path) == [True] * 2


@pytest.mark.filterwarnings("ignore:Results in .* of other settings are:UserWarning")
def test_the_mark_of_another_confidence_stays(tmp_path):
    certify(network(), tmp_path)
    with pytest.warns(UserWarning, match=REPLACED):
        assert certify(network(), tmp_path, confidence=0.9) == ["recertified"] * 2
    assert certify(network(), tmp_path, confidence=0.9) == ["kept"] * 2
    assert certify(network(), tmp_path, confidence=0.9, radius=0.02) == ["recertified"] * 2
    assert looked(tmp_path) == [True] * 2


@pytest.mark.filterwarnings("ignore:Results in .* of other settings are:UserWarning")
def test_results_of_another_input_are_not_marked(tmp_path):
    certify(network(), tmp_path)
    certify(network(), tmp_path, x=X[2:4], nt_samples=64)
    assert looked(tmp_path) == [False] * 2


@pytest.mark.filterwarnings("ignore:Results in .* of other settings are:UserWarning")
def test_results_of_another_model_under_the_same_seed_are_marked(tmp_path):
    certify(model_of(WEIGHTS[0]), tmp_path, seed=3)
    with pytest.warns(UserWarning, match=REPLACED):
        certify(model_of(WEIGHTS[1]), tmp_path, seed=3)
    assert looked(tmp_path) == [True] * 2


# -- models that change during a run ---------------------------------------------------------------------------


class ChangesAt(nn.Module):
    """A network that computes another function after some calls."""

    def __init__(self, call, *, stops_at=-1):
        super().__init__()
        self.model, self.calls, self.call, self.stops_at = network(), 0, call, stops_at

    def forward(self, x):
        self.calls += 1
        if self.calls == self.stops_at:
            raise KeyboardInterrupt
        return self.model(x if self.calls < self.call else torch.sin(9 * x))


def test_a_run_that_was_refused_is_refused_again(tmp_path):
    settings = {"x": X[:1], "nt_samples": 64, "nt_samples_batch_size": 8, "covariance": 32}
    for call in (6, 14):  # in the first block, and after the block was saved
        for _ in range(2):
            with pytest.raises(CertificationError, match=r"the same while they are sampled|moved to another place"):
                certify(ChangesAt(call), tmp_path, **settings)
            assert not list(tmp_path.iterdir())


def test_draws_of_a_changed_model_are_not_saved_at_an_interrupt(tmp_path):
    settings = {"x": X[:1], "nt_samples": 128, "nt_samples_batch_size": 8, "covariance": 64, "seed": 2}
    with pytest.raises((KeyboardInterrupt, CertificationError)):
        certify(ChangesAt(10, stops_at=24), tmp_path, **settings)
    assert not list(tmp_path.glob("*.checkpoint"))
    certify(network(), tmp_path, **settings)
    certify(network(), tmp_path / "honest", **settings)
    one, two = (Certificate.load(folder / "000000.npz").map for folder in (tmp_path, tmp_path / "honest"))
    assert torch.equal(one.counts, two.counts)


@pytest.mark.filterwarnings("ignore:Results in .* replace others of the same inputs:UserWarning")
def test_results_that_are_redone_do_not_count_as_kept_on_trust(tmp_path):
    certify(model_of(WEIGHTS[0]), tmp_path, x=X, radius=0.01, nt_samples=16)
    with pytest.warns(UserWarning, match="nt_samples was 16"):
        assert certify(model_of(WEIGHTS[1]), tmp_path, x=X) == ["sampled"] * 12
