"""A report shows the numbers of its certificate, and its page is complete."""

import base64
import html
import io
import itertools
import json
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from captum.attr import Saliency
from gallery import ZEROS, blob, image, smoothed
from PIL import Image

from captum_certified import Certifier, InvalidInputError, SmoothedMap, SparsifiedSmoothGrad
from captum_certified.images.everyday_units import radius_in_units
from captum_certified.sampling.noise import make_noise
from captum_certified.visualization import report
from captum_certified.visualization.report_changes import coverage, familiar_changes
from captum_certified.visualization.report_data import TopSet, radius_grid, top_sets
from captum_certified.visualization.report_pictures import packed, picture_url


def page_of(tmp_path, certificate, picture, **settings):
    report(certificate, tmp_path / "report.html", image=picture, **settings)
    return (tmp_path / "report.html").read_text()


def marks_of(one, shape):
    """The numbers of a set's marks, which the page holds as pairs of a value and the length of its run."""
    pairs = np.frombuffer(base64.b64decode(one["reach"]), np.uint8).reshape(-1, 2)
    return np.repeat(pairs[:, 0], pairs[:, 1]).reshape(shape)


LITTLE = "less than 0.01"
MEASURED = "These shares are calculated or measured, not proved, and rounded up."


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
        reach = marks_of(one, (28, 28))
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
    assert "each have this confidence by themselves" in page
    assert "it misled the computation, for each of these statements by itself." in page


def test_the_sentence_that_people_copy_states_confidence_and_map(tmp_path):
    page = page_of(tmp_path, Certifier(confidence=0.9, violations=0).top_k(smoothed(blob()), k=9, radius=0.1), image())
    statement = page[page.index("const kept") : page.index("const names")]
    assert "of the ${set.subject} (" in statement
    assert {one["subject"] for one in data_of(page)["sets"]} >= {"9 most salient pixels of the smoothed map"}
    assert "of the exact smoothed map, with confidence 90 %." in statement
    assert "This page tells how much of the smoothed map is proved to stay, with confidence 90 %" in page
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
    assert len(page) < 1_000_000
    assert not re.search(r"https?:|@import|url\((?!\$\{context)", page)
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


# -- the second headline ---------------------------------------------------------------------------------------------


def with_plain(rows=1, votes=None, **parts):
    """A map whose plain map is moved by some pixels."""
    smoothed_map = smoothed(blob(rows=rows))
    plain = smoothed_map.plain.reshape(rows, 28, 28).roll(3, dims=2).reshape(rows, -1)
    votes = None if votes is None else torch.tensor(votes)
    return replace(smoothed_map, plain=plain, class_votes=votes, **parts)


