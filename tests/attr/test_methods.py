"""Every gradient method of Captum: the limit of no noise, batches, targets and reproducible draws."""

import numpy as np
import pytest
import torch
from captum.attr import (
    FeatureAblation,
    GradientShap,
    IntegratedGradients,
    LayerGradCam,
    NoiseTunnel,
    Saliency,
    ShapleyValueSampling,
)
from explainers import EXPLAINERS
from methods import METHODS, plain
from networks import GateNet, ScalarOutput, TwoDimensionalOutput, Watched, cnn, images, mlp
from torch.testing import assert_close

from captum_certified import Certifier, ScaledSmoothGrad, SparsifiedSmoothGrad, sample_many
from captum_certified.sampling import make_noise

methods = pytest.mark.parametrize("method", list(METHODS))
explainers = pytest.mark.parametrize("name", list(EXPLAINERS))
X = images(3)


def literal(name, attributions):
    """Return the literal per-draw map of every row of a Captum attribution."""
    rows = attributions.detach().abs().flatten(1).double().numpy()
    mapped = np.stack([EXPLAINERS[name].literal(row) for row in rows])
    return torch.from_numpy(mapped).reshape(attributions.shape)


# -- without noise -------------------------------------------------------------------------------------------


@methods
@explainers
def test_one_draw_without_noise_is_the_per_draw_map(method, name):
    make, arguments = METHODS[method].make, METHODS[method].arguments(X)
    target = [0, 2, 1]
    alone = plain(make(cnn()), X, target=target, **arguments)
    smoothed = EXPLAINERS[name].make(make(cnn())).attribute(X, nt_samples=1, stdevs=0, target=target, **arguments)
    assert smoothed.dtype == alone.dtype
    assert_close(smoothed, literal(name, alone), rtol=1e-12, atol=1e-14)


@methods
def test_many_draws_without_noise_equal_one_draw(method):
    explainer = SparsifiedSmoothGrad(METHODS[method].make(cnn()), tau=0.2)
    arguments = METHODS[method].arguments(X)
    one = explainer.attribute(X, nt_samples=1, stdevs=0, target=1, **arguments)
    assert torch.equal(
        explainer.attribute(X, nt_samples=7, nt_samples_batch_size=3, stdevs=0, target=1, **arguments), one
    )


# -- with noise ----------------------------------------------------------------------------------------------


@methods
@pytest.mark.parametrize("target", [2, [0, 2, 1]], ids=["one target", "a target each"])
def test_the_mean_is_that_of_captum_s_map_at_every_noisy_input(method, target):
    entry, model = METHODS[method], cnn()
    arguments = entry.arguments(X)
    noise = make_noise((3, 8, 8), seed=5, draws=range(6), tensor=0, dtype=torch.float64, device=X.device)
    total = sum(
        literal("scaled", plain(entry.make(model), X + 0.3 * epsilon, target=target, **arguments)) for epsilon in noise
    )
    explainer = ScaledSmoothGrad(entry.make(cnn()))
    smoothed = explainer.attribute(
        X, nt_samples=6, nt_samples_batch_size=4, stdevs=0.3, seed=5, target=target, **arguments
    )
    assert_close(smoothed, total / 6, rtol=1e-9, atol=1e-12)


