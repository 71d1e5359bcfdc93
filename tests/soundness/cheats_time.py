"""Cheats in which a model changes from one call to the next."""

import numpy as np
import torch
from captum import attr
from cases import cheat, curved, is_refused, must_refuse, sample, tanh_mlp
from torch import nn

from captum_certified import Certifier, ScaledSmoothGrad, SparsifiedSmoothGrad


class RunningCentre(nn.Module):
    """A normaliser of one's own which goes on learning in evaluation mode."""

    def __init__(self, d=8):
        super().__init__()
        self.register_buffer("centre", torch.zeros(d))
        self.net = curved(d)

    def forward(self, x):
        with torch.no_grad():
            self.centre.lerp_(x.mean(0), 0.05)
        return self.net(x - self.centre)


@cheat
def time_running_centre_in_integrated_gradients():
    """Go on learning the mean of the inputs in evaluation mode."""
    x = 2 + torch.randn(2, 8)
    must_refuse(lambda: sample(attr.IntegratedGradients(RunningCentre().eval()), x, target=0, draws=256, n_steps=6))


class Alternating:
    """Two models in turn, as a round-robin over replicas that were not loaded from the same checkpoint."""

    def __init__(self):
        self.replicas = [curved(seed=1), curved(seed=2)]
        self.calls = 0

    def __call__(self, x):
        self.calls += 1
        return self.replicas[self.calls % 2](x)


@cheat
def time_replicas_in_turn():
    """Answer calls in turn from two replicas with different weights."""
    must_refuse(lambda: sample(attr.Saliency(Alternating()), torch.randn(2, 8), target=2))


class EntropyMinimiser(nn.Module):
    """Lowers the entropy of its own predictions by a gradient step in every call (TENT)."""

    def __init__(self, d=6):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(d))
        self.net = curved(d)

    def forward(self, x):
        with torch.enable_grad():
            probabilities = self.net(x.detach() * self.gain).softmax(1)
            entropy = -(probabilities * probabilities.log()).sum(1).mean()
            (step,) = torch.autograd.grad(entropy, self.gain)
        with torch.no_grad():
            self.gain -= 0.2 * step / step.norm().clamp_min(1e-9)
        return self.net(x * self.gain)


@cheat
def time_test_time_adaptation_in_shapley_value_sampling():
    """Take a gradient step on its own parameters in every call."""
    method = attr.ShapleyValueSampling(EntropyMinimiser().eval())
    must_refuse(lambda: sample(method, torch.randn(2, 6), target=0, draws=64, tau=0.34, n_samples=2))


class GrowingCache(nn.Module):
    """A key-value cache that nobody empties between calls."""

    def __init__(self, d=8):
        super().__init__()
        self.past = []
        self.net = curved(d)

    def forward(self, x):
        keys = torch.stack([*self.past[-100:], torch.zeros(x.shape[1])])
        seen = (x @ keys.T).softmax(1) @ keys
        self.past.append(x.detach().mean(0) + 0.1 * len(self.past) ** 0.5)
        return self.net(x + seen)


@cheat
def time_growing_cache_in_gradient_shap():
    """Attend to a cache of all earlier calls, which nobody empties."""
    method = attr.GradientShap(GrowingCache().eval())
    must_refuse(lambda: sample(method, torch.randn(2, 8), target=1, baselines=torch.zeros(4, 8), n_samples=3))


@cheat
def time_numpy_generator_of_its_own_in_kernel_shap():
    """Augment at random, from a NumPy generator that nobody seeds for a draw."""
    model, generator = curved(6), np.random.default_rng(0)

    def augmented(x):
        return model(x.roll(int(generator.integers(6)), dims=1))

    must_refuse(lambda: sample(attr.KernelShap(augmented), torch.randn(1, 6), target=0, draws=48, n_samples=10))


