"""A benchmark: its cells, its numbers, resumption and shards, verification, submissions, and its command."""

import json
import shutil
import zipfile
from pathlib import Path

import pytest
import torch
from captum.attr import InputXGradient, LayerGradCam, Occlusion, Saliency
from captum.metrics import sensitivity_max
from scipy.stats import t
from torch import nn

from captum_certified import (
    Certificate,
    CertificationError,
    Certifier,
    InvalidInputError,
    ScaledSmoothGrad,
    SparsifiedSmoothGrad,
    Upsampled,
    local_lipschitz,
)
from captum_certified.benchmark import (
    Entry,
    Leaderboard,
    Mean,
    benchmark,
    is_benchmark,
    verify_benchmark,
    write_submission,
)
from captum_certified.cli import main

RADIUS = 0.03
QUICK = {"attack_steps": 2, "attack_draws": 4, "neighbours": 3, "lower_bound": 0.0, "upper_bound": 1.0}


def network(seed=0):
    torch.manual_seed(seed)
    convolution = nn.Conv2d(1, 3, 3, padding=1)
    convolution.weight.data *= 6  # curved enough that attacks have a gradient
    return nn.Sequential(convolution, nn.Softplus(), nn.Flatten(), nn.Linear(192, 3)).eval().requires_grad_(False)


MODEL = network()
IMAGES = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
TARGETS = MODEL(IMAGES).argmax(dim=1)


def run(out, methods=None, **changed):
    settings = {
        "target": TARGETS,
        "k": 0.25,
        "radius": RADIUS,
        "nt_samples": 64,
        "stdevs": 0.2,
        "groups": ["patches:2"],
        "seed": 0,
        "out": out,
        **QUICK,
        **changed,
    }
    return benchmark({"Saliency": Saliency(MODEL)} if methods is None else methods, IMAGES, **settings)


