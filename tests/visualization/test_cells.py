"""Figures and reports of cells and regions draw their outlines and say how many there are."""

import re

import numpy as np
import pytest
import torch
from gallery import blob, image
from matplotlib.collections import LineCollection

from captum_certified import Certifier, SmoothedMap
from captum_certified.maps import FeatureLayout
from captum_certified.visualization import attack_figure, bar_figure, certificate_figure, curve_figure, report
from captum_certified.visualization.feature_names import counted, described, noun
from captum_certified.visualization.outlines import edges

BANDS = (torch.arange(28) // 9).reshape(1, 1, 1, 28)  # 4 regions from left to right


def smoothed(groups, *, rows=1, channels=3, size=28):
    """A map of blobs whose features are groups."""
    entries = blob(size, rows, channels)
    layout = FeatureLayout.of([entries], is_tuple=False, rows=rows, groups=groups)
    features = layout.group_means([entries])
    settings = {"n_samples": 4096, "stdevs": 0.25}
    smoothed_map = SmoothedMap.from_counts((features * 4096).long(), **settings)
    object.__setattr__(smoothed_map, "layout", layout)
    return smoothed_map


def certificate(groups, *, k=0.3, **settings):
    return Certifier().top_k(smoothed(groups, **settings), k=k, radius=0.02)


def lines_on(panel):
    """The outlines on a panel as edges of pixels: pairs of neighbouring pixels (row, column) in one set."""
    found = set()
    for collection in panel.collections:
        assert isinstance(collection, LineCollection)
        for (x0, y0), (x1, y1) in collection.get_segments():
            assert x0 == x1 or y0 == y1
            found |= {(x0 + 0.5, y + 0.5, "up") for y in np.arange(y0, y1)} if x0 == x1 else set()
            found |= {(x + 0.5, y0 + 0.5, "flat") for x in np.arange(x0, x1)} if y0 == y1 else set()
    return found


def edges_of(ids):
    """The same for a mask of shape (H, W), by comparing all neighbours."""
    ids = np.asarray(ids)
    upright = {(x + 1.0, float(y), "up") for y, x in np.argwhere(ids[:, 1:] != ids[:, :-1])}
    return upright | {(float(x), y + 1.0, "flat") for y, x in np.argwhere(ids[1:] != ids[:-1])}


def cells(side, size=28):
    index = torch.arange(size) // side
    return index.unsqueeze(1) * size + index


@pytest.mark.parametrize(("groups", "ids"), [("patches:5", cells(5)), (BANDS, BANDS[0, 0].expand(28, 28))])
def test_the_marked_panel_has_the_outlines_of_the_features(groups, ids):
    _, axes = certificate_figure(certificate(groups), image(channels=3))
    assert lines_on(axes[0, 3]) == edges_of(ids)
    assert [len(panel.collections) for panel in axes[0, :3]] == [0, 0, 0]
    maps = blob(channels=3)
    _, axes = attack_figure(image(channels=3), image(channels=3), maps, maps, k=0.3, groups=groups)
    assert lines_on(axes[0, 4]) == edges_of(ids)


def test_every_example_has_its_own_outlines():
    masks = torch.cat([BANDS.expand(1, 1, 28, 28), BANDS.mT.expand(1, 1, 28, 28)])
    _, axes = certificate_figure(certificate(masks, rows=2), image(rows=2, channels=3))
    for row in range(2):
        assert lines_on(axes[row, 3]) == edges_of(masks[row, 0])


def test_a_selection_of_cells_has_outlines_and_the_number_of_cells():
    selection = Certifier().selection(smoothed("patches:7"), radius=0.02)
    figure, axes = certificate_figure(selection, image(channels=3))
    assert lines_on(axes[0, 3]) == edges_of(cells(7))
    assert figure.legends[0].get_title().get_text().startswith("16 cells of 7 × 7 pixels · confidence")


@pytest.mark.parametrize("groups", [None, "channels", "patches:1"])
def test_pixels_and_colour_values_have_no_outlines(groups):
    _, axes = certificate_figure(certificate(groups), image(channels=3))
    assert len(axes[0, 3].collections) == 0


def test_many_tiny_cells_have_no_outlines():
    _, axes = certificate_figure(certificate("patches:2", channels=1, size=96), image(96))
    assert len(axes[0, 3].collections) == 0


@pytest.mark.parametrize(
    ("groups", "of"),
    [
        (None, "706 of 2352 colour values"),
        ("channels", "236 of 784 pixels"),
        ("patches:1", "236 of 784 pixels"),
        ("patches:8", "5 of 16 cells of 8 × 8 pixels"),
        ("patches:40", "1 of 1 cells of 28 × 28 pixels"),  # a cell that is larger than the picture
        (BANDS, "2 of 4 regions"),
    ],
)
def test_figures_say_of_how_many_features_k_is(tmp_path, groups, of):
    one = certificate(groups)
    figure, _ = certificate_figure(one, image(channels=3))
    assert figure.legends[0].get_title().get_text().startswith(f"top {of} · confidence 95 % for each image")
    maps = blob(channels=3)
    figure, _ = attack_figure(image(channels=3), image(channels=3), maps, maps, k=0.3, groups=groups)
    assert figure.legends[0].get_title().get_text() == f"top {of}"
    report(one, tmp_path / "page.html", image=image(channels=3))
    page = (tmp_path / "page.html").read_text()
    assert re.search(rf"selected>the top {of} \(\d+(\.\d+)? %\)</option>", page)
    if groups not in (None, "channels", "patches:1"):
        k, _, features = of.partition(" of ")
        _, axes = bar_figure(one)
        assert axes[0].get_title().endswith(f"\nall {features}, K = {k}")
        _, axes = curve_figure(one.map, k=0.3, radii=[0.01])
        assert axes.get_title().endswith(f"each curve by itself\ntop {of}")


def test_a_report_has_the_outlines_of_its_example(tmp_path):
    masks = torch.cat([BANDS.expand(1, 1, 28, 28), cells(14)[None, None]])
    one = certificate(masks, rows=2)
    for example, (name, lines) in enumerate([("regions", "M9 0V28M18 0V28M27 0V28"), ("cells", "M14 0V28M0 14H28")]):
        report(one, tmp_path / "page.html", image=image(rows=2, channels=3), example=example)
        page = (tmp_path / "page.html").read_text()
        assert f'<svg id="outlines" viewBox="0 0 28 28" aria-hidden="true"><path id="cells" d="{lines}"/></svg>' in page
        assert f"most salient {name} of the smoothed map" in page
    report(certificate(None), tmp_path / "page.html", image=image(channels=3))
    assert '<svg id="outlines"' not in (tmp_path / "page.html").read_text()


def test_lines_are_as_long_as_they_are_straight():
    values = np.array([[0, 0, 1], [0, 0, 1], [2, 2, 2]])[..., None]
    assert edges(values) == [((2, 0), (2, 2)), ((0, 2), (3, 2))]
    assert edges(np.zeros((4, 5, 3))) == []


@pytest.mark.parametrize(
    ("shape", "groups", "side"),
    [
        ((3, 28, 28), "patches:8", 8),
        ((1, 10, 4), "patches:6", 6),
        ((1, 4, 10), "patches:6", 6),
        ((3, 28, 28), "channels", 1),
        ((3, 28, 28), None, None),
        ((3, 28, 28), BANDS, None),
        ((5, 7), torch.arange(5).reshape(1, 5, 1), None),
    ],
)
def test_cells_are_recognised_by_their_numbers_alone(shape, groups, side):
    layout = FeatureLayout.of([torch.zeros(1, *shape)], is_tuple=False, rows=1, groups=groups)
    assert layout.cell_side == side
    if layout.group_ids is not None:
        again = FeatureLayout.of([torch.zeros(1, *shape)], is_tuple=False, rows=1, groups=layout.group_ids)
        assert again.cell_side == side


def test_groups_of_a_map_that_is_no_picture_are_features():
    words = FeatureLayout.of([torch.zeros(1, 5, 8)], is_tuple=False, rows=1, groups=torch.arange(5).reshape(1, 5, 1))
    assert (noun(words), counted(words)) == ("features", "5 features")
    values = FeatureLayout.of([torch.zeros(1, 4, 6, 6)], is_tuple=False, rows=1, groups="patches:3")
    assert counted(values) == "4 features"
    assert described(values, 36) == "one of 4 cells of 3 × 3 pixels; a cell at the edge may be smaller"