def test_the_plain_overlap_of_every_size_and_radius_is_that_of_the_certifier(tmp_path):
    smoothed_map = with_plain()
    certificate = Certifier(violations=2).top_k(smoothed_map, k=0.2, radius=0.05)
    data = data_of(page_of(tmp_path, certificate, image(), sizes=[1, 0.1]))
    grid = [float(text) for text in data["radii"]]
    assert [one["k"] for one in data["sets"]] == [1, 79, 157]
    for one, violations in zip(data["sets"], (1, 2, 2), strict=True):
        curve = Certifier(violations=violations).top_k_curve(smoothed_map, k=one["k"], radii=grid, reference="plain")
        assert one["plain"]["overlap"] == curve[0].tolist()
        assert one["plain"]["most"] == one["k"]
        assert one["plain"]["percent"] == [100 * overlap // one["k"] for overlap in one["plain"]["overlap"]]
    own = data["sets"][2]["plain"]
    assert own["overlap"][data["radii"].index("0.05")] == int(certificate.of_plain.overlap) > 0


def test_the_plain_overlap_stands_beside_what_others_reach_rounded_up(tmp_path):
    table = torch.arange(784.0).reshape(1, -1)
    smoothed_map = with_plain(brightness=table, randomised=table.expand(5, -1).unsqueeze(0).clone())
    certificate = Certifier().top_k(smoothed_map, k=157, radius=0.05)
    chance, bright, random = (
        np.ceil(1000 * float(share) - 1e-9) / 10
        for share in (certificate.chance, certificate.of_plain.brightness, certificate.of_plain.randomised)
    )
    [one] = data_of(page_of(tmp_path, certificate, image(), sizes=[]))["sets"]
    assert one["others"] == (
        f"For comparison: a top set chosen by chance holds {chance} % of them, the brightest pixels {bright} %, the "
        f"same explanation of a model with random weights {random} % (mean of 5 such models). {MEASURED}"
    )
    certificate = Certifier().top_k(with_plain(), k=157, radius=0.05)
    [one] = data_of(page_of(tmp_path, certificate, image(), sizes=[]))["sets"]
    assert one["others"] == f"For comparison: a top set chosen by chance holds 20.1 % of them. {MEASURED}"


@pytest.mark.parametrize(
    ("bound", "smoothed_map"),
    [("theorem2", with_plain()), ("best", replace(with_plain(), plain=None)), ("best", smoothed(ZEROS))],
)
def test_a_page_says_nothing_of_a_plain_map_that_has_no_certificate(tmp_path, bound, smoothed_map):
    page = page_of(tmp_path, Certifier(bound=bound).top_k(smoothed_map, k=0.2, radius=0.05), image())
    assert {one["plain"] for one in data_of(page)["sets"]} == {None}
    assert {one["others"] for one in data_of(page)["sets"]} == {""}
    assert "Of the plain map it is proved" not in page


def test_a_plain_map_without_saliency_in_another_row_does_not_hide_the_headline(tmp_path):
    smoothed_map = with_plain(rows=2)
    smoothed_map = replace(smoothed_map, plain=smoothed_map.plain * torch.tensor([[0.0], [1.0]]))
    certificate = Certifier().top_k(smoothed_map, k=157, radius=0.05)
    assert certificate.of_plain is None
    [one] = data_of(page_of(tmp_path, certificate, image(rows=2), example=1, sizes=[]))["sets"]
    assert one["plain"]["overlap"][0] > 0


def test_nothing_is_said_about_the_plain_map_of_a_changed_picture(tmp_path):
    page = page_of(tmp_path, Certifier().top_k(with_plain(), k=157, radius=0.05), image())
    assert "or about the plain map of a changed picture." in page
    assert (
        "About the plain map one thing is proved: how much of what it marks at this picture is in that top set." in page
    )


@pytest.mark.parametrize("size", [16, 400])
@pytest.mark.parametrize("example", [0, 1])
def test_the_page_of_a_mask_is_about_the_mask(tmp_path, size, example):
    smoothed_map = with_plain(rows=2)
    order = smoothed_map.features.argsort(dim=1, descending=True, stable=True)
    mask = torch.zeros(2, 784, dtype=torch.bool).scatter(1, order[:, 5 : 5 + size], value=True)
    certificate = Certifier().top_k(smoothed_map, k=157, radius=0.05, reference=mask)
    page = page_of(tmp_path, certificate, image(rows=2), example=example)
    data = data_of(page)
    [one] = data["sets"]
    grid = [float(text) for text in data["radii"]]
    assert (one["k"], one["most"], one["larger"]) == (157, min(157, size), size > 157)
    certifier = Certifier(violations=certificate.violations)
    curve = certifier.top_k_curve(smoothed_map, k=157, radii=grid, reference=mask)[example]
    assert one["overlap"] == curve.tolist()
    assert one["overlap"][data["radii"].index("0.05")] == int(certificate.overlap[example])
    assert one["percent"] == [100 * overlap // min(157, size) for overlap in one["overlap"]]
    reach = marks_of(one, 784)
    np.testing.assert_array_equal(reach > 0, mask[example].numpy())
    radii = np.array(certificate.columns()["radius"]).reshape(2, 784)[example]
    named = [int((mask[example].numpy() & (radii > 0) & (radii >= radius)).sum()) for radius in grid]
    assert one["named"] == named
    assert named[0] > 0
    assert one["plain"] is None
    assert one["subject"] == f"{size} pixels of the given set"
    assert one["others"].startswith("For comparison: a top set chosen by chance holds")
    assert ("of the 157 that can be." in one["others"]) == (size > 157)
    assert data["verb"] == "are"
    assert "how much of the given set is proved to be in the top set" in page


def test_the_page_of_a_certificate_of_the_plain_set_is_about_this_set(tmp_path):
    certificate = Certifier().top_k(with_plain(), k=157, radius=0.05, reference="plain")
    page = page_of(tmp_path, certificate, image())
    [one] = data_of(page)["sets"]
    assert one["overlap"][data_of(page)["radii"].index("0.05")] == int(certificate.overlap) > 0
    reach = marks_of(one, 784)
    np.testing.assert_array_equal(reach > 0, certificate.members[0].numpy())
    assert one["subject"] == "157 strongest pixels of the plain map"
    assert "how much of the plain map&#x27;s top set is proved" in page


# -- cautions, class under noise, everyday units ---------------------------------------------------------------------


def test_cautions_stand_in_a_box_and_the_class_under_noise_below(tmp_path):
    certificate = Certifier().top_k(with_plain(rows=2, votes=[[20, 256], [250, 256]]), k=157, radius=0.05)
    page = page_of(tmp_path, certificate, image(rows=2))
    assert '<aside class="caution"><strong>Caution: this certificate may mean little.' in page
    assert "<li>Only 7.8% of noisy copies keep the predicted class: under this noise" in page
    assert "<dt>class under noise</dt><dd>20 of 256 noisy copies (7.8 %) have the predicted class" in page
    assert "it is not certified that most copies keep it" in page
    page = page_of(tmp_path, certificate, image(rows=2), example=1)
    assert 'class="caution"' not in page
    assert "250 of 256 noisy copies (97.6 %)" in page
    size = np.floor(1000 * float(certificate.class_radius[1])) / 1000
    assert (
        f"Up to L2 radius {size} most copies keep it. With a chance of at most 5 % this statement is wrong. It does "
        "not share the error of the others." in page
    )
    assert "(97.6 %) have the predicted class of the picture. Up" in page
    page = page_of(tmp_path, certificate, image(rows=2), example=1, class_names=["ill", "well"], predicted=1)
    assert "(97.6 %) have the predicted class of the picture (class 1, well). Up" in page
    assert "class under noise" not in page_of(tmp_path, Certifier().top_k(with_plain(), k=9, radius=0.05), image())


def test_sizes_are_compared_with_everyday_changes_of_pictures_in_the_unit_interval(tmp_path):
    certificate = Certifier().top_k(with_plain(), k=157, radius=0.05)
    data = data_of(page_of(tmp_path, certificate, image()))
    for radius, levels in zip(data["radii"], data["levels"], strict=True):
        exact = radius_in_units(float(radius), image()).grey_levels
        assert 0.9 * exact <= float(levels) <= exact * (1 + 1e-8) if exact >= 0.01 or not exact else levels == LITTLE
    for picture in (4 * image() - 2, (255 * image()).to(torch.uint8)):
        data = data_of(page_of(tmp_path, certificate, picture))
        assert data["coverage"] == [""]
        assert set(data["single"]) == set(data["levels"]) == {""}


def test_a_picture_that_is_not_the_whole_input_is_not_compared(tmp_path):
    certificate = Certifier().top_k(with_plain(setup={"input_values": 3 * 784}), k=157, radius=0.05)
    data = data_of(page_of(tmp_path, certificate, image()))
    assert (data["coverage"], set(data["single"])) == ([""], {""})


# -- what the page tells those who check it --------------------------------------------------------------------------


def details_of(page):
    entries = re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", page)
    return {term: html.unescape(text) for term, text in entries}


def test_a_page_states_settings_seed_digests_versions_and_how_to_verify(tmp_path):
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 3), torch.nn.Softplus(), torch.nn.Linear(3, 2))
    pictures = torch.rand(2, 1, 8, 8)
    certificate = Certifier(SparsifiedSmoothGrad(Saliency(model.eval()), tau=0.25)).certify(
        pictures, target=torch.tensor([1, 0]), k=0.2, radius=0.01, nt_samples=256, stdevs=0.2, seed=7
    )
    setup = certificate.map.setup
    page = page_of(tmp_path, certificate, pictures, example=1, class_names=["ill", "well"], stored="scan <1>.json")
    found = details_of(page)
    assert found["kind of map"] == "SparsifiedSmoothGrad, τ = 0.25"
    assert found["explained class"] == "class 0, ill"
    assert found["seed"] == "7, draws 0 to 255"
    assert found["model"] == f"digest of its weights and buffers: {setup['model']}"
    assert found["input"] == f"digest of its values: {setup['inputs'][1]}"
    assert found["software"] == ", ".join(f"{name} {number}" for name, number in setup["versions"].items())
    assert re.fullmatch(r"\d{4}-\d\d-\d\d, by captum_certified [\d.]+", found["page written"])
    assert found["certificate of the plain map"] == certificate.of_plain.summaries()[1]
    assert "captum-certified verify scan <1>.json" in found["to verify"]
    assert "scan &lt;1&gt;.json" in page


