"""The yardsticks: maps and counts that say what a certificate is worth."""

import pytest
import torch
from captum.attr import FeatureAblation, LayerActivation, LayerGradCam, Saliency
from networks import cnn, images
from torch import nn

from captum_certified import Certifier, SmoothedMap, SparsifiedSmoothGrad, Upsampled
from captum_certified.attr.reinitialised import can_reinitialise, reinitialised

X = torch.rand(3, 12, generator=torch.Generator().manual_seed(3))


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(12, 16), nn.Tanh(), nn.Linear(16, 3)).eval()


def sampled(model, x=X, method=Saliency, **given):
    settings = {"nt_samples": 64, "stdevs": 0.3, "target": 0, "seed": 0, **given}
    return SparsifiedSmoothGrad(method(model), tau=0.25).sample(x, **settings)


# -- re-initialised weights ------------------------------------------------------------------------------------


def test_new_weights_are_independent_of_the_old_ones_and_the_old_ones_come_back():
    model = network()
    before, old = dict(model.named_parameters()), model(X).detach()
    with reinitialised([model], seed=1):
        assert not torch.equal(model(X), old)
        assert all(model.get_parameter(name) is not p for name, p in before.items())
        one = model(X).detach()
    assert all(model.get_parameter(name) is p for name, p in before.items())
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3)
    with reinitialised([model], seed=1):
        assert torch.equal(model(X), one)  # the new weights say nothing of the old ones
    with reinitialised([model], seed=2):
        assert not torch.equal(model(X), one)


def test_old_weights_come_back_after_an_error():
    model = network()
    before = list(model.parameters())
    with pytest.raises(ZeroDivisionError), reinitialised([model], seed=1):
        1 / 0  # noqa: B018
    assert all(now is then for now, then in zip(model.parameters(), before, strict=True))


def test_a_graph_of_the_caller_is_not_disturbed():
    model = network()
    loss = model(X).square().sum()
    sampled(model)
    loss.backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_running_statistics_shared_weights_and_free_parameters_are_new_too():
    class Mixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = nn.BatchNorm1d(12)
            self.one = nn.Linear(12, 12)
            self.two = nn.Linear(12, 12)
            self.two.weight = self.one.weight
            self.scale = nn.Parameter(torch.arange(12.0))

        def forward(self, x):
            return self.two(self.one(self.norm(x))) * self.scale

    model = Mixed()
    model(5 + torch.randn(64, 12))
    model.eval()
    mean = model.norm.running_mean.clone()
    with reinitialised([model], seed=0):
        assert float(model.norm.running_mean.abs().max()) == 0
        assert model.two.weight is model.one.weight
        assert sorted(model.scale.tolist()) == list(range(12))
        assert model.scale.tolist() != list(range(12))
    assert torch.equal(model.norm.running_mean, mean)


def test_global_generators_are_untouched():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    with reinitialised([network()], seed=0):
        pass
    torch.manual_seed(5)
    sampled(network())
    torch.manual_seed(5)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.filterwarnings("ignore:.*torch.jit")
def test_scripted_models_and_models_without_weights_have_none():
    scripted = torch.jit.trace(network(), X)
    assert not can_reinitialise([scripted])
    assert sampled(scripted).randomised is None
    [first, *_] = Certifier().top_k(sampled(scripted), k=3, radius=0.01, reference="plain").summaries()
    assert "% by brightness, random weights unknown: margin " in first
    assert sampled(lambda x: x.square()).randomised is None


def test_randomised_maps_are_plain_maps_of_five_copies():
    model = network()
    table = sampled(model).randomised
    assert table.shape == (3, 5, 12)
    assert len({tuple(row.tolist()) for row in table[0]}) == 5
    other = network()
    with torch.no_grad():
        other[0].weight.mul_(-2)
    assert torch.equal(sampled(other).randomised, table)  # training does not matter
    assert torch.equal(sampled(model, seed=7).randomised, table)  # nor does the seed of the noise