def of(board, method):
    [row] = [row for row in board.rows if row["method"] == method]
    return row, {column.title: mean for column, mean in zip(board.columns, row.means, strict=True)}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A folder with three methods and two shams, and its leaderboard."""
    out = tmp_path_factory.mktemp("benchmark")
    occlusion = Entry(
        method=Occlusion(MODEL), arguments={"sliding_window_shapes": (1, 4, 4), "strides": (1, 4, 4)}, examples=1
    )
    grad_cam = Entry(method=Upsampled(LayerGradCam(MODEL, MODEL[0]), sum_channels=True), sign="positive")
    methods = {"Saliency": Saliency(MODEL), "Occlusion": occlusion, "Grad-CAM": grad_cam}
    return out, run(out, methods)


@pytest.fixture
def copy(finished, tmp_path):
    """A copy of the finished folder, to change."""
    shutil.copytree(finished[0], tmp_path / "copy")
    return tmp_path / "copy"


# -- numbers -------------------------------------------------------------------------------------------------------


def test_a_row_has_the_numbers_of_the_certificates(finished):
    out, board = finished
    row, means = of(board, "Saliency")
    maps = [
        Certificate.load(out / "Saliency--sparsified--0.2--patches-2" / f"{name}.npz").map
        for name in ("000000", "000001")
    ]
    for radius in (RADIUS / 2, RADIUS, 2 * RADIUS):
        each = [Certifier().top_k(smoothed, k=4, radius=radius) for smoothed in maps]
        for name, values in {
            "own": [float(one.overlap_fraction) for one in each],
            "plain": [float(one.of_plain.overlap_fraction) for one in each],
            "margin": [float(one.of_plain.margin) for one in each],
        }.items():
            assert means[f"{name} {radius:g}"].value == pytest.approx(sum(values) / 2)
    assert row.examples == 2
    assert row["nt_samples"] == 64
    assert all(0 <= means[name].value <= 1 for name in ("attacked", "transferred", "plain attacked", "class kept"))
    fresh = SparsifiedSmoothGrad(Saliency(MODEL), tau=0.2).sample(
        IMAGES[:1], target=TARGETS[:1], nt_samples=64, stdevs=0.2, groups="patches:2", seed=0
    )
    assert torch.equal(fresh.features, maps[0].features)


def test_only_methods_with_gradients_are_attacked_through_their_own(finished):
    _, board = finished
    for method, attacked in (("Saliency", True), ("Occlusion", False), ("Grad-CAM", False), ("sham: edges", False)):
        means = of(board, method)[1]
        assert (means["attacked"] is not None) == attacked
        assert means["transferred"] is not None
    assert of(board, "Occlusion")[0].examples == 1
    assert of(board, "Occlusion")[1]["own 0.03"].half is None


@pytest.mark.filterwarnings("ignore:Input Tensor 0 did not already require gradients")
def test_the_empirical_metrics_are_those_of_captum(finished):
    """Captum draws its neighbours from the global generator, so it is given the ones that the benchmark draws."""
    out, _ = finished
    record = json.loads((out / "Saliency--sparsified--0.2--patches-2.json").read_text())
    from captum_certified.randomness import derived_seed

    for number, image in enumerate(record["images"]):
        x = IMAGES[number : number + 1]
        generator = torch.Generator().manual_seed(derived_seed(0, number) % 2**63)
        noise = [2 * torch.rand(x.shape, generator=generator, dtype=torch.float64) - 1 for _ in range(3)]
        moved = torch.cat([(x + (0.02 * one).float()).clamp(0, 1) for one in noise])
        worst = sensitivity_max(
            Saliency(MODEL).attribute,
            x,
            lambda inputs, _, moved=moved: moved,
            n_perturb_samples=3,
            target=TARGETS[number : number + 1],
        )
        assert image["sensitivity"] == pytest.approx(float(worst), rel=1e-5)
        maps = Saliency(MODEL).attribute(torch.cat([x, moved]).requires_grad_(), target=int(TARGETS[number])).detach()
        slopes = local_lipschitz(maps[1:], maps[:1].expand_as(maps[1:]), moved, x.expand_as(moved))
        assert image["lipschitz"] == pytest.approx(float(slopes.max()), rel=1e-5)


def test_a_constant_map_is_praised_by_the_metrics_and_has_no_margin(finished):
    _, board = finished
    ranks = {row["method"]: ranks for row, ranks in board.ranks_of_shams()}
    assert set(ranks) == {"sham: constant", "sham: edges"}
    constant = ranks["sham: constant"]
    assert [constant[title] for title in ("own 0.03", "sensitivity_max", "local Lipschitz")] == ["1 of 5"] * 3
    means = of(board, "sham: constant")[1]
    assert means["own 0.06"].value == 1.0
    assert means["sensitivity_max"].value == 0.0
    assert all(of(board, sham)[1][f"margin {r:g}"].value <= 0 for sham in ranks for r in board.radii)


def test_intervals_are_those_of_student():
    mean = Mean.of([0.1, None, 0.4, 0.7])
    assert (mean.value, mean.examples) == (pytest.approx(0.4), 3)
    assert mean.half == pytest.approx(t.ppf(0.975, 2) * 0.3 / 3**0.5)
    assert Mean.of([None, float("nan")]) is None


def test_every_map_noise_level_and_grouping_has_a_cell(tmp_path):
    maps = {"scaled": ScaledSmoothGrad, "sparsified": lambda method, sign: SparsifiedSmoothGrad(method, 0.5, sign=sign)}
    seen = []
    board = run(
        tmp_path,
        {"Saliency": Entry(method=Saliency(MODEL), examples=1)},
        maps=maps,
        stdevs=[0.1, 0.2],
        groups={"cells": "patches:4", "all": None},
        shams=False,
        on_cell=seen.append,
    )
    named = {(row["map"], row["sigma"], row["groups"]) for row in board.rows}
    assert named == {(m, s, g) for m in maps for s in (0.1, 0.2) for g in ("cells", "all")}
    assert len(seen) == len(board.rows) == 8
    assert not board.ranks_of_shams()
    assert all(part.agrees for part in verify_benchmark(tmp_path))


# -- resumption and shards -----------------------------------------------------------------------------------------


class InterruptedRunError(Exception):
    """What interrupts a run in a test."""


class Counted(Saliency):
    """Saliency that counts its calls, and may be interrupted."""

    calls, last = 0, 10**9

    def attribute(self, *args, **kwargs):
        Counted.calls += 1
        if Counted.calls > Counted.last:
            raise InterruptedRunError
        return super().attribute(*args, **kwargs)


def test_an_interrupted_run_continues_without_repeating_cells(tmp_path):
    run(tmp_path / "whole", {"a": Counted(MODEL), "b": Counted(MODEL)}, shams=False)
    Counted.calls, whole = 0, Counted.calls
    Counted.last = 3 * whole // 4
    with pytest.raises(InterruptedRunError):
        run(tmp_path / "cut", {"a": Counted(MODEL), "b": Counted(MODEL)}, shams=False)
    assert [path.name for path in (tmp_path / "cut").glob("*.json")] == ["a--sparsified--0.2--patches-2.json"]
    written = next((tmp_path / "cut").glob("*.json")).stat().st_mtime_ns
    Counted.calls, Counted.last = 0, 10**9
    board = run(tmp_path / "cut", {"a": Counted(MODEL), "b": Counted(MODEL)}, shams=False)
    assert Counted.calls < 0.6 * whole
    assert next((tmp_path / "cut").glob("a*.json")).stat().st_mtime_ns == written
    Counted.calls = 0
    again = run(tmp_path / "cut", {"a": Counted(MODEL), "b": Counted(MODEL)}, shams=False)
    assert Counted.calls < 0.3 * whole  # of a kept map, only what identifies its explanation is computed
    assert without_times(again) == without_times(board) == without_times(Leaderboard.load(tmp_path / "whole"))


def without_times(board):
    images = [[{k: v for k, v in image.items() if k != "seconds"} for image in one["images"]] for one in board.records]
    return [{**record, "images": each} for record, each in zip(board.records, images, strict=True)]


def test_another_model_redoes_the_cell(tmp_path):
    first = run(tmp_path, shams=False)
    with (
        pytest.warns(UserWarning, match="model changed"),
        pytest.warns(UserWarning, match="replace others of the same inputs"),
    ):
        second = run(tmp_path, {"Saliency": Saliency(network(1))}, shams=False)
    assert of(first, "Saliency")[0]["explanation"] != of(second, "Saliency")[0]["explanation"]
    assert all(part.agrees for part in verify_benchmark(tmp_path))


def test_shards_compute_different_cells_and_agree_with_one_run(finished, tmp_path):
    methods = {"Saliency": Saliency(MODEL), "InputXGradient": InputXGradient(MODEL)}
    names = []
    for part in (1, 2):
        seen = []
        run(tmp_path, methods, shard=(part, 2), on_cell=seen.append)
        names.append({record["method"] for record in seen})
    assert names == [{"Saliency", "sham: constant"}, {"InputXGradient", "sham: edges"}]
    board = Leaderboard.load(tmp_path)
    assert {row["method"] for row in board.rows} == names[0] | names[1]
    assert of(board, "Saliency")[1]["own 0.03"] == of(finished[1], "Saliency")[1]["own 0.03"]
    assert all(part.agrees for part in verify_benchmark(tmp_path))


def test_a_cell_that_fails_is_recorded_and_the_others_go_on(tmp_path):
    class Broken(Saliency):
        def attribute(self, *args, **kwargs):
            raise ValueError("this method is broken")

    methods = {"broken": Broken(MODEL), "Saliency": Saliency(MODEL)}
    with pytest.raises(CertificationError, match="this method is broken"):
        run(tmp_path / "one", methods, shams=False)
    board = run(tmp_path / "two", methods, shams=False, on_failure="record")
    assert [row["method"] for row in board.rows] == ["Saliency"]
    assert "broken, sparsified, σ = 0.2, patches:2: CertificationError: Expected a model that takes" in (
        tmp_path / "two" / "leaderboard.md"
    ).read_text(encoding="utf-8")
    assert "Not computed" in (tmp_path / "two" / "leaderboard.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("changed", "match"),
    [
        ({"stdevs": []}, r"Expected `methods`, `stdevs` and `maps` to compare, got 1, 0 and 1\."),
        ({"groups": ["none", None]}, r"Expected `groups` with distinct names, as a dict if need be, got \['none'\]\."),
        ({"names": ["a"]}, r"Expected a name for each of 2 `inputs`, got 1\."),
        ({"neighbour_radius": 0}, r"Expected `neighbour_radius` to be a finite number > 0, got 0\."),
        ({"attack_steps": 0}, r"Expected `steps` to be an integer >= 1, got 0\."),
        ({"shard": (3, 2)}, r"Expected `shard` \(I, N\) with I from 1 to N, got \(3, 2\)\."),
    ],
)
def test_wrong_arguments_are_refused(tmp_path, changed, match):
    with pytest.raises(InvalidInputError, match=match):
        run(tmp_path, **changed)


def test_inputs_without_examples_are_refused(tmp_path):
    with pytest.raises(InvalidInputError, match="Expected `inputs` to be a tensor of shape"):
        benchmark(
            {"Saliency": Saliency(MODEL)}, (IMAGES,), target=0, k=1, radius=0, nt_samples=2, stdevs=1, out=tmp_path
        )


# -- verification --------------------------------------------------------------------------------------------------


def differences(folder):
    return {part.path.name: " ".join(part.differences) for part in verify_benchmark(folder) if not part.agrees}


def numbers_in(value, path=()):
    """Yield the path of every number in JSON values."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        if isinstance(inner, int | float) and not isinstance(inner, bool):
            yield (*path, key)
        yield from numbers_in(inner, (*path, key))


