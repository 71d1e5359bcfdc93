"""A report in a real browser: slider, selector, theme, keyboard, and no request to the network."""

import json
import re
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
import torch
from gallery import blob, image, smoothed

from captum_certified import Certifier
from captum_certified.maps import FeatureLayout
from captum_certified.visualization import report
from captum_certified.visualization.colours import STRONG

RADIUS = 0.0725


@pytest.fixture(scope="module")
def certificate():
    return Certifier(violations=0).top_k(smoothed(blob(channels=3)), k=0.2, radius=RADIUS)


@pytest.fixture(scope="module")
def path(certificate, tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "report.html"
    report(certificate, path, image=image(channels=3), label="A picture")
    return path


@pytest.fixture
def page(browser, path):
    for kind in ("browser", "performance"):
        browser.get_log(kind)
    browser.get(path.as_uri())
    yield browser
    said = [entry["message"] for entry in browser.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")]
    assert [message for message in said if "willReadFrequently" not in message] == []  # the test reads the canvas
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = {e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"}
    assert {url for url in asked if not url.startswith("data:")} == {path.as_uri()}


@contextmanager
def screen(page, width):
    """Show the page on a screen of a width."""
    page.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": width, "height": 740, "deviceScaleFactor": 1, "mobile": True}
    )
    yield
    page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def at_width(page, width):
    """Return the width that the page needs on a screen of a width."""
    with screen(page, width):
        return page.execute_script("return document.documentElement.scrollWidth")


def box(page, selector):
    """Return the box of an element on the screen."""
    return page.execute_script("return document.querySelector(arguments[0]).getBoundingClientRect().toJSON()", selector)


def find(page, name):
    return page.find_element("id", name)


def state(page):
    """Return radius, K and the counts that the page states in words."""
    text = find(page, "statement").text
    kept = re.search(r"at least (\d+) of the (\d+) most salient", text)
    named = re.search(r"(\d+) of them are proved to stay, each one", text)
    k = int(kept[2]) if kept else int(re.search(r"certified of the (\d+) most", text)[1])
    return (
        float(find(page, "size").text),
        k,
        int(kept[1]) if kept else 0,
        int(named[1]) if named else 0,
    )


def strong_pixels(page):
    script = "const c = arguments[0]; return Array.from(c.getContext('2d').getImageData(0, 0, c.width, c.height).data)"
    pixels = np.array(page.execute_script(script, find(page, "marks")), dtype=np.uint8).reshape(28, 28, 4)
    colour = [int(STRONG[i : i + 2], 16) for i in (1, 3, 5)]
    return (pixels == [*colour, 255]).all(axis=2), pixels[..., 3] > 0


def expected(certificate, k, radius):
    """Return overlap, number of named features, pixels with a named feature, and top K, by the certifier alone."""
    certifier = Certifier(violations=0)
    overlap = int(certifier.top_k_curve(certificate.map, k=k, radii=[radius])[0, 0])
    proved = certifier.top_k(certificate.map, k=k, radius=radius)
    radii = np.array(proved.columns()["radius"])
    named = (radii > 0) & (radii >= radius)
    top = proved.top_k.reshape(3, 28, 28).any(dim=0).numpy()
    return overlap, int(named.sum()), named.reshape(3, 28, 28).any(axis=0), top


def check(page, certificate):
    radius, k, overlap, named = state(page)
    kept, count, pixels, top = expected(certificate, k, radius)
    assert (overlap, named) == (kept, count)
    strong, marked = strong_pixels(page)
    np.testing.assert_array_equal(strong, pixels)
    np.testing.assert_array_equal(marked, top)
    return radius, k


def test_the_page_opens_at_the_certificate(page, certificate):
    assert check(page, certificate) == (RADIUS, 471)
    assert state(page)[2] == int(certificate.overlap[0])
    assert page.title == "A picture"


def test_the_slider_fades_features_where_their_certificate_ends(page, certificate):
    from selenium.webdriver.common.keys import Keys

    slider = find(page, "radius")
    seen = [check(page, certificate)[0]]
    for keys in (Keys.ARROW_RIGHT, Keys.ARROW_RIGHT * 3, Keys.PAGE_UP, Keys.ARROW_LEFT * 5, Keys.HOME, Keys.END):
        slider.send_keys(keys)
        seen.append(check(page, certificate)[0])
    assert len(set(seen)) == len(seen)
    assert seen[-2] == 0.0
    assert not strong_pixels(page)[0].any()
    assert "nothing is certified" in find(page, "statement").text


def test_the_slider_is_moved_by_the_mouse(page, certificate):
    from selenium.webdriver import ActionChains

    slider = find(page, "radius")
    before = state(page)[0]
    ActionChains(page).move_to_element_with_offset(slider, slider.size["width"] // 5, 0).click().perform()
    assert check(page, certificate)[0] > before


def test_the_size_of_the_top_set_is_chosen(page, certificate):
    from selenium.webdriver.support.select import Select

    sizes = set()
    for index in range(len(Select(find(page, "top")).options)):
        Select(find(page, "top")).select_by_index(index)
        for step in (0, 4, 30):
            page.execute_script(
                "arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('input'))",
                find(page, "radius"),
                step,
            )
            sizes.add(check(page, certificate)[1])
    assert sizes == {118, 236, 471, 706}


def test_everything_is_reached_by_keyboard_with_a_visible_focus(page):
    from selenium.webdriver import ActionChains
    from selenium.webdriver.common.keys import Keys

    reached = []
    for _ in range(3):
        ActionChains(page).send_keys(Keys.TAB).perform()
        active = page.switch_to.active_element
        reached.append(active.get_attribute("id"))
        assert active.value_of_css_property("outline-style") == "solid"
    assert reached == ["theme", "radius", "top"]
    before = state(page)[1]
    ActionChains(page).send_keys(Keys.ARROW_UP).perform()
    assert state(page)[1] < before


def test_every_picture_has_a_description_that_follows_the_slider(page):
    from selenium.webdriver.common.keys import Keys

    assert all(img.get_attribute("alt") for img in page.find_elements("css selector", "figure > img"))
    words = [find(page, "marks").get_attribute("aria-label"), find(page, "curve-title").get_attribute("textContent")]
    words.append(find(page, "radius").get_attribute("aria-valuetext"))
    find(page, "radius").send_keys(Keys.PAGE_UP)
    later = [find(page, "marks").get_attribute("aria-label"), find(page, "curve-title").get_attribute("textContent")]
    later.append(find(page, "radius").get_attribute("aria-valuetext"))
    assert all(words)
    assert all(one != two for one, two in zip(words, later, strict=True))


@pytest.mark.parametrize(("scheme", "other"), [("light", "Dark theme"), ("dark", "Light theme")])
def test_the_theme_follows_the_browser_until_the_reader_chooses(page, scheme, other):
    feature = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", feature)
    page.refresh()
    before, button = background(page), find(page, "theme")
    assert (before < 128) == (scheme == "dark")
    assert button.text == other
    button.click()
    assert (background(page) < 128) == (scheme == "light")
    button.click()
    assert background(page) == before
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def test_the_page_fits_a_narrow_screen(page):
    assert at_width(page, 360) <= 360


def test_the_second_headline_and_its_curve_follow_the_slider(page, certificate):
    from selenium.webdriver.common.keys import Keys

    slider, seen = find(page, "radius"), []
    for keys in ("", Keys.PAGE_UP, Keys.HOME, Keys.END):
        slider.send_keys(keys)
        radius, k, *_ = state(page)
        overlap = int(
            Certifier(violations=0).top_k_curve(certificate.map, k=k, radii=[radius], reference="plain")[0, 0]
        )
        text = find(page, "of-plain").text
        change = (
            "If the picture does not change at all" if radius == 0 else f"Whatever change of size up to {radius:g} is"
        )
        assert text.startswith(change)
        of_plain = f"of the {k} strongest colour values of the plain map of this picture"
        if overlap:
            assert (
                f", at least {overlap} {of_plain} ({100 * overlap // k} %) are among the {k} most salient of the exact "
                "smoothed map, with confidence 95 %." in text
            )
        else:
            assert f", nothing is certified {of_plain}, with confidence 95 %." in text
        assert find(page, "reached").text.startswith("For comparison: a top set chosen by chance holds 20.1 % of them.")
        y = float(find(page, "plain-here").get_attribute("cy"))
        assert y == pytest.approx(210 - 190 * overlap / k)
        assert f"Size {radius:g} {'can be spread' if radius else 'is no change'}" in find(page, "units").text
        seen.append(overlap)
    assert len(set(seen)) == 4
    assert find(page, "dashed").is_displayed()
    assert len(find(page, "plain-curve").get_attribute("points")) > 100
    title = find(page, "curve-title").get_attribute("textContent")
    assert "Of the 471 strongest colour values of the plain map: " in title


@pytest.mark.parametrize("reference", ["plain", "mask"])
def test_the_page_of_a_reference_set_speaks_of_this_set(browser, tmp_path, reference):
    mask = torch.zeros(1, 784, dtype=torch.bool)
    mask[:, 200:500] = True
    votes = torch.tensor([[20, 256]])
    smoothed_map = replace(smoothed(blob()), class_votes=votes)
    given = "plain" if reference == "plain" else mask
    certificate = Certifier().top_k(smoothed_map, k=157, radius=0.05, reference=given)
    report(certificate, tmp_path / "report.html", image=image())
    browser.get((tmp_path / "report.html").as_uri())
    overlap = int(certificate.overlap)
    share = f"{100 * overlap // 157} %"
    subject = "157 strongest pixels of the plain map" if reference == "plain" else "300 pixels of the given set"
    share += "" if reference == "plain" else " of the 157 that can be"
    assert (
        f"at least {overlap} of the {subject} ({share}) are among the 157 most salient of the exact smoothed map"
        in find(browser, "statement").text
    )
    assert find(browser, "reached").text.startswith("For comparison: a top set chosen by chance holds")
    assert not find(browser, "of-plain").is_displayed()
    assert not find(browser, "plain-heading").is_displayed()
    whose = "the plain map" if reference == "plain" else "the given set"
    assert browser.find_element("css selector", ".results h2").text == f"Agreement with {whose}"
    assert not find(browser, "dashed").is_displayed()
    assert find(browser, "plain-here").value_of_css_property("visibility") == "hidden"
    assert browser.find_element("class name", "caution").text.startswith("Caution: this certificate may mean little.")
    named = int(
        re.search(r"(\d+) of them are proved to be in the top set, each one", find(browser, "statement").text)[1]
    )
    strong, marked = strong_pixels(browser)
    assert strong.sum() == named > 0
    np.testing.assert_array_equal(marked, certificate.members.reshape(28, 28).numpy())
    assert [at_width(browser, width) <= width for width in (400, 1400)] == [True, True]


# -- phones, paper, and people who do not see the page ---------------------------------------------------------------


def test_controls_stay_in_sight_on_a_phone_and_the_marks_come_first(page):
    with screen(page, 400):
        panels = len(page.find_elements("css selector", ".panels figure"))
        assert panels == 4
        tops = [box(page, f".panels figure:nth-child({n + 1})")["top"] for n in range(panels)]
        assert box(page, ".warning")["top"] < box(page, "#marked")["top"] < min(tops)
        page.execute_script("document.querySelector('#marked').scrollIntoView({block: 'end'})")
        controls, marks = box(page, ".controls"), box(page, "#marked")
        assert 0 <= controls["top"] < controls["bottom"] <= marks["top"]
        assert controls["height"] < 740 / 5
        page.execute_script("window.scrollTo(0, document.body.scrollHeight)")
        assert box(page, ".controls")["bottom"] <= 740
        assert box(page, ".controls")["top"] >= 0


@pytest.mark.parametrize("width", [400, 1400])
def test_targets_have_at_least_24_pixels(page, width):
    with screen(page, width):
        for selector in ("#theme", "#radius", "#top"):
            size = box(page, selector)
            assert min(size["width"], size["height"]) >= 24, selector


def test_one_text_is_announced(page):
    live = page.find_elements("css selector", "[aria-live], output, [role=status], [role=alert]")
    assert [element.get_attribute("id") for element in live] == ["statement"]


def test_a_printed_page_is_light_and_has_no_controls(page):
    find(page, "theme").click()
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    assert background(page) == 255
    assert not find(page, "theme").is_displayed()
    assert not find(page, "radius").is_displayed()
    assert find(page, "statement").is_displayed()
    assert find(page, "marks").is_displayed()
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


def test_the_key_says_how_many_stay_and_marks_are_hatched_if_nothing_is_certified(page, certificate):
    from selenium.webdriver.common.keys import Keys

    overlap, named = state(page)[2:]
    assert find(page, "key-faint").text == f"in the top set: at least {overlap - named} of these stay"
    assert not find(page, "hatches").is_displayed()
    find(page, "radius").send_keys(Keys.END)
    assert state(page)[2:] == (0, 0)
    assert find(page, "hatches").is_displayed()
    assert find(page, "key-nothing").text == "in the top set: nothing is certified"
    assert not find(page, "key-strong").is_displayed()
    assert not find(page, "key-faint").is_displayed()
    assert find(page, "hatches").value_of_css_property("mask-image").startswith('url("data:image/png')


def test_the_page_says_why_size_0_is_not_100_percent_where_it_is_not(page, certificate):
    assert find(page, "why").is_displayed() == (expected(certificate, 471, 0.0)[0] < 471)


def test_the_sizes_that_are_covered_follow_the_slider(page):
    from selenium.webdriver.common.keys import Keys

    slider = find(page, "radius")
    slider.send_keys(Keys.HOME)
    assert find(page, "units").text.startswith(
        "Size 0 is no change. It does not cover rounding to 8 bits (0.096), JPEG"
    )
    slider.send_keys(Keys.PAGE_UP * 10)
    radius = find(page, "size").text
    text = find(page, "units").text
    assert text.startswith(f"Size {radius} can be spread over the whole picture, with ")
    levels = re.search(r"concentrated: (\d+) grey levels in one value\.", text)[1]
    assert int(levels) == int(255 * float(radius) + 1e-9)
    assert "It covers rounding to 8 bits (0.096)" in text


@pytest.mark.parametrize("step", [0, 12, 100])
def test_outlines_surround_the_cells_that_are_marked(browser, tmp_path, step):
    cells = smoothed(blob(size=8))
    layout = FeatureLayout.of([torch.zeros(1, 1, 32, 32)], is_tuple=False, rows=1, groups="patches:4")
    cells = replace(cells, layout=layout)
    certificate = Certifier().top_k(cells, k=12, radius=0.05)
    report(certificate, tmp_path / "report.html", image=image(size=32))
    browser.get((tmp_path / "report.html").as_uri())
    last = int(find(browser, "radius").get_attribute("max"))
    script = "arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('input'))"
    browser.execute_script(script, find(browser, "radius"), min(step, last))
    radius = float(find(browser, "size").text)
    reached = np.array(Certifier().top_k(cells, k=12, radius=radius).columns()["radius"])
    named = ((reached > 0) & (reached >= radius)).reshape(8, 8)
    top = certificate.top_k.numpy().reshape(8, 8)
    nothing = find(browser, "statement").get_attribute("data-overlap") == "0"
    assert nothing == (step == 100)
    for line, marked in (("strong-line", named), ("faint-line", top & ~named)):
        sides = set()
        for row, column in np.argwhere(marked):
            x, y = 4 * column, 4 * row
            sides |= {(x + i, y + j, "H") for i in range(4) for j in (0, 4)}
            sides |= {(x + i, y + j, "V") for i in (0, 4) for j in range(4)}
        drawn = set()
        path = find(browser, line).get_attribute("d") or ""
        for x, y, kind, end in re.findall(r"M(\d+) (\d+)([VH])(\d+)", path):
            x, y, end = int(x), int(y), int(end)
            drawn |= {(x, at, "V") for at in range(y, end)} if kind == "V" else {(at, y, "H") for at in range(x, end)}
        assert drawn == sides
    label = find(browser, "marked").get_attribute("aria-label")
    assert f"{named.sum()} are proved to stay, each one, up to size {radius:g}" in label


def background(page):
    colour = page.find_element("tag name", "body").value_of_css_property("background-color")
    return int(re.findall(r"\d+", colour)[0])
