"""The search of a model finds training mode, generators and modules that ignore hooks, wherever they are."""

import collections
import functools
import io
import itertools
import random
import types
import weakref

import numpy as np
import pytest
import torch
from captum.attr import (
    LRP,
    Deconvolution,
    DeepLift,
    DeepLiftShap,
    FeatureAblation,
    GuidedBackprop,
    LayerDeepLift,
    NeuronGuidedBackprop,
    Saliency,
)
from torch import nn

from captum_certified import CertificationError, SparsifiedSmoothGrad
from captum_certified.attr.reachable import Reachable, called_modules

X = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit:FutureWarning", "ignore:`torch.jit:DeprecationWarning")


def cnn(*, training=False):
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.1), nn.Flatten(), nn.Linear(144, 5)
    return nn.Sequential(*layers).train(training)


def sampled(forward, *, method=Saliency, **settings):
    explainer = SparsifiedSmoothGrad(method(forward), tau=0.2)
    return explainer.sample(X, **{"target": 1, "nt_samples": 16, "stdevs": 0.2, "seed": 0, **settings})


class Service:
    def __init__(self, network):
        self.network = network

    def predict(self, x):
        return self.network(x)

    @classmethod
    def of_the_class(cls, x):
        return cls.shared(x)


class InSlots:
    __slots__ = ("__network", "other")

    def __init__(self, network):
        self.__network = network
        self.other = None

    def __call__(self, x):
        return self.__network(x)


class Callable:
    def __init__(self, network):
        self.held = {"a": [(network,)]}

    def __call__(self, x):
        return self.held["a"][0][0](x)


class Lists(nn.Module):
    """Module with its networks in a plain list, which PyTorch does not search."""

    def __init__(self, network):
        super().__init__()
        self.networks = [network]

    def forward(self, x):
        return self.networks[0](x)


NETWORKS = {}


def of_a_global(x):
    return NETWORKS["a"](x)


def within_a_function(x):
    return [NETWORKS[name](x) for name in ("a",)][0]  # noqa: RUF015


def in_a_class(network):
    class Named:
        net = network

    return lambda x: Named.net(x)


def of_the_class(network):
    Service.shared = network
    return Service.of_the_class


def in_a_global(network):
    NETWORKS["a"] = network
    return of_a_global


def in_a_comprehension(network):
    NETWORKS["a"] = network
    return within_a_function


def cached(network):
    return functools.lru_cache(lambda x: network(x))


HIDDEN = {
    "module": lambda n: n,
    "bound method": lambda n: Service(n).predict,
    "class method": of_the_class,
    "forward of a module": lambda n: n.forward,
    "closure": lambda n: lambda x: n(x),
    "dictionary in a closure": lambda n: (lambda known: lambda x: known["a"](x))({"a": n}),
    "default": lambda n: lambda x, *, net=n: net(x),
    "partial": lambda n: functools.partial(lambda net, x: net(x), n),
    "partial of a method": lambda n: functools.partial(Service(n).predict),
    "callable object": Callable,
    "slots": InSlots,
    "plain list": Lists,
    "global": in_a_global,
    "comprehension": in_a_comprehension,
    "class attribute": in_a_class,
    "wrapper": cached,
    "named tuple": lambda n: (lambda held: lambda x: held.net(x))(collections.namedtuple("Held", "net")(n)),
    "deque": lambda n: (lambda held: lambda x: held[0](x))(collections.deque([n])),
    "mapping proxy": lambda n: (lambda held: lambda x: held["a"](x))(types.MappingProxyType({"a": n})),
    "namespace": lambda n: (lambda held: lambda x: held.net(x))(types.SimpleNamespace(net=n)),
}


@pytest.mark.parametrize("hide", HIDDEN)
def test_training_mode_is_found(hide):
    with pytest.raises(CertificationError, match=r"got BatchNorm2d '.*1' in training mode; call model.eval\(\) first"):
        sampled(HIDDEN[hide](cnn(training=True)))
    assert sampled(HIDDEN[hide](cnn())).n_samples.tolist() == [16, 16]


@pytest.mark.parametrize("hide", HIDDEN)
def test_hidden_modules_are_found_without_a_call(hide):
    network = cnn()
    found = {id(part) for _, part in Reachable(Saliency(HIDDEN[hide](network))).named_modules()}
    assert id(network) in found


def test_modules_behind_weak_references_are_found():
    network = cnn(training=True)
    held = weakref.ref(network)
    assert Reachable(Saliency(lambda x: held()(x))).modules == [network]
    with pytest.raises(CertificationError, match="in training mode"):
        sampled(lambda x: held()(x))


def test_modules_that_cannot_be_reached_are_found_when_they_are_called():
    def made(network):
        def hidden():  # what a generator holds cannot be read from it
            while True:
                yield network

        networks = hidden()
        return lambda x: next(networks)(x)

    assert not Reachable(Saliency(made(cnn()))).modules
    with pytest.raises(CertificationError, match="got BatchNorm2d '1' in training mode"):
        sampled(made(cnn(training=True)))


def test_modules_that_another_thread_calls_are_ignored():
    import threading

    network = cnn()
    with called_modules(watch=True) as called:
        thread = threading.Thread(target=network, args=(X,))
        thread.start()
        thread.join()
    assert called == []
    with called_modules(watch=True) as called:
        network(X)
    assert called == [network]


@pytest.mark.parametrize(
    "layer",
    [
        nn.LSTM(8, 8, num_layers=2, dropout=0.5, batch_first=True),
        nn.MultiheadAttention(8, 2, dropout=0.5),
        nn.RReLU(),
        nn.InstanceNorm2d(3, track_running_stats=True),
        nn.BatchNorm2d(3),
        nn.AlphaDropout(),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_layers_that_differ_in_training_mode_are_refused(layer):
    holder = nn.ModuleDict({"a": layer}).train()
    with pytest.raises(CertificationError, match=f"got {type(layer).__name__} 'a' in training mode"):
        sampled(lambda x: x.flatten(1) * len(holder))


@pytest.mark.parametrize("layer", [nn.LSTM(8, 8), nn.InstanceNorm2d(3), nn.GroupNorm(1, 3), nn.ReLU(), nn.Linear(8, 8)])
def test_layers_that_are_equal_in_training_mode_are_accepted(layer):
    holder = nn.ModuleDict({"a": layer}).train()
    assert sampled(lambda x: x.flatten(1) * len(holder)).n_samples.tolist() == [16, 16]


def test_training_mode_within_a_scripted_model():
    with pytest.raises(CertificationError, match="got BatchNorm2d '1' in training mode"):
        sampled(torch.jit.script(cnn(training=True)))
    file = io.BytesIO()  # what was loaded has no module of Python's left
    torch.jit.save(torch.jit.script(cnn(training=True)), file)
    file.seek(0)
    with pytest.raises(CertificationError, match="got BatchNorm2d '1' in training mode"):
        sampled(torch.jit.load(file))
    assert sampled(torch.jit.script(cnn())).n_samples.tolist() == [16, 16]


# -- generators ------------------------------------------------------------------------------------------------


class Keeps(nn.Module):
    def __init__(self, generator, draw):
        super().__init__()
        self.net, self.generator, self.draw = cnn(), generator, draw

    def forward(self, x):
        return self.net(x) * (1 + 1e-9 * float(self.draw(self.generator)))


GENERATORS = {
    "Generator": (lambda: torch.Generator(), lambda g: torch.rand((), generator=g)),
    "numpy Generator": (lambda: np.random.default_rng(0), lambda g: g.random()),
    "RandomState": (lambda: np.random.RandomState(0), lambda g: g.rand()),
    "PCG64": (lambda: np.random.PCG64(0), lambda g: g.random_raw() % 2),
    "Random": (lambda: random.Random(0), lambda g: g.random()),  # noqa: S311
}


@pytest.mark.parametrize("kind", GENERATORS)
def test_a_private_generator_is_refused_by_name(kind):
    (make, draw), name = GENERATORS[kind], kind.rpartition(" ")[2]
    with pytest.raises(CertificationError, match=f"from the global generators, .* some from a {name} that Keeps keeps"):
        sampled(Keeps(make(), draw))
    assert sampled(Keeps(make(), lambda g: 1)).n_samples.tolist() == [16, 16]  # nobody draws from it


def test_a_private_generator_that_is_used_later_is_refused_later():
    calls = itertools.count()
    with pytest.raises(CertificationError, match="some from a Random that Keeps keeps"):
        sampled(Keeps(random.Random(0), lambda g: g.random() if next(calls) > 6 else 1))  # noqa: S311


def test_private_generators_of_functions_methods_and_arguments_are_refused():
    generator = torch.Generator()
    with pytest.raises(CertificationError, match="Generator that the function <lambda> keeps"):
        sampled(lambda x: cnn()(x + 0 * torch.rand(1, generator=generator)))

    class Jittered(Saliency):
        def __init__(self, forward_func):
            super().__init__(forward_func)
            self.jitter = np.random.default_rng(0).normal  # a method of the generator

        def attribute(self, inputs, target=None):
            return super().attribute(inputs, target=target) + 0 * self.jitter()

    with pytest.raises(CertificationError, match="Generator that Jittered keeps"):
        sampled(cnn(), method=Jittered)

    def jittered(x, generator):
        return cnn()(x) + 0 * torch.rand((), generator=generator)

    with pytest.raises(CertificationError, match="Generator that the arguments keeps"):
        sampled(jittered, method=FeatureAblation, additional_forward_args=(generator,))


def test_objects_that_the_forward_pass_does_not_name_are_ignored():
    """Such objects are a generator for initial weights, a network in a training step, and a data loader."""
    weights, discriminator = torch.Generator().manual_seed(0), cnn(training=True)

    class Gan(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = cnn()
            self.net[0].weight.data.normal_(generator=weights)
            self.loader = torch.utils.data.DataLoader([0], shuffle=True, generator=torch.Generator())

        def training_step(self, x):
            return discriminator(x)

        def forward(self, x):
            return self.net(x)

    assert sampled(Gan().eval()).n_samples.tolist() == [16, 16]


def test_the_global_generators_are_accepted():
    def noisy(x):
        return cnn()(x) * (1 + 0 * random.random() + 0 * np.random.rand() + 0 * torch.rand(()))  # noqa: NPY002, S311

    held = [random.random, np.random.rand, torch.default_generator]
    assert sampled(lambda x: noisy(x) * len(held)).setup["stochastic"]


# -- hooks -----------------------------------------------------------------------------------------------------


def plain():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 5)).eval()


HOOKED = {
    "GuidedBackprop": GuidedBackprop,
    "Deconvolution": Deconvolution,
    "DeepLift": DeepLift,
    "LRP": LRP,
    "DeepLiftShap": DeepLiftShap,
    "LayerDeepLift": lambda f: LayerDeepLift(f, next(iter(f.children()))),
    "NeuronGuidedBackprop": lambda f: NeuronGuidedBackprop(f, next(iter(f.children()))),
}


@pytest.mark.parametrize("name", HOOKED)
def test_methods_that_set_hooks_refuse_scripted_models(name):
    with pytest.raises(CertificationError, match=f"ordinary modules for {name}, which sets hooks .*got Sequential"):
        sampled(torch.jit.trace(plain(), X), method=HOOKED[name])
    assert sampled(torch.jit.trace(plain(), X)).n_samples.tolist() == [16, 16]


def test_methods_that_set_hooks_refuse_exported_and_compiled_models():
    exported = torch.export.export(plain(), (X,)).module()
    with pytest.raises(CertificationError, match="for GuidedBackprop, which sets hooks on them, got "):
        sampled(exported, method=GuidedBackprop)
    with pytest.raises(CertificationError, match="for GuidedBackprop, which sets hooks on them, got OptimizedModule"):
        sampled(torch.compile(plain(), backend="eager"), method=GuidedBackprop)
    traced = torch.fx.symbolic_trace(plain())  # keeps its modules
    one, two = (sampled(f, method=GuidedBackprop) for f in (traced, plain()))
    assert torch.equal(one.counts, two.counts)


# -- what the search costs -------------------------------------------------------------------------------------


def test_a_data_set_in_a_list_is_not_searched():
    network, images = cnn(), [object() for _ in range(200_000)]
    reachable = Reachable(Saliency(lambda x: network(x) * len(images)))
    assert reachable.modules == [network]


def test_parts_of_a_model_are_not_listed_as_models():
    network = cnn()
    both = Reachable(Saliency(lambda x: network(network[0](x))))
    assert both.modules == [network]
    assert [name for name, _ in both.named_modules()][:2] == ["", "0"]
