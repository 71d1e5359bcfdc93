"""The claims of Wang et al. (2020) that small networks on small digits show in seconds."""

import copy
import functools

import pytest
import torch
from captum.attr import Saliency
from torch import nn
from torch.testing import assert_close
from torch.utils.data import TensorDataset

from captum_certified.demo import load_digits
from captum_certified.randomness import initialised
from captum_certified.reproduce.local_robustness import AttackSteps, robustness_of, sensitivities
from captum_certified.reproduce.mnist_networks import accuracy, plain_loss
from captum_certified.training import (
    CurvatureLoss,
    SmoothSurfaceLoss,
    SpectralNormLoss,
    fit,
    top_hessian_eigenvalue,
)

EPSILON = 0.1
ATTACKS = AttackSteps(steps=4, restarts=1, sensitivity_steps=8, sensitivity_restarts=4, samples=50)
PENALTIES = {
    "spectral norm": SpectralNormLoss(weight=0.1, seed=0),
    "curvature": CurvatureLoss(weight=1.0, step=0.3, seed=0),
    "smooth surface": SmoothSurfaceLoss(weight=3.0, seed=0),
}
DIGITS = load_digits()
IMAGES = DIGITS.test_images[:24]


def untrained():
    return nn.Sequential(
        *(nn.Conv2d(1, 8, 3), nn.Softplus(), nn.Flatten()),
        *(nn.Linear(288, 32), nn.Softplus(), nn.Linear(32, 10)),
    )


def train(model, loss, *, epochs, rate):
    optimizer = torch.optim.Adam(model.parameters(), lr=rate)
    dataset = TensorDataset(DIGITS.train_images, DIGITS.train_labels)
    fit(model, dataset, loss, optimizer=optimizer, epochs=epochs, batch_size=64, seed=0)
    return model


@functools.cache
def network(name):
    """Train a network plainly, and then as the experiment does: by a loss, from the same plain network."""
    if name == "first":
        return train(initialised(untrained, 0), plain_loss(0), epochs=6, rate=5e-3)
    model = copy.deepcopy(network("first"))
    return train(model, PENALTIES.get(name, plain_loss(0)), epochs=4, rate=2e-3).eval().requires_grad_(False)


@functools.cache
def measured(name):
    return robustness_of(network(name), IMAGES, EPSILON, ATTACKS)


def eigenvalue(name):
    return float(top_hessian_eigenvalue(network(name), IMAGES).detach().mean())


@pytest.mark.parametrize("name", PENALTIES)
def test_every_penalty_lowers_the_top_eigenvalue(name):
    assert eigenvalue(name) < 0.85 * eigenvalue("plain")


@pytest.mark.parametrize("name", PENALTIES)
def test_the_attack_moves_the_maps_of_smoother_networks_less(name):
    """Local robustness as the paper defines it: the change of the map divided by that of the image."""
    assert measured(name)["lipschitz"] < 0.5 * measured("plain")["lipschitz"]


@pytest.mark.parametrize("name", PENALTIES)
def test_the_attack_moves_integrated_gradients_of_smoother_networks_about_as_much(name):
    """The attack on saliency did not see this map."""
    assert measured(name)["transferred"] == pytest.approx(measured("plain")["transferred"], abs=0.05)
    assert measured(name)["transferred"] < 0.99


@pytest.mark.parametrize("name", PENALTIES)
def test_a_penalty_costs_accuracy(name):
    of_test_images = functools.partial(accuracy, images=DIGITS.test_images, classes=DIGITS.test_labels)
    assert 0.85 < of_test_images(network(name)) < of_test_images(network("plain"))


@pytest.mark.parametrize("name", ["plain", *PENALTIES])
def test_no_sample_changes_a_map_more_than_the_attack_does(name):
    """The ratio is the lowest of all images. Ten samples find less than fifty."""
    row = measured(name)
    assert row["lowest_ratio"] >= 1
    assert row["attacked"] > 2 * row["sampled"]
    assert row["sampled"] > row["sampled_few"] > 0


def test_the_relative_change_and_the_lipschitz_quotient_are_those_of_one_point():
    """Within the L∞ ball of 64 pixels the L2 distance is at most 8 ε, so the quotient is at least the change by 8 ε."""
    model = network("plain")
    found = sensitivities(model, IMAGES, EPSILON, ATTACKS)
    targets = model(IMAGES).argmax(dim=1)
    norms = Saliency(model).attribute(IMAGES.clone().requires_grad_(), target=targets).flatten(1).norm(dim=1)
    assert (found.lipschitz >= found.attacked * norms / (8 * EPSILON) * (1 - 1e-5)).all()


def test_the_row_has_means_and_the_ratio_of_each_image():
    found, row = sensitivities(network("plain"), IMAGES, EPSILON, ATTACKS), measured("plain")
    ratios = found.attacked / found.sampled
    for name in ("sampled_few", "sampled", "attacked", "lipschitz"):
        assert row[name] == pytest.approx(float(getattr(found, name).mean()))
    assert row["lowest_ratio"] == pytest.approx(float(ratios.min()))
    assert row["ratio"] == pytest.approx(float(ratios.quantile(0.5)))
    assert row["succeeded"] == 1


def test_a_radius_of_zero_changes_nothing():
    found = sensitivities(network("plain"), IMAGES, 0.0, ATTACKS)
    assert_close(found.attacked, torch.zeros(24))
    assert_close(found.sampled, torch.zeros(24))