@methods
def test_argmax_is_the_class_of_the_largest_output_at_the_noisy_input(method):
    entry, model = METHODS[method], cnn()
    arguments = entry.arguments(X)
    noise = make_noise((3, 8, 8), seed=5, draws=range(8), tensor=0, dtype=torch.float64, device=X.device)
    total, chosen = torch.zeros_like(X), set()
    for epsilon in noise:
        noisy = X + 2.0 * epsilon
        target = model(noisy).argmax(dim=1)
        chosen |= set(target.tolist())
        total += literal("scaled", plain(entry.make(model), noisy, target=target, **arguments))
    assert len(chosen) > 1, "the noise must change the class for this test to say anything"
    explainer = ScaledSmoothGrad(entry.make(cnn()))
    settings = {"nt_samples": 8, "nt_samples_batch_size": 3, "stdevs": 2.0, "seed": 5, "target": "argmax"}
    assert_close(explainer.attribute(X, **settings, **arguments), total / 8, rtol=1e-9, atol=1e-12)
    assert_close(explainer.sample(X, **settings, **arguments).mean, total / 8, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    "method", ["Saliency", "InputXGradient", "GuidedBackprop", "Deconvolution", "IntegratedGradients"]
)
@pytest.mark.parametrize("passes", [1, 3])
def test_argmax_costs_no_forward_pass_where_one_gradient_is_taken(method, passes):
    entry = METHODS[method]
    calls = {}
    for target in (0, "argmax"):
        model = Watched(cnn())
        explainer = SparsifiedSmoothGrad(entry.make(model))
        explainer.attribute(
            X, nt_samples=4 * passes, nt_samples_batch_size=4, stdevs=0.1, target=target, **entry.arguments(X)
        )
        calls[target] = model.calls
    assert calls["argmax"] - calls[0] == passes * entry.forwards_for_argmax


@methods
def test_the_wrapped_method_is_left_as_it_was(method):
    wrapped = METHODS[method].make(cnn())
    before = {name: value for name, value in vars(wrapped).items() if not isinstance(value, list)}
    explainer = SparsifiedSmoothGrad(wrapped)
    explainer.sample(X, nt_samples=4, stdevs=0.1, target="argmax", **METHODS[method].arguments(X))
    assert explainer.attribution_method is wrapped
    for name, value in before.items():
        assert vars(wrapped)[name] is value or vars(wrapped)[name] == value, name


@methods
def test_a_batch_gives_the_maps_of_its_examples(method):
    entry = METHODS[method]
    explainer = ScaledSmoothGrad(entry.make(cnn()))
    settings = {"nt_samples": 5, "stdevs": 0.2, "seed": 3}
    per_row = {"baselines"} if method.endswith("an image each") else set()
    arguments = entry.arguments(X)
    whole = explainer.attribute(X, target=[0, 2, 1], **settings, **arguments)
    for row, target in enumerate([0, 2, 1]):
        own = {k: v[row : row + 1] if k in per_row else v for k, v in arguments.items()}
        alone = explainer.attribute(X[row : row + 1], target=target, **settings, **own)
        assert_close(alone[0], whole[row], rtol=1e-10, atol=1e-13)


# -- targets -------------------------------------------------------------------------------------------------

TARGETS = {
    "int": 2,
    "list of ints": [2, 2, 2],
    "one-element tensor": torch.tensor([2]),
    "scalar tensor": torch.tensor(2),
    "tensor": torch.tensor([2, 2, 2]),
}
PAIRS = {"tuple": (1, 1), "list of tuples": [(1, 1)] * 3}


@pytest.mark.parametrize("kind", list(TARGETS))
@pytest.mark.parametrize("entry_point", ["attribute", "sample"])
def test_every_kind_of_target(kind, entry_point):
    explainer = SparsifiedSmoothGrad(Saliency(GateNet((3, 8, 8))), tau=0.2)
    settings = {"nt_samples": 9, "nt_samples_batch_size": 4, "stdevs": 0.3, "seed": 1}

    def mean(target):
        result = getattr(explainer, entry_point)(X, target=target, **settings)
        return result if entry_point == "attribute" else result.mean

    expected = mean(2)
    assert torch.equal(mean(TARGETS[kind]), expected)
    assert not torch.equal(mean(1), expected)


@pytest.mark.parametrize("kind", list(PAIRS))
def test_pairs_as_targets(kind):
    # Output (1, 1) of the two-dimensional model is output 3 of the flat one.
    settings = {"nt_samples": 9, "nt_samples_batch_size": 4, "stdevs": 0.3, "seed": 1}
    flat = SparsifiedSmoothGrad(Saliency(GateNet((3, 8, 8), classes=6))).sample(X, target=3, **settings)
    pair = SparsifiedSmoothGrad(Saliency(TwoDimensionalOutput((3, 8, 8)))).sample(X, target=PAIRS[kind], **settings)
    assert torch.equal(pair.counts, flat.counts)


