"""The rule for arguments: only arguments with an entry for each example are repeated or cut with the examples."""

import pytest
import torch
from captum.attr import (
    DeepLift,
    DeepLiftShap,
    FeatureAblation,
    GradientShap,
    IntegratedGradients,
    LayerDeepLiftShap,
    LayerGradientShap,
    NeuronDeepLiftShap,
    NeuronGradientShap,
    NoiseTunnel,
    Saliency,
    ShapleyValueSampling,
)
from looks import sampled_in_looks
from torch import nn
from torch.nn import functional

from captum_certified import (
    CertificationError,
    Certifier,
    InvalidInputError,
    NormalizedSmoothGrad,
    ScaledSmoothGrad,
    Shared,
    SparsifiedSmoothGrad,
    attribution_robustness,
)
from captum_certified.attr.row_arguments import arguments_of_rows, expanded_arguments, has_reference_distribution

NODES, FEATURES = 10, 4
pytestmark = pytest.mark.filterwarnings("ignore:In .* draws more than 1 %:UserWarning")


def random(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


EDGES = torch.randint(0, NODES, (2, 30), generator=torch.Generator().manual_seed(1))
WEIGHTS = torch.randn(FEATURES, 3, generator=torch.Generator().manual_seed(2))


def graph_network(x, edges):
    joined = torch.zeros(NODES, NODES).index_put((edges[1], edges[0]), torch.ones(edges.shape[1]), accumulate=True)
    return torch.tanh(joined @ torch.tanh(x @ WEIGHTS)).sum(1)


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 12), nn.Tanh(), nn.Linear(12, 3)).eval()


# -- the rule --------------------------------------------------------------------------------------------------


def test_a_tensor_belongs_to_the_examples_iff_its_first_dimension_is_their_number():
    x, per_row, other = random(3, 6), torch.arange(3.0), random(2, 5)
    given = {
        "additional_forward_args": (per_row, other, Shared(per_row), torch.tensor(7.0), "text"),
        "baselines": random(1, 6),
        "feature_mask": torch.arange(18).view(3, 6),
        "target": [0, 1, 2],
        "weights": other,
    }
    expanded = expanded_arguments(given, (x,), 2)
    arguments = expanded["additional_forward_args"]
    assert arguments[0].tolist() == [0, 0, 1, 1, 2, 2]
    assert arguments[1] is other
    assert arguments[2] is per_row
    assert arguments[3:] == (torch.tensor(7.0), "text")
    assert expanded["baselines"] is given["baselines"]
    assert expanded["feature_mask"].shape == (6, 6)
    assert expanded["target"] == [0, 0, 1, 1, 2, 2]
    assert expanded["weights"] is other


def test_shared_arguments_stay_shared_when_rows_are_cut():
    """Edges of shape (2, E) must not become rows of the two examples that are left of four."""
    given = {"additional_forward_args": (EDGES, random(4, 3)), "target": torch.tensor([0, 1, 2, 0])}
    left = arguments_of_rows(given, 4, [1, 3])
    expanded = expanded_arguments(left, (random(2, 6),), 5)
    assert torch.equal(expanded["additional_forward_args"][0], EDGES)
    assert expanded["additional_forward_args"][1].shape == (10, 3)
    assert expanded["target"].tolist() == [1] * 5 + [0] * 5


def test_with_one_example_a_first_dimension_of_one_belongs_to_it():
    expanded = expanded_arguments({"additional_forward_args": (random(1, 5), Shared(random(1, 5)))}, (random(1, 6),), 3)
    assert [tuple(t.shape) for t in expanded["additional_forward_args"]] == [(3, 5), (1, 5)]


@pytest.mark.parametrize(
    "make",
    [
        GradientShap,
        DeepLiftShap,
        lambda m: LayerGradientShap(m, m[0]),
        lambda m: LayerDeepLiftShap(m, m[0]),
        lambda m: NeuronGradientShap(m, m[0]),
        lambda m: NeuronDeepLiftShap(m, m[0]),
        lambda m: NoiseTunnel(GradientShap(m)),
    ],
)
def test_a_reference_distribution_is_neither_repeated_nor_cut(make):
    references = random(3, 6)
    given = {"baselines": references, "additional_forward_args": random(3, 2)}
    assert has_reference_distribution(make(network()), given)
    assert expanded_arguments(given, (random(3, 6),), 4, distribution=True)["baselines"] is references
    cut = arguments_of_rows(given, 3, [2], distribution=True)
    assert expanded_arguments(cut, (random(1, 6),), 4, distribution=True)["baselines"] is references


