"""Files of maps: a saved map is read back unchanged, and every other file is refused."""

import dataclasses
import io
import itertools
import json
import math
import re
import zipfile

import numpy as np
import pytest
import torch
from test_smoothed_map import draws, map_of, summary

from captum_certified import FileFormatError, SmoothedMap, SparsifiedSmoothGrad
from captum_certified.storage import read_archive, write_archive

IMAGES = torch.rand((2, 3, 4, 4), generator=torch.Generator().manual_seed(0))


class ChannelDifference(torch.nn.Module):
    def forward(self, images):
        return images.flatten(1).square().cumsum(1)[:, ::7]


def sampled(**settings):
    from captum.attr import Saliency

    explainer = SparsifiedSmoothGrad(Saliency(ChannelDifference()), tau=0.2)
    return explainer.sample(IMAGES, nt_samples=6, stdevs=0.1, seed=5, **{"target": 3, **settings})


MAPS = {
    "counts": lambda: map_of(draws(), first=3),
    "moments": lambda: map_of(draws(binary=False), first=3, max_squared_norm=2.5),
    "trace": lambda: SmoothedMap.from_mean(
        torch.full((2, 3), 0.5), n_samples=9, stdevs=0.1, trace=torch.tensor([0.7, 0.2])
    ),
    "tuple": lambda: SmoothedMap.from_counts(
        (torch.tensor([[1, 2]]), torch.tensor([[[3]]])), n_samples=9, stdevs=(0.1, 0.0)
    ),
    "covariance": lambda: map_of(draws(), covariance=summary(4, 6)),
    "short covariance": lambda: map_of(draws(), covariance=summary(4, 6, full=False)),
    "rows of their own": lambda: SmoothedMap.from_counts(torch.tensor([[5], [5]]), torch.tensor([9, 10]), 0.1),
    "sampled": sampled,
    "channels": lambda: sampled(groups="channels"),
    "grouped": lambda: sampled(groups=torch.arange(48).reshape(1, 3, 4, 4) // 5),
    "grouped by row": lambda: sampled(groups=torch.arange(96).reshape(2, 3, 4, 4) % 7),
    "targets of their own": lambda: sampled(target=torch.tensor([6, 5])),
    "argmax": lambda: sampled(target="argmax"),
}


def assert_equal_maps(one, two):
    assert one.layout.same_as(two.layout)
    assert one.layout.by_channel == two.layout.by_channel
    for name in ("n_samples", "feature_counts", "feature_mean", "second_moment", "given_trace", "plain", "trace"):
        first, second = getattr(one, name), getattr(two, name)
        assert (first is None) == (second is None), name
        assert first is None or (first.dtype == second.dtype and torch.equal(first, second)), name
    for name in ("stdevs", "max_squared_norm", "provenance", "setup", "seed", "draws", "sigma", "binary"):
        assert getattr(one, name) == getattr(two, name), name
    assert type(one.stdevs) is type(two.stdevs)
    if one.covariance is not None:
        assert {k: v.tolist() for k, v in one.covariance.parts().items()} == {
            k: v.tolist() for k, v in two.covariance.parts().items()
        }
    else:
        assert two.covariance is None


@pytest.mark.parametrize("kind", list(MAPS))
def test_a_saved_map_comes_back_equal(kind, tmp_path):
    smoothed_map = MAPS[kind]()
    smoothed_map.save(tmp_path / "map.npz")
    assert_equal_maps(SmoothedMap.load(tmp_path / "map.npz"), smoothed_map)


def test_a_loaded_map_can_be_merged_and_knows_its_draws(tmp_path):
    values = draws()
    map_of(values[:, :10], first=0).save(tmp_path / "a")
    loaded = SmoothedMap.load(str(tmp_path / "a"))
    assert loaded.merge(map_of(values[:, 10:], first=10)).draws == (((0, 30),), ((0, 30),))
    with pytest.raises(ValueError, match="distinct draws"):
        loaded.merge(map_of(values, first=9))


def test_files_are_complete_or_absent(tmp_path, monkeypatch):
    path = tmp_path / "map.npz"
    map_of(draws(), first=3).save(path)
    before = path.read_bytes()

    def fails(*_, **__):
        raise OSError("disk full")

    monkeypatch.setattr(np, "savez_compressed", fails)
    with pytest.raises(OSError, match="disk full"):
        map_of(draws(), first=9).save(path)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["map.npz"]


def test_a_missing_file_and_a_missing_folder_raise_file_not_found(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nothing\.npz"):
        SmoothedMap.load(tmp_path / "nothing.npz")
    with pytest.raises(FileNotFoundError, match="no such folder"):
        map_of(draws()).save(tmp_path / "no such folder" / "map.npz")


# -- refusals ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    path = tmp_path_factory.mktemp("stored") / "map.npz"
    sampled(groups="channels").save(path)
    return path.read_bytes()


def load_bytes(content, tmp_path):
    (tmp_path / "map.npz").write_bytes(content)
    return SmoothedMap.load(tmp_path / "map.npz")


@pytest.mark.parametrize("content", [b"", b"\n", b"not an archive", b"PK\x03\x04", b"\x80\x04K\x01.", b"\x93NUMPY"])
def test_other_files_are_refused(content, tmp_path):
    with pytest.raises(FileFormatError, match=r"Expected .*map\.npz to be a SmoothedMap file"):
        load_bytes(content, tmp_path)


def test_a_single_array_is_refused(tmp_path):
    stream = io.BytesIO()
    np.save(stream, np.arange(3))
    with pytest.raises(FileFormatError, match="to be a SmoothedMap file"):
        load_bytes(stream.getvalue(), tmp_path)


@pytest.mark.parametrize("kept", [0.01, 0.1, 0.5, 0.9, 0.99, 0.9999])
def test_truncated_files_are_refused(stored, kept, tmp_path):
    with pytest.raises(FileFormatError, match="corrupt or truncated"):
        load_bytes(stored[: int(kept * len(stored))], tmp_path)


def test_no_flipped_byte_changes_a_map_or_raises_anything_else(stored, tmp_path):
    original = load_bytes(stored, tmp_path)
    rng = np.random.default_rng(0)
    positions = {*range(60), *range(len(stored) - 60, len(stored)), *rng.integers(0, len(stored), 400).tolist()}
    refused = 0
    for position in sorted(positions):
        for flipped in (0xFF, 0x01):
            damaged = bytearray(stored)
            damaged[position] ^= flipped
            try:
                loaded = load_bytes(bytes(damaged), tmp_path)
            except FileFormatError:
                refused += 1
            else:
                assert_equal_maps(loaded, original)
    assert refused > len(positions), "most damage must be noticed"


def test_a_directory_that_has_lost_members_is_refused(stored, tmp_path):
    """The comment of a member may cover all entries behind it, which no reader of archives notices."""
    entries = [match.start() for match in re.finditer(b"PK\x01\x02", stored)]
    for entry, following in itertools.pairwise(entries):
        damaged = bytearray(stored)
        covered = stored.rindex(b"PK\x05\x06") - following
        damaged[entry + 32 : entry + 34] = covered.to_bytes(2, "little")
        assert len(zipfile.ZipFile(io.BytesIO(damaged)).namelist()) == entries.index(following)
        with pytest.raises(FileFormatError, match="to hold the arrays"):
            load_bytes(bytes(damaged), tmp_path)


def rewritten(stored, *, header=None, **arrays):
    """The stored archive with changed header entries and arrays; ``None`` removes one."""
    with np.load(io.BytesIO(stored)) as archive:
        members = {name: archive[name] for name in archive.files}
    text = {**json.loads(members.pop("header").tobytes()), **(header or {})}
    text = {key: value for key, value in text.items() if value is not ...}
    members = {name: array for name, array in (members | arrays).items() if array is not None}
    text["arrays"] = sorted(members)
    stream = io.BytesIO()
    np.savez(
        stream,
        header=np.frombuffer(json.dumps(text).encode(), dtype=np.uint8),
        **members,
    )
    return stream.getvalue()


@pytest.mark.parametrize("version", [2, 999, "1", None, 1.5])
def test_newer_versions_are_refused(stored, version, tmp_path):
    with pytest.raises(FileFormatError, match=r"to be of version 1 or older, got .*; update captum_certified\."):
        load_bytes(rewritten(stored, header={"version": version}), tmp_path)


def test_other_kinds_are_refused(stored, tmp_path):
    with pytest.raises(FileFormatError, match="to hold a SmoothedMap, got 'certificate'"):
        load_bytes(rewritten(stored, header={"kind": "certificate"}), tmp_path)


@pytest.mark.parametrize(
    "header",
    [
        {"shapes": [[3, 4, 5]]},
        {"shapes": ...},
        {"shapes": 3},
        {"shapes": [["a"]]},
        {"shapes": [[-3, 4, 4]]},
        {"n_features": 15},
        {"n_features": None},
        {"n_features": 1e400},
        {"stdevs": "wide"},
        {"stdevs": ...},
        {"max_squared_norm": [1]},
        {"provenance": []},
        {"provenance": [[[1, 2]], [[1, 2]]]},
        {"provenance": [5, 5]},
        {"provenance": [[[5, 0, 6]], [[5, 0, 7]]]},
        {"provenance": [[[5, 0, 6]], [[5, 0, 3], [5, 2, 5]]]},
        {"provenance": [[[5, 0, 6]], [[5, -3, 3]]]},
        {"provenance": [[[5, 0, 6]], [[5, 0, 8], [5, 9, 7]]]},
        {"stdevs": -0.1},
        {"stdevs": math.nan},
        {"stdevs": True},
        {"stdevs": [0.1, math.inf]},
        {"max_squared_norm": -1.0},
        {"max_squared_norm": 0},
        {"max_squared_norm": math.nan},
        {"max_squared_norm": math.inf},
        {"setup": 3},
        {"setup": ...},
        {"is_tuple": ...},
    ],
    ids=str,
)
def test_headers_that_do_not_fit_are_refused(stored, header, tmp_path):
    with pytest.raises(FileFormatError, match="Expected a complete SmoothedMap, got an inconsistent one"):
        load_bytes(rewritten(stored, header=header), tmp_path)


@pytest.mark.parametrize(
    "arrays",
    [
        {"n_samples": None},
        {"n_samples": np.array([6.0, 6.0])},
        {"n_samples": np.array([6, 0])},
        {"n_samples": np.array([6, 6, 6])},
        {"n_samples": np.array(6)},
        {"feature_counts": None},
        {"feature_counts": np.zeros((2, 15), dtype=np.int64)},
        {"feature_counts": np.zeros((2, 16))},
        {"feature_counts": np.full((2, 16), 7)},
        {"feature_counts": np.full((2, 16), -1)},
        {"feature_counts": np.array([["a"] * 16] * 2)},
        {"feature_mean": np.zeros((2, 16))},
        {"plain": np.full((2, 16), np.nan)},
        {"group_ids.0": np.full((1, 3, 4, 4), 16)},
        {"group_ids.0": np.full((1, 3, 4, 4), -1)},
        {"group_ids.0": np.zeros((1, 3, 4, 4))},
        {"group_ids.0": np.zeros((1, 3, 4, 5), dtype=np.int64)},
        {"feature_counts": np.ones((2, 16), dtype=np.int32)},
        {"feature_counts": None, "feature_mean": np.full((2, 16), 0.5, dtype=np.float32)},
        {"feature_counts": None, "feature_mean": np.full((2, 16), 0.5), "second_moment": np.full((2, 16), 0.2)},
        {"feature_counts": None, "feature_mean": np.full((2, 16), 1e6), "second_moment": np.full((2, 16), 0.9e12)},
        {"second_moment": np.zeros((2, 16))},
        {"plain": np.full((2, 16), -1.0)},
        {"group_ids.0": np.zeros((3, 3, 4, 4), dtype=np.int64)},
        {"given_trace": np.zeros(3)},
        {"given_trace": np.array([1.0, -1e-9])},
        {"given_trace": np.array([1.0, np.nan])},
        {"given_trace": np.array([1.0, np.inf])},
        {"given_trace": np.ones(2, dtype=np.int64)},
        {"covariance.pairs": np.array([3.0, 3.5]), "covariance.top_eigenvalue": np.ones(2)},
        {"covariance.pairs": np.array([3.0, 0.5]), "covariance.top_eigenvalue": np.ones(2)},
        {"covariance.pairs": np.array([3.0, 3.0]), "covariance.top_eigenvalue": np.array([1.0, -1.0])},
        {"covariance.pairs": np.array([3.0, 3.0]), "covariance.top_eigenvalue": np.array([1.0, np.nan])},
        {"covariance.top_eigenvalue": None},
        {"covariance.pairs": np.ones(3), "covariance.top_eigenvalue": np.ones(3)},
        {"covariance.surprise": np.ones(2)},
    ],
    ids=lambda arrays: ",".join(arrays),
)
def test_arrays_that_do_not_fit_are_refused(stored, arrays, tmp_path):
    with pytest.raises(FileFormatError, match="Expected a complete SmoothedMap, got an inconsistent one"):
        load_bytes(rewritten(stored, **arrays), tmp_path)


def test_object_arrays_are_refused_and_never_unpickled(stored, tmp_path):
    class Trap:
        def __reduce__(self):
            return (pytest.fail, ("the file ran code",))

    with pytest.raises(FileFormatError, match="it holds objects"):
        load_bytes(rewritten(stored, plain=np.array([Trap()], dtype=object)), tmp_path)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (None, "has no header"),
        (np.zeros(3), "has no header"),
        (np.zeros((1, 1), dtype=np.uint8), "has no header"),
        (np.frombuffer(b"{", dtype=np.uint8), "its header is not JSON"),
        (np.frombuffer(b"\xff\xfe", dtype=np.uint8), "its header is not JSON"),
        (np.frombuffer(b"[" * 100_000, dtype=np.uint8), "its header is not JSON"),
        (np.frombuffer(b"[1]", dtype=np.uint8), "its header is not an object"),
    ],
)
def test_missing_and_broken_headers_are_refused(header, message, tmp_path):
    stream = io.BytesIO()
    np.savez(stream, other=np.zeros(1), **({} if header is None else {"header": header}))
    with pytest.raises(FileFormatError, match=message):
        load_bytes(stream.getvalue(), tmp_path)


