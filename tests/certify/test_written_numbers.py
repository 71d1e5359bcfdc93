"""Written numbers are rounded in the direction in which the statement stays proved."""

import importlib
import math
import re
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib import pyplot as plt

import captum_certified
from captum_certified import Certifier, SmoothedMap
from captum_certified.certify.written_numbers import (
    ceiled_percent,
    floored,
    floored_percent,
    rounded_down,
    rounded_up,
    written_confidence,
    written_error,
)
from captum_certified.visualization import bar_figure, certificate_figure, curve_figure, overlap_figure, report

MAP = SmoothedMap.from_counts(torch.tensor([[1000, 990, 980, 30, 20, 10]]), n_samples=1000, stdevs=0.2)
VALUES = np.concatenate([np.random.default_rng(0).random(500), 10.0 ** np.random.default_rng(1).uniform(-9, 9, 500)])


def test_bounds_are_rounded_outward_by_less_than_their_last_digit():
    for value in (*VALUES.tolist(), 0.1, 0.29, 1.0, 100.0, 123456.0, 1e15, 0.0):
        for digits in (2, 4, 6, 9):
            down, up = float(rounded_down(value, digits)), float(rounded_up(value, digits))
            assert down <= value <= up
            assert up - down <= 10.0 ** (1 - digits) * value * (1 + 1e-9)


def test_shares_and_decimals_are_rounded_down():
    for value in VALUES[:500].tolist():
        assert 0 <= value - float(floored(value, 3)) < 1e-3
        assert 0 <= 100 * value - float(floored_percent(value)) + 1e-12 < 0.1 + 2e-12
        assert 0 <= float(ceiled_percent(value)) - 100 * value + 1e-12 < 0.1 + 2e-12
    for k in (7, 13, 100, 1000):
        for count in range(k + 1):
            assert floored_percent(count / k) == f"{1000 * count // k / 10:.1f}"
    assert floored_percent(1 - 1e-13) == "99.9"
    assert floored_percent(1.0) == "100.0"


def test_a_written_confidence_is_never_too_high():
    for error in 10.0 ** np.random.default_rng(0).uniform(-15, -0.001, 500):
        confidence = 1 - float(error)
        assert float(written_confidence(confidence)) <= confidence < 1
        assert float(written_confidence(confidence, percent=True)) <= 100 * confidence * (1 + 1e-15)
        assert Decimal(written_error(confidence)) >= 100 * (1 - Decimal(repr(confidence)))
        assert confidence - float(written_confidence(confidence)) <= 0.01 * min(confidence, 1 - confidence) + 1e-16
    assert [written_confidence(c) for c in (0.95, 0.5, 0.0004, 1 - 1e-9)] == ["0.95", "0.5", "0.0004", "0.999999999"]
    assert written_confidence(0.999, percent=True) == "99.9"


def test_printed_distances_and_cosines_are_rounded_outward():
    for radius in np.linspace(0.001, 0.05, 200).tolist():
        certificate = Certifier(confidence=1 - 1e-9).distance(MAP, radius=radius)
        text = repr(certificate)
        assert float(re.search(r"at most ([\d.e+-]+)", text)[1]) >= float(certificate.l2)
        assert float(re.search(r"similarity at least ([\d.]+)", text)[1]) <= float(certificate.cosine)
        assert float(re.search(r"radius=([\d.e-]+)", text)[1]) <= radius
        assert "confidence=0.999999999," in text


SURE = 1 - 1e-9
FIGURES = {
    "certificate": lambda c: certificate_figure(c, torch.rand(1, 1, 2, 3))[0],
    "selection": lambda c: certificate_figure(
        Certifier(confidence=SURE).selection(c.map, radius=c.radius), torch.rand(1, 1, 2, 3)
    )[0],
    "bars": lambda c: bar_figure(c)[0],
    "curve": lambda c: curve_figure(c.map, k=3, radii=[c.radius], confidence=SURE)[0],
    "overlaps": lambda c: overlap_figure(torch.tensor([[1.0]]), radii=[c.radius], confidence=SURE)[0],
}


@pytest.mark.parametrize("kind", list(FIGURES))
def test_no_figure_states_more_than_is_proved(kind):
    counts = MAP.feature_counts.reshape(1, 1, 2, 3)
    smoothed_map = SmoothedMap.from_counts(counts, n_samples=1000, stdevs=0.2)
    figure = FIGURES[kind](Certifier(confidence=SURE).top_k(smoothed_map, k=3, radius=0.0123456789))
    texts = " ".join(text.get_text() for text in figure.findobj(plt.Text))
    assert "99.9999999 %" in texts
    assert "100 %" not in texts.replace("≥ 100 % of the top 3", "").replace("100 % of 6 features", "")
    assert kind == "curve" or "0.0123456" in texts
    assert "0.0123457" not in texts


def test_no_report_states_more_than_is_proved(tmp_path):
    smoothed_map = SmoothedMap.from_counts(MAP.feature_counts.reshape(1, 1, 2, 3), n_samples=1000, stdevs=0.2)
    certificate = Certifier(confidence=SURE).top_k(smoothed_map, k=3, radius=0.0123456789)
    report(certificate, tmp_path / "page.html", image=torch.rand(1, 1, 2, 3))
    page = (tmp_path / "page.html").read_text()
    assert "<dd>99.9999999 %." in page
    assert "a chance of at most 0.0000001 %" in page
    assert "at L2 radius 0.0123456:" in page
    assert "0.0123456789" in page  # in the slider's table
    assert "0.0123457" not in page


@pytest.mark.parametrize("package", ["certify", "cli", "visualization"])
def test_proved_numbers_are_not_formatted_elsewhere(package):
    folder = Path(importlib.import_module(captum_certified.__name__).__file__).parent / package
    pattern = re.compile(r"\{[^{}]*(radius|confidence|cosine|mass|l2)\b[^{}]*:[.\d]*[gfe%]\}")
    found = [match[0] for path in folder.glob("*.py") for match in pattern.finditer(path.read_text())]
    assert found == []
    assert not math.isnan(float(rounded_down(math.inf)))
