"""Attacks without gradients, attacks on maps that are not finite, and the state that every attack restores."""

import pytest
import torch
from attacks import ALL_ATTACKS, GRADIENT_ATTACKS, RADIUS, generators, l2_attack, points, saliency, smooth
from captum.attr import Saliency
from networks import GateNet, Watched, mlp
from torch import nn

from captum_certified import CertificationError, InterpretationAttack, ScaledSmoothGrad

# -- no gradient, no finite map, no radius, no steps -------------------------------------------------------------


@GRADIENT_ATTACKS
def test_a_locally_constant_map_gives_a_warning_about_the_surrogate(attack_of):
    gates, x = GateNet((6,)), points(dtype=torch.float32)
    linear = nn.Linear(6, 3).requires_grad_(False)
    for model in (gates, linear, nn.Linear(6, 3)):
        with pytest.warns(UserWarning, match="has no gradient where the search begins.*give `surrogate_beta`"):
            result = attack_of(model, surrogate_beta=None)(x, 1e-3, seed=0)
        assert str(result.surrogate) == "none: turned off"
        assert result.succeeded.all()
        assert torch.isfinite(result.perturbed).all()
    with_surrogate = attack_of(gates, surrogate_beta=5.0)(x, 0.5, seed=0, keep_class=False)
    assert with_surrogate.overlap.sum() < result.overlap.sum()
    # A linear network has no ReLUs that a surrogate could replace.
    with pytest.warns(UserWarning, match="surrogate is none: no ReLU was seen. Surrogates replace torch.nn.ReLU"):
        attack_of(linear)(x, 1e-3, seed=0)


class Broken(nn.Module):
    """A network whose gradients are NaN where the first entry exceeds a limit."""

    def __init__(self, limit):
        super().__init__()
        self.net, self.limit = smooth((6,)), limit

    def forward(self, inputs):
        above = (inputs[:, :1] - self.limit).clamp(min=0)
        return self.net(inputs) + 0 * torch.sqrt(-above) * inputs.sum(dim=1, keepdim=True)


@pytest.mark.filterwarnings("ignore:The map has no gradient where the search begins")
@ALL_ATTACKS
def test_points_whose_map_is_not_finite_are_skipped(attack_of):
    x = points(rows=6)
    x[:, 0] = 0.5
    result = attack_of(Broken(0.55))(x, RADIUS, seed=0, k=2)
    assert result.succeeded.any()
    assert float(result.perturbed[:, 0].max()) <= 0.55
    assert torch.isfinite(saliency(Broken(0.55), result.perturbed, 0)).all()


@ALL_ATTACKS
def test_a_finite_map_without_a_finite_gradient_is_left_by_a_random_step(attack_of):
    def steep_at_zero(inputs):  # the gradient √x has no finite derivative at 0
        return (inputs.clamp(min=0) ** 1.5 * torch.arange(1.0, 7.0, dtype=inputs.dtype)).sum(dim=1)

    x = torch.zeros(2, 6, dtype=torch.float64)
    x[1] = 0.5
    found = attack_of(steep_at_zero)(x, RADIUS, seed=0, k=2)
    assert found.succeeded.all()
    assert torch.isfinite(found.perturbed).all()
    assert found.perturbed[1].ne(x[1]).any()


@pytest.mark.filterwarnings("ignore:The map has no gradient where the search begins")
def test_the_attack_fails_if_no_random_point_has_a_finite_map():
    class Spike(nn.Module):
        def forward(self, inputs):
            off = (inputs - 0.5).abs().sum(dim=1, keepdim=True)
            return torch.where(off > 0, torch.nan, 0.0) * 0 + inputs[:, :3] ** 2

    class Slopes(Saliency):
        def attribute(self, inputs, target=None, additional_forward_args=None):
            heat = super().attribute(inputs, target=target)
            return torch.where((inputs == 0.5).all(dim=1, keepdim=True), heat, torch.nan)

    def model(inputs):
        return mlp()(inputs)

    x = torch.full((2, 6), 0.5, dtype=torch.float64)
    result = l2_attack(model, Slopes(model))(x, RADIUS, k=2, seed=0)
    assert not result.succeeded.any()
    assert torch.equal(result.perturbed, x)
    assert result.overlap.tolist() == [2, 2]


@ALL_ATTACKS
def test_a_map_that_is_not_finite_at_the_clean_input_is_refused(attack_of):
    with pytest.raises(CertificationError, match="Expected finite attributions at the clean inputs, got NaN"):
        attack_of(Broken(-1.0))(points(), RADIUS)


@ALL_ATTACKS
@pytest.mark.parametrize("radius", [0, 0.0])
def test_radius_0_returns_the_input_and_keeps_everything(attack_of, radius):
    x = points()
    result = attack_of(smooth((6,)))(x, radius, k=4, seed=0)
    assert torch.equal(result.perturbed, x)
    assert result.perturbed.data_ptr() != x.data_ptr()
    assert result.overlap.tolist() == [4, 4]
    assert result.succeeded.all()
    assert result.class_kept.all()


def test_zero_steps_return_the_random_start():
    model, x = smooth((6,)), points()
    one = InterpretationAttack(model, Saliency(model)).attack(x, RADIUS, seed=0, step_num=0, n_restarts=1)
    two = InterpretationAttack(model, Saliency(model), objective="random").attack(x, RADIUS, seed=0)
    assert torch.equal(one.perturbed, two.perturbed)


# -- state is restored -------------------------------------------------------------------------------------------


@ALL_ATTACKS
@pytest.mark.parametrize("fails_at", [1, 2, 4, 7])
def test_an_exception_leaves_no_changes_behind(attack_of, fails_at):
    watched, x = Watched(smooth((6,)), fails_at=fails_at), points().requires_grad_()
    method = ScaledSmoothGrad(Saliency(watched))
    gradient_func = method.attribution_method.gradient_func
    before = x.detach().clone()
    states = generators()
    with pytest.raises(InterruptedError, match="on purpose"):
        attack_of(watched, method, surrogate_beta=3.0)(x, RADIUS, attribution_kwargs={"nt_samples": 2})
    assert method.attribution_method.gradient_func is gradient_func
    assert torch.is_grad_enabled()
    assert torch.equal(torch.relu(torch.tensor([-1.0])), torch.zeros(1))
    assert generators() == states
    assert torch.equal(x.detach(), before)
    assert x.requires_grad
    assert x.grad is None


@ALL_ATTACKS
def test_tensors_and_weights_of_the_caller_are_unchanged(attack_of):
    model = smooth((6,))
    x, y = points().requires_grad_(), points()
    kept = x.detach().clone(), y.clone()
    for tensor in (x, y):
        result = attack_of(model)(tensor, RADIUS, seed=0)
        assert not result.perturbed.requires_grad
    assert torch.equal(x.detach(), kept[0])
    assert torch.equal(y, kept[1])
    assert x.requires_grad
    assert not y.requires_grad
    assert x.grad is None
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    assert not any(module._forward_hooks or module._backward_hooks for module in model.modules())


@ALL_ATTACKS
def test_an_attack_runs_inside_no_grad(attack_of):
    model, x = smooth((6,)), points()
    expected = attack_of(model)(x, RADIUS, seed=0)
    with torch.no_grad():
        found = attack_of(model)(x, RADIUS, seed=0)
        assert not torch.is_grad_enabled()
    assert torch.equal(found.perturbed, expected.perturbed)