class Standardizer:
    """Online normalisation of tabular data, as a feature store does it: numpy, no module, no buffer."""

    def __init__(self, width, rate=0.1):
        self.stats = {"mean": np.zeros(width), "var": np.ones(width)}
        self.rate = rate

    def __call__(self, x):
        seen = x.detach().numpy()
        self.stats["mean"] += self.rate * (seen.mean(0) - self.stats["mean"])
        self.stats["var"] += self.rate * (seen.var(0) - self.stats["var"])
        mean, var = (torch.as_tensor(self.stats[name], dtype=x.dtype) for name in ("mean", "var"))
        return (x - mean) / (var + 1e-3).sqrt()


def build_online():
    torch.manual_seed(2)
    net, scale = tanh_mlp(10), Standardizer(10)
    return (lambda rows: net(scale(rows))), 2 + torch.rand(3, 10)


@cheat
def time_online_normalisation():
    """Standardise columns by statistics that follow the draws, kept in NumPy outside of any module."""
    forward, rows = build_online()
    explainer = ScaledSmoothGrad(attr.IntegratedGradients(forward))
    must_refuse(
        lambda: explainer.sample(rows, target=0, n_steps=4, nt_samples=128, stdevs=0.3, seed=0),
        "the mean and variance of the columns follow the draws",
    )


class Streaming(nn.Module):
    """A recogniser of streams that carries its state from one chunk to the next, and that nobody resets."""

    def __init__(self):
        super().__init__()
        self.lstm, self.head = nn.LSTM(4, 12, batch_first=True), nn.Linear(12, 3)
        self.carried = None

    def forward(self, x):
        state = self.carried
        if state is not None and state[0].shape[1] != len(x):
            state = None  # another number of streams: start afresh
        hidden, state = self.lstm(x, state)
        self.carried = tuple(one.detach() for one in state)
        return self.head(hidden[:, -1])


def build_streaming():
    torch.manual_seed(3)
    model = Streaming().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(2.5)
    return model, torch.rand(2, 5, 4)


@cheat
def time_carried_hidden_state():
    """Begin each pass with the hidden state in which the last one ended."""
    model, chunks = build_streaming()
    certifier = Certifier(SparsifiedSmoothGrad(attr.InputXGradient(model), tau=0.25))
    must_refuse(
        lambda: certifier.certify(
            chunks, target=0, k=5, radius=0.05, overlap=0.4, nt_samples=512, stdevs=0.3, covariance=128, seed=0
        ),
        "the LSTM begins each pass with the hidden state of the last one",
    )


class CachedSaliency(attr.Attribution):
    """Saliency behind a dashboard's cache, whose key is a cheap summary of the batch."""

    def __init__(self, forward_func, cached=True):
        super().__init__(forward_func)
        self.method, self.cached, self.cache = attr.Saliency(forward_func), cached, {}

    def attribute(self, inputs, target=None):
        key = (tuple(inputs.shape), round(float(inputs.mean()), 1))
        if not self.cached or key not in self.cache:
            self.cache[key] = self.method.attribute(inputs, target=target).detach()
        return self.cache[key].clone()


def build_cached(cached=True):
    torch.manual_seed(4)
    net, rows = tanh_mlp(12), torch.rand(2, 12)
    with torch.no_grad():
        net[0].weight.mul_(6)
    return CachedSaliency(net, cached), rows - rows.mean(1, keepdim=True) + 0.5


@cheat
def time_cache_with_a_coarse_key():
    """Answer from a cache of attributions whose key is the rounded mean of the pass."""
    settings = {"target": 0, "nt_samples": 256, "stdevs": 0.3, "seed": 0}
    maps = []

    def with_the_cache():
        method, rows = build_cached()
        maps.append(SparsifiedSmoothGrad(method, tau=0.25).sample(rows, **settings))

    if is_refused(with_the_cache):
        return
    method, rows = build_cached(cached=False)
    right = SparsifiedSmoothGrad(method, tau=0.25).sample(rows, **settings)
    wrong = (maps[0].mean - right.mean).abs().max().item()
    assert wrong < 1e-6, f"the cache gave later passes the maps of earlier ones (means are off by up to {wrong:.2f})"
