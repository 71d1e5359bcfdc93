"""Cheats with arguments other than inputs: shared arguments that are cut, and other explanations merged or resumed."""

import contextlib
import dataclasses
import functools
import tempfile

import numpy as np
import torch
from captum import attr
from cases import (
    EDGES,
    REFUSALS,
    UP,
    Bent,
    Graph,
    PlainAttribute,
    bent,
    certified_dataset,
    cheat,
    closure_over,
    curved,
    dataset_maps,
    is_refused,
    mlp,
    must_refuse,
    same,
    sample,
    seeded,
    tanh_mlp,
)
from torch import nn
from torch.nn import functional

from captum_certified import ScaledSmoothGrad, Shared, SmoothedMap, SparsifiedSmoothGrad


@cheat
def arguments_edge_index_of_two_graphs_not_marked():
    """Give two examples unmarked edges (2, E), which look like a row for each: they must be refused, or used whole."""
    model, edges, x = Graph().eval(), torch.tensor(EDGES), torch.randn(2, 6, 3)
    found = []

    def call():
        found.append(sample(attr.Saliency(model), x, target=0, additional_forward_args=edges))

    if not is_refused(call):
        same(found[0], sample(attr.Saliency(lambda x: model(x, edges)), x, target=0), what="a wrong graph, silently")


class Closed(attr.Attribution):
    """Attribution without arguments, because a closure holds them all."""

    def __init__(self, function, forward_func):
        super().__init__(forward_func)
        self.function = function

    def attribute(self, inputs):
        return self.function(inputs)


