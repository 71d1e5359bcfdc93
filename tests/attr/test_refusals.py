"""Requests that are malformed, or whose maps could not be certified, raise errors with plain messages."""

import functools
import re

import pytest
import torch
from captum.attr import DeepLift, FeaturePermutation, IntegratedGradients, NoiseTunnel, Saliency
from explainers import EXPLAINERS
from networks import GateNet, cnn, images
from torch import nn

from captum_certified import (
    CertificationError,
    InvalidInputError,
    RelaxedSparsifiedSmoothGrad,
    ScaledSmoothGrad,
    SparsifiedSmoothGrad,
    UniformGradient,
    sample_many,
)

X = images(2)
NAN, INF = float("nan"), float("inf")


def explainer(method=None):
    return SparsifiedSmoothGrad(Saliency(cnn()) if method is None else method)


ENTRIES = {
    "attribute": lambda e, x, **settings: e.attribute(x, **settings),
    "sample": lambda e, x, **settings: e.sample(x, **settings),
    "stream": lambda e, x, **settings: e.stream(x, **settings),
    "sample_many": lambda e, x, **settings: sample_many([e], x, **settings),
}
everywhere = pytest.mark.parametrize("entry", list(ENTRIES))


def call(entry, x=X, *, method=None, **settings):
    return ENTRIES[entry](explainer(method), x, **{"nt_samples": 4, "stdevs": 0.1, "target": 1, **settings})


# -- the explanation -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("tau", [0, -0.1, 1.01, NAN, INF, "0.1", None, True])
def test_tau(tau):
    with pytest.raises(InvalidInputError, match=r"Expected `tau` to be a finite number > 0 and <= 1, got "):
        SparsifiedSmoothGrad(Saliency(cnn()), tau=tau)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tau": 0.0}, r"Expected `tau` to be a finite number > 0 and <= 1, got 0\.0\."),
        ({"gamma": -0.1}, r"Expected `gamma`"),
        ({"gamma": NAN}, r"Expected `gamma`"),
        ({"tau": 0.1, "gamma": 0.2}, r"Expected `gamma` .*`tau`"),
    ],
)
def test_tau_and_gamma(settings, message):
    with pytest.raises(InvalidInputError, match=message):
        RelaxedSparsifiedSmoothGrad(Saliency(cnn()), **settings)


@pytest.mark.parametrize("name", list(EXPLAINERS))
@pytest.mark.parametrize("method", [None, cnn(), "Saliency", Saliency])
def test_attribution_method(name, method):
    with pytest.raises(InvalidInputError, match="Expected `attribution_method` to be a Captum attribution, got "):
        EXPLAINERS[name].make(method)


# -- numbers -------------------------------------------------------------------------------------------------


@everywhere
@pytest.mark.parametrize("value", [0, -1, 2.0, NAN, "8", None, True])
def test_nt_samples(entry, value):
    with pytest.raises(InvalidInputError, match=r"Expected `nt_samples` to be an integer >= 1, got "):
        call(entry, nt_samples=value)


@everywhere
@pytest.mark.parametrize("value", [0, -1, 2.0, "8", True])
def test_nt_samples_batch_size(entry, value):
    with pytest.raises(InvalidInputError, match=r"Expected `nt_samples_batch_size` to be an integer >= 1, got "):
        call(entry, nt_samples_batch_size=value)


@everywhere
@pytest.mark.parametrize("value", [-0.1, -1, NAN, INF, "0.1", None, True, [0.1]])
def test_stdevs(entry, value):
    with pytest.raises(InvalidInputError, match=r"Expected `stdevs` to be a finite number >= 0, got "):
        call(entry, stdevs=value)


@everywhere
@pytest.mark.parametrize("value", [(0.1, 0.2), ()])
def test_a_wrong_number_of_stdevs(entry, value):
    with pytest.raises(
        InvalidInputError, match=r"Expected `stdevs` to be a number or a tuple of 1, one for each input"
    ):
        call(entry, stdevs=value)


@everywhere
def test_stdevs_may_be_an_integer(entry):
    result = call(entry, stdevs=1, seed=3)
    if entry == "attribute":
        assert torch.equal(result, call(entry, stdevs=1.0, seed=3))


@everywhere
@pytest.mark.parametrize("value", [-1, 2**64, 1.0, "1", True])
def test_seed(entry, value):
    with pytest.raises(InvalidInputError, match=r"Expected `seed` to be an integer >= 0 and < 18446744073709551616"):
        call(entry, seed=value)


