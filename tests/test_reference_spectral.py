"""The reference table of spectral certificates of a photograph, on a trained MobileNet v1."""

import dataclasses
import sys

import pytest
from captum.attr import Saliency
from torch.testing import assert_close
from torchvision import transforms

from captum_certified import Certifier, CovarianceSummary, NormalizedSmoothGrad, SparsifiedSmoothGrad, sample_many
from captum_certified.certify.bounds.spectral import displacement_of

pytestmark = pytest.mark.slow

DRAWS, SIZE = 8192, 30106
RADII = {0.2: [0.01, 0.03, 0.06, 0.10, 0.15, 0.20], 0.05: [0.01, 0.03, 0.05]}
# Certified fraction of the top fifth.
TABLE = {
    (0.2, "theorem2"): [0.740, 0.590, 0.375, 0.153, 0.003, 0.000],
    (0.2, "clopper_pearson"): [0.810, 0.653, 0.438, 0.199, 0.017, 0.000],
    (0.2, "short"): [0.804, 0.740, 0.657, 0.556, 0.428, 0.289],
    (0.2, "spectral"): [0.831, 0.782, 0.707, 0.613, 0.493, 0.360],
    (0.05, "theorem2"): [0.540, 0.081, 0.001],
    (0.05, "spectral"): [0.800, 0.652, 0.476],
}
# λ̂, F̂ and κ̂ in blocks of 2048, to the digits of the table.
EVIDENCE = {0.2: (66.6, 268.0, 7.54e4), 0.05: (32.2, 247.0, 3.94e4)}


@pytest.fixture(scope="module")
def maps(shared_data):
    """Both maps of the photograph at every noise level, sparsified and normalized, each sampled once."""
    pil = pytest.importorskip("PIL.Image")
    sys.path.insert(0, str(shared_data))
    from models import load

    sys.path.remove(str(shared_data))
    prepare = transforms.Compose([transforms.Resize(256), transforms.CenterCrop(224), transforms.ToTensor()])
    [path] = (shared_data / "imagenet64").glob("207_*.JPEG")
    image = prepare(pil.open(path).convert("RGB")).unsqueeze(0)
    method, sampled = Saliency(load("mobilenet_v1_075")), {}

    def at(sigma):
        if sigma not in sampled:
            explainers = [SparsifiedSmoothGrad(method, tau=0.1)]
            if sigma == 0.2:
                explainers.append(NormalizedSmoothGrad(method))
            sampled[sigma] = sample_many(
                explainers, image, nt_samples=DRAWS, nt_samples_batch_size=32, stdevs=sigma, seed=0, target="argmax"
            )
        return sampled[sigma]

    return at


def fractions(smoothed_map, bound, radii):
    return (Certifier(bound=bound).top_k_curve(smoothed_map, k=0.2, radii=radii)[0].double() / SIZE).tolist()


@pytest.mark.parametrize("sigma", [0.2, 0.05])
def test_photograph_207_has_the_evidence_of_the_reference(maps, sigma):
    smoothed_map = maps(sigma)[0]
    summary, bound = smoothed_map.covariance, displacement_of(smoothed_map, 0.05)
    found = [float(v[0]) for v in (summary.top_eigenvalue, summary.frobenius_norm, summary.fourth_moment)]
    print(f"\nσ={sigma}: W {float(summary.pairs[0]):.0f}, t̂ {float(smoothed_map.trace[0]):.1f}, λ̂ F̂ κ̂ {found}")
    print(f"λ⁺ {bound.top_eigenvalue}, Q⁺ {bound.cross}, N {bound.error}")
    assert summary.pairs.tolist() == [DRAWS / 2]
    assert_close(found, list(EVIDENCE[sigma]), rtol=0.1, atol=0)


@pytest.mark.parametrize(("sigma", "bound"), list(TABLE))
def test_photograph_207_has_the_fractions_of_the_reference(maps, sigma, bound):
    smoothed_map = maps(sigma)[0]
    if bound == "short":
        summary = smoothed_map.covariance
        short = CovarianceSummary(summary.pairs, summary.top_eigenvalue)
        smoothed_map, name = dataclasses.replace(smoothed_map, covariance=short), "spectral"
    else:
        name = bound
    certified = fractions(smoothed_map, name, RADII[sigma])
    print(f"\nσ={sigma}, {bound}: {[round(v, 3) for v in certified]}")
    assert_close(certified, TABLE[sigma, bound], rtol=0, atol=0.02)


def test_normalized_smooth_grad_of_photograph_207_is_certified(maps):
    """More than half of the top fifth survives at .03, and both terms of the displacement are printed."""
    smoothed_map = maps(0.2)[1]
    bound = displacement_of(smoothed_map, 0.05)
    certified = fractions(smoothed_map, "spectral", RADII[0.2])
    print(f"\nnormalized: {[round(v, 3) for v in certified]}")
    print(f"N {bound.error}, Q⁺ {bound.cross}, λ⁺ {bound.top_eigenvalue}")
    print(f"t̂/q {float(smoothed_map.trace[0]) / DRAWS:.3g}, {smoothed_map.covariance}")
    assert certified[1] > 0.5
