"""Certificates: their numbers, their text, their JSON and their files."""

import io
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from captum.attr import Saliency
from networks import GateNet, images

from captum_certified import (
    Certificate,
    Certifier,
    FileFormatError,
    RankCertificate,
    SmoothedMap,
    SparsifiedSmoothGrad,
    TopKCertificate,
)
from captum_certified.certify import agrees, recompute
from captum_certified.certify.bounds.registry import BOUNDS

MAP = SmoothedMap.from_counts(torch.tensor([[1000, 990, 980, 30, 20, 10]]), n_samples=1000, stdevs=0.2)


def sampled(rows=2, **settings):
    explainer = SparsifiedSmoothGrad(Saliency(GateNet((3, 4, 4))), tau=0.25)
    x = images(rows, shape=(3, 4, 4))
    return explainer.sample(x, **{"nt_samples": 200, "stdevs": 0.1, "seed": 6, "target": 1, **settings})


MAKERS = {
    "top_k": lambda m, **settings: Certifier(**settings).top_k(m, k=2, radius=0.05),
    "rank": lambda m, **settings: Certifier(**settings).rank(m, radius=0.05),
}
kinds = pytest.mark.parametrize("kind", list(MAKERS))
bounds = pytest.mark.parametrize("bound", list(BOUNDS))


# -- numbers -------------------------------------------------------------------------------------------------


def test_top_k_certificate():
    certificate = Certifier(bound="hoeffding").top_k(MAP, k=3, radius=0.1)
    assert isinstance(certificate, TopKCertificate)
    assert isinstance(certificate, Certificate)
    assert certificate.overlap.tolist() == [3]
    assert certificate.overlap.dtype == torch.int64
    assert certificate.overlap_fraction.tolist() == [1.0]
    assert certificate.overlap_fraction.dtype == torch.float64
    assert certificate.top_k.tolist() == [[True, True, True, False, False, False]]
    assert certificate.n_samples.tolist() == [1000]
    assert certificate.map is MAP
    assert (certificate.radius, certificate.confidence, certificate.violations) == (0.1, 0.95, 0)


def test_the_overlap_fraction_is_a_fraction_of_k():
    certificate = Certifier(bound="theorem2").top_k(MAP, k=3, radius=0.1)
    assert certificate.overlap_fraction.tolist() == [2 / 3]


def test_plain_overlap_compares_with_the_plain_map():
    smoothed_map = sampled()
    for k in (1, 5, 12):
        certificate = Certifier().top_k(smoothed_map, k=k, radius=0.0)
        expected = []
        for plain, smooth in zip(smoothed_map.plain.tolist(), smoothed_map.features.tolist(), strict=True):
            top = [sorted(range(48), key=lambda i, v=v: (-v[i], i))[:k] for v in (plain, smooth)]
            expected.append(len({i for i in top[0] if plain[i] > 0} & set(top[1])))
        assert certificate.plain_overlap.tolist() == expected


def test_plain_overlap_is_unknown_for_maps_from_numbers():
    assert Certifier().top_k(MAP, k=3, radius=0.1).plain_overlap is None


def test_the_plain_map_is_captum_s_map_at_the_clean_input():
    x = images(2, shape=(3, 4, 4))
    plain = Saliency(GateNet((3, 4, 4))).attribute(x.clone().requires_grad_(), target=1)
    assert torch.equal(sampled().plain, plain.flatten(1))


@bounds
def test_ranks_are_structured_like_the_map(bound):
    smoothed_map = sampled()
    certificate = Certifier(bound=bound).rank(smoothed_map, radius=0.001)
    assert isinstance(certificate, RankCertificate)
    assert certificate.rank.shape == smoothed_map.mean.shape
    assert certificate.rank.dtype == torch.int64
    assert bool(((certificate.rank >= 1) & (certificate.rank <= 49)).all())
    for k in (1, 12, 48, 0.25):
        stays = certificate.in_top_k(k)
        assert stays.shape == smoothed_map.mean.shape
        assert stays.dtype == torch.bool
        count = 12 if k == 0.25 else k
        assert torch.equal(stays, certificate.rank <= count + (bound == "theorem2"))


