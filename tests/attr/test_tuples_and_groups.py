"""Tuples of inputs, grouped features, precisions and layers."""

import pytest
import torch
from captum.attr import (
    FeatureAblation,
    InputXGradient,
    IntegratedGradients,
    LayerGradCam,
    Occlusion,
    Saliency,
)
from captum.testing.helpers import basic_models
from networks import GateNet, cnn, images
from torch import nn
from torch.testing import assert_close

from captum_certified import (
    CertificationError,
    Certifier,
    InvalidInputError,
    ScaledSmoothGrad,
    SparsifiedSmoothGrad,
    UniformGradient,
    Upsampled,
)
from captum_certified.maps import FeatureLayout
from captum_certified.sampling import make_noise


class TwoInputs(nn.Module):
    """Σ weights · relu(first − b) + scale · Σ weights · relu(second − b), with a mask on the second input."""

    def __init__(self):
        super().__init__()
        self.first, self.second = GateNet((4,), seed=1), GateNet((2, 3), seed=2)

    def forward(self, first, second, mask=None, scale=0.37):
        kept = second if mask is None else second * mask
        return self.first(first) + scale * self.second(kept)


@pytest.fixture(autouse=True)
def _same_networks_in_every_run():
    torch.manual_seed(0)


def two_inputs(rows=3):
    generator = torch.Generator().manual_seed(0)
    return torch.rand(rows, 4, generator=generator), torch.rand(rows, 2, 3, generator=generator)


# -- tuples ----------------------------------------------------------------------------------------------------


def test_a_tuple_goes_in_and_a_tuple_of_its_shapes_comes_out():
    inputs = two_inputs()
    heat = SparsifiedSmoothGrad(Saliency(TwoInputs()), tau=0.3).attribute(inputs, stdevs=0.1, target=1)
    assert isinstance(heat, tuple)
    assert [h.shape for h in heat] == [x.shape for x in inputs]


def test_features_are_ranked_over_all_tensors_of_an_example():
    inputs, model = two_inputs(1), TwoInputs()
    smoothed = SparsifiedSmoothGrad(Saliency(model), tau=0.3).sample(inputs, nt_samples=4, stdevs=0.1, target=0, seed=0)
    assert smoothed.features.shape == (1, 10)
    assert int(smoothed.feature_counts.sum()) == 4 * 3  # ⌈.3 · 10⌉ = 3 ones in every draw, wherever they are


def test_every_tensor_has_its_own_standard_deviation():
    seen = []

    def watch(first, second):
        seen.append((first.detach(), second.detach()))
        return first.sum(1, keepdim=True) + second.flatten(1).sum(1, keepdim=True)

    inputs = two_inputs(1)
    ScaledSmoothGrad(Saliency(watch)).attribute(inputs, nt_samples=3, stdevs=(0.1, 2.0), target=0, seed=5)
    for position, stdev in enumerate((0.1, 2.0)):
        noise = make_noise(
            inputs[position].shape[1:],
            seed=5,
            draws=range(3),
            tensor=position,
            dtype=torch.float32,
            device=torch.device("cpu"),
        )
        assert_close(seen[0][position], inputs[position] + stdev * noise)


def test_a_tensor_without_noise_is_held_fixed_even_if_it_is_of_integers():
    embedding = nn.Embedding(5, 3)
    seen = []

    def model(x, tokens):
        seen.append(tokens)
        return (x * embedding(tokens)).sum(1, keepdim=True) ** 2

    tokens = torch.tensor([1, 4])
    explainer = ScaledSmoothGrad(FeatureAblation(model))
    smoothed = explainer.sample((torch.rand(2, 3), tokens), nt_samples=4, stdevs=(0.1, 0), target=0, check_rows=False)
    assert {tuple(t.tolist()) for t in seen if len(t) == 8} >= {(1, 1, 1, 1, 4, 4, 4, 4)}
    assert smoothed.stdevs == (0.1, 0.0)


def test_the_radius_is_in_units_of_the_first_positive_stdev():
    inputs, explainer = two_inputs(1), SparsifiedSmoothGrad(Saliency(TwoInputs()), tau=0.3)
    one = explainer.sample(inputs, nt_samples=200, stdevs=(0.0, 0.2), target=0, seed=0)
    assert one.sigma == 0.2
    two = explainer.sample(inputs, nt_samples=200, stdevs=(0.1, 0.4), target=0, seed=0)
    assert two.sigma == 0.1


