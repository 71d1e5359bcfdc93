"""Every per-draw map is compared with its literal version, on magnitudes with ties, zeros and extreme values."""

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from captum.attr import Saliency
from explainers import EXPLAINERS, portion
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import GateNet
from test_sign import CLASSES
from torch.testing import assert_close

import captum_certified
from captum_certified import RelaxedSparsifiedSmoothGrad, ScaledSmoothGrad, SparsifiedSmoothGrad

explainers = pytest.mark.parametrize("name", list(EXPLAINERS))
METHOD = Saliency(GateNet((4,)))


def per_draw(name, magnitudes):
    return EXPLAINERS[name].make(METHOD).per_draw_map(torch.as_tensor(magnitudes)).values


def assert_literal(name, magnitudes):
    values = per_draw(name, magnitudes)
    expected = np.stack([EXPLAINERS[name].literal(row) for row in np.asarray(magnitudes, dtype=np.float64)])
    tolerance = 1e-6 if torch.as_tensor(magnitudes).dtype == torch.float32 else 1e-14
    assert_close(values.double(), torch.from_numpy(expected), rtol=tolerance, atol=0)
    assert values.dtype == torch.bool or values.dtype == torch.as_tensor(magnitudes).dtype


def test_every_map_that_can_be_certified_is_listed():
    public = [getattr(captum_certified, name) for name in captum_certified.__all__]
    classes = [c for c in public if isinstance(c, type) and issubclass(c, captum_certified.attr.SmoothedAttribution)]
    certifiable = {c.__name__ for c in classes if c.noise_law == "gaussian"} - {"SmoothedAttribution"}
    guide = (Path(__file__).parents[2] / "docs" / "guide" / "maps.md").read_text(encoding="utf-8")
    lists = {
        "EXPLAINERS in tests/explainers.py": {type(e.make(METHOD)).__name__ for e in EXPLAINERS.values()},
        "CLASSES in tests/attr/test_sign.py": {c.__name__ for c in CLASSES},
        "the table in docs/guide/maps.md": {name for name in certifiable if f"| `{name}` |" in guide},
    }
    assert {place: missing for place, listed in lists.items() if (missing := certifiable - listed)} == {}


@explainers
@settings(max_examples=80, deadline=None, derandomize=True)
@given(st.data())
def test_maps_are_literal_on_small_integers(name, data):
    n = data.draw(st.integers(1, 12))
    rows = data.draw(st.lists(st.lists(st.integers(0, 4), min_size=n, max_size=n), min_size=1, max_size=3))
    assert_literal(name, np.array(rows, dtype=np.float64))


@explainers
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_maps_are_literal_on_random_magnitudes(name, dtype):
    rng = np.random.default_rng(0)
    assert_literal(name, np.maximum(rng.standard_normal((20, 100)), 0).astype(dtype))


@explainers
@pytest.mark.parametrize("size", [1e-36, 1e-30, 1e-20, 1e20, 1e37])
def test_the_size_of_the_magnitudes_does_not_matter(name, size):
    magnitudes = np.random.default_rng(0).random((3, 40)) + 0.1
    reference = per_draw(name, magnitudes).double()
    assert_close(per_draw(name, (magnitudes * size).astype(np.float32)).double(), reference, rtol=1e-4, atol=1e-9)


@explainers
def test_an_all_zero_draw_is_all_zeros(name):
    assert not per_draw(name, np.zeros((2, 30))).any()


@explainers
def test_values_and_squared_norms_stay_within_their_bounds(name):
    explainer = EXPLAINERS[name].make(METHOD)
    rng = np.random.default_rng(3)
    for magnitudes in (rng.random((50, 61)), rng.integers(0, 3, (50, 61)), rng.pareto(0.3, (50, 61))):
        values = explainer.per_draw_map(torch.as_tensor(magnitudes, dtype=torch.float64)).values.double()
        assert bool(((values >= 0) & (values <= 1)).all())
        # One ulp for the normalised map, whose bound is reached.
        assert bool((values.square().sum(1) <= explainer.per_draw_map.max_squared_norm(61) * (1 + 1e-12)).all())