@pytest.mark.parametrize(
    "target",
    [[0, 1, 2], torch.tensor([0, 1, 2])],
    ids=["list", "tensor"],
)
def test_targets_go_to_their_rows(target):
    explainer = SparsifiedSmoothGrad(Saliency(GateNet((3, 8, 8))), tau=0.2)
    settings = {"nt_samples": 9, "nt_samples_batch_size": 4, "stdevs": 0.3, "seed": 1}
    whole = explainer.sample(X, target=target, **settings)
    for row in range(3):
        assert torch.equal(explainer.sample(X[row : row + 1], target=row, **settings).counts[0], whole.counts[row])
    assert whole.setup["target"] == [0, 1, 2]


@pytest.mark.parametrize("rows", [1, 2])
def test_lists_and_tensors_of_one_target_per_row_at_any_batch_size(rows):
    explainer = SparsifiedSmoothGrad(Saliency(GateNet((3, 8, 8))), tau=0.2)
    x = X[:rows]
    expected = explainer.sample(x, nt_samples=5, stdevs=0.3, seed=1, target=2)
    for target in ([2] * rows, torch.tensor([2] * rows)):
        assert torch.equal(explainer.sample(x, nt_samples=5, stdevs=0.3, seed=1, target=target).counts, expected.counts)


def test_models_with_one_output_need_no_target():
    flat = SparsifiedSmoothGrad(Saliency(GateNet((3, 8, 8), classes=1))).sample(
        X, nt_samples=5, stdevs=0.3, seed=1, target=0
    )
    without = SparsifiedSmoothGrad(Saliency(ScalarOutput((3, 8, 8)))).sample(X, nt_samples=5, stdevs=0.3, seed=1)
    assert torch.equal(without.counts, flat.counts)
    assert without.setup["target"] == [None] * 3


# -- other arguments -----------------------------------------------------------------------------------------


def test_additional_forward_args_are_expanded_with_their_rows():
    model = GateNet((3, 8, 8)).double()

    def chosen(inputs, weights, power):
        return model(inputs, weights.unsqueeze(1)) ** power

    weights = torch.tensor([1.0, -2.0, 0.0], dtype=torch.float64)
    explainer = SparsifiedSmoothGrad(Saliency(chosen), tau=0.2)
    settings = {"nt_samples": 6, "nt_samples_batch_size": 4, "stdevs": 0.3, "seed": 1, "target": 0}
    whole = explainer.sample(X, additional_forward_args=(weights, 1), **settings)
    assert not whole.counts[2].any(), "a weight of zero gives an all-zero map"
    for row in range(3):
        alone = explainer.sample(X[row : row + 1], additional_forward_args=(weights[row : row + 1], 1), **settings)
        assert torch.equal(alone.counts[0], whole.counts[row])


def test_arguments_are_part_of_what_maps_must_share_to_merge():
    explainer = ScaledSmoothGrad(IntegratedGradients(cnn()))
    one = explainer.sample(X, nt_samples=2, stdevs=0.1, seed=1, target=0, n_steps=3)
    other = explainer.sample(X, nt_samples=2, stdevs=0.1, seed=1, target=0, n_steps=4, first_draw=2)
    with pytest.raises(ValueError, match="same setup, got arguments"):
        one.merge(other)


def test_hidden_names_reach_the_wrapped_method_through_attribution_kwargs():
    class Method(Saliency):
        def attribute(self, inputs, target=None, groups=None, seed=None):
            assert (groups, seed) == ("theirs", 3)
            return super().attribute(inputs, target=target)

    explainer = SparsifiedSmoothGrad(Method(cnn()))
    hidden = {"groups": "theirs", "seed": 3}
    explainer.attribute(X, nt_samples=2, stdevs=0.1, target=0, attribution_kwargs=hidden)
    with pytest.raises(ValueError, match=r"Expected each argument once, got \['target'\] also in `attribution_kwargs`"):
        explainer.attribute(X, nt_samples=2, stdevs=0.1, target=0, attribution_kwargs={"target": 1})


