"""Maps do not depend on the pass size or on other rows, and a run can be stopped and continued."""

import numpy as np
import pytest
import torch
from captum.attr import Saliency
from explainers import EXPLAINERS, sparsified
from networks import GateNet, cnn, images
from reference import sparsified_counts
from torch.testing import assert_close

from captum_certified import ScaledSmoothGrad, SmoothedMap, SparsifiedSmoothGrad
from captum_certified.sampling import make_noise

explainers = pytest.mark.parametrize("name", list(EXPLAINERS))
SHAPE = (3, 6, 6)
X = images(4, shape=SHAPE).float()


def exact(name="sparsified"):
    """Return an explainer whose arithmetic is exact: its sums have one term, and its factors are 1."""
    return EXPLAINERS[name].make(Saliency(GateNet(SHAPE)))


def assert_equal_maps(one, two, *, name):
    """Assert equality bit for bit; means of maps that are not 0/1 may differ by the order of their sums."""
    assert torch.equal(one.n_samples, two.n_samples)
    if EXPLAINERS[name].binary:
        assert torch.equal(one.feature_counts, two.feature_counts)
    else:
        assert_close(one.features, two.features, rtol=1e-13, atol=1e-16)
        assert_close(one.second_moment, two.second_moment, rtol=1e-13, atol=1e-16)
    assert one.provenance == two.provenance


@explainers
@pytest.mark.parametrize("pass_size", [1, 3, 64, 100, 1000])
@pytest.mark.parametrize("target", [1, "argmax"])
def test_maps_do_not_depend_on_the_pass_size(name, pass_size, target):
    settings = {"nt_samples": 130, "stdevs": 0.3, "seed": 11, "target": target}
    whole = exact(name).sample(X, **settings)
    parts = exact(name).sample(X, nt_samples_batch_size=pass_size, **settings)
    assert torch.equal(parts.features, whole.features)
    assert torch.equal(parts.second_moment, whole.second_moment) if whole.second_moment is not None else True


@explainers
def test_maps_do_not_depend_on_other_rows_or_on_the_position(name):
    settings = {"nt_samples": 40, "nt_samples_batch_size": 16, "stdevs": 0.3, "seed": 11, "target": 1}
    whole = exact(name).sample(X, **settings)
    flipped = exact(name).sample(X.flip(0), **settings)
    assert torch.equal(flipped.features.flip(0), whole.features)
    for row in range(4):
        assert torch.equal(exact(name).sample(X[row : row + 1], **settings).features[0], whole.features[row])


def test_ordinary_networks_differ_only_by_their_rounding():
    settings = {"nt_samples": 200, "stdevs": 0.3, "seed": 11, "target": "argmax"}
    one = SparsifiedSmoothGrad(Saliency(cnn()), tau=0.1).sample(images(2), nt_samples_batch_size=7, **settings)
    two = SparsifiedSmoothGrad(Saliency(cnn()), tau=0.1).sample(images(2), nt_samples_batch_size=64, **settings)
    # In float64 two gradients swap places when they agree to 15 digits, which is not to be expected here.
    assert torch.equal(one.feature_counts, two.feature_counts)


@pytest.mark.parametrize("name", ["sparsified", "sparsified .5"])
def test_counts_are_those_of_an_independent_loop(name):
    tau = EXPLAINERS[name].make(Saliency(GateNet(SHAPE))).tau
    net = GateNet(SHAPE)
    weights, thresholds = net.weights[1].numpy(), net.thresholds.numpy()
    sampled = exact(name).sample(X, nt_samples=150, stdevs=0.3, seed=11, target=1)
    noise = make_noise(SHAPE, seed=11, draws=range(150), tensor=0, dtype=torch.float32, device=X.device).numpy()
    for row, image in enumerate(X.numpy()):
        counts = sparsified_counts(
            lambda z: weights * (z.ravel() > thresholds), image, noise, sigma=np.float32(0.3), tau=tau
        )
        assert sampled.feature_counts[row].tolist() == counts.tolist()
        literal = sum(
            sparsified(tau)(np.abs(weights * ((image + np.float32(0.3) * e).ravel() > thresholds))) for e in noise
        )
        assert counts.tolist() == literal.tolist()


# -- stopping and continuing ---------------------------------------------------------------------------------


