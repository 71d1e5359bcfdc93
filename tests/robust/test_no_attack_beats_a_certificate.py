"""Attacks on smoothed explanations of a trained network, within and far beyond their certified radii."""

from functools import cache
from typing import NamedTuple

import numpy as np
import pytest
import torch
from captum.attr import Saliency
from scipy.stats import beta
from torch import Tensor, nn

from captum_certified import (
    BlackBoxAttack,
    Certifier,
    FastGradientAttack,
    InterpretationAttack,
    RelaxedSparsifiedSmoothGrad,
    SmoothedMap,
    SparsifiedSmoothGrad,
)
from captum_certified.demo.digits import load_digits

pytest.importorskip("sklearn")

SIGMA, K, ROWS, DRAWS = 0.2, 13, 4, 4096
RADII = (0.05, 0.2)
FAR = 3.0
BOUNDS = ("theorem2", "clopper_pearson", "spectral", "best")
EXPLAINERS = {
    "sparsified": lambda net: SparsifiedSmoothGrad(Saliency(net), tau=0.2),
    "relaxed": lambda net: RelaxedSparsifiedSmoothGrad(Saliency(net), tau=0.2, gamma=0.05),
}


ATTACKS = {
    "algorithm 1": (InterpretationAttack, {"step_num": 8, "n_restarts": 2}),
    "one step": (FastGradientAttack, {}),
    "queries": (BlackBoxAttack, {"n_queries": 40}),
}


class Attacked(NamedTuple):
    """A certified map, and the map at the attacked inputs over draws of another seed."""

    certified: SmoothedMap
    measured: SmoothedMap


@cache
def trained():
    """Return a small network that classifies nine in ten noisy digits, and images of digits with their labels."""
    digits = load_digits()
    generator = torch.Generator().manual_seed(0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.Softplus(beta=5), nn.Linear(32, 10))
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
    for _ in range(200):
        batch = torch.randint(0, 1500, (128,), generator=generator)
        noisy = digits.train_images[batch] + SIGMA * torch.randn((128, 1, 8, 8), generator=generator)
        loss = nn.functional.cross_entropy(net(noisy), digits.train_labels[batch])
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
    net.eval()
    assert float((net(digits.test_images).argmax(dim=1) == digits.test_labels).float().mean()) > 0.9
    return net, digits.test_images[:ROWS], digits.test_labels[:ROWS]


@cache
def sampled(name, target) -> SmoothedMap:
    net, images, labels = trained()
    return EXPLAINERS[name](net).sample(
        images, DRAWS, 256, SIGMA, seed=1, target=target if target == "argmax" else labels
    )


@cache
def attacked(name, target, radius, by="algorithm 1") -> Attacked:
    net, images, labels = trained()
    explainer = EXPLAINERS[name](net)
    classes = target if target == "argmax" else labels
    attack_class, length = ATTACKS[by]
    found = attack_class(net, explainer).attack(
        images, radius, k=K, target=classes, keep_class=False, seed=3, **length,
        attribution_kwargs={"nt_samples": 64, "nt_samples_batch_size": 64, "stdevs": SIGMA},
    )  # fmt: skip
    assert found.succeeded.all()
    assert float((found.perturbed - images).flatten(1).norm(dim=1).max()) <= radius + 1e-6
    measured = explainer.sample(
        found.perturbed, DRAWS, 256, SIGMA, seed=2, target=classes, covariance=False, check_rows=False
    )
    return Attacked(sampled(name, target), measured)


@cache
def attacked_set(name, size, radius) -> tuple[Attacked, Tensor]:
    """Attack the overlap with the plain map's strongest features, ``size`` of them."""
    net, images, labels = trained()
    explainer, certified = EXPLAINERS[name](net), sampled(name, "label")
    members = torch.zeros_like(certified.plain, dtype=torch.bool)
    members.scatter_(1, certified.plain.topk(size, dim=1).indices, True)
    found = InterpretationAttack(net, explainer, objective="reference").attack(
        images, radius, k=K, target=labels, step_num=8, n_restarts=2, keep_class=False, seed=3,
        reference=members.reshape(ROWS, 1, 8, 8),
        attribution_kwargs={"nt_samples": 64, "nt_samples_batch_size": 64, "stdevs": SIGMA},
    )  # fmt: skip
    assert float((found.perturbed - images).flatten(1).norm(dim=1).max()) <= radius + 1e-6
    measured = explainer.sample(
        found.perturbed, DRAWS, 256, SIGMA, seed=2, target=labels, covariance=False, check_rows=False
    )
    return Attacked(certified, measured), members


def most_overlap(attacked: Attacked, members: Tensor | None = None) -> Tensor:
    """Return the largest overlap with a set that the intervals of the measured draws allow.

    The set is by default the certified top K. The intervals hold for all features at once, except with probability one
    in a million.
    """
    low, high = measured_intervals(attacked)
    overlaps = []
    for row, clean in enumerate(attacked.certified.features):
        inside = np.zeros(len(clean), dtype=bool)
        inside[np.argsort(-clean.numpy(), kind="stable")[:K]] = True
        inside = inside if members is None else members[row].numpy()
        favourable = np.where(inside, high[row], low[row])
        # Ties go to the set.
        overlaps.append(int(inside[np.lexsort((~inside, -favourable))[:K]].sum()))
    return torch.tensor(overlaps)