def test_baselines_masks_and_additional_arguments_follow_their_rows():
    inputs, model = two_inputs(), TwoInputs()
    baselines = (torch.rand(3, 4), torch.zeros(1, 2, 3))
    mask = (torch.rand(3, 2, 3) > 0.3).float()
    method = IntegratedGradients(model)
    arguments = {"target": torch.tensor([0, 2, 1]), "n_steps": 4}
    whole = ScaledSmoothGrad(method).attribute(
        inputs, 6, 4, 0.1, seed=3, baselines=baselines, additional_forward_args=(mask, 0.5), **arguments
    )
    for row in range(3):
        alone = ScaledSmoothGrad(method).attribute(
            tuple(x[row : row + 1] for x in inputs),
            6,
            stdevs=0.1,
            seed=3,
            baselines=(baselines[0][row : row + 1], baselines[1]),
            additional_forward_args=(mask[row : row + 1], 0.5),
            target=int(arguments["target"][row]),
            n_steps=4,
        )
        assert_close(tuple(h[row : row + 1] for h in whole), alone)


def test_padding_is_never_salient():
    inputs, model = two_inputs(2), TwoInputs()
    mask = torch.tensor([[[1.0, 1, 0], [0, 0, 0]], [[1, 0, 0], [0, 0, 0]]])
    explainer = SparsifiedSmoothGrad(Saliency(model), tau=0.9)
    smoothed = explainer.sample(inputs, nt_samples=50, stdevs=0.2, target=0, additional_forward_args=mask, seed=0)
    assert int(smoothed.counts[1][mask == 0].sum()) == 0
    assert int(smoothed.counts[1][mask == 1].sum()) > 0


# -- groups ----------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:In .* draws more than 1 %:UserWarning")  # sums of integers tie now and then
def test_certificates_count_groups():
    image = torch.rand(2, 3, 4, 4)
    explainer = SparsifiedSmoothGrad(Saliency(GateNet((3, 4, 4))), tau=0.25)
    certificate = Certifier(explainer).certify(
        image, k=1.0, radius=0.5, nt_samples=64, stdevs=0.1, target=0, groups="channels"
    )
    assert certificate.k == 16
    assert certificate.overlap.tolist() == [16, 16]  # two sets of all positions are equal, at any radius
    assert certificate.map.mean.shape == (2, 3, 4, 4)


def test_every_entry_of_a_group_shows_the_group():
    groups = torch.tensor([[7, 7, 2, 2]])
    explainer = ScaledSmoothGrad(Saliency(GateNet((4,))))
    smoothed = explainer.sample(torch.ones(1, 4) * 3, nt_samples=4, stdevs=0.1, target=0, groups=groups)
    assert smoothed.features.shape == (1, 2)
    assert torch.equal(smoothed.mean[0, 0], smoothed.mean[0, 1])
    assert torch.equal(smoothed.mean[0, 2], smoothed.mean[0, 3])


def test_each_example_may_have_a_mask_of_its_own():
    groups = torch.tensor([[0, 0, 1, 1], [0, 1, 0, 1]])
    explainer, x = ScaledSmoothGrad(Saliency(GateNet((4,)))), torch.ones(2, 4) * 3
    both = explainer.sample(x, nt_samples=5, stdevs=0.1, target=0, groups=groups, seed=0)
    for row in range(2):
        one = explainer.sample(
            x[row : row + 1], nt_samples=5, stdevs=0.1, target=0, groups=groups[row : row + 1], seed=0
        )
        assert_close(both.features[row], one.features[0])


def test_ragged_groups_are_refused():
    explainer = ScaledSmoothGrad(Saliency(GateNet((4,))))
    ragged = torch.tensor([[0, 0, 1, 1], [0, 1, 2, 3]])
    with pytest.raises(InvalidInputError, match="same number of groups for every example, got 2 to 4"):
        explainer.attribute(torch.ones(2, 4), stdevs=0.1, target=0, groups=ragged)


def test_a_tuple_of_inputs_needs_a_tuple_of_masks():
    with pytest.raises(InvalidInputError, match="`groups` with 2 masks, one for each map, got 1"):
        ScaledSmoothGrad(Saliency(TwoInputs())).attribute(
            two_inputs(), stdevs=0.1, target=0, groups=torch.zeros(1, 4, dtype=torch.long)
        )


def test_blocks_of_equal_attributions_warn_without_groups_and_not_with_them():
    x = torch.rand(1, 1, 8, 8)
    explainer = SparsifiedSmoothGrad(Occlusion(GateNet((1, 8, 8))), tau=0.1)
    blocks = {"sliding_window_shapes": (1, 4, 4), "strides": (1, 4, 4), "target": 0}
    with pytest.warns(UserWarning, match="Pass `groups` to join entries that are always equal into one feature"):
        explainer.attribute(x, nt_samples=20, stdevs=0.1, **blocks)
    cells = torch.arange(4).reshape(1, 1, 2, 2).repeat_interleave(4, 2).repeat_interleave(4, 3)
    grouped = explainer.attribute(x, nt_samples=20, stdevs=0.1, groups=cells, **blocks)  # warnings are errors
    assert grouped.shape == x.shape


