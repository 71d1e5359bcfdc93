"""A report says truly which familiar changes of the picture a size covers, and marks them on its axis."""

import io
import math
import re
from dataclasses import replace

import numpy as np
import pytest
from gallery import blob, image, smoothed
from PIL import Image

from captum_certified.visualization.report_changes import (
    FamiliarChange,
    axis,
    axis_height,
    concentrated,
    coverage,
    familiar_changes,
)

CHANGES = [FamiliarChange("A", 0.0541, 0.0541), FamiliarChange("B", 0.102, 0.102), FamiliarChange("C", 1.29, 1.78)]


def picture(channels=1):
    return np.moveaxis(image(channels=channels)[0].numpy(), 0, 2)


@pytest.mark.parametrize("channels", [1, 3])
def test_sizes_are_those_of_the_changed_pictures(channels):
    shown = picture(channels)
    rounding, jpeg, shift = familiar_changes(smoothed(blob(channels=channels)), shown)
    exact = shown.astype(np.float64)
    assert rounding.most == math.sqrt(exact.size) * 0.5 / 255
    levels = np.round(255 * exact).astype(np.uint8)
    assert np.linalg.norm(levels / 255 - exact) <= rounding.most
    file = io.BytesIO()
    Image.fromarray(levels if channels == 3 else levels[..., 0]).save(file, format="JPEG", quality=95)
    stored = np.asarray(Image.open(file), dtype=np.float64).reshape(exact.shape) / 255
    assert np.linalg.norm(stored - exact) <= jpeg.least == jpeg.most
    padded = np.pad(exact, ((1, 1), (1, 1), (0, 0)), mode="edge")
    moved = [padded[2:, 1:-1], padded[:-2, 1:-1], padded[1:-1, 2:], padded[1:-1, :-2]]
    sizes = [np.linalg.norm(one - exact) for one in moved]
    assert (shift.least, shift.most) == (pytest.approx(min(sizes)), pytest.approx(max(sizes)))


@pytest.mark.parametrize("shown", [4 * picture() - 2, (255 * picture()).astype(np.uint8)])
def test_pictures_that_are_not_the_input_have_no_familiar_changes(shown):
    assert familiar_changes(smoothed(blob()), shown) == []
    assert concentrated(0.5, smoothed(blob()), shown) == ""
    whole = replace(smoothed(blob()), setup={"input_values": 3 * 784})
    assert familiar_changes(whole, picture()) == []


@pytest.mark.parametrize(
    ("radius", "said"),
    [
        (0.0, "It does not cover A (0.055), B (0.11) or C (1.3 to 1.8)."),
        (0.0545, "It does not cover A (0.055), B (0.11) or C (1.3 to 1.8)."),
        (0.055, "It covers A (0.055). It does not cover B (0.11) or C (1.3 to 1.8)."),
        (0.5, "It covers A (0.055) and B (0.11). It does not cover C (1.3 to 1.8)."),
        (1.3, "It covers A (0.055) and B (0.11). It covers C (1.3 to 1.8) in some directions only."),
        (1.79, "It covers A (0.055) and B (0.11). It covers C (1.3 to 1.8) in some directions only."),
        (1.8, "It covers A (0.055), B (0.11) and C (1.3 to 1.8)."),
    ],
)
def test_a_size_covers_what_is_at_most_as_large(radius, said):
    assert coverage(CHANGES, radius) == said
    assert coverage([], radius) == ""


@pytest.mark.parametrize(
    ("radius", "said"),
    [
        (0.0, "0 grey levels in one value"),
        (0.003, "less than one grey level in one value"),
        (0.005, "1 grey level in one value"),
        (0.2, "51 grey levels in one value"),  # 255 · 0.2 is 51, though the nearest float is below
        (0.5, "127 grey levels in one value"),
        (1.0, "all 255 grey levels in one value"),
        (1.5, "all 255 grey levels in 2 values"),
        (50.0, "all 255 grey levels in 784 values"),
    ],
)
def test_a_change_of_few_values_is_rounded_down(radius, said):
    assert concentrated(radius, smoothed(blob()), picture()) == said


def test_the_axis_marks_changes_that_are_on_it():
    drawn = axis(1.44, CHANGES)
    numbers = re.findall(r'y="232" text-anchor="middle">(.*?)<', drawn)
    assert numbers == ["0", "0.2", "0.4", "0.6", "0.8", "1", "1.2", "1.4"]
    places = [float(x) for x in re.findall(r'class="change" d="M([\d.]+) ', drawn)]
    assert places == [pytest.approx(60 + 560 * one.least / 1.44, abs=0.01) for one in CHANGES]
    assert re.findall(r'text-anchor="(start|end)">(.*?)<', drawn) == [
        ("start", "A: 0.055"),
        ("start", "B: 0.11"),
        ("end", "C: 1.3 to 1.8"),
    ]
    assert axis(2.0, CHANGES).count('class="change" d=') == 4  # the smallest and the largest shift
    assert axis_height(1.44, CHANGES) - axis_height(0.01, CHANGES) == 3 * 26
    assert 'class="change"' not in axis(0.01, CHANGES)
