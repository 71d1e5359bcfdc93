"""Sequential certification: sound however the data decide to stop, and never more than the work that is needed."""

import dataclasses
import functools
import re
import sys

import numpy as np
import pytest
import torch
from captum.attr import DeepLiftShap, InputXGradient, IntegratedGradients, Saliency, ShapleyValueSampling
from ensembles import HalfSpaces, incoherent, least_overlap, rivals
from networks import GateNet, Watched, cnn, images
from scipy.special import ndtri
from scipy.stats import binom
from spectral_ensembles import summarised
from torchvision import transforms

from captum_certified import (
    Certificate,
    CertificationError,
    Certifier,
    InvalidInputError,
    RelaxedSparsifiedSmoothGrad,
    SmoothedMap,
    SparsifiedSmoothGrad,
)
from captum_certified.certify import agrees, recompute, row_levels
from captum_certified.certify.forecast import Outlook, outlook
from captum_certified.certify.sequential import Goal, at_look, sampled_in_looks
from captum_certified.maps import select_rows
from captum_certified.runs import verify, write_result
from captum_certified.theory import look_level, look_sizes

REPETITIONS = 2000
SHAPE = (3, 4, 4)
X = images(6, shape=SHAPE)


# -- the guarantee, by repetition ----------------------------------------------------------------------------------


class Repetitions:
    """Runs of one ensemble as the rows of a batch, each with draws of its own."""

    def __init__(self, exact: HalfSpaces, sizes: list[int], *, covariance: bool = False, seed: int = 0):
        rng, self.exact, self.segments = np.random.default_rng(seed), exact, {}
        for start, stop in zip([0, *sizes], sizes, strict=False):
            if len(exact.offsets) > 2:
                draws = exact.draws(REPETITIONS, stop - start, rng)
                counts, summary = draws.sum(axis=1), summarised(draws, block=sizes[0]) if covariance else None
            else:  # two rivals: one is on whenever the other is off
                first = rng.binomial(stop - start, exact.population(exact.x[None])[0, 0], REPETITIONS)
                counts, summary = np.stack([first, stop - start - first], axis=1), None
            self.segments[start, stop] = SmoothedMap.from_counts(
                torch.from_numpy(counts.astype(np.int64)),
                n_samples=stop - start,
                stdevs=exact.sigma,
                covariance=summary,
            )

    def __call__(self, draws: range, rows: torch.Tensor | None = None) -> SmoothedMap:
        whole = self.segments[draws.start, draws.stop]
        return whole if rows is None else select_rows(whole, rows)


def failures_of_rivals(alpha):
    """How often it is certified, at any look, that the first of two rivals stays: at this radius it is false."""
    exact, sizes = rivals(h=0.8), look_sizes(4, 2**18)
    radius = exact.sigma * float(ndtri(0.8)) * (1 + 1e-9)
    goal = Goal(Certifier(bound="clopper_pearson", confidence=1 - alpha), k=1, radius=radius, overlap=1, sizes=sizes)
    smoothed_map = sampled_in_looks(Repetitions(exact, sizes), goal)
    first = smoothed_map.feature_counts[:, 0] * 2 > smoothed_map.n_samples
    certified = goal.certifier.top_k(smoothed_map, k=1, radius=radius).overlap == 1
    return int((certified & first).sum())


@pytest.mark.parametrize("alpha", [0.05, 0.2, 0.5])
def test_a_false_claim_is_certified_no_more_often_than_promised(alpha):
    assert binom.sf(failures_of_rivals(alpha) - 1, REPETITIONS, alpha) >= 1e-6


def test_looking_again_at_the_full_level_breaks_the_promise(monkeypatch):
    monkeypatch.setattr(row_levels, "look_level", lambda alpha, look: alpha)
    assert binom.sf(failures_of_rivals(0.2) - 1, REPETITIONS, 0.2) < 1e-6


@functools.cache
def incoherent_runs(*, block, most, covariance):
    return Repetitions(incoherent(), look_sizes(block, most), covariance=covariance)


