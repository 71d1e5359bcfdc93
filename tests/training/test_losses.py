"""What all losses have in common: a scalar with a graph, repeatable calls, unchanged networks and generators."""

import copy
import random

import numpy as np
import pytest
import torch
from torch import nn

from captum_certified import training
from captum_certified.training import (
    AdversarialLoss,
    CurvatureLoss,
    DDNLoss,
    DenoisingLoss,
    GaussianAugmentationLoss,
    IGNormLoss,
    IGSumNormLoss,
    IGWassersteinLoss,
    SaliencyAdversarialLoss,
    SmoothSurfaceLoss,
    SpectralNormLoss,
    TrainingLoss,
)

LOSSES = {
    "adversarial L2": lambda: AdversarialLoss(radius=0.5, norm="L2", step_num=3, seed=3),
    "adversarial Linf": lambda: AdversarialLoss(radius=0.1, step_num=3, seed=3),
    "curvature": lambda: CurvatureLoss(step=0.1, seed=3),
    "ddn": lambda: DDNLoss(max_norm=0.5, step_num=5, seed=3),
    "gaussian": lambda: GaussianAugmentationLoss(stdev=0.2, nt_samples=2, seed=3),
    "ig norm": lambda: IGNormLoss(radius=0.1, n_steps=4, search_n_steps=2, step_num=2, seed=3),
    "ig sum norm": lambda: IGSumNormLoss(radius=0.1, n_steps=4, search_n_steps=2, step_num=2, seed=3),
    "ig wasserstein": lambda: IGWassersteinLoss(cost=1.0, n_steps=4, search_n_steps=2, step_num=2, seed=3),
    "saliency": lambda: SaliencyAdversarialLoss(radius=0.5, step_num=2, seed=3),
    "smooth surface": lambda: SmoothSurfaceLoss(seed=3),
    "spectral norm": lambda: SpectralNormLoss(seed=3),
}
RANDOM = {"adversarial L2", "adversarial Linf", "gaussian", "ig norm", "ig sum norm", "ig wasserstein", "saliency"}
WITHOUT_NOISE = {
    "adversarial": lambda: AdversarialLoss(radius=0.0),
    "curvature": lambda: CurvatureLoss(weight=0.0),
    "gaussian": lambda: GaussianAugmentationLoss(stdev=0.0),
    "ig norm": lambda: IGNormLoss(radius=0.0),
    "ig sum norm": lambda: IGSumNormLoss(radius=0.0),
    "ig wasserstein": lambda: IGWassersteinLoss(cost=1.0, weight=0.0),
    "saliency": lambda: SaliencyAdversarialLoss(radius=0.0),
    "smooth surface": lambda: SmoothSurfaceLoss(weight=0.0),
    "spectral norm": lambda: SpectralNormLoss(weight=0.0),
}


def network(*, norm=False, seed=0):
    torch.manual_seed(seed)
    middle = [nn.BatchNorm2d(3), nn.Dropout(0.5)] if norm else []
    return nn.Sequential(nn.Conv2d(2, 3, 2), *middle, nn.Softplus(), nn.Flatten(), nn.Linear(27, 4))


def batch(n=6):
    generator = torch.Generator().manual_seed(1)
    return torch.rand(n, 2, 4, 4, generator=generator), torch.arange(n) % 4


def test_every_loss_of_a_classifier_is_tested_here():
    classes = {
        value
        for value in vars(training).values()
        if isinstance(value, type) and issubclass(value, TrainingLoss) and value is not TrainingLoss
    } - {DenoisingLoss}
    assert {type(make()) for make in LOSSES.values()} == classes


@pytest.mark.parametrize("name", LOSSES)
def test_every_parameter_gets_a_gradient_from_a_scalar(name):
    model = network()
    value = LOSSES[name]()(model, *batch())
    assert value.shape == ()
    assert bool(torch.isfinite(value))
    value.backward()
    assert all(bool(torch.isfinite(p.grad).all()) and bool(p.grad.any()) for p in model.parameters())


@pytest.mark.parametrize("name", LOSSES)
def test_calls_are_repeatable_and_continue_from_a_state(name):
    model, arguments = network(), batch()
    loss, again = LOSSES[name](), LOSSES[name]()
    first, second = loss(model, *arguments), loss(model, *arguments)
    torch.testing.assert_close(again(model, *arguments), first, rtol=0, atol=0)
    assert (first.item() != second.item()) == (name in RANDOM)
    resumed = LOSSES[name]()
    resumed.load_state_dict({"seed": 3, "calls": 1})
    torch.testing.assert_close(resumed(model, *arguments), second, rtol=0, atol=0)
    assert resumed.state_dict() == loss.state_dict() == {"seed": 3, "calls": 2}


