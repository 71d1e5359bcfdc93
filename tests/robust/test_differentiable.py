"""Maps with an autograd graph equal maps without one, their gradients are right, and methods are restored."""

import pytest
import torch
from captum.attr import (
    DeepLift,
    GuidedBackprop,
    InputXGradient,
    IntegratedGradients,
    LayerGradCam,
    LayerIntegratedGradients,
    NoiseTunnel,
    Occlusion,
    Saliency,
)
from explainers import EXPLAINERS
from networks import Watched, cnn, images, mlp
from torch import nn
from torch.testing import assert_close

from captum_certified import (
    InvalidInputError,
    RelaxedSparsifiedSmoothGrad,
    ScaledSmoothGrad,
    SparsifiedSmoothGrad,
    UniformGradient,
    Upsampled,
)
from captum_certified.robust import differentiable, softplus_surrogate
from captum_certified.sampling import make_noise

TARGET = torch.tensor([0, 2])
METHODS = {
    "Saliency": (Saliency, {}),
    "Saliency with signs": (Saliency, {"abs": False}),
    "InputXGradient": (InputXGradient, {}),
    "IntegratedGradients": (IntegratedGradients, {"n_steps": 7}),
    "IntegratedGradients, local": (lambda m: IntegratedGradients(m, multiply_by_inputs=False), {"n_steps": 5}),
    "IntegratedGradients from an input each": (
        IntegratedGradients,
        {"n_steps": 5, "baselines": torch.full((2, 6), 0.2, dtype=torch.float64)},
    ),
    "IntegratedGradients by Riemann": (IntegratedGradients, {"n_steps": 5, "method": "riemann_middle"}),
    "IntegratedGradients in parts": (IntegratedGradients, {"n_steps": 7, "internal_batch_size": 4}),
}


