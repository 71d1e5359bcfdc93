"""The certifier: its arguments, its choice of bounds, and the numbers of its certificates."""

import numpy as np
import pytest
import torch
from captum.attr import Saliency
from contract import of_any_draws
from networks import GateNet, cnn, images
from reference import hoeffding_c, theorem_2

from captum_certified import (
    CertificationError,
    Certifier,
    InvalidInputError,
    ScaledSmoothGrad,
    SmoothedMap,
    SparsifiedSmoothGrad,
)
from captum_certified.certify.bounds.registry import BOUNDS

NAN, INF = float("nan"), float("inf")
RNG = np.random.default_rng(0)
COUNTS = torch.from_numpy(RNG.binomial(5000, RNG.beta(0.4, 2.0, (3, 120))))
MAP = SmoothedMap.from_counts(COUNTS, n_samples=5000, stdevs=0.25)
# Bounds that need only counts.
COUNTING = [name for name, bound in BOUNDS.items() if bound.refusal(MAP) is None]
bounds = pytest.mark.parametrize("bound", COUNTING)


def of_counts(counts, **settings):
    return SmoothedMap.from_counts(torch.tensor([counts]), **{"n_samples": 1000, "stdevs": 0.2, **settings})


# -- values --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("k", [1, 12, 60, 90, 120])
@pytest.mark.parametrize("radius", [0.0, 0.01, 0.05, 0.2])
@pytest.mark.parametrize("confidence", [0.5, 0.95, 0.999])
def test_theorem2_equals_the_printed_theorem(k, radius, confidence):
    certificate = Certifier(bound="theorem2", confidence=confidence).top_k(MAP, k=k, radius=radius)
    c = hoeffding_c(120, draws=5000, confidence=confidence)
    assert certificate.overlap.tolist() == [
        theorem_2(row, c=c, k=k, ratio=radius / 0.25) for row in MAP.features.numpy()
    ]


def test_the_radius_is_measured_in_the_units_of_the_input():
    doubled = SmoothedMap.from_counts(COUNTS, n_samples=5000, stdevs=0.5)
    for bound in COUNTING:
        certifier = Certifier(bound=bound)
        one = certifier.top_k_curve(MAP, k=20, radii=[0.01, 0.05])
        assert torch.equal(certifier.top_k_curve(doubled, k=20, radii=[0.02, 0.1]), one)


def test_radii_of_tuples_are_measured_in_the_first_noisy_tensor():
    pair = SmoothedMap.from_counts((COUNTS[:, :60], COUNTS[:, 60:]), n_samples=5000, stdevs=(0.0, 0.25))
    assert torch.equal(
        Certifier().top_k_curve(pair, k=20, radii=[0.01, 0.05]), Certifier().top_k_curve(MAP, k=20, radii=[0.01, 0.05])
    )