def test_baselines_of_other_methods_are_rows_unless_they_are_functions():
    assert not has_reference_distribution(IntegratedGradients(network()), {"baselines": random(3, 6)})
    assert not has_reference_distribution(DeepLift(network()), {"baselines": random(3, 6)})
    assert not has_reference_distribution(GradientShap(network()), {})
    assert has_reference_distribution(None, {"baselines": torch.zeros_like})


def test_only_tensors_are_shared():
    with pytest.raises(InvalidInputError, match="Expected `Shared` around a tensor, got list"):
        Shared([1, 2])


@pytest.mark.parametrize("target", [[0, 1], torch.tensor([0, 1]), [0], torch.zeros(4, dtype=torch.long)])
@pytest.mark.parametrize("entry", ["attribute", "sample"])
def test_a_wrong_number_of_targets_is_refused(entry, target):
    explainer = ScaledSmoothGrad(Saliency(network()))
    message = f"`target` to be one target for all examples, or one for each of 3, got {len(target)}"
    with pytest.raises(InvalidInputError, match=message):
        getattr(explainer, entry)(random(3, 6), target=target, nt_samples=2, stdevs=0.1)


@pytest.mark.parametrize("target", [torch.tensor(1), torch.tensor([1]), 1])
def test_one_target_is_for_all_examples(target):
    explainer = ScaledSmoothGrad(Saliency(network()))
    each = explainer.sample(random(3, 6), target=[1, 1, 1], nt_samples=8, stdevs=0.1, seed=0)
    one = explainer.sample(random(3, 6), target=target, nt_samples=8, stdevs=0.1, seed=0)
    assert torch.equal(one.features, each.features)


# -- what the wrapped method is called with --------------------------------------------------------------------


@pytest.mark.parametrize("method", [Saliency, IntegratedGradients, FeatureAblation])
@pytest.mark.parametrize("rows", [1, 2, 3])
def test_a_graph_s_edges_are_the_same_for_all_draws(rows, method):
    x, settings = random(rows, NODES, FEATURES), {"target": 1, "nt_samples": 24, "stdevs": 0.1, "seed": 0}
    explainer = NormalizedSmoothGrad(method(graph_network))
    smoothed = explainer.sample(x, additional_forward_args=(Shared(EDGES),), **settings)
    closed = NormalizedSmoothGrad(method(lambda x: graph_network(x, EDGES))).sample(x, **settings)
    torch.testing.assert_close(smoothed.features, closed.features)
    if rows != 2:
        unmarked = explainer.sample(x, additional_forward_args=(EDGES,), **settings)
        assert torch.equal(unmarked.features, smoothed.features)


def test_attribute_passes_shared_arguments_on():
    x, settings = random(1, NODES, FEATURES), {"target": 1, "additional_forward_args": (EDGES,)}
    plain = Saliency(graph_network).attribute(x.clone().requires_grad_(), **settings)
    smoothed = ScaledSmoothGrad(Saliency(graph_network)).attribute(x, nt_samples=8, stdevs=1e-7, **settings)
    torch.testing.assert_close(smoothed, plain / plain.max(), atol=1e-6, rtol=0)


@pytest.mark.parametrize("method", [Saliency, FeatureAblation])
def test_edges_of_two_graphs_that_are_not_marked_are_refused(method):
    explainer = SparsifiedSmoothGrad(method(graph_network), tau=0.2)
    with pytest.raises(CertificationError, match=r"Mark a tensor that belongs to no example as .*Shared\(tensor\)"):
        explainer.sample(
            random(2, NODES, FEATURES), target=1, nt_samples=16, stdevs=0.1, additional_forward_args=(EDGES,)
        )


def test_an_attention_bias_of_one_example_may_be_marked():
    torch.manual_seed(0)
    attention, out = nn.MultiheadAttention(FEATURES, 2, batch_first=True).eval(), nn.Linear(FEATURES, 3)

    def forward(x, bias):
        assert bias.shape == (NODES, NODES)
        return out(attention(x, x, x, attn_mask=bias, need_weights=False)[0].mean(1))

    bias = torch.triu(torch.full((NODES, NODES), -torch.inf), diagonal=1)
    for rows in (1, 3, NODES):
        explainer = SparsifiedSmoothGrad(Saliency(forward), tau=0.2)
        x = random(rows, NODES, FEATURES)
        given = Shared(bias) if rows == NODES else bias
        smoothed = explainer.sample(x, target=1, nt_samples=8, stdevs=0.1, additional_forward_args=given)
        assert len(smoothed) == rows


def test_shared_and_unshared_tensors_give_different_explanations():
    x, scale = random(2, 6), torch.tensor([[1.0], [2.0]])
    explainer = ScaledSmoothGrad(Saliency(lambda x, s: network()(x) * s.mean()))
    settings = {"target": 1, "nt_samples": 8, "stdevs": 0.1}
    one = explainer.sample(x, additional_forward_args=scale, seed=0, **settings)
    two = explainer.sample(x, additional_forward_args=Shared(scale), seed=1, **settings)
    with pytest.raises(InvalidInputError, match="same setup, got arguments"):
        one.merge(two)


