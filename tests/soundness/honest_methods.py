"""Honest uses of Captum's classes, with baselines and references of every shape."""

import torch
from captum import attr
from cases import conv, honest, mlp, same, sample, served, top
from torch import nn

from captum_certified import SparsifiedSmoothGrad, Upsampled


@honest
def gradient_methods_on_images():
    """Explain images by the gradient methods, with signs, and with guided Grad-CAM."""
    model, x = conv(), torch.rand(2, 1, 6, 6)
    for cls in (attr.Saliency, attr.InputXGradient, attr.GuidedBackprop, attr.Deconvolution):
        served(cls(model), x, target=torch.tensor([0, 2]))
    served(attr.Saliency(model), x, target=0, abs=False)
    served(attr.GuidedGradCam(model, model[2]), x, target=1)


@honest
def integrated_gradients_with_every_baseline():
    """Integrate from no baseline, a number, one row, a row each, and from a tuple's."""
    model, x = mlp(), torch.randn(3, 8)
    for baselines in (None, 0.5, torch.randn(1, 8), torch.randn(3, 8)):
        served(attr.IntegratedGradients(model), x, target=1, baselines=baselines, n_steps=4)
    served(attr.IntegratedGradients(model), x, target=1, n_steps=6, method="riemann_trapezoid", internal_batch_size=16)
    pair = (torch.randn(2, 4), torch.randn(2, 4))
    two = attr.IntegratedGradients(lambda a, b: model(torch.cat([a, b], 1)))
    served(two, pair, target=1, n_steps=4, baselines=(0, torch.randn(2, 4)))


@honest
def deep_lift_and_lrp():
    """Use DeepLift from no baseline, one row and a row each; and LRP."""
    model, x = nn.Sequential(nn.Linear(8, 12), nn.ReLU(), nn.Linear(12, 3)).eval(), torch.randn(3, 8)
    for baselines in (None, torch.randn(1, 8), torch.randn(3, 8)):
        served(attr.DeepLift(model), x, target=[0, 1, 2], baselines=baselines)
    served(attr.LRP(model), x, target=0)


@honest
def deep_lift_shap_references_of_every_length():
    """Give DeepLiftShap fewer, as many and more references than examples, and functions."""
    model, x = nn.Sequential(nn.Linear(8, 12), nn.ReLU(), nn.Linear(12, 3)).eval(), torch.randn(3, 8)
    for length in (2, 3, 5):
        served(attr.DeepLiftShap(model), x, target=0, draws=32, baselines=torch.randn(length, 8))
    served(attr.DeepLiftShap(model), x, target=0, draws=32, baselines=lambda: torch.ones(4, 8) * 0.5)
    served(
        attr.DeepLiftShap(model),
        x,
        target=0,
        draws=32,
        baselines=lambda x: torch.cat([x.mean(1, True) * 0, x[:, :1] * 0 + 1]).expand(-1, 8) * 1.0,
    )


@honest
def gradient_shap_references_of_every_length():
    """Give GradientShap references of any number; the same seed gives the same map."""
    model, x = mlp(), torch.randn(3, 8)
    for length in (1, 2, 3, 7):
        result = served(attr.GradientShap(model), x, target=0, draws=32, baselines=torch.randn(length, 8), n_samples=3)
        assert result.setup["stochastic"], "not called stochastic"
    served(attr.GradientShap(model), x, target=0, draws=32, baselines=lambda: torch.zeros(3, 8))
    references = torch.randn(5, 8)
    runs = [
        sample(
            attr.GradientShap(model), x, draws=32, target=0, baselines=references, attribution_kwargs={"stdevs": 0.1}
        )
        for _ in range(2)
    ]
    same(*runs, tolerance=0, what="not the same under the same seed")