def test_rows_with_their_own_draws_have_their_own_intervals():
    rows = torch.tensor([500, 5000, 50000])
    same = SmoothedMap.from_counts(rows.unsqueeze(1) * torch.tensor([[9, 8, 2, 1]]) // 10, n_samples=rows, stdevs=0.2)
    overlap = Certifier(bound="hoeffding").top_k_curve(same, k=2, radii=[0.12, 0.16]).tolist()
    assert overlap == sorted(overlap)
    assert overlap[0] != overlap[2]


@bounds
def test_radii_may_be_any_sequence_of_any_dtype(bound):
    certifier = Certifier(bound=bound)
    expected = certifier.top_k_curve(MAP, k=20, radii=[0.0, 0.125, 1.0])
    assert expected.dtype == torch.int64
    assert expected.shape == (3, 3)
    for radii in (
        (0, 0.125, 1),
        torch.tensor([0, 0.125, 1]),
        torch.tensor([0, 0.125, 1]).double(),
        np.array([0, 0.125, 1]),
    ):
        assert torch.equal(certifier.top_k_curve(MAP, k=20, radii=radii), expected)
    assert certifier.top_k_curve(MAP, k=20, radii=[]).shape == (3, 0)


def test_certify_samples_and_certifies():
    explainer = SparsifiedSmoothGrad(Saliency(GateNet((3, 8, 8))), tau=0.2)
    settings = {"nt_samples": 300, "stdevs": 0.3, "seed": 4, "target": 1}
    x = images(2)
    certifier = Certifier(explainer, bound="hoeffding", confidence=0.9, violations=1)
    certificate = certifier.certify(x, k=0.2, radius=0.01, nt_samples_batch_size=16, **settings)
    sampled = explainer.sample(x, **settings)
    assert torch.equal(certificate.map.counts, sampled.counts)
    alone = certifier.top_k(sampled, k=0.2, radius=0.01)
    assert torch.equal(certificate.overlap, alone.overlap)
    assert (certificate.k, certificate.radius, certificate.confidence) == (39, 0.01, 0.9)
    assert (certificate.bound, certificate.violations) == ("hoeffding", 1)


def test_a_top_set_larger_than_the_map_is_refused_after_a_block():
    rows = []

    def counted(x):
        rows.append(len(x))
        return x[:, :1].square()

    with pytest.raises(InvalidInputError, match="number of features from 1 to 6"):
        Certifier(SparsifiedSmoothGrad(Saliency(counted))).certify(
            torch.zeros(1, 6), target=0, k=7, radius=0.1, nt_samples=2**20, stdevs=0.2
        )
    assert sum(rows) < 3000


def test_certify_passes_all_arguments_on():
    explainer = SparsifiedSmoothGrad(Saliency(cnn()), tau=0.2)
    certificate = Certifier(explainer).certify(
        images(2),
        k=5,
        radius=0.0,
        nt_samples=4,
        stdevs=0.3,
        seed=2,
        groups="channels",
        target=[0, 1],
        attribution_kwargs={"abs": False},
        show_progress=False,
    )
    assert certificate.map.features.shape == (2, 64)
    assert certificate.map.setup["groups"] == "channels"
    assert certificate.map.setup["target"] == [0, 1]
    assert certificate.map.seed == 2


# -- k, violations, bounds -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("k", "count"),
    [(1, 1), (1.0, 120), (0.2, 24), (24, 24), (0.07, 9), (1e-9, 1), (np.int64(3), 3), (np.float32(0.5), 60)],
)
def test_k_is_a_count_or_a_fraction(k, count):
    certificate = Certifier().top_k(MAP, k=k, radius=0.0)
    assert certificate.k == count
    assert int(certificate.top_k.sum()) == 3 * count
    assert torch.equal(Certifier().top_k_curve(MAP, k=k, radii=[0.0])[:, 0], certificate.overlap)


@pytest.mark.parametrize("k", [0, -1, 121, 0.0, -0.1, 1.1, NAN, INF, True, False, "5", None, 5 + 0j])
def test_an_invalid_k_is_refused(k):
    message = r"Expected `k` to be a number of features from 1 to 120, or a fraction of them in \(0, 1\], got "
    for call in (
        lambda: Certifier().top_k(MAP, k=k, radius=0.0),
        lambda: Certifier().top_k_curve(MAP, k=k, radii=[0.0]),
        lambda: Certifier().rank(MAP, radius=0.0).in_top_k(k),
    ):
        with pytest.raises(InvalidInputError, match=message):
            call()


@pytest.mark.parametrize(("violations", "allowed"), [("auto", 0), (0, 0), (2, 2), (0.1, 3), (1.0, 24), (24, 24)])
def test_violations_are_a_count_or_a_fraction_of_k(violations, allowed):
    certificate = Certifier(bound="hoeffding", violations=violations).top_k(MAP, k=24, radius=0.0)
    assert certificate.violations == allowed


