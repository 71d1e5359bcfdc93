"""Check the pages that Sphinx has built: links, texts of pictures, widths and contrast.

``python docs/check_pages.py docs/_build/html`` prints what is wrong, and exits with 1 if anything is. Widths and
contrast are measured in Chromium. Without Chromium and chromedriver they are skipped, and the last line says so.
"""

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

WIDTHS = {"desk": 1400, "phone": 400}  # of the window, in pixels
THEMES = ("light", "dark")
CONTRAST = 4.5  # the smallest contrast of text that WCAG 2.2 allows at level AA
MEASURE = Path(__file__).with_name("check_pages.js").read_text(encoding="utf-8")


class Page(HTMLParser):
    """What a page refers to, and what can be referred to on it.

    Args:
        text: The page.
    """

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.pictures: list[tuple[str, str]] = []  # addresses and alternative texts
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what an element refers to."""
        given = {name: value or "" for name, value in attrs}
        self.anchors |= {given[name] for name in ("id", "name") if name in given}
        self.links += [given[name] for name in ("href", "src", "data") if name in given]
        if tag == "img":
            self.pictures.append((given.get("src", ""), given.get("alt", "")))


def read(folder: Path) -> dict[Path, Page]:
    """Return the pages in a folder, by their paths."""
    paths = sorted(path for path in folder.resolve().rglob("*.html") if "_static" not in path.parts)
    return {path: Page(path.read_text(encoding="utf-8")) for path in paths}


# -- what the files show -------------------------------------------------------------------------------------------


def broken_links(pages: dict[Path, Page]) -> Iterator[tuple[Path, str]]:
    """Yield the pages with links to files or anchors of this documentation that do not exist, and these links."""
    for path, page in pages.items():
        for link in dict.fromkeys(page.links):
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            anchor = unquote(parts.fragment)
            if not target.is_file():
                yield path, f"no file at {link}"
            elif anchor and target in pages and anchor not in pages[target].anchors:
                yield path, f"no anchor at {link}"


def untold_pictures(pages: dict[Path, Page]) -> Iterator[tuple[Path, str]]:
    """Yield the pages with pictures whose alternative text is missing, or is only the name of their file."""
    for path, page in pages.items():
        for address, text in page.pictures:
            if "_static/" not in address and len(text.split()) < 3:  # pictures of the theme are signs
                yield path, f"the picture {address} has the alternative text {text!r}"


# -- what a browser shows ------------------------------------------------------------------------------------------


@contextmanager
def browser() -> Iterator[Any]:
    """Start a headless Chromium, and give ``None`` where there is none."""
    chromium, driver = os.environ.get("CHROMIUM") or shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        yield None
        return
    from selenium import webdriver  # an extra of the package

    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"):
        options.add_argument(argument)
    started = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    try:
        yield started
    finally:
        started.quit()


def shown_badly(pages: dict[Path, Page], chromium: Any) -> Iterator[tuple[Path, str]]:
    """Yield the pages with something that is too wide or too faint, on a desk or a phone, light or dark."""
    for path in pages:
        chromium.get(path.as_uri())
        for window, width in WIDTHS.items():
            metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
            chromium.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
            for theme in THEMES:
                found = chromium.execute_script(MEASURE, theme, CONTRAST, window == "desk")
                yield from ((path, f"{problem} ({window}, {theme})") for problem in found)


def main(folder: Path) -> int:
    """Print what is wrong with the pages in a folder. Return 1 if anything is, and 0 otherwise."""
    pages = read(folder)
    problems = [*broken_links(pages), *untold_pictures(pages)]
    with browser() as chromium:
        if chromium is not None:
            problems += shown_badly(pages, chromium)
    for path, problem in problems:
        print(f"{path.relative_to(folder.resolve()).as_posix()}: {problem}")
    skipped = "" if chromium is not None else "; widths and contrast were skipped, without chromium and chromedriver"
    print(f"{len(pages)} pages, {len(problems)} problems{skipped}")
    return 1 if problems or not pages else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
