"""Positive and negative attributions: their parts, certificates, attacks, and messages."""

import json
from pathlib import Path

import pytest
import torch
from captum.attr import InputXGradient, IntegratedGradients, Saliency
from networks import cnn, images
from torch.testing import assert_close

from captum_certified import (
    Certifier,
    InterpretationAttack,
    InvalidInputError,
    NormalizedSmoothGrad,
    RelaxedSparsifiedSmoothGrad,
    ScaledQuadraticSmoothGrad,
    ScaledSmoothGrad,
    SparsifiedSmoothGrad,
    UniformGradient,
    pilot,
    sample_many,
)
from captum_certified.cli import main
from captum_certified.robust import challenge_certificate, differentiable

CLASSES = (
    *(SparsifiedSmoothGrad, RelaxedSparsifiedSmoothGrad, ScaledSmoothGrad),
    *(ScaledQuadraticSmoothGrad, NormalizedSmoothGrad, UniformGradient),
)
SETTINGS = {"nt_samples": 32, "stdevs": 0.2, "target": 1, "seed": 0}


@pytest.fixture(scope="module")
def model():
    return cnn()


@pytest.mark.parametrize("groups", [None, "channels", "patches:2"])
def test_positive_and_negative_parts_sum_to_the_magnitudes(model, groups):
    x = images(3)
    positive, negative, both = (
        UniformGradient(InputXGradient(model), sign=sign).attribute(x, **SETTINGS, groups=groups)
        for sign in ("positive", "negative", "both")
    )
    assert float(positive.max()) > 0
    assert float(negative.max()) > 0
    assert_close(positive + negative, both)


def test_the_parts_are_those_of_captum_at_the_clean_input(model):
    x = images(2)
    plain = InputXGradient(model).attribute(x.clone().requires_grad_(), target=1).detach().flatten(1)
    for sign, part in (("positive", plain.clamp_min(0)), ("negative", (-plain).clamp_min(0)), ("both", plain.abs())):
        smoothed = SparsifiedSmoothGrad(InputXGradient(model), tau=0.2, sign=sign).sample(x, **SETTINGS)
        assert_close(smoothed.plain, part)
        assert smoothed.setup.get("sign", "both") == sign
        assert (smoothed.counts > 0).any()


def test_features_without_the_sign_are_never_selected():
    """A linear model has the same signs at every input."""
    weight = torch.tensor([[3.0, -2.0, 1.0, -4.0]])
    linear = torch.nn.Linear(4, 1, bias=False)
    linear.weight.data = weight
    gradients = Saliency(linear)
    chosen = {"abs": False, "nt_samples": 8, "stdevs": 0.1, "target": 0}
    maps = {
        sign: SparsifiedSmoothGrad(gradients, tau=0.75, sign=sign).attribute(torch.zeros(1, 4), **chosen)[0].tolist()
        for sign in ("positive", "negative", "both")
    }
    assert maps == {"positive": [1.0, 0.0, 1.0, 0.0], "negative": [0.0, 1.0, 0.0, 1.0], "both": [1.0, 1.0, 0.0, 1.0]}


@pytest.mark.parametrize("kind", CLASSES)
def test_every_class_takes_a_sign_and_refuses_others(model, kind):
    assert kind(InputXGradient(model), sign="negative").sign == "negative"
    assert kind(InputXGradient(model)).sign == "both"
    with pytest.raises(InvalidInputError, match="Expected `sign` to be 'both', 'positive' or 'negative', got 'plus'"):
        kind(InputXGradient(model), sign="plus")


def test_maps_of_several_signs_are_neither_merged_nor_sampled_together(model):
    method = InputXGradient(model)
    one, two = (SparsifiedSmoothGrad(method, tau=0.2, sign=sign) for sign in ("positive", "negative"))
    with pytest.raises(InvalidInputError, match="Expected `explainers` of one `sign`, because they share draws"):
        sample_many([one, two], images(1), **SETTINGS)
    with pytest.raises(InvalidInputError, match="sign = 'positive' and 'negative'"):
        one.sample(images(1), **SETTINGS).merge(two.sample(images(1), **{**SETTINGS, "seed": 1}))


def test_a_pilot_may_try_both_signs(model):
    method = InputXGradient(model)
    table = pilot(
        [SparsifiedSmoothGrad(method, tau=0.2, sign=sign) for sign in ("positive", "negative")],
        images(1), k=0.2, radius=0.01, nt_samples=256, pilot_samples=256, stdevs=0.1, target=1, seed=0,
    )  # fmt: skip
    assert len(table.rows) == 2


def test_signed_maps_are_certified_and_attacked(model):
    x = images(2)
    explainer = SparsifiedSmoothGrad(InputXGradient(model), tau=0.2, sign="positive")
    certificate = Certifier(explainer).certify(
        x, k=0.2, radius=0.02, nt_samples=512, stdevs=0.2, target=1, seed=0, reference="plain"
    )
    challenge = challenge_certificate(certificate, explainer, x, target=1, seed=1, nt_samples=256, step_num=2)
    assert bool((challenge.overlap >= certificate.overlap).all())
    other = SparsifiedSmoothGrad(InputXGradient(model), tau=0.2)
    with pytest.raises(InvalidInputError, match="got another sign: 'both' for 'positive'"):
        challenge_certificate(certificate, other, x, target=1, seed=1, nt_samples=32, step_num=1)
    assert (
        InterpretationAttack(model, explainer)
        .attack(
            x,
            0.1,
            k=0.2,
            step_num=1,
            n_restarts=1,
            target=1,
            seed=0,
            attribution_kwargs={"nt_samples": 4, "stdevs": 0.2},
        )
        .succeeded.all()
    )


def test_a_differentiated_map_has_the_sign(model):
    explainer = ScaledSmoothGrad(InputXGradient(model), sign="negative")
    x = images(1).requires_grad_()
    settings = {"nt_samples": 4, "stdevs": 0.2, "target": 1, "seed": 0}
    with differentiable(explainer) as attribute:
        assert_close(attribute(x, **settings).detach(), explainer.attribute(x.detach(), **settings).to(x.dtype))


def test_integrated_gradients_of_one_sign_are_probed_and_certified(model):
    explainer = SparsifiedSmoothGrad(IntegratedGradients(model), tau=0.2, sign="negative")
    assert explainer.sample(images(1), **SETTINGS, n_steps=4).setup["probed"]


def test_the_command_line_takes_a_sign(folder):
    words = ["--model", f"{folder}:made", "--model-arg", "12", "--size", "12", "--samples", "16", "--seed", "1", "-q"]
    words += ["--method", "InputXGradient", "--groups", "none"]
    assert main(["certify", "one.png", *words, "--sign", "negative", "--json", "signed.json"]) == 0
    assert json.loads(Path("signed.json").read_text())[0]["setup"]["sign"] == "negative"
