"""Losses, compared with closed forms, other implementations and finite differences."""

import itertools
import math

import pytest
import torch
from captum.attr import IntegratedGradients
from torch import nn
from torch.nn import functional

from captum_certified.training import (
    AdversarialLoss,
    CurvatureLoss,
    DDNLoss,
    GaussianAugmentationLoss,
    IGNormLoss,
    IGSumNormLoss,
    SaliencyAdversarialLoss,
    SpectralNormLoss,
    loss_integrated_gradients,
    mnist_network,
    top_hessian_eigenvalue,
)


def network(*, activation=nn.Softplus, seed=0, features=6, classes=4):
    torch.manual_seed(seed)
    layers = [nn.Linear(features, 10), activation(), nn.Linear(10, 8), activation(), nn.Linear(8, classes)]
    return nn.Sequential(*layers).double()


def batch(n=5, features=6, classes=4, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, features, generator=generator, dtype=torch.float64), torch.arange(n) % classes


def entropies(model, inputs, targets):
    return functional.cross_entropy(model(inputs), targets, reduction="none")


# -- integrated gradients of the loss --------------------------------------------------------------------------------


@pytest.mark.parametrize("layer", [None, 1, 2])
def test_the_error_of_completeness_is_of_second_order(layer):
    model, (inputs, targets) = network(), batch()
    perturbed = inputs + 2
    change = entropies(model, perturbed, targets) - entropies(model, inputs, targets)
    module = None if layer is None else model[layer]
    errors = [
        (loss_integrated_gradients(model, inputs, perturbed, targets, n_steps=m, layer=module).sum(dim=1) - change)
        .abs()
        .max()
        .item()
        for m in (10, 20, 40, 80)
    ]
    assert errors[-1] < 1e-3
    for coarse, fine in itertools.pairwise(errors):
        assert 3.4 < coarse / fine < 4.6  # doubling the steps divides an error of second order by 4


