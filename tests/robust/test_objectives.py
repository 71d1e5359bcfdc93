"""The objectives that attacks maximise, and the overlap that attacks report."""

import math

import pytest
import torch
from attacks import ALL_ATTACKS, ATTACKS, NEAR, RADIUS, SEARCHES, Divided, l2_attack, points, saliency, sizes, smooth
from captum.attr import DeepLift, FeatureAblation, NoiseTunnel, Occlusion, Saliency
from captum.metrics import sensitivity_max
from torch import nn
from torch.testing import assert_close

from captum_certified import (
    InterpretationAttack,
    InvalidInputError,
    ScaledSmoothGrad,
    SparsifiedSmoothGrad,
    mass_center_distance,
    top_k_intersection,
)
from captum_certified._captum import as_tuple
from captum_certified.maps import FeatureLayout
from captum_certified.robust.objectives import CleanMaps, objective_named, shares_of

# -- overlap -----------------------------------------------------------------------------------------------------


@ALL_ATTACKS
@pytest.mark.parametrize("k", [1, 3, 0.5, 1.0])
def test_overlap_is_the_intersection_of_the_two_top_sets(attack_of, k):
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


@pytest.mark.parametrize("objective", ["top_k", "mass_center", "region", "manipulate", "sensitivity"])
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
    # With so few draws some rows find no start in the second restart, and masks must follow the other rows.
    result = attack(x, 3.0, k=2, seed=0, n_draws=2, target=0, attribution_kwargs=arguments, reference=reference)
    assert result.k == 2
    certified = [explainer.sample(z, target=0, covariance=False, **arguments).features for z in (x, result.perturbed)]
    members = [torch.zeros_like(f).scatter(1, f.topk(2, dim=1).indices, 1.0) for f in certified]
    assert_close(result.overlap, (members[0] * members[1]).sum(dim=1).long())


def test_an_attack_lowers_the_overlap_more_than_a_random_point():
    model, x = smooth((24,)), points((24,), rows=12)
    searched = l2_attack(model)(x, 1.0, k=6, seed=0)
    chance = InterpretationAttack(model, Saliency(model), objective="random").attack(x, 1.0, k=6, seed=0)
    assert float(searched.overlap.double().mean()) < float(chance.overlap.double().mean()) - 0.5


# -- objectives --------------------------------------------------------------------------------------------------


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


@ALL_ATTACKS
def test_top_k_lowers_the_share_of_the_most_salient(picture, attack_of):
    _, clean, perturbed = attacked(picture, attack_of, "top_k")
    members = torch.zeros(5, 24, dtype=torch.bool).scatter(1, clean.flatten(1).topk(6, dim=1).indices, True)
    before, after = ((shares(m) * members).sum(dim=1) for m in (clean, perturbed))
    assert (after < before).all()


@SEARCHES
def test_mass_center_moves_the_centre(picture, attack_of):
    _, clean, perturbed = attacked(picture, attack_of, "mass_center")
    _, _, other = attacked(picture, attack_of, "top_k")
    moved = mass_center_distance(clean, perturbed)
    assert (moved > 0.01).all()
    assert float(moved.mean()) > float(mass_center_distance(clean, other).mean())


@ALL_ATTACKS
@pytest.mark.parametrize("rows", [1, 5])
def test_region_raises_the_share_inside(picture, attack_of, rows):
    mask = torch.zeros(rows, 1, 3, 4, dtype=torch.bool)
    mask[..., 1:, 2:] = True
    _, clean, perturbed = attacked(picture, attack_of, "region", reference=mask)
    inside = mask.expand(5, *SHAPE).flatten(1)
    before, after = ((shares(m) * inside).sum(dim=1) for m in (clean, perturbed))
    assert (after > before).all()


@ALL_ATTACKS
@pytest.mark.parametrize("rows", [1, 5])
def test_manipulate_moves_the_map_towards_the_reference(picture, attack_of, rows):
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


def test_the_mass_center_of_an_all_zero_map_is_the_geometric_center():
    maps = torch.tensor([[[1.0, 0.0, 0.0, 0.0, 1.0]], [[3.0, 1.0, 0.0, 0.0, 0.0]]], dtype=torch.float64)
    layout = FeatureLayout.of((maps[:, 0],), is_tuple=False, rows=2)
    clean = CleanMaps(maps[:, 0], maps[:, 0] > 0, layout)
    moved = objective_named("mass_center", clean, None)
    empty = torch.zeros(2, 5, dtype=torch.float64)
    expected = mass_center_distance(maps[:, 0], empty).square()
    assert_close(moved(empty, torch.arange(2)), expected)
    assert_close(expected, torch.tensor([0.0, 1.75**2], dtype=torch.float64))


