"""``attribution_robustness``, the worst similarity over perturbed inputs: its value, and what it refuses."""

import pytest
import torch
from captum.attr import LayerGradCam, Saliency
from captum.metrics import sensitivity_max
from networks import cnn, images, mlp
from perturbations import MEASURES, TARGET, Steps, X, gradient, noise
from torch.testing import assert_close

from captum_certified import attribution_robustness, cosine_similarity, local_lipschitz

# -- value ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [None, 3, 6, 8, 1, 100])
@pytest.mark.parametrize("similarity", list(MEASURES))
def test_the_result_is_the_worst_over_all_copies_in_any_batches(similarity, rows):
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


def test_the_result_agrees_with_sensitivity_max():
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
    # Captum's default perturbation also returns a tuple for a single tensor.
    saliency = Saliency(cnn())
    of_tuple = attribution_robustness(saliency.attribute, X, lambda x: (x.flip(3),), target=TARGET)
    assert torch.equal(of_tuple, attribution_robustness(saliency.attribute, X, lambda x: x.flip(3), target=TARGET))


def test_maps_of_layers():
    model = cnn()
    measured = attribution_robustness(
        LayerGradCam(model, model[3]).attribute, X, noise, 0.1, 3, similarity="mass_center", seed=0, target=TARGET
    )
    assert measured.shape == (3,)


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


def test_k_out_of_range_is_refused_before_anything_is_perturbed():
    def never(x):
        raise AssertionError("perturbed")

    with pytest.raises(ValueError, match="Expected `k`"):
        run(perturbation=never, k=0)
    # Other similarities do not use `k`.
    assert run(k=0, similarity="cosine").tolist() == [1.0, 1.0, 1.0]


def test_inference_mode_is_refused_by_attribution_robustness():
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