@pytest.mark.parametrize("pass_size", [1, 2, 5])
def test_convergence_deltas_come_with_all_draws_of_an_example_together(pass_size):
    explainer = ScaledSmoothGrad(IntegratedGradients(mlp()))
    x = torch.rand(2, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    noise = make_noise((6,), seed=2, draws=range(5), tensor=0, dtype=torch.float64, device=x.device)
    expected = [
        IntegratedGradients(mlp()).attribute(
            (row + 0.4 * epsilon).unsqueeze(0).requires_grad_(), target=1, n_steps=4, return_convergence_delta=True
        )[1]
        for row in x
        for epsilon in noise
    ]
    mean, delta = explainer.attribute(
        x,
        nt_samples=5,
        nt_samples_batch_size=pass_size,
        stdevs=0.4,
        seed=2,
        target=1,
        n_steps=4,
        return_convergence_delta=True,
    )
    assert mean.shape == x.shape
    assert_close(delta, torch.cat(expected), rtol=1e-9, atol=1e-12)


# -- methods with randomness of their own, and methods without gradients -------------------------------------


@pytest.mark.parametrize(
    ("wrapped", "arguments"),
    [
        (GradientShap, {"baselines": torch.zeros(4, 6, dtype=torch.float64), "n_samples": 3}),
        (ShapleyValueSampling, {"n_samples": 2}),
        (lambda model: NoiseTunnel(Saliency(model)), {"attribution_kwargs": {"nt_samples": 2, "stdevs": 0.1}}),
    ],
    ids=["GradientShap", "ShapleyValueSampling", "NoiseTunnel"],
)
def test_random_methods_run_under_a_derived_seed(wrapped, arguments):
    explainer = ScaledSmoothGrad(wrapped(mlp()))
    x = torch.rand(2, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    state = torch.get_rng_state()
    one = explainer.sample(x, nt_samples=4, stdevs=0.2, seed=8, target=1, **arguments)
    torch.rand(3)
    np.random.rand(3)  # noqa: NPY002
    two = explainer.sample(x, nt_samples=4, stdevs=0.2, seed=8, target=1, **arguments)
    torch.set_rng_state(state)
    assert torch.equal(one.mean, two.mean)
    assert one.setup["stochastic"] is True
    assert not torch.equal(one.mean, explainer.sample(x, nt_samples=4, stdevs=0.2, seed=9, target=1, **arguments).mean)


class Product(torch.nn.Module):
    """x₀x₁: each order of the two features attributes the whole output to the second one."""

    def forward(self, inputs):
        return inputs[:, :1] * inputs[:, 1:2] * torch.ones(1, 2)


def test_draws_are_independent_although_a_method_shares_random_numbers_in_a_call():
    """ShapleyValueSampling takes one permutation for all rows of a call; its mean is ½ only if draws have their own."""
    explainer = SparsifiedSmoothGrad(ShapleyValueSampling(Product()), tau=0.5)
    sampling = {"target": 0, "n_samples": 1, "nt_samples": 512, "stdevs": 0.2, "covariance": False}
    certifier, missed = Certifier(), 0
    for seed in range(20):
        smoothed_map = explainer.sample(torch.ones(1, 2), seed=seed, **sampling)
        columns = certifier.rank(smoothed_map, radius=0.0).columns()
        missed += any(low > 0.5 or high < 0.5 for low, high in zip(columns["lower"], columns["upper"], strict=True))
        assert int(certifier.top_k(smoothed_map, k=1, radius=0.05).overlap[0]) == 0
    assert missed <= 2


@pytest.mark.parametrize(
    ("wrapped", "arguments"),
    [
        (GradientShap, {"baselines": torch.zeros(4, 6, dtype=torch.float64), "n_samples": 3}),
        (ShapleyValueSampling, {"n_samples": 2}),
        (lambda model: NoiseTunnel(Saliency(model)), {"attribution_kwargs": {"nt_samples": 2, "stdevs": 0.1}}),
        (lambda model: ScaledSmoothGrad(Saliency(model)), {"attribution_kwargs": {"nt_samples": 2, "stdevs": 0.1}}),
    ],
    ids=["GradientShap", "ShapleyValueSampling", "NoiseTunnel", "a smoother"],
)
def test_the_pass_size_does_not_change_random_methods(wrapped, arguments):
    explainer = SparsifiedSmoothGrad(wrapped(mlp()), tau=0.4)
    x = torch.rand(2, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    run = {"nt_samples": 12, "stdevs": 0.2, "seed": 8, "target": 1, **arguments}
    maps = [explainer.sample(x, nt_samples_batch_size=size, **run) for size in (1, 5, 12)]
    assert all(one.setup["stochastic"] for one in maps)
    assert all(torch.equal(one.feature_counts, maps[0].feature_counts) for one in maps)
    assert torch.equal(maps[0].mean.float(), explainer.attribute(x, **run).float())


def test_deterministic_methods_are_not_recorded_as_stochastic():
    assert (
        SparsifiedSmoothGrad(Saliency(cnn())).sample(X, nt_samples=2, stdevs=0.1, target=0).setup["stochastic"] is False
    )


def test_methods_without_gradients_and_layers_can_be_smoothed():
    x = torch.rand(2, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    ablation = ScaledSmoothGrad(FeatureAblation(mlp())).sample(x, nt_samples=3, stdevs=0.1, target=1, seed=0)
    assert ablation.mean.shape == x.shape
    model = cnn()
    layer = ScaledSmoothGrad(LayerGradCam(model, model[3])).sample(X, nt_samples=3, stdevs=0.1, target=1, seed=0)
    assert layer.mean.shape == (3, 1, 3, 3)


# -- several maps of one sampling ----------------------------------------------------------------------------


def test_sample_many_equals_separate_samples_at_the_cost_of_one():
    model = Watched(cnn())
    method = Saliency(model)
    made = [entry.make(method) for entry in EXPLAINERS.values()]
    settings = {"nt_samples": 70, "nt_samples_batch_size": 16, "stdevs": 0.3, "seed": 4, "target": "argmax"}
    together = sample_many(made, X, **settings)
    calls, model.calls = model.calls, 0
    separate = [explainer.sample(X, **settings) for explainer in made]
    assert model.calls == calls * len(made)
    for one, two in zip(together, separate, strict=True):
        assert torch.equal(one.features, two.features)
        assert (one.second_moment is None) == (two.second_moment is None)
        assert one.second_moment is None or torch.equal(one.second_moment, two.second_moment)
        assert torch.equal(one.plain, two.plain)
        assert one.setup == two.setup
        assert one.provenance == two.provenance
        assert one.max_squared_norm == two.max_squared_norm


def test_sample_many_equals_separate_samples_across_blocks():
    method = Saliency(GateNet((5,)))
    x = torch.full((1, 5), 0.5)
    made = [SparsifiedSmoothGrad(method, tau=0.4), ScaledSmoothGrad(method)]
    settings = {"nt_samples": 2100, "nt_samples_batch_size": 100, "stdevs": 0.3, "seed": 4, "target": 1}
    for one, explainer in zip(sample_many(made, x, **settings), made, strict=True):
        assert torch.equal(one.features, explainer.sample(x, **settings).features)


def test_sample_many_refuses_several_methods():
    model = cnn()
    with pytest.raises(ValueError, match="around one attribution method object, got several"):
        sample_many([SparsifiedSmoothGrad(Saliency(model)), ScaledSmoothGrad(Saliency(model))], X, stdevs=0.1, target=0)
    with pytest.raises(ValueError, match="at least one explainer"):
        sample_many([], X)
