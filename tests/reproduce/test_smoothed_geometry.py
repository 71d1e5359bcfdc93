"""The claims of Wang et al. (2020) hold in the stored records of the experiments."""

import json
from pathlib import Path

import pytest
import torch

from captum_certified.training import IGNormLoss, SmoothSurfaceLoss, mnist_network

RESULTS = Path(__file__).parents[2] / "docs" / "results"
PENALTIES = ("spectral norm", "curvature", "smooth surface")


def summary(name):
    return json.loads((RESULTS / f"{name}.json").read_text())["summary"]


@pytest.mark.parametrize("loss", PENALTIES)
def test_every_penalty_lowers_the_top_eigenvalue_on_mnist(loss):
    networks = summary("training")
    assert networks[loss]["eigenvalue"]["highest"] < networks["plain"]["eigenvalue"]["lowest"]


@pytest.mark.parametrize("loss", PENALTIES)
def test_an_attack_leaves_more_of_the_maps_of_smoother_networks_on_mnist(loss):
    """Every network with a penalty keeps more than every plain one, and the flattest two keep most."""
    networks = summary("training")
    assert networks[loss]["overlap"]["lowest"] > networks["plain"]["overlap"]["highest"]
    assert networks[loss]["intersection"]["change"] > 0
    by_eigenvalue = sorted(PENALTIES, key=lambda name: networks[name]["eigenvalue"]["mean"])
    assert networks[by_eigenvalue[-1]]["overlap"]["mean"] < min(
        networks[name]["overlap"]["mean"] for name in by_eigenvalue[:2]
    )


@pytest.mark.parametrize("loss", PENALTIES)
def test_every_penalty_costs_accuracy_on_mnist(loss):
    assert -0.03 < summary("training")[loss]["accuracy"]["change"] < 0


def test_an_attack_on_another_network_does_less_than_one_on_the_network_itself_and_more_than_noise():
    overlap = summary("transfer")["overlap"]
    noise = overlap.pop("random noise")
    assert set(overlap) == set(noise)
    for explained, under_noise in noise.items():
        others = [of[explained] for attacked, of in overlap.items() if attacked != explained]
        assert overlap[explained][explained] < min(others) <= max(others) < under_noise


def test_a_map_averaged_over_noise_is_harder_to_attack_than_the_gradient():
    """The network is the same, and was not trained for this."""
    worst = summary("robustness")["worst"]
    for name in ("SmoothGrad", "mean magnitude"):
        assert all(worst[name][radius] > worst["gradient"][radius] + 0.3 for radius in ("0.5", "1"))


def rows_through(loss):
    """The number of inputs that a network computes for the loss of one input."""
    model, counted = mnist_network(seed=0), []
    model.register_forward_hook(lambda module, inputs, output: counted.append(len(output)))
    loss(model, torch.rand(4, 1, 28, 28, generator=torch.Generator().manual_seed(0)), torch.arange(4))
    return sum(counted) / 4


def test_the_smooth_surface_needs_far_fewer_passes_than_attribution_regularization():
    """Two forward passes for each image, and a backward pass for each of the ten classes."""
    assert rows_through(SmoothSurfaceLoss(weight=1.0)) == 2
    assert rows_through(IGNormLoss(radius=0.1, weight=1.0, n_steps=8, search_n_steps=3, step_num=4, seed=0)) > 20
