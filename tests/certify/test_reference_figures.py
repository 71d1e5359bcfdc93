"""Certificates of plain maps of photographs, compared with numbers that were measured independently of this code."""

import sys

import pytest
import torch
from captum.attr import InputXGradient, Saliency

from captum_certified import Certifier, SparsifiedSmoothGrad
from captum_certified.images.framing import Framing, load_image

pytestmark = pytest.mark.slow

RADII = [0.02, 0.05, 0.1]
TOLERANCE = 0.04
# (method, class of the photograph, σ, τ, draws): certified fractions of the own top fifth and of the plain map's.
FIGURES = {
    (Saliency, 207, 0.2, 2048): ([0.73, 0.59, 0.43], [0.45, 0.37, 0.27]),
    (Saliency, 281, 0.2, 2048): ([0.87, 0.76, 0.62], [0.19, 0.17, 0.12]),
    (InputXGradient, 207, 0.1, 1024): ([0.89, 0.76, 0.57], [0.72, 0.66, 0.52]),
    (InputXGradient, 281, 0.1, 1024): ([0.85, 0.73, 0.57], [0.42, 0.38, 0.31]),
    (InputXGradient, 812, 0.1, 1024): ([0.87, 0.79, 0.59], [0.64, 0.59, 0.46]),
}


@pytest.fixture(scope="module")
def network(shared_data):
    sys.path.insert(0, str(shared_data))
    from models import load

    sys.path.remove(str(shared_data))
    return load("mobilenet_v1_075").to(memory_format=torch.channels_last)


@pytest.mark.parametrize("case", FIGURES, ids=lambda case: f"{case[0].__name__}-{case[1]}")
def test_certified_fractions_of_photographs(shared_data, network, case):
    method, number, sigma, draws = case
    [path] = (shared_data / "imagenet64").glob(f"{number:03d}_*")
    image, _ = load_image(path, Framing(resize=256, crop=224))
    image = image.contiguous(memory_format=torch.channels_last)
    smoothed = SparsifiedSmoothGrad(method(network), tau=0.2).sample(
        image, nt_samples=draws, nt_samples_batch_size=16, stdevs=sigma, groups="patches:8", covariance=False,
        target=int(network(image).argmax()), seed=2,
    )  # fmt: skip
    certifier = Certifier(bound="clopper_pearson", violations=0)
    for reference, expected in zip((None, "plain"), FIGURES[case], strict=True):
        curve = certifier.top_k_curve(smoothed, k=0.2, radii=RADII, reference=reference)[0] / 157
        assert curve.tolist() == pytest.approx(expected, abs=TOLERANCE)
