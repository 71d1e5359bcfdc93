"""At small scale: the attack finds at least the change of the map that sampling finds, and both stay in the ball."""

import pytest
import torch
from captum.attr import Saliency
from torch.testing import assert_close

from captum_certified.demo import load_digits, train_classifier
from captum_certified.reproduce.local_robustness import AttackSteps, robustness_of, sensitivities

EPSILON = 0.1
ATTACKS = AttackSteps(steps=4, restarts=1, sensitivity_steps=8, sensitivity_restarts=8, samples=100)


@pytest.fixture(scope="module")
def trained():
    digits = load_digits()
    return train_classifier(digits, sigma=0.1, seed=0), digits.test_images[:12]


def test_no_sample_changes_a_map_more_than_the_attack_does(trained):
    """Uniform samples are far from the worst point in 64 dimensions. The mean change by the attack is twice theirs."""
    found = sensitivities(*trained, EPSILON, ATTACKS)
    assert (found.attacked >= found.sampled).all()
    assert float(found.attacked.mean()) > 1.3 * float(found.sampled.mean())
    assert float(found.sampled.mean()) > float(found.sampled_few.mean()) > 0


def test_the_relative_change_and_the_lipschitz_quotient_are_those_of_one_point(trained):
    """Within the L∞ ball of 64 pixels the L2 distance is at most 8 ε, so the quotient is at least the change by 8 ε."""
    model, images = trained
    found = sensitivities(model, images, EPSILON, ATTACKS)
    targets = model(images).argmax(dim=1)
    norms = Saliency(model).attribute(images.clone().requires_grad_(), target=targets).flatten(1).norm(dim=1)
    assert (found.lipschitz >= found.attacked * norms / (8 * EPSILON) * (1 - 1e-5)).all()


def test_the_row_has_means_and_the_ratio_of_each_image(trained):
    found, row = sensitivities(*trained, EPSILON, ATTACKS), robustness_of(*trained, EPSILON, ATTACKS)
    ratios = found.attacked / found.sampled
    assert row["attacked"] == pytest.approx(float(found.attacked.mean()))
    assert row["sampled"] == pytest.approx(float(found.sampled.mean()))
    assert row["lowest_ratio"] == pytest.approx(float(ratios.min()))
    assert row["ratio"] == pytest.approx(float(ratios.quantile(0.5)))
    assert 0 < row["overlap"] < 1
    assert 0 < row["transferred"] < 1


def test_a_radius_of_zero_changes_nothing(trained):
    model, images = trained
    found = sensitivities(model, images, 0.0, ATTACKS)
    assert_close(found.attacked, torch.zeros(12))
    assert_close(found.sampled, torch.zeros(12))