@pytest.mark.parametrize("name", LOSSES)
def test_inputs_weights_modes_and_generators_are_unchanged(name):
    model, (inputs, targets) = network(norm=True).train(), batch()
    model[2].eval()
    before, kept = copy.deepcopy(model.state_dict()), inputs.clone()
    states = random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002
    with torch.no_grad():
        assert LOSSES[name]()(model, inputs, targets).requires_grad
    assert (random.getstate(), np.random.get_state()[1].tolist()) == states  # noqa: NPY002
    assert [module.training for module in model] == [True, True, False, True, True, True]
    assert all(p.grad is None for p in model.parameters())
    for key, value in model.state_dict().items():
        if "running" not in key and "tracked" not in key:
            torch.testing.assert_close(value, before[key], rtol=0, atol=0)
    torch.testing.assert_close(inputs, kept, rtol=0, atol=0)
    assert not inputs.requires_grad


@pytest.mark.parametrize("name", LOSSES)
def test_only_the_cross_entropy_runs_in_training_mode(name):
    """Searches and penalties use the network in evaluation mode and do not update batch norms."""
    model, modes = network(norm=True).train(), []
    model[1].register_forward_hook(lambda module, *_: modes.append(module.training))
    LOSSES[name]()(model, *batch())
    assert modes.count(True) == 1


def test_a_penalty_is_the_same_in_training_mode():
    """A batch norm in training mode undoes most changes of its input, so the eigenvalue would nearly vanish."""
    model, (inputs, targets) = network(norm=True), batch()
    model.train()
    for _ in range(50):
        model(inputs)
    for name in ("smooth surface", "curvature", "ig norm", "ig wasserstein", "saliency"):
        penalties = []
        for mode in (True, False):
            torch.manual_seed(0)
            entropy = nn.functional.cross_entropy(copy.deepcopy(model).train(mode)(inputs), targets)
            torch.manual_seed(0)
            trained = copy.deepcopy(model).train(mode)
            penalties.append(LOSSES[name]()(trained, inputs, targets) - entropy)
        torch.testing.assert_close(penalties[0], penalties[1], rtol=1e-4, atol=1e-6)
        assert float(penalties[1].detach()) > 1e-6


@pytest.mark.parametrize(
    "name", ["adversarial L2", "adversarial Linf", "ddn", "ig norm", "ig sum norm", "ig wasserstein", "saliency"]
)
def test_inputs_outside_of_the_box_are_refused(name):
    loss = LOSSES[name]()
    loss.lower_bound, loss.upper_bound = 0.0, 1.0
    model, (inputs, targets) = network(), batch()
    with pytest.raises(ValueError, match=r"`inputs` in \[0, 1\], the bounds of the attack, got values from"):
        loss(model, inputs - 0.5, targets)


@pytest.mark.parametrize("name", ["smooth surface", "spectral norm"])
def test_half_precision_networks_are_decomposed_in_single_precision(name):
    model, (inputs, targets) = network().bfloat16(), batch()
    LOSSES[name]()(model, inputs.bfloat16(), targets).backward()
    assert bool(torch.isfinite(model[0].weight.grad).all())


@pytest.mark.parametrize("name", WITHOUT_NOISE)
def test_without_perturbation_or_weight_a_loss_is_the_cross_entropy(name):
    model, (inputs, targets) = network().double(), batch()
    plain = nn.functional.cross_entropy(model(inputs.double()), targets)
    torch.testing.assert_close(WITHOUT_NOISE[name]()(model, inputs.double(), targets), plain)