@pytest.mark.parametrize("entry", ["sample", "stream", "sample_many"])
@pytest.mark.parametrize("value", [-1, 2**31, 1.5])
def test_first_draw(entry, value):
    with pytest.raises(InvalidInputError, match=r"Expected `first_draw` to be an integer >= 0 and < "):
        call(entry, first_draw=value)


# -- inputs --------------------------------------------------------------------------------------------------


@everywhere
@pytest.mark.parametrize("x", [None, [[1.0]], (), (None,), "image"], ids=str)
def test_inputs_that_are_not_tensors(entry, x):
    with pytest.raises(InvalidInputError, match="Expected `inputs` to be a tensor or a tuple of tensors, got "):
        call(entry, x)


@everywhere
@pytest.mark.parametrize(
    "x",
    [torch.tensor(1.0), torch.zeros(0, 3, 8, 8), torch.zeros(2, 0), (torch.zeros(2, 3), torch.zeros(3, 3))],
    ids=["scalar", "no rows", "no features", "different rows"],
)
def test_inputs_without_a_common_batch(entry, x):
    with pytest.raises(InvalidInputError, match=r"Expected `inputs` of shape \(N, \.\.\.\) with one batch size N >= 1"):
        call(entry, x)


def test_a_list_that_belongs_to_no_example_is_not_cut_by_rows():
    """Captum passes the list on unchanged, even if it has an item for each row."""

    def weighted(inputs, weights):
        return inputs.flatten(1) * sum(weights)

    explainer = SparsifiedSmoothGrad(Saliency(weighted), tau=0.1)
    sample = functools.partial(explainer.sample, nt_samples=4, stdevs=0.1, target=0, seed=0)
    assert len(sample(torch.rand(2, 8), additional_forward_args=[1.0, 3.0])) == 2


@everywhere
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32, torch.int64, torch.bool])
def test_integer_images(entry, dtype):
    with pytest.raises(
        CertificationError,
        match=r"Expected floating point inputs where `stdevs` > 0, got torch\..*; convert images to floats in \[0, 1\]",
    ):
        call(entry, torch.zeros(1, 3, 8, 8, dtype=dtype))


@everywhere
def test_inference_mode(entry):
    with torch.inference_mode():
        with pytest.raises(InvalidInputError, match=r"inside torch\.inference_mode"):
            call(entry)
        made_inside = torch.zeros(1, 3, 8, 8)
    with pytest.raises(InvalidInputError, match=r"outside torch\.inference_mode\(\), got inference tensors"):
        call(entry, made_inside)


# -- arguments of the wrapped method -------------------------------------------------------------------------


@everywhere
def test_nt_type(entry):
    with pytest.warns(
        UserWarning, match=r"`nt_type`='smoothgrad' is not used: .* NoiseTunnel averages the attributions"
    ):
        drop_in = call(entry, nt_type="smoothgrad", seed=3)
    if entry == "attribute":
        assert torch.equal(drop_in, call(entry, seed=3))
    for combined in ("smoothgrad_sq", "vargrad", "other"):
        with pytest.raises(InvalidInputError, match=rf"Expected no `nt_type`, got '{combined}': the class decides"):
            call(entry, nt_type=combined)
    with pytest.raises(InvalidInputError, match=r"Expected each argument once|Expected no `nt_type`"):
        call(entry, attribution_kwargs={"target": 1})


@everywhere
@pytest.mark.parametrize("target", ["max", "", "ARGMAX"])
def test_target(entry, target):
    with pytest.raises(InvalidInputError, match=r"Expected `target` to be a Captum target or 'argmax', got "):
        call(entry, target=target)


@pytest.mark.parametrize("method", [Saliency, IntegratedGradients])
@pytest.mark.parametrize("entry", ["attribute", "sample"])
def test_argmax_without_classes(method, entry):
    for model, shape in (
        (lambda x: x.flatten(1).sum(1), r"\(\d+,\)"),
        (lambda x: x.flatten(1)[:, :6].reshape(-1, 2, 3), r"\(\d+, 2, 3\)"),
    ):
        with pytest.raises(InvalidInputError, match=rf"of shape \(N, classes\) for `target`='argmax', got {shape}"):
            call(entry, method=method(model), target="argmax")


