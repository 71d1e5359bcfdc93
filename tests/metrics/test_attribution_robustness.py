"""The worst similarity over perturbed inputs: its samples, its arguments, its randomness, its refusals."""

import random
from functools import partial

import numpy as np
import pytest
import torch
from captum.attr import IntegratedGradients, LayerGradCam, NoiseTunnel, Saliency
from captum.metrics import sensitivity_max
from captum.robust import FGSM, PGD
from networks import GateNet, Watched, cnn, images, mlp
from torch.testing import assert_close

from captum_certified import (
    InterpretationAttack,
    SparsifiedSmoothGrad,
    attribution_robustness,
    cosine_similarity,
    kendall_tau,
    local_lipschitz,
    mass_center_distance,
    spearman_rank,
    top_k_intersection,
)

X = images(3)
TARGET = torch.tensor([0, 2, 1])
MEASURES = {
    "top_k": (partial(top_k_intersection, k=0.2), torch.amin),
    "kendall": (kendall_tau, torch.amin),
    "spearman": (spearman_rank, torch.amin),
    "cosine": (cosine_similarity, torch.amin),
    "mass_center": (mass_center_distance, torch.amax),
}


class Steps:
    """Moves every row by the next of a fixed sequence of steps, and records what it was given."""

    def __init__(self, samples):
        generator = torch.Generator().manual_seed(7)
        self.steps = torch.randn((samples, *X.shape), generator=generator, dtype=torch.float64)
        self.given = []
        self.done = 0

    def __call__(self, inputs, radius):
        self.given.append(inputs.clone())
        copies = len(inputs) // len(X)
        chosen = self.steps[self.done : self.done + copies].transpose(0, 1).reshape(inputs.shape)
        self.done += copies
        return inputs + radius * chosen


def noise(inputs, radius):
    return inputs + radius * torch.randn_like(inputs)


def tuple_noise(inputs, radius):
    return tuple(noise(x, radius) for x in inputs)


def gradient(method, x, target=TARGET):
    return method.attribute(x.clone().requires_grad_(), target=target)