@pytest.mark.parametrize("bound", ["best", "spectral", "clopper_pearson", "theorem2"])
@pytest.mark.parametrize("overlap", [0.3, 0.8])
def test_no_input_changes_more_than_was_certified_when_it_stopped(bound, overlap):
    runs, radius, k = incoherent_runs(block=128, most=1024, covariance=bound in ("best", "spectral")), 0.05, 8
    certifier = Certifier(bound=bound, confidence=0.8, violations=0)
    goal = Goal(certifier, k=k, radius=radius, overlap=overlap, sizes=look_sizes(128, 1024))
    smoothed_map = sampled_in_looks(runs, goal)
    certificate = certifier.top_k(smoothed_map, k=k, radius=radius)
    population = runs.exact.population(runs.exact.adversaries(k, radius, np.random.default_rng(1)))
    failures = int((least_overlap(population, certificate.top_k.numpy()) < certificate.overlap.numpy()).sum())
    assert binom.sf(failures - 1, REPETITIONS, 0.2) >= 1e-6
    if overlap == 0.3:
        assert bool((certificate.overlap > 0).any())


@pytest.mark.parametrize(
    ("radius", "overlap", "covariance", "given_up"),
    [(0.1, 0.75, False, False), (0.15, 0.625, False, False), (0.2, 0.75, False, True), (0.1, 0.75, True, False)],
)
def test_what_is_given_up_would_hardly_have_been_certified(radius, overlap, covariance, given_up, monkeypatch):
    runs, sizes = incoherent_runs(block=128, most=1024, covariance=covariance), look_sizes(128, 1024)
    goal = Goal(Certifier(confidence=0.9), k=8, radius=radius, overlap=overlap, sizes=sizes)
    smoothed_map = sampled_in_looks(runs, goal)
    with_forecasts = goal.certified(smoothed_map)
    assert bool((~with_forecasts & (smoothed_map.n_samples < 1024)).any()) == given_up
    monkeypatch.setattr(Goal, "hopeless", lambda self, part: torch.zeros(len(part), dtype=torch.bool))
    without = goal.certified(sampled_in_looks(runs, goal))
    assert not bool((with_forecasts & ~without).any())
    assert int((without & ~with_forecasts).sum()) <= REPETITIONS // 1000


# -- when rows stop ------------------------------------------------------------------------------------------------


def explainer(model=None, method=Saliency):
    return SparsifiedSmoothGrad(method(model or GateNet(SHAPE)), tau=0.25)


def certified(x=X, *, of=None, certifier=None, **settings):
    defaults = {
        "k": 12,
        "radius": 0.1,
        "overlap": 0.75,
        "nt_samples": 1024,
        "nt_samples_batch_size": 16,
        "stdevs": 0.1,
        "seed": 1,
        "covariance": 64,
        "target": 1,
    }
    return Certifier(of or explainer(), **(certifier or {})).certify(x, **{**defaults, **settings})


def test_every_row_stops_when_its_answer_is_known():
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
def test_one_way_to_stop(settings, stopped, draws):
    certificate = certified(**settings)
    assert set(certificate.stopped) == {stopped}
    assert set(certificate.n_samples.tolist()) == {draws}


def test_a_sequential_certificate_is_that_of_its_draws_at_the_level_of_its_look():
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
    """Every row is what it is alone, statistics and all."""
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


def test_rows_take_their_own_arguments_groups_and_regions_along():
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


def test_finished_rows_cost_no_more_model_time():
    model = Watched(GateNet(SHAPE))
    certificate = certified(of=explainer(model))
    draws = certificate.n_samples.tolist()
    looks = max(certificate.map.looks.tolist())
    # The clean input, its copies and the probe draw, the first and the last anew for the rows that go on; three passes
    # that look for other rows, and one more after every look.
    assert sum(draws) < model.rows <= sum(draws) + (4 + 2 * looks) * len(X) + (3 + looks) * 16 * len(X)
    assert model.rows < len(X) * max(draws)