def test_every_changed_number_of_an_image_is_found(copy):
    for other in [*copy.glob("sham*.json"), *copy.glob("Grad-CAM*.json"), *copy.glob("Occlusion*.json")]:
        other.unlink()
    path = copy / "Saliency--sparsified--0.2--patches-2.json"
    record = json.loads(path.read_text())
    places = [place for place in numbers_in(record["images"][0]) if place != ("seconds",)]
    assert len(places) == 22
    for place in places:
        changed = json.loads(json.dumps(record))
        at = changed["images"][0]
        for key in place[:-1]:
            at = at[key]
        at[place[-1]] += 0.01
        path.write_text(json.dumps(changed))
        assert f"000000: {place[0]}" in differences(copy)[path.name]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda record: record.update(sigma=0.1), "sigma: stored 0.1, recomputed 0.2"),
        (lambda record: record["settings"].update(confidence=0.99), "confidence: stored 0.99, recomputed 0.95"),
        (lambda record: record["settings"].update(radius=0.1), "radius: stored 0.1, recomputed 0.03"),
        (lambda record: record["explanation"].update(model="0" * 32), "explanation.model"),
        (lambda record: record.update(sham=True), "sham: stored True, recomputed False"),
        (lambda record: record["settings"].update(steps=100), "attack: steps 2, but the cell states 100"),
        (lambda record: record["settings"].update(neighbours=99), "neighbours: neighbours 3, but the cell states 99"),
        (lambda record: record.update(images=record["images"][:1] * 2), "000000: the same input several times"),
        (lambda record: record.update(images=[]), "Expected"),
        (lambda record: record.update(plain_maps="../secret"), "Expected the name of a folder"),
        (lambda record: record["images"][0].update(name="../../x"), "Expected the name of an image"),
        (lambda record: record["images"][1].update(name="000000"), "000000: own"),
    ],
)
def test_changed_claims_about_a_cell_are_found(copy, change, said):
    path = copy / "Saliency--sparsified--0.2--patches-2.json"
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record))
    assert said in differences(copy)[path.name]