# -- what is measured ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [None, 3, 6, 8, 1, 100])
@pytest.mark.parametrize("similarity", list(MEASURES))
def test_it_is_the_worst_over_all_copies_however_they_are_batched(similarity, rows):
    measure, worst = MEASURES[similarity]
    saliency, steps = Saliency(cnn()), Steps(5)
    measured = attribution_robustness(
        saliency.attribute, X, steps, 0.3, 5, similarity=similarity, max_examples_per_batch=rows, target=TARGET
    )
    clean = gradient(saliency, X)
    each = [measure(clean, gradient(saliency, X + 0.3 * step)) for step in steps.steps]
    assert_close(measured, worst(torch.stack(each), dim=0), rtol=1e-9, atol=1e-9)
    at_once = 5 if rows is None else min(5, max(1, rows // 3))
    assert [len(given) // 3 for given in steps.given] == [min(at_once, 5 - i) for i in range(0, 5, at_once)]
    assert all(torch.equal(given, X.repeat_interleave(len(given) // 3, 0)) for given in steps.given)


@pytest.mark.parametrize("rows", [None, 6])
def test_lipschitz_relates_maps_to_inputs(rows):
    saliency, steps = Saliency(cnn()), Steps(4)
    measured = attribution_robustness(
        saliency.attribute, X, steps, 0.3, 4, similarity="lipschitz", max_examples_per_batch=rows, target=TARGET
    )
    clean = gradient(saliency, X)
    each = [local_lipschitz(clean, gradient(saliency, X + 0.3 * s), X, X + 0.3 * s) for s in steps.steps]
    assert_close(measured, torch.stack(each).amax(dim=0), rtol=1e-9, atol=1e-9)


def test_it_has_the_shape_of_sensitivity_max():
    saliency = Saliency(cnn())

    def closeness(a, b):
        return -(a - b).flatten(1).norm(dim=1) / a.flatten(1).norm(dim=1)

    ours = attribution_robustness(saliency.attribute, X, Steps(4), 0.3, 4, similarity=closeness, target=TARGET)
    x = X.clone()
    with pytest.warns(UserWarning, match="did not already require gradients"):
        captum_s = sensitivity_max(saliency.attribute, x, Steps(4), 0.3, 4, target=TARGET)
    assert_close(-ours, captum_s, rtol=1e-12, atol=1e-12)


def test_no_perturbation_is_no_change():
    for similarity, expected in {"top_k": 1, "kendall": 1, "mass_center": 0, "lipschitz": 0}.items():
        measured = attribution_robustness(
            Saliency(cnn()).attribute, X, lambda x: x, n_perturb_samples=2, similarity=similarity, target=TARGET
        )
        assert_close(measured, torch.full((3,), float(expected), dtype=torch.float64), rtol=0, atol=1e-12)


def test_tuples_of_inputs_and_of_maps():
    def forward(x, y):
        return x.square() @ torch.ones(2, 1, dtype=x.dtype) + 3 * y.square().sum(dim=1, keepdim=True)

    x, y = images(2, shape=(2,)), images(2, seed=1, shape=(3,))

    def swap(inputs, radius):
        assert isinstance(inputs, tuple)
        return tuple(radius * part.flip(1) for part in inputs)

    measured = attribution_robustness(Saliency(forward).attribute, (x, y), swap, 2.0, 2, similarity="cosine", target=0)
    expected = cosine_similarity((2 * x, 6 * y), (4 * x.flip(1), 12 * y.flip(1)))
    assert_close(measured, expected, rtol=1e-12, atol=1e-12)


def test_a_tuple_of_one_is_the_tensor_it_was_made_of():
    # As Captum's default perturbation does for a single tensor.
    saliency = Saliency(cnn())
    of_tuple = attribution_robustness(saliency.attribute, X, lambda x: (x.flip(3),), target=TARGET)
    assert torch.equal(of_tuple, attribution_robustness(saliency.attribute, X, lambda x: x.flip(3), target=TARGET))


def test_maps_of_layers():
    model = cnn()
    measured = attribution_robustness(
        LayerGradCam(model, model[3]).attribute, X, noise, 0.1, 3, similarity="mass_center", seed=0, target=TARGET
    )
    assert measured.shape == (3,)


# -- arguments -----------------------------------------------------------------------------------------------


def test_arguments_of_the_explanation_are_expanded_for_the_copies():
    model, baselines = GateNet((3, 8, 8)).double(), images(3, seed=5)
    scale = torch.tensor([1.0, -2.0, 3.0], dtype=torch.float64)[:, None]
    arguments = {"target": TARGET, "additional_forward_args": scale, "baselines": baselines}
    together = attribution_robustness(
        IntegratedGradients(model).attribute, X, Steps(4), 0.3, 4, similarity="cosine", n_steps=3, **arguments
    )
    steps = Steps(4).steps
    for row in range(3):
        part = slice(row, row + 1)
        alone = attribution_robustness(
            IntegratedGradients(model).attribute,
            X[part],
            lambda x, radius, part=part: x + radius * steps[:, part].flatten(0, 1),
            0.3,
            4,
            similarity="cosine",
            n_steps=3,
            target=int(TARGET[row]),
            additional_forward_args=scale[part],
            baselines=baselines[part],
        )
        assert_close(together[part], alone, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("steps", [1, 2])
def test_an_attack_is_given_the_target_that_is_explained(steps):
    model = torch.nn.Sequential(cnn(), torch.nn.Softmax(dim=1))
    attack, saliency = PGD(model, lower_bound=0, upper_bound=1), Saliency(model)
    settings = {"step_size": 0.02, "step_num": 3, "norm": "L2"}
    measured = attribution_robustness(
        saliency.attribute, X, partial(attack.perturb, **settings), 0.1, steps, similarity="cosine", target=TARGET
    )
    with pytest.warns(UserWarning, match="did not already require gradients"):
        attacked = attack.perturb(X.clone(), 0.1, target=TARGET, **settings)
    expected = cosine_similarity(gradient(saliency, X), gradient(saliency, attacked))
    assert_close(measured, expected, rtol=1e-9, atol=1e-9)
    assert bool((measured < 1).all())


@pytest.mark.parametrize("bound", [False, True])
def test_an_attack_on_the_same_method_is_given_all_that_explains(bound):
    """And k; an attack on another method is left with its own arguments."""
    integrated, settings = IntegratedGradients(cnn()), {"baselines": torch.ones_like(X[:1]), "n_steps": 4}
    explanation, arguments = integrated.attribute, settings
    if bound:
        explanation, arguments = partial(integrated.attribute, **settings), {}
    measure = partial(attribution_robustness, explanation, X, perturb_radius=0.5, target=TARGET, k=9, seed=1)
    seen = {}
    for name, method in (("same", integrated), ("other", IntegratedGradients(cnn()))):
        attack = InterpretationAttack(integrated.forward_func, method)
        attack.attack = lambda *inputs, name=name, of=attack.attack, **named: (
            seen.setdefault(name, named) and of(*inputs, **named)
        )
        measure(partial(attack.perturb, step_num=1, n_restarts=1), **arguments)
    assert seen["same"]["k"] == 9
    assert seen["same"]["attribution_kwargs"] == settings
    assert "k" not in seen["other"]
    assert "attribution_kwargs" not in seen["other"]


def test_fgsm_with_forward_arguments():
    def forward(x, scale):
        return torch.softmax(cnn()(x) * scale, dim=1)

    scale = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)[:, None]
    attack, saliency = FGSM(forward), Saliency(forward)
    measured = attribution_robustness(
        saliency.attribute,
        X,
        attack.perturb,
        0.05,
        2,
        similarity="lipschitz",
        target=TARGET,
        additional_forward_args=(scale,),
    )
    arguments = {"target": TARGET, "additional_forward_args": (scale,)}
    attacked = attack.perturb(X.clone().requires_grad_(), 0.05, **arguments).detach()
    maps = [saliency.attribute(x.clone().requires_grad_(), **arguments) for x in (X, attacked)]
    assert_close(measured, local_lipschitz(*maps, X, attacked), rtol=1e-9, atol=1e-9)


def test_what_a_perturbation_is_called_with():
    calls = []

    def record(*given, **named):
        calls.append((given[1:], named))
        return given[0]

    def alone(x):
        return record(x)

    def sized(x, epsilon):
        return record(x, epsilon)

    def named(x, *, target=None, additional_forward_args=None, seed="none", other=3):
        return record(x, target=target, seed=seed)

    def target_second(x, target):
        return record(x, target=target)

    def positional(x, radius, target, /):
        return record(x, radius, target)

    functions = {
        alone: ((), {}),
        sized: ((0.5,), {}),
        named: ((), {"target": [1, 1, 0, 0, 2, 2], "seed": "none"}),
        target_second: ((), {"target": [1, 1, 0, 0, 2, 2]}),
        partial(sized, epsilon=0.25): ((0.25,), {}),
        partial(named, target=4): ((), {"target": 4, "seed": "none"}),
        torch.clone: None,
        record: ((), {}),
    }
    for function, expected in functions.items():
        calls.clear()
        attribution_robustness(Saliency(cnn()).attribute, X, function, 0.5, 2, target=[1, 0, 2])
        assert calls == ([] if expected is None else [expected])
    with pytest.raises(TypeError, match="missing 1 required positional argument"):
        attribution_robustness(Saliency(cnn()).attribute, X, positional, target=0)


def test_gradients_are_off_unless_a_function_turns_them_on():
    def explanation(x):
        assert not torch.is_grad_enabled()
        return x

    def attack(x):
        assert not torch.is_grad_enabled()
        with torch.enable_grad():
            x = x.requires_grad_()
            return x + torch.autograd.grad(x.square().sum(), x)[0]

    inputs = X.clone().requires_grad_()
    measured = attribution_robustness(explanation, inputs, attack, similarity="cosine")
    assert_close(measured, torch.ones(3, dtype=torch.float64))
    assert not measured.requires_grad
    assert torch.is_grad_enabled()
    assert inputs.requires_grad
    assert inputs.grad is None


@pytest.mark.parametrize("similarity", ["top_k", "lipschitz"])
@pytest.mark.parametrize("copies", [1, 2])
def test_functions_that_work_in_place_leave_no_trace(similarity, copies):
    def add(x):
        return x.add_(1.0)

    def square(x):
        return x.mul_(x)

    inputs = X.clone()
    measured = attribution_robustness(square, inputs, add, n_perturb_samples=copies, similarity=similarity)
    expected = attribution_robustness(lambda x: x * x, X, lambda x: x + 1, similarity=similarity)
    assert torch.equal(measured, expected)
    assert torch.equal(inputs, X)


# -- randomness ----------------------------------------------------------------------------------------------


def states():
    return torch.get_rng_state().tolist(), np.random.get_state()[1].tolist(), random.getstate()  # noqa: NPY002


def seeded_noise(inputs, radius, seed=None):
    generator = None if seed is None else torch.Generator().manual_seed(seed)
    return inputs + radius * torch.randn(inputs.shape, generator=generator, dtype=inputs.dtype)


RANDOM = {
    "Saliency": lambda: Saliency(cnn()).attribute,
    "NoiseTunnel": lambda: partial(NoiseTunnel(Saliency(cnn())).attribute, nt_samples=3, stdevs=0.2),
    "SparsifiedSmoothGrad": lambda: partial(
        SparsifiedSmoothGrad(Saliency(cnn()), tau=0.2).attribute, nt_samples=3, stdevs=0.2
    ),
}


@pytest.mark.parametrize("rows", [None, 3])
@pytest.mark.parametrize("perturbation", [noise, seeded_noise])
@pytest.mark.parametrize("explanation", list(RANDOM))
def test_seeds_reproduce_and_the_generators_are_put_back(explanation, perturbation, rows):
    def measured(seed):
        return attribution_robustness(
            RANDOM[explanation](),
            X,
            perturbation,
            0.5,
            4,
            similarity="cosine",
            max_examples_per_batch=rows,
            seed=seed,
            target=TARGET,
        )

    before, one = states(), measured(3)
    assert states() == before
    torch.rand(2), np.random.rand(2), random.random()  # noqa: NPY002, S311
    assert torch.equal(measured(3), one)
    assert not torch.equal(measured(4), one)


def test_every_call_has_a_seed_of_its_own():
    seeds, draws = [], []

    def explanation(x, seed):
        seeds.append(seed)
        draws.append(float(torch.rand(())))
        return x

    def perturbation(x, seed):
        seeds.append(seed)
        draws.append(float(torch.rand(())))
        return x

    attribution_robustness(
        explanation, X, perturbation, n_perturb_samples=5, max_examples_per_batch=6, similarity="cosine", seed=2
    )
    assert len(seeds) == len(set(seeds)) == len(set(draws)) == 7


def test_a_seed_that_is_bound_is_left_alone():
    explainer, seen = SparsifiedSmoothGrad(Saliency(cnn()), tau=0.2), []

    def perturbation(x, *, seed):
        seen.append(seed)
        return x

    explanation = partial(explainer.attribute, nt_samples=3, stdevs=0.2, seed=0)
    same = attribution_robustness(explanation, X, partial(perturbation, seed=9), seed=1, k=0.1, target=TARGET)
    assert same.tolist() == [1.0, 1.0, 1.0], "the same noise for the input and for its copy"
    assert seen == [9]


def test_without_a_seed_randomness_is_left_to_the_functions():
    def measured():
        torch.manual_seed(0)
        return attribution_robustness(Saliency(cnn()).attribute, X, noise, 0.5, 2, similarity="cosine", target=TARGET)

    with torch.random.fork_rng():
        one, before = measured(), torch.get_rng_state()
        assert torch.equal(measured(), one)
        torch.manual_seed(0)
        assert not torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("fails_at", [1, 2, 3])
def test_a_failure_leaves_no_trace(fails_at):
    model, before = Watched(cnn(), fails_at=fails_at), states()
    with pytest.raises(InterruptedError, match="failed on purpose"):
        attribution_robustness(
            Saliency(model).attribute, X, noise, 0.5, 4, max_examples_per_batch=6, seed=1, target=TARGET
        )
    assert states() == before
    assert torch.is_grad_enabled()


# -- refusals ------------------------------------------------------------------------------------------------


def run(explanation=lambda x: x, inputs=X, perturbation=lambda x: x, **arguments):
    return attribution_robustness(explanation, inputs, perturbation, **arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"explanation": "saliency"}, "Expected `explanation_func` to be a function, got 'saliency'"),
        ({"perturbation": None}, "Expected `perturb_func` to be a function, got None"),
        ({"similarity": "ssim"}, r"Expected `similarity` to be one of \('top_k', 'kendall', .* got 'ssim'"),
        ({"inputs": [X]}, "Expected `inputs` to be a tensor or a tuple of tensors, got list"),
        ({"inputs": (X, X[:2])}, r"Expected `inputs` of shape \(N, ...\) with one batch size N >= 1"),
        ({"perturb_radius": -0.1}, "Expected `perturb_radius` to be a finite number >= 0, got -0.1"),
        ({"n_perturb_samples": 0}, "Expected `n_perturb_samples` to be an integer >= 1, got 0"),
        ({"max_examples_per_batch": 0}, "Expected `max_examples_per_batch` to be an integer >= 1, got 0"),
        ({"seed": -1}, r"Expected `seed` to be an integer >= 0 and < \d+, got -1"),
        ({"return_convergence_delta": True}, "maps alone, got `return_convergence_delta`=True"),
        ({"k": 193}, "Expected `k` to be a number of features from 1 to 192"),
        ({"explanation": lambda x: "map"}, r"Expected `explanation_func\(inputs\)` to be a tensor .* got 'map'"),
        ({"explanation": lambda x: (x, None)}, r"Expected `explanation_func\(inputs\)` to be a tensor"),
        ({"explanation": lambda x: x[:2]}, r"`explanation_func\(inputs\)` whose first dimension is the batch of 3"),
        ({"explanation": lambda x: x / 0}, r"Expected `explanation_func\(inputs\)` to be finite"),
        (
            {"explanation": lambda x: 1 / (2 - x), "perturbation": lambda x: 0 * x + 2},
            r"Expected `explanation_func\(perturbed inputs\)` to be finite",
        ),
        (
            {"explanation": lambda x: x[:3], "n_perturb_samples": 2},
            r"Expected `explanation_func\(perturbed inputs\)` of the shapes of `explanation_func\(inputs\)`",
        ),
        (
            {"perturbation": lambda x: x[:, :1], "n_perturb_samples": 2},
            r"`perturb_func` to return tensors of shapes \[\(6, 3, 8, 8\)\], got \[\(6, 1, 8, 8\)\]",
        ),
        ({"perturbation": lambda x: None}, r"`perturb_func` to return tensors of shapes .*, got \['NoneType'\]"),
        ({"perturbation": lambda x: (x, x)}, r"`perturb_func` to return tensors of shapes .*, got \[\(3,.*\), \(3"),
        ({"similarity": lambda a, b: (a - b).sum()}, r"`similarity` to return a tensor of shape \(3,\), got \(\)"),
        ({"similarity": lambda a, b: 0.5}, r"`similarity` to return a tensor of shape \(3,\), got float"),
    ],
)
def test_refusals(arguments, message):
    with pytest.raises(ValueError, match=message):
        run(**arguments)


def test_top_sets_that_maps_do_not_have_are_refused_before_anything_is_perturbed():
    def never(x):
        raise AssertionError("perturbed")

    with pytest.raises(ValueError, match="Expected `k`"):
        run(perturbation=never, k=0)
    # Without a top set k means nothing.
    assert run(k=0, similarity="cosine").tolist() == [1.0, 1.0, 1.0]


def test_gradients_out_of_reach():
    with torch.inference_mode(), pytest.raises(ValueError, match=r"inside torch\.inference_mode"):
        run()


def test_larger_perturbations_change_maps_more():
    saliency = Saliency(mlp())
    x = images(8, shape=(6,))
    for similarity in ("cosine", "spearman"):
        near, far = (
            attribution_robustness(saliency.attribute, x, noise, r, 20, similarity=similarity, seed=0, target=1)
            for r in (0.01, 3.0)
        )
        assert bool((near >= far).all())
