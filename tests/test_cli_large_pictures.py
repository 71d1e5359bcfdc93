"""The command line certifies large pictures in bounded memory, and says how many draws a pass has."""

import os
import resource
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from captum_certified.cli import main
from captum_certified.runs.progress import RunProgress
from captum_certified.sampling import PassSize

NETWORK = """
import torch
from torch import nn
def build(most=10**9, gradients_most=10**9):
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 4, 3, stride=4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5)
    return Limited(nn.Sequential(*layers), most, gradients_most)
class Limited(nn.Module):
    def __init__(self, layers, most, gradients_most):
        super().__init__()
        self.layers, self.most, self.gradients_most = layers, most, gradients_most
    def forward(self, x):
        if x.numel() > (self.gradients_most if x.requires_grad else self.most):
            raise RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory")
        return self.layers(x)
"""
PEAK = """
import resource, sys
from captum_certified.cli import main
code = main()
print("PEAK", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024))
sys.exit(code)
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "large_network.py").write_text(NETWORK)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    sys.modules.pop("large_network", None)


def picture(path, width, height):
    coarse = np.random.default_rng(0).integers(0, 255, (height // 100, width // 100, 3), dtype=np.uint8)
    Image.fromarray(coarse).resize((width, height), Image.BILINEAR).save(path, quality=85)


def peak_bytes(folder, width, height, *options):
    """Return the largest resident size of a process that certifies a picture, and what it wrote to stderr."""
    picture(folder / "picture.jpg", width, height)
    arguments = ["certify", "picture.jpg", "--model", "large_network:build", "--seed", "0", *options]
    run = subprocess.run(  # noqa: S603
        [sys.executable, "-c", PEAK, *arguments], capture_output=True, text=True, check=True, env={**os.environ}
    )
    return int(run.stdout.rsplit("PEAK", 1)[1]), run.stderr


@pytest.mark.slow
def test_twelve_million_pixels_stay_under_6_gb(folder):
    peak, said = peak_bytes(folder, 4000, 3000, "--samples", "32", "--groups", "auto")
    assert peak < 6e9
    assert "picture: passes of 1 draw, estimated at" in said


def test_a_picture_takes_few_copies_of_itself(folder):
    start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # imports, and more
    peak, _ = peak_bytes(folder, 800, 600, "--samples", "4", "--batch-size", "1", "--json", "-")
    assert peak < start + 60 * 4 * 3 * 800 * 600


@pytest.mark.parametrize("limit", ["most=10", "gradients_most=10"])
def test_a_picture_that_does_not_fit_is_told_what_to_change(folder, capsys, limit):
    picture(folder / "small.png", 200, 100)
    arguments = ["certify", "small.png", "--model", "large_network:build", "--model-arg", limit]
    assert main([*arguments, "--samples", "4", "--size", "30", "-q", "--out", "results"]) == 1
    said = capsys.readouterr().out
    assert "failed: NotEnoughMemoryError: Expected enough memory for inputs of shape (1, 3, 30, 30) on cpu" in said
    assert all(option in said for option in ("--size", "--batch-size", "nt_samples_batch_size", "groups"))


def test_the_size_of_a_pass_is_written_if_memory_decided_it(capsys):
    progress = RunProgress(None, 32, show=True)
    by_memory = PassSize.of(1, draw_bytes=10**9, free_bytes=5 * 10**9)
    for size in (PassSize.of(1, draw_bytes=1, free_bytes=10**9), by_memory, by_memory):
        progress.tell_passes("photo.jpg", size)
    assert capsys.readouterr().err == "photo.jpg: passes of 2 draws, estimated at 2 GB each, with 5 GB free\n"
    RunProgress(None, 32, show=False).tell_passes("photo.jpg", by_memory)
    assert not capsys.readouterr().err