def test_encrypted_members_are_refused(stored, tmp_path):
    damaged = bytearray(stored)
    with zipfile.ZipFile(io.BytesIO(stored)) as archive:
        offsets = [info.header_offset for info in archive.infolist()]
    central = stored.index(b"PK\x01\x02")
    for offset in (offsets[0] + 6, central + 8):
        damaged[offset] |= 1
    with pytest.raises(FileFormatError, match="to be a SmoothedMap file"):
        load_bytes(bytes(damaged), tmp_path)


def test_archives_hold_what_was_written(tmp_path):
    arrays = {"a": np.arange(4), "b.c": np.array([[True, False]])}
    write_archive(tmp_path / "x.bin", kind="Thing", header={"n": 3}, arrays=arrays)
    header, read = read_archive(tmp_path / "x.bin", kind="Thing")
    assert header == {"kind": "Thing", "version": 1, "arrays": ["a", "b.c"], "n": 3}
    assert {name: array.tolist() for name, array in read.items()} == {n: a.tolist() for n, a in arrays.items()}


def test_a_map_of_almost_nothing_can_be_read_again(tmp_path):
    """Its archive compresses more than a hundredfold, which would be refused in an untrusted file."""
    counts = torch.zeros(120, 150_528, dtype=torch.int64)
    counts[:, ::1000] = 3
    smoothed_map = SmoothedMap.from_counts(counts, n_samples=100, stdevs=0.2)
    smoothed_map.save(tmp_path / "map.npz")
    assert torch.equal(SmoothedMap.load(tmp_path / "map.npz").counts, counts)