def vectors(rows=2, seed=0):
    return torch.randn((rows, 6), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def ordinary(explainer, x, **arguments):
    return explainer.attribute(x.detach().clone().requires_grad_(), **arguments).detach()


def with_graph(explainer, x, *more, **arguments):
    with differentiable(explainer) as attribute:
        return attribute(x, *more, **arguments)


def slope(function, x):
    x = x.detach().clone().requires_grad_()
    [gradient] = torch.autograd.grad(function(x), x)
    return gradient


def central_differences(function, x, step=1e-5):
    x = x.detach()
    gradient = torch.zeros_like(x)
    for entry in range(x.numel()):
        move = torch.zeros(x.numel(), dtype=x.dtype)
        move[entry] = step
        move = move.reshape(x.shape)
        above, below = (function((x + sign * move).requires_grad_()).detach() for sign in (1, -1))
        gradient.view(-1)[entry] = (above - below) / (2 * step)
    return gradient


def weighted(maps):
    """Return a smooth function of all entries of maps, with another weight for each entry."""
    return sum((torch.cos(torch.arange(m.numel(), dtype=m.dtype)).reshape(m.shape) * m).sum() for m in maps)


# -- maps ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list(METHODS))
def test_the_map_equals_the_map_without_graph(name):
    make, arguments = METHODS[name]
    method, x = make(mlp()), vectors().requires_grad_()
    heat = with_graph(method, x, target=TARGET, **arguments)
    assert heat.requires_grad
    assert_close(heat.detach(), ordinary(method, x, target=TARGET, **arguments))


@pytest.mark.parametrize("arguments", [{"target": TARGET}, {"target": "argmax"}, {"target": 1, "groups": "channels"}])
@pytest.mark.parametrize("name", [name for name, explainer in EXPLAINERS.items() if not explainer.binary])
def test_smoothed_maps_equal_the_maps_without_graph(name, arguments):
    explainer, x = EXPLAINERS[name].make(Saliency(cnn())), images(2).requires_grad_()
    settings = {"nt_samples": 5, "stdevs": 0.2, "seed": 3, **arguments}
    with softplus_surrogate(5.0):
        heat = with_graph(explainer, x, **settings)
        assert_close(heat.detach(), ordinary(explainer, x, **settings))
        [gradient] = torch.autograd.grad(weighted([heat]), x)
    assert gradient.any()


@pytest.mark.parametrize("make", [InputXGradient, lambda m: IntegratedGradients(m)])
def test_argmax_targets_choose_the_class_of_each_draw(make):
    explainer, x = ScaledSmoothGrad(make(mlp())), vectors()
    settings = {"nt_samples": 9, "stdevs": 2.0, "seed": 0, "target": "argmax"}
    assert_close(with_graph(explainer, x, **settings).detach(), ordinary(explainer, x, **settings))


def test_uniform_noise_stays_uniform():
    explainer, x = UniformGradient(Saliency(mlp())), vectors()
    settings = {"nt_samples": 4, "stdevs": 0.5, "seed": 1, "target": 0}
    assert_close(with_graph(explainer, x, **settings).detach(), ordinary(explainer, x, **settings))


def test_groups_and_first_draw_are_used():
    explainer, x = ScaledSmoothGrad(Saliency(mlp())), vectors()
    mask = torch.tensor([[0, 0, 1, 1, 2, 2], [0, 1, 2, 2, 1, 0]])
    settings = {"stdevs": 0.5, "seed": 1, "target": 0, "groups": mask}
    whole = ordinary(explainer, x, nt_samples=6, **settings)
    parts = [with_graph(explainer, x, nt_samples=3, first_draw=first, **settings).detach() for first in (0, 3)]
    assert_close((parts[0] + parts[1]) / 2, whole)


@pytest.mark.parametrize("make", [ScaledSmoothGrad, NoiseTunnel, lambda m: m])
def test_tuples_of_inputs_keep_their_structure(make):
    def model(first, second):
        return mlp(10)(torch.cat([first, second.flatten(1)], dim=1))

    inputs = (vectors()[:, :4].clone().requires_grad_(), vectors(seed=1).reshape(2, 2, 3).clone().requires_grad_())
    method = make(Saliency(model))
    settings = {"nt_samples": 3, "stdevs": (0.0, 0.0)} if method.__class__ is not Saliency else {}
    maps = with_graph(method, inputs, target=TARGET, **settings)
    expected = method.attribute(inputs, target=TARGET, **settings)
    assert isinstance(maps, tuple)
    for one, two in zip(maps, expected, strict=True):
        assert_close(one.detach(), two.detach())
    assert all(g.any() for g in torch.autograd.grad(weighted(maps), inputs))


def test_0_1_maps_have_the_gradient_of_a_relaxed_map():
    x = vectors().requires_grad_()
    settings = {"nt_samples": 6, "stdevs": 0.4, "seed": 2, "target": TARGET}
    sparsified = with_graph(SparsifiedSmoothGrad(Saliency(mlp()), tau=0.5), x, **settings)
    relaxed = with_graph(RelaxedSparsifiedSmoothGrad(Saliency(mlp()), tau=0.5, gamma=0.05), x, **settings)
    assert_close(sparsified, relaxed)
    assert torch.autograd.grad(weighted([sparsified]), x)[0].any()


# -- NoiseTunnel -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("nt_type", ["smoothgrad", "smoothgrad_sq", "vargrad"])
def test_noise_tunnel_without_noise_is_what_captum_returns(nt_type):
    tunnel, x = NoiseTunnel(Saliency(mlp())), vectors()
    settings = {"nt_type": nt_type, "nt_samples": 4, "stdevs": 0.0, "target": TARGET}
    assert_close(with_graph(tunnel, x, **settings).detach(), ordinary(tunnel, x, **settings))


@pytest.mark.parametrize("nt_type", ["smoothgrad", "smoothgrad_sq", "vargrad"])
def test_noise_tunnel_combines_the_maps_of_its_draws(nt_type):
    saliency, x, draws = Saliency(mlp()), vectors(), 7
    noise = make_noise((6,), seed=4, draws=range(draws), tensor=0, dtype=torch.float64, device=torch.device("cpu"))
    each = torch.stack([ordinary(saliency, x + 0.3 * one, target=TARGET) for one in noise])
    expected = {
        "smoothgrad": each.mean(dim=0),
        "smoothgrad_sq": (each**2).mean(dim=0),
        "vargrad": each.var(dim=0, correction=0),
    }[nt_type]
    heat = with_graph(
        NoiseTunnel(saliency), x, nt_type=nt_type, nt_samples=draws, nt_samples_batch_size=2, stdevs=0.3, seed=4,
        target=TARGET,
    )  # fmt: skip
    assert_close(heat.detach(), expected)


def test_noise_tunnel_without_a_seed_draws_fresh_noise_and_takes_its_type_by_position():
    tunnel, x = NoiseTunnel(Saliency(mlp())), vectors().requires_grad_()
    one, two = (with_graph(tunnel, x, "smoothgrad_sq", 3, target=0).detach() for _ in range(2))
    assert not torch.equal(one, two)


def test_noise_tunnel_refuses_other_types():
    with pytest.raises(InvalidInputError, match=r"Expected `nt_type` to be one of .*, got 'smoothgrad_cube'"):
        with_graph(NoiseTunnel(Saliency(mlp())), vectors(), nt_type="smoothgrad_cube", target=0)


# -- gradients -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list(METHODS))
def test_the_gradient_of_a_map_agrees_with_finite_differences(name):
    make, arguments = METHODS[name]
    method = make(mlp())

    def value(x):
        return weighted([with_graph(method, x, target=TARGET, **arguments)])

    x = vectors()
    assert_close(slope(value, x), central_differences(value, x), rtol=1e-5, atol=1e-7)


SMOOTHED = {
    "relaxed": (lambda m: RelaxedSparsifiedSmoothGrad(m, tau=0.5, gamma=0.2), {}),
    "scaled": (ScaledSmoothGrad, {}),
    "normalized": (EXPLAINERS["normalized"].make, {}),
    "scaled quadratic": (EXPLAINERS["scaled quadratic"].make, {}),
    "uniform": (UniformGradient, {}),
    "smoothgrad": (NoiseTunnel, {}),
    "smoothgrad_sq": (NoiseTunnel, {"nt_type": "smoothgrad_sq"}),
    "vargrad": (NoiseTunnel, {"nt_type": "vargrad"}),
    "of path integrals in parts": (
        lambda m: ScaledSmoothGrad(IntegratedGradients(m.forward_func)),
        {"n_steps": 5, "internal_batch_size": 8},
    ),
    "of path integrals in parts, arguments apart": (
        lambda m: ScaledSmoothGrad(IntegratedGradients(m.forward_func)),
        {"attribution_kwargs": {"n_steps": 5, "internal_batch_size": 8}},
    ),
}


@pytest.mark.parametrize("name", list(SMOOTHED))
def test_the_gradient_of_a_smoothed_map_agrees_with_finite_differences(name):
    make, arguments = SMOOTHED[name]
    method = make(Saliency(mlp()))

    def value(x):
        settings = {"nt_samples": 4, "stdevs": 0.3, "seed": 5, "target": TARGET}
        return weighted([with_graph(method, x, **settings, **arguments)])

    x = vectors()
    assert_close(slope(value, x), central_differences(value, x), rtol=1e-5, atol=1e-7)


def test_internal_batch_size_by_position_has_no_effect():
    method, x = IntegratedGradients(mlp()), vectors().requires_grad_()
    slopes = []
    for size in (None, 4):
        with differentiable(method) as attribute:
            heat = attribute(x, None, TARGET, None, 6, "gausslegendre", size)
        slopes.append(torch.autograd.grad(weighted([heat]), x)[0])
    assert_close(slopes[1], slopes[0])


def test_gradcheck_of_path_integrals_agrees():
    method = IntegratedGradients(mlp())
    x = vectors().requires_grad_()
    with differentiable(method) as attribute:
        assert torch.autograd.gradcheck(lambda z: attribute(z, target=TARGET, n_steps=4), (x,))


@pytest.mark.parametrize(
    "make", [Saliency, lambda m: ScaledSmoothGrad(Saliency(m)), lambda m: NoiseTunnel(Saliency(m))]
)
def test_the_weights_of_the_model_get_gradients(make):
    model = mlp()
    method = make(model)
    arguments = {} if isinstance(method, Saliency) else {"nt_samples": 3, "stdevs": 0.2, "seed": 1}
    weight = model[0].weight

    def value(w):
        with torch.no_grad():
            model[0].weight.copy_(w)
        return weighted([with_graph(method, vectors().requires_grad_(), target=TARGET, **arguments)])

    before = weight.detach().clone()
    [gradient] = torch.autograd.grad(value(before), weight)
    assert_close(gradient, central_differences(value, before), rtol=1e-5, atol=1e-7)
    assert all(p.grad is None for p in model.parameters())


def test_a_constant_model_has_a_zero_map_with_a_zero_gradient():
    def constant(x):
        return torch.stack([0 * x.sum(dim=1), 0 * (x**2).sum(dim=1)], dim=1)

    x = vectors().requires_grad_()
    for name, explainer in EXPLAINERS.items():
        heat = with_graph(explainer.make(Saliency(constant)), x, nt_samples=2, stdevs=0.1, seed=0, target=1)
        assert not heat.any(), name
        assert not torch.autograd.grad(heat.sum(), x)[0].any(), name


# -- state is restored -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrap", [lambda m: m, ScaledSmoothGrad, NoiseTunnel])
def test_the_method_is_restored_after_the_block(wrap):
    saliency = Saliency(mlp())
    before, x = saliency.gradient_func, vectors().requires_grad_()
    with differentiable(wrap(saliency)):
        assert saliency.gradient_func is not before
    assert saliency.gradient_func is before
    assert not saliency.attribute(x, target=0).requires_grad


def test_the_method_is_restored_after_an_exception():
    saliency = Saliency(Watched(mlp(), fails_at=1))
    before = saliency.gradient_func
    with pytest.raises(InterruptedError, match="on purpose"), differentiable(saliency) as attribute:
        attribute(vectors().requires_grad_(), target=0)
    assert saliency.gradient_func is before


def test_a_custom_gradient_function_is_restored():
    saliency = Saliency(mlp())

    def own(forward_fn, inputs, target_ind=None, additional_forward_args=None):
        return tuple(torch.full_like(x, 7.0) for x in inputs)

    saliency.gradient_func = own
    with differentiable(saliency):
        pass
    assert saliency.gradient_func is own


def test_the_global_generators_and_the_grad_mode_are_untouched():
    x, state = vectors().requires_grad_(), torch.get_rng_state()
    with torch.no_grad():
        for method in (Saliency(mlp()), ScaledSmoothGrad(Saliency(mlp())), NoiseTunnel(Saliency(mlp()))):
            with_graph(method, x, target=0)
            assert not torch.is_grad_enabled()
    assert torch.equal(state, torch.get_rng_state())


# -- refusals --------------------------------------------------------------------------------------------------


def body():
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.Softplus(), nn.Flatten(), nn.Linear(2, 2))


