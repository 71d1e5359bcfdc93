"""The predicted class under attack, targets, and models without classes."""

import pytest
import torch
from attacks import ALL_ATTACKS, NEAR, RADIUS, SEARCHES, Changed, Divided, OnlyTheFirst, l2_attack, points, smooth
from captum.attr import Saliency
from networks import ScalarOutput, TwoDimensionalOutput, Watched
from torch import nn

from captum_certified import CertificationError, InterpretationAttack

# -- the class ---------------------------------------------------------------------------------------------------


@ALL_ATTACKS
def test_keep_class_keeps_the_class(attack_of):
    model = Divided()
    result = attack_of(model)(NEAR, 1.0, seed=1, k=1)
    assert torch.equal(model(result.perturbed).argmax(dim=1), model(NEAR).argmax(dim=1))
    assert result.class_kept.all()


@SEARCHES
def test_keep_class_false_lets_the_class_change(attack_of):
    model = Divided()
    result = attack_of(model)(NEAR.repeat(4, 1), 1.0, seed=1, k=1, keep_class=False)
    kept = model(result.perturbed).argmax(dim=1) == model(NEAR.repeat(4, 1)).argmax(dim=1)
    assert torch.equal(kept, result.class_kept)
    assert not kept.all()
    assert result.succeeded.all()


def test_without_a_start_that_keeps_the_class_the_input_is_returned_with_full_overlap():
    x = points()
    result = InterpretationAttack(Changed(x), Saliency(Changed(x))).attack(x, RADIUS, k=3, n_draws=7, seed=0)
    assert not result.succeeded.any()
    assert torch.equal(result.perturbed, x)
    assert result.overlap.tolist() == [3, 3]
    assert result.overlap_fraction.tolist() == [1.0, 1.0]
    assert result.class_kept.all()
    assert result.mean_overlap_fraction == 1.0
    assert result.mean_overlap_fraction_of_succeeded is None


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
def test_draws_are_counted_for_each_example_over_all_restarts():
    x = points(rows=3)
    watched = Watched(Changed(x))
    attack = InterpretationAttack(watched, Saliency(Changed(x)))
    attack.attack(x, RADIUS, n_draws=11, n_restarts=4, step_num=2, seed=0)
    # One call at the clean inputs, 11 starts that fail, one call for the result.
    assert watched.calls == 1 + 11 + 1
    watched.calls = watched.rows = 0
    kept = InterpretationAttack(watched, Saliency(Changed(x)))
    kept.attack(x, RADIUS, n_draws=3, n_restarts=5, step_num=2, seed=0, keep_class=False)
    assert watched.calls == 2  # no class needs to be kept


def test_each_start_that_keeps_the_class_takes_one_draw():
    watched, x = Watched(smooth((6,))), points()
    InterpretationAttack(watched, Saliency(watched.model)).attack(x, 0.01, n_draws=3, n_restarts=5, step_num=2, seed=0)
    # Three restarts find a start with one draw each and take 2 steps; the fourth has no draw left.
    assert watched.calls == 1 + 3 * (1 + 2) + 1


# -- targets and outputs -----------------------------------------------------------------------------------------


@ALL_ATTACKS
def test_targets_may_have_every_form_of_captum(attack_of):
    model, x = smooth((6,)), points()
    attack = attack_of(model)
    forms = (1, [1, 1], torch.tensor([1, 1]), torch.tensor(1), torch.tensor([1]))
    found = [attack(x, RADIUS, seed=0, k=2, target=form).perturbed for form in forms]
    assert all(torch.equal(one, found[0]) for one in found)
    predicted = model(x).argmax(dim=1)
    assert torch.equal(
        attack(x, RADIUS, seed=0, k=2).perturbed, attack(x, RADIUS, seed=0, k=2, target=predicted).perturbed
    )


@ALL_ATTACKS
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


@ALL_ATTACKS
def test_outputs_without_classes_need_no_target(attack_of):
    x = points()
    result = attack_of(ScalarOutput((6,)), surrogate_beta=5.0)(x, RADIUS, seed=0)
    assert result.succeeded.all()
    assert result.class_kept.all()
    pairs = attack_of(TwoDimensionalOutput((6,)), surrogate_beta=5.0)(x, RADIUS, seed=0, target=(0, 1))
    assert pairs.class_kept.all()


def test_the_predicted_class_is_kept_whatever_the_target():
    model = Divided()
    result = l2_attack(model)(NEAR, 1.0, seed=1, k=1, target=torch.tensor([1, 0]))
    assert torch.equal(model(result.perturbed).argmax(dim=1), model(NEAR).argmax(dim=1))