@pytest.mark.parametrize(("k", "allowed"), [(199, 0), (200, 1), (399, 1), (400, 2), (1000, 5)])
def test_automatic_violations_are_one_for_every_200_features(k, allowed):
    wide = SmoothedMap.from_counts(torch.arange(1000).unsqueeze(0), n_samples=1000, stdevs=0.2)
    assert Certifier(bound="hoeffding").top_k(wide, k=k, radius=0.0).violations == allowed
    assert Certifier(bound="theorem2").top_k(wide, k=k, radius=0.0).violations == 0
    assert Certifier(bound="theorem2", violations=3).top_k(wide, k=k, radius=0.0).violations == 0
    assert Certifier(bound="hoeffding", violations=3).rank(wide, radius=0.0).violations == 0


@pytest.mark.parametrize("violations", [-1, 1.5, NAN, True, "none", None])
def test_invalid_violations_are_refused_at_once(violations):
    with pytest.raises(InvalidInputError, match="Expected `violations`"):
        Certifier(violations=violations)


def test_more_violations_than_features_are_refused():
    with pytest.raises(InvalidInputError, match=r"Expected `violations` to be a number of features from 0 to 5"):
        Certifier(bound="hoeffding", violations=6).top_k(MAP, k=5, radius=0.0)


def test_best_names_its_bound_and_certifies_no_less_than_others():
    radii = [0.0, 0.01, 0.03, 0.05, 0.1]
    for smoothed_map in (MAP, SmoothedMap.from_mean(MAP.mean, n_samples=5000, stdevs=0.25)):
        named = Certifier().top_k(smoothed_map, k=24, radius=0.0).bound
        assert named in BOUNDS
        best = Certifier(violations=0).top_k_curve(smoothed_map, k=24, radii=radii)
        for bound in ("theorem2", "hoeffding"):
            assert bool(
                (best >= Certifier(bound=bound, violations=0).top_k_curve(smoothed_map, k=24, radii=radii)).all()
            )


@pytest.mark.parametrize("bound", ["Theorem2", "", None, "lecuyer?", 2])
def test_unknown_bounds_are_refused(bound):
    with pytest.raises(InvalidInputError, match=r"Expected `bound` to be one of \['best', .*'theorem2'.*\], got "):
        Certifier(bound=bound)


# -- refusals ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("confidence", [0, 1, 1.0, 0.0, -0.5, 95, NAN, INF, True, "0.95", None])
def test_invalid_confidences_are_refused(confidence):
    with pytest.raises(InvalidInputError, match=r"Expected `confidence` to be a finite number > 0 and < 1, got "):
        Certifier(confidence=confidence)


@pytest.mark.parametrize("radius", [-1.0, -1e-9, NAN, INF, -INF, True, "0.1", None, [0.1]])
def test_invalid_radii_are_refused(radius):
    explainer = SparsifiedSmoothGrad(Saliency(cnn()))
    message = r"Expected `radius` to be a finite number >= 0, got "
    for call in (
        lambda: Certifier().top_k(MAP, k=3, radius=radius),
        lambda: Certifier().rank(MAP, radius=radius),
        lambda: Certifier(explainer).certify(images(1), k=3, radius=radius, nt_samples=8, stdevs=0.1, target=1),
    ):
        with pytest.raises(InvalidInputError, match=message):
            call()


@pytest.mark.parametrize("radius", [-1.0, NAN, INF])
def test_invalid_radii_of_a_curve_are_refused(radius):
    with pytest.raises(InvalidInputError, match=r"Expected `radius` to be a finite number >= 0, got "):
        Certifier().top_k_curve(MAP, k=3, radii=[0.1, radius])


def test_a_message_names_argument_expectation_and_value():
    with pytest.raises(InvalidInputError, match=r"^Expected `radius` to be a finite number >= 0, got -1\.0\.$"):
        Certifier().top_k(MAP, k=3, radius=-1.0)


@pytest.mark.parametrize("method", [Saliency(cnn()), "SparsifiedSmoothGrad", SparsifiedSmoothGrad])
def test_other_attribution_methods_are_refused(method):
    with pytest.raises(InvalidInputError, match="Expected `attribution_method` to be a smoothed attribution such as"):
        Certifier(method)