def test_ranks_of_tuples_are_tuples():
    pair = SmoothedMap.from_counts(
        (torch.tensor([[900, 100]]), torch.tensor([[[500]]])), n_samples=1000, stdevs=(0.2, 0.2)
    )
    certificate = Certifier(bound="hoeffding").rank(pair, radius=0.0)
    assert [r.tolist() for r in certificate.rank] == [[[1, 3]], [[[2]]]]
    assert [s.tolist() for s in certificate.in_top_k(2)] == [[[True, False]], [[[True]]]]


@bounds
def test_the_overlap_is_at_least_the_number_of_named_features_that_stay(bound):
    # The ranks allow no violated interval, so all named features stay together.
    smoothed_map = sampled()
    for k in (2, 12, 30):
        for radius in (0.0, 0.001, 0.01):
            named = Certifier(bound=bound).rank(smoothed_map, radius=radius).in_top_k(k).flatten(1).sum(1)
            counted = Certifier(bound="hoeffding" if bound == "theorem2" else bound, violations=0).top_k(
                smoothed_map, k=k, radius=radius
            )
            assert bool((named <= counted.overlap).all())


def test_certificates_are_frozen():
    with pytest.raises(AttributeError, match="cannot assign to field 'overlap'"):
        Certifier().top_k(MAP, k=3, radius=0.1).overlap = torch.tensor([9])


# -- for people ----------------------------------------------------------------------------------------------


FIXED = (
    "Target, baselines, reference distributions, groups, regions and further arguments are held fixed at every "
    "perturbed input, also where the prediction changes."
)


def test_repr_of_top_k():
    lines = repr(Certifier(bound="theorem2").top_k(MAP, k=3, radius=0.1)).splitlines()
    assert lines == [
        "TopKCertificate(L2 radius=0.1, confidence=0.95, bound='theorem2')",
        "  [0] at least 2 of the top 3 features (66.6%) stay in the top 3 of the exact smoothed map, proved from 1000 "
        "draws",
        f"  {FIXED}",
    ]


def test_repr_contains_plain_overlap_and_violations():
    text = repr(Certifier(bound="hoeffding", violations=1).top_k(sampled(), k=12, radius=0.001))
    assert "violations=1" in text
    assert text.count("% of the smoothed map's top 12 are in the plain map's") == 2


def test_the_overlap_with_the_plain_map_is_rounded_down():
    """2999 of 3000 features are 99.9 %, not 100.0 %."""
    counts, plain = torch.zeros(1, 6000, dtype=torch.int64), torch.zeros(1, 6000, dtype=torch.float64)
    counts[:, :3000] = 1000
    plain[:, 1:3000] = 1.0
    smoothed_map = replace(SmoothedMap.from_counts(counts, n_samples=1000, stdevs=0.2), plain=plain)
    certificate = Certifier().top_k(smoothed_map, k=3000, radius=0.0)
    assert certificate.plain_overlap.tolist() == [2999]
    assert certificate.summaries()[0].split("; ")[1] == "99.9% of the smoothed map's top 3000 are in the plain map's"


@pytest.mark.parametrize("kind", ["top_k", "rank"])
def test_certificates_about_fresh_draws_state_it(kind):
    certifier = Certifier()
    statement = {"top_k": lambda **s: certifier.top_k(MAP, k=3, **s), "rank": lambda **s: certifier.rank(MAP, **s)}[
        kind
    ]
    exact, fresh = statement(radius=0.0), statement(radius=0.0, fresh_draws=50)
    chosen = "of 50 fresh draws at any one perturbed input chosen without seeing those draws"
    own = "The confidence is that of this statement alone. It does not cover other statements from this map."
    assert "the exact smoothed map" in exact.summaries()[0]
    assert "fresh" not in repr(exact)
    assert exact.conditions == (FIXED,)
    assert chosen in fresh.summaries()[0]
    assert "exact" not in repr(fresh)
    assert repr(fresh).splitlines()[-2:] == [f"  {own}", f"  {FIXED}"]
    assert own in fresh._repr_html_()
    assert "of 1 fresh draw at any" in statement(radius=0.0, fresh_draws=1).summaries()[0]


