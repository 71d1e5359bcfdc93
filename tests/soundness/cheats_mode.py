"""Cheats in which a layer is in training mode, or behaves in evaluation mode as if it were in training mode."""

import functools

import torch
from captum import attr
from cases import Committee, Recurrent, cheat, dropout_net, mlp, must_refuse, sample
from torch import nn
from torch.func import functional_call

from captum_certified import Certifier, NormalizedSmoothGrad, SparsifiedSmoothGrad


@cheat
def mode_dropout_in_a_global_of_a_notebook():
    """Leave dropout on in a model that a function finds among its globals, through another function."""
    notebook = {"model": dropout_net().train(), "torch": torch}
    code = "def logits(x):\n    return model(x)\n\ndef predict(x):\n    return logits(x).log_softmax(1)\n"
    exec(code, notebook)  # noqa: S102 (functions whose globals are not a module's)
    must_refuse(lambda: sample(attr.Saliency(notebook["predict"]), torch.randn(2, 8), target=0))


@cheat
def mode_recurrent_dropout_left_in_training():
    """Put only the LSTM back into training mode; its dropout is not a separate module."""
    model = Recurrent(dropout=0.5).eval()
    model.recurrent.train()
    must_refuse(lambda: sample(attr.InputXGradient(model), torch.randn(2, 5, 4), target=0))


@cheat
def mode_scripted_dropout():
    """Script a model in training mode, and its dropout with it."""
    scripted = torch.jit.script(dropout_net().train())
    must_refuse(lambda: sample(attr.Saliency(scripted), torch.randn(2, 8), target=0))


@cheat
def mode_batch_norm_without_statistics_in_gradient_shap():
    """Normalise by the batch in evaluation mode: track_running_stats=False."""
    model = nn.Sequential(
        nn.Linear(8, 16), nn.BatchNorm1d(16, track_running_stats=False), nn.Tanh(), nn.Linear(16, 3)
    ).eval()
    method = attr.GradientShap(model)
    must_refuse(lambda: sample(method, torch.randn(2, 8), target=1, baselines=torch.randn(4, 8), n_samples=4))


@cheat
def mode_dropout_in_slots_in_feature_ablation():
    """Leave dropout on in a member held by slots, a deque and a mapping proxy."""
    committee = Committee(mlp(), dropout_net().train())
    must_refuse(lambda: sample(attr.FeatureAblation(committee), torch.randn(2, 8), target=0))


def build_tent():
    """TENT's recipe (test-time adaptation): drop the running statistics; `eval()` then normalises by the batch."""
    torch.manual_seed(1)
    model = nn.Sequential(
        nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6), nn.Softplus(), nn.AdaptiveAvgPool2d(3), nn.Flatten(), nn.Linear(54, 3)
    ).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.bias)
            module.track_running_stats, module.running_mean, module.running_var = False, None, None
    return model, torch.rand(2, 1, 10, 10)


@cheat
def mode_test_time_batch_norm():
    """Drop the running statistics, so that evaluation mode normalises by the pass."""
    model, images = build_tent()
    certifier = Certifier(NormalizedSmoothGrad(attr.Saliency(model)))
    must_refuse(
        lambda: certifier.certify(images, target=1, k=0.2, radius=0.05, nt_samples=128, stdevs=0.3, seed=0),
        "batch-norm in evaluation mode, without running statistics, normalises by the pass",
    )


class Service:
    """A model served from a snapshot of its parameters; unknown names are looked up in the network."""

    __slots__ = ("_registry",)

    def __init__(self, net):
        weights = {name: value.detach().clone() for name, value in net.named_parameters()}

        @functools.wraps(net.forward)
        def run(x):
            return functional_call(net, weights, (x,))

        self._registry = {"v1": functools.partial(run)}

    def __getattr__(self, name):
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._registry["v1"], name)

    def __call__(self, x):
        return self._registry["v1"](x)


def build_service():
    """Return a service whose dropout was turned on for uncertainty estimates, and never off."""
    torch.manual_seed(5)
    net = nn.Sequential(nn.Linear(12, 24), nn.Tanh(), nn.Dropout(0.3), nn.Linear(24, 3)).eval()
    net[2].train()
    return Service(net), torch.rand(2, 12)


@cheat
def mode_dropout_left_on_in_a_service():
    """Turn dropout on again behind slots, a dict, a partial, a decorator and functional_call."""
    service, rows = build_service()
    explainer = SparsifiedSmoothGrad(attr.Saliency(service), tau=0.25)
    must_refuse(
        lambda: explainer.sample(rows, target=0, nt_samples=128, stdevs=0.3, seed=0),
        "a dropout in training mode is behind slots, a dict, a partial, a decorator and functional_call",
    )
