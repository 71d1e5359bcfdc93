"""An attack within the radius of a certificate, and the comparison with the certificate."""

import pytest
import torch
from captum.attr import Saliency
from networks import mlp

from captum_certified import Certifier, InvalidInputError, SmoothedMap, SparsifiedSmoothGrad
from captum_certified.robust import challenge_certificate
from captum_certified.theory import top_k_mask

INPUTS = torch.rand((3, 6), generator=torch.Generator().manual_seed(1), dtype=torch.float64)
TARGET = torch.tensor([0, 1, 2])


@pytest.fixture(scope="module")
def explainer():
    return SparsifiedSmoothGrad(Saliency(mlp()), tau=0.4)


@pytest.fixture(scope="module")
def certificate(explainer):
    return Certifier(explainer).certify(
        INPUTS, target=TARGET, k=2, radius=0.05, nt_samples=512, stdevs=0.3, seed=0
    )  # fmt: skip


def test_overlap_is_measured_over_independent_draws(explainer, certificate):
    challenge = challenge_certificate(certificate, explainer, INPUTS, target=TARGET, seed=0, nt_samples=256)
    assert float((challenge.perturbed - INPUTS).norm(dim=1).max()) <= 0.05
    assert challenge.map.seed != certificate.map.seed
    assert challenge.map.n_samples.tolist() == [256] * 3
    top, _ = top_k_mask(challenge.map.features.numpy(), 2)
    expected = (certificate.top_k & torch.from_numpy(top)).sum(dim=1)
    assert challenge.overlap.tolist() == expected.tolist()
    assert challenge.overlap_fraction.tolist() == [int(overlap) / 2 for overlap in expected]
    assert bool((challenge.overlap >= certificate.overlap).all())


def test_the_measurement_has_the_draws_of_the_certificate_by_default(explainer, certificate):
    challenge = challenge_certificate(certificate, explainer, INPUTS, target=TARGET, seed=0, step_num=1)
    assert challenge.map.n_samples.tolist() == [512] * 3


def test_seeds_reproduce_and_options_reach_the_attack(explainer, certificate):
    settings = {"target": TARGET, "nt_samples": 64, "step_num": 2, "keep_class": False}
    one, two, other = (challenge_certificate(certificate, explainer, INPUTS, seed=s, **settings) for s in (1, 1, 2))
    torch.testing.assert_close(one.perturbed, two.perturbed, rtol=0, atol=0)
    assert not torch.equal(one.perturbed, other.perturbed)
    boxed = challenge_certificate(certificate, explainer, INPUTS, seed=1, lower_bound=0.0, upper_bound=1.0, **settings)
    assert 0 <= float(boxed.perturbed.min()) <= float(boxed.perturbed.max()) <= 1


@pytest.mark.parametrize(
    ("attack", "queries"), [("interpretation", 11), ("ghorbani", 11), ("fast_gradient", 2), ("black_box", 25)]
)
def test_attacks_are_chosen_by_name(explainer, certificate, attack, queries):
    settings = {"target": TARGET, "nt_samples": 256, "n_queries": 25, "keep_class": False, "seed": 1}
    for radius in (0.05, 1.0):
        at_radius = Certifier().top_k(certificate.map, k=2, radius=radius)
        challenge = challenge_certificate(at_radius, explainer, INPUTS, attack=attack, **settings)
        assert challenge.queries.tolist() == [queries] * 3
        assert bool((challenge.overlap >= at_radius.overlap).all())
        assert float((challenge.perturbed - INPUTS).norm(dim=1).max()) <= radius
    moves = float((challenge.perturbed - INPUTS).norm(dim=1).max()) > 0
    assert moves or attack == "ghorbani"  # whose ten steps are too short to change a map of 0 and 1


def test_an_unknown_attack_is_refused(explainer, certificate):
    with pytest.raises(InvalidInputError, match=r"Expected `attack` to be one of \['black_box', .* got 'square'"):
        challenge_certificate(certificate, explainer, INPUTS, attack="square", target=TARGET)


def test_an_attack_far_beyond_the_radius_lowers_the_overlap(explainer, certificate):
    far = Certifier().top_k(certificate.map, k=2, radius=3.0)
    challenge = challenge_certificate(far, explainer, INPUTS, target=TARGET, seed=0, keep_class=False)
    assert int(challenge.overlap.sum()) < 3 * 2


def test_groups_are_the_features(explainer):
    groups = torch.tensor([[0, 0, 1, 1, 2, 2]])
    certificate = Certifier(explainer).certify(
        INPUTS, target=TARGET, k=1, radius=0.05, nt_samples=256, stdevs=0.3, seed=0, groups=groups
    )
    challenge = challenge_certificate(certificate, explainer, INPUTS, target=TARGET, seed=0)
    assert challenge.map.features.shape == (3, 3)
    assert bool((challenge.overlap <= 1).all())


def test_another_number_of_inputs_is_refused(explainer, certificate):
    with pytest.raises(InvalidInputError, match="Expected `inputs` of the 3 examples of the certificate, got 2"):
        challenge_certificate(certificate, explainer, INPUTS[:2], target=TARGET[:2])


def test_other_inputs_and_other_explanations_are_refused(explainer, certificate):
    with pytest.raises(InvalidInputError, match="Expected the `inputs` that were certified"):
        challenge_certificate(certificate, explainer, INPUTS + 0.1, target=TARGET)
    other = SparsifiedSmoothGrad(Saliency(mlp()), tau=0.5)
    with pytest.raises(InvalidInputError, match=r"another tau: 0\.5 for 0\.4"):
        challenge_certificate(certificate, other, INPUTS, target=TARGET, nt_samples=8, step_num=1)
    with pytest.raises(InvalidInputError, match="another target"):
        challenge_certificate(certificate, explainer, INPUTS, target=0, nt_samples=8, step_num=1)


def test_a_certificate_with_several_noise_levels_is_refused():
    smoothed = SmoothedMap.from_mean(torch.rand(1, 4), n_samples=100, stdevs=(0.4, 0.1))
    certificate = Certifier().top_k(smoothed, k=2, radius=0.1)
    with pytest.raises(InvalidInputError, match="one noise level for all inputs"):
        challenge_certificate(certificate, None, (torch.rand(1, 2), torch.rand(1, 2)))


@pytest.mark.parametrize("reference", ["plain", "mask"])
def test_a_certificate_of_a_reference_set_is_challenged_on_this_set(explainer, certificate, reference):
    mask = torch.tensor([[True, True, False, False, True, False]])
    reference = mask if reference == "mask" else reference
    about = Certifier().top_k(certificate.map, k=2, radius=0.05, reference=reference)
    challenge = challenge_certificate(about, explainer, INPUTS, target=TARGET, seed=0, nt_samples=256)
    top, _ = top_k_mask(challenge.map.features.numpy(), 2)
    assert torch.equal(challenge.overlap, (about.members & torch.from_numpy(top)).sum(dim=1))
    assert challenge.overlap_fraction.tolist() == [int(overlap) / 2 for overlap in challenge.overlap]
    assert bool((challenge.overlap >= about.overlap).all())
    assert "% of the reference left within L2 radius" in repr(challenge)
