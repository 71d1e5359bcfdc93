"""Certified overlap with a reference set is sound for any set, and the map's own top set is a special case."""

import dataclasses

import numpy as np
import pytest
import torch
from ensembles import incoherent
from networks import cnn, images
from scipy.stats import binom
from sequential_runs import X, certified, explainer
from spectral_ensembles import summarised

from captum_certified import Certificate, CertificationError, Certifier, InvalidInputError, SmoothedMap
from captum_certified.certify import agrees
from captum_certified.theory import top_k_mask

BOUNDS = ["hoeffding", "clopper_pearson", "kl", "empirical_bernstein", "spectral", "best"]
RADII = [0.0, 0.01, 0.03, 0.1, 0.3]


@pytest.fixture(scope="module")
def smoothed():
    return explainer().sample(X, nt_samples=512, stdevs=0.1, seed=1, covariance=64, target=1)


def own_top_set(smoothed_map, k):
    return torch.from_numpy(top_k_mask(smoothed_map.features.numpy(), k)[0]).reshape(len(smoothed_map), 3, 4, 4)


@pytest.mark.parametrize("bound", BOUNDS)
@pytest.mark.parametrize("violations", [0, 2, "auto"])
@pytest.mark.parametrize("k", [1, 12, 30])
def test_the_own_top_set_given_as_a_mask_has_the_same_certificates(smoothed, bound, violations, k):
    certifier, mask = Certifier(bound=bound, violations=violations if k > 2 else 0), own_top_set(smoothed, k)
    one = certifier.top_k_curve(smoothed, k=k, radii=RADII)
    assert torch.equal(certifier.top_k_curve(smoothed, k=k, radii=RADII, reference=mask), one)
    for overlap in {1, k // 2 + 1, k}:
        own = certifier.radius(smoothed, k=k, overlap=overlap)
        assert torch.equal(certifier.radius(smoothed, k=k, overlap=overlap, reference=mask), own)
    own = certifier.forecast(smoothed, k=k, radius=0.03, nt_samples=4096)
    assert torch.equal(certifier.forecast(smoothed, k=k, radius=0.03, nt_samples=4096, reference=mask), own)


@pytest.mark.parametrize("bound", BOUNDS)
@pytest.mark.parametrize("size", [1, 5, 20, 47])
def test_the_radius_of_an_overlap_is_where_the_curve_falls(smoothed, bound, size):
    mask = (torch.randperm(48, generator=torch.Generator().manual_seed(size)) < size).reshape(1, 3, 4, 4)
    certifier, k = Certifier(bound=bound), 12
    for overlap in range(1, min(k, size) + 1):
        radii = certifier.radius(smoothed, k=k, overlap=overlap, reference=mask)
        for row, radius in enumerate(radii.tolist()):
            at = [min(radius, 5.0), radius * (1 + 1e-6) + 1e-9]
            if 0 < radius < np.inf:
                curve = certifier.top_k_curve(smoothed, k=k, radii=at, reference=mask)[row]
                assert curve[0] >= overlap > curve[1]
            elif radius == np.inf:
                assert certifier.top_k(smoothed, k=k, radius=50.0, reference=mask).overlap[row] >= overlap


@pytest.mark.parametrize("bound", BOUNDS)
@pytest.mark.parametrize("size", [3, 8, 14])
def test_no_input_shares_less_with_the_set_than_was_certified(bound, size):
    """By repetition: how often an adversary's exact map has fewer features of the set in its top K."""
    exact, radius, k, repetitions, q = incoherent(), 0.05, 8, 400, 512
    rng = np.random.default_rng(size)
    draws = exact.draws(repetitions, q, rng)
    summary = summarised(draws, block=128) if bound in ("spectral", "best") else None
    smoothed_map = SmoothedMap.from_counts(
        torch.from_numpy(draws.sum(axis=1).astype(np.int64)), n_samples=q, stdevs=exact.sigma, covariance=summary
    )
    n = smoothed_map.layout.n_features
    mask = torch.from_numpy(rng.permutation(n) < size)[None]
    certificate = Certifier(bound=bound, confidence=0.8).top_k(smoothed_map, k=k, radius=radius, reference=mask)
    population = exact.population(exact.adversaries(k, radius, np.random.default_rng(1)))
    worst = int((top_k_mask(population, k)[0] & mask.numpy()).sum(axis=1).min())
    failures = int((certificate.overlap > worst).sum())
    assert binom.sf(failures - 1, repetitions, 0.2) >= 1e-6


def test_a_claim_beyond_the_certificate_fails():
    """The test above would notice: one feature more than is certified is false far too often."""
    exact, k, radius = incoherent(), 8, 0.3
    rng = np.random.default_rng(0)
    counts = exact.draws(200, 2048, rng).sum(axis=1)
    smoothed_map = SmoothedMap.from_counts(
        torch.from_numpy(counts.astype(np.int64)), n_samples=2048, stdevs=exact.sigma
    )
    mask = torch.from_numpy(top_k_mask(exact.population(exact.x[None]), k)[0])
    at_no_radius = Certifier(confidence=0.8).top_k(smoothed_map, k=k, radius=0.0, reference=mask)
    population = exact.population(exact.adversaries(k, radius, np.random.default_rng(1)))
    worst = int((top_k_mask(population, k)[0] & mask.numpy()).sum(axis=1).min())
    assert int((at_no_radius.overlap > worst).sum()) > 100


def test_the_plain_map_is_a_reference(smoothed):
    certificate = Certifier().top_k(smoothed, k=12, radius=0.01, reference="plain")
    plain = torch.from_numpy(top_k_mask(smoothed.plain.numpy(), 12)[0]) & (smoothed.plain > 0)
    assert torch.equal(certificate.members, plain)
    as_mask = Certifier().top_k(smoothed, k=12, radius=0.01, reference=plain.reshape(-1, 3, 4, 4))
    assert torch.equal(certificate.overlap, as_mask.overlap)
    assert (certificate.reference, as_mask.reference) == ("plain", "mask")
    assert torch.equal(certificate.reference_size, plain.sum(dim=1))
    assert "of the plain map's top 12 (" in certificate.summaries()[0]
    others = "% by chance, 33.4% by brightness, random weights unknown: margin +58.3 points) are in the top 12"
    assert others in certificate.summaries()[0]


def test_fractions_are_of_the_smaller_of_both_sets(smoothed):
    mask = torch.zeros(1, 3, 4, 4, dtype=torch.bool)
    mask.view(-1)[:6] = True
    certificate = Certifier().top_k(smoothed, k=12, radius=0.0, reference=mask)
    assert torch.equal(certificate.overlap_fraction, certificate.overlap.double() / 6)
    assert certificate.chance.tolist() == pytest.approx([12 / 48] * len(X))
    half = Certifier().radius(smoothed, k=12, overlap=0.5, reference=mask)
    assert torch.equal(half, Certifier().radius(smoothed, k=12, overlap=3, reference=mask))


def test_masks_follow_groups():
    model, x = cnn(), images(2)
    explained = explainer(model).sample(x, nt_samples=64, stdevs=0.3, seed=0, target=1, groups="channels")
    n = explained.layout.n_features
    by_group = torch.arange(n)[None] < 9
    by_entry = explained.layout.unflatten(by_group.expand(2, n))
    one, two = (Certifier().top_k(explained, k=9, radius=0.01, reference=mask) for mask in (by_group, by_entry))
    assert torch.equal(one.members, two.members)
    assert torch.equal(one.overlap, two.overlap)
    cut = by_entry.clone()
    cut[:, 0, 0, 0] = ~cut[:, 0, 0, 0]
    with pytest.raises(InvalidInputError, match="Expected `reference` to hold each group whole or not at all"):
        Certifier().top_k(explained, k=9, radius=0.01, reference=cut)


# -- sequential runs ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("reference", "overlap", "radius"), [("plain", 0.75, 0.06), ("mask", 0.4, 0.03)])
def test_sequential_certificates_are_those_of_their_draws(reference, overlap, radius):
    mask = torch.arange(48 * len(X)).reshape(X.shape) % 3 == 0 if reference == "mask" else "plain"
    certificate = certified(reference=mask, overlap=overlap, radius=radius)
    assert certificate.reference == reference
    assert len(set(certificate.n_samples.tolist())) > 1
    again = Certifier().top_k(certificate.map, k=12, radius=radius, reference=mask)
    assert torch.equal(certificate.overlap, again.overlap)
    assert torch.equal(certificate.members, again.members)
    asked = certificate.asked_overlap
    for row, why in enumerate(certificate.stopped):
        least = asked[row] if isinstance(asked, tuple) else asked
        assert (why == "certified") == (int(certificate.overlap[row]) >= least)


def test_rows_with_sets_of_several_sizes_ask_for_their_own_overlaps():
    mask = torch.zeros(X.shape, dtype=torch.bool)
    for row in range(len(X)):
        mask[row].view(-1)[: 4 + 2 * row] = True
    certificate = certified(reference=mask, overlap=0.5, radius=0.01)
    assert certificate.asked_overlap == (2, 3, 4, 5, 6, 6)
    assert "(2 asked for: " in certificate.summaries()[0]


# -- files and refusals -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reference", ["plain", "mask"])
@pytest.mark.parametrize("fresh_draws", [None, 100])
def test_files_keep_the_set_and_verify(smoothed, reference, fresh_draws, tmp_path):
    mask = torch.arange(48).reshape(1, 3, 4, 4) < 10 if reference == "mask" else "plain"
    certificate = Certifier(bound="clopper_pearson").top_k(
        smoothed, k=12, radius=0.01, reference=mask, fresh_draws=fresh_draws
    )
    certificate.save(tmp_path / "one.npz")
    loaded = Certificate.load(tmp_path / "one.npz")
    assert agrees(loaded)
    assert (loaded.reference, loaded.overlap.tolist()) == (reference, certificate.overlap.tolist())
    assert torch.equal(loaded.members, certificate.members)
    assert loaded.to_dict() == certificate.to_dict()
    assert loaded.to_dict()["reference_size"] == certificate.reference_size.tolist()
    assert not agrees(dataclasses.replace(loaded, overlap=loaded.overlap + 1))


def test_the_own_top_set_is_certified_of_a_map_that_has_a_reference(smoothed):
    certificate = Certifier().top_k(smoothed, k=12, radius=0.01, reference="plain")
    own = Certifier().top_k(certificate.map, k=12, radius=0.01)
    assert torch.equal(own.overlap, Certifier().top_k(smoothed, k=12, radius=0.01).overlap)
    assert own.map.reference is None
    assert own.to_dict()["reference"] == "own"
    assert own.to_dict()["of_plain"]["overlap"] == certificate.overlap.tolist()


def test_theorem_2_needs_the_map_s_own_top_set(smoothed):
    with pytest.raises(InvalidInputError, match="Expected another `bound` for a `reference`, got 'theorem2'"):
        Certifier(bound="theorem2").top_k(smoothed, k=12, radius=0.01, reference="plain")


@pytest.mark.parametrize(
    ("reference", "error", "message"),
    [
        ("own", InvalidInputError, "`reference` to be None, 'plain' or a bool mask, got 'own'"),
        (torch.ones(1, 3, 4, 4), InvalidInputError, "`reference` to be a bool mask, got torch.float32"),
        (torch.ones(1, 3, 4, 5, dtype=torch.bool), InvalidInputError, r"`reference` of shape \(1 or 6, 3, 4, 4\)"),
        (torch.zeros(1, 3, 4, 4, dtype=torch.bool), InvalidInputError, "`reference` to hold at least one feature"),
        (torch.zeros(1, 48, dtype=torch.bool), InvalidInputError, "`reference` to hold at least one feature"),
    ],
)
def test_other_references_are_refused(smoothed, reference, error, message):
    with pytest.raises(error, match=message):
        Certifier().top_k(smoothed, k=12, radius=0.01, reference=reference)


def test_an_unknown_or_empty_plain_map_is_refused(smoothed):
    for plain, message in ((None, "with its plain attribution"), (smoothed.plain * 0, "positive somewhere")):
        with pytest.raises(CertificationError, match=message):
            Certifier().top_k(dataclasses.replace(smoothed, plain=plain), k=12, radius=0.01, reference="plain")


def test_an_overlap_beyond_the_set_is_refused(smoothed):
    mask = torch.arange(48).reshape(1, 3, 4, 4) < 5
    with pytest.raises(InvalidInputError, match="Expected `overlap` to be a number of features from 1 to 5"):
        Certifier().radius(smoothed, k=12, overlap=6, reference=mask)