class Prototypes(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = seeded(lambda: nn.Linear(64, 3))

    def forward(self, x, table):
        distances = ((x.unsqueeze(1) - table.unsqueeze(0)) ** 2).sum(-1)
        return torch.tanh(
            self.head((-distances).exp() if len(table) == 64 else functional.pad(distances, (0, 64 - len(table))))
        )


@cheat
def arguments_shared_tensors_of_unlucky_lengths():
    """Share tables and references that are as long as a pass or as the batch: they must stay whole."""
    model, x = Prototypes().eval(), torch.randn(2, 5)
    for length, mark in ((64, lambda t: t), (32, lambda t: t), (2, Shared)):
        table = torch.randn(length, 5)
        got = sample(attr.Saliency(model), x, target=1, draws=100, additional_forward_args=(mark(table),))
        closed = sample(attr.Saliency(lambda x, table=table: model(x, table)), x, target=1, draws=100)
        same(got, closed, what=f"table of {length}")
    net = mlp(5, act=nn.Tanh)
    for length in (2, 64, 3):
        references = torch.randn(length, 5)
        method = attr.DeepLiftShap(net)
        closed = Closed(lambda x, r=references: attr.DeepLiftShap(net).attribute(x, baselines=r, target=0), net)
        same(
            sample(method, x, draws=36, kind=ScaledSmoothGrad, baselines=references, target=0),
            sample(closed, x, draws=36, kind=ScaledSmoothGrad),
            what=f"{length} references",
        )


def with_default(config):
    net = curved()

    def forward(x, config=config):
        return net(x * torch.tensor(config["scales"]))

    return forward


def hooked(sign):
    net = curved()
    net[1].register_forward_hook(lambda module, args, out: out if sign > 0 else out**2)
    return net


class GivenFunction(nn.Module):
    """Network whose nonlinearity is a function that it was given."""

    def __init__(self, activation):
        super().__init__()
        self.net, self.activation = curved(), activation

    def forward(self, x):
        return self.net(self.activation(2 * x))


def swapped(activation):
    net = curved()
    net[1] = activation
    return net


def nudged(change):
    net = curved()
    with torch.no_grad():
        net[0].weight[:, 2] += change
    return net


class TwoLayers(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.head = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 3)

    def forward(self, x):
        return self.head(torch.tanh(self.b(torch.tanh(2 * self.a(x)))))


DOWN = [0.1, 3.0, 1.0, 3.0, 1.0, 0.1, 1.0, 1.0]


def different_pairs():
    """Return (name, (method, kwargs), (method, kwargs)) of two explanations that look equal and differ."""
    S, IG = attr.Saliency, attr.IntegratedGradients
    net, layers = curved(), seeded(lambda: TwoLayers().eval())
    table = torch.zeros(1, 8)
    yield "captured tensor", (S(closure_over(torch.tensor(UP))), {}), (S(closure_over(torch.tensor(DOWN))), {})
    yield "default argument", (S(with_default({"scales": UP})), {}), (S(with_default({"scales": DOWN})), {})
    yield "partial", (S(functools.partial(bent, 1.0, net=net)), {}), (S(functools.partial(bent, 3.0, net=net)), {})
    yield "bound method", (S(Bent(1.0).scores), {}), (S(Bent(3.0).scores), {})
    yield "plain attribute", (S(PlainAttribute(1.0).eval()), {}), (S(PlainAttribute(3.0).eval()), {})
    yield "forward hook", (S(hooked(1)), {}), (S(hooked(-1)), {})
    yield "activation", (S(swapped(nn.Softsign())), {}), (S(swapped(nn.Softshrink(0.3))), {})
    yield "some weights", (S(net), {}), (S(nudged(3.0)), {})
    yield "function", (S(GivenFunction(torch.sin).eval()), {}), (S(GivenFunction(torch.cos).eval()), {})
    one, other = (attr.LayerGradientXActivation(layers, layer) for layer in (layers.a, layers.b))
    yield "layer", (one, {}), (other, {})
    yield "multiply_by_inputs", (IG(net), {"n_steps": 4}), (IG(net, multiply_by_inputs=False), {"n_steps": 4})
    yield "steps", (IG(net), {"n_steps": 4}), (IG(net), {"n_steps": 9})
    yield "baseline", (IG(net), {"n_steps": 4, "baselines": table}), (IG(net), {"n_steps": 4, "baselines": table + 1})
    first, second = ({"baselines": reference_function(centre), "n_samples": 2} for centre in (0.0, 3.0))
    yield "baseline function", (attr.GradientShap(net), first), (attr.GradientShap(net), second)
    yield (
        "feature mask",
        (
            attr.FeatureAblation(net),
            {"feature_mask": torch.tensor([[0, 0, 1, 1, 2, 2, 3, 3]])},
        ),
        (attr.FeatureAblation(net), {"feature_mask": torch.tensor([[0, 1, 2, 3, 0, 1, 2, 3]])}),
    )


def reference_function(centre):
    return lambda: torch.stack([torch.arange(8.0).roll(i).sub(4).mul(centre) for i in range(3)])


@cheat
def arguments_merge_of_two_explanations():
    """Merge maps of explanations that look alike and differ in one thing, wherever a model can hold it."""
    x, merged = torch.randn(1, 8), []
    for name, (one, first), (other, second) in different_pairs():
        a = sample(one, x, draws=32, seed=0, target=0, **first)
        b = sample(other, x, draws=32, seed=1, target=0, **second)
        if not is_refused(lambda a=a, b=b: a.merge(b)):
            merged.append(name)
    a, b = (sample(attr.Saliency(curved()), x, draws=32, seed=seed, target=seed) for seed in (0, 1))
    if not is_refused(lambda: a.merge(b)):
        merged.append("target")
    assert not merged, f"merged though different: {', '.join(merged)}"


@cheat
def arguments_resume_with_another_explanation():
    """Resume a folder with a different explanation that looks like the one before."""
    x, y, kept = torch.randn(1, 8), torch.tensor([0]), []
    wanted = {
        "captured tensor",
        "plain attribute",
        "activation",
        "function",
        "layer",
        "baseline function",
        "forward hook",
    }
    for name, (one, first), (other, second) in different_pairs():
        if name not in wanted:
            continue
        with tempfile.TemporaryDirectory() as out:
            assert certified_dataset(one, x, y, out, **first)[0].outcome == "sampled", name
            with contextlib.suppress(*REFUSALS):
                if certified_dataset(other, x, y, out, **second)[0].outcome != "sampled":
                    kept.append(name)
    assert not kept, f"kept though of another explanation: {', '.join(kept)}"


class Masked(nn.Module):
    def __init__(self, d=8):
        super().__init__()
        self.net = curved(d)

    def forward(self, x, mask, offset, power=1):
        return self.net(x * mask + offset) * power


@cheat
def arguments_of_each_example_mixed_with_common_ones():
    """Mix arguments of each example with common ones: a row must get the same arguments as alone."""
    x, model = torch.randn(3, 8), Masked().eval()
    masks, offset = (torch.rand(3, 8) > 0.4).float(), torch.randn(8)
    baselines, targets = torch.randn(3, 8), [2, 0, 1]
    features = torch.stack([torch.arange(8) // 2, torch.arange(8) % 4, torch.arange(8).flip(0) // 2])
    runs = []
    for rows in (slice(None), slice(0, 1), slice(1, 2), slice(2, 3)):
        common = {"target": targets[rows], "draws": 50, "kind": ScaledSmoothGrad}
        method = attr.IntegratedGradients(lambda x, mask, power: model(x, mask, offset, power))
        gradients = sample(
            method, x[rows], n_steps=4, baselines=baselines[rows], additional_forward_args=(masks[rows], 2), **common
        )
        named = {"feature_mask": features[rows], "baselines": baselines[rows]}
        ablations = sample(
            attr.FeatureAblation(model),
            x[rows],
            additional_forward_args=(masks[rows], offset, 2),
            attribution_kwargs=named,
            **common,
        )
        runs.append((gradients, ablations))
    for number, name in enumerate(("IntegratedGradients", "FeatureAblation")):
        for i in range(3):
            together, alone = runs[0][number].mean[i], runs[i + 1][number].mean[0]
            difference = (together - alone).abs().max().item()
            assert difference < 1e-3, f"{name}: example {i} differs in company by {difference:.3g}"


def gamma(power):
    def decorate(function):
        @functools.wraps(function)
        def corrected(x):
            return function(x.clamp_min(1e-3) ** power)

        return corrected

    return decorate


def build_gamma(power):
    torch.manual_seed(8)
    net = tanh_mlp(12)

    def forward(x):
        return net(x)

    return gamma(power)(forward), torch.rand(2, 12) + 0.5


@cheat
def arguments_merge_of_two_decorators():
    """Merge maps of models that differ in a number held by a decorator, from memory and from a file."""
    maps = []
    for seed, power in enumerate((0.5, 3.0)):
        forward, rows = build_gamma(power)
        explainer = SparsifiedSmoothGrad(attr.Saliency(forward), tau=0.25)
        maps.append(explainer.sample(rows, target=0, nt_samples=128, stdevs=0.1, seed=seed))
    must_refuse(lambda: maps[0].merge(maps[1]), "the models differ in a number that a decorator holds")
    with tempfile.TemporaryDirectory() as folder:
        maps[0].save(f"{folder}/map.npz")
        loaded = SmoothedMap.load(f"{folder}/map.npz")
    must_refuse(lambda: loaded.merge(maps[1]), "the saved map is of a model that differs")


@dataclasses.dataclass
class Calibration:
    detector: str
    gains: np.ndarray


class Detector:
    """Reads its gains from a long table of the detector's calibration; not a module."""

    def __init__(self, net, calibration):
        self.net, self.calibration = net, calibration

    def __call__(self, x):
        gains = torch.as_tensor(self.calibration.gains[700 : 700 + x.shape[1]], dtype=x.dtype)
        return self.net(x * gains)


def build_detector():
    torch.manual_seed(9)
    return Detector(tanh_mlp(12), Calibration("A", np.ones(2000))), torch.rand(2, 12)


def recalibrate(detector):
    detector.calibration.gains[700:712] = np.linspace(3, 0.1, 12)


@cheat
def arguments_folder_after_recalibration():
    """Change numbers in the middle of a long table that the model reads, then resume its folder."""
    detector, rows = build_detector()
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as fresh:
        dataset_maps(folder, detector, rows)
        recalibrate(detector)
        found = []
        if is_refused(lambda: found.extend(dataset_maps(folder, detector, rows))):
            return
        right = dataset_maps(fresh, detector, rows)
    assert all(torch.allclose(a, b, atol=1e-9) for a, b in zip(found, right, strict=True)), (
        "the folder kept the results of another calibration"
    )