@explainers
def test_a_row_does_not_depend_on_the_others(name):
    magnitudes = np.random.default_rng(1).random((6, 33))
    whole = per_draw(name, magnitudes)
    for row in range(6):
        assert torch.equal(per_draw(name, magnitudes[row : row + 1])[0], whole[row])


@explainers
def test_binary_maps_are_declared_as_binary(name):
    assert EXPLAINERS[name].make(METHOD).per_draw_map.binary == EXPLAINERS[name].binary
    assert (per_draw(name, np.ones((1, 3))).dtype == torch.bool) == EXPLAINERS[name].binary


@pytest.mark.parametrize("tau", [0.07, 0.1, 0.29, 0.5, 1.0])
def test_exactly_the_asked_number_is_selected(tau):
    selected = SparsifiedSmoothGrad(METHOD, tau=tau).per_draw_map(torch.rand(4, 100) + 0.1).values
    assert selected.sum(1).tolist() == [portion(tau, 100)] * 4


def test_a_fraction_too_small_for_one_feature_still_selects_one():
    selected = SparsifiedSmoothGrad(METHOD, tau=1e-12).per_draw_map(torch.tensor([[1.0, 3.0, 2.0]])).values
    assert selected.tolist() == [[False, True, False]]


# -- the warning about ties ----------------------------------------------------------------------------------


class Blocks(torch.nn.Module):
    """Model whose gradients come in equal pairs, or are zero for most inputs."""

    def __init__(self, gradient):
        super().__init__()
        self.gradient = gradient

    def forward(self, inputs):
        return (inputs * self.gradient).sum(1, keepdim=True)


def test_ties_at_the_threshold_warn_and_name_the_remedy():
    explainer = SparsifiedSmoothGrad(Saliency(Blocks(torch.ones(20))), tau=0.5)
    with pytest.warns(UserWarning, match=r"In 8 of 8 draws more than 1 % of the salient .* Pass `groups`"):
        explainer.attribute(torch.zeros(2, 20), nt_samples=4, stdevs=0.1, target=0)


@pytest.mark.parametrize(
    "gradient",
    [
        torch.arange(1.0, 21.0),  # all different
        torch.arange(20.0).clamp_max(15),  # equal among the selected only
        torch.cat([torch.zeros(14), torch.arange(1.0, 7.0)]),  # fewer positive than asked for: zeros are not selected
        torch.zeros(20),
    ],
    ids=["distinct", "tied inside", "few positive", "all zero"],
)
def test_no_warning_where_the_index_placed_nothing(gradient):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        SparsifiedSmoothGrad(Saliency(Blocks(gradient)), tau=0.5).attribute(
            torch.zeros(2, 20), nt_samples=4, stdevs=0.1, target=0
        )


def test_maps_without_selection_never_warn():
    ScaledSmoothGrad(Saliency(Blocks(torch.ones(20)))).attribute(torch.zeros(2, 20), nt_samples=4, target=0)


def test_the_relaxed_map_of_eq_2_5_by_hand():
    """n = 10, γn = 2, τn = 4: two ones, then two ratios to the second largest value, then zeros."""
    gradient = torch.tensor([[9.0, 1.0, 0.0, 8.0, 2.0, 4.0, 3.0, 1.0, 6.0, 5.0]])
    values = RelaxedSparsifiedSmoothGrad(METHOD, tau=0.4, gamma=0.2).per_draw_map(gradient).values
    assert values.tolist() == [[1, 0, 0, 1, 0, 0, 0, 0, 0.75, 0.625]]


def test_the_sparsified_map_of_eq_2_4_by_hand():
    gradient = torch.tensor([[9.0, 1.0, 0.0, 8.0, 2.0, 4.0, 3.0, 1.0, 6.0, 5.0]])
    values = SparsifiedSmoothGrad(METHOD, tau=0.4).per_draw_map(gradient).values
    assert values.tolist() == [[True, False, False, True, False, False, False, False, True, True]]
