"""The fingerprint: maps of one explanation can be merged, and maps of two different explanations cannot."""

import copy
import os
import random as python_random
import subprocess
import sys
import warnings
from dataclasses import replace

import pytest
import torch
from captum.attr import (
    LRP,
    Deconvolution,
    DeepLift,
    DeepLiftShap,
    GradientShap,
    GuidedBackprop,
    InputXGradient,
    IntegratedGradients,
    LayerDeepLift,
    LayerGradCam,
    NoiseTunnel,
    Saliency,
)
from torch import nn

from captum_certified import InvalidInputError, ScaledSmoothGrad, SmoothedMap, SparsifiedSmoothGrad, Upsampled
from captum_certified.attr.fingerprint import probe_inputs
from captum_certified.maps import same_behaviour

X = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
pytestmark = pytest.mark.filterwarnings("ignore:In .* draws more than 1 %:UserWarning")


class Net(nn.Module):
    """Two convolutions, and a change in the code that no weight shows."""

    def __init__(self, *, seed=0, temperature=1.0, activation=torch.tanh):
        super().__init__()
        torch.manual_seed(seed)
        self.first, self.relu = nn.Conv2d(3, 4, 3, padding=1), nn.ReLU()
        self.second, self.last, self.out = nn.Conv2d(4, 4, 3, padding=1), nn.ReLU(), nn.Linear(256, 3)
        self.temperature, self.activation = temperature, activation

    def forward(self, x, scale=1.0):
        hidden = self.last(self.second(self.relu(self.first(x * self.temperature))))
        return self.out(self.activation(hidden).flatten(1)) * scale


def sampled(method, *, seed, tau=0.2, x=X, **settings):
    explainer = SparsifiedSmoothGrad(method, tau=tau)
    return explainer.sample(x, **{"target": 1, "nt_samples": 8, "stdevs": 0.2, "seed": seed, **settings})


def merge(one, two):
    """Merge maps of two seeds, each with its own method and settings."""
    return sampled(one[0](), seed=0, **one[1]).merge(sampled(two[0](), seed=1, **two[1]))


def changed(model, where):
    with torch.no_grad():
        where(model)
    return model


