"""The selection certificate: its decisions, its radii, its structure, and its files."""

from dataclasses import replace

import ensembles
import numpy as np
import pytest
import torch
from captum.attr import Saliency
from networks import GateNet, images
from scipy.stats import binom, binomtest, norm

from captum_certified import (
    Certificate,
    CertificationError,
    Certifier,
    InvalidInputError,
    ScaledSmoothGrad,
    SelectionCertificate,
    SmoothedMap,
    SparsifiedSmoothGrad,
)
from captum_certified.certify import agrees

COUNTS = [1000, 900, 560, 500, 440, 100, 0]
MAP = SmoothedMap.from_counts(torch.tensor([COUNTS]), n_samples=1000, stdevs=0.2)
INTERVAL_BOUNDS = pytest.mark.parametrize(
    "bound", ["clopper_pearson", "kl", "empirical_bernstein", "hoeffding", "theorem2"]
)


def sampled(rows=2, **settings):
    explainer = SparsifiedSmoothGrad(Saliency(GateNet((3, 4, 4))), tau=0.25)
    x = images(rows, shape=(3, 4, 4))
    return explainer.sample(x, **{"nt_samples": 400, "stdevs": 0.1, "seed": 6, "target": 1, **settings})


@pytest.mark.parametrize("radius", [0.0, 0.05, 0.2, 0.5])
@pytest.mark.parametrize("confidence", [0.5, 0.95])
def test_decisions_and_radii_follow_from_scipy_s_intervals(radius, confidence):
    certificate = Certifier(bound="clopper_pearson", confidence=confidence).selection(MAP, radius=radius)
    assert isinstance(certificate, SelectionCertificate)
    # Each of n = 7 two-sided intervals has the level α/7.
    ends = [binomtest(c, 1000).proportion_ci(confidence_level=1 - (1 - confidence) / 7) for c in COUNTS]
    low, high = norm.ppf([e.low for e in ends]), norm.ppf([e.high for e in ends])
    assert certificate.selected[0].tolist() == (low > radius / 0.2).tolist()
    assert certificate.rejected[0].tolist() == (high < -radius / 0.2).tolist()
    expected = torch.from_numpy(0.2 * np.maximum(np.maximum(low, -high), 0))
    torch.testing.assert_close(certificate.radius[0], expected, rtol=1e-8, atol=0)
    decided = (low > radius / 0.2) | (high < -radius / 0.2)
    assert certificate.abstained[0].tolist() == (~decided).tolist()
    torch.testing.assert_close(certificate.certified_fraction, torch.tensor([decided.mean()], dtype=torch.float64))


@INTERVAL_BOUNDS
def test_every_feature_is_selected_rejected_or_open(bound):
    certificate = Certifier(bound=bound).selection(MAP, radius=0.01)
    together = certificate.selected.int() + certificate.rejected.int() + certificate.abstained.int()
    assert bool((together == 1).all())
    assert certificate.selected[0].tolist() == [True, True] + [False] * 5
    assert certificate.rejected[0].tolist() == [False] * 5 + [True, True]
    assert not certificate.selected[0, 3]
    assert certificate.radius[0, 3] == 0.0


@INTERVAL_BOUNDS
def test_decisions_hold_at_their_radius_and_not_beyond(bound):
    certifier = Certifier(bound=bound)
    radii = certifier.selection(MAP, radius=0.0).radius[0]
    for feature, radius in enumerate(radii.tolist()):
        if radius == 0:
            continue
        near, far = (certifier.selection(MAP, radius=radius * f) for f in (1.0, 1.001))
        assert not near.abstained[0, feature]
        assert far.abstained[0, feature]
        assert torch.equal(near.radius, far.radius)


def test_decisions_allow_no_violations():
    strict = Certifier(violations=0).selection(MAP, radius=0.05)
    for violations in (3, 1.0, "auto"):
        certificate = Certifier(violations=violations).selection(MAP, radius=0.05)
        assert certificate.violations == 0
        assert torch.equal(certificate.radius, strict.radius)