def test_passes_keep_the_size_that_the_batch_gave_them():
    class Sized(GateNet):
        def forward(self, inputs, scale=1.0):
            sizes.append(len(inputs))
            return super().forward(inputs, scale)

    sizes = []
    certificate = certified(of=explainer(Sized(SHAPE)), nt_samples_batch_size=None)
    left = certificate.n_samples.tolist().count(1024)
    assert 0 < left < 4
    assert max(sizes) == 6 * (64 // 6)
    assert sizes[-1] == 6 * (64 // 6)  # an early pass, once more
    assert max(sizes[-30:-1]) == left * (64 // 6)
    assert certificate.map.setup["nt_samples_batch_size"] == 64 // 6


def test_reference_distributions_stay_whole_when_rows_are_left_out():
    # Of four rows two are left after the first look: as many as references.
    seen = set()

    class Watching(DeepLiftShap):
        def attribute(self, inputs, baselines, **arguments):
            seen.add(len(baselines))
            return super().attribute(inputs, baselines, **arguments)

    method = Watching(cnn())
    settings = {
        "of": SparsifiedSmoothGrad(method, tau=0.25),
        "baselines": images(2, seed=5),
        "k": 40,
        "radius": 0.05,
        "stdevs": 0.3,
        "covariance": 8,
        "nt_samples": 16,
        "nt_samples_batch_size": 4,
    }
    fixed = settings["of"].sample(
        images(4), nt_samples=16, nt_samples_batch_size=4, stdevs=0.3, seed=1, target=1, baselines=images(2, seed=5)
    )
    drop = [torch.tensor([True, False, True, False]), torch.ones(4, dtype=torch.bool)]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("captum_certified.certify.sequential.Goal.done", lambda _, part: drop.pop(0)[: len(part)])
        certificate = certified(images(4), overlap=1, **settings)
    assert certificate.n_samples.tolist() == [8, 16, 8, 16]
    assert seen == {2}
    assert torch.equal(certificate.map.feature_counts[[1, 3]], fixed.feature_counts[[1, 3]])


@pytest.mark.filterwarnings("ignore:In .* draws more than 1 %:UserWarning")  # by chance, in eight draws
def test_stochastic_methods_and_argmax_and_tuples_take_part():
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
    # 2048 draws of a 0/1 map, whatever the covariance, unless its blocks are given.
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


def test_without_a_seed_one_is_drawn_for_all_looks():
    one, two = (certified(seed=None) for _ in range(2))
    assert isinstance(one.map.seed, int)
    assert one.map.seed != two.map.seed


def test_an_interruption_is_passed_on():
    class Interrupted(GateNet):
        def forward(self, inputs, scale=1.0):
            self.calls = getattr(self, "calls", 0) + 1
            if self.calls == 40:
                raise KeyboardInterrupt
            return super().forward(inputs, scale)

    with pytest.raises(KeyboardInterrupt):
        certified(of=explainer(Interrupted(SHAPE)))


# -- every later certificate from the map --------------------------------------------------------------------------


STATEMENTS = {
    "curve": lambda c, m: c.top_k_curve(m, k=10, radii=[0.0, 0.02, 0.05]),
    "radius": lambda c, m: c.radius(m, k=10, overlap=4),
    "rank": lambda c, m: c.rank(m, radius=0.01).feature_rank,
    "fresh ranks": lambda c, m: c.rank(m, radius=0.01, fresh_draws=5000).feature_rank,
    "fresh": lambda c, m: c.top_k(m, k=10, radius=0.01, fresh_draws=5000).overlap,
    "median rank": lambda c, m: c.median_rank(m, radius=0.01).feature_rank,
    "selected": lambda c, m: c.selection(m, radius=0.01).feature_selected,
    "selection radius": lambda c, m: c.selection(m, radius=0.01).feature_radius,
    "region": lambda c, m: c.region(m, radius=0.01).mass,
    "distance": lambda c, m: c.distance(m, radius=0.01).l2,
    "cosine": lambda c, m: c.distance(m, radius=0.01).cosine,
    "forecast": lambda c, m: c.forecast(m, k=10, radius=0.01, nt_samples=4000),
    "table of ranks": lambda c, m: torch.tensor(c.top_k(m, k=10, radius=0.01).columns()["rank"]).view(len(m), -1),
    "table of ends": lambda c, m: torch.tensor(c.rank(m, radius=0.01).columns()["lower"]).view(len(m), -1),
    "table of selection": lambda c, m: torch.tensor(c.selection(m, radius=0.01).columns()["upper"]).view(len(m), -1),
    "table of radii": lambda c, m: torch.tensor(c.top_k(m, k=10, radius=0.01).columns()["radius"]).view(len(m), -1),
}


@pytest.fixture(scope="module")
def of_several_looks():
    """A certificate whose rows were ended by several looks, with a region."""
    return certified(region=torch.arange(48).view(1, *SHAPE) < 20)


@pytest.mark.parametrize("name", list(STATEMENTS))
@pytest.mark.parametrize("bound", ["best", "clopper_pearson"])
def test_every_method_spends_the_level_of_each_row_s_look(name, bound, of_several_looks):
    smoothed_map, state = of_several_looks.map, STATEMENTS[name]
    found = state(Certifier(bound=bound, confidence=0.9), smoothed_map)
    full = state(Certifier(bound=bound, confidence=0.9), dataclasses.replace(smoothed_map, looks=None))
    for row, look in enumerate(smoothed_map.looks.tolist()):
        alone = dataclasses.replace(select_rows(smoothed_map, torch.tensor([row])), looks=None)
        spent = state(Certifier(bound=bound, confidence=1 - look_level(1 - 0.9, look)), alone)
        torch.testing.assert_close(found[row], spent[0], rtol=1e-9, atol=0)
    if found.is_floating_point():
        assert not torch.equal(found, full)


def test_rows_with_a_fixed_number_of_draws_keep_the_full_level(of_several_looks):
    fixed = certified(overlap=None, region=torch.arange(48).view(1, *SHAPE) < 20)
    both = SmoothedMap.stack([fixed.map, of_several_looks.map])
    assert both.looks.tolist() == [0] * 6 + of_several_looks.map.looks.tolist()
    overlap = Certifier().top_k(both, k=12, radius=0.1).overlap
    assert torch.equal(overlap, torch.cat([fixed.overlap, of_several_looks.overlap]))
    masses = [Certifier().region(m, radius=0.01).mass for m in (both, fixed.map, of_several_looks.map)]
    assert torch.equal(masses[0], torch.cat(masses[1:]))


def test_maps_of_sequential_runs_are_not_merged(of_several_looks):
    more = certified(overlap=None, region=torch.arange(48).view(1, *SHAPE) < 20, seed=9).map
    message = r"Expected maps whose numbers of draws were fixed beforehand, got one of a sequential run"
    for one, two in ((of_several_looks.map, more), (more, of_several_looks.map)):
        with pytest.raises(InvalidInputError, match=message):
            one.merge(two)


def test_certificates_say_how_they_stopped(of_several_looks):
    record = of_several_looks.to_dict()
    assert record["stopped"] == list(of_several_looks.stopped)
    assert record["looks"] == of_several_looks.map.looks.tolist()
    assert (record["asked_overlap"], record["most_draws"]) == (9, 1024)
    for text in (repr(of_several_looks), of_several_looks._repr_html_()):
        assert "(9 asked for: hopeless)" in text
    fixed = certified(overlap=None)
    assert "asked" not in repr(fixed)
    assert [fixed.to_dict()[name] for name in ("stopped", "looks", "asked_overlap", "most_draws")] == [None] * 4


def test_files_keep_it_and_verify(of_several_looks, tmp_path):
    of_several_looks.save(tmp_path / "c.npz")
    loaded = Certificate.load(tmp_path / "c.npz")
    assert loaded.to_dict(arrays=True) == of_several_looks.to_dict(arrays=True)
    for name, (_, shares) in loaded.map.regions.items():
        torch.testing.assert_close(shares, of_several_looks.map.regions[name][1], rtol=0, atol=0, equal_nan=True)
    assert agrees(loaded)
    assert recompute(loaded).stopped == of_several_looks.stopped
    assert verify(tmp_path / "c.npz").agrees
    later = Certifier(bound="kl").rank(loaded.map, radius=0.01)
    later.save(tmp_path / "r.npz")
    assert agrees(Certificate.load(tmp_path / "r.npz"))


def test_results_of_one_example_verify_and_a_forgotten_look_does_not(tmp_path):
    one = certified(X[:1], radius=0.05, overlap=0.8)
    assert int(one.map.looks) > 1
    assert verify(write_result(tmp_path / "one.json", one, X[:1])).agrees
    text = (tmp_path / "one.json").read_text()
    looks = rf'"looks": \[\s*{int(one.map.looks)}\s*\]'
    assert re.search(looks, text)
    (tmp_path / "one.json").write_text(re.sub(looks, '"looks": [1]', text))
    assert any("looks" in difference for difference in verify(tmp_path / "one.json").differences)


@pytest.mark.parametrize("looks", [torch.tensor([-1, 1]), torch.tensor([1]), torch.tensor([0.5, 1.0])])
def test_files_with_impossible_looks_are_refused(looks, tmp_path):
    smoothed_map = SmoothedMap.from_counts(torch.tensor([[3, 1], [2, 2]]), n_samples=4, stdevs=0.1)
    dataclasses.replace(smoothed_map, looks=looks).save(tmp_path / "map.npz")
    with pytest.raises(CertificationError.__mro__[1], match="`looks` does not fit"):
        SmoothedMap.load(tmp_path / "map.npz")


# -- refusals ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("overlap", [0, -1, 13, 0.0, 1.5, True, "half", float("nan")])
def test_overlaps_are_refused_before_sampling(overlap):
    with pytest.raises(InvalidInputError, match=r"Expected `overlap` to be a number of features from 1 to 12, or"):
        certified(of=explainer(Watched(GateNet(SHAPE), fails_at=1)), overlap=overlap)


def test_an_overlap_of_none_is_refused_without_a_number_that_says_nothing():
    message = r"Expected `overlap` to be a number of features from 1, or a fraction of them in \(0, 1\], got 0\."
    with pytest.raises(InvalidInputError, match=message):
        certified(of=explainer(Watched(GateNet(SHAPE), fails_at=1)), k=0.2, overlap=0)


def test_an_overlap_beyond_a_fraction_of_features_is_refused_after_the_first_look():
    model = Watched(GateNet(SHAPE))
    with pytest.raises(InvalidInputError, match=r"Expected `overlap` to be a number of features from 1 to 10, or"):
        certified(of=explainer(model), k=0.2, overlap=11)
    # One block, the clean input and its copies, the probe draw and the four passes of the probe.
    assert model.rows == (64 + 4 + 4 * 16) * len(X)


@pytest.mark.parametrize("nt_samples", [2.5, "many", None, True, 0, -5])
def test_caps_are_refused(nt_samples):
    with pytest.raises((InvalidInputError, CertificationError), match=r"nt_samples|at least 2 draws"):
        certified(nt_samples=nt_samples)


@pytest.mark.parametrize("covariance", ["yes", 1, 0.5])
def test_covariances_are_refused(covariance):
    with pytest.raises(InvalidInputError, match=r"Expected `covariance` to be"):
        certified(covariance=covariance)


def test_looks_start_at_the_first_draw():
    with pytest.raises(InvalidInputError, match=r"Expected no `first_draw` with `overlap`, got 64: its looks count"):
        certified(first_draw=64)


def test_sequential_runs_refuse_what_sampling_refuses():
    with pytest.raises(CertificationError, match="no noise"):
        certified(stdevs=0.0)
    with pytest.raises(InvalidInputError, match="Expected a Certifier with an `attribution_method`"):
        Certifier().certify(X, k=1, radius=0.1, overlap=1, nt_samples=8, stdevs=0.1)
    with pytest.raises(CertificationError, match=r"`bound`='spectral' does not apply"):
        certified(certifier={"bound": "spectral"}, covariance=False)


# -- the outlook ---------------------------------------------------------------------------------------------------


def test_the_outlook_after_the_first_look_is_said_once(capsys):
    certified(show_progress=True)
    said = [line for line in capsys.readouterr().err.replace("\r", "\n").splitlines() if "forecast" in line]
    assert len(said) == 1
    pattern = (
        r"forecast after 64 draws: ~0\.\d\d to \d\.\d\d of the top set at 1024 draws \(asked 0\.75\); about \d+ s left"
    )
    assert re.fullmatch(pattern, said[0])
    certified()
    certified(radius=0.01, overlap=1, show_progress=True)
    assert "forecast" not in capsys.readouterr().err


def test_the_outlook_is_of_the_forecasts():
    smoothed_map = explainer().sample(X, nt_samples=64, stdevs=0.1, seed=1, covariance=64, target=1)
    certifier = Certifier()
    goal = Goal(certifier, k=12, radius=0.03, overlap=10, sizes=look_sizes(64, 1000))
    seen = outlook(smoothed_map, goal, seconds=6.0, rows=12)
    promised = {
        look: certifier.forecast(at_look(smoothed_map, look), k=12, radius=0.03, nt_samples=size).tolist()
        for look, size in enumerate(goal.sizes, start=1)
    }
    needed = [
        next((goal.sizes[look - 1] for look in (2, 3, 4) if promised[look][row] >= 10), 1000) for row in range(len(X))
    ]
    assert len(set(needed)) > 1
    assert seen.draws_left == sum(needed) - 64 * 6
    assert seen.seconds_left == pytest.approx(6.0 * seen.draws_left / (64 * 12))
    assert (seen.least, seen.most) == (min(promised[5]) / 12, max(promised[5]) / 12)
    assert (seen.draws, seen.most_draws, seen.asked) == (64, 1000, 10 / 12)


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.2, "1 s"), (89.0, "89 s"), (100.0, "2 min"), (5000.0, "83 min"), (9000.0, "2.5 h")]
)
def test_the_outlook_reads_as_promised(seconds, words):
    seen = Outlook(draws=2048, most_draws=8192, asked=0.5, least=0.62, most=0.62, draws_left=6144, seconds_left=seconds)
    assert str(seen) == (
        f"forecast after 2048 draws: ~0.62 of the top set at 8192 draws (asked 0.50); about {words} left"
    )


# -- a trained network ---------------------------------------------------------------------------------------------


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
