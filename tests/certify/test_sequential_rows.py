"""Rows of a sequential run stop when their result is decided, and their draws are those of a full run."""

import sys

import pytest
import torch
from captum.attr import DeepLiftShap, InputXGradient, IntegratedGradients, Saliency, ShapleyValueSampling
from looks import sampled_in_looks
from networks import GateNet, Watched, cnn, images
from sequential_runs import SHAPE, X, certified, explainer
from torchvision import transforms

from captum_certified import (
    Certifier,
    RelaxedSparsifiedSmoothGrad,
    SparsifiedSmoothGrad,
)
from captum_certified.maps import select_rows
from captum_certified.theory import look_level, look_sizes


def test_every_row_stops_when_it_is_decided():
    certificate = certified()
    assert set(certificate.stopped) == {"certified", "hopeless", "cap"}
    assert len(set(certificate.n_samples.tolist())) >= 3
    assert certificate.n_samples.tolist() == [64 * 2 ** (look - 1) for look in certificate.map.looks.tolist()]
    for stopped, overlap, draws in zip(
        certificate.stopped, certificate.overlap.tolist(), certificate.n_samples.tolist(), strict=True
    ):
        assert (stopped == "certified") == (overlap >= 9)
        assert stopped == "certified" or (draws == 1024) == (stopped == "cap")
    assert (certificate.asked_overlap, certificate.most_draws, certificate.confidence) == (9, 1024, 0.95)
    assert certificate.map.draws == tuple(((0, draws),) for draws in certificate.n_samples.tolist())


@pytest.mark.parametrize(
    ("settings", "stopped", "draws"),
    [
        ({"radius": 0.01, "overlap": 3}, "certified", 64),
        ({"radius": 0.01, "overlap": 12, "nt_samples": 200}, "cap", 200),
        ({"radius": 0.5, "overlap": 1.0}, "hopeless", 64),
        ({"radius": 5.0, "overlap": 1}, "hopeless", 64),
    ],
)
def test_all_rows_stop_for_the_same_reason(settings, stopped, draws):
    certificate = certified(**settings)
    assert set(certificate.stopped) == {stopped}
    assert set(certificate.n_samples.tolist()) == {draws}


def test_a_sequential_certificate_equals_a_certificate_at_the_level_of_its_look():
    certificate = certified()
    for row, (draws, look) in enumerate(
        zip(certificate.n_samples.tolist(), certificate.map.looks.tolist(), strict=True)
    ):
        fixed = explainer().sample(
            X, nt_samples=draws, nt_samples_batch_size=16, stdevs=0.1, seed=1, covariance=64, target=1
        )
        spent = Certifier(confidence=1 - look_level(0.05, look)).top_k(fixed, k=12, radius=0.1)
        assert int(certificate.overlap[row]) == int(spent.overlap[row])
        assert int(certificate.overlap[row]) <= int(Certifier().top_k(fixed, k=12, radius=0.1).overlap[row])
        assert torch.equal(certificate.map.feature_counts[row], fixed.feature_counts[row])
        torch.testing.assert_close(
            certificate.map.covariance.top_eigenvalue[row], fixed.covariance.top_eigenvalue[row], rtol=1e-12, atol=0
        )
        assert certificate.map.covariance.pairs[row] == fixed.covariance.pairs[row]


def assert_rows_agree(certificate, alone):
    """Assert that every row, with its statistics, equals the same row sampled alone."""
    for row, single in enumerate(alone):
        chosen = select_rows(certificate.map, torch.tensor([row]))
        assert (certificate.stopped[row], int(certificate.overlap[row])) == (single.stopped[0], int(single.overlap[0]))
        assert int(chosen.n_samples) == int(single.map.n_samples)
        assert torch.equal(chosen.features, single.map.features)
        assert torch.equal(chosen.plain, single.map.plain)
        for name, value in single.map.covariance.parts().items():
            assert torch.equal(chosen.covariance.parts()[name], value)
        for name, (_, shares) in single.map.regions.items():
            assert torch.equal(chosen.regions[name][1], shares)
        assert chosen.looks.tolist() == single.map.looks.tolist()
        assert chosen.draws == single.map.draws
        for key in ("inputs", "target", "class", "model"):
            assert chosen.setup[key] == single.map.setup[key]


