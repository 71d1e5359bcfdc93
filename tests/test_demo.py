"""The demo: its results are deterministic and not trivial, and its files are complete."""

import io
import json
import sys

import pytest
import torch

from captum_certified import CaptumCertifiedError, Certifier, InvalidInputError
from captum_certified.demo import DemoSettings, load_digits, run_demo, train_classifier
from captum_certified.runs import verify

SMALL = DemoSettings(images=3, samples=1024)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    directory = tmp_path_factory.mktemp("demo") / "deep" / "out"
    return run_demo(SMALL, directory), directory


def test_digits_are_split_into_parts_with_pixels_in_the_unit_interval():
    digits = load_digits()
    assert digits.train_images.shape == (1500, 1, 8, 8)
    assert digits.test_images.shape == (297, 1, 8, 8)
    assert (float(digits.train_images.min()), float(digits.train_images.max())) == (0.0, 1.0)
    assert sorted(set(digits.test_labels.tolist())) == list(range(10))


def test_classifier_is_deterministic_and_accurate_and_leaves_the_generators_alone():
    digits, state = load_digits(), torch.get_rng_state()
    models = [train_classifier(digits, sigma=0.25, seed=3) for _ in range(2)]
    assert torch.equal(torch.get_rng_state(), state)
    assert not models[0].training
    for one, two in zip(models[0].parameters(), models[1].parameters(), strict=True):
        torch.testing.assert_close(one, two, rtol=0, atol=0)
    with torch.no_grad():
        correct = models[0](digits.test_images).argmax(dim=1) == digits.test_labels
    assert int(correct.sum()) >= 280


def test_certified_overlaps_are_neither_vacuous_nor_perfect(made):
    report, _ = made
    shares = [float(result.certificate.overlap_fraction[0]) for result in report.results]
    assert all(0.3 <= share <= 0.95 for share in shares)
    assert all(result.paper <= int(result.certificate.overlap[0]) for result in report.results)


def test_files_are_complete_and_pass_verification(made):
    report, directory = made
    names = sorted(path.name for path in directory.iterdir())
    assert names == [
        "attacks.png",
        "certificates.png",
        *(f"digit-{i}.{kind}" for i in range(3) for kind in ("json", "npz")),
    ]
    assert report.figure.read_bytes().startswith(b"\x89PNG")
    assert report.attacks.read_bytes().startswith(b"\x89PNG")
    assert all(verify(result.path).agrees for result in report.results)


def test_results_record_settings_seed_versions_input_and_prediction(made):
    report, _ = made
    record = json.loads(report.results[0].path.read_text())
    assert (record["seed"], record["n_samples"], record["stdevs"], record["radius"]) == (0, [1024], 0.25, 0.2)
    assert (record["label"], record["prediction"]) == (report.results[0].label, report.results[0].prediction)
    assert record["overlap_theorem2"] == report.results[0].paper
    assert len(record["input_digest"]) == 64
    assert {"torch", "captum", "captum-certified", "python"} <= record["versions"].keys()


def test_attacked_overlaps_stay_above_the_certificates_and_are_recorded(made):
    report, _ = made
    for result in report.results:
        assert int(result.certificate.overlap[0]) <= result.attacked.smoothed <= result.certificate.k
        record = json.loads(result.path.read_text())
        recorded = (record["overlap_attacked"], record["overlap_attacked_plain_map"])
        assert recorded == (result.attacked.smoothed, result.attacked.plain)
    assert any(result.attacked.plain < result.certificate.k for result in report.results)


def test_paper_bound_is_theorem_2_of_the_same_draws(made):
    report, _ = made
    certificate = report.results[1].certificate
    paper = Certifier(bound="theorem2").top_k(certificate.map, k=13, radius=0.2)
    assert report.results[1].paper == int(paper.overlap[0])


def test_same_settings_give_the_same_results(made, tmp_path):
    report, _ = made
    again = run_demo(SMALL, tmp_path)
    for one, two in zip(report.results, again.results, strict=True):
        assert json.loads(one.path.read_text()) == json.loads(two.path.read_text())


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"images": 0}, "Expected `images` from 1 to 297, got 0"),
        ({"images": 298}, "Expected `images` from 1 to 297, got 298"),
        ({"samples": 1}, "Expected at least 2 draws"),
        ({"tau": 0.0}, "Expected `tau`"),
        ({"k": 65}, "Expected `k`"),
        ({"radius": -1.0}, "Expected `radius`"),
        ({"sigma": 0.0}, "Expected a map smoothed with `stdevs` > 0"),
        ({"sigma": float("nan")}, "Expected `stdevs`"),
    ],
)
def test_settings_out_of_range_are_refused_before_anything_is_written(tmp_path, settings, match):
    with pytest.raises(CaptumCertifiedError, match=match):
        run_demo(DemoSettings(**settings), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_images_out_of_range_are_invalid_input(tmp_path):
    with pytest.raises(InvalidInputError, match="Expected `images`"):
        run_demo(DemoSettings(images=1000), tmp_path)


def test_the_error_without_scikit_learn_names_the_extra(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(CaptumCertifiedError, match=r"pip install 'captum-certified\[demo\]'"):
        run_demo(SMALL, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_progress_goes_to_stderr(monkeypatch, tmp_path):
    errors = io.StringIO()
    monkeypatch.setattr(sys, "stderr", errors)
    run_demo(DemoSettings(images=1, samples=8), tmp_path, show_progress=True)
    assert "training a classifier" in errors.getvalue()
    assert "certifying and attacking digits" in errors.getvalue()