def test_maps_of_another_cell_and_changed_pages_are_found(copy):
    name = "--sparsified--0.2--patches-2"
    for source, target in ((f"sham-edges{name}", f"Saliency{name}"),):
        shutil.copy(copy / source / "attacked" / "000000.npz", copy / target / "attacked" / "000000.npz")
    shutil.copy(copy / "plain" / "sham-edges--patches-2" / "000001.npz", copy / "plain" / "Saliency--patches-2")
    page = copy / "leaderboard.md"
    page.write_text(page.read_text(encoding="utf-8").replace("Saliency", "Salience", 1), encoding="utf-8")
    (copy / "leaderboard.html").unlink()
    found = differences(copy)
    assert found.keys() == {f"Saliency{name}.json", "leaderboard.md", "leaderboard.html"}
    assert (
        "transferred attack: method 'EdgeDetector', but the certified map has 'Saliency'"
        in found[f"Saliency{name}.json"]
    )
    assert "000001: plain maps: the map at the input is not the plain map" in found[f"Saliency{name}.json"]
    assert found["leaderboard.md"] == "the page differs from what this version of the package writes from the cells"
    assert found["leaderboard.html"] == "the page is missing"


# -- submissions ---------------------------------------------------------------------------------------------------


def test_a_submission_holds_maps_and_digests_and_no_images(finished, tmp_path, capsys):
    out, _ = finished
    archive = write_submission(out, tmp_path / "entry.zip", about="a tiny network")
    with zipfile.ZipFile(archive) as opened:
        opened.extractall(tmp_path / "unpacked")
    manifest = json.loads((tmp_path / "unpacked" / "submission.json").read_text())
    assert (manifest["about"], manifest["cells"]) == ("a tiny network", 5)
    assert {"captum", "torch"} <= manifest["versions"].keys()
    assert differences(tmp_path / "unpacked") == {}
    assert main(["verify", str(tmp_path / "unpacked")]) == 0
    assert "submission.json: agrees" in capsys.readouterr().out
    changed = tmp_path / "unpacked" / "plain" / "Saliency--patches-2" / "000000.npz"
    changed.write_bytes(changed.read_bytes()[:-30])
    (tmp_path / "unpacked" / "extra.json").write_text('{"kind": "benchmark failure"}')
    found = differences(tmp_path / "unpacked")
    assert "plain/Saliency--patches-2/000000.npz: not the file that was packed" in found["submission.json"]
    assert "extra.json: not expected" in found["submission.json"]
    assert "cannot be recomputed" in found["Saliency--sparsified--0.2--patches-2.json"]
    assert main(["verify", str(tmp_path / "unpacked")]) == 1
    with pytest.raises(InvalidInputError, match=r"Expected a submission to end in \.zip, got 'entry\.tar'\."):
        write_submission(out, tmp_path / "entry.tar")