def measured_intervals(attacked: Attacked) -> tuple[np.ndarray, np.ndarray]:
    """Return intervals of the scores at the attacked inputs, each of shape (rows, n)."""
    means, n = attacked.measured.features.numpy(), attacked.measured.features.shape[1]
    level = 1e-6 / (2 * n)
    if attacked.measured.binary:
        counts = np.rint(means * DRAWS)
        low = np.nan_to_num(beta.ppf(level, counts, DRAWS - counts + 1), nan=0.0)
        high = np.nan_to_num(beta.ppf(1 - level, counts + 1, DRAWS - counts), nan=1.0)
    else:
        margin = np.sqrt(np.log(1 / level) / (2 * DRAWS))
        low, high = means - margin, means + margin
    return low, high


@pytest.mark.parametrize(("name", "target"), [("sparsified", "argmax"), ("sparsified", "label"), ("relaxed", "label")])
@pytest.mark.parametrize("bound", BOUNDS)
def test_no_attack_beats_a_certificate(bound, name, target):
    if bound == "clopper_pearson" and name != "sparsified":
        pytest.skip("a bound of 0/1 maps")
    for radius in RADII:
        found = attacked(name, target, radius)
        certificate = Certifier(bound=bound, confidence=1 - 1e-6).top_k(found.certified, k=K, radius=radius)
        assert (most_overlap(found) >= certificate.overlap).all()
        assert int(certificate.overlap.sum()) > 0


@pytest.mark.parametrize("by", ["one step", "queries"])
def test_neither_one_step_nor_queries_beat_a_certificate(by):
    for radius in RADII:
        found = attacked("sparsified", "label", radius, by)
        assert not torch.equal(found.measured.features, sampled("sparsified", "label").features)
        for bound in BOUNDS:
            certificate = Certifier(bound=bound, confidence=1 - 1e-6).top_k(found.certified, k=K, radius=radius)
            assert (most_overlap(found) >= certificate.overlap).all()


@pytest.mark.parametrize("by", ["one step", "queries"])
def test_far_beyond_the_radius_one_step_and_queries_break_the_bound(by):
    """Check that the comparison can fail for these attacks too."""
    found = attacked("sparsified", "label", FAR, by)
    near = Certifier(bound="best").top_k(found.certified, k=K, radius=RADII[0]).overlap
    assert (most_overlap(found) < near).any()


def test_algorithm_1_leaves_no_more_of_a_smoothed_map():
    left = {by: (attacked("sparsified", "label", RADII[1], by)) for by in ATTACKS}
    shares = {by: float((found.measured.features * own_top(found)).sum()) for by, found in left.items()}
    assert shares["algorithm 1"] <= min(shares["one step"], shares["queries"])
    assert max(shares.values()) < float((sampled("sparsified", "label").features * own_top(left["queries"])).sum())


def own_top(attacked: Attacked) -> Tensor:
    """Return the mask of the certified top K."""
    members = torch.zeros_like(attacked.certified.features, dtype=torch.bool)
    return members.scatter_(1, attacked.certified.features.topk(K, dim=1).indices, True)


@pytest.mark.parametrize("size", [5, 13, 20])
@pytest.mark.parametrize("bound", BOUNDS[1:])
def test_no_attack_beats_a_certificate_of_a_reference_set(bound, size):
    for radius in RADII:
        found, members = attacked_set("sparsified", size, radius)
        certifier = Certifier(bound=bound, confidence=1 - 1e-6)
        certificate = certifier.top_k(found.certified, k=K, radius=radius, reference=members.reshape(ROWS, 1, 8, 8))
        assert (most_overlap(found, members) >= certificate.overlap).all()
        assert int(certificate.overlap.sum()) > 0


def test_far_beyond_the_radius_an_attack_breaks_the_certificate_of_a_reference_set():
    """Check that the comparison can fail."""
    found, members = attacked_set("sparsified", 13, FAR)
    mask = members.reshape(ROWS, 1, 8, 8)
    near = Certifier().top_k(found.certified, k=K, radius=RADII[0], reference=mask).overlap
    assert (most_overlap(found, members) < near).any()


@pytest.mark.parametrize("name", list(EXPLAINERS))
def test_far_beyond_the_radius_an_attack_breaks_the_bound(name):
    """Check that the comparison can fail: it finds certificates false that are used far beyond their radius."""
    found = attacked(name, "label", FAR)
    near = Certifier(bound="best").top_k(found.certified, k=K, radius=RADII[0]).overlap
    assert (most_overlap(found) < near).sum() >= 2
    assert float((most_overlap(found) / K).mean()) < 0.85
    for bound in BOUNDS:
        if bound == "clopper_pearson" and name != "sparsified":
            continue
        certificate = Certifier(bound=bound).top_k(found.certified, k=K, radius=FAR)
        assert (most_overlap(found) >= certificate.overlap).all()


def test_an_attack_changes_a_map_more_than_resampling_does():
    """Check that an attacked map is farther from the certified map than another sample of the same map is."""
    net, images, labels = trained()
    again = EXPLAINERS["sparsified"](net).sample(images, DRAWS, 256, SIGMA, seed=2, target=labels, covariance=False)
    clean = sampled("sparsified", "label")
    moved = [
        (m.features - clean.features).norm(dim=1) for m in (attacked("sparsified", "label", RADII[1]).measured, again)
    ]
    assert (moved[0] > 2 * moved[1]).all()
