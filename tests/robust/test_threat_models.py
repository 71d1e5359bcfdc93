"""The ball and the box of an attack: projections, random starts and first steps."""

import math

import pytest
import torch
from attacks import ATTACKS, RADIUS, OfFloats, l2_attack, mixed, points, sizes, smooth
from captum.attr import FeatureAblation
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from captum_certified import InterpretationAttack
from captum_certified.robust.threat_models import ball_named


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
def test_half_precision_points_stay_in_the_ball(dtype):
    x = points(dtype=dtype)
    result = l2_attack(smooth((6,)))(x, RADIUS, seed=0)
    assert result.perturbed.dtype == dtype
    assert float(sizes(result.perturbed, x, "L2").max()) <= RADIUS


@ATTACKS
@pytest.mark.parametrize("norm", ["L2", "Linf"])
def test_the_norm_is_over_all_tensors_of_a_tuple_and_integers_are_held_fixed(attack_of, norm):
    inputs = (points((3,)), points((2, 2), seed=1), torch.tensor([1, 4]))
    result = attack_of(mixed, OfFloats(mixed), norm=norm)(inputs, RADIUS, seed=0)
    assert isinstance(result.perturbed, tuple)
    assert torch.equal(result.perturbed[2], inputs[2])
    moved = torch.cat([(p - x).flatten(1) for p, x in zip(result.perturbed[:2], inputs[:2], strict=True)], dim=1)
    size = moved.norm(dim=1) if norm == "L2" else moved.abs().amax(dim=1)
    assert float(size.max()) <= RADIUS + 1e-9
    assert moved[:, :3].any()
    assert moved[:, 3:].any()


def test_random_search_takes_integer_inputs_with_methods_without_gradients():
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
    # Points inside are not moved.
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


def test_bounds_are_rounded_to_the_precision_of_the_inputs():
    model, x = smooth((6,)), points(dtype=torch.float32).clamp(0.7, 0.8)
    assert float(x.min()) < 0.7 < 0.8 < float(x.max())
    result = l2_attack(model, lower_bound=0.7, upper_bound=0.8)(x, RADIUS, seed=0)
    assert torch.equal(result.perturbed, result.perturbed.clamp(0.7, 0.8))


def test_starts_lie_on_the_sphere_and_fill_the_cube():
    like = torch.zeros(1, 4, dtype=torch.float64)
    sphere, cube = (ball_named(norm)(2.0, -math.inf, math.inf) for norm in ("L2", "Linf"))
    on_sphere = torch.stack([sphere.random_offset(0, draw, like) for draw in range(400)])
    assert_close(on_sphere.norm(dim=1), torch.full((400,), 2.0, dtype=torch.float64))
    # A uniform sample has mean 0 and variance 2²/4 along every axis, within 5 standard errors.
    assert_close(on_sphere.mean(dim=0), torch.zeros(4, dtype=torch.float64), rtol=0, atol=5 * 1 / 20)
    assert_close(on_sphere.var(dim=0), torch.ones(4, dtype=torch.float64), rtol=0, atol=0.35)
    in_cube = torch.stack([cube.random_offset(0, draw, like) for draw in range(400)])
    assert float(in_cube.abs().max()) <= 2.0
    assert_close(in_cube.var(dim=0), torch.full((4,), 4 / 3, dtype=torch.float64), rtol=0, atol=0.35)


def test_first_steps_are_finite_for_tiny_gradients():
    for norm in ("L2", "Linf"):
        ball = ball_named(norm)(1.0, -math.inf, math.inf)
        gradient = torch.tensor([[0.0, 0.0], [1e-320, 0.0], [2.0, 0.0]], dtype=torch.float64)
        steps = ball.first_step_size(gradient) * ball.direction(gradient)
        assert torch.isfinite(steps).all()
        assert_close(steps[2], torch.tensor([1.0, 0.0], dtype=torch.float64))
        assert not steps[0].any()
