"""The attacks as arguments of Captum's tools for robustness, and of ``attribution_robustness``."""

from functools import partial

import numpy as np
import pytest
import torch
from captum.attr import IntegratedGradients, Saliency
from captum.metrics import sensitivity_max
from captum.robust import AttackComparator, MinParamPerturbation
from networks import mlp
from torch.testing import assert_close

from captum_certified import InterpretationAttack, ScaledSmoothGrad, attribution_robustness, top_k_intersection
from captum_certified.robust import BlackBoxAttack, FastGradientAttack, GhorbaniAttack

X = torch.rand((3, 6), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
TARGET = torch.tensor([0, 1, 2])
MODEL = mlp()
QUICK = {
    InterpretationAttack: {"k": 2, "step_num": 2, "n_restarts": 2},
    GhorbaniAttack: {"k": 2, "step_num": 3, "step_size": 0.1},
    FastGradientAttack: {"k": 2},
    BlackBoxAttack: {"k": 2, "n_queries": 8},
}
ATTACKS = pytest.mark.parametrize("attack_class", [InterpretationAttack, GhorbaniAttack])
ALL_ATTACKS = pytest.mark.parametrize("attack_class", list(QUICK))


def attack_of(attack_class, model=MODEL):
    return attack_class(model, Saliency(model))


def heat(x, target=TARGET):
    return Saliency(MODEL).attribute(x.detach().clone().requires_grad_(), target=target).detach()


# -- AttackComparator ------------------------------------------------------------------------------------------


@ALL_ATTACKS
def test_attack_comparator_runs_an_attack_with_a_radius_and_the_targets(attack_class):
    seen = []

    def model(inputs):
        seen.append(inputs.detach().clone())
        return MODEL(inputs)

    def margin(outputs, target):
        return outputs.gather(1, target.unsqueeze(1)).squeeze(1).detach()

    comparator = AttackComparator(forward_func=model, metric=margin)
    comparator.add_attack(
        attack_of(attack_class),
        name="attacked",
        attack_kwargs={"radius": 0.5, "seed": 3, **QUICK[attack_class]},
        additional_attack_arg_names=["target"],
    )
    results = comparator.evaluate(X, target=TARGET)
    expected = attack_of(attack_class).perturb(X, 0.5, target=TARGET, seed=3, **QUICK[attack_class])
    assert torch.equal(seen[-1], expected)
    assert_close(results["attacked"]["mean"], margin(MODEL(expected), TARGET))


def test_attack_comparator_repeats_an_attack_with_other_starts():
    perturbed = []

    def model(inputs):
        perturbed.append(inputs.detach().clone())
        return MODEL(inputs)

    comparator = AttackComparator(forward_func=model, metric=lambda outputs, **_: outputs.detach()[:, 0])
    attack = InterpretationAttack(MODEL, Saliency(MODEL), objective="random")
    comparator.add_attack(attack, num_attempts=3, attack_kwargs={"radius": 0.5})
    results = comparator.evaluate(X, perturbations_per_eval=2)
    assert set(results["InterpretationAttack"]) == {"mean", "min", "max"}
    rows = torch.cat(perturbed).reshape(4, 3, 6)
    assert torch.equal(rows[0], X)
    assert len({tuple(one.flatten().tolist()) for one in rows}) == 4


# -- MinParamPerturbation --------------------------------------------------------------------------------------


@ATTACKS
@pytest.mark.parametrize("mode", ["linear", "binary"])
def test_min_param_perturbation_finds_a_radius_that_changes_the_explanation(attack_class, mode):
    clean = heat(X[:1], target=0)
    tried = []

    def unchanged(outputs, attacked=None):
        # Captum judges by the outputs of the model, so the model here is the explanation.
        return bool(top_k_intersection(clean, outputs, k=2) == 1)

    def explain(inputs):
        tried.append(inputs)
        return heat(inputs, target=0)

    settings = {"target": 0, "seed": 1, "keep_class": False, "k": 2, "step_num": 3}
    settings |= {"n_restarts": 1} if attack_class is InterpretationAttack else {}
    search = MinParamPerturbation(
        forward_func=explain, attack=attack_of(attack_class), arg_name="radius", arg_min=0.0, arg_max=6.0,
        arg_step=0.25, mode=mode, correct_fn=unchanged,
    )  # fmt: skip
    perturbed, radius = search.evaluate(X[:1], attack_kwargs=settings)
    assert 0 < radius <= 6
    assert_close(perturbed, attack_of(attack_class).perturb(X[:1], radius, **settings))
    assert not unchanged(explain(perturbed))


def test_min_param_perturbation_may_begin_with_a_radius_of_0():
    search = MinParamPerturbation(
        forward_func=MODEL, attack=attack_of(InterpretationAttack), arg_name="radius", arg_min=0, arg_max=2, arg_step=1
    )
    found = search.evaluate(X[:1], target=int(MODEL(X[:1]).argmax()), attack_kwargs={"step_num": 1, "n_restarts": 1})
    assert found == (None, None)  # the class is kept at every radius


# -- sensitivity_max -------------------------------------------------------------------------------------------


@ATTACKS
def test_sensitivity_max_takes_an_attack_as_a_perturbation(attack_class):
    given = []

    class Watching(attack_class):
        def perturb(self, inputs, radius, **arguments):
            given.append((inputs.clone(), radius, torch.is_grad_enabled()))
            return super().perturb(inputs, radius, **QUICK[attack_class], **arguments)

    def explain(inputs, target):
        return (heat(inputs[0], target),) if isinstance(inputs, tuple) else heat(inputs, target)

    attack = Watching(MODEL, Saliency(MODEL))
    measured = sensitivity_max(
        explain, X, perturb_func=attack, perturb_radius=0.5, n_perturb_samples=3, target=TARGET,
    )  # fmt: skip
    assert measured.shape == (3,)
    assert (measured > 0).all()
    [(inputs, radius, enabled)] = given
    assert torch.equal(inputs, X.repeat_interleave(3, dim=0))
    assert (radius, enabled) == (0.5, False)


def test_sensitivity_max_runs_an_attack_of_a_smoothed_explanation_in_batches():
    explainer = ScaledSmoothGrad(Saliency(MODEL))
    settings = {"nt_samples": 4, "stdevs": 0.1, "seed": 3}
    attack = InterpretationAttack(MODEL, explainer)
    perturb = partial(attack.perturb, step_num=1, n_restarts=1, k=2, attribution_kwargs=settings)
    measured = sensitivity_max(
        partial(explainer.attribute, **settings), X, perturb_func=lambda x, radius: perturb(x, radius),
        perturb_radius=0.3, n_perturb_samples=4, max_examples_per_batch=6, target=TARGET,
    )  # fmt: skip
    assert (measured > 0).all()


# -- attribution_robustness ------------------------------------------------------------------------------------


@ATTACKS
@pytest.mark.parametrize("spelling", ["the attack", "its method", "the attack, partly", "its method, partly"])
def test_attribution_robustness_takes_an_attack_in_every_form(attack_class, spelling):
    attack = attack_of(attack_class)
    function = attack if spelling.startswith("the attack") else attack.perturb
    further = {}
    if spelling.endswith("partly"):
        function, further = partial(function, **QUICK[attack_class]), QUICK[attack_class]
    measured = attribution_robustness(Saliency(MODEL).attribute, X, function, 0.7, 2, k=2, seed=4, target=TARGET)
    by_method = attribution_robustness(
        Saliency(MODEL).attribute, X, partial(attack.perturb, **further), 0.7, 2, k=2, seed=4, target=TARGET
    )
    assert_close(measured, by_method)
    assert measured.shape == (3,)
    assert float(measured.min()) < 1


def test_attribution_robustness_hands_over_the_target_and_the_seed():
    attack = attack_of(InterpretationAttack)
    perturb = partial(attack.perturb, k=2)
    measured = attribution_robustness(
        Saliency(MODEL).attribute, X, perturb, 0.7, k=2, seed=4, target=TARGET, similarity="cosine"
    )
    again = attribution_robustness(
        Saliency(MODEL).attribute, X, perturb, 0.7, k=2, seed=4, target=TARGET, similarity="cosine"
    )
    other = attribution_robustness(
        Saliency(MODEL).attribute, X, perturb, 0.7, k=2, seed=5, target=TARGET, similarity="cosine"
    )
    assert torch.equal(measured, again)
    assert not torch.equal(measured, other)


def test_a_search_does_more_than_chance():
    model = mlp(24, seed=2)
    x = torch.rand((8, 24), generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    method = IntegratedGradients(model)
    settings = {"step_num": 5, "n_restarts": 2, "k": 5, "attribution_kwargs": {"n_steps": 5}}
    measured = {}
    for objective in ("top_k", "random"):
        perturb = partial(InterpretationAttack(model, method, objective=objective).perturb, **settings)
        measured[objective] = attribution_robustness(
            method.attribute, x, perturb, 1.5, k=5, seed=0, target=0, n_steps=5
        ).numpy()
    assert np.mean(measured["top_k"]) < np.mean(measured["random"]) - 0.05
