"""What a certified overlap is worth: chance, brightness, random weights, the classes of noisy copies, cautions."""

import json
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from captum.attr import Saliency
from scipy.stats import binom, hypergeom, norm

from captum_certified import Certificate, Certifier, SmoothedMap, SparsifiedSmoothGrad
from captum_certified.certify.worth import near_chance, shared_fraction
from captum_certified.theory import class_ratio

N_FEATURES, K = 40, 8


def a_map(*, plain, counts=None, votes=(200, 256), brightness=None, randomised=None):
    counts = torch.arange(N_FEATURES).flip(0)[None] * 25 if counts is None else counts
    made = SmoothedMap.from_counts(counts, n_samples=1000, stdevs=0.5)
    return replace(
        made, plain=plain, brightness=brightness, randomised=randomised, class_votes=torch.tensor([list(votes)])
    )


FALLING = torch.arange(N_FEATURES, 0, -1).double()[None]
RISING = FALLING.flip(1)


def test_the_overlap_of_other_maps_with_the_reference():
    half = torch.cat([FALLING[:, :4], RISING[:, 4:]], dim=1)  # half of its top is that of the falling map
    smoothed = a_map(plain=FALLING, brightness=RISING, randomised=torch.stack([FALLING, RISING, half], dim=1))
    certificate = Certifier().top_k(smoothed, k=K, radius=0.0, reference="plain")
    assert certificate.chance.tolist() == [K / N_FEATURES]
    assert certificate.brightness.tolist() == [0.0]
    assert 0 < float(certificate.randomised) < 1
    each = [float(shared_fraction(m, certificate.members, K)) for m in smoothed.randomised[0][:, None]]
    assert each[:2] == [1.0, 0.0]
    assert float(certificate.randomised) == pytest.approx(np.mean(each))
    assert float(certificate.margin) == pytest.approx(float(certificate.overlap_fraction) - np.mean(each))
    blind = Certifier().top_k(a_map(plain=FALLING), k=K, radius=0.0, reference="plain")
    assert (blind.brightness, blind.randomised) == (None, None)
    assert float(blind.margin) == pytest.approx(float(blind.overlap_fraction) - K / N_FEATURES)


def test_entries_that_are_zero_are_in_no_top_set():
    black = torch.zeros(1, N_FEATURES)
    certificate = Certifier().top_k(a_map(plain=FALLING, brightness=black), k=K, radius=0.0)
    assert certificate.brightness.tolist() == [0.0]


@pytest.mark.parametrize("bound", ["best", "clopper_pearson", "kl", "hoeffding"])
def test_both_headlines_come_from_one_map_one_bound_and_one_number_of_violations(bound):
    rng = np.random.default_rng(0)
    counts = torch.from_numpy(rng.integers(0, 1001, (1, 400)))
    smoothed = replace(
        SmoothedMap.from_counts(counts, n_samples=1000, stdevs=0.5), plain=counts.double().clamp_min(600) - 600
    )
    own = Certifier(bound=bound, violations=2).top_k(smoothed, k=200, radius=0.01)
    plain = own.of_plain
    assert (plain.reference, plain.violations, plain.bound) == ("plain", own.violations, own.bound)
    again = Certifier(bound=bound, violations=2).top_k(smoothed, k=200, radius=0.01, reference="plain")
    assert torch.equal(plain.overlap, again.overlap)
    assert plain.of_plain is plain
    assert own.to_dict()["of_plain"]["overlap"] == plain.overlap.tolist()
    assert plain.headline(0) in own.summaries()[0]


def test_there_is_no_second_headline_without_a_plain_map_or_under_theorem_2():
    smoothed = a_map(plain=FALLING)
    assert Certifier(bound="theorem2").top_k(smoothed, k=K, radius=0.0).of_plain is None
    assert Certifier().top_k(replace(smoothed, plain=None), k=K, radius=0.0).of_plain is None
    assert Certifier().top_k(replace(smoothed, plain=0 * FALLING), k=K, radius=0.0).of_plain is None


# -- the class -------------------------------------------------------------------------------------------------