@honest
def layer_and_neuron_reference_distributions():
    """Give layer and neuron methods references, as many as examples and more."""
    model, x = nn.Sequential(nn.Linear(8, 12), nn.ReLU(), nn.Linear(12, 3)).eval(), torch.randn(2, 8)
    for length in (2, 4):
        references = torch.randn(length, 8)
        served(attr.LayerGradientShap(model, model[0]), x, target=0, draws=32, baselines=references, n_samples=2)
        served(attr.LayerDeepLiftShap(model, model[1]), x, target=0, draws=32, baselines=references)
        served(
            attr.NeuronGradientShap(model, model[0]), x, draws=32, neuron_selector=1, baselines=references, n_samples=2
        )
        served(attr.NeuronDeepLiftShap(model, model[1]), x, draws=32, neuron_selector=4, baselines=references)


@honest
def perturbation_methods():
    """Explain by ablation, occlusion and Shapley values, with masks, baselines and several perturbations at once."""
    model, x = mlp(6), torch.randn(2, 6)
    served(attr.FeatureAblation(model), x, target=1)
    served(attr.FeatureAblation(model), x, target=1, feature_mask=torch.tensor([[0, 0, 1, 1, 2, 2]]))
    served(attr.FeatureAblation(model), x, target=1, perturbations_per_eval=4, baselines=torch.randn(2, 6))
    served(attr.Occlusion(model), x, target=1, sliding_window_shapes=(2,))
    served(
        attr.Occlusion(conv()),
        torch.rand(2, 1, 6, 6),
        target=1,
        draws=32,
        sliding_window_shapes=(1, 3, 3),
        strides=(1, 2, 2),
    )
    served(attr.ShapleyValueSampling(model), x, target=1, draws=16, n_samples=2)
    served(attr.ShapleyValues(model), x, target=1, draws=4, feature_mask=torch.tensor([[0, 0, 1, 1, 2, 2]]))


@honest
def kernel_shap_and_lime():
    """Fit KernelShap and Lime for each draw of each example."""
    model, x = mlp(6), torch.randn(2, 6)
    served(attr.KernelShap(model), x, target=torch.tensor([0, 2]), draws=16, n_samples=10)
    served(
        attr.KernelShap(model), x[:1], target=1, draws=16, n_samples=8, feature_mask=torch.tensor([[0, 0, 1, 1, 2, 2]])
    )
    served(attr.Lime(model), x[:1], target=0, draws=12, n_samples=16)


@honest
def layers_upsampled():
    """Bring the maps of layers to the size of the input."""
    model, x, up = conv(), torch.rand(2, 1, 6, 6), Upsampled
    result = served(up(attr.LayerGradCam(model, model[2]), size=(6, 6)), x, target=1, relu_attributions=False)
    assert tuple(result.mean.shape[-2:]) == (6, 6), result.mean.shape
    served(up(attr.LayerGradientXActivation(model, model[4])), x, target=1)
    served(up(attr.LayerConductance(model, model[4]), mode="nearest"), x, target=1, n_steps=4)


@honest
def layer_methods():
    """Explain at a layer by the methods of layers."""
    model, x = conv(), torch.rand(2, 1, 6, 6)
    layer = model[4]
    served(attr.LayerActivation(model, layer), x)
    served(attr.InternalInfluence(model, layer), x, target=0, n_steps=4)
    served(attr.LayerIntegratedGradients(model, layer), x, target=0, n_steps=4)
    served(attr.LayerDeepLift(model, model[2]), x, target=0, baselines=torch.zeros(1, 1, 6, 6))
    simple = nn.Sequential(nn.Linear(8, 12), nn.ReLU(), nn.Linear(12, 3)).eval()
    served(attr.LayerLRP(simple, simple[0]), torch.randn(2, 8), target=0)
    served(layer_ablation(), torch.randn(2, 8), target=0)
    served(attr.LayerGradCam(model, model[2]), x, target=0, tau=0.1)


def layer_ablation():
    model = mlp()
    return attr.LayerFeatureAblation(model, model[0])


