"""Theorem 3 as a certificate: ranks of the features that are salient in half of the draws."""

import math

import numpy as np
import pytest
import torch
from captum.attr import Saliency
from networks import GateNet, images
from scipy.stats import norm

from captum_certified import (
    Certificate,
    CertificationError,
    Certifier,
    InvalidInputError,
    RankCertificate,
    ScaledSmoothGrad,
    SmoothedMap,
    SparsifiedSmoothGrad,
)
from captum_certified.certify import agrees


def with_ones(counts, *, ones, n_samples=1000, stdevs=0.2):
    return SmoothedMap.from_counts(
        torch.tensor(counts), n_samples=n_samples, stdevs=stdevs, max_squared_norm=float(ones)
    )


def literal(counts, *, q, ones, ratio, alpha):
    n = len(counts)
    c = math.sqrt(math.log(2 * n / alpha) / (2 * q))
    lower = norm.cdf(norm.ppf(0.5 - c) - 2 * ratio) - c if c < 0.5 else -c
    bound = min(math.ceil(ones / lower), n + 1) if lower > 0 else n + 1
    return [bound if 2 * count >= q else n + 1 for count in counts]


@pytest.mark.parametrize("radius", [0.0, 0.01, 0.05, 0.3])
@pytest.mark.parametrize("confidence", [0.5, 0.95])
def test_ranks_equal_theorem_3(radius, confidence):
    rng = np.random.default_rng(0)
    draws = torch.tensor([1000, 200, 9000])
    counts = torch.from_numpy(np.stack([rng.binomial(int(q), rng.beta(0.3, 3.0, 40)) for q in draws]))
    smoothed_map = SmoothedMap.from_counts(counts, n_samples=draws, stdevs=0.2, max_squared_norm=8.0)
    certificate = Certifier(confidence=confidence).median_rank(smoothed_map, radius=radius)
    assert isinstance(certificate, RankCertificate)
    assert (certificate.bound, certificate.violations, certificate.radius) == ("theorem3", 0, radius)
    assert certificate.rank.tolist() == [
        literal(row.tolist(), q=int(q), ones=8, ratio=radius / 0.2, alpha=1 - confidence)
        for row, q in zip(counts, draws, strict=True)
    ]


def test_half_of_the_draws_is_enough_and_fewer_are_not():
    # ⌈2 / L̂(½)⌉ = ⌈2 / (½ − 2c)⌉ = 5 with c = sqrt(ln(400)/2e6) = .00173; both other counts are below half.
    counts = [[500_000, 499_999, 0, 0, 0, 0, 0, 0, 0, 1_000_000]]
    certificate = Certifier().median_rank(with_ones(counts, ones=2, n_samples=10**6), radius=0.0)
    assert certificate.rank.tolist() == [[5, 11, 11, 11, 11, 11, 11, 11, 11, 5]]
    odd = Certifier().median_rank(with_ones([[500_000, 500_001] + [0] * 8], ones=2, n_samples=1_000_001), radius=0.0)
    assert odd.rank.tolist()[0][:2] == [11, 5]


def test_the_guarantee_is_one_rank_less():
    certificate = Certifier().median_rank(with_ones([[900_000] + [10] * 9], ones=1, n_samples=10**6), radius=0.0)
    assert certificate.rank[0, 0] == 3
    assert certificate.in_top_k(2)[0].tolist() == [True] + [False] * 9
    assert not certificate.in_top_k(1).any()
    assert certificate.in_top_k(10).all()


@pytest.mark.parametrize("radius", [0.0, 0.002, 0.01])
def test_the_ranks_are_never_below_definition_3_1(radius):
    explainer = SparsifiedSmoothGrad(Saliency(GateNet((3, 4, 4))), tau=0.1)
    smoothed_map = explainer.sample(images(3, shape=(3, 4, 4)), nt_samples=2000, stdevs=0.05, seed=1, target=2)
    assert smoothed_map.max_squared_norm == 5.0
    by_median = Certifier().median_rank(smoothed_map, radius=radius).feature_rank
    printed = Certifier(bound="theorem2").rank(smoothed_map, radius=radius).feature_rank
    assert bool((by_median >= printed).all())
    assert int((by_median <= 48).sum()) >= 3