def test_certify_needs_an_attribution_method():
    with pytest.raises(
        InvalidInputError, match="Expected a Certifier with an `attribution_method` to sample from, got None"
    ):
        Certifier().certify(images(1), k=3, radius=0.1, nt_samples=8, stdevs=0.1, target=1)


@pytest.mark.parametrize("smoothed_map", [None, torch.rand(1, 3), "map.npz"])
def test_other_values_than_maps_are_refused(smoothed_map):
    for call in (
        lambda: Certifier().top_k(smoothed_map, k=1, radius=0.1),
        lambda: Certifier().top_k_curve(smoothed_map, k=1, radii=[0.1]),
        lambda: Certifier().rank(smoothed_map, radius=0.1),
    ):
        with pytest.raises(InvalidInputError, match="Expected `smoothed_map` to be a SmoothedMap, got "):
            call()


def test_one_draw_certifies_nothing():
    for call in (
        lambda: Certifier().top_k(of_counts([1, 0], n_samples=1), k=1, radius=0.0),
        lambda: Certifier().rank(of_counts([1, 0], n_samples=1), radius=0.0),
        lambda: Certifier(SparsifiedSmoothGrad(Saliency(cnn()))).certify(
            images(1), k=3, radius=0.1, nt_samples=1, stdevs=0.1, target=1
        ),
    ):
        with pytest.raises(CertificationError, match=r"Expected at least 2 draws to certify, got 1\."):
            call()


def test_maps_without_noise_are_refused():
    with pytest.raises(CertificationError, match=r"Expected a map smoothed with `stdevs` > 0, got no noise\."):
        Certifier().top_k(of_counts([5, 3], stdevs=0.0), k=1, radius=0.0)


@bounds
def test_maps_outside_the_unit_interval_are_refused(bound):
    for mean in (torch.tensor([[0.5, 1.5]]), torch.tensor([[-0.1, 0.5]])):
        smoothed_map = of_any_draws(mean, n_samples=100, stdevs=0.2, second_moment=mean.double().square())
        for name in (bound, "best"):
            with pytest.raises(CertificationError, match=r"Expected a map with values in \[0, 1\], got means from"):
                Certifier(bound=name).top_k(smoothed_map, k=1, radius=0.0)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"nt_samples": 0}, (InvalidInputError, CertificationError), "draws|nt_samples"),
        ({"nt_samples": 2.5}, InvalidInputError, "Expected `nt_samples`"),
        ({"stdevs": 0.0}, CertificationError, "no noise"),
        ({"stdevs": -1}, InvalidInputError, "Expected `stdevs`"),
        ({"stdevs": NAN}, InvalidInputError, "Expected `stdevs`"),
        ({"nt_type": "vargrad"}, InvalidInputError, "Expected no `nt_type`"),
        ({"k": 193}, InvalidInputError, "Expected `k` to be a number of features from 1 to 192"),
        ({"k": True}, InvalidInputError, "Expected `k`"),
    ],
)
def test_certify_refuses_what_sampling_refuses(settings, error, message):
    certifier = Certifier(SparsifiedSmoothGrad(Saliency(cnn())))
    with pytest.raises(error, match=message):
        certifier.certify(images(1), **{"k": 3, "radius": 0.1, "nt_samples": 8, "stdevs": 0.1, "target": 1, **settings})


def test_certify_refuses_integer_images_and_training_mode():
    certifier = Certifier(ScaledSmoothGrad(Saliency(cnn().train())))
    settings = {"k": 3, "radius": 0.1, "nt_samples": 8, "stdevs": 0.1, "target": 1}
    with pytest.raises(CertificationError, match="in training mode"):
        certifier.certify(images(1), **settings)
    with pytest.raises(CertificationError, match="Expected floating point inputs"):
        certifier.certify(torch.zeros(1, 3, 8, 8, dtype=torch.uint8), **settings)