@honest
def neuron_methods():
    """Explain one neuron by the methods of neurons, chosen by indices, a slice and a function."""
    model, x = conv(), torch.rand(2, 1, 6, 6)
    served(attr.NeuronGradient(model, model[2]), x, neuron_selector=(1, 2, 3))
    served(attr.NeuronGradient(model, model[2]), x, neuron_selector=(slice(0, 4), 2, 3))
    served(attr.NeuronGradient(model, model[2]), x, neuron_selector=lambda out: out.flatten(1).sum(1))
    served(attr.NeuronIntegratedGradients(model, model[2]), x, neuron_selector=(1, 2, 3), n_steps=4)
    served(attr.NeuronConductance(model, model[2]), x, neuron_selector=(1, 2, 3), target=1, n_steps=4)
    served(attr.NeuronDeepLift(model, model[2]), x, neuron_selector=(2, 2, 3), baselines=torch.zeros(1, 1, 6, 6))
    served(attr.NeuronGuidedBackprop(model, model[2]), x, neuron_selector=(2, 2, 3))
    served(attr.NeuronDeconvolution(model, model[2]), x, neuron_selector=(2, 2, 3))
    served(neuron_ablation(), torch.randn(2, 8), neuron_selector=3)


def neuron_ablation():
    model = mlp()
    return attr.NeuronFeatureAblation(model, model[0])


@honest
def noise_tunnel_inside():
    """Smooth what a NoiseTunnel has smoothed, which is stochastic and says so."""
    model, x = mlp(), torch.randn(2, 8)
    kwargs = {"attribution_kwargs": {"nt_samples": 3, "stdevs": 0.1, "nt_type": "smoothgrad_sq"}}
    result = served(attr.NoiseTunnel(attr.Saliency(model)), x, target=torch.tensor([2, 0]), **kwargs)
    assert result.setup["stochastic"]
    tunnel = attr.NoiseTunnel(attr.IntegratedGradients(model))
    served(tunnel, x, target=1, draws=32, n_steps=3, attribution_kwargs={"nt_samples": 2, "stdevs": 0.1})


def build_baselines():
    rows, own = torch.zeros(2, 8), torch.full((2, 8), 0.1)
    own[0, :2], own[1, 5:7] = torch.tensor([3.0, -2.0]), torch.tensor([-2.0, 3.0])
    model = nn.Linear(8, 2, bias=False).eval()
    nn.init.ones_(model.weight)
    return model, rows, own


@honest
def baselines_of_each_example():
    """Integrate each example from its own baseline, and all from a common one."""
    model, rows, own = build_baselines()
    settings = {"target": 0, "n_steps": 4, "nt_samples": 128, "stdevs": 0.01, "seed": 0}
    explainer = SparsifiedSmoothGrad(attr.IntegratedGradients(model), tau=0.25)
    one = explainer.sample(rows, baselines=own, **settings)
    assert torch.equal(one.mean.double(), top(own, 2)), "examples did not keep their own baselines"
    one = explainer.sample(rows, baselines=own[1:], **settings)
    assert torch.equal(one.mean.double(), top(own[[1, 1]], 2)), "a baseline of one row is every example's"


@honest
def reference_distribution_of_batch_size():
    """Give GradientShap as many references as examples: each example meets all of them."""
    model = nn.Linear(8, 2, bias=False).eval()
    nn.init.ones_(model.weight)
    references = torch.zeros(2, 8)
    references[0, 0] = references[1, 1] = 5.0
    explainer = SparsifiedSmoothGrad(attr.GradientShap(model), tau=0.125)
    one = explainer.sample(
        torch.zeros(2, 8), target=0, baselines=references, n_samples=1, nt_samples=256, stdevs=0.01, seed=0
    )
    share = one.mean[:, :2]
    assert torch.allclose(share.sum(1).double(), torch.ones(2).double()), "neither reference was used"
    assert ((share > 0.3) & (share < 0.7)).all(), f"each example must meet both references: {share.tolist()}"