def test_nothing_is_certified_far_away_or_from_few_draws():
    smoothed_map = with_ones([[9, 1, 0, 0]], ones=1, n_samples=10)
    assert Certifier().median_rank(smoothed_map, radius=0.0).rank.tolist() == [[5, 5, 5, 5]]
    certain = with_ones([[10**6 - 1, 1, 0, 0]], ones=1, n_samples=10**6)
    assert Certifier().median_rank(certain, radius=0.0).rank.tolist() == [[3, 5, 5, 5]]
    assert Certifier().median_rank(certain, radius=1e300).rank.tolist() == [[5, 5, 5, 5]]


def test_maps_that_are_always_zero_have_no_ranks():
    # At most half a one in every draw means that no draw has a one.
    certificate = Certifier().median_rank(with_ones([[0, 0, 0]], ones=0.5), radius=0.0)
    assert certificate.rank.tolist() == [[4, 4, 4]]


def test_maps_without_counts_or_bound_on_the_ones_are_refused():
    message = "Expected a sparsified map with a known number of ones in each draw, got one without counts or without"
    unknown = SmoothedMap.from_counts(torch.tensor([[5, 3]]), n_samples=10, stdevs=0.1)
    means = SmoothedMap.from_mean(torch.tensor([[0.5, 0.3]]), n_samples=10, stdevs=0.1, max_squared_norm=1.0)
    scaled = ScaledSmoothGrad(Saliency(GateNet((3, 4, 4)))).sample(
        images(1, shape=(3, 4, 4)), nt_samples=4, stdevs=0.1, seed=0, target=0
    )
    for smoothed_map in (unknown, means, scaled):
        with pytest.raises(CertificationError, match=message):
            Certifier().median_rank(smoothed_map, radius=0.0)


def test_more_ones_than_a_draw_can_have_are_refused():
    """The draws have two ones in the mean, although ``max_squared_norm`` allows one."""
    impossible = with_ones([[500, 500, 500, 500]], ones=1)
    message = "Expected draws whose squares add up to at most `max_squared_norm`, got 2 in the mean"
    for certificate in (Certifier().median_rank, Certifier().distance):
        with pytest.raises(CertificationError, match=message):
            certificate(impossible, radius=0.0)


def test_invalid_arguments_are_refused():
    with pytest.raises(InvalidInputError, match="Expected `radius` to be a finite number >= 0, got nan"):
        Certifier().median_rank(with_ones([[5, 3]], ones=1), radius=float("nan"))
    with pytest.raises(InvalidInputError, match="Expected `smoothed_map` to be a SmoothedMap, got dict"):
        Certifier().median_rank({}, radius=0.0)
    with pytest.raises(CertificationError, match="Expected at least 2 draws to certify, got 1"):
        Certifier().median_rank(with_ones([[1, 0]], ones=1, n_samples=1), radius=0.0)
    with pytest.raises(CertificationError, match="got no noise"):
        Certifier().median_rank(with_ones([[1, 0]], ones=1, stdevs=0.0), radius=0.0)


def test_the_certificate_is_stored_recomputed_and_tabulated(tmp_path):
    certificate = Certifier(confidence=0.9).median_rank(with_ones([[900, 300, 10, 0]], ones=2), radius=0.001)
    certificate.save(tmp_path / "c.npz")
    loaded = Certificate.load(tmp_path / "c.npz")
    assert agrees(loaded)
    assert loaded.to_dict(arrays=True) == certificate.to_dict(arrays=True)
    columns = loaded.columns()
    assert columns["rank"] == certificate.feature_rank[0].tolist()
    assert (
        columns["lower"]
        == Certifier(bound="hoeffding", confidence=0.9).rank(certificate.map, radius=0.001).columns()["lower"]
    )
    assert "bound='theorem3'" in repr(certificate)
