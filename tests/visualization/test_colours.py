"""Colours that are used together can be told apart, also by readers with deuteranopia."""

import itertools

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from captum_certified.certify.bounds.registry import BEST
from captum_certified.certify.bounds.registry import BOUNDS as KNOWN
from captum_certified.visualization.colours import (
    ATTACKED,
    BESIDE,
    BOUNDS,
    FAINT,
    KINDS,
    LEFT,
    NEW,
    NOTHING,
    OUTSIDE,
    STRONG,
    ordered,
)

# Linear RGB as a person with deuteranopia sees it: Machado, Oliveira and Fernandes (2009), severity 1.0.
DEUTERANOPIA = np.array(
    [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
)
TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
LEAST = 20.0  # CIE 1976 colour difference; a difference of 2.3 is just noticeable when two fields touch
WHITE, BLACK, FADED = "#FFFFFF", "#000000", "#D6D6D6"  # the page, whiskers, and the darkest pixel of a faded image


def lab(colour, seen_by):
    """CIELAB coordinates of an sRGB colour under white light (D65)."""
    encoded = np.array(to_rgb(colour))
    linear = np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    x, y, z = TO_XYZ @ np.clip(seen_by @ linear, 0, 1) / TO_XYZ.sum(axis=1)
    f = [np.cbrt(t) if t > 216 / 24389 else (24389 / 27 * t + 16) / 116 for t in (x, y, z)]
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def difference(one, other, seen_by):
    return float(np.linalg.norm(lab(one, seen_by) - lab(other, seen_by)))


def pairs():
    """Every pair of colours that stands in one figure, and every colour with what lies behind it."""
    sets = {
        "marks of a certificate": ([STRONG, FAINT], [FADED, WHITE]),
        "marks and bars, with hatched grey": ([STRONG, FAINT, NOTHING], [WHITE]),
        "bars of features outside of the set, with whiskers": ([STRONG, OUTSIDE, BLACK], []),
        "marks of an attack": ([ATTACKED, LEFT, NEW], [FADED, WHITE]),
        "curves of bounds, and what attacks leave": ([*BOUNDS.values(), ATTACKED, BESIDE], [WHITE]),
        "kinds of maps": ([*KINDS], [WHITE]),
        "a forecast, and what others reach": ([STRONG, BESIDE], [WHITE]),
    }
    for name, (colours, behind) in sets.items():
        for pair in [*itertools.combinations(colours, 2), *itertools.product(colours, behind)]:
            yield (name, *pair)


def test_the_measure_is_that_of_the_standard():
    assert difference("#FFFFFF", "#000000", np.eye(3)) == pytest.approx(100, abs=1e-3)
    np.testing.assert_allclose(lab("#FF0000", np.eye(3)), [53.24, 80.09, 67.20], atol=0.02)
    assert difference("#C00000", "#5A6400", DEUTERANOPIA) < LEAST  # a red and a green that look alike to these readers
    assert difference("#C00000", "#5A6400", np.eye(3)) > 60


@pytest.mark.parametrize("seen_by", [np.eye(3), DEUTERANOPIA], ids=["usual vision", "deuteranopia"])
def test_colours_of_one_figure_differ(seen_by):
    close = [(*pair, round(d, 1)) for pair in pairs() if (d := difference(*pair[1:], seen_by)) < LEAST]
    assert close == []


@pytest.mark.parametrize("seen_by", [np.eye(3), DEUTERANOPIA], ids=["usual vision", "deuteranopia"])
@pytest.mark.parametrize("count", [2, 3, 5, 6])
def test_colours_of_increasing_numbers_become_darker(count, seen_by):
    lightness = [lab(colour, seen_by)[0] for colour in ordered(count)]
    assert (np.diff(lightness) < -8).all()
    assert lightness[0] < 75


def test_a_colour_has_one_meaning():
    meanings = [STRONG, FAINT, NOTHING, OUTSIDE, ATTACKED, LEFT, NEW, BESIDE, *KINDS]
    meanings += [colour for bound, colour in BOUNDS.items() if bound != "best"]
    assert len(set(meanings)) == len(meanings)
    assert BOUNDS["best"] == STRONG
    assert set(BOUNDS) == {*KNOWN, BEST}
