"""The Wasserstein objective: duality with the ball of distributions, limits, and the relation to other losses."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.optimize import linprog
from torch import nn
from torch.nn import functional

from captum_certified.training import IGNormLoss, IGWassersteinLoss


def network(seed=0, features=2, classes=3):
    """A small network with weights three times as large as usual, so that its loss is curved."""
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(features, 6), nn.Softplus(), nn.Linear(6, classes)).double()
    with torch.no_grad():
        for layer in (model[0], model[2]):
            layer.weight.mul_(3)
    return model


def batch(n=5, features=2, classes=3):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(n, features, generator=generator, dtype=torch.float64), torch.arange(n) % classes


def entropies(model, inputs, targets):
    return functional.cross_entropy(model(inputs), targets, reduction="none")


class LinearLoss(nn.Module):
    """Two classes whose logits differ by more than 40, so the cross-entropy of class 0 is w · x to 17 digits."""

    def __init__(self, weights):
        super().__init__()
        self.weights = nn.Parameter(torch.tensor(weights, dtype=torch.float64))

    def forward(self, x):
        return torch.stack([torch.zeros(len(x), dtype=x.dtype), x @ self.weights + 60], dim=1)


# norm of the cost -> the norm of w that the loss can gain per unit of distance
DUAL_ORDER = {"L2": 2, "Linf": 1}


@pytest.mark.parametrize("norm", ["L2", "Linf"])
@pytest.mark.parametrize("cost", [2.0, 7.0])
def test_a_linear_loss_has_the_closed_form(norm, cost):
    """max |w · δ| − γ‖δ‖² is ‖w‖*² / 4γ, at the distance ‖w‖* / 2γ."""
    weights = [1.0, -2.0, 0.5]
    model, inputs, targets = LinearLoss(weights), batch(4, 3)[0], torch.zeros(4, dtype=torch.int64)
    dual = float(np.linalg.norm(weights, DUAL_ORDER[norm]))
    loss = IGWassersteinLoss(cost=cost, norm=norm, n_steps=1, search_n_steps=1, step_num=3, seed=0)
    perturbed = loss.worst(model, inputs, targets, 0)
    distances = loss.costs(inputs, perturbed).sqrt()
    torch.testing.assert_close(distances, torch.full((4,), dual / (2 * cost), dtype=torch.float64))
    gains = loss.gains(model, inputs, perturbed, targets, 1).detach()
    torch.testing.assert_close(gains, torch.full((4,), dual**2 / (4 * cost), dtype=torch.float64))
    expected = entropies(model, inputs, targets).mean() + dual**2 / (4 * cost)
    torch.testing.assert_close(loss(model, inputs, targets), expected)


@pytest.mark.parametrize("norm", ["L2", "Linf"])
def test_at_the_cost_that_uses_up_the_budget_the_penalty_and_the_ball_agree(norm):
    """For a linear loss, γ = ‖w‖* / 2ε sends every point to the sphere, and γ ε² + P(γ) is the penalty of IG-NORM."""
    weights, radius = [1.0, -2.0, 0.5], 0.3
    model, inputs, targets = LinearLoss(weights), batch(4, 3)[0], torch.zeros(4, dtype=torch.int64)
    cost = float(np.linalg.norm(weights, DUAL_ORDER[norm])) / (2 * radius)
    steps = {"n_steps": 1, "search_n_steps": 1, "seed": 0}
    wasserstein = IGWassersteinLoss(cost=cost, norm=norm, step_num=3, **steps)
    ball = IGNormLoss(radius=radius, norm=norm, step_num=20, **steps)
    perturbed = wasserstein.worst(model, inputs, targets, 0)
    torch.testing.assert_close(wasserstein.costs(inputs, perturbed), torch.full((4,), radius**2, dtype=torch.float64))
    # The worst point of the penalised problem attains the largest size of the ball.
    sizes = wasserstein.sizes(model, inputs, perturbed, targets, 1).detach()
    torch.testing.assert_close(sizes, torch.full((4,), radius * 2 * radius * cost, dtype=torch.float64))
    in_ball = ball(model, inputs, targets).detach()
    torch.testing.assert_close(
        wasserstein(model, inputs, targets).detach() + cost * radius**2, in_ball, rtol=1e-4, atol=0
    )
    # Any other γ gives a looser bound.
    for other in (0.5 * cost, 2 * cost):
        looser = IGWassersteinLoss(cost=other, norm=norm, step_num=3, **steps)(model, inputs, targets)
        assert looser + other * radius**2 > in_ball + 1e-3


# -- a small network, and all points of a grid ----------------------------------------------------------------------

STEPS = 10  # of the integrals
AXIS = np.linspace(-1.5, 1.5, 61)
GRID = torch.tensor(np.stack(np.meshgrid(AXIS, AXIS), axis=-1).reshape(-1, 2))  # contains 0


def tables(norm, size="l1", model=None):
    """The sizes and the costs of moving each example by each offset of the grid, (examples, offsets)."""
    model, (inputs, targets) = model or network(), batch()
    loss = IGWassersteinLoss(cost=1.0, norm=norm, size=size)
    moved = (inputs.unsqueeze(1) + GRID).flatten(0, 1)
    still = inputs.repeat_interleave(len(GRID), dim=0)
    sizes = loss.sizes(model, still, moved, targets.repeat_interleave(len(GRID)), STEPS).detach()
    return (values.reshape(len(inputs), len(GRID)).numpy() for values in (sizes, loss.costs(still, moved)))


def largest_in_the_ball_of_distributions(sizes, costs, budget):
    """The largest E s over all ways to move mass from the examples to the grid with E c ≤ budget, a linear program."""
    n, offsets = sizes.shape
    marginals = np.kron(np.eye(n), np.ones(offsets))
    solved = linprog(
        -sizes.ravel(),
        A_ub=costs.ravel()[None],
        b_ub=[budget],
        A_eq=marginals,
        b_eq=np.full(n, 1 / n),
        bounds=(0, None),
    )
    assert solved.status == 0
    return -solved.fun, -float(solved.ineqlin.marginals[0])


@pytest.mark.parametrize("norm", ["L2", "Linf"])
def test_the_lagrangian_has_the_value_of_the_ball_of_distributions(norm):
    """Strong duality: sup {E s : E c ≤ ρ} = min over γ of γρ + E max [s − γc], and γ is the price of the budget."""
    sizes, costs = tables(norm)
    for budget in (0.01, 0.09, 0.4):
        largest, price = largest_in_the_ball_of_distributions(sizes, costs, budget)

        def bound(cost, budget=budget):
            return cost * budget + (sizes - cost * costs).max(axis=1).mean()

        assert bound(price) == pytest.approx(largest, rel=1e-9)
        assert all(bound(factor * price) >= largest - 1e-9 for factor in (0.1, 0.5, 0.9, 1.1, 2.0, 10.0))
        in_ball = np.where(costs <= budget, sizes, 0).max(axis=1).mean()
        assert in_ball <= largest + 1e-12
        # Among distributions the budget may be spent where it gains most, so the ball of IG-NORM is strictly smaller.
        assert in_ball < 0.999 * largest


@pytest.mark.parametrize("norm", ["L2", "Linf"])
def test_the_search_finds_the_maximum_of_a_grid(norm):
    sizes, costs = tables(norm)
    model, (inputs, targets) = network(), batch()
    for cost in (2.0, 8.0):
        loss = IGWassersteinLoss(cost=cost, norm=norm, search_n_steps=STEPS, step_num=30)
        best = torch.tensor((sizes - cost * costs).max(axis=1))
        # Two signs of the first offset lead to two maxima, so several starts are tried.
        found = torch.stack(
            [
                loss.gains(model, inputs, loss.worst(model, inputs, targets, seed), targets, STEPS).detach()
                for seed in range(6)
            ]
        ).amax(dim=0)
        assert bool((found >= 0.99 * best - 1e-4).all()), (norm, cost)


def test_a_cost_that_is_zero_in_a_ball_and_infinite_outside_gives_ig_norm():
    """The limit of costs ‖x′ − x‖^p / ε^p: the penalty of IG-NORM, whatever γ is."""
    sizes, costs = tables("L2")
    radius = 0.4
    ball = np.where(costs <= radius**2, sizes, 0).max(axis=1).mean()
    for cost in (0.1, 10.0):
        powers = np.minimum(costs / radius**2, 2.0) ** 400.0  # almost 0 inside and enormous outside
        assert (sizes - cost * powers).max(axis=1).mean() == pytest.approx(ball, rel=0.05)


# -- limits ------------------------------------------------------------------------------------------------------------


def test_an_infinite_cost_leaves_the_cross_entropy():
    model, (inputs, targets) = network(), batch()
    plain = entropies(model, inputs, targets).mean().detach()
    penalties = [
        float(IGWassersteinLoss(cost=cost, norm="L2", n_steps=8, seed=0)(model, inputs, targets).detach() - plain)
        for cost in (1.0, 10.0, 100.0, 1e4)
    ]
    assert all(high > low > 0 for high, low in itertools.pairwise(penalties))
    assert penalties[0] > 1e-2
    assert penalties[-1] < 1e-4
    # For a large γ the loss is smooth at the scale of the search, and P(γ) is ‖∇CE‖² / 4γ.
    leaf = inputs.clone().requires_grad_()
    [slope] = torch.autograd.grad(entropies(model, leaf, targets).sum(), leaf)
    assert penalties[-1] == pytest.approx(float(slope.square().sum(dim=1).mean()) / 4e4, rel=1e-2)


def test_with_the_sum_as_size_it_is_the_surrogate_of_sinha_et_al():
    """By completeness CE(x) + sum IG − γc = CE(x′) − γc, in the search as well."""
    model, (inputs, targets) = network(), batch()
    loss = IGWassersteinLoss(cost=1.0, norm="L2", size="sum", n_steps=300, search_n_steps=300, step_num=60, seed=3)
    found = loss(model, inputs, targets).detach()
    points = inputs.clone().requires_grad_()
    for _ in range(400):  # gradient ascent on their objective
        objective = entropies(model, points, targets) - (points - inputs).square().sum(dim=1)
        [slope] = torch.autograd.grad(objective.sum(), points)
        points = (points + 0.1 * slope).detach().requires_grad_()
    expected = (entropies(model, points, targets) - (points - inputs).square().sum(dim=1)).mean().detach()
    assert expected > entropies(model, inputs, targets).mean() + 0.05
    torch.testing.assert_close(found, expected, rtol=2e-3, atol=0)


def test_the_gradient_is_that_of_the_penalty_at_the_worst_points():
    model, (inputs, targets) = network(), batch()
    loss = IGWassersteinLoss(cost=1.0, weight=0.7, n_steps=8, search_n_steps=4, step_num=5, seed=1)
    perturbed = loss.worst(model, inputs, targets, 9)
    value = loss.mean(model, inputs, targets, 9)
    gains = loss.gains(model, inputs, perturbed, targets, 8)
    torch.testing.assert_close(value, (entropies(model, inputs, targets) + 0.7 * gains.clamp_min(0)).mean())
    [slope] = torch.autograd.grad(value, model[0].weight)
    entry, ends = model[0].weight.data, []
    for step in (1e-5, -1e-5):
        entry[1, 1] += step
        gains = loss.gains(model, inputs, perturbed, targets, 8)
        ends.append(float((entropies(model, inputs, targets) + 0.7 * gains.clamp_min(0)).mean().detach()))
        entry[1, 1] -= step
    assert math.isclose((ends[0] - ends[1]) / 2e-5, slope[1, 1].item(), rel_tol=1e-5, abs_tol=1e-8)


@pytest.mark.parametrize("norm", ["L2", "Linf"])
def test_the_search_stays_in_the_box(norm):
    model, inputs = network(), torch.rand(6, 2, dtype=torch.float64)
    loss = IGWassersteinLoss(cost=1e-3, norm=norm, lower_bound=0.0, upper_bound=1.0, seed=0)
    perturbed = loss.worst(model, inputs, torch.arange(6) % 3, 0)
    assert 0 <= float(perturbed.min()) <= float(perturbed.max()) <= 1
    assert float((perturbed - inputs).abs().amax(dim=1).min()) > 0.2  # a low cost sends the points far
    with pytest.raises(ValueError, match=r"`inputs` in \[0, 1\]"):
        loss(model, inputs - 0.5, torch.arange(6) % 3)


def test_points_that_gain_nothing_cost_nothing():
    """A constant network has no attributions, so no move is worth its cost."""
    model, (inputs, targets) = network(), batch()
    with torch.no_grad():
        model[2].weight.zero_()
    loss = IGWassersteinLoss(cost=1.0, n_steps=4, seed=0)
    torch.testing.assert_close(loss(model, inputs, targets), entropies(model, inputs, targets).mean())


def test_attributions_of_a_layer_can_be_trained():
    model, (inputs, targets) = network(), batch()
    shared = {"cost": 1.0, "n_steps": 5, "search_n_steps": 3, "step_num": 2, "seed": 0}
    of_layer = IGWassersteinLoss(**shared, layer=model[1])(model, inputs, targets)
    assert of_layer.item() != IGWassersteinLoss(**shared)(model, inputs, targets).item()
    of_layer.backward()
    assert bool(model[0].weight.grad.any())
