"""Tables of cheats and of honest uses, and the functions and models that the cases share.

A case is a function without arguments. It builds all that it needs and fails if the package did the wrong thing.
"""

import collections
import functools
import random
import types
import warnings
from collections.abc import Callable

import numpy as np
import pytest
import torch
from captum import attr
from torch import nn
from torch.utils.data import TensorDataset

from captum_certified import CertificationError, Certifier, InvalidInputError, SparsifiedSmoothGrad
from captum_certified.runs import certify_dataset

Case = Callable[[], None]

CHEATS: dict[str, Case] = {}
HONEST: dict[str, Case] = {}
REFUSALS = CertificationError, InvalidInputError


def registered(case: Case, table: dict[str, Case]) -> Case:
    """Add a case to its table, seeded by its name and without warnings; it restores the global generators."""
    name = case.__name__
    assert name not in {**CHEATS, **HONEST}, f"two cases are called {name}"

    @functools.wraps(case)
    def run():
        states = torch.get_rng_state(), np.random.get_state(), random.getstate()  # noqa: NPY002
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                torch.manual_seed(sum(map(ord, name)))
                case()
        finally:
            torch.set_rng_state(states[0])
            np.random.set_state(states[1])  # noqa: NPY002
            random.setstate(states[2])

    table[name] = run
    return run


cheat = functools.partial(registered, table=CHEATS)
honest = functools.partial(registered, table=HONEST)


# -- what a case demands ---------------------------------------------------------------------------------------


def is_refused(call):
    """Return whether `call` raises one of the two refusals; any other exception is an error of the package."""
    try:
        call()
    except REFUSALS:
        return True
    return False


def must_refuse(call, why="it must not be"):
    assert is_refused(call), f"certified although {why}"


def sample(method, x, /, *, draws=128, stdevs=0.3, seed=0, kind=SparsifiedSmoothGrad, tau=0.25, **settings):
    explainer = kind(method, tau=tau) if kind is SparsifiedSmoothGrad else kind(method)
    return explainer.sample(x, nt_samples=draws, stdevs=stdevs, seed=seed, **settings)


def tensors(value):
    return list(value) if isinstance(value, tuple) else [value]


def served(method, x, /, *, draws=64, **settings):
    """Sample a map, which must be finite, of the right size, in range, and not zero."""
    result = sample(method, x, draws=draws, **settings)
    name = type(method).__name__
    flat = torch.cat([mean.double().flatten(1) for mean in tensors(result.mean)], dim=1)
    n = tensors(x)[0].shape[0]
    assert flat.shape[0] == n, f"{name}: {flat.shape[0]} rows for {n} examples"
    assert torch.isfinite(flat).all(), f"{name}: not finite"
    assert flat.min() >= 0, f"{name}: out of range"
    assert flat.max() <= 1 + 1e-9, f"{name}: out of range"
    assert flat.sum() > 0, f"{name}: zero"
    assert (torch.as_tensor(result.n_samples) == draws).all(), f"{name}: {result.n_samples} of {draws} draws"
    return result


def same(one, other, tolerance=1e-4, what="maps differ"):
    for a, b in zip(tensors(one.mean), tensors(other.mean), strict=True):
        assert a.shape == b.shape, f"{what}: {tuple(a.shape)} {tuple(b.shape)}"
        difference = (a.double() - b.double()).abs().max().item()
        assert difference <= tolerance, f"{what}: by {difference:.3g}"


def close(one, other, tolerance, what):
    """Assert that two maps are equal up to a tolerance, and not constant."""
    same(one, other, tolerance, what)
    assert float(one.mean.std()) > 0, "a constant map"


def top(values, count):
    """Return the 0/1 map of the `count` largest magnitudes of each row."""
    flat = values.abs().flatten(1)
    return torch.zeros_like(flat).scatter(1, flat.topk(count).indices, 1).reshape(values.shape).double()


def skip_unless(call):
    """Skip the case if this release of PyTorch cannot do `call`, which must not use the package."""
    try:
        call()
    except RuntimeError as error:
        pytest.skip(f"PyTorch {torch.__version__} cannot: {error}")


def certified_dataset(method, x, y, folder, **settings):
    """Return the results of the examples in a folder, new or resumed."""
    certifier = Certifier(SparsifiedSmoothGrad(method, tau=0.25))
    settings = {"k": 2, "radius": 0.05, "nt_samples": 64, "stdevs": 0.3, "seed": 0, **settings}
    return certify_dataset(certifier, TensorDataset(x, y), out=folder, **settings)