def test_certificates_state_that_inputs_without_noise_are_held_fixed():
    def of(*stdevs):
        maps = tuple(torch.tensor([[900, 100]]) for _ in stdevs)
        smoothed_map = SmoothedMap.from_counts(maps, n_samples=1000, stdevs=stdevs)
        return Certifier().top_k(smoothed_map, k=1, radius=0.0).held_fixed.removeprefix(FIXED)

    weighed = " The radius is the L2 length of the change, with each tensor divided by its σ, times 0.2."
    assert of(0.2, 0.2) == ""
    assert of(0.0, 0.2) == " Input tensor 0 is held fixed too, because its σ is 0."
    assert of(0.2, 0.0, 0.0) == " Input tensors 1, 2 are held fixed too, because their σ is 0."
    assert of(0.2, 0.4) == weighed
    assert of(0.0, 0.2, 0.4) == " Input tensor 0 is held fixed too, because its σ is 0." + weighed


def test_repr_of_rank():
    text = repr(Certifier(bound="hoeffding").rank(MAP, radius=0.0))
    assert text.startswith(
        "RankCertificate(L2 radius=0, confidence=0.95, bound='hoeffding')\n"
        "  [0] 3 of 6 features have a certified rank, the best of them rank at most 3, in the exact smoothed map, "
        "proved from 1000 draws\n"
    )
    nothing = repr(Certifier(bound="hoeffding").rank(MAP, radius=9.0))
    assert "0 of 6 features have a certified rank, in the exact smoothed map" in nothing


@kinds
def test_repr_of_many_examples_stays_short(kind):
    many = SmoothedMap.stack([MAP] * 40)
    lines = repr(MAKERS[kind](many)).splitlines()
    assert len(lines) == 14
    assert lines[-3] == "  … 29 more examples"
    assert lines[-2].startswith("  [39]")
    assert lines[-1] == f"  {FIXED}"
    assert "more" not in repr(MAKERS[kind](SmoothedMap.stack([MAP] * 12)))


@kinds
def test_html_contains_the_sentences_of_repr(kind):
    certificate = MAKERS[kind](MAP)
    page = certificate._repr_html_()
    assert page.startswith("<div>")
    assert page.count("<tr>") == 1
    assert type(certificate).__name__ in page
    for sentence in certificate.summaries():
        assert sentence.split("'")[0] in page


# -- for programs --------------------------------------------------------------------------------------------


@kinds
def test_records_are_json_with_settings_results_and_provenance(kind):
    certificate = MAKERS[kind](sampled())
    record = certificate.to_dict()
    assert json.loads(certificate.to_json()) == record
    assert json.loads(json.dumps(record)) == record
    assert record["kind"] == kind
    assert (record["radius"], record["confidence"], record["bound"]) == (0.05, 0.95, certificate.bound)
    assert record["n_samples"] == [200, 200]
    assert record["n_features"] == 48
    assert record["stdevs"] == 0.1
    assert record["seed"] == 6
    assert record["draws"] == [[[0, 200]], [[0, 200]]]
    assert record["setup"]["class"] == "SparsifiedSmoothGrad"
    assert "features" not in record


def test_records_hold_the_results():
    certificate = Certifier(bound="hoeffding").top_k(MAP, k=3, radius=0.1)
    record = certificate.to_dict()
    assert (record["k"], record["overlap"], record["overlap_fraction"]) == (3, [3], [1.0])
    assert record["plain_overlap"] is None
    assert record["seed"] is None
    assert record["draws"] is None
    assert Certifier(bound="hoeffding").rank(MAP, radius=0.0).to_dict()["best_rank"] == [3]


def test_records_with_arrays_hold_every_feature():
    top_k = Certifier().top_k(MAP, k=3, radius=0.1).to_dict(arrays=True)
    assert top_k["features"] == MAP.features.tolist()
    rank = Certifier().rank(MAP, radius=0.1)
    assert rank.to_dict(arrays=True)["feature_rank"] == rank.rank.tolist()
    json.dumps(rank.to_dict(arrays=True))


# -- files ---------------------------------------------------------------------------------------------------


@kinds
@bounds
def test_a_saved_certificate_comes_back_equal(kind, bound, tmp_path):
    certificate = MAKERS[kind](sampled(), bound=bound, confidence=0.9)
    certificate.save(tmp_path / "c.npz")
    loaded = Certificate.load(tmp_path / "c.npz")
    assert type(loaded) is type(certificate)
    assert loaded.to_dict(arrays=True) == certificate.to_dict(arrays=True)
    assert repr(loaded) == repr(certificate)
    assert agrees(loaded)


