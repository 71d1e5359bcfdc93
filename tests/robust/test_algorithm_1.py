"""Algorithm 1 and the attack of Ghorbani et al. against literal NumPy versions, and their schedules of steps."""

import math

import numpy as np
import pytest
import torch
from captum.attr import Saliency
from networks import mlp
from torch.testing import assert_close

from captum_certified import InterpretationAttack
from captum_certified.robust import GhorbaniAttack
from captum_certified.robust.base import AttackArguments
from captum_certified.robust.ghorbani_attack import SignSteps
from captum_certified.robust.interpretation_attack import GradientAscent
from captum_certified.robust.random_starts import RandomStarts
from captum_certified.robust.search import BestPoints
from captum_certified.robust.surrogate import Surrogate

INPUT = torch.tensor([[0.3, -0.6, 0.9, 0.1, -0.2, 0.5]], dtype=torch.float64)
SEED, K, RADIUS = 5, 2, 1.0


class ByHand:
    """A softplus network with one hidden layer, with D of its saliency map and the gradient of D in closed form."""

    def __init__(self, net, members, target):
        self.w1, self.b1 = (p.detach().numpy() for p in (net[0].weight, net[0].bias))
        self.w2, self.b2 = (p.detach().numpy() for p in (net[2].weight, net[2].bias))
        self.members, self.target = members, target

    def hidden(self, x):
        return self.w1 @ x + self.b1

    def predicted(self, x):
        return int(np.argmax(self.w2 @ np.logaddexp(0, self.hidden(x)) + self.b2))

    def gradient(self, x):
        sigmoid = 1 / (1 + np.exp(-self.hidden(x)))
        return self.w1.T @ (sigmoid * self.w2[self.target])

    def jacobian(self, x):
        sigmoid = 1 / (1 + np.exp(-self.hidden(x)))
        return self.w1.T @ np.diag(sigmoid * (1 - sigmoid) * self.w2[self.target]) @ self.w1

    def d(self, x):
        heat = np.abs(self.gradient(x))
        return -math.log(heat[self.members].sum() / heat.sum())

    def d_slope(self, x):
        gradient, jacobian = self.gradient(x), self.jacobian(x)
        heat, slopes = np.abs(gradient), np.sign(gradient)[:, None] * jacobian
        inside, total = heat[self.members].sum(), heat.sum()
        return slopes.sum(axis=0) / total - slopes[self.members].sum(axis=0) / inside


def by_hand(net, x):
    clean = ByHand(net, None, None)
    clean.target = clean.predicted(x)
    clean.members = np.argsort(-np.abs(clean.gradient(x)), kind="stable")[:K]
    return clean


def into_ball(x, center, norm, low, high):
    offset = x - center
    if norm == "Linf":
        offset = np.clip(offset, -RADIUS, RADIUS)
    elif np.linalg.norm(offset) > RADIUS:
        offset = offset * RADIUS / np.linalg.norm(offset)
    return np.clip(center + offset, low, high)


def ascent(model, center, starts, *, steps, norm, low, high, halvings):
    """Run Algorithm 1 for one example, and append to ``halvings`` how often each step was halved."""
    best, best_value = center, -math.inf
    wanted = model.predicted(center)
    for start in starts:
        x, alpha = start, None
        for p in range(1, steps + 1):
            if model.d(x) > best_value:
                best, best_value = x, model.d(x)
            slope = model.d_slope(x)
            if alpha is None:
                alpha = RADIUS / np.linalg.norm(slope) if norm == "L2" else RADIUS
            way = slope if norm == "L2" else np.sign(slope)
            moved, tries = into_ball(x + alpha * way, center, norm, low, high), 0
            while model.predicted(moved) != wanted and tries < 10:
                alpha, tries = alpha / 2, tries + 1
                moved = into_ball(x + alpha * way, center, norm, low, high)
            halvings.append(tries)
            x = moved if model.predicted(moved) == wanted else x
            alpha *= p / (p + 1)
        if model.d(x) > best_value:
            best, best_value = x, model.d(x)
    return best, best_value


def random_starts(attack):
    """Return the random starts of an attack on ``INPUT`` under ``SEED``."""
    arguments = AttackArguments(
        inputs=INPUT, radius=RADIUS, k=K, step_num=1, target=None, additional_forward_args=None,
        attribution_kwargs=None, reference=None, keep_class=True, seed=SEED, show_progress=False,
    )  # fmt: skip
    explanation, ball = attack._explanation(arguments), attack._ball(RADIUS)
    return RandomStarts(explanation, ball, seed=SEED, n_draws=100, keep_class=True)