def but_for_64_values(model):
    for parameter in model.parameters():
        flat, step = parameter.view(-1), max(parameter.numel() // 64, 1)
        others = torch.ones_like(flat, dtype=torch.bool)
        others[::step] = False
        flat[others] += 0.3 * torch.randn(int(others.sum()))


def closure(seed):
    weights = torch.randn(192, 3, generator=torch.Generator().manual_seed(seed))
    return lambda x: torch.tanh(x.flatten(1) @ weights) ** 2


class Held:
    def __init__(self, seed):
        self.weights = torch.randn(192, 3, generator=torch.Generator().manual_seed(seed))

    def __call__(self, x):
        return torch.sin(x.flatten(1) @ self.weights)

    def method(self, x):
        return self(x)


def shap(function):
    return lambda: GradientShap(Net()), {"baselines": function, "n_samples": 2}


def layer(number, **settings):
    def made():
        model = Net()
        return Upsampled(LayerGradCam(model, (model.relu, model.last)[number]), **settings)

    return made


# Pairs of explanations that differ, in what no list of settings could name as well as in what it can.
OTHERS = {
    "weights": (lambda: Saliency(Net()), lambda: Saliency(Net(seed=1))),
    "all but 64 values": (lambda: Saliency(Net()), lambda: Saliency(changed(Net(), but_for_64_values))),
    "one weight": (lambda: Saliency(Net()), lambda: Saliency(changed(Net(), lambda m: m.out.weight[1, 7].mul_(-1)))),
    "temperature": (lambda: Saliency(Net()), lambda: Saliency(Net(temperature=12.0))),
    "activation": (lambda: Saliency(Net()), lambda: Saliency(Net(activation=torch.sin))),
    "closure": (lambda: Saliency(closure(0)), lambda: Saliency(closure(1))),
    "callable object": (lambda: Saliency(Held(0)), lambda: Saliency(Held(1))),
    "bound method": (lambda: Saliency(Held(0).method), lambda: Saliency(Held(1).method)),
    "method": (lambda: Saliency(Net()), lambda: InputXGradient(Net())),
    "option": (lambda: IntegratedGradients(Net()), lambda: IntegratedGradients(Net(), multiply_by_inputs=False)),
    "option of DeepLift": (lambda: DeepLift(Net()), lambda: DeepLift(Net(), eps=1e-2)),
    "layer": (layer(0), layer(1)),
    "interpolation": (layer(1, size=(12, 12)), layer(1, size=(12, 12), mode="nearest")),
    "size": (layer(1, size=(8, 8)), layer(1)),
    "wrapped": (lambda: Saliency(Net()), lambda: NoiseTunnel(Saliency(Net()))),
}
OTHER_ARGUMENTS = {
    "baseline function": (shap(lambda x: torch.zeros_like(x[:1])), shap(lambda x: torch.full_like(x[:1], 5.0))),
    "baselines": (shap(torch.zeros(2, 3, 8, 8)), shap(torch.ones(2, 3, 8, 8))),
    "steps": (
        (lambda: IntegratedGradients(Net()), {"n_steps": 2}),
        (lambda: IntegratedGradients(Net()), {"n_steps": 3}),
    ),
    "target": ((lambda: Saliency(Net()), {}), (lambda: Saliency(Net()), {"target": 2})),
    "tau": ((lambda: Saliency(Net()), {}), (lambda: Saliency(Net()), {"tau": 0.3})),
    "stdevs": ((lambda: Saliency(Net()), {}), (lambda: Saliency(Net()), {"stdevs": 0.1})),
    "groups": ((lambda: Saliency(Net()), {}), (lambda: Saliency(Net()), {"groups": "channels"})),
    "input": ((lambda: Saliency(Net()), {}), (lambda: Saliency(Net()), {"x": X + 0.01})),
    "further argument": (
        (lambda: Saliency(Net()), {"additional_forward_args": 1.0}),
        (lambda: Saliency(Net()), {"additional_forward_args": 2.0}),
    ),
    "drawn baselines": (
        (lambda: IntegratedGradients(Net()), {"baselines": X, "n_steps": 2}),
        (lambda: IntegratedGradients(Net()), {"baselines": X, "n_steps": 2, "draw_baseline_from_distrib": True}),
    ),
}
PAIRS = {name: ((one, {}), (two, {})) for name, (one, two) in OTHERS.items()} | OTHER_ARGUMENTS


@pytest.mark.parametrize("name", PAIRS)
def test_maps_of_two_explanations_do_not_merge(name):
    one, two = PAIRS[name]
    with pytest.raises(
        InvalidInputError, match=r"of the same |Expected maps of one explanation|with the same `groups`"
    ):
        merge(one, two)
    for same in (one, two):
        assert merge(same, same).n_samples.tolist() == [16]


def test_two_hundred_random_pairs_merge_if_and_only_if_they_are_equal():
    """Models, methods, options, layers and arguments are random; half of the pairs are equal."""
    choose = python_random.Random(0)  # noqa: S311
    models = {
        "seed 0": Net,
        "seed 1": lambda: Net(seed=1),
        "hot": lambda: Net(temperature=3.0),
        "pruned": lambda: changed(Net(), lambda m: m.first.weight[:, 0].zero_()),
    }
    methods = {
        "saliency": lambda m: Saliency(m),
        "times input": lambda m: InputXGradient(m),
        "gradients": lambda m: IntegratedGradients(m),
        "of the input": lambda m: IntegratedGradients(m, multiply_by_inputs=False),
        "first layer": lambda m: Upsampled(LayerGradCam(m, m.relu)),
        "last layer": lambda m: Upsampled(LayerGradCam(m, m.last)),
        "last, nearest": lambda m: Upsampled(LayerGradCam(m, m.last), size=(12, 12), mode="nearest"),
        "last, bilinear": lambda m: Upsampled(LayerGradCam(m, m.last), size=(12, 12)),
    }
    arguments = {
        "plain": {},
        "class 2": {"target": 2},
        "half": {"additional_forward_args": 0.5},
        "tensor": {"additional_forward_args": torch.tensor([[0.5, 1.0, 2.0]])},
    }

    def drawn():
        return choose.choice(list(models)), choose.choice(list(methods)), choose.choice(list(arguments))

    def made(names, seed):
        model, method, given = names
        return sampled(methods[method](models[model]()), seed=seed, nt_samples=2, covariance=False, **arguments[given])

    decided = []
    for number in range(200):
        one = drawn()
        two = one
        while number % 2 and two == one:
            two = drawn()
        try:
            made(one, 0).merge(made(two, 1))
        except InvalidInputError:
            decided.append((one == two, False, one, two))
        else:
            decided.append((one == two, True, one, two))
    wrong = [case for case in decided if case[0] is not case[1]]
    assert not wrong
    assert sum(equal for equal, *_ in decided) == 100


def test_behaviour_is_kept_in_files_and_for_selected_rows(tmp_path):
    x = torch.cat([X, X.flip(3)])
    one, two = (sampled(Saliency(Net()), x=x, seed=seed) for seed in (0, 1))
    assert one.probe.dtype == torch.bool
    assert torch.equal(one.probe, two.probe)
    assert not torch.equal(one.counts, two.counts)
    one.save(tmp_path / "map.npz")
    loaded = SmoothedMap.load(tmp_path / "map.npz")
    assert torch.equal(loaded.probe, one.probe)
    assert loaded.merge(two).n_samples.tolist() == [16, 16]
    each = [sampled(Saliency(Net()), x=x[row : row + 1], seed=1) for row in range(2)]
    assert loaded.merge(SmoothedMap.stack(each)).n_samples.tolist() == [16, 16]


def test_maps_that_are_not_binary_have_a_probe_draw_too(tmp_path):
    def of(model, seed):
        return ScaledSmoothGrad(Saliency(model)).sample(X, target=1, nt_samples=8, stdevs=0.2, seed=seed)

    one = of(Net(), 0)
    one.save(tmp_path / "map.npz")
    assert torch.equal(SmoothedMap.load(tmp_path / "map.npz").probe, one.probe)
    assert one.merge(of(Net(), 1)).n_samples.tolist() == [16]
    with pytest.raises(InvalidInputError, match=r"Expected maps of one explanation, got .* plain maps differ"):
        one.merge(of(Net(temperature=2.0), 1))


def test_maps_without_a_probe_draw_do_not_merge():
    one, two = (sampled(Saliency(Net()), seed=seed) for seed in (0, 1))
    for missing in ({"probe": None}, {"plain": None}):
        with pytest.raises(InvalidInputError, match="are known, got one without, which an earlier version made"):
            one.merge(replace(two, **missing))
        assert one.merge(replace(two, **missing), assume_independent=True).n_samples.tolist() == [16]


def test_rounding_of_another_machine_is_tolerated():
    one, two = (sampled(Saliency(Net()), seed=seed) for seed in (0, 1))
    rounded = replace(two, plain=two.plain * (1 + 1e-6 * torch.randn_like(two.plain)))
    assert one.merge(rounded).n_samples.tolist() == [16]
    flipped = replace(two, probe=two.probe ^ (torch.arange(192) < 4))
    with pytest.raises(InvalidInputError, match="whose probe draws differ"):
        one.merge(flipped)


def test_the_probe_draw_is_the_same_for_all_runs():
    one, two = (probe_inputs((X, torch.ones(1, 2, dtype=torch.long)), (0.2, 0.0), "gaussian") for _ in range(2))
    assert torch.equal(one[0], two[0])
    assert not torch.equal(one[0], X)
    assert torch.equal(one[1], torch.ones(1, 2, dtype=torch.long))


def test_a_model_that_is_compiled_or_copied_is_the_same():
    model = Net().eval()
    one = sampled(Saliency(model), seed=0)
    others = copy.deepcopy(model), nn.DataParallel(model), torch.compile(model, backend="eager")
    for seed, same in enumerate(others, start=1):
        assert one.merge(sampled(Saliency(same), seed=seed)).n_samples.tolist() == [16]


def test_lazy_modules_have_their_weights_when_they_are_hashed():
    with warnings.catch_warnings():  # old releases call lazy modules a new feature
        warnings.simplefilter("ignore")
        model = nn.Sequential(nn.Flatten(), nn.LazyLinear(3), nn.Softplus())
    one = sampled(Saliency(model), seed=0)
    assert one.setup["model"] == sampled(Saliency(model), seed=1).setup["model"]
    assert one.setup["model"] is not None


# -- what a review found ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make", [GuidedBackprop, Deconvolution, DeepLift, DeepLiftShap, LRP, lambda m: LayerDeepLift(m, m.relu)]
)
def test_hooks_of_a_method_are_not_options(make):
    method = make(Net().eval())
    settings = {"baselines": torch.zeros(2, 3, 8, 8)} if isinstance(method, DeepLiftShap) else {}
    one, two = (sampled(method, seed=seed, **settings) for seed in (0, 1))
    assert one.merge(two).n_samples.tolist() == [16]


