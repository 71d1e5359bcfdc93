"""Explanations that look at no model: much of their own top sets is certified, but they have no margin.

A sham is compared with the top fifth of Saliency's plain map, given as a mask. Its margin is computed in two ways.
`certificate.margin` subtracts the overlap of the sham on re-initialised weights, which is its overlap on any weights.
The other margin subtracts the yardsticks of Saliency's map. A bump in the middle can have this other margin: saliency
is often higher in the middle of an image, but chance, brightness and random weights do not show this.
"""

import math
import sys
from dataclasses import replace

import pytest
import torch
from captum.attr import Saliency
from scipy.stats import t
from shams import centred_bump

from captum_certified import Certifier, SparsifiedSmoothGrad
from captum_certified.benchmark import ConstantMap, EdgeDetector, random_map
from captum_certified.demo import load_digits, train_classifier
from captum_certified.images.framing import Framing, load_image

ROWS = 24
SHAPE = (1, 8, 8)
K, TAU, SIGMA, RADIUS = 0.2, 0.2, 0.1, 0.005
SHAMS = {
    "random map": lambda model, shape: ConstantMap(model, random_map(shape)),
    "centred bump": lambda model, shape: ConstantMap(model, centred_bump(shape)),
    "edges": lambda model, shape: EdgeDetector(model, scale=1 if shape[-1] < 100 else 9),
}


def interval(margins):
    """Return the mean over examples, and the ends of its 95 % t-interval."""
    mean, half = float(margins.mean()), float(margins.std()) / math.sqrt(len(margins)) * t.ppf(0.975, len(margins) - 1)
    return mean, mean - half, mean + half


def of_saliency(smoothed, saliency):
    """Return the map with the yardsticks of Saliency's map."""
    return replace(smoothed, brightness=saliency.brightness, randomised=saliency.randomised)


# -- digits ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def digits():
    """A trained network, digits with their predicted classes, and a certificate of Saliency's plain top fifth."""
    data = load_digits()
    model, x = train_classifier(data, sigma=0.25, seed=0), data.test_images[:ROWS]
    target = model(x).argmax(dim=1)
    smoothed = sampled(Saliency(model), x, target, nt_samples=512)
    return model, x, target, Certifier().top_k(smoothed, k=K, radius=RADIUS, reference="plain")


def sampled(method, x, target, *, nt_samples):
    return SparsifiedSmoothGrad(method, tau=TAU).sample(x, target=target, nt_samples=nt_samples, stdevs=SIGMA, seed=0)


@pytest.fixture(scope="module", params=SHAMS)
def sham(request, digits):
    """The name of a sham, and its map of the digits."""
    model, x, target, _ = digits
    return request.param, sampled(SHAMS[request.param](model, SHAPE), x, target, nt_samples=2048)


def test_the_own_top_set_of_a_sham_is_certified(sham):
    name, smoothed = sham
    for radius in (0.0, RADIUS, 10 * RADIUS):
        own = Certifier().top_k(smoothed, k=K, radius=radius)
        if name != "edges":
            assert own.overlap_fraction.tolist() == [1.0] * ROWS
    assert float(Certifier().top_k(smoothed, k=K, radius=RADIUS).overlap_fraction.mean()) >= 0.9
    assert float(own.class_kept.mean()) > 0.9
    assert bool((own.class_radius >= 0).all())


def test_random_weights_do_not_change_a_sham(sham):
    """Neither the own set of a sham nor that of its plain map has a margin."""
    _, smoothed = sham
    assert torch.equal(smoothed.randomised, smoothed.plain.unsqueeze(1).expand_as(smoothed.randomised).float())
    own = Certifier().top_k(smoothed, k=K, radius=RADIUS)
    assert float(own.of_plain.randomised.min()) == 1.0
    assert float(own.of_plain.margin.max()) <= 0
    assert float(own.margin.mean()) <= 0