@kinds
@bounds
@pytest.mark.parametrize("violations", ["auto", 0, 1, 0.5])
def test_recomputing_gives_the_same_certificate(kind, bound, violations):
    certificate = MAKERS[kind](sampled(), bound=bound, violations=violations)
    again = recompute(certificate)
    assert again.to_dict(arrays=True) == certificate.to_dict(arrays=True)
    assert agrees(certificate)


def changed(certificate, tmp_path, change):
    """Load a certificate from a file whose parts were changed."""
    certificate.save(tmp_path / "c.npz")
    with np.load(tmp_path / "c.npz") as archive:
        members = {name: archive[name] for name in archive.files}
    header = json.loads(members.pop("header").tobytes())
    change(header, members)
    stream = io.BytesIO()
    np.savez(stream, header=np.frombuffer(json.dumps(header).encode(), dtype=np.uint8), **members)
    (tmp_path / "changed.npz").write_bytes(stream.getvalue())
    return Certificate.load(tmp_path / "changed.npz")


def set_radius(header, radius):
    settings = header["settings"]
    [name] = [name for name in settings if name.endswith("radius")]
    settings[name] = radius


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("top_k", lambda header, arrays: arrays["result.overlap"].__iadd__(1)),
        ("rank", lambda header, arrays: arrays["result.feature_rank"].__isub__(1)),
        ("top_k", lambda header, arrays: set_radius(header, 0.5)),
        ("top_k", lambda header, arrays: header["settings"].update(confidence=1 - 1e-15)),
        ("rank", lambda header, arrays: set_radius(header, 0.5)),
        ("top_k", lambda header, arrays: arrays["map.feature_counts"].__ifloordiv__(3)),
    ],
    ids=["overlap", "rank", "radius", "confidence", "radius of ranks", "counts"],
)
def test_a_certificate_that_states_more_than_its_map_proves_does_not_agree(kind, change, tmp_path):
    certifier = Certifier(bound="hoeffding")
    certificate = certifier.top_k(MAP, k=3, radius=0.25) if kind == "top_k" else certifier.rank(MAP, radius=0.25)
    assert agrees(certificate)
    assert not agrees(changed(certificate, tmp_path, change))


@pytest.mark.parametrize(
    "change",
    [
        lambda header, arrays: header.pop("certificate"),
        lambda header, arrays: header.update(certificate="proof"),
        lambda header, arrays: header.update(certificate=["top_k"]),
        lambda header, arrays: header.pop("settings"),
        lambda header, arrays: header["settings"].pop("k"),
        lambda header, arrays: header["settings"].update(surprise=1),
        lambda header, arrays: header.update(settings=[1]),
        lambda header, arrays: header.pop("map"),
        lambda header, arrays: header.update(map=3),
        lambda header, arrays: header["map"].pop("shapes"),
        lambda header, arrays: arrays.pop("result.overlap"),
        lambda header, arrays: arrays.pop("map.n_samples"),
        lambda header, arrays: arrays.update({"result.surprise": np.zeros(1)}),
        lambda header, arrays: arrays.update({"result.overlap": np.array(["a"])}),
    ],
)
def test_incomplete_certificates_are_refused(change, tmp_path):
    with pytest.raises(FileFormatError, match="Expected "):
        changed(Certifier().top_k(MAP, k=3, radius=0.1), tmp_path, change)


def test_files_of_another_kind_truncated_or_newer_are_refused(tmp_path):
    path = tmp_path / "map.npz"
    MAP.save(path)
    with pytest.raises(FileFormatError, match="to hold a certificate, got 'SmoothedMap'"):
        Certificate.load(path)
    Certifier().top_k(MAP, k=3, radius=0.1).save(path)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(FileFormatError, match="corrupt or truncated"):
        Certificate.load(path)
    with pytest.raises(FileFormatError, match="of version 1 or older, got 2"):
        changed(Certifier().top_k(MAP, k=3, radius=0.1), tmp_path, lambda header, arrays: header.update(version=2))
    with pytest.raises(FileNotFoundError, match="nothing"):
        Certificate.load(tmp_path / "nothing.npz")
