"""Draws per second, compared with the loop that a user would write and with NoiseTunnel.

Run alone, and write the table of the documentation:
``OMP_NUM_THREADS=1 CAPTUM_CERTIFIED_RATIOS=docs/benchmarks/table.md pytest -m benchmark -n 0 -s tests/benchmarks``.
"""

import pytest
from benchmark_networks import SIGMA, bare_loop, mnist, mobilenet, small
from captum.attr import NoiseTunnel, Saliency
from ratios import draws_for, report, speed

from captum_certified import SparsifiedSmoothGrad

pytestmark = pytest.mark.benchmark

# Network, draws of a pass, pairs, and the share of the bare loop's speed to reach (None: only reported).
CASES = {
    "three convolutions, 64²": ("small", 8, 40, None),
    "MNIST CNN": ("mnist", 512, 40, 0.85),
    "MobileNet v1, passes of 8": ("mobilenet", 8, 40, 0.95),
    "MobileNet v1, passes of 32": ("mobilenet", 32, 24, 0.95),
}


@pytest.fixture(params=list(CASES))
def case(request):
    network, size, pairs, goal = CASES[request.param]
    model, image = mobilenet(request.getfixturevalue("shared_data")) if network == "mobilenet" else (
        {"small": small, "mnist": mnist}[network]()
    )  # fmt: skip
    draws = draws_for(lambda n: bare_loop(model, image, n, size), step=size)
    return request.param, model, image, size, pairs, goal, draws


def test_the_control_is_one(case):
    name, model, image, size, pairs, _, draws = case
    ratio = speed(
        lambda: bare_loop(model, image, draws, size), lambda: bare_loop(model, image, draws, size), pairs=pairs
    )
    report(name, "bare loop / bare loop (control)", ratio)
    assert ratio.low <= 1.03
    assert ratio.high >= 0.97


def test_sampling_keeps_pace_with_the_bare_loop(case):
    name, model, image, size, pairs, goal, draws = case
    explainer = SparsifiedSmoothGrad(Saliency(model), tau=0.1)
    ratio = speed(
        lambda: explainer.attribute(
            image, nt_samples=draws, nt_samples_batch_size=size, stdevs=SIGMA, seed=0, target="argmax"
        ),
        lambda: bare_loop(model, image, draws, size),
        pairs=pairs,
    )
    report(name, "attribute / bare loop", ratio, goal=goal)


def test_sampling_for_certificates_keeps_pace_with_the_bare_loop(case):
    name, model, image, size, pairs, _, draws = case
    explainer = SparsifiedSmoothGrad(Saliency(model), tau=0.1)
    # A certificate has this many draws by default. The plain map, the maps of random weights and the predicted classes
    # of up to 256 copies are computed once, however many draws there are.
    draws, pairs = max(draws, 1024), max(3, pairs * draws // max(draws, 1024))
    ratio = speed(
        lambda: explainer.sample(
            image, nt_samples=draws, nt_samples_batch_size=size, stdevs=SIGMA, seed=0, target="argmax", check_rows=False
        ),
        lambda: bare_loop(model, image, draws, size),
        pairs=pairs,
    )
    report(name, "sample with covariance / bare loop", ratio)


def test_sampling_is_no_slower_than_noise_tunnel(case):
    name, model, image, size, pairs, _, draws = case
    explainer, tunnel = SparsifiedSmoothGrad(Saliency(model), tau=0.1), NoiseTunnel(Saliency(model))
    settings = {"nt_samples": draws, "nt_samples_batch_size": size, "stdevs": SIGMA, "target": 1}
    # NoiseTunnel asks for an input that requires gradients, or warns in every pass.
    differentiable = image.clone().requires_grad_()
    ratio = speed(
        lambda: explainer.attribute(image, seed=0, **settings),
        lambda: tunnel.attribute(differentiable, **settings),
        pairs=pairs,
    )
    report(name, "attribute / NoiseTunnel", ratio, goal=1.0)