@everywhere
@pytest.mark.parametrize("groups", ["pixels", "channel", ""])
def test_named_groups(entry, groups):
    with pytest.raises(InvalidInputError, match="Expected `groups` to be None, 'channels', 'patches:S' with"):
        call(entry, groups=groups)


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        (torch.zeros(1, 3, 8, 8), "of an integer dtype, got torch.float32"),
        (torch.zeros(1, 3, 8, 8, dtype=torch.bool), "of an integer dtype, got torch.bool"),
        (torch.zeros(3, 8, 8, dtype=torch.int64), r"of shape \(1 or 2, 3, 8, 8\), got \(3, 8, 8\)"),
        (torch.zeros(1, 3, 8, 7, dtype=torch.int64), r"of shape \(1 or 2, 3, 8, 8\), got \(1, 3, 8, 7\)"),
        (torch.zeros(3, 3, 8, 8, dtype=torch.int64), r"of shape \(1 or 2, 3, 8, 8\), got \(3, 3, 8, 8\)"),
        ((torch.zeros(1, 3, 8, 8, dtype=torch.int64),) * 2, "with 1 masks, one for each map, got 2"),
        (7, "to be None, 'channels', an integer tensor or a tuple of them, got 7"),
        (
            torch.stack([torch.zeros(3, 8, 8), torch.arange(192).reshape(3, 8, 8)]).long(),
            "with the same number of groups for every example, got 1 to 192",
        ),
    ],
)
@pytest.mark.parametrize("entry", ["attribute", "sample", "sample_many"])
def test_group_masks(groups, message, entry):
    with pytest.raises(InvalidInputError, match="Expected `groups` " + message):
        call(entry, groups=groups)


def test_channels_need_channels():
    with pytest.raises(InvalidInputError, match=r"Expected maps of shape \(N, C, \.\.\.\) .* got \(N, 6\)"):
        explainer(Saliency(GateNet((6,)))).attribute(torch.rand(1, 6), target=1, groups="channels")


def test_deltas_of_methods_without_and_in_samples():
    with pytest.raises(InvalidInputError, match="`return_convergence_delta` only for methods that have a delta"):
        call("attribute", return_convergence_delta=True)
    for entry in ("sample", "stream", "sample_many"):
        with pytest.raises(InvalidInputError, match="Expected no `return_convergence_delta` here, got True"):
            list(call(entry, method=IntegratedGradients(cnn()), return_convergence_delta=True))


# -- what no certificate could come of -----------------------------------------------------------------------


def consume(entry, **settings):
    result = call(entry, **settings)
    return list(result) if entry == "stream" else result


certifying = pytest.mark.parametrize("entry", ["sample", "stream", "sample_many"])


@certifying
@pytest.mark.parametrize("stdevs", [0, 0.0])
def test_no_noise(entry, stdevs):
    with pytest.raises(CertificationError, match=r"Expected `stdevs` > 0 for at least one input, got no noise\."):
        consume(entry, stdevs=stdevs)


class Faulty(nn.Module):
    """Model whose gradient is not finite where a noisy input is large."""

    def __init__(self, wrong):
        super().__init__()
        self.wrong = wrong

    def forward(self, x):
        slopes = torch.where(x.detach() > 0.9, self.wrong, 1.0)
        return (x * slopes).flatten(1).sum(1, keepdim=True)


@pytest.mark.parametrize("entry", ["attribute", "sample", "stream", "sample_many"])
@pytest.mark.parametrize("wrong", [NAN, INF, -INF])
def test_attributions_that_are_not_finite(entry, wrong):
    x = torch.full((2, 3, 4, 4), 0.5)
    where = r"in draws \d+ to \d+" if entry == "attribute" else "in the probe draw"
    with pytest.raises(CertificationError, match=rf"Expected finite attributions, got NaN or infinity {where}"):
        consume(entry, x=x, method=Saliency(Faulty(wrong)), target=0, stdevs=0.3, nt_samples=40, seed=0)
    with pytest.raises(CertificationError, match=r"Expected finite attributions, got NaN or infinity"):
        consume(entry, x=x + 0.5, method=Saliency(Faulty(wrong)), target=0, stdevs=0.01)


def test_a_single_draw_with_nan_is_refused():
    x = torch.full((1, 1, 2, 2), 0.5)
    with pytest.raises(CertificationError, match="in draws"):
        consume("sample", x=x, method=Saliency(Faulty(NAN)), target=0, stdevs=0.12, nt_samples=3000, seed=0)


class Random(nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3), layer, nn.ReLU(), nn.Flatten(), nn.Linear(144, 3)).double()

    def forward(self, x):
        return self.body(x)


LAYERS = {"BatchNorm2d": lambda: nn.BatchNorm2d(4), "Dropout": nn.Dropout, "Dropout2d": nn.Dropout2d}
IN_TRAINING = {
    "module": lambda model: Saliency(model),
    "bound method": lambda model: Saliency(model.forward),
    "function": lambda model: Saliency(lambda x: model(x)),
    "wrapped method": lambda model: NoiseTunnel(Saliency(model)),
    "DeepLift": lambda model: DeepLift(model),
    "Captum gradients": lambda model: IntegratedGradients(model),
}