def dataset_maps(folder, model, rows):
    """Return the maps of two examples in a folder, new or resumed."""
    method, targets = attr.InputXGradient(model), torch.tensor([0, 2])
    results = certified_dataset(method, rows, targets, folder, k=3, nt_samples=128, stdevs=0.1)
    return [result.certificate().map.mean for result in sorted(results, key=lambda result: result.name)]


# -- models that several cases use -----------------------------------------------------------------------------


def seeded(build, seed=0):
    """Call `build` under a seed of its own; with None, it draws from the global generator."""
    if seed is None:
        return build()
    state = torch.get_rng_state()
    torch.manual_seed(seed)
    made = build()
    torch.set_rng_state(state)
    return made


def mlp(d=8, hidden=12, classes=3, act=nn.Softplus, seed=0):
    return seeded(lambda: nn.Sequential(nn.Linear(d, hidden), act(), nn.Linear(hidden, classes)).eval(), seed)


def tanh_mlp(d=12, hidden=24, classes=3):
    return mlp(d, hidden, classes, act=nn.Tanh, seed=None)


def curved(d=8, classes=3, seed=0):
    """A network whose gradients depend strongly on where it is."""

    def build():
        net = nn.Sequential(nn.Linear(d, 16), nn.Tanh(), nn.Linear(16, classes)).eval()
        with torch.no_grad():
            net[0].weight.mul_(4)
        return net

    return seeded(build, seed)


def conv(seed=0, channels=1):
    def build():
        return nn.Sequential(
            nn.Conv2d(channels, 4, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(4, 4, 3, padding=1),
            nn.ReLU(),
            nn.AvgPool2d(2),
            nn.Flatten(),
            nn.Linear(4 * 9, 3),
        ).eval()

    return seeded(build, seed)


def dropout_net(d=8):
    """Return a network in training mode, with weights from the global generator."""
    return nn.Sequential(nn.Linear(d, 32), nn.Tanh(), nn.Dropout(0.5), nn.Linear(32, 3))


class Recurrent(nn.Module):
    def __init__(self, kind=nn.LSTM, dropout=0.0):
        super().__init__()
        self.recurrent = kind(4, 8, num_layers=2, batch_first=True, dropout=dropout)
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        return self.head(self.recurrent(x)[0].mean(1))


class Committee:
    """The mean of its members, which are behind slots, a deque and mapping proxies."""

    __slots__ = ("members",)

    def __init__(self, *members):
        self.members = collections.deque(types.MappingProxyType({"net": member}) for member in members)

    def __call__(self, x):
        return sum(member["net"](x) for member in self.members) / len(self.members)


class Graph(nn.Module):
    """One graph for all examples; edge_index is (2, E) as in PyTorch Geometric."""

    def __init__(self, features=3):
        super().__init__()
        self.first, self.second, self.head = nn.Linear(features, 8), nn.Linear(8, 8), nn.Linear(8, 3)
        self.own = nn.Linear(features, 8)

    @staticmethod
    def propagate(x, edge_index):
        source, destination = edge_index[0], edge_index[1]
        return torch.zeros_like(x).index_add(1, destination, x[:, source])

    def forward(self, x, edge_index):
        hidden = torch.tanh(self.own(x) + 2 * self.propagate(self.first(x), edge_index))
        hidden = torch.tanh(self.propagate(self.second(hidden), edge_index))
        return self.head(hidden[:, 0] + 0.2 * hidden.mean(1))


EDGES = [[1, 2, 3, 4, 5, 5], [0, 0, 1, 1, 2, 3]]


# -- functions and objects that compute one thing in several ways ----------------------------------------------

UP = [3.0, 0.1, 1.0, 1.0, 0.1, 3.0, 1.0, 1.0]


def bent(power, x, net):
    return net(x.abs() ** power * x.sign())


def closure_over(tensor):
    net = curved()
    return lambda x: net(x * tensor)


class Bent:
    def __init__(self, power):
        self.net, self.power = curved(), power

    def __call__(self, x):
        return bent(self.power, x, self.net)

    def scores(self, x):
        return self(x)


class PlainAttribute(nn.Module):
    """Network whose output depends on a number that is neither parameter nor buffer."""

    def __init__(self, power):
        super().__init__()
        self.net, self.power = curved(), power

    def forward(self, x):
        return bent(self.power, x, self.net)