@ATTACKS
def test_sensitivity_finds_a_larger_change_than_sampling_and_than_another_objective(picture, attack_of):
    """The quantity is that of Captum: the attack as its perturbation gives the change at the attacked point."""
    model, x = picture
    found, clean, perturbed = attacked(picture, attack_of, "sensitivity")
    _, _, other = attacked(picture, attack_of, "top_k")
    changed, beside = ((clean - m).flatten(1).norm(dim=1) / clean.flatten(1).norm(dim=1) for m in (perturbed, other))

    def explain(inputs, target):
        return (saliency(model, *as_tuple(inputs), target),)

    measured = sensitivity_max(explain, x, lambda inputs: found.perturbed, n_perturb_samples=1, target=1)
    assert_close(measured, changed)
    sampled = sensitivity_max(explain, x, in_l2_ball, 0.8, n_perturb_samples=200, target=1)
    assert (changed >= sampled).all()
    assert float(changed.mean()) > float(beside.mean())


def in_l2_ball(inputs, radius):
    """Points on the sphere around the inputs, where the sampled changes are largest."""
    noise = torch.randn(inputs.shape, generator=torch.Generator().manual_seed(0), dtype=inputs.dtype).flatten(1)
    return inputs + radius * (noise / noise.norm(dim=1, keepdim=True)).reshape(inputs.shape)


def test_the_sensitivity_of_a_clean_map_of_zeros_is_not_divided():
    maps = torch.tensor([[0.0, 0.0], [3.0, 4.0]], dtype=torch.float64)
    clean = CleanMaps(maps, maps > 0, FeatureLayout.of((maps,), is_tuple=False, rows=2))
    moved = objective_named("sensitivity", clean, None)
    points_of_both = torch.tensor([[3.0, 4.0], [0.0, 0.0], [6.0, 8.0]], dtype=torch.float64)
    assert moved(points_of_both, torch.tensor([0, 1, 1])).tolist() == [25.0, 1.0, 1.0]


# -- a reference set ---------------------------------------------------------------------------------------------


def test_the_reference_objective_pushes_a_given_set_out_of_the_top():
    model, x, target = smooth((6,)), points(rows=4), torch.tensor([0, 1, 2, 0])
    mask = torch.tensor([[True, False, True, True, False, False]])
    attack = l2_attack(model, objective="reference")
    result = attack(x, 1.0, k=2, seed=0, target=target, reference=mask)
    features = saliency(model, result.perturbed, target).abs().flatten(1)
    top = torch.zeros_like(features, dtype=torch.bool).scatter_(1, features.topk(2).indices, True)
    assert torch.equal(result.overlap[result.succeeded], (top & mask).sum(dim=1)[result.succeeded])
    assert result.reference_size.tolist() == [3] * 4
    assert_close(result.overlap_fraction, result.overlap / 2)
    clean = shares_of(saliency(model, x, target).abs().flatten(1))
    assert bool(
        ((shares_of(features) * mask).sum(dim=1) < (clean * mask).sum(dim=1)).all()
    )  # saliency has left the set
    assert "of the reference left" in repr(result)


def test_the_clean_top_set_as_reference_is_the_objective_of_the_paper():
    model, x = smooth((6,)), points(rows=4)
    one = l2_attack(model)(x, 0.5, k=2, seed=0, target=1)
    own = saliency(model, x, torch.tensor([1] * 4)).abs().flatten(1)
    own = torch.zeros_like(own, dtype=torch.bool).scatter_(1, own.topk(2).indices, True)
    two = l2_attack(model, objective="reference")(x, 0.5, k=2, seed=0, target=1, reference=own)
    assert torch.equal(one.perturbed, two.perturbed)
    assert torch.equal(one.overlap, two.overlap)


def test_at_radius_0_the_overlap_is_that_of_the_clean_map():
    model, x = smooth((6,)), points(rows=2)
    mask = torch.tensor([[True, False, False, False, False, False]])
    result = l2_attack(model, objective="reference")(x, 0.0, k=2, seed=0, target=1, reference=mask)
    own = saliency(model, x, torch.tensor([1, 1])).abs().flatten(1)
    inside = torch.zeros_like(own, dtype=torch.bool).scatter_(1, own.topk(2).indices, True)
    assert torch.equal(result.overlap, (inside & mask).sum(dim=1))
    assert torch.equal(result.overlap_fraction, result.overlap / 1)


@pytest.mark.parametrize("reference", [None, torch.ones(1, 6), torch.zeros(1, 6, dtype=torch.bool), "plain"])
def test_a_reference_that_is_no_set_is_refused(reference):
    with pytest.raises(InvalidInputError, match="Expected `reference`"):
        l2_attack(smooth((6,)), objective="reference")(points(), 0.5, k=2, seed=0, target=1, reference=reference)
