"""The smoothed attributions are Captum attributions: Captum's tools accept them, and they leave the model unchanged."""

import random

import numpy as np
import pytest
import torch
from captum.attr import Attribution, NoiseTunnel, Saliency
from captum.metrics import infidelity, sensitivity_max
from explainers import EXPLAINERS
from methods import METHODS
from networks import GateNet, Watched, cnn, images
from torch.testing import assert_close

from captum_certified import SparsifiedSmoothGrad, sample_many

methods = pytest.mark.parametrize("method", list(METHODS))
explainers = pytest.mark.parametrize("name", list(EXPLAINERS))
X = images(2)


@explainers
def test_smoothed_attributions_are_captum_attributions(name):
    method = Saliency(cnn())
    explainer = EXPLAINERS[name].make(method)
    assert isinstance(explainer, Attribution)
    assert explainer.forward_func is method.forward_func
    assert explainer.attribution_method is method
    assert explainer.has_convergence_delta() is False


@explainers
def test_attribute_future_is_not_implemented(name):
    with pytest.raises(NotImplementedError, match=f"attribute_future is not implemented for {name_of(name)}"):
        EXPLAINERS[name].make(Saliency(cnn())).attribute_future()


def name_of(name):
    return type(EXPLAINERS[name].make(Saliency(cnn()))).__name__


@pytest.mark.parametrize("method", ["InputXGradient", "IntegratedGradients", "IntegratedGradients, local", "Saliency"])
def test_multiplying_by_inputs_and_deltas_are_those_of_the_wrapped_method(method):
    wrapped = METHODS[method].make(cnn())
    explainer = SparsifiedSmoothGrad(wrapped)
    assert explainer.multiplies_by_inputs == bool(getattr(wrapped, "multiplies_by_inputs", False))
    assert explainer.has_convergence_delta() == wrapped.has_convergence_delta()


def test_attribute_can_be_wrapped_as_captum_s_tools_do():
    # NoiseTunnel looks for the function below the usage logging.
    assert callable(SparsifiedSmoothGrad.attribute.__wrapped__)


@explainers
def test_noise_tunnel_wraps_smoothed_attributions(name):
    explainer = EXPLAINERS[name].make(Saliency(GateNet((3, 8, 8)).double()))
    # No noise of the tunnel's own: the mean of equal maps.
    tunnelled = NoiseTunnel(explainer).attribute(X, nt_samples=3, stdevs=0.0, target=1, seed=5)
    assert_close(tunnelled, explainer.attribute(X.repeat_interleave(3, 0), target=1, seed=5)[::3], rtol=1e-12, atol=0)
    noisy = NoiseTunnel(explainer).attribute(X, nt_samples=3, stdevs=0.2, target=1, seed=5)
    assert noisy.shape == X.shape


@explainers
def test_sensitivity_max_takes_smoothed_attributions(name):
    explainer = EXPLAINERS[name].make(Saliency(cnn()))
    constant = sensitivity_max(
        explainer.attribute, X, perturb_func=lambda x, radius: x, n_perturb_samples=2, target=1, seed=5, stdevs=0.2
    )
    assert constant.tolist() == [0.0, 0.0]
    moved = sensitivity_max(
        explainer.attribute, X, perturb_radius=0.5, n_perturb_samples=2, target=1, seed=5, stdevs=0.2
    )
    assert moved.shape == (2,)
    assert bool((moved >= 0).all())


def test_infidelity_takes_smoothed_attributions():
    explainer, model = SparsifiedSmoothGrad(Saliency(cnn())), cnn()

    def perturb(inputs):
        noise = 0.1 * torch.ones_like(inputs)
        return noise, inputs - noise

    attributions = explainer.attribute(X, target=1, seed=5, stdevs=0.2)
    assert infidelity(model, perturb, X, attributions, target=1).shape == (2,)


def test_gradients_are_turned_on_inside_no_grad():
    explainer = SparsifiedSmoothGrad(Saliency(cnn()))
    expected = explainer.sample(X, nt_samples=4, stdevs=0.1, seed=1, target="argmax")
    with torch.no_grad():
        inside = explainer.sample(X, nt_samples=4, stdevs=0.1, seed=1, target="argmax")
        assert not torch.is_grad_enabled()
    assert torch.equal(inside.counts, expected.counts)


# -- no trace ------------------------------------------------------------------------------------------------


