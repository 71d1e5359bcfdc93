"""The covariance that the sampling loop takes, compared with the covariance of single draws."""

import itertools

import numpy as np
import pytest
import torch
from captum.attr import Saliency
from networks import GateNet, images
from spectral_ensembles import summarised
from torch import nn
from torch.testing import assert_close

from captum_certified import (
    CertificationError,
    Certifier,
    CovarianceSummary,
    InvalidInputError,
    NormalizedSmoothGrad,
    ScaledSmoothGrad,
    SmoothedMap,
    SparsifiedSmoothGrad,
    sample_many,
)
from captum_certified.attr.per_draw_maps import Sparsified
from captum_certified.maps import FeatureLayout
from captum_certified.sampling.block_covariance import BlockCovariance
from captum_certified.sampling.collector import MOST_AUTOMATIC_BYTES, MapCollector

SHAPE = (3, 4, 4)
SETTINGS = {"stdevs": 0.3, "seed": 5, "target": 1}


@pytest.fixture
def x():
    return images(2, shape=SHAPE)


def method():
    return Saliency(GateNet(SHAPE).double())


def explainers(around=None):
    around = around or method()
    return {"sparsified": SparsifiedSmoothGrad(around, tau=0.2), "normalized": NormalizedSmoothGrad(around)}


kinds = pytest.mark.parametrize("kind", ["sparsified", "normalized"])


def draws_one_by_one(explainer, x, numbers):
    """Return the per-draw maps as means of single draws, shape (rows, draws, n)."""
    singles = [explainer.sample(x, nt_samples=1, first_draw=i, **SETTINGS).features.numpy() for i in numbers]
    return np.stack(singles, axis=1)


def assert_same_covariance(one, two, *, rtol=0.0):
    assert torch.equal(one.pairs, two.pairs)
    for name, part in one.parts().items():
        assert_close(part, getattr(two, name), rtol=rtol, atol=0)


