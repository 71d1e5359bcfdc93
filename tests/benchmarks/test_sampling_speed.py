"""Draws per second against the loop that a user would write and against NoiseTunnel.

Run alone: ``OMP_NUM_THREADS=1 pytest -m benchmark -n 0 -s tests/benchmarks``.
"""

import sys

import pytest
import torch
from captum.attr import NoiseTunnel, Saliency
from ratios import draws_for, speed
from torch import nn

from captum_certified import SparsifiedSmoothGrad

pytestmark = pytest.mark.benchmark

PASS = 8
SIGMA = 0.2


def convolutional_network(request):
    """Three convolutions of a 64 × 64 image, so small that bookkeeping weighs as much as gradients: reported only."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        body = nn.Sequential(
            nn.Conv2d(3, 16, 3, stride=2, padding=1), nn.ReLU(),
            nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.ReLU(),
            nn.Conv2d(32, 32, 3, padding=1), nn.ReLU(),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10),
        )  # fmt: skip
    return body.eval().requires_grad_(False), torch.rand((1, 3, 64, 64), generator=torch.Generator().manual_seed(0))


def mobilenet(request):
    folder = request.getfixturevalue("shared_data")
    sys.path.insert(0, str(folder))
    from models import load

    sys.path.remove(str(folder))
    return load("mobilenet_v1_075"), torch.rand((1, 3, 224, 224), generator=torch.Generator().manual_seed(0))


NETWORKS = {"convolutional network": convolutional_network, "MobileNet v1": mobilenet}


@pytest.fixture(params=list(NETWORKS))
def network(request):
    return request.param, *NETWORKS[request.param](request)


def bare_loop(model, image, draws):
    """What a user would write: noise, gradient of the largest logit, magnitude, running sum."""
    total = torch.zeros_like(image[0])
    for _ in range(0, draws, PASS):
        noisy = (image + SIGMA * torch.randn(PASS, *image.shape[1:])).requires_grad_()
        largest = model(noisy).max(dim=1).values
        total += torch.autograd.grad(largest.sum(), noisy)[0].abs().sum(dim=0)
    return total / draws


def report(network, what, ratio, draws, *, goal=None):
    """Print a ratio with its interval, and whether the interval reaches the goal."""
    verdict = "" if goal is None else f", goal {goal}: {'reached' if ratio.high >= goal else 'not reached'}"
    print(f"\n{network}, {draws} draws a run, {what}: {ratio}{verdict}")


def test_the_control_is_one(network):
    name, model, image = network
    draws = draws_for(lambda n: bare_loop(model, image, n), step=PASS)
    ratio = speed(lambda: bare_loop(model, image, draws), lambda: bare_loop(model, image, draws))
    report(name, "bare loop / bare loop", ratio, draws)
    assert ratio.low <= 1.03
    assert ratio.high >= 0.97


def test_sampling_keeps_pace_with_the_bare_loop(network):
    name, model, image = network
    explainer = SparsifiedSmoothGrad(Saliency(model), tau=0.1)
    draws = draws_for(lambda n: bare_loop(model, image, n), step=PASS)
    ratio = speed(
        lambda: explainer.attribute(
            image, nt_samples=draws, nt_samples_batch_size=PASS, stdevs=SIGMA, seed=0, target="argmax"
        ),
        lambda: bare_loop(model, image, draws),
    )
    report(name, "attribute against the bare loop", ratio, draws, goal=0.95)


def test_sampling_for_certificates_keeps_pace_with_the_bare_loop(network):
    name, model, image = network
    explainer = SparsifiedSmoothGrad(Saliency(model), tau=0.1)
    # The plain map at the clean input is one row more, whatever the number of draws.
    draws = 4 * draws_for(lambda n: bare_loop(model, image, n), step=PASS)
    ratio = speed(
        lambda: explainer.sample(
            image, nt_samples=draws, nt_samples_batch_size=PASS, stdevs=SIGMA, seed=0, target="argmax", check_rows=False
        ),
        lambda: bare_loop(model, image, draws),
    )
    report(name, "sample against the bare loop", ratio, draws, goal=0.95)


def test_sampling_is_no_slower_than_noise_tunnel(network):
    name, model, image = network
    explainer, tunnel = SparsifiedSmoothGrad(Saliency(model), tau=0.1), NoiseTunnel(Saliency(model))
    draws = draws_for(lambda n: bare_loop(model, image, n), step=PASS)
    settings = {"nt_samples": draws, "nt_samples_batch_size": PASS, "stdevs": SIGMA, "target": 1}
    # NoiseTunnel asks for an input that requires gradients, or warns in every pass.
    differentiable = image.clone().requires_grad_()
    ratio = speed(
        lambda: explainer.attribute(image, seed=0, **settings), lambda: tunnel.attribute(differentiable, **settings)
    )
    report(name, "attribute against NoiseTunnel", ratio, draws, goal=1.0)