def test_rows_of_a_batch_agree_with_rows_alone():
    certificate = certified()
    assert_rows_agree(certificate, [certified(X[row : row + 1]) for row in range(len(X))])


def test_remaining_rows_keep_their_arguments_groups_and_regions():
    generator = torch.Generator().manual_seed(2)
    groups = torch.stack([torch.randperm(48, generator=generator).view(SHAPE) // 2 for _ in X])
    region = torch.rand((len(X), *SHAPE), generator=generator) < 0.5
    region = region | (groups.unsqueeze(1) == groups.new_tensor([0, 1]).view(1, 2, 1, 1, 1)).any(dim=1)
    region = torch.stack([torch.isin(ids, ids[inside]) for ids, inside in zip(groups, region, strict=True)])
    baselines = torch.rand((len(X), *SHAPE), generator=generator, dtype=torch.float64)
    scales, targets = torch.tensor([[1.0], [2.0], [0.5], [1.0], [3.0], [1.0]], dtype=torch.float64), [0, 1, 2, 0, 1, 2]

    def of(rows):
        return certified(
            X[rows],
            of=explainer(method=IntegratedGradients),
            k=6,
            radius=0.1,
            groups=groups[rows],
            region={"some": region[rows]},
            target=targets[rows],
            baselines=baselines[rows],
            attribution_kwargs={"additional_forward_args": (scales[rows], 1.0)[:1], "n_steps": 3},
            nt_samples=512,
        )

    certificate = of(slice(None))
    assert len(set(certificate.n_samples.tolist())) >= 2
    assert_rows_agree(certificate, [of(slice(row, row + 1)) for row in range(len(X))])
    masses = Certifier().region(certificate.map, radius=0.01).mass
    for row in range(len(X)):
        single = of(slice(row, row + 1))
        assert float(Certifier().region(single.map, radius=0.01).mass) == float(masses[row])


def test_no_passes_are_made_for_finished_rows():
    model = Watched(GateNet(SHAPE))
    certificate = certified(of=explainer(model))
    draws = certificate.n_samples.tolist()
    looks = max(certificate.map.looks.tolist())
    # The other rows are the clean input, its copies and the probe draw. The clean input and the probe draw are repeated
    # for the remaining rows. Three passes look for dependence between rows, and one more follows each look. Once,
    # for all rows, the classes of 256 noisy copies are counted.
    once = (1 + 256) * len(X)
    assert sum(draws) < model.rows - once <= sum(draws) + (4 + 2 * looks) * len(X) + (3 + looks) * 16 * len(X)
    assert model.rows - once < len(X) * max(draws)


def test_passes_keep_the_number_of_draws_of_the_whole_batch():
    class Sized(GateNet):
        def forward(self, inputs, scale=1.0):
            sizes.append(len(inputs))
            return super().forward(inputs, scale)

    sizes = []
    certificate = certified(of=explainer(Sized(SHAPE)), nt_samples_batch_size=None)
    left = certificate.n_samples.tolist().count(1024)
    assert 0 < left < 4
    assert max(sizes) == 6 * (64 // 6)
    assert sizes[-1] == 6 * (64 // 6)  # an early pass, which is repeated at the end
    assert max(sizes[-30:-1]) == left * (64 // 6)
    assert certificate.map.setup["nt_samples_batch_size"] == 64 // 6


def test_reference_distributions_stay_whole_when_rows_are_left_out():
    # Two of four rows are left after the first look. There are also two references.
    seen = set()

    class Watching(DeepLiftShap):
        def attribute(self, inputs, baselines, **arguments):
            seen.add(len(baselines))
            return super().attribute(inputs, baselines, **arguments)

    method = Watching(cnn())
    explainer = SparsifiedSmoothGrad(method, tau=0.25)
    settings = {
        "baselines": images(2, seed=5),
        "stdevs": 0.3,
        "covariance": 8,
        "nt_samples_batch_size": 4,
        "seed": 1,
        "target": 1,
    }
    fixed = explainer.sample(images(4), nt_samples=16, **settings)
    answers = [torch.tensor([True, False, True, False]), torch.ones(4, dtype=torch.bool)]
    smoothed = sampled_in_looks(explainer, images(4), answers, [8, 16], **settings)
    assert smoothed.n_samples.tolist() == [8, 16, 8, 16]
    assert seen == {2}
    assert torch.equal(smoothed.feature_counts[[1, 3]], fixed.feature_counts[[1, 3]])


@pytest.mark.filterwarnings("ignore:In .* draws more than 1 %:UserWarning")  # by chance, in eight draws
def test_stochastic_methods_argmax_and_tuples_are_certified_sequentially():
    sampling = {"nt_samples": 8, "covariance": 4, "overlap": 1, "n_samples": 1, "seed": 5}
    shapley = certified(X[:2], of=explainer(method=ShapleyValueSampling), **sampling)
    assert shapley.map.setup["stochastic"]
    argmax = certified(X, target="argmax")
    assert argmax.map.setup["target"] == ["argmax"] * len(X)
    assert len(set(argmax.n_samples.tolist())) > 1
    pair = certified((X,))
    assert torch.equal(pair.overlap, certified().overlap)


@pytest.mark.parametrize("covariance", ["auto", True, False, 32])
def test_looks_fall_on_the_blocks_of_the_covariance(covariance):
    # The blocks of a 0/1 map have 2048 draws unless ``covariance`` is a number.
    certificate = certified(
        X[:1], of=explainer(method=InputXGradient), covariance=covariance, radius=0.0, overlap=12, nt_samples=5000
    )
    block = 32 if covariance == 32 else 2048
    assert certificate.n_samples.tolist() == [look_sizes(block, 5000)[int(certificate.map.looks) - 1]]
    assert (certificate.map.covariance is None) == (covariance is False)
    relaxed = RelaxedSparsifiedSmoothGrad(Saliency(GateNet(SHAPE)), tau=0.25, gamma=0.1)
    certificate = certified(X[:1], of=relaxed, covariance=False, radius=5.0, nt_samples=2100)
    assert certificate.n_samples.tolist() == [1024]


def test_a_cap_within_the_first_block_is_one_look():
    certificate = certified(nt_samples=50, radius=0.02)
    assert certificate.n_samples.tolist() == [50] * 6
    assert certificate.map.looks.tolist() == [1] * 6
    fixed = certified(nt_samples=50, radius=0.02, overlap=None)
    assert fixed.stopped is None
    assert fixed.map.looks is None
    assert bool((certificate.overlap <= fixed.overlap).all())
    spent = Certifier(confidence=0.975).top_k(fixed.map, k=12, radius=0.02)
    assert torch.equal(certificate.overlap, spent.overlap)


def test_a_cap_one_draw_beyond_a_block_keeps_the_covariance():
    certificate = certified(nt_samples=129, radius=0.0, overlap=12)
    assert certificate.map.covariance.pairs.tolist() == [64.0] * 6


def test_all_looks_share_one_fresh_seed():
    one, two = (certified(seed=None) for _ in range(2))
    assert isinstance(one.map.seed, int)
    assert one.map.seed != two.map.seed


def test_an_interrupt_is_raised_again():
    class Interrupted(GateNet):
        def forward(self, inputs, scale=1.0):
            self.calls = getattr(self, "calls", 0) + 1
            if self.calls == 40:
                raise KeyboardInterrupt
            return super().forward(inputs, scale)

    with pytest.raises(KeyboardInterrupt):
        certified(of=explainer(Interrupted(SHAPE)))


@pytest.mark.slow
def test_photograph_207_is_decided_after_one_block(shared_data):
    pil = pytest.importorskip("PIL.Image")
    sys.path.insert(0, str(shared_data))
    from models import load

    sys.path.remove(str(shared_data))
    prepare = transforms.Compose([transforms.Resize(256), transforms.CenterCrop(224), transforms.ToTensor()])
    [path] = (shared_data / "imagenet64").glob("207_*.JPEG")
    image = prepare(pil.open(path).convert("RGB")).unsqueeze(0)
    certificate = Certifier(SparsifiedSmoothGrad(Saliency(load("mobilenet_v1_075")), tau=0.1)).certify(
        image,
        k=0.2,
        radius=0.03,
        overlap=0.5,
        nt_samples=8192,
        nt_samples_batch_size=32,
        stdevs=0.2,
        seed=0,
        target="argmax",
    )
    print(f"\n{certificate}")
    assert certificate.stopped == ("certified",)
    assert int(certificate.n_samples) <= 2048
    assert certificate.bound == "best"
