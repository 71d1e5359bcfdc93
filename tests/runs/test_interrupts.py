"""Interrupts between two passes and full disks at a write cost less than a block, and leave no partial file."""

import errno
import json
import os

import pytest
import torch
from digits_run import SETTINGS, certifier, certify, contents, digits, small_model
from matplotlib.figure import Figure
from torch import nn

from captum_certified.runs import DatasetSummary
from captum_certified.storage import archive

PASS = 16
CALLS = 66  # of the network: passes, clean maps, probe draws, probes, noisy copies and copies of the network
BLOCK, DRAWS = SETTINGS["covariance"], SETTINGS["nt_samples"]


@pytest.fixture(autouse=True)
def _no_figures(monkeypatch):
    """Replace the figures, because drawing takes longer than the runs."""
    monkeypatch.setattr(DatasetSummary, "figure", lambda _: Figure(figsize=(1, 1)))


@pytest.fixture(scope="module")
def data():
    images, labels = digits(2)
    return [(images, labels)]


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    counting = Counting()
    certify(data, folder, certifier=certifier(counting), nt_samples_batch_size=PASS)
    return contents(folder), counting.rows


class Counting(nn.Module):
    """A network that counts its rows, and is interrupted before one of its calls."""

    def __init__(self, interrupted_at=None):
        super().__init__()
        self.model, self.at = small_model(), interrupted_at
        self.calls, self.rows = 0, 0

    def forward(self, x):
        self.calls += 1
        if self.calls == self.at:
            raise KeyboardInterrupt
        self.rows += len(x)
        return self.model(x)


def assert_whole_files(folder):
    """Assert that every result is complete, and that there are no temporary files."""
    for path in folder.iterdir():
        assert not path.name.startswith("."), path
        if path.suffix == ".json":
            json.loads(path.read_text())


@pytest.mark.parametrize("call", range(2, CALLS + 1))
def test_an_interrupt_before_any_pass_loses_less_than_a_block(data, whole, tmp_path, call):
    expected, rows = whole
    first, second = Counting(call), Counting()
    with pytest.raises(KeyboardInterrupt):
        certify(data, tmp_path, certifier=certifier(first), nt_samples_batch_size=PASS)
    assert_whole_files(tmp_path)
    certify(data, tmp_path, certifier=certifier(second), nt_samples_batch_size=PASS)
    assert contents(tmp_path) == expected
    # The second run repeats the clean map, the probe draw, the three passes that look for dependence between rows, and
    # the pass that is repeated before a block is saved; or, when all draws are saved, the noisy copies whose classes
    # are counted and the five copies of the network.
    assert first.rows + second.rows - rows < max(BLOCK, DRAWS + 1 + 5) + 8 + 4 * PASS


def test_a_run_calls_the_network_as_often_as_it_is_interrupted_here(data, tmp_path):
    counting = Counting()
    certify(data, tmp_path, certifier=certifier(counting), nt_samples_batch_size=PASS)
    assert counting.calls == CALLS


@pytest.mark.parametrize("write", range(1, 9))
def test_a_full_disk_leaves_no_partial_file(data, whole, tmp_path, write, monkeypatch):
    left, sync = [write], os.fsync

    def full(handle):
        left[0] -= 1
        if left[0] == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(handle)

    with monkeypatch.context() as patch:
        patch.setattr(archive.os, "fsync", full)
        with pytest.raises(OSError, match="No space left on device"):
            certify(data, tmp_path, certifier=certifier(Counting()), nt_samples_batch_size=PASS)
    assert_whole_files(tmp_path)
    certify(data, tmp_path, certifier=certifier(Counting()), nt_samples_batch_size=PASS)
    assert contents(tmp_path) == whole[0]


def test_an_interrupt_does_not_change_the_network(tmp_path, data):
    model = Counting(5)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(KeyboardInterrupt):
        certify(data, tmp_path, certifier=certifier(model.eval()), nt_samples_batch_size=PASS)
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not any(module._forward_hooks or module._backward_hooks for module in model.modules())


class Largest(nn.Module):
    """A network that records its largest call, and is interrupted in the second block."""

    def __init__(self, most_rows=10**9):
        super().__init__()
        self.model, self.left, self.largest = small_model(), most_rows, 0

    def forward(self, x):
        self.left -= len(x)
        if self.left < 0:
            raise KeyboardInterrupt
        self.largest = max(self.largest, len(x))
        return self.model(x)


@pytest.mark.parametrize(("size", "rows"), [(None, 5), (20, 20)], ids=["by default", "as the caller says"])
def test_a_continued_run_takes_passes_of_the_size_of_its_checkpoint(tmp_path, size, rows):
    images, labels = digits(1)
    with pytest.raises(KeyboardInterrupt):
        certify([(images, labels)], tmp_path, certifier=certifier(Largest(110)), nt_samples_batch_size=5)
    again = Largest()
    [result] = certify([(images, labels)], tmp_path, certifier=certifier(again), nt_samples_batch_size=size)
    assert result.outcome == "continued"
    assert again.largest == rows
