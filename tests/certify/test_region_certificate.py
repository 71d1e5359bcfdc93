"""Regions: their masks, their certificate, and their share of every draw in sampled, merged and stored maps."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from captum.attr import InputXGradient, Saliency
from networks import GateNet, images

from captum_certified import (
    Certificate,
    CertificationError,
    Certifier,
    FileFormatError,
    InvalidInputError,
    NormalizedSmoothGrad,
    RegionCertificate,
    SmoothedMap,
    SparsifiedSmoothGrad,
)
from captum_certified.certify import agrees
from captum_certified.certify.written_numbers import floored_percent
from captum_certified.maps import select_rows
from captum_certified.theory import region_mass

SHAPE = (3, 4, 4)
X = images(2, shape=SHAPE)
LEFT = torch.zeros(1, *SHAPE, dtype=torch.bool)
LEFT[..., :2] = True
SETTINGS = {"nt_samples": 120, "stdevs": 0.1, "seed": 6, "target": 1}


def explainer(kind=SparsifiedSmoothGrad, **settings):
    return kind(Saliency(GateNet(SHAPE)), **settings)


def sampled(region=LEFT, *, inputs=X, explain=None, **settings):
    return (explain or explainer(tau=0.25)).sample(inputs, **{**SETTINGS, **settings}, region=region)


def shares(smoothed_map, name="region"):
    return smoothed_map.regions[name][1]


# -- shares ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "explain", [explainer(tau=0.25), explainer(NormalizedSmoothGrad)], ids=["sparsified", "normalized"]
)
def test_shares_equal_the_shares_of_single_draws(explain):
    whole = sampled(explain=explain, nt_samples=6)
    assert shares(whole).shape == (2, 6)
    assert shares(whole).dtype == torch.float64
    for draw in range(6):
        one = explain.sample(X, **{**SETTINGS, "nt_samples": 1}, first_draw=draw).mean
        expected = (one * LEFT).sum(dim=(1, 2, 3)) / one.sum(dim=(1, 2, 3))
        torch.testing.assert_close(shares(whole)[:, draw], expected, rtol=1e-6, atol=1e-9)


def test_a_draw_of_zeros_has_a_share_of_zero():
    # All gradients are zero below all thresholds.
    smoothed_map = sampled(inputs=torch.full((1, *SHAPE), -5.0), region={"in": LEFT, "out": ~LEFT})
    assert shares(smoothed_map, "in").tolist() == [[0.0] * 120]
    assert shares(smoothed_map, "out").tolist() == [[0.0] * 120]
    assert Certifier().region(smoothed_map, name="in", radius=0.0).mass.tolist() == [0.0]


def test_the_shares_of_a_region_and_its_complement_add_up_to_one():
    smoothed_map = sampled({"in": LEFT, "out": ~LEFT, "all": torch.ones_like(LEFT)})
    torch.testing.assert_close(shares(smoothed_map, "in") + shares(smoothed_map, "out"), shares(smoothed_map, "all"))
    torch.testing.assert_close(shares(smoothed_map, "all"), torch.ones(2, 120, dtype=torch.float64))


def test_the_mean_share_of_a_sparsified_map_is_its_mass_fraction():
    smoothed_map = sampled(inputs=X + 3)  # all gates are open, so every draw has twelve ones
    mean = smoothed_map.mean
    expected = (mean * LEFT).sum(dim=(1, 2, 3)) / mean.sum(dim=(1, 2, 3))
    torch.testing.assert_close(shares(smoothed_map).mean(dim=1), expected, rtol=1e-12, atol=0)


def test_every_example_may_have_its_own_region():
    own = torch.cat([LEFT, ~LEFT])
    smoothed_map = sampled(own)
    both = sampled({"in": LEFT, "out": ~LEFT})
    assert torch.equal(shares(smoothed_map), torch.stack([shares(both, "in")[0], shares(both, "out")[1]]))
    assert torch.equal(Certifier().region(smoothed_map, radius=0.1).mask, own)


def test_masks_are_broadcast_over_channels():
    flat = LEFT[:, :1]
    assert torch.equal(shares(sampled(flat)), shares(sampled(LEFT)))


@pytest.mark.parametrize("groups", ["channels", "columns", "own columns"])
def test_regions_of_groups(groups):
    columns = torch.arange(4).expand(1, *SHAPE)
    chosen = {"channels": "channels", "columns": columns, "own columns": torch.cat([columns, 3 - columns])}[groups]
    explain = explainer(NormalizedSmoothGrad)
    smoothed_map = sampled(explain=explain, groups=chosen)
    mask = smoothed_map.regions["region"][0]
    expected = {
        "channels": [[True, True, False, False] * 4],
        "columns": [[True, True, False, False]],
        "own columns": [[True, True, False, False], [False, False, True, True]],
    }[groups]
    assert mask.tolist() == expected
    for draw in range(3):
        one = explain.sample(X, **{**SETTINGS, "nt_samples": 1}, first_draw=draw, groups=chosen).features
        expected_share = (one * mask).sum(1) / one.sum(1)
        torch.testing.assert_close(shares(smoothed_map)[:, draw], expected_share, rtol=1e-6, atol=1e-9)


def test_tuples_of_maps_have_tuples_of_masks():
    def forward(a, b):
        return (a.relu() * torch.tensor([1.0, 2, 3]) + b.relu().sum(1, keepdim=True) / 9).sum(1)

    inputs = (torch.rand(2, 3, dtype=torch.float64), torch.rand(2, 2, dtype=torch.float64))
    masks = (torch.tensor([[True, False, False]]), torch.tensor([[False, True], [True, True]]))
    explain = SparsifiedSmoothGrad(InputXGradient(forward), tau=0.4)
    smoothed_map = explain.sample(inputs, nt_samples=20, stdevs=0.1, seed=0, region=masks)
    assert smoothed_map.regions["region"][0].tolist() == [
        [True, False, False, False, True],
        [True, False, False, True, True],
    ]
    certificate = Certifier().region(smoothed_map, radius=0.0)
    assert [m.tolist() for m in certificate.mask] == [[[True, False, False]] * 2, masks[1].tolist()]
    with pytest.raises(InvalidInputError, match=r"Expected `region` with 2 masks, one for each map, got 1\."):
        explain.sample(inputs, nt_samples=2, stdevs=0.1, region=masks[0])


# -- masks that are refused ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("region", "groups", "message"),
    [
        (LEFT.int(), None, r"Expected `region` to be a bool mask, got torch\.int32\."),
        (LEFT.float(), None, r"Expected `region` to be a bool mask, got torch\.float32\."),
        (np.ones((1, *SHAPE), dtype=bool), None, r"Expected `region` to be a bool mask, got bool\."),
        ("left", None, r"Expected `region` to be a bool mask, got <class 'str'>\."),
        (LEFT[0], None, r"Expected `region` of shape \(1 or 2, 3, 4, 4\), got \(3, 4, 4\)\."),
        (LEFT.expand(3, -1, -1, -1), None, r"Expected `region` of shape \(1 or 2, 3, 4, 4\), got \(3, 3, 4, 4\)\."),
        (LEFT[..., :3], None, r"Expected `region` of shape \(1 or 2, 3, 4, 4\), got \(1, 3, 4, 3\)\."),
        ((LEFT, LEFT), None, r"Expected `region` with 1 masks, one for each map, got 2\."),
        (
            torch.zeros_like(LEFT),
            None,
            r"Expected `region` to hold at least one feature of every example, got an empty",
        ),
        (torch.cat([LEFT, torch.zeros_like(LEFT)]), None, r"at least one feature of every example, got an empty one\."),
        ({"a": LEFT, "b": LEFT.int()}, None, r"Expected `region` to be a bool mask, got torch\.int32\."),
        (
            LEFT & torch.tensor([1, 0, 0]).bool().view(1, 3, 1, 1),
            "channels",
            r"each group whole or not at all, got a mask",
        ),
        (LEFT, torch.zeros(1, *SHAPE, dtype=torch.int64), r"Expected `region` to hold each group whole or not at all"),
    ],
)
def test_invalid_masks_are_refused(region, groups, message):
    with pytest.raises(InvalidInputError, match=message):
        sampled(region, groups=groups)


# -- more draws, more rows, files ----------------------------------------------------------------------------------


def test_merged_maps_have_the_shares_of_all_draws():
    whole = sampled({"in": LEFT, "out": ~LEFT})
    parts = [sampled({"in": LEFT, "out": ~LEFT}, nt_samples=q, first_draw=f) for q, f in ((50, 0), (70, 50))]
    merged = parts[0].merge(parts[1])
    for name in ("in", "out"):
        assert torch.equal(shares(merged, name), shares(whole, name))
    one, two = (Certifier().region(m, name="in", radius=0.05) for m in (merged, whole))
    assert torch.equal(one.mass, two.mass)


@pytest.mark.parametrize("other", [None, {"other": LEFT}, {"region": ~LEFT}, {"region": LEFT, "other": LEFT}])
def test_maps_with_different_regions_are_not_merged(other):
    with pytest.raises(InvalidInputError, match=r"Expected maps with the same regions, got \['region'\] and \["):
        sampled().merge(sampled(other, first_draw=120))


def test_stacked_maps_have_the_shares_of_every_row():
    alone = [sampled(inputs=X[row : row + 1]) for row in range(2)]
    stacked, whole = SmoothedMap.stack(alone), sampled()
    assert torch.equal(shares(stacked), shares(whole))
    assert stacked.regions["region"][0].shape == (2, 48)
    assert torch.equal(Certifier().region(stacked, radius=0.05).mass, Certifier().region(whole, radius=0.05).mass)


def test_maps_with_different_regions_are_not_stacked():
    with pytest.raises(
        InvalidInputError, match=r"Expected maps with the same regions, got \[\['region'\], \['other'\]\]"
    ):
        SmoothedMap.stack([sampled(), sampled({"other": LEFT})])


def test_rows_with_different_numbers_of_draws_keep_their_shares(tmp_path):
    """The rows are stacked, saved, merged with more draws, and selected again."""
    maps = [sampled(), sampled(nt_samples=50), sampled(nt_samples=80)]
    stacked = SmoothedMap.stack(maps)
    stacked.save(tmp_path / "map.npz")
    loaded = SmoothedMap.load(tmp_path / "map.npz")
    more = SmoothedMap.stack([sampled(nt_samples=q, first_draw=200) for q in (10, 70, 30)])
    merged = loaded.merge(more)
    assert [s.shape for s in (shares(loaded), shares(more), shares(merged))] == [(6, 120), (6, 70), (6, 130)]
    alone = [m.merge(sampled(nt_samples=q, first_draw=200)) for m, q in zip(maps, (10, 70, 30), strict=True)]
    certificate = Certifier().region(merged, radius=0.05)
    for row in range(6):
        single, draws = alone[row // 2], int(merged.n_samples[row])
        assert torch.equal(shares(merged)[row, :draws], shares(single)[row % 2])
        assert bool(shares(merged)[row, draws:].isnan().all())
        expected = Certifier().region(single, radius=0.05)
        assert float(certificate.mass[row]) == float(expected.mass[row % 2])
        assert float(certificate.observed_mass[row]) == pytest.approx(float(expected.observed_mass[row % 2]), rel=1e-12)
        chosen = select_rows(merged, torch.tensor([row]))
        assert torch.equal(shares(chosen)[0], shares(single)[row % 2])


@pytest.mark.parametrize("share", [1.5, -0.1, math.nan, math.inf])
def test_files_with_impossible_shares_are_refused(share, tmp_path):
    smoothed_map = sampled()
    shares(smoothed_map)[0, 7] = share
    smoothed_map.save(tmp_path / "map.npz")
    with pytest.raises(FileFormatError, match="`shares` does not fit"):
        SmoothedMap.load(tmp_path / "map.npz")


@pytest.mark.parametrize("per_row", [False, True])
def test_files_keep_regions(per_row, tmp_path):
    smoothed_map = sampled({"in": torch.cat([LEFT, ~LEFT]) if per_row else LEFT, "out": ~LEFT})
    smoothed_map.save(tmp_path / "map.npz")
    loaded = SmoothedMap.load(tmp_path / "map.npz")
    assert list(loaded.regions) == ["in", "out"]
    for name in loaded.regions:
        for before, after in zip(smoothed_map.regions[name], loaded.regions[name], strict=True):
            assert torch.equal(before, after)
            assert before.dtype == after.dtype


# -- the certificate -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("radius", [0.0, 0.02, 0.1, 2.0])
@pytest.mark.parametrize("confidence", [0.5, 0.99])
def test_the_mass_follows_from_the_recorded_shares(radius, confidence):
    smoothed_map = sampled()
    certificate = Certifier(confidence=confidence).region(smoothed_map, radius=radius)
    assert isinstance(certificate, RegionCertificate)
    expected = region_mass(shares(smoothed_map).numpy(), ratio=radius / 0.1, alpha=1 - confidence)
    # The order of a sum depends on the memory layout, so the last digits may differ.
    torch.testing.assert_close(certificate.mass, torch.from_numpy(expected), rtol=1e-14, atol=0)
    assert certificate.mass.dtype == torch.float64
    assert bool((certificate.mass <= certificate.observed_mass).all())
    assert (certificate.name, certificate.bound, certificate.violations) == ("region", "region", 0)
    torch.testing.assert_close(certificate.observed_mass, shares(smoothed_map).mean(dim=1))


def test_certify_records_regions():
    certifier = Certifier(explainer(tau=0.25))
    certificate = certifier.certify(X, k=4, radius=0.01, region={"left": LEFT}, **SETTINGS)
    one = certifier.region(certificate.map, radius=0.01)
    assert one.name == "left"
    assert torch.equal(one.mass, Certifier().region(sampled(), radius=0.01).mass)
    assert torch.equal(one.mask, LEFT.expand(2, -1, -1, -1))


def test_no_shifted_input_has_less_mass_than_certified():
    """Many draws estimate the exact mean shares at shifted inputs, up to a Hoeffding interval."""
    smoothed_map = sampled(nt_samples=2000)
    certificate = Certifier().region(smoothed_map, radius=0.05)
    assert bool((certificate.mass > 0.1).all())
    generator = torch.Generator().manual_seed(0)
    for attempt in range(3):
        direction = torch.randn(X.shape, generator=generator, dtype=torch.float64)
        if attempt == 0:  # close the gates of the region and open the others
            direction = torch.where(LEFT, -1.0, 1.0).double().expand_as(X)
        direction = direction / direction.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
        there = sampled(inputs=X + 0.05 * direction, nt_samples=6000, seed=100 + attempt)
        # exp(−2 · 6000 · c²) = 1e-6 at c = .034.
        assert bool((shares(there).mean(dim=1) + 0.034 >= certificate.mass).all())


def test_one_of_several_regions_must_be_named():
    two = sampled({"b": LEFT, "a": ~LEFT})
    assert Certifier().region(two, name="a", radius=0.0).name == "a"
    for smoothed_map, name, known in (
        (two, None, r"\['a', 'b'\], got None"),
        (two, "c", r"\['a', 'b'\], got 'c'"),
        (sampled(), "left", r"\['region'\], got 'left'"),
        (sampled(None), None, r"\[\], got None"),
        (SmoothedMap.from_counts(torch.tensor([[5]]), n_samples=10, stdevs=0.1), None, r"\[\], got None"),
    ):
        with pytest.raises(InvalidInputError, match=f"Expected `name` to be one of the map's regions {known}"):
            Certifier().region(smoothed_map, name=name, radius=0.0)


def test_invalid_arguments_are_refused():
    with pytest.raises(InvalidInputError, match="Expected `radius` to be a finite number >= 0, got inf"):
        Certifier().region(sampled(), radius=float("inf"))
    with pytest.raises(InvalidInputError, match="Expected `smoothed_map` to be a SmoothedMap, got NoneType"):
        Certifier().region(None, radius=0.0)
    with pytest.raises(CertificationError, match="Expected at least 2 draws to certify, got 1"):
        Certifier().region(sampled(nt_samples=1), radius=0.0)


def test_all_bounds_and_radii_are_accepted():
    smoothed_map = sampled(explain=explainer(NormalizedSmoothGrad))
    for bound in ("theorem2", "clopper_pearson", "best"):
        masses = [Certifier(bound=bound).region(smoothed_map, radius=r).mass for r in (0.0, 0.05, 1.0, 1e9, 1e300)]
        assert torch.equal(masses[0], Certifier().region(smoothed_map, radius=0.0).mass)
        assert bool((masses[0] > masses[1]).all())
        assert masses[-1].tolist() == [0.0, 0.0]


def test_a_stored_certificate_agrees_and_a_changed_one_does_not(tmp_path):
    certificate = Certifier(confidence=0.9).region(sampled({"b": LEFT, "a": ~LEFT}), name="b", radius=0.02)
    certificate.save(tmp_path / "c.npz")
    loaded = Certificate.load(tmp_path / "c.npz")
    assert type(loaded) is RegionCertificate
    assert loaded.to_dict(arrays=True) == certificate.to_dict(arrays=True)
    assert agrees(loaded)
    for change in ({"mass": loaded.mass + 1e-9}, {"name": "a"}, {"at_radius": 0.5}, {"confidence": 0.99}):
        assert not agrees(replace(loaded, **change))


def test_text_and_json_contain_the_certified_mass():
    certificate = Certifier().region(sampled({"tumour": LEFT}), radius=0.01)
    mass, seen = certificate.mass[0], certificate.observed_mass[0]
    assert certificate.summaries()[0] == (
        f"on average over noisy copies at least {floored_percent(mass)}% of the saliency stays in region 'tumour' "
        f"({seen:.1%} observed), proved from 120 draws"
    )
    record = certificate.to_dict()
    assert (record["name"], record["mass"]) == ("tumour", certificate.mass.tolist())
    assert record["observed_mass"] == certificate.observed_mass.tolist()
    columns = certificate.columns()
    assert columns["in_region"] == LEFT.expand(2, -1, -1, -1).flatten().tolist()
    assert columns["mean"] == certificate.map.features.flatten().tolist()
