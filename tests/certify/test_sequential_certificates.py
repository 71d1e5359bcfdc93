"""Every row of a sequential run is certified at the level of the look at which the row stopped."""

import dataclasses
import re

import pytest
import torch
from sequential_runs import SHAPE, X, certified

from captum_certified import (
    Certificate,
    CertificationError,
    Certifier,
    InvalidInputError,
    SmoothedMap,
)
from captum_certified.certify import agrees, recompute
from captum_certified.maps import parts_of, select_rows
from captum_certified.runs import verify, write_result
from captum_certified.storage import write_archive
from captum_certified.theory import look_level

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
    """A certificate with a region whose rows stopped at several looks."""
    return certified(region=torch.arange(48).view(1, *SHAPE) < 20)


@pytest.mark.parametrize("name", list(STATEMENTS))
@pytest.mark.parametrize("bound", ["best", "clopper_pearson"])
def test_every_method_certifies_each_row_at_the_level_of_its_look(name, bound, of_several_looks):
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


def test_text_and_json_tell_why_each_row_stopped(of_several_looks):
    record = of_several_looks.to_dict()
    assert record["stopped"] == list(of_several_looks.stopped)
    assert record["looks"] == of_several_looks.map.looks.tolist()
    assert (record["asked_overlap"], record["most_draws"]) == (9, 1024)
    for text in (repr(of_several_looks), of_several_looks._repr_html_()):
        assert "(9 asked for: hopeless)" in text
    fixed = certified(overlap=None)
    assert "asked" not in repr(fixed)
    assert [fixed.to_dict()[name] for name in ("stopped", "looks", "asked_overlap", "most_draws")] == [None] * 4


def test_files_keep_the_looks_and_verify(of_several_looks, tmp_path):
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


def test_a_result_verifies_and_a_changed_look_does_not(tmp_path):
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
    header, arrays = parts_of(smoothed_map)
    write_archive(tmp_path / "map.npz", kind="SmoothedMap", header=header, arrays={**arrays, "looks": looks.numpy()})
    with pytest.raises(CertificationError.__mro__[1], match="`looks` does not fit"):
        SmoothedMap.load(tmp_path / "map.npz")