# -- Captum's own models, precisions, layers -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "rows"),
    [(1, 2), (torch.tensor(1), 2), (torch.tensor([1]), 2), ([1, 0], 2), (torch.tensor([1, 0]), 2), ("argmax", 2)],
)
def test_targets_of_captum_s_multilayer_model(target, rows):
    model = basic_models.BasicModel_MultiLayer().eval()
    x = torch.rand(rows, 3) * 10
    heat = ScaledSmoothGrad(Saliency(model)).attribute(x, nt_samples=4, stdevs=0.1, target=target, seed=0)
    assert heat.shape == x.shape


@pytest.mark.parametrize("target", [(0, 1, 1), [(0, 1, 1), (1, 0, 0)]])
def test_targets_of_captum_s_multi_dimensional_model(target):
    class Product(nn.Module):
        def forward(self, x):
            return torch.stack([x, 2 * x], dim=1).reshape(-1, 2, 2, 2)

    x = torch.rand(2, 4)
    heat = ScaledSmoothGrad(Saliency(Product())).attribute(x, nt_samples=3, stdevs=0.1, target=target, seed=0)
    rows = [target, target] if isinstance(target, tuple) else target
    for row, place in enumerate(rows):
        assert int(heat[row].argmax()) == place[1] * 2 + place[2]
        assert int((heat[row] > 0).sum()) == 1


def test_inputs_of_one_number_an_example():
    smoothed = ScaledSmoothGrad(Saliency(lambda x: (x**2).unsqueeze(1))).sample(
        torch.tensor([1.0, 2.0, 3.0]), nt_samples=8, stdevs=0.1, target=0
    )
    assert smoothed.mean.shape == (3,)
    assert torch.equal(smoothed.mean, torch.ones(3, dtype=torch.float64))


@pytest.mark.filterwarnings("ignore:In .* draws more than 1 %:UserWarning")  # half precisions have few values
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("target", [0, "argmax"])
def test_models_of_other_precisions(dtype, target):
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)).to(dtype)
    x = torch.rand(2, 6).to(dtype)
    explainer = SparsifiedSmoothGrad(InputXGradient(model), tau=0.34)
    assert explainer.attribute(x, nt_samples=8, stdevs=0.1, target=target).dtype == dtype
    smoothed = explainer.sample(x, nt_samples=8, stdevs=0.1, target=target)
    assert smoothed.features.dtype == torch.float64


def test_a_layer_s_map_has_the_layer_s_features():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 2, 3, stride=2), nn.Softplus(), nn.Flatten(), nn.Linear(18, 2))
    x = torch.rand(2, 1, 8, 8)
    own = ScaledSmoothGrad(LayerGradCam(model, model[0])).sample(x, nt_samples=4, stdevs=0.1, target=0)
    assert own.mean.shape == (2, 1, 3, 3)
    upsampled = ScaledSmoothGrad(Upsampled(LayerGradCam(model, model[0]))).sample(x, nt_samples=4, stdevs=0.1, target=0)
    assert upsampled.mean.shape == (2, 1, 8, 8)


def test_upsampling_is_captum_s_interpolation():
    model = nn.Sequential(nn.Conv2d(1, 2, 3, stride=2), nn.Softplus(), nn.Flatten(), nn.Linear(18, 2))
    x, method = torch.rand(2, 1, 8, 8), LayerGradCam(model, model[0])
    expected = LayerGradCam.interpolate(method.attribute(x, target=1), (5, 7), "nearest")
    assert torch.equal(Upsampled(method, size=(5, 7), mode="nearest").attribute(x, target=1), expected)


def test_upsampling_needs_a_layer_method_and_a_spatial_map():
    with pytest.raises(InvalidInputError, match="`layer_attribution` to be a Captum layer attribution, got Saliency"):
        Upsampled(Saliency(GateNet((4,))))
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 4), nn.Softplus(), nn.Linear(4, 2))
    flat = Upsampled(LayerGradCam(model, model[1]))
    with pytest.raises(InvalidInputError, match="a layer map of 2 spatial dimensions"):
        flat.attribute(torch.rand(2, 1, 4, 4), target=0)