# -- the algorithm ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("box", [(-math.inf, math.inf), (-0.7, 1.0)])
@pytest.mark.parametrize("norm", ["L2", "Linf"])
@pytest.mark.parametrize("number", [0, 1, 2])
def test_algorithm_1_finds_the_point_of_a_literal_version(number, norm, box):
    net, center = mlp(seed=number), INPUT[0].numpy()
    attack = InterpretationAttack(net, Saliency(net), norm=norm, lower_bound=box[0], upper_bound=box[1])
    starts = random_starts(attack)
    drawn = [starts.next()[0][0].numpy() for _ in range(3)]
    model, halvings = by_hand(net, center), []
    expected, value = ascent(model, center, drawn, steps=8, norm=norm, low=box[0], high=box[1], halvings=halvings)
    found = attack.attack(INPUT, RADIUS, k=K, step_num=8, n_restarts=3, seed=SEED)
    assert_close(found.perturbed[0].numpy(), expected, rtol=0, atol=1e-7)
    best = GradientAscent(random_starts(attack)).run(step_num=8, n_restarts=3)
    assert_close(float(best.values), value, rtol=0, atol=1e-7)
    left = np.argsort(-np.abs(model.gradient(expected)), kind="stable")[:K]
    assert int(found.overlap) == len(set(left) & set(model.members))


def test_steps_that_change_the_class_are_halved_as_in_the_literal_version():
    halved = 0
    for number in range(6):
        net, center = mlp(seed=number), INPUT[0].numpy()
        with torch.no_grad():  # the two largest outputs nearly tie, so the class changes easily
            outputs = net(INPUT)[0]
            first, second = outputs.topk(2).indices.tolist()
            net[2].bias[second] += outputs[first] - outputs[second] - 0.02
        attack = InterpretationAttack(net, Saliency(net))
        starts = random_starts(attack)
        drawn = [starts.next()[0][0].numpy() for _ in range(2)]
        model, halvings = by_hand(net, center), []
        expected, _ = ascent(model, center, drawn, steps=6, norm="L2", low=-math.inf, high=math.inf, halvings=halvings)
        found = attack.attack(INPUT, RADIUS, k=K, step_num=6, n_restarts=2, seed=SEED)
        assert_close(found.perturbed[0].numpy(), expected, rtol=0, atol=1e-7)
        assert found.class_kept.all()
        halved += sum(halvings)
    assert halved > 5


@pytest.mark.parametrize("norm", ["L2", "Linf"])
@pytest.mark.parametrize("number", [0, 1, 2])
def test_sign_steps_find_the_point_of_a_literal_version(number, norm):
    net, center, size = mlp(seed=number), INPUT[0].numpy(), 0.07
    model = by_hand(net, center)
    x, best, best_value = center, center, model.d(center)
    for _ in range(12):
        x = into_ball(x + size * np.sign(model.d_slope(x)), center, norm, -0.7, 1.0)
        if model.predicted(x) == model.predicted(center) and model.d(x) > best_value:
            best, best_value = x, model.d(x)
    attack = GhorbaniAttack(net, Saliency(net), norm=norm, lower_bound=-0.7, upper_bound=1.0)
    found = attack.attack(INPUT, RADIUS, k=K, step_num=12, step_size=size, seed=SEED)
    assert_close(found.perturbed[0].numpy(), best, rtol=0, atol=1e-9)


@pytest.mark.parametrize(("norm", "share"), [("L2", 1 / 500), ("Linf", 1 / 8)])
def test_sign_steps_have_a_default_size(norm, share):
    net = mlp()
    attack = GhorbaniAttack(net, Saliency(net), norm=norm)
    found = attack.attack(INPUT, RADIUS, k=K, step_num=1, seed=SEED, keep_class=False)
    moved = (found.perturbed - INPUT).abs()
    assert_close(moved, torch.full_like(moved, share * RADIUS))


# -- single steps ----------------------------------------------------------------------------------------------


class Scripted:
    """A fake explanation of one number: D has a given slope, a rule keeps the class, and calls are recorded."""

    surrogate = Surrogate(1.0)

    def __init__(self, *, keeps, slope=1.0):
        self.centers = torch.zeros(1, 1, dtype=torch.float64)
        self.all_rows, self.keeps, self.slope = torch.arange(1), keeps, slope
        self.seen, self.tried = [], []

    def values(self, points, rows):
        self.seen.append(float(points))
        return points[:, 0].clone()

    def gradients(self, points, rows, *, step):
        return torch.full_like(points, self.slope(step) if callable(self.slope) else self.slope)

    def keeps_class(self, points, rows):
        self.tried.append(float(points))
        return torch.tensor([self.keeps(float(points))])