def test_attributes_that_a_call_changes_are_not_options():
    class Counting(Saliency):
        calls = 0

        def attribute(self, *arguments, **settings):
            self.calls += 1
            return super().attribute(*arguments, **settings)

    method = Counting(Net())
    one, two = (sampled(method, seed=seed) for seed in (0, 1))
    assert one.merge(two).n_samples.tolist() == [16]
    assert "calls" not in one.setup["options"][0]


def test_a_cache_that_the_first_call_fills_is_not_hashed():
    class Cached(Net):
        def __init__(self):
            super().__init__()
            self.register_buffer("table", torch.zeros(8), persistent=False)

        def forward(self, x):
            if not bool(self.table.any()):
                self.table.copy_(torch.linspace(0.5, 1, 8))
            return super().forward(x * self.table)

    model = Cached()
    with pytest.warns(UserWarning, match="'table'"):
        one = sampled(Saliency(model), seed=0)
    assert one.merge(sampled(Saliency(model), seed=1)).n_samples.tolist() == [16]


def test_sparse_tensors_are_identified_by_their_values():
    class Graph(nn.Module):
        def __init__(self, weight):
            super().__init__()
            self.register_buffer("edges", (weight * torch.eye(192)).to_sparse())

        def forward(self, x):
            return torch.tanh(self.edges @ x.flatten(1).T).T ** 2

    one, two, other = (sampled(Saliency(Graph(w)), seed=s) for w, s in ((1.0, 0), (1.0, 1), (2.0, 2)))
    assert one.merge(two).n_samples.tolist() == [16]
    with pytest.raises(InvalidInputError, match="same setup, got model"):
        one.merge(other)


def test_maps_of_another_shape_differ_in_behaviour():
    assert not same_behaviour(torch.ones(1, 4), torch.ones(1, 9))


PROGRAM = """
import sys, torch
from captum.attr import Saliency
from captum_certified import SparsifiedSmoothGrad
torch.manual_seed(0)
backbone, head = torch.nn.Linear(12, 8), torch.nn.Linear(8, 3)
other, another = torch.nn.Linear(3, 3), torch.nn.Linear(3, 3)
def f(x):
    return another(other(head(backbone(x).tanh())))
m = SparsifiedSmoothGrad(Saliency(f), tau=0.25).sample(torch.ones(1, 12), target=0, nt_samples=4, stdevs=0.1, seed=0)
sys.stdout.write(m.setup["model"])
"""


def test_weights_have_one_digest_in_every_process():
    found = set()
    for seed in ("1", "4", "7"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        command = [sys.executable, "-c", PROGRAM]
        run = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)  # noqa: S603
        found.add(run.stdout)
    assert len(found) == 1
    assert found != {""}