def test_only_folders_with_cells_are_benchmarks(finished, tmp_path):
    assert is_benchmark(finished[0])
    (tmp_path / "broken.json").write_text("{")
    assert not is_benchmark(tmp_path)


# -- the command ---------------------------------------------------------------------------------------------------


def test_the_command_writes_verifies_and_submits(folder, capsys):
    words = ["benchmark", "one.png", "two.jpg", "--model", f"{folder}:made", "--model-arg", "12", "--size", "12"]
    words += ["--radius", "0.05", "--samples", "64", "--steps", "2", "--attack-draws", "4", "--neighbours", "2", "-q"]
    words += [
        "--methods",
        "Saliency,FeatureAblation",
        "--maps",
        "relaxed",
        "--groups",
        "patches:4",
        "--tau",
        "0.5",
    ]
    assert main([*words, "--out", "out", "--shard", "1/2"]) == 0
    assert len(list(Path("out").glob("*.json"))) == 2
    assert main([*words, "--out", "out", "--submit", "entry.zip"]) == 0
    printed = capsys.readouterr().out
    assert "Saliency, relaxed, σ = 0.1, patches:4: mean certified at L2 radius 0.05 over 2 images: " in printed
    assert "Submission: entry.zip" in printed
    assert len(list(Path("out").glob("*.json"))) == 4
    assert main(["verify", "out"]) == 0
    path = next(Path("out").glob("Saliency--relaxed*.json"))
    record = json.loads(path.read_text())
    record["images"][1]["class_kept"] += 0.01
    path.write_text(json.dumps(record))
    assert main(["verify", "out"]) == 1
    assert "class_kept: stored" in capsys.readouterr().out
    assert main([*words, "--maps", "blurred"]) == 2
    assert main([*words, "--submit", "entry.tar"]) == 2
    assert "Expected `--submit` to be a file that ends in .zip, got entry.tar." in capsys.readouterr().err