def test_the_uniform_gradient_averages_but_is_not_certified():
    explainer = UniformGradient(Saliency(lambda x: (x**2).sum(1, keepdim=True)))
    x = torch.full((1, 2000), 3.0)
    heat = explainer.attribute(x, nt_samples=4, stdevs=0.5, target=0, seed=0)
    assert float(heat.max()) < 2 * (3.0 + 0.5 * 3**0.5)  # uniform noise is bounded, Gaussian noise is not
    with pytest.raises(CertificationError, match="got UniformGradient"):
        explainer.sample(x, nt_samples=4, stdevs=0.5, target=0)


def test_maps_that_depend_on_the_batch_are_refused():
    class Centred(nn.Module):
        def forward(self, x):
            return ((x - x.mean(0)) ** 3).sum(1, keepdim=True)

    explainer = ScaledSmoothGrad(Saliency(Centred()))
    with pytest.raises(CertificationError, match="whose maps change with the other rows of their pass"):
        explainer.sample(torch.rand(2, 6), nt_samples=8, stdevs=0.3, target=0)
    assert explainer.sample(torch.rand(2, 6), nt_samples=8, stdevs=0.3, target=0, check_rows=False) is not None


def test_maps_without_the_batch_first_are_refused():
    class Summed(Saliency):
        def attribute(self, inputs, target=None):
            return super().attribute(inputs, target=target).sum(0)

    with pytest.raises(InvalidInputError, match="first dimension is the batch of 10 rows"):
        ScaledSmoothGrad(Summed(GateNet((4,)))).attribute(torch.rand(2, 4), nt_samples=5, stdevs=0.1, target=0)


def test_methods_that_return_no_tensor_are_refused():
    class Named(Saliency):
        def attribute(self, inputs, target=None):
            return {"map": super().attribute(inputs, target=target)}

    with pytest.raises(InvalidInputError, match="to return a tensor or a tuple of tensors, got dict"):
        ScaledSmoothGrad(Named(GateNet((4,)))).attribute(torch.rand(2, 4), stdevs=0.1, target=0)


def test_one_row_that_differs_by_a_kink_is_tolerated():
    class Jumpy(Saliency):
        """Model with one row so near to a kink that its gradient changes in another place of the pass."""

        near = None

        def attribute(self, inputs, target=None):
            maps, sums = super().attribute(inputs, target=target), inputs.detach().sum(1)
            if self.near is None and len(maps) > 2:
                self.near = sums[0]
            for place in range(len(maps) // 2):
                if sums[place] == self.near:
                    maps[place] = maps[place].flip(0)
            return maps

    smoothed = ScaledSmoothGrad(Jumpy(GateNet((6,)))).sample(
        torch.full((2, 6), 3.0), nt_samples=8, stdevs=0.1, target=0
    )
    assert len(smoothed) == 2


# -- patches -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("height", "width", "cells"), [(4, 6, 6), (5, 7, 12), (1, 1, 1)])
def test_patches_are_cells_of_pixels_over_all_channels(height, width, cells):
    map_ = torch.randn(2, 3, height, width)
    layout = FeatureLayout.of([map_], is_tuple=False, rows=2, groups="patches:2")
    assert layout.n_features == cells
    features = layout.flatten([map_], 2)
    across = -(-width // 2)
    for cell in range(cells):
        y, x = 2 * (cell // across), 2 * (cell % across)
        assert_close(features[:, cell], map_[:, :, y : y + 2, x : x + 2].abs().flatten(1).sum(dim=1))


def test_patches_equal_an_integer_mask():
    model, x = cnn(), images(2)
    explainer = SparsifiedSmoothGrad(Saliency(model), tau=0.25)
    height, width = x.shape[2:]
    mask = (torch.arange(height)[:, None] // 2) * 100 + torch.arange(width)[None] // 2
    settings = {"nt_samples": 32, "stdevs": 0.3, "target": 0, "seed": 0}
    one = explainer.sample(x, groups="patches:2", **settings)
    two = explainer.sample(x, groups=mask[None, None], **settings)
    assert torch.equal(one.counts, two.counts)
    assert one.setup["groups"] == "patches:2"


@pytest.mark.parametrize("groups", ["patches:0", "patches:", "patches:-1", "patches:2.5", "patches", "Patches:2"])
def test_other_names_of_groups_are_refused(groups):
    with pytest.raises(InvalidInputError, match=r"'patches:S' with a side S from 1 in pixels, or integer masks, got "):
        SparsifiedSmoothGrad(Saliency(cnn())).sample(images(1), nt_samples=2, stdevs=0.1, target=0, groups=groups)


def test_patches_need_maps_of_pictures():
    with pytest.raises(InvalidInputError, match=r"Expected maps of shape \(N, C, H, W\) for `groups`='patches:2', got"):
        FeatureLayout.of([torch.zeros(2, 6)], is_tuple=False, rows=2, groups="patches:2")
