"""Attacks on batches: every row is attacked on its own, and seeds make attacks repeatable."""

import pytest
import torch
from attacks import ALL_ATTACKS, RADIUS, OnlyTheFirst, generators, l2_attack, points, smooth
from captum.attr import GradientShap, InputXGradient, IntegratedGradients, NoiseTunnel, Saliency
from networks import mlp
from torch import nn
from torch.testing import assert_close

from captum_certified import InterpretationAttack, RelaxedSparsifiedSmoothGrad, ScaledSmoothGrad, SparsifiedSmoothGrad

# -- batches -----------------------------------------------------------------------------------------------------


@ALL_ATTACKS
@pytest.mark.parametrize("norm", ["L2", "Linf"])
def test_a_batch_is_attacked_row_by_row(attack_of, norm):
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


@ALL_ATTACKS
@pytest.mark.parametrize("name", list(SMOOTHED))
def test_smoothed_explanations_are_attacked_row_by_row(attack_of, name):
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


def test_maps_of_random_methods_do_not_depend_on_the_batch():
    model, x = smooth((6,)), points(rows=3)
    attack = InterpretationAttack(model, GradientShap(model), objective="random")
    arguments = {"attribution_kwargs": {"baselines": torch.zeros(4, 6, dtype=torch.float64), "stdevs": 0.5}}
    whole = attack.attack(x, RADIUS, k=2, seed=1, **arguments)
    alone = attack.attack(x[2:], RADIUS, k=2, seed=1, **arguments)
    assert_close(alone.perturbed[0], whole.perturbed[2])
    assert alone.overlap[0] == whole.overlap[2]


def test_equal_rows_have_different_starts():
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


def test_arguments_of_the_wrapped_method_follow_the_remaining_rows():
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


# -- randomness --------------------------------------------------------------------------------------------------


@ALL_ATTACKS
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


def test_other_seeds_and_no_seed_give_other_results():
    model, x = smooth((6,)), points()
    attack = l2_attack(model, objective="random")
    found = [attack(x, RADIUS, seed=seed).perturbed for seed in (0, 1, None, None)]
    assert len({tuple(f.flatten().tolist()) for f in found}) == 4


def test_a_random_model_is_repeatable_under_a_seed_and_leaves_the_generators_alone():
    model = nn.Sequential(mlp(6, classes=8), nn.Dropout(0.4), nn.Softplus(), nn.Linear(8, 3).double()).train()
    x, state = points(), torch.get_rng_state()
    attack = l2_attack(model)
    one, two = (attack(x, RADIUS, seed=4) for _ in range(2))
    assert torch.equal(one.perturbed, two.perturbed)
    assert torch.equal(torch.get_rng_state(), state)
