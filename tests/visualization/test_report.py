"""A report has the numbers of its certificate, and its page is complete."""

import base64
import itertools
import json
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from gallery import ZEROS, blob, image, smoothed

from captum_certified import Certifier, InvalidInputError, SmoothedMap
from captum_certified.visualization import report
from captum_certified.visualization.report_data import TopSet, radius_grid, top_sets


def page_of(tmp_path, certificate, picture, **settings):
    report(certificate, tmp_path / "report.html", image=picture, **settings)
    return (tmp_path / "report.html").read_text()


def data_of(page):
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)[1])


@pytest.mark.parametrize("bound", ["best", "theorem2"])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_number_equals_the_result_of_the_certifier(tmp_path, bound, channels):
    smoothed_map = smoothed(blob(channels=channels))
    certificate = Certifier(bound=bound, violations=0).top_k(smoothed_map, k=0.15, radius=0.0725)
    data = data_of(page_of(tmp_path, certificate, image(channels=channels)))
    grid = [float(text) for text in data["radii"]]
    assert grid == sorted(set(grid))
    assert 0.0725 in grid
    n = smoothed_map.layout.n_features
    assert [one["k"] for one in data["sets"]] == [-(-n * percent // 100) for percent in (5, 10, 15, 20, 30)]
    for one in data["sets"]:
        certifier = Certifier(bound=bound, violations=0)
        assert one["overlap"] == certifier.top_k_curve(smoothed_map, k=one["k"], radii=grid)[0].tolist()
        assert one["percent"] == [100 * overlap // one["k"] for overlap in one["overlap"]]
        proved = certifier.top_k(smoothed_map, k=one["k"], radius=0.0)
        radii = np.array(proved.columns()["radius"])
        assert one["named"] == [int(((radii > 0) & (radii >= radius)).sum()) for radius in grid]
        reach = np.frombuffer(base64.b64decode(one["reach"]), np.uint8).reshape(28, 28)
        np.testing.assert_array_equal(reach > 0, proved.top_k.reshape(channels, 28, 28).any(0).numpy())
        for index in (0, 7, len(grid) - 1):
            certified = ((radii > 0) & (radii >= grid[index])).reshape(channels, 28, 28).any(0)
            np.testing.assert_array_equal(reach >= index + 2, certified)


def test_overlaps_of_every_size_allow_the_violations_of_the_certificate(tmp_path):
    certificate = Certifier().top_k(smoothed(blob(channels=3)), k=0.2, radius=0.05)
    assert certificate.violations == 2
    page = page_of(tmp_path, certificate, image(channels=3), sizes=[1, 0.1])
    data = data_of(page)
    assert [one["k"] for one in data["sets"]] == [1, 236, 471]
    grid = [float(text) for text in data["radii"]]
    for one, violations in zip(data["sets"], (1, 2, 2), strict=True):
        curve = Certifier(violations=violations).top_k_curve(certificate.map, k=one["k"], radii=grid)
        assert one["overlap"] == curve[0].tolist()
    assert "are statements of their own, each with this confidence" in page
    assert "it misled the computation, for each of these statements by itself." in page


def test_the_sentence_that_people_copy_states_confidence_and_map(tmp_path):
    page = page_of(tmp_path, Certifier(confidence=0.9, violations=0).top_k(smoothed(blob()), k=9, radius=0.1), image())
    statement = page[page.index("const kept") : page.index("const names")]
    assert "of the smoothed map" in statement
    assert "of the exact smoothed map, with confidence 90 %." in statement
    assert "This page tells how much of the\nsmoothed map is proved to stay, with confidence 90 %" in page
    assert "(L2 radius 0.1, confidence 90 %)" in page
    assert "it misled the computation.</li>" in page
    assert "certainly" not in page


def test_a_report_of_the_second_example(tmp_path):
    certificate = Certifier().top_k(smoothed(blob(rows=2)), k=0.2, radius=0.05)
    data = data_of(page_of(tmp_path, certificate, image(rows=2), example=1))
    own = data["sets"][[one["k"] for one in data["sets"]].index(157)]
    assert own["overlap"][data["radii"].index("0.05")] == int(certificate.overlap[1])


def test_examples_of_change_are_rounded_down(tmp_path):
    data = data_of(page_of(tmp_path, Certifier().top_k(smoothed(blob()), k=0.2, radius=0.05), image()))
    for radius, even in zip(data["radii"], data["even"], strict=True):
        assert 0.9 * float(radius) <= 28 * float(even) <= float(radius) * (1 + 1e-8)


def test_examples_of_change_are_spread_over_the_input_and_not_over_the_picture(tmp_path):
    """A grey picture of a colour image shows a third of the input's values, and the change must be spread over all."""
    grey = data_of(page_of(tmp_path, Certifier().top_k(smoothed(blob(channels=3)), k=0.2, radius=0.05), image()))
    colour = data_of(
        page_of(tmp_path, Certifier().top_k(smoothed(blob(channels=3)), k=0.2, radius=0.05), image(channels=3))
    )
    assert grey["even"] == colour["even"]
    smoothed_map = replace(smoothed(blob()), setup={"input_values": 12 * 784})
    page = page_of(tmp_path, Certifier().top_k(smoothed_map, k=0.2, radius=0.05), image())
    assert f"norm over the {12 * 784} values" in page
    assert max(float(even) for even in data_of(page)["even"]) < max(float(even) for even in grey["even"])


def test_black_and_white_are_explained_only_for_images_in_the_unit_interval(tmp_path):
    certificate = Certifier().top_k(smoothed(blob()), k=0.2, radius=0.05)
    assert "of which 0 is black and 1 is white" in page_of(tmp_path, certificate, image())
    assert "is black" not in page_of(tmp_path, certificate, 4 * image() - 2)


@pytest.mark.parametrize(
    ("scores", "k", "radius"),
    [(ZEROS, 0.2, 0.05), (ZEROS, 1.0, 0.0), (blob(), 1.0, 0.1), (blob(), 1, 0.0), (blob(), 0.2, 50.0)],
)
def test_degenerate_maps_have_a_report(tmp_path, scores, k, radius):
    data = data_of(page_of(tmp_path, Certifier().top_k(smoothed(scores), k=k, radius=radius), torch.zeros(28, 28)))
    assert 2 <= len(data["radii"]) <= 102
    assert f"{radius:g}" in data["radii"]


def test_texts_are_escaped(tmp_path):
    smoothed_map = smoothed(blob())
    object.__setattr__(smoothed_map, "setup", {"method": "</script><b>", "target": "<i>"})
    page = page_of(tmp_path, Certifier().top_k(smoothed_map, k=9, radius=0.1), image(), label="<img src=x> & {{data}}")
    assert "<b>" not in page
    assert "<i>" not in page
    assert "<h1>&lt;img src=x&gt; &amp; {{data}}</h1>" in page


def test_the_page_of_an_imagenet_picture_is_small_and_has_no_address(tmp_path):
    torch.manual_seed(0)
    counts = torch.randint(0, 900, (1, 3, 224, 224))
    smoothed_map = SmoothedMap.from_counts(counts, n_samples=1024, stdevs=0.2, max_squared_norm=15053)
    certificate = Certifier().top_k(smoothed_map, k=0.2, radius=0.03)
    page = page_of(tmp_path, certificate, torch.rand(3, 224, 224))
    assert len(page) < 3_000_000
    assert not re.search("https?:|@import|url\\(", page)
    assert "{{" not in page


def test_a_feature_reaches_the_radius_up_to_which_it_is_certified():
    radii, top = np.array([0.0, 0.0, 0.05, 0.1, 0.15, np.inf]), np.array([False, True, True, True, True, True])
    one = TopSet(k=5, radii=radii, top=top, farthest=0.0, certifier=Certifier())
    assert one.reach([0.0, 0.1, 0.2]).tolist() == [0, 1, 2, 3, 3, 4]


@pytest.mark.parametrize("radius", [1e-9, 0.01, 0.03141592653589793, 0.05000000000000001, 7.0])
def test_a_grid_holds_the_radius_and_its_steps_are_round(radius):
    certificate = Certifier().top_k(smoothed(blob()), k=0.2, radius=radius)
    grid = radius_grid(top_sets(certificate, certificate.map, [0.1]), radius=radius, sigma=0.25)
    assert radius in grid
    assert grid[0] == 0.0
    assert all(a < b for a, b in itertools.pairwise(grid))
    assert len(grid) <= 102


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"example": 1}, "`example` from 0 to 0, got 1"),
        ({"example": True}, "`example` from 0 to 0, got True"),
        ({"sizes": [0]}, "`sizes`"),
        ({"image": torch.rand(9, 9)}, "size of the map"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path, settings, match):
    certificate = Certifier().top_k(smoothed(blob()), k=9, radius=0.1)
    with pytest.raises(InvalidInputError, match=match):
        report(certificate, tmp_path / "report.html", **{"image": image(), **settings})
    assert not (tmp_path / "report.html").exists()


def test_other_certificates_are_refused(tmp_path):
    with pytest.raises(InvalidInputError, match="to be a TopKCertificate, got SelectionCertificate"):
        report(Certifier().selection(smoothed(blob()), radius=0.1), tmp_path / "a.html", image=image())
    fresh = Certifier().top_k(smoothed(blob()), k=9, radius=0.1, fresh_draws=10)
    with pytest.raises(InvalidInputError, match="about the exact map, got one with `fresh_draws`=10"):
        report(fresh, tmp_path / "a.html", image=image())