def test_what_is_not_recorded_is_left_out(tmp_path):
    found = details_of(page_of(tmp_path, Certifier().top_k(smoothed(blob()), k=9, radius=0.1), image()))
    assert not {"seed", "model", "input", "software", "kind of map", "explained class"} & found.keys()
    assert found["to verify"].startswith("<code>captum-certified verify FILE</code>")


def test_tiny_changes_are_not_written_with_many_zeros(tmp_path):
    certificate = Certifier().top_k(smoothed(blob()), k=157, radius=1e-5)
    data = data_of(page_of(tmp_path, certificate, image()))
    here = data["radii"].index("0.00001")
    assert (data["levels"][here], data["even"][here]) == (LITTLE, "")
    assert not [text for text in [*data["levels"], *data["even"]] if re.search(r"0\.0000", text)]


def test_a_page_says_why_size_0_is_not_100_percent(tmp_path):
    page = page_of(tmp_path, Certifier().top_k(smoothed(blob()), k=157, radius=0.1), image())
    assert "the mean of\ninfinitely many noisy copies, and 4096 were drawn." in page


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (40, 40)])
def test_marks_survive_their_packing(shape):
    generator = np.random.default_rng(0)
    for values in (
        np.zeros(shape),
        np.full(shape, 103),
        generator.integers(0, 103, shape),
        generator.integers(0, 2, shape),
    ):
        np.testing.assert_array_equal(marks_of({"reach": packed(values.astype(np.uint8))}, shape), values)