@explainers
@pytest.mark.parametrize("cut", [1, 16, 50, 99])
def test_two_runs_merged_equal_one(name, cut):
    settings = {"nt_samples_batch_size": 16, "stdevs": 0.3, "seed": 11, "target": "argmax"}
    whole = exact(name).sample(X, nt_samples=100, **settings)
    first = exact(name).sample(X, nt_samples=cut, **settings)
    second = exact(name).sample(X, nt_samples=100 - cut, first_draw=cut, **settings)
    merged = first.merge(second)
    assert_equal_maps(merged, whole, name=name)
    assert merged.setup == whole.setup
    assert torch.equal(merged.plain, whole.plain)
    assert_equal_maps(second.merge(first), whole, name=name)


@explainers
def test_a_stream_stopped_and_continued_equals_one_run(name, tmp_path):
    explainer = EXPLAINERS[name].make(Saliency(GateNet((6,))))
    x = X[:1, 0, 0]
    settings = {"nt_samples_batch_size": 100, "stdevs": 0.3, "seed": 11, "target": 1}
    whole = explainer.sample(x, nt_samples=4500, **settings)
    stream = explainer.stream(x, nt_samples=4500, **settings)
    stopped = next(stream)
    stream.close()
    stopped.save(tmp_path / "stopped.npz")
    kept = SmoothedMap.load(tmp_path / "stopped.npz")
    done = int(kept.n_samples[0])
    assert 0 < done < 4500
    rest = explainer.sample(x, nt_samples=4500 - done, first_draw=done, **settings)
    assert_equal_maps(kept.merge(rest), whole, name=name)


@pytest.mark.parametrize(("name", "block"), [("sparsified .5", 2048), ("scaled", 1024)])
def test_a_stream_gives_the_map_so_far_after_every_block(name, block):
    explainer = EXPLAINERS[name].make(Saliency(GateNet((6,))))
    x = X[:1, 0, 0]
    settings = {"nt_samples_batch_size": 100, "stdevs": 0.3, "seed": 11, "target": 1}
    maps = list(explainer.stream(x, nt_samples=4500, **settings))
    assert [int(m.n_samples[0]) for m in maps] == [*range(block, 4500, block), 4500]
    for smoothed_map in maps:
        alone = explainer.sample(x, nt_samples=int(smoothed_map.n_samples[0]), **settings)
        assert torch.equal(alone.features, smoothed_map.features)
        assert alone.draws == smoothed_map.draws


def test_a_stream_checks_its_arguments_before_it_is_read():
    with pytest.raises(ValueError, match="Expected `nt_samples`"):
        exact().stream(X, nt_samples=0, stdevs=0.1)


# -- seeds ---------------------------------------------------------------------------------------------------


def test_a_seed_fixes_the_map_and_none_draws_a_fresh_one():
    settings = {"nt_samples": 20, "stdevs": 0.3, "target": 1}
    one, two = exact().sample(X, seed=3, **settings), exact().sample(X, seed=3, **settings)
    assert torch.equal(one.features, two.features)
    assert not torch.equal(one.features, exact().sample(X, seed=4, **settings).features)
    torch.manual_seed(0)
    fresh = exact().sample(X, **settings)
    torch.manual_seed(0)
    other = exact().sample(X, **settings)
    assert fresh.seed != other.seed
    assert torch.equal(exact().sample(X, seed=fresh.seed, **settings).features, fresh.features)


def test_attribute_is_the_mean_of_sample():
    settings = {"nt_samples": 20, "stdevs": 0.3, "target": 1, "seed": 3}
    for name in EXPLAINERS:
        mean = exact(name).attribute(X, **settings)
        assert mean.dtype == X.dtype
        assert torch.equal(mean, exact(name).sample(X, **settings).mean.float())


def test_a_map_records_what_was_sampled():
    sampled = exact().sample(X, nt_samples=20, stdevs=0.3, target=[0, 1, 2, 0], seed=3, first_draw=5)
    assert sampled.draws == (((5, 25),),) * 4
    assert sampled.seed == 3
    assert sampled.stdevs == 0.3
    setup = sampled.setup
    assert (setup["class"], setup["tau"], setup["method"]) == ("SparsifiedSmoothGrad", 0.1, "Saliency")
    assert setup["target"] == [0, 1, 2, 0]
    assert len(set(setup["inputs"])) == 4
    assert setup["groups"] is None
    assert setup["device"] == "cpu"
    assert setup["versions"]["torch"] == torch.__version__
    assert sampled.max_squared_norm == 11