@pytest.mark.parametrize("bound", ["clopper_pearson", "hoeffding"])
@pytest.mark.parametrize("make", [ensembles.aligned, ensembles.incoherent])
def test_no_adversary_reverses_a_decision(make, bound):
    exact, repetitions, alpha = make(), 400, 0.1
    counts = torch.from_numpy(exact.draws(repetitions, 600, np.random.default_rng(1)).sum(axis=1).astype(np.int64))
    smoothed_map = SmoothedMap.from_counts(counts, n_samples=600, stdevs=exact.sigma)
    certifier = Certifier(bound=bound, confidence=1 - alpha)
    decided = 0
    for radius in (0.0, 0.05, 0.2):
        certificate = certifier.selection(smoothed_map, radius=radius)
        found = exact.population(exact.adversaries(8, radius, np.random.default_rng(2)))
        along = exact.population(np.concatenate([exact.x + radius * exact.weights, exact.x - radius * exact.weights]))
        anywhere = np.concatenate([along, found])
        low, high = anywhere.min(axis=0), anywhere.max(axis=0)
        wrong = (certificate.selected.numpy() & (low <= 0.5)) | (certificate.rejected.numpy() & (high >= 0.5))
        assert wrong.any(axis=1).sum() <= binom.isf(1e-6, repetitions, alpha)
        decided += int((~certificate.abstained).sum())
    assert decided > repetitions
    assert bool(certifier.selection(smoothed_map, radius=100.0).abstained.all())


def test_everything_is_structured_like_the_map():
    smoothed_map = sampled()
    certificate = Certifier().selection(smoothed_map, radius=0.01)
    for table in (certificate.selected, certificate.rejected, certificate.abstained, certificate.radius):
        assert table.shape == smoothed_map.mean.shape
    assert certificate.selected.dtype == torch.bool
    assert certificate.radius.dtype == torch.float64
    assert certificate.at_radius == 0.01
    pair = SmoothedMap.from_counts((torch.tensor([[990, 10]]), torch.tensor([[[500]]])), n_samples=1000, stdevs=0.2)
    certificate = Certifier().selection(pair, radius=0.0)
    assert [t.tolist() for t in certificate.selected] == [[[True, False]], [[[False]]]]
    assert [t.tolist() for t in certificate.abstained] == [[[False, False]], [[[True]]]]


def test_rows_have_their_own_draws():
    rows = SmoothedMap.from_counts(torch.tensor([[6, 4], [600, 400]]), n_samples=torch.tensor([10, 1000]), stdevs=0.2)
    certificate = Certifier().selection(rows, radius=0.0)
    assert certificate.selected.tolist() == [[False, False], [True, False]]
    assert certificate.rejected.tolist() == [[False, False], [False, True]]


def test_maps_that_are_not_of_zeros_and_ones_are_refused():
    scaled = ScaledSmoothGrad(Saliency(GateNet((3, 4, 4)))).sample(
        images(1, shape=(3, 4, 4)), nt_samples=4, stdevs=0.1, seed=0, target=0
    )
    for smoothed_map in (scaled, SmoothedMap.from_mean(torch.tensor([[0.5, 0.3]]), n_samples=10, stdevs=0.1)):
        with pytest.raises(
            CertificationError, match=r"Expected a sparsified map, of zeros and ones, got a map of other v"
        ):
            Certifier(bound="hoeffding").selection(smoothed_map, radius=0.0)


def test_invalid_arguments_are_refused():
    with pytest.raises(InvalidInputError, match=r"Expected `radius` to be a finite number >= 0, got -1\."):
        Certifier().selection(MAP, radius=-1)
    with pytest.raises(InvalidInputError, match="Expected `smoothed_map` to be a SmoothedMap, got list"):
        Certifier().selection([], radius=0.1)


@INTERVAL_BOUNDS
def test_the_certificate_is_stored_and_recomputed(bound, tmp_path):
    certificate = Certifier(bound=bound, confidence=0.9).selection(sampled(), radius=0.01)
    certificate.save(tmp_path / "c.npz")
    loaded = Certificate.load(tmp_path / "c.npz")
    assert type(loaded) is SelectionCertificate
    assert loaded.to_dict(arrays=True) == certificate.to_dict(arrays=True)
    assert repr(loaded) == repr(certificate)
    assert torch.equal(loaded.selected, certificate.selected)
    assert agrees(loaded)


def test_a_certificate_that_decides_more_does_not_agree():
    certificate = Certifier().selection(MAP, radius=0.05)
    assert agrees(certificate)
    for change in (
        {"feature_selected": torch.ones_like(certificate.feature_selected)},
        {"feature_rejected": torch.ones_like(certificate.feature_rejected)},
        {"feature_radius": certificate.feature_radius * 1.001},
        {"confidence": 0.999},
        {"at_radius": 0.4},
    ):
        assert not agrees(replace(certificate, **change))


def test_text_and_json_contain_the_decisions():
    certificate = Certifier().selection(MAP, radius=0.01)
    assert certificate.summaries() == [
        "2 of 7 features certifiably selected by most noisy copies, 2 certifiably not, 3 open (57.1% certified), from "
        "1000 draws"
    ]
    record = certificate.to_dict()
    assert (record["selected"], record["rejected"], record["certified_fraction"]) == ([2], [2], [4 / 7])
    assert record["radius"] == 0.01