def test_maps_beyond_the_unit_interval_can_be_read_again(tmp_path):
    """Maps of raw magnitudes cannot be certified, but they can be stored."""
    large = dataclasses.replace(
        map_of(draws(binary=False)), feature_mean=torch.full((2, 5), 1e7).double() / 3, max_squared_norm=None,
        second_moment=(torch.full((2, 5), 1e7).double() / 3).square(),
    )  # fmt: skip
    large.save(tmp_path / "map.npz")
    assert_equal_maps(SmoothedMap.load(tmp_path / "map.npz"), large)


@pytest.mark.parametrize(("name", "value"), [("mask", False), ("shares", 1.5), ("shares", -0.5)])
def test_regions_that_do_not_fit_are_refused(name, value, tmp_path):
    region = torch.zeros(1, 3, 4, 4, dtype=torch.bool)
    region[..., 0] = True
    sampled(region=region).save(tmp_path / "map.npz")
    stored = (tmp_path / "map.npz").read_bytes()
    with np.load(io.BytesIO(stored)) as archive:
        array = np.full_like(archive[f"region.0.{name}"], value)
    with pytest.raises(FileFormatError, match=f"inconsistent one: `{name}` does not fit"):
        load_bytes(rewritten(stored, **{f"region.0.{name}": array}), tmp_path)