def test_measurements_of_robustness_leave_a_distribution_whole():
    seen = []

    class Watching(GradientShap):
        def attribute(self, inputs, baselines, **arguments):
            seen.append(len(baselines))
            return super().attribute(inputs, baselines, **arguments)

    method = Watching(network())
    settings = {"n_perturb_samples": 2, "baselines": random(3, 6), "target": 1}
    attribution_robustness(method.attribute, random(3, 6), lambda x, radius: x + radius, **settings)
    assert set(seen) == {3}


# -- when some of the rows stop --------------------------------------------------------------------------------


def softly(x):
    return network()(functional.dropout(x, 0.1, training=True))


TOGETHER = {
    "GradientShap": (GradientShap(network()), {"baselines": random(3, 6, seed=5), "n_samples": 2}),
    "GradientShap, a function": (GradientShap(network()), {"baselines": lambda x: random(2, 6), "n_samples": 2}),
    "DeepLiftShap": (DeepLiftShap(network()), {"baselines": random(3, 6, seed=5)}),
    "LayerGradientShap": (LayerGradientShap(network(), None), {"baselines": random(3, 6, seed=5), "n_samples": 2}),
    "NeuronDeepLiftShap": (NeuronDeepLiftShap(network(), None), {"baselines": random(3, 6), "neuron_selector": 2}),
    "NoiseTunnel": (NoiseTunnel(Saliency(network())), {"attribution_kwargs": {"nt_samples": 2, "stdevs": 0.1}}),
    "ShapleyValueSampling": (ShapleyValueSampling(network()), {"n_samples": 2}),
    "drawn baselines": (
        IntegratedGradients(network()),
        {"baselines": random(4, 6, seed=5), "draw_baseline_from_distrib": True, "n_steps": 2},
    ),
    "dropout": (Saliency(softly), {}),
}
for name in ("LayerGradientShap", "NeuronDeepLiftShap"):
    TOGETHER[name][0].layer = TOGETHER[name][0].forward_func[0]


@pytest.mark.parametrize("stop", [[0], [1], [0, 2], [1, 2]])
@pytest.mark.parametrize("name", TOGETHER)
def test_rows_of_a_sequential_run_are_the_draws_of_the_full_run(name, stop):
    method, settings = TOGETHER[name]
    target = {} if name.startswith("Neuron") else {"target": torch.tensor([0, 1, 2])}
    common = {"stdevs": 0.3, "seed": 4, "covariance": 8, "nt_samples_batch_size": 3, **target, **settings}
    explainer = SparsifiedSmoothGrad(method, tau=0.4)
    x = random(3, 6, seed=7)
    sizes = {row: 8 if row in stop else 24 for row in range(3)}
    stopped = torch.tensor([row in stop for row in range(3)])
    answers = [stopped, torch.ones(3, dtype=torch.bool)]
    smoothed = sampled_in_looks(explainer, x, answers, [8, 24], **common)
    assert smoothed.n_samples.tolist() == list(sizes.values())
    for row, draws in sizes.items():
        whole = explainer.sample(x, nt_samples=draws, **common)
        assert torch.equal(smoothed.feature_counts[row], whole.feature_counts[row]), row


def test_a_part_of_a_distribution_would_be_another_explanation():
    """When one of two rows stops, the other goes on with both references."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(12, 32), nn.Tanh(), nn.Linear(32, 2)).eval()
    with torch.no_grad():
        model[0].weight.mul_(2)
    x = torch.randn(2, 12)
    references = torch.stack([x[1] + 3 * torch.randn(12), x[1] + torch.tensor([6.0] * 3 + [0.0] * 9)])
    explainer = SparsifiedSmoothGrad(GradientShap(model), tau=0.25)
    common = {
        "target": 0,
        "baselines": references,
        "attribution_kwargs": {"n_samples": 5, "stdevs": 0.0},
        "stdevs": 0.05,
    }
    exact = explainer.sample(x, nt_samples=3000, seed=99, covariance=False, **common)
    members = Certifier().top_k(exact, k=3, radius=0).top_k
    for seed in range(4):
        found = Certifier(explainer).certify(
            x, k=3, radius=0.0005, overlap=3, nt_samples=1024, covariance=64, seed=seed, **common
        )
        assert bool((found.overlap <= (members & found.top_k).sum(1)).all())
        torch.testing.assert_close(found.map.features, exact.features, atol=0.15, rtol=0)