def test_loss_integrated_gradients_agree_with_captum():
    model, (inputs, targets) = network(), batch()
    perturbed = inputs + torch.randn(inputs.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    theirs = IntegratedGradients(lambda points, classes: entropies(model, points, classes)).attribute(
        perturbed, baselines=inputs, additional_forward_args=targets, n_steps=400
    )
    ours = loss_integrated_gradients(model, inputs, perturbed, targets, n_steps=2000)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


def test_a_layer_that_is_called_twice_is_refused():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(3, 3)

        def forward(self, x):
            return self.linear(self.linear(x))

    model, unused = Twice(), nn.Linear(3, 3)
    inputs, targets = torch.rand(2, 3), torch.tensor([0, 1])
    for layer, calls in ((model.linear, 2), (unused, 0)):
        with pytest.raises(ValueError, match=f"`layer` to be called once in a pass, got {calls} calls"):
            loss_integrated_gradients(model, inputs, inputs + 1, targets, layer=layer)
    assert not model.linear._forward_hooks


@pytest.mark.parametrize("norm", ["L2", "Linf"])
def test_ig_norm_of_the_sum_is_adversarial_loss(norm):
    """Chen et al., section 4: CE(x) + sum IG = CE(x') by completeness, also in the search."""
    inputs, targets = batch()
    shared = {"radius": 0.5, "norm": norm, "step_num": 6, "seed": 4}
    madry, ours = AdversarialLoss(**shared), IGNormLoss(**shared, size="sum", n_steps=300, search_n_steps=300)
    values, slopes = [], []
    for loss in (madry, ours):
        model = network()
        value = loss(model, inputs, targets)
        value.backward()
        values.append(value.detach())
        slopes.append(model[0].weight.grad)
    assert values[0] > entropies(network(), inputs, targets).mean() + 0.02
    torch.testing.assert_close(values[1], values[0], rtol=1e-5, atol=0)
    torch.testing.assert_close(slopes[1], slopes[0], rtol=1e-3, atol=1e-6)


def test_ig_sum_norm_adds_the_attribution_at_the_same_point():
    model, (inputs, targets) = network(), batch()
    loss = IGSumNormLoss(radius=0.3, weight=0.7, n_steps=8, search_n_steps=4, step_num=3, seed=1)
    perturbed = loss.worst(model, inputs, targets, 9)
    attributions = loss_integrated_gradients(model, inputs, perturbed, targets, n_steps=8)
    expected = (entropies(model, perturbed, targets) + 0.7 * attributions.abs().sum(dim=1)).mean()
    torch.testing.assert_close(loss.mean(model, inputs, targets, 9), expected)
    assert float((perturbed - inputs).abs().max()) <= 0.3


def test_the_search_of_ig_norm_makes_attributions_larger_than_random_points_do():
    model, (inputs, targets) = network(), batch(20)
    loss = IGNormLoss(radius=0.5, norm="L2", n_steps=30, search_n_steps=10, step_num=10, step_size=0.5, seed=1)
    found = loss.sizes(model, inputs, loss.worst(model, inputs, targets, 1), targets, 30)
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        offsets = functional.normalize(torch.randn(inputs.shape, generator=generator, dtype=torch.float64))
        chance = loss.sizes(model, inputs, inputs + 0.5 * offsets, targets, 30).detach()
        assert bool((chance <= 1.02 * found).all())
        assert float(chance.mean()) < 0.9 * float(found.detach().mean())


def test_attributions_of_a_layer_can_be_trained():
    model, (inputs, targets) = network(), batch()
    shared = {"radius": 0.3, "n_steps": 5, "search_n_steps": 3, "step_num": 2, "seed": 0}
    of_layer = IGNormLoss(**shared, layer=model[1])(model, inputs, targets)
    assert of_layer.item() != IGNormLoss(**shared)(model, inputs, targets).item()
    of_layer.backward()
    assert bool(model[0].weight.grad.any())


# -- adversarial training ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(4, 12), (4, 2, 6), (4, 1, 3, 4)])
@pytest.mark.parametrize("norm", ["L2", "Linf"])
def test_an_ascent_stays_in_the_ball_and_the_box_and_climbs(norm, shape):
    inputs = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    weights = torch.randn(shape[1:], generator=torch.Generator().manual_seed(1))
    ascent = AdversarialLoss(radius=0.4, norm=norm, step_num=20, step_size=0.8, lower_bound=-9.0, upper_bound=9.0)
    points = ascent.ascend(lambda x: (x * weights).flatten(1).sum(dim=1), inputs, 0)
    offsets = (points - inputs).flatten(1)
    assert float((offsets.norm(dim=1) if norm == "L2" else offsets.abs().amax(dim=1)).max()) <= 0.4 + 1e-6
    best = weights.norm() if norm == "L2" else weights.abs().sum()
    torch.testing.assert_close((offsets * weights.flatten()).sum(dim=1), (0.4 * best).expand(4), rtol=1e-4, atol=0)
    boxed = AdversarialLoss(radius=5.0, norm=norm, step_num=3, step_size=1.0, lower_bound=0.0, upper_bound=1.0)
    points = boxed.ascend(lambda x: (x * weights).flatten(1).sum(dim=1), inputs, 0)
    assert 0 <= float(points.min()) <= float(points.max()) <= 1


def test_adversarial_loss_of_a_linear_network_moves_the_margin_by_the_radius():
    """For two classes, the worst point of an L2 ball lies along the difference of their weights."""
    model, (inputs, targets) = nn.Linear(6, 2).double(), batch(classes=2)
    slope = (model.weight[1] - model.weight[0]).detach()
    signs = 1 - 2 * targets.double().unsqueeze(1)
    worst = inputs + 0.3 * signs * slope / slope.norm()
    loss = AdversarialLoss(radius=0.3, norm="L2", step_num=30, step_size=3.0, seed=0)(model, inputs, targets)
    torch.testing.assert_close(loss, entropies(model, worst, targets).mean(), rtol=1e-4, atol=0)


def test_ddn_finds_the_distance_to_the_boundary_of_a_linear_network():
    model, (inputs, _) = nn.Linear(6, 2).double(), batch(40)
    targets = model(inputs).argmax(dim=1)
    slope = (model.weight[1] - model.weight[0]).detach()
    exact = ((inputs @ slope + model.bias[1] - model.bias[0]) / slope.norm()).abs().detach()
    nearest = DDNLoss(max_norm=9.0, step_num=300).nearest(model, inputs, targets, 0)
    assert bool((model(nearest).argmax(dim=1) != targets).all())
    found = (nearest - inputs).norm(dim=1)
    assert bool((found >= exact - 1e-9).all())
    assert bool((found <= 1.06 * exact + 1e-3).all())


def test_ddn_stays_within_its_largest_norm_and_the_box():
    model, inputs = nn.Linear(6, 2).double(), torch.rand(8, 6, dtype=torch.float64)
    targets, seen = model(inputs).argmax(dim=1), []
    model.register_forward_hook(lambda _module, args, _output: seen.append(args[0].detach()))
    DDNLoss(max_norm=0.01, step_num=20, lower_bound=0.0, upper_bound=1.0)(model, inputs, targets)
    assert float((seen[-1] - inputs).norm(dim=1).max()) <= 0.01 + 1e-9
    assert all(float(points.min()) >= 0 and float(points.max()) <= 1 for points in seen)


@pytest.mark.parametrize("gap", [20.0, 80.0, 400.0])
def test_ddn_finds_the_boundary_despite_vanishing_gradients(gap):
    """Gradients of 1e-30 still have a direction; for a gradient of zero, DDN tries a random one."""
    model = nn.Linear(6, 2, bias=False)
    with torch.no_grad():
        model.weight.zero_()[:, 0] = torch.tensor([gap / 2, -gap / 2])
    inputs = torch.zeros(32, 6)
    inputs[:, 0] = 1.0  # at distance 1 from the boundary
    targets = torch.zeros(32, dtype=torch.int64)
    nearest = DDNLoss(max_norm=9.0, step_num=300).nearest(model, inputs, targets, 0)
    assert bool((model(nearest).argmax(dim=1) == 1).all())
    if gap < 100:
        torch.testing.assert_close((nearest - inputs).norm(dim=1), torch.ones(32), rtol=0.06, atol=0)


def test_ddn_returns_a_misclassified_input_itself():
    model, (inputs, _) = nn.Linear(6, 2).double(), batch()
    targets = model(inputs).argmin(dim=1)
    torch.testing.assert_close(DDNLoss(max_norm=1.0, step_num=5).nearest(model, inputs, targets, 0), inputs)


# -- saliency ---------------------------------------------------------------------------------------------------------


def test_the_gradient_of_d1_agrees_with_finite_differences():
    model, (inputs, targets) = network(), batch()
    loss = SaliencyAdversarialLoss(radius=0.5, weight=2.0, k=2, step_num=5, seed=0)
    perturbed = loss.attacked(model, inputs, targets, 3)
    assert float((perturbed - inputs).norm(dim=1).min()) > 0.1
    weights = {name: p.detach().clone().requires_grad_() for name, p in model.named_parameters()}

    def of_weights(*values):
        with torch.no_grad():
            for parameter, value in zip(model.parameters(), values, strict=True):
                parameter.copy_(value)
        return loss.at(model, inputs, perturbed, targets)

    of_weights(*weights.values()).backward()
    for parameter in model.parameters():
        flat, slope = parameter.data.view(-1), parameter.grad.view(-1)
        for entry in range(0, len(flat), 7):
            before = flat[entry].item()
            ends = []
            for step in (1e-5, -1e-5):
                flat[entry] = before + step
                ends.append(loss.at(model, inputs, perturbed, targets).item())
            flat[entry] = before
            assert math.isclose((ends[0] - ends[1]) / 2e-5, slope[entry].item(), rel_tol=1e-4, abs_tol=1e-7)


def test_d1_is_the_cross_entropy_and_the_squared_distance_of_unit_maps():
    model, (inputs, targets) = network(), batch()
    perturbed = inputs + 0.3
    maps = []
    for points in (inputs, perturbed):
        leaf = points.clone().requires_grad_()
        [slope] = torch.autograd.grad(model(leaf).gather(1, targets.unsqueeze(1)).sum(), leaf)
        maps.append(slope.abs() / slope.norm(dim=1, keepdim=True))
    expected = entropies(model, inputs, targets).mean() + 2 * (maps[0] - maps[1]).square().sum(dim=1).mean()
    loss = SaliencyAdversarialLoss(radius=0.5, weight=2.0)
    torch.testing.assert_close(loss.at(model, inputs, perturbed, targets), expected)


# -- curvature --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("classes", [2, 4])
def test_the_closed_form_is_the_top_eigenvalue_of_the_autograd_hessian(classes):
    model, (inputs, targets) = network(activation=nn.ReLU, classes=classes), batch(classes=classes)
    found = top_hessian_eigenvalue(model, inputs)
    for x, target, value in zip(inputs, targets, found, strict=True):
        hessian = torch.autograd.functional.hessian(
            lambda point, target=target: functional.cross_entropy(model(point.unsqueeze(0)), target.unsqueeze(0)), x
        )
        torch.testing.assert_close(torch.linalg.eigvalsh(hessian)[-1], value.detach(), rtol=1e-9, atol=1e-12)


def test_the_top_eigenvalue_can_be_trained():
    model, (inputs, _) = network(), batch()
    weight = model[2].weight
    top_hessian_eigenvalue(model, inputs).sum().backward()
    slope = weight.grad[1, 2].item()
    ends = []
    for step in (1e-5, -1e-5):
        with torch.no_grad():
            weight[1, 2] += step
        ends.append(top_hessian_eigenvalue(model, inputs).sum().item())
        with torch.no_grad():
            weight[1, 2] -= step
    assert math.isclose((ends[0] - ends[1]) / 2e-5, slope, rel_tol=1e-5)


def test_certain_predictions_have_no_curvature():
    model = nn.Linear(6, 3).double()
    with torch.no_grad():
        model.bias[0] = 1000.0
    top = top_hessian_eigenvalue(model, batch()[0])
    torch.testing.assert_close(top, torch.zeros_like(top))
    top.sum().backward()
    assert bool(torch.isfinite(model.weight.grad).all())


def test_curvature_is_the_change_of_the_gradient_along_its_sign():
    model, (inputs, targets) = network(), batch()

    def gradient(points):
        leaf = points.clone().requires_grad_()
        return torch.autograd.grad(entropies(model, leaf, targets).sum(), leaf)[0]

    slope = gradient(inputs)
    ahead = gradient(inputs + 0.2 * slope.sign() / math.sqrt(6))
    expected = entropies(model, inputs, targets).mean() + 3 * (ahead - slope).square().sum(dim=1).mean()
    torch.testing.assert_close(CurvatureLoss(weight=3.0, step=0.2)(model, inputs, targets), expected)


def test_the_spectral_penalty_is_the_sum_of_squared_singular_values():
    model = nn.Sequential(nn.Conv2d(2, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(27, 4))
    inputs, targets = torch.rand(3, 2, 4, 4), torch.tensor([0, 1, 2])
    plain = functional.cross_entropy(model(inputs), targets)
    norms = [torch.linalg.svdvals(layer.weight.flatten(1))[0] for layer in (model[0], model[3])]
    expected = plain + 0.05 * sum(norm.square() for norm in norms)
    torch.testing.assert_close(SpectralNormLoss(weight=0.1)(model, inputs, targets), expected)


# -- noise and network ------------------------------------------------------------------------------------------------


def test_every_copy_has_noise_of_its_own():
    seen = []
    model = nn.Linear(6, 4).double()
    model.register_forward_hook(lambda _module, args, _output: seen.append(args[0].detach()))
    inputs = torch.zeros(300, 6, dtype=torch.float64)
    GaussianAugmentationLoss(stdev=0.3, nt_samples=5, seed=0)(model, inputs, torch.zeros(300, dtype=torch.int64))
    assert seen[0].shape == (1500, 6)
    assert len(seen[0].unique()) == 9000
    assert abs(float(seen[0].std()) - 0.3) < 0.01


@pytest.mark.parametrize("loss", [GaussianAugmentationLoss(stdev=0.3), DDNLoss(max_norm=0.5, step_num=4)])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_networks_are_trained(loss, dtype):
    model = nn.Linear(6, 4).to(dtype)
    inputs = torch.zeros(3, 6, dtype=dtype)
    assert loss(model, inputs, torch.tensor([0, 1, 2])).dtype == dtype


def test_the_network_of_the_paper():
    model = mnist_network(seed=1)
    assert sum(p.numel() for p in model.parameters()) == 90 + 1230 + 7520 + 210
    kinds = "Conv2d MaxPool2d Softplus Conv2d MaxPool2d Softplus Flatten Linear Softplus Linear"
    assert [type(module).__name__ for module in model] == kinds.split()
    torch.testing.assert_close(model[0].weight, mnist_network(seed=1)[0].weight, rtol=0, atol=0)
    torch.manual_seed(5)
    unseeded = mnist_network()
    torch.manual_seed(5)
    torch.testing.assert_close(unseeded[0].weight, mnist_network()[0].weight, rtol=0, atol=0)


def test_targets_out_of_range_are_refused():
    model, (inputs, _) = network(), batch()
    for targets, said in (([0, 1, 2, 3, 4], "0 to 4"), ([-1, 0, 0, 0, 0], "-1 to 0")):
        with pytest.raises(ValueError, match=f"Expected `targets` from 0 to 3, got {said}"):
            AdversarialLoss(radius=0.1)(model, inputs, torch.tensor(targets))