REFUSED = {
    "DeepLift": lambda: DeepLift(body()),
    "GuidedBackprop": lambda: GuidedBackprop(body()),
    "Occlusion": lambda: Occlusion(body()),
    "LayerGradCam": lambda: (lambda net: LayerGradCam(net, net[0]))(body()),
    "LayerIntegratedGradients": lambda: (lambda net: LayerIntegratedGradients(net, net[0]))(body()),
    "Upsampled of LayerGradCam": lambda: (lambda net: Upsampled(LayerGradCam(net, net[0])))(body()),
    "SparsifiedSmoothGrad of DeepLift": lambda: SparsifiedSmoothGrad(DeepLift(body())),
    "NoiseTunnel of Occlusion": lambda: NoiseTunnel(Occlusion(body())),
    "NoiseTunnel of NoiseTunnel of Saliency": lambda: NoiseTunnel(NoiseTunnel(Saliency(body()))),
    "ScaledSmoothGrad of NoiseTunnel of Saliency": lambda: ScaledSmoothGrad(NoiseTunnel(Saliency(body()))),
    "Linear": lambda: nn.Linear(2, 2),
}


@pytest.mark.parametrize("chain", list(REFUSED))
def test_methods_that_cannot_be_differentiated_are_refused_by_name(chain):
    expected = f"Expected `attribution_method` to be Saliency, .* got {chain}, whose map cannot be differentiated"
    with pytest.raises(InvalidInputError, match=expected), differentiable(REFUSED[chain]()):
        pass


def test_a_target_that_selects_no_single_output_is_refused():
    with pytest.raises(InvalidInputError, match=r"Expected `target` to select one output of each row, got None .*3\)"):
        with_graph(Saliency(mlp()), vectors().requires_grad_())