@certifying
@pytest.mark.parametrize("layer", list(LAYERS))
@pytest.mark.parametrize("reached", list(IN_TRAINING))
def test_random_layers_in_training_mode(entry, layer, reached):
    model = Random(LAYERS[layer]()).train()
    with pytest.raises(
        CertificationError,
        match=rf"Expected the model in evaluation mode, got {layer} 'body\.1' in training mode; call model\.eval\(\)",
    ):
        consume(entry, method=IN_TRAINING[reached](model))


def test_a_single_layer_in_training_mode_is_refused():
    model = Random(nn.Dropout()).eval()
    consume("sample", method=Saliency(model))
    model.body[1].train()
    with pytest.raises(CertificationError, match=r"got Dropout 'body\.1' in training mode"):
        consume("sample", method=Saliency(model))


def test_attribute_accepts_training_mode():
    assert call("attribute", method=Saliency(Random(nn.Dropout()).train())).shape == X.shape


@certifying
def test_methods_that_permute_rows(entry):
    with pytest.raises(CertificationError, match="got FeaturePermutation, which permutes features between the rows"):
        consume(entry, method=FeaturePermutation(cnn()))


class Centred(nn.Module):
    """Model whose rows depend on each other, as with batch norm."""

    def forward(self, x):
        centred = x - x.mean(dim=0, keepdim=True)
        return (centred.flatten(1) ** 3).sum(1, keepdim=True)


@certifying
def test_models_whose_rows_depend_on_each_other(entry):
    with pytest.raises(
        CertificationError,
        match=r"that depend on one input alone, got (\d+) of \1 rows whose maps change with the other",
    ):
        consume(entry, method=Saliency(Centred()), target=0)
    consume(entry, method=Saliency(Centred()), target=0, check_rows=False)


@certifying
def test_inputs_that_the_model_does_not_take(entry):
    """PyTorch's message about a wrong size or a missing batch dimension does not say what to change."""
    for wrong in (X[..., :5], X[0]):
        message = (
            rf"takes `inputs` of shape {re.escape(str(tuple(wrong.shape)))}, whose first dimension is the batch, and"
        )
        with pytest.raises(CertificationError, match=message) as caught:
            consume(entry, x=wrong)
        assert type(caught.value.__cause__) in (RuntimeError, ValueError)


@certifying
def test_a_baseline_that_cannot_be_certified(entry):
    uniform = UniformGradient(Saliency(cnn()))
    with pytest.raises(CertificationError, match="UniformGradient"):
        list(ENTRIES[entry](uniform, X, nt_samples=4, stdevs=0.1, target=1))


def test_methods_that_return_no_batch():
    class Total(Saliency):
        def attribute(self, inputs, target=None):
            return super().attribute(inputs, target=target).sum(dim=0)

    class Text(Saliency):
        def attribute(self, inputs, target=None):
            return "a heatmap"

    for entry in ("attribute", "sample"):
        with pytest.raises(
            InvalidInputError, match=r"whose first dimension is the batch of \d+ rows, got shape \(3, 8, 8\)"
        ):
            call(entry, method=Total(cnn()))
        with pytest.raises(InvalidInputError, match="to return a tensor or a tuple of tensors, got str"):
            call(entry, method=Text(cnn()))


def test_scaled_maps_raise_the_same_errors_as_sparsified_ones():
    with pytest.raises(CertificationError, match="got no noise"):
        ScaledSmoothGrad(Saliency(cnn())).sample(X, stdevs=0, target=1)


@certifying
def test_inputs_that_are_not_finite(entry):
    """ReLUs turn NaN into maps that look certain."""
    for bad in (NAN, INF):
        wrong = X.clone()
        wrong[0, 0, 0, 0] = bad
        with pytest.raises(InvalidInputError, match="Expected finite `inputs`, got NaN or infinity"):
            consume(entry, x=wrong)


@certifying
def test_noise_that_is_tiny_beside_the_inputs(entry):
    with pytest.warns(UserWarning, match=r"Inputs from .* to 25\d.* under noise of standard deviation 0.1"):
        consume(entry, x=255 * X / X.max())
    consume(entry, x=255 * X / X.max(), stdevs=25.0)


@certifying
def test_a_target_that_the_model_does_not_have(entry):
    with pytest.raises(
        CertificationError, match=r"has the `target`, but it raised IndexError: index 11 is out of bounds"
    ):
        consume(entry, target=11)
    with pytest.raises(
        CertificationError, match=r"has the `target`, but it raised AssertionError: Target not provided"
    ):
        consume(entry, target=None)