class Line:
    """A fake ball: the whole real line, with all starts at 0."""

    radius = 1.0

    def random_offset(self, seed, draw, like):
        return torch.zeros(1, dtype=torch.float64)

    def project(self, points, centers):
        return points

    def direction(self, gradient):
        return gradient

    def first_step_size(self, gradient):
        return torch.where(gradient.abs() > 0, self.radius / gradient.abs(), torch.zeros_like(gradient))


def watched(steps, *, keep_class=True, n_restarts=1, **rule):
    explanation = Scripted(**rule)
    starts = RandomStarts(explanation, Line(), seed=0, n_draws=100, keep_class=keep_class)
    best = GradientAscent(starts).run(step_num=steps, n_restarts=n_restarts)
    return explanation, best


def test_the_steps_shrink_as_one_over_p():
    explanation, best = watched(5, keeps=lambda x: True, slope=-4.0)
    moved = -np.diff(explanation.seen)
    assert_close(moved, np.array([1, 1 / 2, 1 / 3, 1 / 4, 1 / 5]))
    assert float(best.points) == 0.0  # D falls along the way, so the start is the best point


def test_a_step_is_halved_at_most_ten_times_and_then_skipped():
    explanation, _ = watched(3, keeps=lambda x: x == 0)
    assert explanation.seen == [0.0] * 4
    # The start, and then one attempt and ten halvings for each of three steps.
    sizes = [2.0**-i for i in range(11)]
    sizes += [sizes[-1] / 2 * 2.0**-i for i in range(11)]
    sizes += [sizes[-1] * 2 / 3 * 2.0**-i for i in range(11)]
    assert_close(explanation.tried, [0.0, *sizes])


def test_the_tenth_halving_may_still_be_taken():
    explanation, best = watched(1, keeps=lambda x: x <= 2**-10)
    assert explanation.seen == [0.0, 2**-10]
    assert float(best.points) == 2**-10
    explanation, _ = watched(1, keeps=lambda x: x <= 2**-11)
    assert explanation.seen == [0.0, 0.0]


def test_halved_steps_stay_halved():
    explanation, _ = watched(3, keeps=lambda x: x <= 0.6)
    # 1 → .5 taken; .25 → .125 → .0625 taken (.5 + .0625 …) and 2/3 of that.
    assert_close(explanation.seen, [0.0, 0.5, 0.5 + 0.0625, 0.5 + 0.0625 + 0.0625 * 2 / 3 / 2])


def test_keep_class_false_does_not_run_the_model():
    explanation, _ = watched(3, keep_class=False, keeps=lambda x: False)
    assert explanation.tried == []
    assert len(set(explanation.seen)) == 4


def test_the_first_step_waits_for_a_gradient():
    explanation, _ = watched(4, keeps=lambda x: True, slope=lambda step: 0.0 if step < 3 else 2.0)
    assert_close(explanation.seen, [0.0, 0.0, 0.0, 1.0, 1.0 + 3 / 4])


def test_every_restart_begins_with_a_whole_step():
    explanation, _ = watched(2, keeps=lambda x: True, n_restarts=3)
    assert_close(explanation.seen, [0.0, 1.0, 1.5] * 3)


def test_the_best_of_all_points_is_kept_and_infinite_values_are_ignored():
    best = BestPoints(torch.zeros(3, 1, dtype=torch.float64))
    assert not best.found.any()
    best.offer(
        torch.tensor([[1.0], [2.0]], dtype=torch.float64),
        torch.tensor([-5.0, -torch.inf]).double(),
        torch.tensor([0, 2]),
    )
    best.offer(torch.tensor([[3.0]], dtype=torch.float64), torch.tensor([-6.0]).double(), torch.tensor([0]))
    assert best.found.tolist() == [True, False, False]
    assert best.points.flatten().tolist() == [1.0, 0.0, 0.0]


def test_sign_steps_pass_through_points_of_another_class():
    explanation = Scripted(keeps=lambda x: not 0.15 < x < 0.45)
    best = SignSteps(explanation, Line(), step_size=0.1, keep_class=True, seed=0).run(step_num=5)
    assert_close(explanation.seen, [0.0, 0.1, 0.2, 0.3, 0.4, 0.5])
    assert_close(float(best.points), 0.5)
    explanation = Scripted(keeps=lambda x: x <= 0.15)
    best = SignSteps(explanation, Line(), step_size=0.1, keep_class=True, seed=0).run(step_num=5)
    assert_close(float(best.points), 0.1)