def test_large_pictures_are_made_smaller_and_written_as_a_jpeg():
    noise = np.random.default_rng(0).random((700, 1400, 3)).astype(np.float32)
    url = picture_url(noise)
    assert url.startswith("data:image/jpeg;base64,")
    assert Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))).size == (512, 256)
    url = picture_url(noise[:8, :8])
    shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))))
    np.testing.assert_array_equal(shown, np.round(255 * noise[:8, :8].astype(np.float64)).astype(np.uint8))


# -- what stands in front: the answer, the warning, and how to read the maps ------------------------------------------


def explained(target, pictures, **settings):
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 3), torch.nn.Softplus(), torch.nn.Linear(3, 2))
    explainer = SparsifiedSmoothGrad(Saliency(model.eval()), tau=0.25)
    return Certifier(explainer).certify(
        pictures, target=target, k=0.2, radius=0.01, nt_samples=256, stdevs=0.2, seed=7, **settings
    )


def words_of(page):
    """The text of a page without its markup and scripts."""
    body = re.sub(r"<(script|style).*?</\1>", " ", page, flags=re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", body)).split()).replace(" .", ".")


@pytest.mark.parametrize(
    ("target", "settings", "lead"),
    [
        (1, {"predicted": 1}, "The program answered: class 1. This page"),
        (1, {"predicted": 1, "class_names": ["ill", "well"]}, "The program answered: class 1, well. This page"),
        (
            0,
            {"predicted": 1, "class_names": ["ill", "well"]},
            "The program answered: class 1, well. The map is about another answer: class 0, ill. This page",
        ),
        (1, {"class_names": ["ill", "well"]}, "The map is about one answer of the program: class 1, well. This page"),
        ("argmax", {"predicted": 0}, "The program answered: class 0. This page"),
    ],
)
def test_the_warning_names_the_answer_before_any_result(tmp_path, target, settings, lead):
    pictures = torch.rand(1, 1, 8, 8)
    page = page_of(tmp_path, explained(target, pictures), pictures, **settings)
    warning = words_of(re.search(r'<aside class="warning">.*?</aside>', page, re.DOTALL)[0])
    assert warning == (
        f"{lead} does not say whether the answer is right. The marked pixels do not show where the answer can be seen "
        "in the picture. They are the most salient pixels of the smoothed map. Those in the strong colour are proved "
        "to stay among them, each one, for every change up to the chosen size."
    )
    assert page.index('class="warning"') < page.index('class="maps"') < page.index('id="statement"')
    assert page.index('class="warning"') < page.index('id="marked"')


def test_the_warning_of_an_unknown_answer(tmp_path):
    page = page_of(tmp_path, Certifier().top_k(smoothed(blob()), k=9, radius=0.1), image())
    warning = (
        '<aside class="warning">This page does not say whether the answer of the program is right. The marked pixels'
    )
    assert warning in page


def test_a_predicted_class_without_a_name_is_refused(tmp_path):
    pictures = torch.rand(1, 1, 8, 8)
    with pytest.raises(InvalidInputError, match="with a name for class 5, got 2 names"):
        page_of(tmp_path, explained(1, pictures), pictures, predicted=5, class_names=["ill", "well"])


def test_the_maps_are_explained_before_the_result(tmp_path):
    pictures = torch.rand(1, 1, 8, 8)
    page = words_of(page_of(tmp_path, explained(1, pictures), pictures))
    assert (
        "Saliency gives every part of a picture a value for how much it mattered for one answer of a computer "
        "program. What it shows for this picture is the plain map. The smoothed map is the mean of the maps of 256 "
        "copies of the picture with random noise. Only the stability of this map is proved here. In each copy only "
        "the 16 strongest of 64 pixels count, so pixels that are seldom among them are dark in it. The exact "
        "smoothed map is the mean over infinitely many copies" in page
    )
    assert "the plain map: Saliency of the picture" in page
    assert "the smoothed map: mean of 256 noisy copies" in page
    certificate = Certifier().top_k(replace(smoothed(blob()), plain=None), k=9, radius=0.1)
    page = words_of(page_of(tmp_path, certificate, image()))
    assert "An attribution method gives every part" in page
    assert "is the plain map" not in page
    assert "In each copy" not in page


def test_the_page_shows_the_noisy_copy_that_was_drawn_first(tmp_path):
    pictures = torch.rand(2, 1, 8, 8)
    certificate = explained(torch.tensor([1, 0]), pictures)
    page = page_of(tmp_path, certificate, pictures, example=1)
    url = re.search(r'src="([^"]*)" alt="Copy 0 of the picture, with random noise."', page)[1]
    shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))))
    cpu = torch.device("cpu")
    noise = make_noise((1, 8, 8), seed=7, draws=range(1), tensor=0, dtype=torch.float32, device=cpu, scale=0.2)
    noisy = (pictures[1] + noise[0]).clamp(0, 1)[0].double()
    np.testing.assert_array_equal(shown, np.round(255 * noisy.numpy()).astype(np.uint8))
    # Another picture is not the input, so its noisy copy was not among the draws.
    assert 'alt="Copy' not in page_of(tmp_path, certificate, pictures.flip(0), example=1)
    assert 'alt="Copy' not in page_of(tmp_path, Certifier().top_k(smoothed(blob()), k=9, radius=0.1), image())


def test_chance_and_the_choice_of_k_show_the_same_share(tmp_path):
    page = page_of(tmp_path, Certifier().top_k(with_plain(), k=157, radius=0.05), image(), sizes=[])
    assert ">the top 157 of 784 pixels (20.1 %)</option>" in page
    assert "by chance holds 20.1 % of them" in page


def test_agreement_and_stability_have_headings_of_their_own(tmp_path):
    page = page_of(tmp_path, Certifier().top_k(with_plain(), k=157, radius=0.05), image())
    headings = re.findall(r'<h2[^>]*>(.*?)</h2>\n<p id="([\w-]+)"', page)
    assert headings == [("Stability of the smoothed map", "statement"), ("Agreement with the plain map", "of-plain")]


def test_what_the_size_covers_is_stated_for_every_position_of_the_slider(tmp_path):
    smoothed_map = smoothed(blob())
    data = data_of(page_of(tmp_path, Certifier().top_k(smoothed_map, k=157, radius=0.05), image()))
    changes = familiar_changes(smoothed_map, image()[0].permute(1, 2, 0).numpy())
    said = [data["coverage"][index] for index in data["covered"]]
    assert said == [coverage(changes, float(radius)) for radius in data["radii"]]
    assert len(set(said)) > 1
