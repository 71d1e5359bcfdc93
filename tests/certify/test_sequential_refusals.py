"""Sequential runs refuse goals that cannot be certified, if possible before they sample."""

import pytest
from networks import GateNet, Watched
from sequential_runs import SHAPE, X, certified, explainer

from captum_certified import (
    CertificationError,
    Certifier,
    InvalidInputError,
)


@pytest.mark.parametrize("overlap", [0, -1, 13, 0.0, 1.5, True, "half", float("nan")])
def test_invalid_overlaps_are_refused_before_sampling(overlap):
    with pytest.raises(InvalidInputError, match=r"Expected `overlap` to be a number of features from 1 to 12, or"):
        certified(of=explainer(Watched(GateNet(SHAPE), fails_at=1)), overlap=overlap)


def test_an_overlap_of_zero_of_a_fraction_of_features_is_refused_before_sampling():
    message = r"Expected `overlap` to be a number of features from 1, or a fraction of them in \(0, 1\], got 0\."
    with pytest.raises(InvalidInputError, match=message):
        certified(of=explainer(Watched(GateNet(SHAPE), fails_at=1)), k=0.2, overlap=0)


def test_an_overlap_beyond_a_fraction_of_features_is_refused_after_the_first_look():
    model = Watched(GateNet(SHAPE))
    with pytest.raises(InvalidInputError, match=r"Expected `overlap` to be a number of features from 1 to 10, or"):
        certified(of=explainer(model), k=0.2, overlap=11)
    # One block, the clean input and its copies, the probe draw and the four passes of the probe; then 256 noisy copies
    # and the clean input, whose classes are counted.
    assert model.rows == (64 + 4 + 4 * 16 + 1 + 256) * len(X)


@pytest.mark.parametrize("nt_samples", [2.5, "many", None, True, 0, -5])
def test_invalid_caps_are_refused(nt_samples):
    with pytest.raises((InvalidInputError, CertificationError), match=r"nt_samples|at least 2 draws"):
        certified(nt_samples=nt_samples)


@pytest.mark.parametrize("covariance", ["yes", 1, 0.5])
def test_invalid_covariances_are_refused(covariance):
    with pytest.raises(InvalidInputError, match=r"Expected `covariance` to be"):
        certified(covariance=covariance)


def test_another_first_draw_is_refused():
    with pytest.raises(InvalidInputError, match=r"Expected no `first_draw` with `overlap`, got 64: interim looks"):
        certified(first_draw=64)


def test_sequential_runs_refuse_invalid_arguments_of_sampling():
    with pytest.raises(CertificationError, match="no noise"):
        certified(stdevs=0.0)
    with pytest.raises(InvalidInputError, match="Expected a Certifier with an `attribution_method`"):
        Certifier().certify(X, k=1, radius=0.1, overlap=1, nt_samples=8, stdevs=0.1)
    with pytest.raises(CertificationError, match=r"`bound`='spectral' does not apply"):
        certified(certifier={"bound": "spectral"}, covariance=False)