@pytest.mark.parametrize("name", LOSSES)
def test_bad_batches_are_refused(name):
    loss, model, (inputs, targets) = LOSSES[name](), network(), batch()
    with pytest.raises(
        ValueError, match=r"`inputs` to be a floating point tensor of shape \(N, ...\), got torch.int64"
    ):
        loss(model, inputs.long(), targets)
    with pytest.raises(ValueError, match=r"`inputs` to be .*, got torch.float32 of shape \(0, 2, 4, 4\)"):
        loss(model, inputs[:0], targets[:0])
    with pytest.raises(ValueError, match=r"`inputs` to be .*, got <class 'list'>"):
        loss(model, [1.0], targets)
    with pytest.raises(ValueError, match=r"`targets` to be int64 of shape \(6,\), got torch.int64 of shape \(5,\)"):
        loss(model, inputs, targets[:5])
    with pytest.raises(ValueError, match=r"`targets` to be int64 of shape \(6,\), got <class 'int'>"):
        loss(model, inputs, 3)
    with pytest.raises(ValueError, match=r"`model` to return logits of shape \(6, classes\), got \(6, 3, 3, 3\)"):
        AdversarialLoss(radius=0.1)(model[0], inputs, targets)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: AdversarialLoss(radius=-1.0), "`radius` to be a finite number >= 0, got -1.0"),
        (lambda: AdversarialLoss(radius=1.0, norm="L1"), "`norm` to be one of"),
        (lambda: AdversarialLoss(radius=1.0, step_num=0), "`step_num` to be an integer >= 1, got 0"),
        (lambda: AdversarialLoss(radius=1.0, step_size=0.0), "`step_size` to be a finite number > 0, got 0.0"),
        (lambda: AdversarialLoss(radius=1.0, lower_bound=1.0, upper_bound=0.0), "`lower_bound` < `upper_bound`"),
        (lambda: AdversarialLoss(radius=1.0, seed=-1), "`seed` to be an integer >= 0"),
        (lambda: CurvatureLoss(weight=-1.0), "`weight` to be a finite number >= 0"),
        (lambda: CurvatureLoss(step=0.0), "`step` to be a finite number > 0"),
        (lambda: DDNLoss(max_norm=0.0), "`max_norm` to be a finite number > 0"),
        (lambda: DDNLoss(max_norm=1.0, gamma=1.0), r"`gamma` in \(0, 1\), got 1.0"),
        (lambda: DDNLoss(max_norm=1.0, lower_bound=1.0, upper_bound=1.0), "`lower_bound` < `upper_bound`"),
        (lambda: GaussianAugmentationLoss(stdev=float("nan")), "`stdev` to be a finite number >= 0, got nan"),
        (lambda: IGNormLoss(radius=0.1, size="l2"), r"`size` to be one of \['l1', 'sum'\], got 'l2'"),
        (lambda: IGNormLoss(radius=0.1, n_steps=0), "`n_steps` to be an integer >= 1"),
        (lambda: IGSumNormLoss(radius=0.1, weight=-0.1), "`weight` to be a finite number >= 0"),
        (lambda: IGWassersteinLoss(cost=0.0), "`cost` to be a finite number > 0, got 0.0"),
        (lambda: IGWassersteinLoss(cost=1.0, norm="L1"), r"`norm` to be one of \['L2', 'Linf'\], got 'L1'"),
        (lambda: IGWassersteinLoss(cost=1.0, size="l2"), r"`size` to be one of \['l1', 'sum'\], got 'l2'"),
        (lambda: IGWassersteinLoss(cost=1.0, weight=-0.1), "`weight` to be a finite number >= 0"),
        (lambda: IGWassersteinLoss(cost=1.0, step_num=0), "`step_num` to be an integer >= 1, got 0"),
        (lambda: IGWassersteinLoss(cost=1.0, lower_bound=1.0, upper_bound=0.0), "`lower_bound` < `upper_bound`"),
        (lambda: SaliencyAdversarialLoss(radius=1.0, weight=-0.1), "`weight` to be a finite number >= 0"),
        (lambda: SaliencyAdversarialLoss(radius=1.0, k=0), "`k` to be a number of features from 1"),
        (lambda: SaliencyAdversarialLoss(radius=1.0, surrogate_beta=0.0), "`surrogate_beta` to be a finite number > 0"),
        (lambda: SaliencyAdversarialLoss(radius=1.0, upper_bound="a"), "`upper_bound` to be a number, got 'a'"),
        (lambda: SmoothSurfaceLoss(weight=-0.1), "`weight` to be a finite number >= 0"),
        (lambda: SpectralNormLoss(weight=-0.1), "`weight` to be a finite number >= 0"),
    ],
)
def test_bad_settings_are_refused_before_training(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_loss_without_seed_draws_a_fresh_one():
    assert AdversarialLoss(radius=0.1).seed != AdversarialLoss(radius=0.1).seed