def test_a_model_that_cannot_run_on_new_weights_is_certified_all_the_same():
    class Particular(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = network()
            self.known = [self.inner[0].weight]

        def forward(self, x):
            if self.inner[0].weight is not self.known[0]:
                raise KeyError("another model")
            return self.inner(x)

    smoothed = sampled(Particular())
    assert smoothed.randomised is None
    assert smoothed.class_kept is not None


# -- brightness ------------------------------------------------------------------------------------------------


def test_brightness_is_the_magnitude_of_the_input():
    assert torch.equal(sampled(network(), -X).brightness, X)
    model, x = cnn(), images(2)
    assert torch.allclose(sampled(model, x, groups="channels").brightness, x.abs().sum(dim=1).reshape(2, -1).float())


def test_a_map_of_one_channel_at_the_input_s_resolution_has_a_brightness():
    model, x = cnn(), images(2)
    layer = next(part for part in model.modules() if isinstance(part, nn.Conv2d))
    upsampled = SparsifiedSmoothGrad(Upsampled(LayerGradCam(model, layer)), tau=0.25)
    smoothed = upsampled.sample(x, nt_samples=8, stdevs=0.3, target=0)
    assert torch.allclose(smoothed.brightness, x.abs().sum(dim=1).reshape(2, -1).float())
    coarse = SparsifiedSmoothGrad(LayerActivation(model, layer), tau=0.25)
    assert coarse.sample(x, nt_samples=8, stdevs=0.3).brightness is None


# -- classes of noisy copies -----------------------------------------------------------------------------------


def test_class_kept_counts_noisy_copies_with_the_clean_class():
    # The class of x is whether its first entry is positive; noise of σ changes it with probability Φ(−x/σ).
    def sign(x):
        return torch.stack([x[:, 0], -x[:, 0]], dim=1)

    x = torch.tensor([[3.0, 1.0], [0.0, 1.0], [-0.5, 1.0]])
    smoothed = sampled(sign, x, stdevs=1.0, nt_samples=1000)
    assert smoothed.class_votes[:, 1].tolist() == [256] * 3
    assert smoothed.class_kept.tolist() == pytest.approx([0.9987, 0.5, 0.6915], abs=0.1)
    assert sampled(sign, x, nt_samples=32).class_votes[:, 1].tolist() == [32] * 3


@pytest.mark.parametrize(
    "outputs", [lambda x: x.square().sum(dim=1), lambda x: x[:, :1].square(), lambda x: x.reshape(-1, 3, 4).square()]
)
def test_outputs_that_are_not_scores_of_classes_have_none(outputs):
    target = (0, 0) if outputs(X).dim() == 3 else None if outputs(X).dim() == 1 else 0
    assert sampled(outputs, target=target).class_kept is None


def test_votes_do_not_depend_on_the_pass_and_differ_between_seeds():
    votes = [sampled(network(), nt_samples_batch_size=size, stdevs=3.0).class_votes for size in (1, 7, 64)]
    assert all(torch.equal(votes[0], other) for other in votes)
    seeds = {tuple(sampled(network(), seed=seed, stdevs=3.0).class_votes[:, 0].tolist()) for seed in range(6)}
    assert len(seeds) > 1


def test_the_votes_of_a_merged_map_do_not_depend_on_the_order():
    one, two = (sampled(network(), seed=seed) for seed in (0, 1))
    assert torch.equal(one.merge(two).class_votes, two.merge(one).class_votes)
    parts = [sampled(network(), nt_samples=32, first_draw=first) for first in (0, 32)]
    assert torch.equal(parts[0].merge(parts[1]).class_votes, parts[0].class_votes)


def test_all_of_it_survives_files_stacking_and_selection(tmp_path):
    smoothed = sampled(network())
    smoothed.save(tmp_path / "map.npz")
    loaded = SmoothedMap.load(tmp_path / "map.npz")
    stacked = SmoothedMap.stack([smoothed, smoothed])
    for name in ("brightness", "randomised", "class_votes"):
        assert torch.equal(getattr(loaded, name), getattr(smoothed, name))
        assert len(getattr(stacked, name)) == 6


def test_perturbation_methods_have_all_of_it():
    smoothed = sampled(network(), method=FeatureAblation, nt_samples=8)
    assert smoothed.randomised.shape == (3, 5, 12)
    assert smoothed.class_votes[:, 1].tolist() == [8] * 3
