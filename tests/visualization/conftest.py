"""A headless browser for the tests of reports."""

import os
import shutil

import pytest


@pytest.fixture(scope="module")
def browser():
    """Chromium, driven as a person would drive it. Tests that need it are skipped if it is not installed."""
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
    driver = shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("no chromium (or CHROMIUM=...) with chromedriver on the path; Debian: chromium chromium-driver")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    # Chromium refuses its sandbox to root, and containers have little shared memory.
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    started = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield started
    started.quit()
