"""Both attacks: the ball and the box, the class, randomness, what goes in and comes out, and what goes wrong."""

import math
import random
from functools import partial

import numpy as np
import pytest
import torch
from captum.attr import (
    DeepLift,
    FeatureAblation,
    GradientShap,
    InputXGradient,
    IntegratedGradients,
    NoiseTunnel,
    Occlusion,
    Saliency,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import GateNet, ScalarOutput, TwoDimensionalOutput, Watched, mlp
from torch import nn
from torch.testing import assert_close

from captum_certified import (
    CertificationError,
    InterpretationAttack,
    InvalidInputError,
    RelaxedSparsifiedSmoothGrad,
    ScaledSmoothGrad,
    SparsifiedSmoothGrad,
    mass_center_distance,
    top_k_intersection,
)
from captum_certified.maps import FeatureLayout
from captum_certified.robust import GhorbaniAttack
from captum_certified.robust.objectives import CleanMaps, objective_named, shares_of
from captum_certified.robust.threat_models import ball_named

RADIUS = 0.4
QUICK = {"step_num": 3, "n_restarts": 2}


def points(shape=(6,), rows=2, seed=0, dtype=torch.float64):
    return torch.rand((rows, *shape), generator=torch.Generator().manual_seed(seed), dtype=dtype)


def smooth(shape, classes=3, seed=0):
    """A smooth network of inputs of any shape and precision."""

    class Smooth(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = mlp(math.prod(shape), classes=classes, seed=seed)

        def forward(self, inputs):
            return self.net.to(inputs.dtype)(inputs.flatten(1))

    return Smooth()


def l2_attack(model, method=None, **settings):
    return partial(InterpretationAttack(model, method or Saliency(model), **settings).attack, **QUICK)


def sign_attack(model, method=None, **settings):
    return partial(GhorbaniAttack(model, method or Saliency(model), **settings).attack, step_num=4, step_size=0.15)


ATTACKS = pytest.mark.parametrize("attack_of", [l2_attack, sign_attack])


def sizes(perturbed, x, norm):
    moved = (perturbed.double() - x.double()).flatten(1)
    return moved.norm(dim=1) if norm == "L2" else moved.abs().amax(dim=1)


def generators():
    """The states of the global random generators."""
    numpy = tuple(str(part.tolist() if isinstance(part, np.ndarray) else part) for part in np.random.get_state())  # noqa: NPY002
    return random.getstate(), numpy, tuple(torch.get_rng_state().tolist())


def saliency(model, x, target):
    return Saliency(model).attribute(x.detach().clone().requires_grad_(), target=target).detach()


# -- the ball and the box --------------------------------------------------------------------------------------


@ATTACKS
@pytest.mark.parametrize("norm", ["L2", "Linf"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(6,), (1, 2, 3), (2, 1, 2, 2)])
def test_ball_and_box_hold_at_every_rank_and_precision(attack_of, norm, dtype, shape):
    model = smooth(shape)
    for rows in (1, 3):
        x = points(shape, rows, dtype=dtype)
        result = attack_of(model, norm=norm, lower_bound=0.0, upper_bound=1.0)(x, RADIUS, seed=0)
        assert result.perturbed.shape == x.shape
        assert result.perturbed.dtype == dtype
        assert float(sizes(result.perturbed, x, norm).max()) <= RADIUS + 1e-6
        assert float(sizes(result.perturbed, x, norm).min()) > 0.01
        assert float(result.perturbed.min()) >= 0.0
        assert float(result.perturbed.max()) <= 1.0
        assert result.succeeded.all()
        assert result.class_kept.all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_stays_in_the_ball_too(dtype):
    x = points(dtype=dtype)
    result = l2_attack(smooth((6,)))(x, RADIUS, seed=0)
    assert result.perturbed.dtype == dtype
    assert float(sizes(result.perturbed, x, "L2").max()) <= RADIUS


def mixed(first, second, tokens):
    """Takes two float tensors and one of whole numbers."""
    table = torch.linspace(-1, 1, 15, dtype=first.dtype).reshape(5, 3)
    return mlp(10).to(first.dtype)(torch.cat([first, second.flatten(1) * 2, first[:, :1] * table[tokens]], dim=1))


class OfFloats(Saliency):
    """Saliency of the float tensors among the inputs: Captum's own asks for the gradients of all."""

    def attribute(self, inputs, target=None, additional_forward_args=None):
        floats = [x for x in inputs if x.is_floating_point()]
        held = [x for x in inputs if not x.is_floating_point()]
        return super().attribute(tuple(floats), target=target, additional_forward_args=tuple(held))


@ATTACKS
@pytest.mark.parametrize("norm", ["L2", "Linf"])
def test_the_ball_of_a_tuple_is_of_all_its_tensors_and_whole_numbers_are_held_fixed(attack_of, norm):
    inputs = (points((3,)), points((2, 2), seed=1), torch.tensor([1, 4]))
    result = attack_of(mixed, OfFloats(mixed), norm=norm)(inputs, RADIUS, seed=0)
    assert isinstance(result.perturbed, tuple)
    assert torch.equal(result.perturbed[2], inputs[2])
    moved = torch.cat([(p - x).flatten(1) for p, x in zip(result.perturbed[:2], inputs[:2], strict=True)], dim=1)
    size = moved.norm(dim=1) if norm == "L2" else moved.abs().amax(dim=1)
    assert float(size.max()) <= RADIUS + 1e-9
    assert moved[:, :3].any()
    assert moved[:, 3:].any()


def test_random_search_takes_whole_numbers_with_methods_that_need_no_gradient():
    inputs = (points((3,)), points((2, 2), seed=1), torch.tensor([1, 4]))
    result = InterpretationAttack(mixed, FeatureAblation(mixed), objective="random").attack(inputs, RADIUS, seed=0)
    assert torch.equal(result.perturbed[2], inputs[2])
    assert result.succeeded.all()


def test_a_tuple_of_one_tensor_stays_a_tuple():
    model, x = smooth((6,)), points()
    result = l2_attack(model)((x,), RADIUS, seed=0)
    assert isinstance(result.perturbed, tuple)
    assert_close(result.perturbed[0], l2_attack(model)(x, RADIUS, seed=0).perturbed)


@settings(max_examples=150, deadline=None)
@given(
    norm=st.sampled_from(["L2", "Linf"]),
    dtype=st.sampled_from([torch.float16, torch.float32, torch.float64]),
    radius=st.floats(1e-6, 1e3),
    scale=st.floats(1e-3, 1e4),
    box=st.sampled_from([(-math.inf, math.inf), (0.0, 1.0), (-1.0, math.inf), (0.25, 0.75)]),
    seed=st.integers(0, 1000),
)
def test_projections_are_in_the_ball_and_in_the_box(norm, dtype, radius, scale, box, seed):
    generator = torch.Generator().manual_seed(seed)
    centers = torch.randn((3, 5), generator=generator, dtype=torch.float64).clamp(*box).to(dtype)
    wanted = centers.double() + scale * torch.randn((3, 5), generator=generator, dtype=torch.float64)
    ball = ball_named(norm)(radius, *box)
    projected = ball.project(wanted, centers)
    assert projected.dtype == dtype
    assert (sizes(projected, centers, norm) <= radius).all()
    assert (projected >= box[0]).all()
    assert (projected <= box[1]).all()
    # What lies inside is left where it is.
    assert_close(ball.project(projected.double(), centers), projected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("norm", ["L2", "Linf"])
def test_a_projection_without_a_box_is_the_nearest_point(norm):
    centers, wanted = points(), points(seed=3) * 4
    offsets = wanted - centers
    expected = {
        "L2": offsets * (0.5 / offsets.norm(dim=1, keepdim=True)),
        "Linf": offsets.clamp(-0.5, 0.5),
    }[norm]
    assert_close(ball_named(norm)(0.5, -math.inf, math.inf).project(wanted, centers), centers + expected)


def test_bounds_that_the_precision_cannot_hold_are_those_of_the_inputs():
    model, x = smooth((6,)), points(dtype=torch.float32).clamp(0.7, 0.8)
    assert float(x.min()) < 0.7 < 0.8 < float(x.max())
    result = l2_attack(model, lower_bound=0.7, upper_bound=0.8)(x, RADIUS, seed=0)
    assert torch.equal(result.perturbed, result.perturbed.clamp(0.7, 0.8))


def test_starts_lie_on_the_sphere_and_fill_the_cube():
    like = torch.zeros(1, 4, dtype=torch.float64)
    sphere, cube = (ball_named(norm)(2.0, -math.inf, math.inf) for norm in ("L2", "Linf"))
    on_sphere = torch.stack([sphere.random_offset(0, draw, like) for draw in range(400)])
    assert_close(on_sphere.norm(dim=1), torch.full((400,), 2.0, dtype=torch.float64))
    # Uniform: mean 0 and variance 2²/4 along every axis, to 5 standard errors.
    assert_close(on_sphere.mean(dim=0), torch.zeros(4, dtype=torch.float64), rtol=0, atol=5 * 1 / 20)
    assert_close(on_sphere.var(dim=0), torch.ones(4, dtype=torch.float64), rtol=0, atol=0.35)
    in_cube = torch.stack([cube.random_offset(0, draw, like) for draw in range(400)])
    assert float(in_cube.abs().max()) <= 2.0
    assert_close(in_cube.var(dim=0), torch.full((4,), 4 / 3, dtype=torch.float64), rtol=0, atol=0.35)


def test_steps_that_no_number_can_hold_are_not_taken():
    for norm in ("L2", "Linf"):
        ball = ball_named(norm)(1.0, -math.inf, math.inf)
        gradient = torch.tensor([[0.0, 0.0], [1e-320, 0.0], [2.0, 0.0]], dtype=torch.float64)
        steps = ball.first_step_size(gradient) * ball.direction(gradient)
        assert torch.isfinite(steps).all()
        assert_close(steps[2], torch.tensor([1.0, 0.0], dtype=torch.float64))
        assert not steps[0].any()


# -- the class -------------------------------------------------------------------------------------------------


class Divided(nn.Module):
    """Class 0 where the sum is positive; the map of either class is smooth and depends on the input."""

    def forward(self, inputs):
        total = inputs.sum(dim=1, keepdim=True)
        return torch.cat([total, -total], dim=1) + 1e-3 * (inputs**3).sum(dim=1, keepdim=True)


NEAR = torch.tensor([[0.3, -0.1, 0.02, -0.12], [-0.3, 0.1, 0.0, 0.05]], dtype=torch.float64)


@ATTACKS
def test_the_class_is_kept_where_asked(attack_of):
    model = Divided()
    result = attack_of(model)(NEAR, 1.0, seed=1, k=1)
    assert torch.equal(model(result.perturbed).argmax(dim=1), model(NEAR).argmax(dim=1))
    assert result.class_kept.all()


@ATTACKS
def test_the_class_may_change_where_it_need_not_be_kept(attack_of):
    model = Divided()
    result = attack_of(model)(NEAR.repeat(4, 1), 1.0, seed=1, k=1, keep_class=False)
    kept = model(result.perturbed).argmax(dim=1) == model(NEAR.repeat(4, 1)).argmax(dim=1)
    assert torch.equal(kept, result.class_kept)
    assert not kept.all()
    assert result.succeeded.all()


class Changed(nn.Module):
    """Class 1 at the given inputs, class 0 anywhere else."""

    def __init__(self, inputs):
        super().__init__()
        self.known = inputs

    def forward(self, inputs):
        same = (inputs[:, None] == self.known[None]).all(dim=2).any(dim=1, keepdim=True).to(inputs.dtype)
        return torch.cat([inputs.pow(3).sum(1, keepdim=True) * 0, 2 * same - 1], dim=1) + 1e-9 * inputs.pow(3)[:, :2]


def test_where_no_start_keeps_the_class_the_input_comes_back_and_counts_as_untouched():
    x = points()
    result = InterpretationAttack(Changed(x), Saliency(Changed(x))).attack(x, RADIUS, k=3, n_draws=7, seed=0)
    assert not result.succeeded.any()
    assert torch.equal(result.perturbed, x)
    assert result.overlap.tolist() == [3, 3]
    assert result.overlap_fraction.tolist() == [1.0, 1.0]
    assert result.class_kept.all()
    assert result.mean_overlap_fraction == 1.0
    assert result.mean_overlap_fraction_of_succeeded is None


class OnlyTheFirst(nn.Module):
    """A smooth network, but whatever is not quite a known input with a first entry of more than .5 is class 0."""

    def __init__(self, inputs):
        super().__init__()
        self.changed = Changed(inputs)
        self.net = mlp(classes=2)

    def forward(self, inputs):
        far = (inputs[:, :1] > 0.5).to(inputs.dtype)
        return self.net(inputs) * 0.01 + far * 5 * torch.tensor([[0.0, 1.0]]) + (1 - far) * self.changed(inputs)


def test_examples_fail_and_succeed_on_their_own():
    x = points()
    x[0, 0], x[1, 0] = 0.99, 0.2
    model = OnlyTheFirst(x)
    result = l2_attack(model)(x, 0.1, k=2, seed=0, n_draws=20)
    assert result.succeeded.tolist() == [True, False]
    assert torch.equal(result.perturbed[1], x[1])
    assert not torch.equal(result.perturbed[0], x[0])
    assert result.overlap[1] == 2
    assert result.mean_overlap_fraction == pytest.approx(float(result.overlap[0] / 2 + 1) / 2)
    assert result.mean_overlap_fraction_of_succeeded == pytest.approx(float(result.overlap[0] / 2))


@pytest.mark.filterwarnings("ignore:The map has no gradient where the search begins")
def test_the_draws_of_all_restarts_together_are_counted_for_each_example():
    x = points(rows=3)
    watched = Watched(Changed(x))
    attack = InterpretationAttack(watched, Saliency(Changed(x)))
    attack.attack(x, RADIUS, n_draws=11, n_restarts=4, step_num=2, seed=0)
    # Once at the clean inputs, 11 starts that fail, once for the result.
    assert watched.calls == 1 + 11 + 1
    watched.calls = watched.rows = 0
    kept = InterpretationAttack(watched, Saliency(Changed(x)))
    kept.attack(x, RADIUS, n_draws=3, n_restarts=5, step_num=2, seed=0, keep_class=False)
    assert watched.calls == 2  # nothing to be kept


def test_each_start_that_keeps_the_class_takes_one_draw():
    watched, x = Watched(smooth((6,))), points()
    InterpretationAttack(watched, Saliency(watched.model)).attack(x, 0.01, n_draws=3, n_restarts=5, step_num=2, seed=0)
    # 3 restarts of one draw and 2 steps each find a start, the fourth does not.
    assert watched.calls == 1 + 3 * (1 + 2) + 1


# -- batches ---------------------------------------------------------------------------------------------------


@ATTACKS
@pytest.mark.parametrize("norm", ["L2", "Linf"])
def test_a_batch_is_its_examples_one_by_one(attack_of, norm):
    model, x, target = smooth((6,)), points(rows=4), torch.tensor([0, 2, 1, 1])
    attack = attack_of(model, norm=norm)
    whole = attack(x, RADIUS, k=2, seed=5, target=target)
    for row in range(4):
        alone = attack(x[row : row + 1], RADIUS, k=2, seed=5, target=target[row : row + 1])
        assert_close(alone.perturbed[0], whole.perturbed[row], rtol=1e-8, atol=1e-8)
        assert alone.overlap[0] == whole.overlap[row]


SMOOTHED = {
    "sparsified": (lambda m: SparsifiedSmoothGrad(Saliency(m), tau=0.4), {}),
    "relaxed": (lambda m: RelaxedSparsifiedSmoothGrad(Saliency(m), tau=0.5, gamma=0.1), {}),
    "of path integrals": (lambda m: ScaledSmoothGrad(IntegratedGradients(m)), {"n_steps": 3}),
    "smoothgrad": (lambda m: NoiseTunnel(Saliency(m)), {}),
    "vargrad": (lambda m: NoiseTunnel(InputXGradient(m)), {"nt_type": "vargrad"}),
}


@ATTACKS
@pytest.mark.parametrize("name", list(SMOOTHED))
def test_smoothed_explanations_are_attacked_example_by_example_too(attack_of, name):
    make, further = SMOOTHED[name]
    model, x = smooth((6,)), points(rows=3)
    attack = attack_of(model, make(model))
    arguments = {"attribution_kwargs": {"nt_samples": 5, "stdevs": 0.2, **further}, "k": 2, "seed": 3}
    whole = attack(x, 4.0, **arguments)
    assert whole.succeeded.any()
    for row in (0, 2):
        alone = attack(x[row : row + 1], 4.0, **arguments)
        assert_close(alone.perturbed[0], whole.perturbed[row], rtol=1e-7, atol=1e-7)
        assert alone.overlap[0] == whole.overlap[row]


def test_maps_of_methods_with_randomness_of_their_own_do_not_depend_on_the_batch():
    model, x = smooth((6,)), points(rows=3)
    attack = InterpretationAttack(model, GradientShap(model), objective="random")
    arguments = {"attribution_kwargs": {"baselines": torch.zeros(4, 6, dtype=torch.float64), "stdevs": 0.5}}
    whole = attack.attack(x, RADIUS, k=2, seed=1, **arguments)
    alone = attack.attack(x[2:], RADIUS, k=2, seed=1, **arguments)
    assert_close(alone.perturbed[0], whole.perturbed[2])
    assert alone.overlap[0] == whole.overlap[2]


def test_equal_rows_are_started_apart():
    model, x = smooth((6,)), points(rows=1)
    attack = InterpretationAttack(model, Saliency(model), objective="random")
    result = attack.attack(x.repeat(4, 1), RADIUS, seed=0)
    assert len({tuple(row) for row in result.perturbed.tolist()}) == 4
    assert_close(result.perturbed[:1], attack.attack(x, RADIUS, seed=0).perturbed)


def test_additional_arguments_and_baselines_follow_their_rows():
    class Weighted(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = smooth((6,))

        def forward(self, inputs, weights, power):
            return self.net(inputs * weights) * power

    model, x = Weighted(), points(rows=3)
    weights, baselines = points(rows=3, seed=8) * 3, points(rows=3, seed=9)
    attack = l2_attack(model, IntegratedGradients(model))
    whole = attack(
        x, 2.0, k=2, seed=0, additional_forward_args=(weights, 2.0), n_draws=2,
        attribution_kwargs={"baselines": baselines, "n_steps": 4},
    )  # fmt: skip
    for row in range(3):
        one = slice(row, row + 1)
        alone = attack(
            x[one], 2.0, k=2, seed=0, additional_forward_args=(weights[one], 2.0), n_draws=2,
            attribution_kwargs={"baselines": baselines[one], "n_steps": 4},
        )  # fmt: skip
        assert_close(alone.perturbed[0], whole.perturbed[row], rtol=1e-7, atol=1e-7)


def test_arguments_of_the_wrapped_method_follow_the_rows_that_are_left():
    x, baselines = points(), points(seed=9)
    x[0, 0], x[1, 0] = 0.99, 0.2
    model = OnlyTheFirst(x)
    attack = l2_attack(model, ScaledSmoothGrad(IntegratedGradients(model)))

    def attacked(rows):
        wrapped = {"baselines": baselines[rows], "n_steps": 3}
        arguments = {"nt_samples": 3, "stdevs": 0.1, "attribution_kwargs": wrapped}
        return attack(x[rows], 0.1, k=2, seed=0, attribution_kwargs=arguments)

    whole = attacked(slice(0, 2))
    assert whole.succeeded.tolist() == [True, False]
    assert_close(attacked(slice(0, 1)).perturbed[0], whole.perturbed[0], rtol=1e-7, atol=1e-7)


# -- randomness ------------------------------------------------------------------------------------------------


@ATTACKS
@pytest.mark.parametrize(
    "wrap", [Saliency, lambda m: ScaledSmoothGrad(Saliency(m)), lambda m: NoiseTunnel(Saliency(m))]
)
def test_seeds_reproduce_and_the_global_generators_are_untouched(attack_of, wrap):
    model, x = smooth((6,)), points()
    attack = attack_of(model, wrap(model))
    before = generators()
    one = attack(x, RADIUS, seed=7)
    assert generators() == before
    assert torch.equal(attack(x, RADIUS, seed=7).perturbed, one.perturbed)


def test_other_seeds_and_no_seed_search_elsewhere():
    model, x = smooth((6,)), points()
    attack = l2_attack(model, objective="random")
    found = [attack(x, RADIUS, seed=seed).perturbed for seed in (0, 1, None, None)]
    assert len({tuple(f.flatten().tolist()) for f in found}) == 4


def test_a_model_that_rolls_dice_has_one_outcome_for_a_seed_and_leaves_the_generators_alone():
    model = nn.Sequential(mlp(6, classes=8), nn.Dropout(0.4), nn.Softplus(), nn.Linear(8, 3).double()).train()
    x, state = points(), torch.get_rng_state()
    attack = l2_attack(model)
    one, two = (attack(x, RADIUS, seed=4) for _ in range(2))
    assert torch.equal(one.perturbed, two.perturbed)
    assert torch.equal(torch.get_rng_state(), state)


# -- nothing to go by ------------------------------------------------------------------------------------------


@ATTACKS
def test_networks_whose_map_is_constant_nearby_end_with_a_word_of_the_surrogate(attack_of):
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
    # Nothing can stand in for the ReLUs of a linear network, which has none.
    with pytest.warns(UserWarning, match="surrogate is none: no ReLU was seen. Surrogates replace torch.nn.ReLU"):
        attack_of(linear)(x, 1e-3, seed=0)


class Broken(nn.Module):
    """NaN slopes where the first entry is above a limit."""

    def __init__(self, limit):
        super().__init__()
        self.net, self.limit = smooth((6,)), limit

    def forward(self, inputs):
        above = (inputs[:, :1] - self.limit).clamp(min=0)
        return self.net(inputs) + 0 * torch.sqrt(-above) * inputs.sum(dim=1, keepdim=True)


@pytest.mark.filterwarnings("ignore:The map has no gradient where the search begins")
@ATTACKS
def test_maps_that_are_not_finite_somewhere_are_passed_over(attack_of):
    x = points(rows=6)
    x[:, 0] = 0.5
    result = attack_of(Broken(0.55))(x, RADIUS, seed=0, k=2)
    assert result.succeeded.any()
    assert float(result.perturbed[:, 0].max()) <= 0.55
    assert torch.isfinite(saliency(Broken(0.55), result.perturbed, 0)).all()


@ATTACKS
def test_a_finite_map_whose_gradient_is_not_finite_is_left_by_a_step_at_random(attack_of):
    def steep_at_zero(inputs):  # the slope √x of this has none itself at 0
        return (inputs.clamp(min=0) ** 1.5 * torch.arange(1.0, 7.0, dtype=inputs.dtype)).sum(dim=1)

    x = torch.zeros(2, 6, dtype=torch.float64)
    x[1] = 0.5
    found = attack_of(steep_at_zero)(x, RADIUS, seed=0, k=2)
    assert found.succeeded.all()
    assert torch.isfinite(found.perturbed).all()
    assert found.perturbed[1].ne(x[1]).any()


@pytest.mark.filterwarnings("ignore:The map has no gradient where the search begins")
def test_where_all_random_points_are_broken_the_attack_fails():
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


@ATTACKS
def test_a_map_that_is_not_finite_at_the_clean_input_is_refused(attack_of):
    with pytest.raises(CertificationError, match="Expected finite attributions at the clean inputs, got NaN"):
        attack_of(Broken(-1.0))(points(), RADIUS)


@ATTACKS
@pytest.mark.parametrize("radius", [0, 0.0])
def test_radius_0_returns_the_input_and_keeps_everything(attack_of, radius):
    x = points()
    result = attack_of(smooth((6,)))(x, radius, k=4, seed=0)
    assert torch.equal(result.perturbed, x)
    assert result.perturbed.data_ptr() != x.data_ptr()
    assert result.overlap.tolist() == [4, 4]
    assert result.succeeded.all()
    assert result.class_kept.all()


def test_no_steps_are_random_starts_alone():
    model, x = smooth((6,)), points()
    one = InterpretationAttack(model, Saliency(model)).attack(x, RADIUS, seed=0, step_num=0, n_restarts=1)
    two = InterpretationAttack(model, Saliency(model), objective="random").attack(x, RADIUS, seed=0)
    assert torch.equal(one.perturbed, two.perturbed)


# -- nothing is left behind ------------------------------------------------------------------------------------


@ATTACKS
@pytest.mark.parametrize("fails_at", [1, 2, 4, 7])
def test_nothing_survives_an_exception_in_the_middle(attack_of, fails_at):
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


@ATTACKS
def test_the_callers_tensors_and_weights_are_as_they_were(attack_of):
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


@ATTACKS
def test_gradients_are_turned_on_inside(attack_of):
    model, x = smooth((6,)), points()
    expected = attack_of(model)(x, RADIUS, seed=0)
    with torch.no_grad():
        found = attack_of(model)(x, RADIUS, seed=0)
        assert not torch.is_grad_enabled()
    assert torch.equal(found.perturbed, expected.perturbed)


# -- targets and outputs ---------------------------------------------------------------------------------------


@ATTACKS
def test_targets_come_in_every_form_of_captum(attack_of):
    model, x = smooth((6,)), points()
    attack = attack_of(model)
    forms = (1, [1, 1], torch.tensor([1, 1]), torch.tensor(1), torch.tensor([1]))
    found = [attack(x, RADIUS, seed=0, k=2, target=form).perturbed for form in forms]
    assert all(torch.equal(one, found[0]) for one in found)
    predicted = model(x).argmax(dim=1)
    assert torch.equal(
        attack(x, RADIUS, seed=0, k=2).perturbed, attack(x, RADIUS, seed=0, k=2, target=predicted).perturbed
    )


@ATTACKS
def test_outputs_of_two_dimensions_take_pairs(attack_of):
    class Pairs(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = smooth((6,), classes=6)

        def forward(self, inputs):
            return self.net(inputs).reshape(-1, 3, 2)

    model, x = Pairs(), points()
    attack = attack_of(model)
    one = attack(x, RADIUS, seed=0, k=2, target=(2, 1))
    two = attack(x, RADIUS, seed=0, k=2, target=[(2, 1), (2, 1)])
    flat = attack_of(model.net)(x, RADIUS, seed=0, k=2, target=5, keep_class=False)
    assert torch.equal(one.perturbed, two.perturbed)
    assert torch.equal(one.perturbed, flat.perturbed)
    assert one.class_kept.all()
    with pytest.raises(CertificationError, match="it raised AssertionError: Target not provided"):
        attack(x, RADIUS, seed=0)


@ATTACKS
def test_outputs_without_classes_need_no_target(attack_of):
    x = points()
    result = attack_of(ScalarOutput((6,)), surrogate_beta=5.0)(x, RADIUS, seed=0)
    assert result.succeeded.all()
    assert result.class_kept.all()
    pairs = attack_of(TwoDimensionalOutput((6,)), surrogate_beta=5.0)(x, RADIUS, seed=0, target=(0, 1))
    assert pairs.class_kept.all()


def test_the_target_is_the_callers_but_the_class_is_the_predicted_one():
    model = Divided()
    result = l2_attack(model)(NEAR, 1.0, seed=1, k=1, target=torch.tensor([1, 0]))
    assert torch.equal(model(result.perturbed).argmax(dim=1), model(NEAR).argmax(dim=1))


# -- what is measured ------------------------------------------------------------------------------------------


@ATTACKS
@pytest.mark.parametrize("k", [1, 3, 0.5, 1.0])
def test_the_overlap_is_that_of_the_two_maps(attack_of, k):
    model, x, target = smooth((6,)), points(rows=4), torch.tensor([0, 1, 2, 0])
    result = attack_of(model)(x, 1.0, k=k, seed=0, target=target)
    assert result.k == (k if isinstance(k, int) else math.ceil(k * 6))
    measured = top_k_intersection(saliency(model, x, target), saliency(model, result.perturbed, target), k=k)
    assert_close(result.overlap_fraction.double(), measured, rtol=1e-6, atol=1e-6)


def test_smoothed_maps_are_measured_with_their_own_arguments_and_seed():
    model, x = smooth((6,)), points(rows=4)
    explainer = SparsifiedSmoothGrad(Saliency(model), tau=0.4)
    arguments = {"nt_samples": 7, "stdevs": 0.3, "seed": 12}
    result = l2_attack(model, explainer)(x, 1.0, k=2, seed=0, target=1, attribution_kwargs=arguments)
    clean, attacked = (explainer.attribute(z, target=1, **arguments) for z in (x, result.perturbed))
    assert_close(result.overlap_fraction.double(), top_k_intersection(clean, attacked, k=2), rtol=1e-6, atol=1e-6)


MASKS = torch.tensor([[[0, 0], [1, 1], [2, 2]], [[0, 1], [2, 2], [1, 0]], [[2, 1], [2, 0], [1, 0]]])


@pytest.mark.parametrize("objective", ["top_k", "mass_center", "region", "manipulate"])
@pytest.mark.parametrize("groups", [None, "channels", MASKS[:, None].expand(3, 2, 3, 2), MASKS[:1, None]])
def test_groups_are_the_features(groups, objective):
    shape = (2, 3, 2)
    model, x = smooth(shape), points(shape, rows=3)
    explainer = ScaledSmoothGrad(Saliency(model))
    inside = torch.zeros(1, 1, 3, 2, dtype=torch.bool)
    if isinstance(groups, torch.Tensor):
        inside = groups == 1
    else:
        inside[..., 0, :] = True
    reference = {"region": inside, "manipulate": inside.double()}.get(objective)
    attack = l2_attack(model, explainer, objective=objective)
    arguments = {"nt_samples": 5, "stdevs": 0.1, "seed": 2, "groups": groups}
    # So few draws that some rows find no start in the second restart: masks must follow the others.
    result = attack(x, 3.0, k=2, seed=0, n_draws=2, target=0, attribution_kwargs=arguments, reference=reference)
    assert result.k == 2
    certified = [explainer.sample(z, target=0, covariance=False, **arguments).features for z in (x, result.perturbed)]
    members = [torch.zeros_like(f).scatter(1, f.topk(2, dim=1).indices, 1.0) for f in certified]
    assert_close(result.overlap, (members[0] * members[1]).sum(dim=1).long())


def test_an_attack_lowers_the_overlap_more_than_chance():
    model, x = smooth((24,)), points((24,), rows=12)
    searched = l2_attack(model)(x, 1.0, k=6, seed=0)
    chance = InterpretationAttack(model, Saliency(model), objective="random").attack(x, 1.0, k=6, seed=0)
    assert float(searched.overlap.double().mean()) < float(chance.overlap.double().mean()) - 0.5


# -- objectives ------------------------------------------------------------------------------------------------

SHAPE = (2, 3, 4)


def shares(maps):
    flat = maps.abs().flatten(1)
    return flat / flat.sum(dim=1, keepdim=True)


@pytest.fixture(scope="module")
def picture():
    return smooth(SHAPE, seed=3), points(SHAPE, rows=5, seed=2)


def attacked(picture, attack_of, objective, **arguments):
    model, x = picture
    found = attack_of(model, objective=objective)(x, 0.8, seed=0, k=6, target=1, keep_class=False, **arguments)
    return found, saliency(model, x, 1), saliency(model, found.perturbed, 1)


@ATTACKS
def test_top_k_lowers_the_share_of_the_most_salient(picture, attack_of):
    _, clean, perturbed = attacked(picture, attack_of, "top_k")
    members = torch.zeros(5, 24, dtype=torch.bool).scatter(1, clean.flatten(1).topk(6, dim=1).indices, True)
    before, after = ((shares(m) * members).sum(dim=1) for m in (clean, perturbed))
    assert (after < before).all()


@ATTACKS
def test_mass_center_moves_the_centre(picture, attack_of):
    _, clean, perturbed = attacked(picture, attack_of, "mass_center")
    _, _, other = attacked(picture, attack_of, "top_k")
    moved = mass_center_distance(clean, perturbed)
    assert (moved > 0.01).all()
    assert float(moved.mean()) > float(mass_center_distance(clean, other).mean())


@ATTACKS
@pytest.mark.parametrize("rows", [1, 5])
def test_region_raises_the_share_inside(picture, attack_of, rows):
    mask = torch.zeros(rows, 1, 3, 4, dtype=torch.bool)
    mask[..., 1:, 2:] = True
    _, clean, perturbed = attacked(picture, attack_of, "region", reference=mask)
    inside = mask.expand(5, *SHAPE).flatten(1)
    before, after = ((shares(m) * inside).sum(dim=1) for m in (clean, perturbed))
    assert (after > before).all()


@ATTACKS
@pytest.mark.parametrize("rows", [1, 5])
def test_manipulate_comes_closer_to_the_map_of_choice(picture, attack_of, rows):
    reference = -(points(SHAPE, rows=rows, seed=11) ** 4) * 100
    _, clean, perturbed = attacked(picture, attack_of, "manipulate", reference=reference)
    wanted = shares(reference).expand(5, -1)
    before, after = ((shares(m) - wanted).norm(dim=1) for m in (clean, perturbed))
    assert (after < before).all()


def test_random_is_the_first_point_that_keeps_the_class():
    model = Divided()
    attack = InterpretationAttack(model, Saliency(model), objective="random")
    kept = attack.attack(NEAR, 1.0, seed=1, k=1)
    free = attack.attack(NEAR, 1.0, seed=1, k=1, keep_class=False)
    assert kept.class_kept.all()
    same = (kept.perturbed == free.perturbed).all(dim=1)
    assert torch.equal(same, free.class_kept)
    assert_close(sizes(kept.perturbed, NEAR, "L2"), torch.ones(2, dtype=torch.float64))


@pytest.mark.parametrize("make", [DeepLift, Occlusion, FeatureAblation, lambda m: NoiseTunnel(Occlusion(m))])
def test_random_takes_any_attribution(make):
    model = nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 2)).double()
    further = (
        {}
        if isinstance(make(model), (DeepLift, FeatureAblation)) and not isinstance(make(model), Occlusion)
        else {"sliding_window_shapes": (1,)}
    )
    attack = InterpretationAttack(model, make(model), objective="random")
    result = attack.attack(points(), RADIUS, seed=0, k=2, attribution_kwargs=further)
    assert result.succeeded.all()


def test_the_centre_of_a_map_without_saliency_is_the_middle():
    maps = torch.tensor([[[1.0, 0.0, 0.0, 0.0, 1.0]], [[3.0, 1.0, 0.0, 0.0, 0.0]]], dtype=torch.float64)
    layout = FeatureLayout.of((maps[:, 0],), is_tuple=False, rows=2)
    clean = CleanMaps(shares_of(maps[:, 0]), maps[:, 0] > 0, layout)
    moved = objective_named("mass_center", clean, None)
    empty = torch.zeros(2, 5, dtype=torch.float64)
    expected = mass_center_distance(maps[:, 0], empty).square()
    assert_close(moved(empty, torch.arange(2)), expected)
    assert_close(expected, torch.tensor([0.0, 1.75**2], dtype=torch.float64))


# -- arguments -------------------------------------------------------------------------------------------------


def test_progress_goes_to_stderr_alone(capsys):
    model, x = smooth((6,)), points()
    for attack in (l2_attack(model), sign_attack(model)):
        attack(x, RADIUS, seed=0)
        quiet = capsys.readouterr()
        attack(x, RADIUS, seed=0, show_progress=True)
        shown = capsys.readouterr()
        assert quiet.out == quiet.err == shown.out == ""
        assert "attacking" in shown.err


@pytest.mark.parametrize("attack_class", [InterpretationAttack, GhorbaniAttack])
def test_perturb_returns_the_perturbed_inputs_of_attack(attack_class):
    model, x = smooth((6,)), points()
    attack = attack_class(model, Saliency(model))
    arguments = {"k": 2, "step_num": 2, "seed": 1, "target": 0}
    assert torch.equal(attack.perturb(x, RADIUS, **arguments), attack.attack(x, RADIUS, **arguments).perturbed)
    assert torch.equal(attack(x, radius=RADIUS, **arguments), attack.attack(x, RADIUS, **arguments).perturbed)


REFUSED_AT_ONCE = {
    "Expected `forward_func` to be callable, got 3": {"forward_func": 3},
    "Expected `attribution_method` to be a Captum attribution, got 3": {"attribution_method": 3},
    "Expected `attribution_method` to be a Captum attribution, got <class": {"attribution_method": Saliency},
    r"Expected `attribution_method` to be Saliency.* got Occlusion, whose": {"attribution_method": Occlusion(mlp())},
    r"Expected `objective` to be one of .*, got 'topk'": {"objective": "topk"},
    r"Expected `norm` to be one of \['L2', 'Linf'\], got 'L1'": {"norm": "L1"},
    "Expected `lower_bound` < `upper_bound`, got 1.0 and 1.0": {"lower_bound": 1.0, "upper_bound": 1.0},
    "Expected `lower_bound` < `upper_bound`, got nan and 1.0": {"lower_bound": float("nan"), "upper_bound": 1.0},
    "Expected `lower_bound` to be a number, got None": {"lower_bound": None},
    "Expected `upper_bound` to be a number, got True": {"upper_bound": True},
}


@pytest.mark.parametrize("attack_class", [InterpretationAttack, GhorbaniAttack])
@pytest.mark.parametrize("message", list(REFUSED_AT_ONCE))
def test_what_cannot_be_attacked_is_refused_at_once(attack_class, message):
    given = {"forward_func": mlp(), "attribution_method": Saliency(mlp()), **REFUSED_AT_ONCE[message]}
    with pytest.raises(InvalidInputError, match=message):
        attack_class(given.pop("forward_func"), given.pop("attribution_method"), **given)


def test_ghorbanis_attack_is_no_random_search():
    with pytest.raises(InvalidInputError, match="Expected an `objective` to search by, got 'random'"):
        GhorbaniAttack(mlp(), Saliency(mlp()), objective="random")


def test_a_random_search_is_not_one_of_classes():
    with pytest.raises(InvalidInputError, match="Captum attribution, got <class"):
        InterpretationAttack(mlp(), Saliency, objective="random")


REFUSED = {
    "Expected `radius` to be a finite number >= 0, got -1": {"radius": -1},
    "Expected `radius` to be a finite number >= 0, got nan": {"radius": float("nan")},
    "Expected `k` to be a number of features from 1 to 6, .* got 7": {"k": 7},
    "Expected `k` to be a number of features from 1 to 6, .* got 0": {"k": 0},
    "Expected `k` to be a number of features from 1 to 6, .* got True": {"k": True},
    "Expected `step_num` to be an integer >= 0, got -1": {"step_num": -1},
    "Expected `seed` to be an integer >= 0 and < .*, got 0.5": {"seed": 0.5},
    "Expected `keep_class` to be a bool, got 1": {"keep_class": 1},
    r"Expected \['target'\] as arguments of their own, got them in": {"attribution_kwargs": {"target": 1}},
    r"Expected \['additional_forward_args'\] as": {"attribution_kwargs": {"additional_forward_args": 1}},
    "Expected an attribution of maps alone, got": {"attribution_kwargs": {"return_convergence_delta": True}},
    "Expected no `reference` for the objective 'top_k', got one": {"reference": torch.zeros(1, 6)},
    r"Expected `inputs` in \[0, 1\], the bounds .* values from 0.58\d* to 3": {"inputs": points() * 3.3},
    "Expected finite `inputs`, got NaN": {"inputs": points() * float("nan")},
    "floating point tensors of one precision, got .'torch.int64'": {"inputs": torch.ones(2, 6, dtype=torch.int64)},
    "one precision, got .'torch.float64', 'torch.float32'.": {"inputs": (points(), points().float())},
    r"Expected `inputs` of shape \(N, ...\)": {"inputs": points(rows=0)},
}


@pytest.mark.parametrize("attack_class", [InterpretationAttack, GhorbaniAttack])
@pytest.mark.parametrize("message", list(REFUSED))
def test_what_an_attack_cannot_do_is_refused(attack_class, message):
    given = {"inputs": points(), "radius": RADIUS, **REFUSED[message]}
    attack = attack_class(mlp(), IntegratedGradients(mlp()), lower_bound=0.0, upper_bound=1.0)
    with pytest.raises(InvalidInputError, match=message):
        attack.attack(given.pop("inputs"), given.pop("radius"), **given)


@pytest.mark.parametrize("name", ["n_restarts", "n_draws"])
def test_at_least_one_start_and_one_draw_are_asked_for(name):
    with pytest.raises(InvalidInputError, match=f"Expected `{name}` to be an integer >= 1, got 0"):
        InterpretationAttack(mlp(), Saliency(mlp())).attack(points(), RADIUS, **{name: 0})


@pytest.mark.parametrize("step_size", [0, -1.0, float("nan")])
def test_sign_steps_go_somewhere(step_size):
    with pytest.raises(InvalidInputError, match="Expected `step_size` to be a finite number > 0"):
        GhorbaniAttack(mlp(), Saliency(mlp())).attack(points(), RADIUS, step_size=step_size)


REFERENCES = {
    "Expected `reference` for the objective 'region': a boolean mask of the region, got None": ("region", None),
    "Expected `reference` for the objective 'manipulate': the map to imitate, got None": ("manipulate", None),
    "Expected `reference` to be one bool mask, got dict": ("region", {"a": torch.ones(1, 6, dtype=torch.bool)}),
    "to be a bool mask, got torch.float32": ("region", torch.ones(1, 6)),
    "to hold at least one feature of every example": ("region", torch.zeros(1, 6, dtype=torch.bool)),
    r"Expected `reference` of shapes \[\(2, 6\)\], got \[\(3, 6\)\]": ("manipulate", torch.ones(3, 6)),
    r"Expected `reference` of shapes \[\(2, 6\)\], got \[\(6,\), \(6,\)\]": ("manipulate", (torch.ones(6),) * 2),
    "Expected `reference` to be finite, got NaN": ("manipulate", torch.full((1, 6), float("nan"))),
}


@pytest.mark.parametrize("message", list(REFERENCES))
def test_references_fit_their_objective(message):
    objective, reference = REFERENCES[message]
    attack = InterpretationAttack(mlp(), Saliency(mlp()), objective=objective)
    with pytest.raises(InvalidInputError, match=message):
        attack.attack(points(), RADIUS, reference=reference)


def test_the_centre_of_mass_needs_one_tensor():
    inputs = (points((3,)), points((2, 2), seed=1), torch.tensor([1, 4]))
    attack = InterpretationAttack(mixed, OfFloats(mixed), objective="mass_center")
    with pytest.raises(InvalidInputError, match="Expected a map of one tensor for the objective 'mass_center', got 2"):
        attack.attack(inputs, RADIUS)


def test_gradients_must_be_within_reach():
    with torch.inference_mode(), pytest.raises(InvalidInputError, match=r"a call inside torch.inference_mode\(\)"):
        l2_attack(mlp())(points(), RADIUS)


def test_a_model_that_does_not_take_the_inputs_is_said_so():
    model = nn.Linear(4, 3)
    with pytest.raises(
        CertificationError, match=r"takes `inputs` of shape \(2, 5\), whose first dimension is the batch"
    ):
        InterpretationAttack(model, Saliency(model)).perturb(torch.rand(2, 5), 0.1, k=1)
