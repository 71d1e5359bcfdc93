"""The check of built pages finds broken links, pictures without texts, and what is too wide or too faint."""

import importlib
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"
sys.path.insert(0, str(DOCS))
check_pages = importlib.import_module("check_pages")
sys.path.remove(str(DOCS))


def written(folder, **pages):
    for name, body in pages.items():
        (folder / f"{name}.html").write_text(f"<!doctype html><body>{body}</body>", encoding="utf-8")
    return check_pages.read(folder)


def found(problems):
    return [(path.stem, problem) for path, problem in problems]


def test_links_to_missing_files_and_anchors_are_found(tmp_path):
    (tmp_path / "rows.csv").write_text("a\n")
    one = """<h2 id="here">1</h2> <a href="#here">a</a> <a href="two.html#there">b</a> <a href="rows.csv">c</a>
        <a href="https://example.org/#x">d</a> <a href="#">e</a> <a href="#nowhere">f</a> <a href="two.html#here">g</a>
        <a href="three.html">h</a> <img src="missing.png" alt="a long text">"""
    pages = written(tmp_path, one=one, two='<a name="there"></a><a href="one.html?q#here">back</a>')
    assert found(check_pages.broken_links(pages)) == [
        ("one", "no anchor at #nowhere"),
        ("one", "no anchor at two.html#here"),
        ("one", "no file at three.html"),
        ("one", "no file at missing.png"),
    ]


def test_pictures_need_a_text_that_is_not_the_name_of_the_file(tmp_path):
    body = """<img src="a.png" alt="Four panels of a cat"> <img src="b.png"> <img src="c.png" alt="_images/c.png">
        <img src="_static/minus.png" alt="-">"""
    assert found(check_pages.untold_pictures(written(tmp_path, page=body))) == [
        ("page", "the picture b.png has the alternative text ''"),
        ("page", "the picture c.png has the alternative text '_images/c.png'"),
    ]


@pytest.fixture(scope="module")
def chromium():
    with check_pages.browser() as started:
        if started is None:
            pytest.skip("no chromium (or CHROMIUM=...) with chromedriver on the path; Debian: chromium chromium-driver")
        yield started


LINE = '<span style="display: inline-block; width: 300px">a long line</span>'
PRE = f'<pre style="overflow: auto; width: 100px">{LINE}</pre>'


def test_lines_that_do_not_fit_are_found_and_drawings_may_scroll(tmp_path, chromium):
    table = '<div class="table-wrapper" style="overflow: auto"><div style="width: 1000px">numbers</div></div>'
    pages = written(tmp_path, page=f'{PRE} <div class="letters">{PRE}</div> {table}')
    cases = [
        f"({window}, {theme})" for window in ("desk", "phone") for theme in ("light", "dark")
    ]  # the table fits a desk
    assert found(check_pages.shown_badly(pages, chromium)) == [
        ("page", f'300 px in a box of 100 px: "a long line" {case}') for case in cases
    ]


def test_a_page_wider_than_the_window_is_found(tmp_path, chromium):
    pages = written(tmp_path, page='<div style="width: 700px">text</div>')
    assert {problem for _, problem in found(check_pages.shown_badly(pages, chromium))} == {
        f"the page is 708 px wide in a window of 400 px (phone, {theme})" for theme in ("light", "dark")
    }


def test_faint_text_is_found_in_the_theme_that_has_it(tmp_path, chromium):
    body = """<style>body[data-theme=dark] { background: #000; } .a { color: #767676; } .b { color: #fff8; }</style>
        <p class="a">grey</p> <p class="b">half white</p> <p hidden>unseen</p>"""
    problems = [problem for _, problem in found(check_pages.shown_badly(written(tmp_path, page=body), chromium))]
    # Grey of 118 has a contrast of 4.54 on white, the smallest that is enough, and of 4.62 on black.
    assert [problem for problem in problems if "grey" in problem or "unseen" in problem] == []
    assert [problem for problem in problems if "desk" in problem] == [
        'contrast 1.00, rgb 255,255,255 on 255,255,255: "half white" (desk, light)'
    ]


def test_the_command_fails_if_anything_is_wrong(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CHROMIUM", raising=False)
    written(tmp_path, index='<a href="#x">broken</a>')
    assert check_pages.main(tmp_path) == 1
    written(tmp_path, index="<p>text</p>")
    assert check_pages.main(tmp_path) == 0
    skipped = "widths and contrast were skipped, without chromium and chromedriver"
    assert capsys.readouterr().out.splitlines() == [
        "index.html: no anchor at #x",
        f"1 pages, 1 problems; {skipped}",
        f"1 pages, 0 problems; {skipped}",
    ]
