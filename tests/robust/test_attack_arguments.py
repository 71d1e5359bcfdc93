"""The arguments of attacks: what is refused and with which message."""

import pytest
import torch
from attacks import RADIUS, OfFloats, l2_attack, mixed, points, sign_attack, smooth
from captum.attr import IntegratedGradients, Occlusion, Saliency
from networks import mlp
from torch import nn

from captum_certified import CertificationError, InterpretationAttack, InvalidInputError
from captum_certified.robust import BlackBoxAttack, FastGradientAttack, GhorbaniAttack


def test_progress_is_shown_on_stderr_only(capsys):
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
def test_bad_constructor_arguments_are_refused(attack_class, message):
    given = {"forward_func": mlp(), "attribution_method": Saliency(mlp()), **REFUSED_AT_ONCE[message]}
    with pytest.raises(InvalidInputError, match=message):
        attack_class(given.pop("forward_func"), given.pop("attribution_method"), **given)


def test_ghorbani_attack_refuses_the_random_objective():
    with pytest.raises(InvalidInputError, match="Expected an `objective` to search by, got 'random'"):
        GhorbaniAttack(mlp(), Saliency(mlp()), objective="random")


def test_random_search_refuses_a_class_instead_of_an_attribution():
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
    "Expected an attribution that returns maps alone, got": {"attribution_kwargs": {"return_convergence_delta": True}},
    "Expected no `reference` for the objective 'top_k', got one": {"reference": torch.zeros(1, 6)},
    r"Expected `inputs` in \[0, 1\], the bounds .* values from 0.58\d* to 3": {"inputs": points() * 3.3},
    "Expected finite `inputs`, got NaN": {"inputs": points() * float("nan")},
    "floating point tensors of one precision, got .'torch.int64'": {"inputs": torch.ones(2, 6, dtype=torch.int64)},
    "one precision, got .'torch.float64', 'torch.float32'.": {"inputs": (points(), points().float())},
    r"Expected `inputs` of shape \(N, ...\)": {"inputs": points(rows=0)},
}


@pytest.mark.parametrize("attack_class", [InterpretationAttack, GhorbaniAttack])
@pytest.mark.parametrize("message", list(REFUSED))
def test_bad_attack_arguments_are_refused(attack_class, message):
    given = {"inputs": points(), "radius": RADIUS, **REFUSED[message]}
    attack = attack_class(mlp(), IntegratedGradients(mlp()), lower_bound=0.0, upper_bound=1.0)
    with pytest.raises(InvalidInputError, match=message):
        attack.attack(given.pop("inputs"), given.pop("radius"), **given)


@pytest.mark.parametrize("name", ["n_restarts", "n_draws"])
def test_restarts_and_draws_must_be_at_least_one(name):
    with pytest.raises(InvalidInputError, match=f"Expected `{name}` to be an integer >= 1, got 0"):
        InterpretationAttack(mlp(), Saliency(mlp())).attack(points(), RADIUS, **{name: 0})


def test_queries_must_be_at_least_one():
    with pytest.raises(InvalidInputError, match="Expected `n_queries` to be an integer >= 1, got 0"):
        BlackBoxAttack(mlp(), Saliency(mlp())).attack(points(), RADIUS, n_queries=0)


@pytest.mark.parametrize(
    ("attack_class", "objective", "message"),
    [
        (BlackBoxAttack, "random", "Expected an `objective` to search by, got 'random'; InterpretationAttack has it"),
        (FastGradientAttack, "random", "to step along, got 'random', which takes no gradient; InterpretationAttack"),
        (FastGradientAttack, "mass_center", "got 'mass_center', whose gradient is zero at the input"),
        (FastGradientAttack, "sensitivity", "got 'sensitivity', whose gradient is zero at the input"),
    ],
)
def test_objectives_that_an_attack_cannot_follow_are_refused(attack_class, objective, message):
    with pytest.raises(InvalidInputError, match=message):
        attack_class(mlp(), Saliency(mlp()), objective=objective)


@pytest.mark.parametrize("step_size", [0, -1.0, float("nan")])
def test_step_size_must_be_positive(step_size):
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
def test_references_that_do_not_fit_the_objective_are_refused(message):
    objective, reference = REFERENCES[message]
    attack = InterpretationAttack(mlp(), Saliency(mlp()), objective=objective)
    with pytest.raises(InvalidInputError, match=message):
        attack.attack(points(), RADIUS, reference=reference)


def test_mass_center_refuses_maps_of_several_tensors():
    inputs = (points((3,)), points((2, 2), seed=1), torch.tensor([1, 4]))
    attack = InterpretationAttack(mixed, OfFloats(mixed), objective="mass_center")
    with pytest.raises(InvalidInputError, match="Expected a map of one tensor for the objective 'mass_center', got 2"):
        attack.attack(inputs, RADIUS)


def test_inference_mode_is_refused():
    with torch.inference_mode(), pytest.raises(InvalidInputError, match=r"a call inside torch.inference_mode\(\)"):
        l2_attack(mlp())(points(), RADIUS)


def test_errors_of_the_model_name_the_shape_of_the_inputs():
    model = nn.Linear(4, 3)
    with pytest.raises(
        CertificationError, match=r"takes `inputs` of shape \(2, 5\), whose first dimension is the batch"
    ):
        InterpretationAttack(model, Saliency(model)).perturb(torch.rand(2, 5), 0.1, k=1)