@kinds
@pytest.mark.parametrize(("first", "draws", "block"), [(0, 12, 4), (0, 11, 4), (3, 10, 4), (2, 3, 7), (1022, 6, 5)])
def test_a_run_keeps_the_covariance_of_its_blocks(x, kind, first, draws, block):
    explainer = explainers()[kind]
    sampled = explainer.sample(x, nt_samples=draws, first_draw=first, covariance=block, **SETTINGS)
    each = draws_one_by_one(explainer, x, range(first, first + draws))
    cuts = sorted({first, first + draws, *range(first - first % block + block, first + draws, block)})
    blocks = [each[:, a - first : b - first] for a, b in itertools.pairwise(cuts)]
    pairs = np.array([part.shape[1] // 2 for part in blocks])
    assert sampled.covariance.pairs.tolist() == [pairs.sum()] * 2
    kept = [summarised(part, block=block) for part in blocks if part.shape[1] > 1]
    for name in ("top_eigenvalue", "frobenius_norm", "fourth_moment"):
        expected = np.average([getattr(part, name) for part in kept], axis=0, weights=pairs[pairs > 0])
        # Draws of float64 are kept in float32 inside a block.
        assert_close(getattr(sampled.covariance, name), torch.from_numpy(expected), rtol=1e-6, atol=1e-12)
    trace = torch.from_numpy(each.var(axis=1, ddof=1).sum(axis=1))
    assert_close(sampled.trace, trace, rtol=1e-10, atol=1e-13)


@kinds
def test_a_row_has_its_own_covariance(x, kind):
    explainer = explainers()[kind]
    together = explainer.sample(x, nt_samples=20, covariance=8, **SETTINGS)
    for row in range(2):
        alone = explainer.sample(x[row : row + 1], nt_samples=20, covariance=8, **SETTINGS)
        for name, part in alone.covariance.parts().items():
            assert_close(part[0], getattr(together.covariance, name)[row], rtol=1e-12, atol=0)
    assert not torch.equal(together.covariance.top_eigenvalue[:1], together.covariance.top_eigenvalue[1:])


@kinds
def test_passes_do_not_matter(x, kind):
    explainer = explainers()[kind]
    runs = [
        explainer.sample(x, nt_samples=21, covariance=8, nt_samples_batch_size=size, **SETTINGS)
        for size in (1, 3, 8, 64)
    ]
    for other in runs[1:]:
        assert_same_covariance(runs[0].covariance, other.covariance, rtol=0 if kind == "sparsified" else 1e-12)


@kinds
def test_two_halves_merged_are_one_run_with_the_same_blocks(x, kind):
    explainer = explainers()[kind]
    whole = explainer.sample(x, nt_samples=32, covariance=8, **SETTINGS)
    one = explainer.sample(x, nt_samples=16, covariance=8, **SETTINGS)
    two = explainer.sample(x, nt_samples=16, first_draw=16, covariance=8, **SETTINGS)
    merged = one.merge(two)
    assert_same_covariance(merged.covariance, whole.covariance, rtol=1e-14)
    if kind == "sparsified":
        assert torch.equal(merged.trace, whole.trace)
    assert_close(merged.trace, whole.trace, rtol=1e-11, atol=0)
    for bound in ("spectral", "best"):
        certifier, radii = Certifier(bound=bound), [0.0, 0.01, 0.1]
        assert torch.equal(
            certifier.top_k_curve(merged, k=0.3, radii=radii), certifier.top_k_curve(whole, k=0.3, radii=radii)
        )
        assert_close(
            certifier.distance(merged, radius=0.1).l2, certifier.distance(whole, radius=0.1).l2, rtol=1e-10, atol=0
        )


def test_given_traces_merge_like_the_traces_of_draws():
    rng = np.random.default_rng(0)
    draws = rng.random((2, 30, 6))

    def given(part):
        return SmoothedMap.from_mean(
            torch.from_numpy(part.mean(axis=1)), n_samples=part.shape[1], stdevs=0.1,
            trace=torch.from_numpy(part.var(axis=1, ddof=1).sum(axis=1)),
        )  # fmt: skip

    merged = given(draws[:, :11]).merge(given(draws[:, 11:]), assume_independent=True)
    assert_close(merged.trace, torch.from_numpy(draws.var(axis=1, ddof=1).sum(axis=1)), rtol=1e-12, atol=0)


def test_merging_with_a_map_without_covariance_drops_it():
    one, two = (
        SparsifiedSmoothGrad(method(), tau=0.2).sample(
            images(1, shape=SHAPE), nt_samples=8, first_draw=first, covariance=covariance, **SETTINGS
        )
        for first, covariance in ((0, 4), (8, False))
    )
    # The maps merge, but the covariance of half of the draws is dropped.
    assert one.merge(two).covariance is None
    assert two.merge(one).covariance is None


@kinds
def test_a_stream_has_the_covariance_of_completed_blocks(x, kind):
    explainer = explainers()[kind]
    maps = list(explainer.stream(x, nt_samples=14, first_draw=2, covariance=4, **SETTINGS))
    assert [int(m.n_samples[0]) for m in maps] == [2, 6, 10, 14]
    assert [float(m.covariance.pairs[0]) for m in maps] == [1, 3, 5, 7]
    for so_far in maps:
        again = explainer.sample(x, nt_samples=int(so_far.n_samples[0]), first_draw=2, covariance=4, **SETTINGS)
        assert_same_covariance(so_far.covariance, again.covariance)
    # What was handed out is not changed by what came later.
    assert maps[0].covariance.pairs.tolist() == [1.0, 1.0]


def test_maps_of_both_kinds_from_one_run(x):
    around = method()
    both = sample_many(list(explainers(around).values()), x, nt_samples=1500, nt_samples_batch_size=100, **SETTINGS)
    for explainer, sampled in zip(explainers(around).values(), both, strict=True):
        own = explainer.sample(x, nt_samples=1500, nt_samples_batch_size=100, **SETTINGS)
        assert_same_covariance(own.covariance, sampled.covariance, rtol=1e-12)
    # One block of 1500 bits; of floats one of 1024 and one of 476.
    assert [m.covariance.pairs.tolist() for m in both] == [[750.0] * 2, [750.0] * 2]


def test_a_summary_survives_the_file(x, tmp_path):
    sampled = explainers()["sparsified"].sample(x, nt_samples=9, covariance=4, **SETTINGS)
    sampled.save(tmp_path / "map.npz")
    assert_same_covariance(SmoothedMap.load(tmp_path / "map.npz").covariance, sampled.covariance)


# -- the argument ---------------------------------------------------------------------------------------------


@kinds
def test_auto_is_on_and_false_is_off(x, kind):
    explainer = explainers()[kind]
    automatic = explainer.sample(x, nt_samples=10, **SETTINGS)
    assert_same_covariance(
        automatic.covariance, explainer.sample(x, nt_samples=10, covariance=True, **SETTINGS).covariance
    )
    assert automatic.covariance.pairs.tolist() == [5.0, 5.0]
    off = explainer.sample(x, nt_samples=10, covariance=False, **SETTINGS)
    assert off.covariance is None
    assert torch.equal(off.features, automatic.features)
    with pytest.raises(CertificationError, match="Expected a map with `covariance`"):
        Certifier(bound="spectral").top_k(off, k=3, radius=0.1)
    assert Certifier().top_k(off, k=3, radius=0.1).bound != "best"


def test_blocks_are_as_large_as_documented(x):
    tiny = Saliency(GateNet((4,)).double())
    settings = {**SETTINGS, "nt_samples": 2051, "nt_samples_batch_size": 1024}
    point = images(1, shape=(4,))
    counts = [float(m.covariance.pairs[0]) for m in SparsifiedSmoothGrad(tiny, tau=0.5).stream(point, **settings)]
    assert counts == [1024.0, 1025.0]
    counts = [float(m.covariance.pairs[0]) for m in ScaledSmoothGrad(tiny).stream(point, **settings)]
    assert counts == [512.0, 1024.0, 1025.0]


@pytest.mark.parametrize("wrong", ["on", "", 1, 0, -3, 2.0, None, float("nan")])
def test_other_values_are_refused(x, wrong):
    for call in (explainers()["sparsified"].sample, Certifier(explainers()["sparsified"]).certify):
        extra = {} if call.__name__ == "sample" else {"k": 3, "radius": 0.1}
        with pytest.raises(InvalidInputError, match="Expected `covariance` to be"):
            call(x, nt_samples=10, covariance=wrong, **SETTINGS, **extra)


def test_auto_takes_the_covariance_of_blocks_under_the_limit(x):
    layout = FeatureLayout.of([x], is_tuple=False, rows=2)
    needed = 2 * 2048 * 6  # two rows of 48 bits

    def takes_covariance(covariance, limit):
        device = torch.device("cpu")
        collector = MapCollector(
            Sparsified(0.2), layout, 2, masks={}, covariance=covariance, most_draws=4, device=device, most_bytes=limit
        )
        return collector.covariance is not None

    assert takes_covariance("auto", needed + 1)
    with pytest.warns(UserWarning, match="a block of 2048 draws of 2 examples takes"):
        assert not takes_covariance("auto", needed)
    for asked in (True, 2048):
        assert takes_covariance(asked, needed)


def test_the_limit_is_one_gigabyte():
    assert MOST_AUTOMATIC_BYTES == 10**9


class Linear(nn.Module):
    """Cheap model of many features."""

    def forward(self, inputs):
        return (inputs**2).flatten(1).sum(dim=1)


def test_auto_is_off_for_maps_whose_block_would_be_enormous():
    image = torch.rand(1, 3, 300, 300, generator=torch.Generator().manual_seed(0))
    saliency, settings = Saliency(Linear()), {"nt_samples": 2, "stdevs": 0.1, "seed": 0}
    assert SparsifiedSmoothGrad(saliency, tau=0.1).sample(image, **settings).covariance is not None
    # 1024 · 270 000 floats are 1.1 GB.
    with pytest.warns(UserWarning, match=r"a block of 1024 draws of 1 examples takes 1\.1 GB, more than 1\."):
        assert ScaledSmoothGrad(saliency).sample(image, **settings).covariance is None


def test_one_draw_has_no_covariance(x):
    single = explainers()["sparsified"].sample(x, nt_samples=1, **SETTINGS)
    assert single.covariance is None
    assert single.trace is None


def test_attribute_stores_no_block(x, monkeypatch):
    def refuse(*arguments, **named):
        raise AssertionError("attribute needs no covariance")

    monkeypatch.setattr(BlockCovariance, "__init__", refuse)
    explainers()["sparsified"].attribute(x, nt_samples=4, **SETTINGS)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"pairs": [0.0]}, "`pairs` to be finite and >= 1"),
        ({"top_eigenvalue": [-5.0]}, "`top_eigenvalue` to be finite and >= 0"),
        ({"top_eigenvalue": [float("nan")]}, "`top_eigenvalue` to be finite and >= 0"),
        ({"frobenius_norm": [float("inf")], "fourth_moment": [1.0]}, "`frobenius_norm` to be finite and >= 0"),
    ],
)
def test_a_summary_of_impossible_numbers_is_refused(fields, message):
    numbers = {"pairs": [4.0], "top_eigenvalue": [1.0], **fields}
    with pytest.raises(InvalidInputError, match=message):
        CovarianceSummary(**{name: torch.tensor(value) for name, value in numbers.items()})


def test_a_summary_of_more_pairs_than_draws_is_refused():
    summary = CovarianceSummary(torch.tensor([1e9]), torch.tensor([1.0]))
    with pytest.raises(InvalidInputError, match="at most n_samples / 2 pairs"):
        SmoothedMap.from_counts(torch.tensor([[5, 1]]), n_samples=100, stdevs=0.1, covariance=summary)
