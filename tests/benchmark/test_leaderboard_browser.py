"""The leaderboard in a real browser: sorting by mouse and keyboard, narrow screens, themes, no network."""

import json
import re

import pytest

from captum_certified.benchmark import Leaderboard
from captum_certified.benchmark.pages import write_pages

RADII = [0.05, 0.1]
# Plain and margin of each method at both radii, sensitivity and seconds. As words, "9.5" comes after "10.25".
METHODS = {
    "Saliency": (0.5, 0.2, 0.031, 9.5),
    "InputXGradient": (0.25, -0.045, 0.12, 10.25),
    "Occlusion <4 × 4>": (0.095, -0.2, 0.1, None),
    "sham: constant": (1.0, 0.0, 0.0, 0.25),
}


def record(method, plain, margin, sensitivity, seconds):
    image = {
        "own": [plain, plain / 2],
        "plain": [plain, plain / 2],
        "margin": [margin, margin / 2],
        "attacked": None,
        "transferred": 0.9,
        "attacked_plain": 0.5,
        "class_kept": 0.8,
        "plain_overlap": 0.7,
        "lipschitz": 1.0,
        "sensitivity": sensitivity,
        "seconds": seconds,
        "n_samples": 64,
    }
    return {
        "kind": "benchmark cell",
        "method": method,
        "map": "sparsified",
        "sigma": 0.1,
        "groups": "patches:4",
        "sham": method.startswith("sham"),
        "explanation": {"model": "0" * 32},
        "versions": {"captum": "0.9"},
        "settings": {"radii": RADII, "radius": 0.05, "nt_samples": 64, "k": 0.2, "confidence": 0.95, "bound": "best"},
        "images": [image, image, {**image, "seconds": None}],
    }


BOARD = Leaderboard(tuple(record(method, *numbers) for method, numbers in METHODS.items()))


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    folder = tmp_path_factory.mktemp("board")
    write_pages(BOARD, folder)
    return folder / "leaderboard.html"


@pytest.fixture
def page(browser, path):
    for kind in ("browser", "performance"):
        browser.get_log(kind)
    browser.get(path.as_uri())
    yield browser
    assert [one["message"] for one in browser.get_log("browser") if one["level"] in ("SEVERE", "WARNING")] == []
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = {e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"}
    assert {url for url in asked if not url.startswith("data:")} == {path.as_uri()}


def order(page):
    return [cell.text for cell in page.find_elements("css selector", "#board tbody th")]


def button(page, title):
    [found] = [one for one in page.find_elements("css selector", "#board thead button") if one.text == title]
    return found


def sorted_column(page):
    return {
        th.text.rstrip(" ↑↓↕"): th.get_attribute("aria-sort")
        for th in page.find_elements("css selector", "#board thead th")
        if th.get_attribute("aria-sort")
    }


def background(page):
    colour = page.find_element("tag name", "body").value_of_css_property("background-color")
    return int(re.findall(r"\d+", colour)[0])


def test_columns_of_numbers_are_sorted_as_numbers(page):
    assert order(page) == ["Saliency", "sham: constant", "InputXGradient", "Occlusion <4 × 4>"]
    assert sorted_column(page) == {"margin 0.05": "descending"}
    button(page, "margin 0.05").click()
    assert order(page) == ["Occlusion <4 × 4>", "InputXGradient", "sham: constant", "Saliency"]
    assert sorted_column(page) == {"margin 0.05": "ascending"}
    button(page, "plain 0.05").click()
    assert order(page) == ["sham: constant", "Saliency", "InputXGradient", "Occlusion <4 × 4>"]
    button(page, "s/image").click()
    assert order(page) == ["InputXGradient", "Saliency", "sham: constant", "Occlusion <4 × 4>"]
    button(page, "s/image").click()  # what is unknown stays last
    assert order(page) == ["sham: constant", "Saliency", "InputXGradient", "Occlusion <4 × 4>"]
    assert page.find_element("id", "order").text == "Sorted by s/image, ascending."
    button(page, "method").click()
    assert order(page) == ["InputXGradient", "Occlusion <4 × 4>", "Saliency", "sham: constant"]


def test_rows_are_sorted_by_keyboard_with_a_visible_focus(page):
    from selenium.webdriver import ActionChains
    from selenium.webdriver.common.keys import Keys

    reached = []
    for _ in range(8):
        ActionChains(page).send_keys(Keys.TAB).perform()
        active = page.switch_to.active_element
        reached.append(active.get_attribute("id") or active.get_attribute("aria-label") or active.text)
        assert active.value_of_css_property("outline-style") == "solid"
    assert reached == ["theme", "Leaderboard", "method", "map", "σ", "groups", "images × draws", "own 0.05"]
    ActionChains(page).send_keys(Keys.ENTER).perform()
    assert sorted_column(page) == {"own 0.05": "descending"}
    ActionChains(page).send_keys(Keys.SPACE).perform()
    assert sorted_column(page) == {"own 0.05": "ascending"}
    assert order(page)[0] == "Occlusion <4 × 4>"


def test_a_narrow_screen_shows_the_methods_while_the_numbers_move(page):
    page.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": 400, "height": 740, "deviceScaleFactor": 1, "mobile": True}
    )
    assert page.execute_script("return document.documentElement.scrollWidth") <= 400
    scroll = page.find_element("css selector", ".scroll")
    first = page.find_element("css selector", "#board tbody th")
    before = first.rect["x"]
    page.execute_script("arguments[0].scrollLeft = 600", scroll)
    assert page.execute_script("return arguments[0].scrollLeft", scroll) == 600
    assert first.rect["x"] == pytest.approx(before, abs=2)
    assert first.rect["width"] < 200
    page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


@pytest.mark.parametrize(("scheme", "other"), [("light", "Dark theme"), ("dark", "Light theme")])
def test_the_theme_follows_the_browser_until_the_reader_chooses(page, scheme, other):
    page.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    )
    page.refresh()
    assert (background(page) < 128) == (scheme == "dark")
    theme = page.find_element("id", "theme")
    assert theme.text == other
    theme.click()
    assert (background(page) < 128) == (scheme == "light")
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def test_both_pages_have_the_same_numbers(page, path):
    text = path.with_suffix(".md").read_text(encoding="utf-8")
    assert (
        "| Saliency | sparsified | 0.1 | patches:4 | 3 × 64 | 50.0 [50.0, 50.0] | 50.0 [50.0, 50.0] | +20.0 [" in text
    )
    assert "9.5 [9.5, 9.5] (2) |" in text
    cells = page.find_elements("css selector", "#board tbody tr:first-child td")
    assert [cell.text.replace("\n", " ") for cell in cells[:5]] == [
        "sparsified", "0.1", "patches:4", "3 × 64", "50.0 [50.0, 50.0]",
    ]  # fmt: skip
    assert (
        page.find_element("id", "shams")
        .text.splitlines()[-1]
        .startswith("sham: constant sparsified 0.1 patches:4 1 of 4")
    )
    assert page.find_element("css selector", ".sham th").text == "sham: constant"
