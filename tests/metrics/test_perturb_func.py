"""The arguments and the seeds that explanation and perturbation functions get."""

import random
from functools import partial

import numpy as np
import pytest
import torch
from captum.attr import IntegratedGradients, NoiseTunnel, Saliency
from captum.robust import FGSM, PGD
from networks import GateNet, Watched, cnn, images
from perturbations import TARGET, Steps, X, gradient, noise
from torch.testing import assert_close

from captum_certified import (
    InterpretationAttack,
    SparsifiedSmoothGrad,
    attribution_robustness,
    cosine_similarity,
    local_lipschitz,
)

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
def test_an_attack_on_the_same_method_gets_all_arguments_of_the_explanation(bound):
    """It also gets ``k``. An attack on another method gets neither."""
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


def test_perturbation_functions_get_the_arguments_that_they_name():
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
def test_functions_that_work_in_place_do_not_change_the_inputs(similarity, copies):
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
def test_seeds_reproduce_and_the_generators_are_restored(explanation, perturbation, rows):
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


def test_a_bound_seed_is_left_alone():
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
def test_an_exception_restores_the_generators(fails_at):
    model, before = Watched(cnn(), fails_at=fails_at), states()
    with pytest.raises(InterruptedError, match="failed on purpose"):
        attribution_robustness(
            Saliency(model).attribute, X, noise, 0.5, 4, max_examples_per_batch=6, seed=1, target=TARGET
        )
    assert states() == before
    assert torch.is_grad_enabled()