def traces(model, tensors):
    """Return everything that an attribution might change, in comparable form."""
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    numpy_state = np.random.get_state()  # noqa: NPY002
    return {
        "tensors": [
            (t.detach().clone().numpy().tobytes(), t.requires_grad, t.grad is None, t._version) for t in tensors
        ],
        "parameters": [(p.detach().numpy().tobytes(), p.requires_grad, p.grad is None) for p in model.parameters()],
        "buffers": [b.numpy().tobytes() for b in model.buffers()],
        "training": [m.training for m in model.modules()],
        "hooks": [len(getattr(m, name)) for m in model.modules() for name in hooks],
        "random": random.getstate(),
        "numpy": (numpy_state[1].tobytes(), *numpy_state[2:]),
        "torch": torch.get_rng_state().numpy().tobytes(),
        "grad": torch.is_grad_enabled(),
    }


def assert_no_trace(before, after):
    for what, value in before.items():
        assert after[what] == value, what


@methods
@pytest.mark.parametrize("requires_grad", [False, True])
@pytest.mark.parametrize("target", [1, "argmax"])
@pytest.mark.parametrize("stdev", [0.0, 0.1])
def test_attribute_leaves_no_trace(method, requires_grad, target, stdev):
    model, x = cnn(), X.clone().requires_grad_(requires_grad)
    explainer = SparsifiedSmoothGrad(METHODS[method].make(model))
    before = traces(model, [x])
    result = explainer.attribute(x, nt_samples=3, stdevs=stdev, target=target, **METHODS[method].arguments(X))
    assert not result.requires_grad
    assert_no_trace(before, traces(model, [x]))


@methods
def test_sample_leaves_no_trace(method):
    model, x = cnn(), X.clone().requires_grad_()
    explainer = SparsifiedSmoothGrad(METHODS[method].make(model))
    before = traces(model, [x])
    explainer.sample(x, nt_samples=3, stdevs=0.1, target="argmax", **METHODS[method].arguments(X))
    assert_no_trace(before, traces(model, [x]))


def test_models_in_training_mode_without_random_layers_stay_in_training_mode():
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 3)).double().train()
    before = traces(model, [X])
    SparsifiedSmoothGrad(Saliency(model)).sample(X, nt_samples=3, stdevs=0.1, target=1)
    assert_no_trace(before, traces(model, [X]))


@pytest.mark.parametrize("fails_at", [1, 2, 3, 4])
@pytest.mark.parametrize(
    "method", ["Saliency", "InputXGradient", "GuidedBackprop", "Deconvolution", "IntegratedGradients"]
)
def test_an_exception_in_the_middle_leaves_no_trace(method, fails_at):
    model, x = Watched(cnn(), fails_at=fails_at), X.clone()
    explainer = SparsifiedSmoothGrad(METHODS[method].make(model))
    before = traces(model, [x])
    with pytest.raises(InterruptedError, match="failed on purpose"):
        explainer.sample(x, nt_samples=12, nt_samples_batch_size=2, stdevs=0.1, target=1)
    assert_no_trace(before, traces(model, [x]))


def test_a_stream_that_is_dropped_leaves_no_trace():
    model = GateNet((6,))
    x = torch.rand(1, 6, generator=torch.Generator().manual_seed(0))
    before = traces(model, [x])
    stream = SparsifiedSmoothGrad(Saliency(model), tau=0.5).stream(x, nt_samples=5000, stdevs=0.1, target=1)
    next(stream)
    assert_no_trace(before, traces(model, [x]))
    del stream
    assert_no_trace(before, traces(model, [x]))


def test_sampling_several_maps_leaves_no_trace():
    model = cnn()
    method = Saliency(model)
    before = traces(model, [X])
    sample_many([entry.make(method) for entry in EXPLAINERS.values()], X, nt_samples=3, stdevs=0.1, target=1)
    assert_no_trace(before, traces(model, [X]))


def test_progress_is_shown_only_when_asked_for(capsys):
    explainer = SparsifiedSmoothGrad(Saliency(cnn()))
    explainer.attribute(X, nt_samples=3, stdevs=0.1, target=1)
    assert capsys.readouterr() == ("", "")
    explainer.attribute(X, nt_samples=3, stdevs=0.1, target=1, show_progress=True)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "SparsifiedSmoothGrad" in shown.err
