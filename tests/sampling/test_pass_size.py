"""The default size of a pass follows from the size of the inputs and from the memory that is free."""

import os
import platform
import subprocess
import sys

import pytest
import torch
from captum.attr import GradientShap, IntegratedGradients, LayerIntegratedGradients, Saliency
from networks import GateNet

from captum_certified import SparsifiedSmoothGrad, Upsampled
from captum_certified.attr.captum_methods import copies_in_a_call
from captum_certified.attr.request import CallSettings, SamplingRequest
from captum_certified.sampling import PassSize
from captum_certified.sampling.free_memory import free_memory, free_memory_of_machine

CPU = torch.device("cpu")
MEMINFO = "MemTotal:       16000000 kB\nMemFree:         1000000 kB\nMemAvailable:    8000000 kB\n"


@pytest.mark.parametrize(("rows", "draws"), [(1, 64), (2, 32), (3, 21), (64, 1), (65, 1), (1000, 1)])
def test_a_pass_has_at_most_64_rows_whatever_the_memory(rows, draws):
    for free in (10**12, None):
        size = PassSize.of(rows, draw_bytes=1000, free_bytes=free)
        assert (size.draws, size.by_memory) == (draws, False)


@pytest.mark.parametrize(("free", "draws"), [(128, 64), (127, 32), (64, 32), (63, 16), (4, 2), (3, 1), (1, 1), (0, 1)])
def test_half_of_the_free_memory_decides_and_one_draw_is_the_least(free, draws):
    size = PassSize.of(1, draw_bytes=10**9, free_bytes=free * 10**9)
    assert (size.draws, size.by_memory) == (draws, draws < 64)


def test_a_row_takes_160_times_its_input_and_as_much_for_each_step_of_a_path():
    x = (torch.zeros(2, 3, 10, 10), torch.zeros(2, 5, dtype=torch.float64))
    assert PassSize.fitting(x).draw_bytes == 160 * 2 * (4 * 300 + 8 * 5)
    assert PassSize.fitting(x, copies=50).draw_bytes == 50 * PassSize.fitting(x).draw_bytes
    model = GateNet((3, 4, 4))
    path = IntegratedGradients(model)
    assert copies_in_a_call(path, {}) == 50
    assert copies_in_a_call(path, {"n_steps": 8}) == 8
    assert copies_in_a_call(path, {"n_steps": 8, "internal_batch_size": 4}) == 1
    assert copies_in_a_call(GradientShap(model), {}) == 5
    assert copies_in_a_call(Upsampled(LayerIntegratedGradients(model, model)), {}) == 50
    assert copies_in_a_call(Saliency(model), {}) == 1


def test_the_size_is_told_in_words():
    size = PassSize.of(1, draw_bytes=92_000_000, free_bytes=6_200_000_000)
    assert str(size) == "passes of 32 draws, estimated at 2.9 GB each, with 6.2 GB free"
    assert str(size.at_most(1)) == "passes of 1 draw, estimated at 0.092 GB each, with 6.2 GB free"


def test_a_request_takes_the_default_only_if_no_size_is_given():
    explainer = SparsifiedSmoothGrad(Saliency(GateNet((3, 4, 4))), tau=0.2)
    x = torch.rand(2, 3, 4, 4)
    default = SamplingRequest.checked([explainer], x, CallSettings(nt_samples=99, stdevs=0.1))
    assert default.plan.pass_size == default.default_pass.draws == 32
    smaller = default.with_passes_of_at_most(7)
    assert smaller.plan.pass_size == smaller.default_pass.draws == 7
    given = SamplingRequest.checked([explainer], x, CallSettings(nt_samples=99, stdevs=0.1, nt_samples_batch_size=40))
    assert given.default_pass is None
    assert given.with_passes_of_at_most(7).plan.pass_size == 40