def test_the_class_radius_has_the_values_of_cohen_et_al():
    # 100 of 100 copies at α = 0.001: p = 0.001^(1/100) = 0.9333, Φ⁻¹(p) = 1.5005.
    assert class_ratio(np.array([100]), np.array([100]), alpha=0.001) == pytest.approx([1.5005], abs=1e-4)
    assert class_ratio(np.array([128, 0]), np.array([256, 256]), alpha=0.05).tolist() == [0.0, 0.0]
    certificate = Certifier(confidence=0.95).top_k(a_map(plain=FALLING, votes=(250, 256)), k=K, radius=0.0)
    assert certificate.class_kept.tolist() == [250 / 256]
    assert float(certificate.class_radius) == pytest.approx(0.5 * 1.6877, abs=1e-4)
    assert Certifier().top_k(replace(a_map(plain=FALLING), class_votes=None), k=K, radius=0.0).class_radius is None


def test_the_class_radius_covers_the_exact_probability():
    """Among all counts the certified radius exceeds the exact one with at most the allowed probability."""
    for p in (0.51, 0.7, 0.93, 0.999):
        counts = np.arange(257)
        ratios = class_ratio(counts, np.full(257, 256), alpha=0.05)
        assert binom.pmf(counts, 256, p)[ratios > norm.ppf(p)].sum() <= 0.05


def test_within_two_standard_errors_of_chance_is_near_chance():
    members = torch.zeros(1, 100, dtype=torch.bool)
    members[:, :20] = True
    law = hypergeom(100, 20, 20)
    limit = law.mean() + 2 * law.std()
    overlaps = torch.arange(21)
    near = [bool(near_chance(torch.tensor([overlap]), members, 20)) for overlap in overlaps.tolist()]
    assert near == (overlaps <= limit).tolist()


# -- cautions --------------------------------------------------------------------------------------------------


def blind(x):
    """Two classes that single noisy copies hardly keep: the sign of a product of many entries."""
    product = torch.sin(40 * x).sum(dim=1)
    return torch.stack([product, -product], dim=1)


@pytest.mark.parametrize("overlap", [None, 1])
def test_certify_warns_when_the_model_is_blind(overlap):
    x = torch.full((2, 60), 0.04)
    certifier = Certifier(SparsifiedSmoothGrad(Saliency(blind), tau=0.2))
    settings = {"k": 0.2, "radius": 0.01, "nt_samples": 256, "stdevs": 3.0, "target": 0, "seed": 1, "overlap": overlap}
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        certificate = None
        with pytest.warns(UserWarning, match=r"The certificate of example \d( and 1 others)? may mean little: "):
            certificate = certifier.certify(x, **settings)
    assert certificate.class_kept.max() < 0.7
    assert "caution: " in certificate.summaries()[0] + certificate.summaries()[1]


def test_a_map_that_shows_the_plain_map_and_keeps_the_class_has_no_caution():
    certificate = Certifier().top_k(a_map(plain=FALLING), k=K, radius=0.0)
    assert certificate.cautions(0) == []
    assert certificate.to_dict()["cautions"] == [[]]
    unlike = Certifier().top_k(a_map(plain=RISING, votes=(100, 256)), k=K, radius=0.0)
    assert unlike.cautions(0) == [
        "only 39% of noisy copies keep the predicted class: under this noise the model hardly sees the input (use a "
        "smaller σ, train the model under noise, or denoise)",
        "the smoothed map shares no more with the plain map than chance would",
    ]


def test_files_and_json_keep_all_of_it(tmp_path):
    smoothed = a_map(plain=FALLING, brightness=RISING, randomised=torch.stack([FALLING, RISING], dim=1))
    certificate = Certifier().top_k(smoothed, k=K, radius=0.001)
    certificate.save(tmp_path / "certificate.npz")
    loaded = Certificate.load(tmp_path / "certificate.npz")
    assert loaded.to_dict() == certificate.to_dict()
    record = json.loads(certificate.to_json())
    assert record["randomised"] == [0.5]
    assert record["margin"][0] == pytest.approx(record["overlap_fraction"][0] - 0.5)
    assert record["class_kept"] == [200 / 256]