def test_maps_of_other_inputs_targets_or_settings_do_not_merge():
    base = {"nt_samples": 4, "stdevs": 0.3, "target": 1, "seed": 3}
    one = exact().sample(X, **base)
    others = {
        "inputs": exact().sample(X.flip(0), first_draw=4, **base),
        "target": exact().sample(X, first_draw=4, **{**base, "target": 2}),
        "tau": exact("sparsified .5").sample(X, first_draw=4, **base),
        "stdevs": exact().sample(X, first_draw=4, **{**base, "stdevs": 0.4}),
        "groups": exact().sample(X, first_draw=4, groups=torch.arange(108).reshape(1, *SHAPE), **base),
    }
    for what, other in others.items():
        with pytest.raises(ValueError, match=f"{what}|max_squared_norm"):
            one.merge(other)
    with pytest.raises(ValueError, match="distinct draws, got draws 0 to 3 of seed 3 in both"):
        one.merge(exact().sample(X, **base))
    with pytest.raises(ValueError, match="distinct draws, got draws 3 to 3 of seed 3 in both"):
        one.merge(exact().sample(X, first_draw=3, **base))
    assert one.merge(exact().sample(X, **{**base, "seed": 4})).n_samples.tolist() == [8] * 4


def test_scaled_maps_see_every_entry():
    # Every open gate contributes: a mean of zero would mean that it was never open.
    scaled = ScaledSmoothGrad(Saliency(GateNet(SHAPE))).sample(X, nt_samples=200, stdevs=1.0, target=1, seed=0)
    assert bool((scaled.features > 0).all())


# -- groups --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["sparsified .5", "scaled", "normalized"])
def test_groups_are_sums_of_magnitudes(name):
    net = GateNet(SHAPE)
    net.weights.copy_(net.weights.sign() * net.weights.abs().sqrt())  # sums of roots do not tie
    explainer = EXPLAINERS[name].make(Saliency(net))
    weights, thresholds = net.weights[1].double().numpy(), net.thresholds.numpy()
    ids = np.arange(108) % 13
    noise = make_noise(SHAPE, seed=3, draws=range(9), tensor=0, dtype=torch.float32, device=X.device).numpy()
    settings = {"nt_samples": 9, "stdevs": 0.3, "seed": 3, "target": 1}
    mask = torch.from_numpy(ids).reshape(1, *SHAPE) * 5 - 7  # any integers will do
    grouped = explainer.sample(X, groups=mask, **settings)
    channels = explainer.sample(X, groups="channels", **settings)
    assert grouped.features.shape == (4, 13)
    assert channels.features.shape == (4, 36)
    for row, image in enumerate(X.numpy()):
        sums, positions = np.zeros(13), np.zeros(36)
        for epsilon in noise:
            g = np.abs(weights * ((image + np.float32(0.3) * epsilon).ravel() > thresholds))
            sums += EXPLAINERS[name].literal(np.bincount(ids, weights=g))
            positions += EXPLAINERS[name].literal(g.reshape(3, 36).sum(axis=0))
        assert_close(grouped.features[row], torch.from_numpy(sums / 9), rtol=1e-6, atol=1e-9)
        assert_close(channels.features[row], torch.from_numpy(positions / 9), rtol=1e-6, atol=1e-9)
    assert torch.equal(grouped.mean.flatten(1), grouped.features[:, torch.from_numpy(ids)])
    assert torch.equal(channels.mean, channels.features.reshape(4, 1, 6, 6).expand(4, *SHAPE))


def test_autocast_of_the_caller_reaches_the_model_and_nothing_else():
    seen = set()

    class Seeing(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(6, 3)

        def forward(self, x):
            outputs = self.layer(x)
            seen.add(outputs.dtype)
            return outputs

    explainer, x = SparsifiedSmoothGrad(Saliency(Seeing().eval()), tau=0.5), torch.rand(1, 6)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        smoothed = explainer.sample(x, nt_samples=64, nt_samples_batch_size=8, stdevs=0.1, target=0, seed=0)
    assert seen == {torch.bfloat16}
    assert smoothed.mean.dtype == torch.float64
    assert int(smoothed.counts.sum()) == 64 * 3


def test_a_method_may_return_the_same_memory_in_every_pass():
    class Reusing(Saliency):
        """Saliency whose result is overwritten by the next call."""

        memory = None

        def attribute(self, inputs, **kwargs):
            fresh = super().attribute(inputs, **kwargs)
            if self.memory is None or self.memory.shape != fresh.shape:
                self.memory = torch.empty_like(fresh)
            return self.memory.copy_(fresh)

    model, x = GateNet((4000,)), torch.rand(1, 4000)
    settings = {"nt_samples": 200, "nt_samples_batch_size": 20, "stdevs": 0.3, "target": 0, "seed": 0}
    expected, found = (
        SparsifiedSmoothGrad(method(model), tau=0.2).sample(x, **settings) for method in (Saliency, Reusing)
    )
    assert torch.equal(expected.counts, found.counts)