def test_counts_and_covariance_are_equal_for_every_size():
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(48, 9), torch.nn.Softplus(), torch.nn.Linear(9, 3))
    explainer = SparsifiedSmoothGrad(Saliency(model.double()), tau=0.2)
    x = torch.rand(2, 3, 4, 4, generator=torch.Generator().manual_seed(0)).double()
    one, two, three = (
        explainer.sample(x, nt_samples=75, nt_samples_batch_size=size, stdevs=0.1, seed=5, target=1, covariance=30)
        for size in (None, 7, 16)
    )
    for other in (two, three):
        assert torch.equal(one.counts, other.counts)
        assert torch.equal(one.covariance.pairs, other.covariance.pairs)
        torch.testing.assert_close(one.covariance.top_eigenvalue, other.covariance.top_eigenvalue)


def machine(root, files):
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    return free_memory_of_machine(root)


def test_memory_of_the_machine_without_groups(tmp_path):
    assert machine(tmp_path, {"proc/meminfo": MEMINFO}) == 8_192_000_000


def test_memory_left_by_a_group_of_version_2_or_one_around_it(tmp_path):
    files = {
        "proc/meminfo": MEMINFO,
        "proc/self/cgroup": "0::/jobs/mine\n",
        "sys/fs/cgroup/jobs/mine/memory.max": "max\n",
        "sys/fs/cgroup/jobs/mine/memory.current": "500000000\n",
        "sys/fs/cgroup/jobs/memory.max": "4000000000\n",
        "sys/fs/cgroup/jobs/memory.current": "1500000000\n",
        "sys/fs/cgroup/jobs/memory.stat": "anon 900000000\ninactive_file 600000000\nactive_file 7\n",
    }
    assert machine(tmp_path, files) == 4_000_000_000 - 1_500_000_000 + 600_000_000


@pytest.mark.parametrize("folder", ["docker/abc/", ""], ids=["the group", "the top, as inside a container"])
def test_memory_left_by_a_group_of_version_1(tmp_path, folder):
    files = {
        "proc/meminfo": MEMINFO,
        "proc/self/cgroup": "9:name=systemd:/docker/abc\n4:cpu,memory:/docker/abc\n0::/\n",
        f"sys/fs/cgroup/memory/{folder}memory.limit_in_bytes": "3000000000\n",
        f"sys/fs/cgroup/memory/{folder}memory.usage_in_bytes": "1000000000\n",
        f"sys/fs/cgroup/memory/{folder}memory.stat": "inactive_file 1\ntotal_inactive_file 200000000\n",
    }
    assert machine(tmp_path, files) == 2_200_000_000


def test_a_group_without_limit_and_one_that_is_full(tmp_path):
    files = {
        "proc/meminfo": MEMINFO,
        "proc/self/cgroup": "4:memory:/\n",
        "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
        "sys/fs/cgroup/memory/memory.usage_in_bytes": "1000\n",
    }
    assert machine(tmp_path, files) == 8_192_000_000
    assert machine(tmp_path, {"sys/fs/cgroup/memory/memory.limit_in_bytes": "900\n"}) == 0


def test_a_share_of_the_memory_is_assumed_where_the_system_does_not_say(tmp_path):
    size = free_memory_of_machine(tmp_path)
    assert size == int(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") * 0.5)


def test_devices(monkeypatch):
    assert free_memory(torch.device("meta")) is None
    alone = free_memory(CPU)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "1000")
    assert 0 < free_memory(CPU) < alone / 2


KEPT = """
import torch
from captum_certified.cli.process import keep_freed_memory
from captum_certified.sampling.free_memory import _kept_bytes
keep_freed_memory()
torch.ones(2**26)
print(_kept_bytes())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_memory_that_the_process_keeps_counts_as_free():
    run = subprocess.run([sys.executable, "-c", KEPT], capture_output=True, text=True, check=True)  # noqa: S603
    assert 2**28 <= int(run.stdout) < 2**29
