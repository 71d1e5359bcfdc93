"""Fixtures shared by all tests."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

# One thread: sums are then formed in one order, and parallel test processes do not fight over the cores.
torch.set_num_threads(1)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of trained networks and photographs; tests that need it are skipped where it does not exist."""
    given = os.environ.get("CAPTUM_CERTIFIED_DATA")
    folder = Path(given) if given else Path(__file__).parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no trained networks in {folder}; set CAPTUM_CERTIFIED_DATA to their folder")
    return folder


_MODELS = """
import warnings

import torch
from torch import nn


def small(classes=3, channels=3, name="plain"):
    torch.manual_seed(0)
    with warnings.catch_warnings():  # old releases call lazy modules a new feature
        warnings.simplefilter("ignore")
        last = nn.LazyLinear(classes)
    return nn.Sequential(nn.Conv2d(channels, 2, 3), nn.Softplus(), nn.Flatten(), last).eval()


def made(size):
    model = small()
    model(torch.zeros(1, 3, size, size))
    return model


def grey(size):
    model = small(channels=1)
    model(torch.zeros(1, 1, size, size))
    return model


class Named(nn.Module):
    def forward(self, x):
        return {"logits": x.flatten(1)}


class Broken(nn.Module):
    def forward(self, x):
        raise RuntimeError("this network is broken")


already = made(12)
number = 3
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with a module of models and two images, as the current one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    name = f"models_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(_MODELS)
    generator = np.random.default_rng(0)
    for image in ("one.png", "two.jpg"):
        Image.fromarray(generator.integers(0, 256, (20, 30, 3), dtype=np.uint8)).save(tmp_path / image)
    return name


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