def test_a_sham_has_no_margin_against_saliency(digits, sham):
    [*_, saliency], (name, smoothed) = digits, sham
    certificate = Certifier().top_k(smoothed, k=K, radius=RADIUS, reference=saliency.members)
    assert interval(certificate.margin)[1] <= 0
    assert interval(saliency.margin)[1] > 0.5  # the comparison sees an explanation that does look at the model
    against = Certifier().top_k(of_saliency(smoothed, saliency.map), k=K, radius=RADIUS, reference=saliency.members)
    _, low, high = interval(against.margin)
    if name == "centred bump":  # digits stand in the middle
        assert 0 < low < high < 0.2
    else:
        assert high < 0


# -- photographs -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def photographs(shared_data):
    """Photographs, each with Saliency's map of two draws, whose plain map and yardsticks are exact."""
    sys.path.insert(0, str(shared_data))
    from models import load

    sys.path.remove(str(shared_data))
    network, found = load("mobilenet_v1_075").to(memory_format=torch.channels_last), []
    explainer = SparsifiedSmoothGrad(Saliency(network), tau=TAU)
    for path in sorted((shared_data / "imagenet64").glob("*.JPEG")):
        image, _ = load_image(path, Framing(resize=256, crop=224))
        aligned = image.contiguous(memory_format=torch.channels_last)
        saliency = explainer.sample(
            aligned, nt_samples=2, stdevs=0.1, groups="patches:8", covariance=False,
            target=int(network(aligned).argmax()), seed=0,
        )  # fmt: skip
        reference = Certifier(bound="clopper_pearson").top_k(saliency, k=K, radius=0.0, reference="plain").members
        found.append((image, saliency, reference))
    assert len(found) == 66
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", SHAMS)
def test_a_sham_has_no_margin_on_photographs(photographs, name):
    """The sham has no model here, so that no class of a noisy copy is computed and a draw is cheap."""
    certifier, rows = Certifier(), []
    for image, saliency, reference in photographs:
        explainer = SparsifiedSmoothGrad(SHAMS[name](None, image.shape[1:]), tau=TAU)
        smoothed = explainer.sample(
            image, nt_samples=1024, nt_samples_batch_size=8, stdevs=0.1, groups="patches:8", seed=0
        )
        assert smoothed.randomised is None
        own = certifier.top_k(smoothed, k=K, radius=0.05).overlap_fraction
        shared = certifier.top_k(of_saliency(smoothed, saliency), k=K, radius=0.05, reference=reference)
        unchanged = replace(smoothed, randomised=smoothed.plain.unsqueeze(1))  # by random weights
        alone = certifier.top_k(unchanged, k=K, radius=0.05, reference=reference)
        rows.append([
            float(value) for value in (
                own, shared.overlap_fraction, shared.chance, shared.brightness, shared.randomised, shared.margin,
                alone.margin,
            )
        ])  # fmt: skip
    own, overlap, chance, brightness, randomised, margin, alone = torch.tensor(rows, dtype=torch.float64).T
    mean, low, high = interval(margin)
    print(
        f"\n  {name}: own {own.mean():.3f} (least {own.min():.3f}), "
        f"overlap with Saliency's {overlap.mean():.3f}, chance {chance.mean():.3f}, brightness {brightness.mean():.3f},"
        f" random weights {randomised.mean():.3f}, margin {mean:+.3f} [{low:+.3f}, {high:+.3f}], from "
        f"{margin.min():+.3f} to {margin.max():+.3f}, above 0 on {int((margin > 0).sum())}; margin by the sham's own "
        f"yardsticks {alone.mean():+.3f}, at most {alone.max():+.3f}"
    )
    if name == "edges":
        assert float(own.mean()) >= 0.9
    else:
        assert float(own.min()) == 1.0
    assert interval(alone)[1] <= 0
    # The interval of the bump begins at 0 within the third decimal, so rounding decides on which side.
    assert low <= (0.01 if name == "centred bump" else 0.0)
