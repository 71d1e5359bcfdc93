"""Explanations as Quantus calls them, without Quantus."""

import numpy as np
import pytest
import torch
from captum.attr import IntegratedGradients, Saliency
from networks import mlp
from torch import nn
from torch.testing import assert_close

from captum_certified import InvalidInputError, SparsifiedSmoothGrad
from captum_certified.metrics import quantus_explain_func

X = np.random.default_rng(0).random((3, 6))
TARGETS = np.array([0, 2, 1])
NOISE = {"nt_samples": 16, "stdevs": 0.2}


def smoothed(model):
    return SparsifiedSmoothGrad(Saliency(model), tau=0.4)


def test_a_plain_map_is_that_of_the_attribution():
    model = mlp()
    found = quantus_explain_func(Saliency)(model, X, TARGETS)
    inputs = torch.tensor(X, requires_grad=True)
    assert_close(found, Saliency(model).attribute(inputs, target=torch.tensor(TARGETS)).numpy())


def test_a_smoothed_map_has_the_same_noise_in_every_call():
    model = mlp()
    explain = quantus_explain_func(smoothed, **NOISE)
    one, two = explain(model, X, TARGETS), explain(model, X, TARGETS, device="cpu")
    assert_close(one, two, rtol=0, atol=0)
    expected = smoothed(model).attribute(torch.tensor(X), target=torch.tensor(TARGETS), seed=0, **NOISE)
    assert_close(one, expected.numpy())
    assert not np.array_equal(one, quantus_explain_func(smoothed, seed=1, **NOISE)(model, X, TARGETS))


def test_the_model_that_is_handed_over_is_explained():
    explain = quantus_explain_func(Saliency)
    one, other = (explain(mlp(seed=seed), X, TARGETS) for seed in (0, 1))
    assert not np.allclose(one, other)


def test_arguments_of_the_call_go_to_the_attribution():
    model = mlp()
    explain = quantus_explain_func(IntegratedGradients, n_steps=1)
    assert_close(explain(model, X, TARGETS), explain(model, X, TARGETS, n_steps=1))
    assert not np.allclose(explain(model, X, TARGETS), explain(model, X, TARGETS, n_steps=50))


def test_inputs_get_the_precision_of_the_model_and_gradients_are_turned_on():
    model = mlp().float()
    with torch.no_grad():
        assert quantus_explain_func(Saliency)(model, X, TARGETS).dtype == np.float32
    without_weights = nn.Softplus()
    assert quantus_explain_func(Saliency)(without_weights, X, TARGETS).dtype == np.float32


@pytest.mark.parametrize(
    ("explainer_of", "message"),
    [
        (3, "Expected `explainer_of` to be a function of a model, got 3"),
        (lambda model: model, "Expected `explainer_of` to return an attribution, got Sequential"),
    ],
)
def test_what_explains_nothing_is_refused(explainer_of, message):
    with pytest.raises(InvalidInputError, match=message):
        quantus_explain_func(explainer_of)(mlp(), X, TARGETS)


def test_several_maps_for_an_example_are_refused():
    class Pair(Saliency):
        def attribute(self, inputs, target=None):
            return (inputs, inputs)

    with pytest.raises(InvalidInputError, match="Expected one map for each example, got tuple"):
        quantus_explain_func(Pair)(mlp(), X, TARGETS)
